//! Words, messages and faults as bytes: what the file holds, and what the hashes cover.
//!
//! A word is 7 bits a byte, the lowest first; all but its last byte have the top bit set.

use phi_abi::{Fault, FaultKind, Grant, Handle, Message};

/// Appends a word.
pub(super) fn put_word(bytes: &mut Vec<u8>, mut word: u64) {
    while word >= 0x80 {
        bytes.push(word as u8 | 0x80);
        word >>= 7;
    }
    bytes.push(word as u8);
}

/// Appends words.
pub(super) fn put_words(bytes: &mut Vec<u8>, words: &[u64]) {
    words.iter().for_each(|word| put_word(bytes, *word));
}

/// Appends bytes, with their count before them.
pub(super) fn put_bytes(bytes: &mut Vec<u8>, content: &[u8]) {
    put_word(bytes, content.len() as u64);
    bytes.extend_from_slice(content);
}

/// Appends what is in use of a message. Its counts may be beyond the limits, as a service says them.
pub(super) fn put_message(bytes: &mut Vec<u8>, message: &Message) {
    let Message { label, badge, reply, rights, length, grant_count, .. } = *message;
    let (rights, counts) = (u64::from(rights), [u64::from(length), u64::from(grant_count)]);
    put_words(bytes, &[label, badge, reply.0, rights, counts[0], counts[1]]);
    bytes.extend_from_slice(message.bytes());
    for Grant { handle, rights, mode, address, length } in message.grants() {
        put_words(bytes, &[handle.0, u64::from(*rights), u64::from(*mode), *address, *length]);
    }
}

/// Appends a fault.
pub(super) fn put_fault(bytes: &mut Vec<u8>, fault: &Fault) {
    put_words(bytes, &[fault.kind as u64, fault.address, fault.instruction]);
}

/// Reads what the functions above wrote; `None` for what they never write.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    place: usize,
}

impl<'a> Reader<'a> {
    /// At the first of `bytes`.
    pub(super) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes, place: 0 }
    }

    /// Bytes read so far.
    pub(super) fn place(&self) -> usize {
        self.place
    }

    /// Bytes that are left.
    pub(super) fn left(&self) -> usize {
        self.bytes.len() - self.place
    }

    /// The next `count` bytes.
    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.place..self.place.checked_add(count)?)?;
        self.place += count;
        Some(taken)
    }

    /// The next word.
    pub(super) fn word(&mut self) -> Option<u64> {
        let mut word = 0;
        for shift in (0..64).step_by(7) {
            let byte = *self.take(1)?.first()?;
            let bits = u64::from(byte & 0x7F);
            if bits << shift >> shift != bits {
                return None;
            }
            word |= bits << shift;
            if byte < 0x80 {
                return Some(word);
            }
        }
        None
    }

    /// The next word, as a smaller number.
    pub(super) fn number<N: TryFrom<u64>>(&mut self) -> Option<N> {
        N::try_from(self.word()?).ok()
    }

    /// The next words.
    pub(super) fn words<const N: usize>(&mut self) -> Option<[u64; N]> {
        let mut words = [0; N];
        for word in &mut words {
            *word = self.word()?;
        }
        Some(words)
    }

    /// The next message.
    pub(super) fn message(&mut self) -> Option<Message> {
        let [label, badge, reply] = self.words()?;
        let (rights, length, grant_count) = (self.number()?, self.number()?, self.number()?);
        let reply = Handle(reply);
        let mut message =
            Message { label, badge, reply, rights, length, grant_count, ..Message::EMPTY };
        let count = message.bytes().len();
        message.data[..count].copy_from_slice(self.take(count)?);
        for place in 0..message.grants().len() {
            let (handle, rights, mode) = (Handle(self.word()?), self.number()?, self.number()?);
            let [address, length] = self.words()?;
            message.grants[place] = Grant { handle, rights, mode, address, length };
        }
        Some(message)
    }

    /// The next fault.
    pub(super) fn fault(&mut self) -> Option<Fault> {
        let kind = FaultKind::from_number(self.number()?)?;
        let [address, instruction] = self.words()?;
        Some(Fault { kind, address, instruction })
    }
}
