//! Choices taken from a string of bytes.

use phi_random::Random;

/// A string of bytes that choices are taken from; zeros follow its end.
pub struct Bytes<'a> {
    rest: &'a [u8],
}

impl<'a> Bytes<'a> {
    /// Choices from these bytes.
    pub fn new(bytes: &'a [u8]) -> Bytes<'a> {
        Bytes { rest: bytes }
    }

    /// Whether all bytes are taken.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        match self.rest.split_first() {
            Some((first, rest)) => {
                self.rest = rest;
                *first
            }
            None => 0,
        }
    }

    /// One of `0..count`, and 0 where that is empty.
    pub fn below(&mut self, count: usize) -> usize {
        usize::from(self.byte()) % count.max(1)
    }

    /// True once in `times`.
    pub fn once_in(&mut self, times: u8) -> bool {
        self.byte() % times == times - 1
    }

    /// One of `choices`; `None` when there are none.
    pub fn choose<T: Copy>(&mut self, choices: &[T]) -> Option<T> {
        choices.get(self.below(choices.len())).copied()
    }

    /// A word of eight bytes.
    pub fn word(&mut self) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|_| self.byte()))
    }

    /// The next bytes, as many as there are up to `count`.
    pub fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(count.min(self.rest.len()));
        self.rest = rest;
        taken
    }
}

/// Fills bytes from a seed, the same each time.
pub fn from_seed(seed: u64, count: usize) -> Vec<u8> {
    let mut random = Random::new(seed);
    let mut bytes = Vec::with_capacity(count + 8);
    while bytes.len() < count {
        bytes.extend(random.word().to_le_bytes());
    }
    bytes.truncate(count);
    bytes
}

/// `base` with a few changes that a seed chooses: bytes changed, ranges left out or doubled.
pub fn mutated(base: &[u8], seed: u64) -> Vec<u8> {
    let choices = from_seed(seed, 64);
    let mut choices = Bytes::new(&choices);
    let mut bytes = base.to_vec();
    for _ in 0..1 + choices.below(4) {
        if bytes.is_empty() {
            break;
        }
        let at = choices.word() as usize % bytes.len();
        let end = (at + 1 + choices.below(12)).min(bytes.len());
        match choices.below(4) {
            0 => bytes[at] = choices.byte(),
            1 => bytes[at] ^= 1 << choices.below(8),
            2 => drop(bytes.drain(at..end)),
            _ => {
                let doubled = bytes[at..end].to_vec();
                let to = choices.word() as usize % bytes.len();
                bytes.splice(to..to, doubled);
            }
        }
    }
    bytes
}
