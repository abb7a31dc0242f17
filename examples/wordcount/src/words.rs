//! Finds words in a text that comes in pieces.

use alloc::boxed::Box;

/// Letters of a word that its key holds as they are.
pub const SHORT: usize = 32;

/// What tells a word from all others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Key {
    /// Words of up to [`SHORT`] letters: the letters in lower case, filled up with zeros. Longer
    /// ones: the BLAKE3 hash of their letters in lower case.
    pub letters: [u64; SHORT / 8],
    /// The letters' number.
    pub length: u64,
}

impl Key {
    /// The letters of a word of up to [`SHORT`], with what it is filled up with.
    pub fn bytes(&self) -> [u8; SHORT] {
        let mut bytes = [0; SHORT];
        for (place, word) in bytes.chunks_exact_mut(8).zip(self.letters) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    fn from_bytes(bytes: [u8; SHORT], length: u64) -> Key {
        let mut letters = [0; SHORT / 8];
        for (place, word) in letters.iter_mut().zip(bytes.chunks_exact(8)) {
            let mut part = [0; 8];
            part.copy_from_slice(word);
            *place = u64::from_le_bytes(part);
        }
        Key { letters, length }
    }

    /// The key of a word of up to [`SHORT`] letters of either case.
    fn short(word: &[u8]) -> Key {
        let mut bytes = [0; SHORT];
        for (place, letter) in bytes.iter_mut().zip(word) {
            *place = letter | 0x20;
        }
        Key::from_bytes(bytes, word.len() as u64)
    }

    /// A hash in which all bits are as good as any.
    #[inline]
    pub fn hash(&self) -> u64 {
        let mut hash = self.length;
        for word in self.letters {
            hash = fold(hash ^ word);
            // Most words are short: what is zero to the end adds nothing.
            if self.length <= 8 {
                break;
            }
        }
        fold(hash)
    }
}

/// Multiplies by an odd constant (the golden ratio's), and folds the upper half in.
#[inline]
fn fold(value: u64) -> u64 {
    let product = u128::from(value ^ 0x2545_F491_4F6C_DD1D) * 0x9E37_79B9_7F4A_7C15;
    (product >> 64) as u64 ^ product as u64
}

/// For each byte, whether it is a letter.
const LETTERS: [bool; 256] = {
    let mut letters = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        letters[byte] = (byte as u8).is_ascii_alphabetic();
        byte += 1;
    }
    letters
};

/// Whether a byte is a letter.
#[inline]
pub fn is_letter(byte: u8) -> bool {
    LETTERS[byte as usize]
}

/// A word that goes on into the next piece.
struct Begun {
    offset: u64,
    length: u64,
    /// The first letters, as they came.
    start: [u8; SHORT],
    /// Everything so far, once it is longer than [`SHORT`].
    hash: Option<Box<blake3::Hasher>>,
}

impl Begun {
    fn extend(&mut self, part: &[u8]) {
        let length = self.length as usize;
        if length + part.len() <= SHORT {
            self.start[length..length + part.len()].copy_from_slice(part);
        } else {
            let hash = self.hash.get_or_insert_with(|| {
                let mut hash = Box::new(blake3::Hasher::new());
                update(&mut hash, &self.start[..length]);
                hash
            });
            update(hash, part);
        }
        self.length += part.len() as u64;
    }

    fn key(&self) -> Key {
        match &self.hash {
            None => Key::short(&self.start[..self.length as usize]),
            Some(hash) => Key::from_bytes(*hash.finalize().as_bytes(), self.length),
        }
    }
}

/// Hashes letters in lower case.
fn update(hash: &mut blake3::Hasher, letters: &[u8]) {
    let mut lower = [0; 256];
    for part in letters.chunks(lower.len()) {
        for (place, letter) in lower.iter_mut().zip(part) {
            *place = letter | 0x20;
        }
        hash.update(&lower[..part.len()]);
    }
}

/// Finds words, piece after piece.
#[derive(Default)]
pub struct Finder {
    begun: Option<Begun>,
}

