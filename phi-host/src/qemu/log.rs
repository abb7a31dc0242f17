//! The kernel's log line: text for people, and records for the tool.

use crate::dump::Dump;
use crate::symbols::Stack;
use std::io::{self, Write};

/// The byte that begins a record; its line end ends it. Of all that is written on bare metal, only what
/// the kernel says itself has this byte.
const RECORD: u8 = 0x1E;

/// Bytes of a record, at most: beyond that it is text.
const RECORD_SIZE: usize = 16 << 20;

/// Begins the record of a stack.
const STACK: &[u8] = b"\x1Ephi-stack ";

/// What the kernel says to the tool before its end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum News {
    /// Where it was when it found a bug of its own.
    Stack(Stack),
    /// What it knows of the system.
    Dump(Dump),
}

/// Takes the log apart as it comes. Of records that are no news, the last is the one at the system's end.
/// All others are text.
#[derive(Default)]
pub struct LogReader {
    /// The record that is coming in, with its first byte.
    open: Option<Vec<u8>>,
    /// The last complete record, with its first byte and line end.
    record: Option<Vec<u8>>,
    /// What has come and was not asked for yet.
    news: Vec<News>,
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
                if let Some(news) = News::read(&record) {
                    self.news.push(news);
                } else if let Some(earlier) = self.record.replace(record) {
                    self.text(&earlier, log)?;
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

    /// The news that have come since this was last asked.
    pub fn news(&mut self) -> Vec<News> {
        std::mem::take(&mut self.news)
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

impl News {
    /// The news in a record with its first byte; `None` if it is another one.
    fn read(record: &[u8]) -> Option<News> {
        if let Some(stack) = record.strip_prefix(STACK) {
            return serde_json::from_slice(stack).ok().map(News::Stack);
        }
        Dump::open(&record[1..]).ok().map(News::Dump)
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
    fn news_are_neither_text_nor_the_record() {
        let stack = "\x1Ephi-stack {\"registers\":{\"instruction\":1,\"stack\":8,\
                     \"preserved\":[1,2,3,4,5,6]},\"words\":[7,8]}\n";
        let dump = crate::dump::tests::sample();
        let log = [stack.as_bytes(), b"text\n\x1E", dump.bytes(), b"\x1E{}\n"].concat();
        let (mut reader, mut text) = (LogReader::default(), Vec::new());
        reader.take(&log, &mut text).unwrap();
        let news = reader.news();
        assert!(matches!(&news[..], [News::Stack(stack), News::Dump(there)]
            if stack.words == [7, 8] && *there == dump));
        assert!(reader.news().is_empty());
        assert_eq!(reader.finish(&mut text).unwrap().0.unwrap(), b"{}\n");
        assert_eq!(text, b"text\n");
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
