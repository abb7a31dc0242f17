//! What UEFI firmware writes to the serial lines before ΦOS does.
//!
//! The firmware's console is both lines. So of each line all counts as the firmware's until the loader's
//! mark; and a firmware that finds nothing to start waits for somebody at a keyboard, for ever.

use phi_loader::MARK;

/// The firmware: OVMF, of Debian's package `ovmf`.
pub const FILE: &str = "/usr/share/ovmf/OVMF.fd";

/// Bytes of the firmware's words that are kept.
const WORDS: usize = 64 << 10;

/// What the firmware says when it has nothing to start.
const NOTHING: [&str; 2] = ["UEFI Interactive Shell", "No bootable option or device was found"];

/// The beginning of a serial line, until the loader's mark.
#[derive(Default)]
pub struct Preamble {
    words: Vec<u8>,
    over: bool,
}

impl Preamble {
    /// Takes what came; gives what of it stands behind the mark.
    pub fn take<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        if self.over {
            return bytes;
        }
        let before = self.words.len();
        self.words.extend_from_slice(bytes);
        // The mark may have begun in what came before.
        let from = before.saturating_sub(MARK.len());
        let found = self.words[from..].windows(MARK.len()).position(|part| part == MARK);
        let Some(place) = found else {
            self.words.drain(..self.words.len().saturating_sub(WORDS));
            return &[];
        };
        self.over = true;
        let end = from + place + MARK.len();
        self.words.truncate(from + place);
        &bytes[end - before..]
    }

    /// Whether the mark has come.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Whether the firmware has found nothing to start.
    pub fn found_nothing(&self) -> bool {
        let words = self.words();
        !self.over && NOTHING.iter().any(|nothing| words.contains(nothing))
    }

    /// What the firmware said, without what is meant for terminals.
    pub fn words(&self) -> String {
        let text = anstream::adapter::strip_bytes(&self.words).into_vec();
        let text = String::from_utf8_lossy(&text);
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        lines.collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_behind_the_mark_counts_in_pieces_of_any_size() {
        let line = [b"\x1B[2Jfirmware \x1Ephi-\r\n", MARK, b"text\x1Ephi-loader\nmore"].concat();
        for size in 1..line.len() {
            let mut preamble = Preamble::default();
            let pieces = line.chunks(size).flat_map(|piece| preamble.take(piece).to_vec());
            assert_eq!(pieces.collect::<Vec<u8>>(), b"text\x1Ephi-loader\nmore", "{size}");
            assert!(preamble.is_over());
            assert!(preamble.words().starts_with("firmware"));
        }
    }

    #[test]
    fn a_firmware_that_waits_is_noticed() {
        let mut preamble = Preamble::default();
        assert!(preamble.take(b"BdsDxe: failed to load\r\nUEFI Inter").is_empty());
        assert!(!preamble.found_nothing());
        assert!(preamble.take(b"active Shell v2.2\r\n").is_empty());
        assert!(preamble.found_nothing() && !preamble.is_over());
        preamble.take(&vec![b'x'; 2 * WORDS]);
        assert_eq!(preamble.words.len(), WORDS);
    }
}
