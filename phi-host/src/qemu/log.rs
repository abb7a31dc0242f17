//! The kernel's log line: text for people, and at the end a record for the tool.

use std::io::{self, Write};

/// The byte that begins a record; its line end ends it.
const RECORD: u8 = 0x1E;

/// Bytes of a record, at most: beyond that it is text.
const RECORD_SIZE: usize = 1 << 20;

/// Takes the log apart as it comes. Services may write to the log as well, and so feign a record;
/// the kernel writes the last one, and only that counts. All others are text.
#[derive(Default)]
pub struct LogReader {
    /// The record that is coming in, with its first byte.
    open: Option<Vec<u8>>,
    /// The last complete record, with its first byte and line end.
    record: Option<Vec<u8>>,
    /// The last bytes of text, for whoever wants to know what was said last.
    end: Vec<u8>,
}

/// Bytes of text that are kept.
const END_SIZE: usize = 4096;

impl LogReader {
    /// Takes `bytes`; what of them is text goes to `log`.
    ///
    /// # Errors
    /// `log`'s.
    pub fn take(&mut self, bytes: &[u8], log: &mut dyn Write) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.open.is_some() {
                rest = self.take_record(rest, log)?;
                continue;
            }
            let length = rest.iter().position(|byte| *byte == RECORD).unwrap_or(rest.len());
            self.text(&rest[..length], log)?;
            rest = &rest[length..];
            if let [RECORD, ..] = rest {
                self.open = Some(vec![RECORD]);
                rest = &rest[1..];
            }
        }
        log.flush()
    }

    /// Takes what of `bytes` belongs to the open record; gives what is left.
    fn take_record<'a>(&mut self, bytes: &'a [u8], log: &mut dyn Write) -> io::Result<&'a [u8]> {
        let mut record = self.open.take().unwrap_or_default();
        let end = bytes.iter().position(|byte| matches!(*byte, b'\n' | RECORD));
        let length = end.unwrap_or(bytes.len());
        record.extend_from_slice(&bytes[..length]);
        match end.map(|end| bytes[end]) {
            Some(b'\n') => {
                record.push(b'\n');
                if let Some(feigned) = self.record.replace(record) {
                    self.text(&feigned, log)?;
                }
                Ok(&bytes[length + 1..])
            }
            // Another record begins within it, so that it was none.
            Some(_) => {
                self.text(&record, log)?;
                Ok(&bytes[length..])
            }
            None => {
                match record.len() > RECORD_SIZE {
                    true => self.text(&record, log)?,
                    false => self.open = Some(record),
                }
                Ok(&[])
            }
        }
    }

    fn text(&mut self, bytes: &[u8], log: &mut dyn Write) -> io::Result<()> {
        self.end.extend_from_slice(bytes);
        self.end.drain(..self.end.len().saturating_sub(END_SIZE));
        log.write_all(bytes)
    }

    /// At the log's end: the last record, without its first byte. What was cut off goes to `log`.
    ///
    /// # Errors
    /// `log`'s.
    pub fn finish(mut self, log: &mut dyn Write) -> io::Result<(Option<Vec<u8>>, Vec<u8>)> {
        if let Some(cut_off) = self.open.take() {
            self.text(&cut_off, log)?;
        }
        log.flush()?;
        Ok((self.record.map(|record| record[1..].to_vec()), self.end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Text and record of a log that comes in pieces of `size` bytes.
    fn read(log: &[u8], size: usize) -> (Vec<u8>, Option<Vec<u8>>) {
        let (mut reader, mut text) = (LogReader::default(), Vec::new());
        for piece in log.chunks(size) {
            reader.take(piece, &mut text).unwrap();
        }
        let (record, _) = reader.finish(&mut text).unwrap();
        (text, record)
    }

    #[test]
    fn the_last_record_counts_in_pieces_of_any_size() {
        for size in 1..40 {
            let (text, record) = read(b"one\n\x1E{\"a\":1}\ntwo\x1E{\"b\":2}\n", size);
            assert_eq!(text, b"one\ntwo\x1E{\"a\":1}\n");
            assert_eq!(record.unwrap(), b"{\"b\":2}\n");
        }
    }

    #[test]
    fn what_is_no_record_is_text() {
        for log in [&b"no end\x1E{"[..], b"", b"\xFF\0\n"] {
            assert_eq!(read(log, 3), (log.to_vec(), None));
        }
        let (text, record) = read(b"\x1Efeigned\x1Etrue\n", 5);
        assert_eq!((text, record.unwrap()), (b"\x1Efeigned".to_vec(), b"true\n".to_vec()));
        let endless = [&[RECORD][..], &vec![b'x'; RECORD_SIZE + 10]].concat();
        assert_eq!(read(&endless, 4096), (endless.clone(), None));
    }
}
