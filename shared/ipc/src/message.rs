//! Messages on their way.

use alloc::boxed::Box;
use alloc::vec;
use phi_abi::{MESSAGE_BYTES, Message};
use phi_mem::{Links, List};

/// Copies what is in use of `from`, but for its capabilities: those change hands one by one. Bytes
/// beyond the length never travel, so nothing that the sender did not mean to send does.
#[inline(always)]
pub fn copy(from: &Message, to: &mut Message) {
    to.label = from.label;
    to.badge = from.badge;
    to.rights = from.rights;
    to.length = from.length;
    to.grant_count = from.grant_count;
    let length = (from.length as usize).min(MESSAGE_BYTES);
    if length == MESSAGE_BYTES {
        to.data = from.data;
    } else {
        copy_bytes(&from.data, &mut to.data, length);
    }
}

/// Copies the first `length` bytes, and fills the last word of them up with zeros.
fn copy_bytes(from: &[u8; MESSAGE_BYTES], to: &mut [u8; MESSAGE_BYTES], length: usize) {
    let (words, _) = from.as_chunks::<8>();
    let (places, _) = to.as_chunks_mut::<8>();
    for (place, word) in places.iter_mut().zip(words).take(length.div_ceil(8)) {
        *place = *word;
    }
    if let Some(last) = places.get_mut(length / 8).filter(|_| !length.is_multiple_of(8)) {
        last[length % 8..].fill(0);
    }
}

/// The messages that sends have stored in mailboxes.
#[derive(Clone)]
pub struct MessagePool {
    messages: Box<[Message]>,
    links: Links,
    free: List,
}

impl MessagePool {
    /// Room for `count` messages.
    pub fn new(count: usize) -> MessagePool {
        let mut links = Links::new(count);
        let mut free = List::EMPTY;
        (0..count as u32).for_each(|message| links.push_back(&mut free, message));
        MessagePool { messages: vec![Message::EMPTY; count].into_boxed_slice(), links, free }
    }

    /// Stores what is in use of `message`, but for its capabilities; `None` when there is no room.
    pub fn store(&mut self, message: &Message) -> Option<u32> {
        let place = self.links.pop_front(&mut self.free)?;
        copy(message, &mut self.messages[place as usize]);
        Some(place)
    }

    /// A stored message.
    pub fn get(&self, place: u32) -> &Message {
        &self.messages[place as usize]
    }

    /// A stored message.
    pub fn get_mut(&mut self, place: u32) -> &mut Message {
        &mut self.messages[place as usize]
    }

    /// Frees the place of a stored message.
    pub fn free(&mut self, place: u32) {
        self.links.push_front(&mut self.free, place);
    }

    /// Number of free places.
    pub fn free_places(&self) -> usize {
        self.links.iter(&self.free).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_the_bytes_in_use_are_copied() {
        for length in 0..=MESSAGE_BYTES {
            let from = Message { length: length as u16, data: [7; 64], ..Message::EMPTY };
            let mut to = Message::EMPTY;
            copy(&from, &mut to);
            assert_eq!(to.bytes(), &from.data[..length]);
            assert!(to.data[length..].iter().all(|byte| *byte == 0), "length {length}");
        }
        let hostile = Message { length: u16::MAX, data: [7; 64], ..Message::EMPTY };
        let mut to = Message::EMPTY;
        copy(&hostile, &mut to);
        assert_eq!(to.data, [7; 64]);
    }

    #[test]
    fn the_pool_has_as_many_places_as_it_was_made_with() {
        let mut pool = MessagePool::new(2);
        let first = pool.store(&Message { label: 1, ..Message::EMPTY }).unwrap();
        let second = pool.store(&Message { label: 2, ..Message::EMPTY }).unwrap();
        assert_eq!(pool.store(&Message::EMPTY), None);
        assert_eq!((pool.get(first).label, pool.get(second).label), (1, 2));
        pool.free(first);
        assert_eq!(pool.free_places(), 1);
        assert_eq!(pool.store(&Message::EMPTY), Some(first));
    }
}