impl Finder {
    /// Finds the words that end in `piece`, whose first byte is at `offset` of the text, and hands
    /// each one's key and offset to `found`, until that fails.
    ///
    /// # Errors
    /// What `found` says.
    pub fn feed<E>(
        &mut self,
        offset: u64,
        piece: &[u8],
        mut found: impl FnMut(&Key, u64) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut place = 0;
        if self.begun.is_some() {
            place = run(piece, 0, true);
            self.extend(offset, &piece[..place]);
            if place == piece.len() {
                return Ok(());
            }
            self.finish(&mut found)?;
        }
        loop {
            let start = run(piece, place, false);
            let end = run(piece, start, true);
            if end == piece.len() {
                if start < end {
                    self.extend(offset + start as u64, &piece[start..end]);
                }
                return Ok(());
            }
            if end - start <= SHORT {
                found(&Key::short(&piece[start..end]), offset + start as u64)?;
            } else {
                self.extend(offset + start as u64, &piece[start..end]);
                self.finish(&mut found)?;
            }
            place = end;
        }
    }

    /// Ends the text: a word that goes up to here ends.
    ///
    /// # Errors
    /// What `found` says.
    pub fn finish<E>(
        &mut self,
        mut found: impl FnMut(&Key, u64) -> Result<(), E>,
    ) -> Result<(), E> {
        match self.begun.take() {
            Some(begun) => found(&begun.key(), begun.offset),
            None => Ok(()),
        }
    }

    fn extend(&mut self, offset: u64, part: &[u8]) {
        let new = || Begun { offset, length: 0, start: [0; SHORT], hash: None };
        self.begun.get_or_insert_with(new).extend(part);
    }
}

/// The end of the run of letters, or of other bytes, that begins at `start`.
#[inline]
fn run(piece: &[u8], start: usize, letters: bool) -> usize {
    piece[start..]
        .iter()
        .position(|byte| is_letter(*byte) != letters)
        .map_or(piece.len(), |length| start + length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    /// The keys and offsets found in `text` when it comes in pieces of these sizes.
    fn found(text: &[u8], sizes: &[usize]) -> Vec<(Key, u64)> {
        let mut words = Vec::new();
        let mut finder = Finder::default();
        let mut add = |key: &Key, offset| {
            words.push((*key, offset));
            Ok::<(), ()>(())
        };
        let mut sizes = sizes.iter().cycle();
        let mut offset = 0;
        while offset < text.len() {
            let end = (offset + sizes.next().expect("a size")).min(text.len());
            finder.feed(offset as u64, &text[offset..end], &mut add).expect("no error");
            offset = end;
        }
        finder.finish(&mut add).expect("no error");
        words
    }

    /// The same, by splitting.
    fn expected(text: &[u8]) -> Vec<(Key, u64)> {
        text.split(|byte| !byte.is_ascii_alphabetic())
            .filter(|word| !word.is_empty())
            .map(|word| {
                let lower = word.to_ascii_lowercase();
                let key = if word.len() <= SHORT {
                    Key::short(&lower)
                } else {
                    Key::from_bytes(*blake3::hash(&lower).as_bytes(), word.len() as u64)
                };
                (key, word.as_ptr() as u64 - text.as_ptr() as u64)
            })
            .collect()
    }

    #[test]
    fn letters_are_those_of_ascii() {
        for byte in 0..=255u8 {
            assert_eq!(is_letter(byte), byte.is_ascii_alphabetic());
        }
    }

    #[test]
    fn short_keys_hold_their_letters() {
        let key = Key::short(b"Words");
        assert_eq!(&key.bytes()[..6], b"words\0");
        assert_ne!(key.hash(), Key::short(b"word").hash());
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(
            text in proptest::collection::vec(
                prop_oneof![4 => Just(b'a'), 2 => Just(b'Z'), 1 => any::<u8>()], 0..600),
            sizes in proptest::collection::vec(1usize..90, 1..6),
        ) {
            prop_assert_eq!(found(&text, &sizes), expected(&text));
        }
    }
}
