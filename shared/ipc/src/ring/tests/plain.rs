//! What the ring does, without a model: small enough for Miri.

use super::*;
use crate::ring::layout::{Header, Slot};
use core::mem::{align_of, offset_of, size_of};
use core::ptr::NonNull;
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::string::ToString;

/// Zeroed memory for a ring, with nothing around it, so that Miri sees every use outside.
pub(super) struct RawMemory {
    pub(super) start: NonNull<u8>,
    pub(super) layout: Layout,
    capacity: usize,
}

#[allow(unsafe_code)]
impl RawMemory {
    pub(super) fn new(capacity: usize) -> RawMemory {
        let size = RingMemory::size(capacity).unwrap();
        let layout = Layout::from_size_align(size, RING_ALIGNMENT).unwrap();
        // SAFETY: the layout's size is not zero.
        let start = NonNull::new(unsafe { alloc_zeroed(layout) }).unwrap();
        RawMemory { start, layout, capacity }
    }

    pub(super) fn memory(&self) -> RingMemory<'_> {
        // SAFETY: the memory is of the ring's size, and lives as long as `self`, which the result
        // borrows; tests use it through rings and atomics only.
        unsafe { RingMemory::new(self.start, self.capacity) }.unwrap()
    }
}

#[allow(unsafe_code)]
impl Drop for RawMemory {
    fn drop(&mut self) {
        // SAFETY: it was allocated with this layout, and all rings' borrows have ended.
        unsafe { dealloc(self.start.as_ptr(), self.layout) }
    }
}

// SAFETY: rings, and the words that tests scribble, are all atomics.
#[allow(unsafe_code)]
unsafe impl Sync for RawMemory {}

#[test]
fn the_layout_is_the_documented_one() {
    assert_eq!((size_of::<Header>(), align_of::<Header>()), (384, 128));
    assert_eq!((offset_of!(Header, consumer), offset_of!(Header, producer)), (128, 256));
    assert_eq!((size_of::<Slot>(), RING_ALIGNMENT), (128, 128));
    assert_eq!(RingMemory::size(16), Some(2432));
}

#[test]
#[allow(unsafe_code)]
fn memory_that_cannot_hold_a_ring_is_refused() {
    let storage = RawMemory::new(2);
    let refused = |offset: usize, capacity| {
        // SAFETY: within the storage; and a refused ring touches no memory.
        unsafe { RingMemory::new(storage.start.add(offset), capacity).map(|_| ()).unwrap_err() }
    };
    for capacity in [0, 3, usize::MAX, RING_CAPACITY * 2] {
        assert_eq!(RingMemory::size(capacity), None);
        assert_eq!(refused(0, capacity), LayoutError::Capacity);
    }
    assert_eq!(refused(64, 1), LayoutError::Alignment);
    assert!(RingMemory::size(RING_CAPACITY).is_some());
}

#[test]
fn every_length_travels_and_nothing_beyond_it() {
    let storage = RawMemory::new(4);
    let mut producer = Producer::new(&storage.memory());
    let mut consumer = Consumer::new(&storage.memory());
    for length in 0..=64u16 {
        let sent = Message {
            label: u64::from(length) << 40,
            badge: 1,
            rights: 2,
            length,
            data: [7; 64],
            ..Message::EMPTY
        };
        assert_eq!(producer.push(&sent), Ok(()));
        let mut received = Message { badge: 3, rights: 4, grant_count: 4, ..Message::EMPTY };
        assert_eq!(consumer.pop(&mut received), Ok(()));
        assert_eq!(received.label, sent.label);
        assert_eq!(received.bytes(), &sent.data[..length.into()]);
        assert!(received.data[length.into()..].iter().all(|byte| *byte == 0), "length {length}");
        assert_eq!((received.badge, received.rights, received.grant_count), (0, 0, 0));
    }
}

#[test]
fn a_ring_holds_as_many_messages_as_it_has_slots() {
    for capacity in [1, 2, 8] {
        let storage = RawMemory::new(capacity);
        let mut producer = Producer::new(&storage.memory());
        let mut consumer = Consumer::new(&storage.memory());
        let mut received = Message::EMPTY;
        for lap in 0..3 {
            for place in 0..capacity as u64 {
                assert_eq!(producer.push(&message(lap * 8 + place, 8)), Ok(()));
            }
            assert_eq!(producer.push(&message(99, 8)), Err(PushError::Full));
            for place in 0..capacity as u64 {
                assert_eq!(consumer.pop(&mut received), Ok(()));
                assert_eq!(received, message(lap * 8 + place, 8));
            }
            assert_eq!(consumer.pop(&mut received), Err(PopError::Empty));
        }
    }
}

#[test]
fn what_a_ring_cannot_carry_is_refused_and_changes_nothing() {
    let storage = RawMemory::new(1);
    let mut producer = Producer::new(&storage.memory());
    let long = Message { length: 65, ..Message::EMPTY };
    let grants = Message { grant_count: 1, ..Message::EMPTY };
    assert_eq!(producer.push(&long), Err(PushError::TooLong));
    assert_eq!(producer.push(&grants), Err(PushError::Grants));
    assert_eq!(producer.push(&message(1, 64)), Ok(()));
}

#[test]
fn either_end_is_told_to_the_other() {
    let futex = TestFutex::new();
    let storage = RawMemory::new(2);
    let mut producer = Producer::new(&storage.memory());
    let mut consumer = Consumer::new(&storage.memory());
    let mut received = Message::EMPTY;
    assert_eq!(producer.push(&message(1, 8)), Ok(()));
    producer.close(&futex);
    consumer.wait(&futex, 0);
    assert_eq!(consumer.pop(&mut received), Ok(()));
    consumer.wait(&futex, 0);
    assert_eq!(consumer.pop(&mut received), Err(PopError::Closed));

    let storage = RawMemory::new(1);
    let mut producer = Producer::new(&storage.memory());
    assert_eq!(producer.push(&message(1, 8)), Ok(()));
    Consumer::new(&storage.memory()).close(&futex);
    producer.wait(&futex, 0);
    assert_eq!(producer.push(&message(2, 8)), Err(PushError::Closed));
}

/// A futex that counts, and never blocks.
#[derive(Default)]
struct CountingFutex {
    waits: core::cell::Cell<u32>,
    wakes: core::cell::Cell<u32>,
}

impl Futex for CountingFutex {
    fn wait<'w>(&self, mut words: impl Iterator<Item = &'w AtomicU32>, expected: u32) {
        assert!(words.all(|word| word.load(Ordering::Relaxed) == expected));
        self.waits.set(self.waits.get() + 1);
    }

    fn wake(&self, _word: &AtomicU32) {
        self.wakes.set(self.wakes.get() + 1);
    }
}

#[test]
fn nobody_is_woken_who_does_not_sleep() {
    let futex = CountingFutex::default();
    let storage = RawMemory::new(4);
    let mut producer = Producer::new(&storage.memory());
    let mut consumer = Consumer::new(&storage.memory());
    let mut received = Message::EMPTY;
    for label in 0..9 {
        assert_eq!(producer.send(&message(label, 8), &futex), Ok(()));
        assert_eq!(consumer.receive(&mut received, &futex), Ok(()));
    }
    consumer.wait(&futex, 3);
    assert_eq!((futex.waits.get(), futex.wakes.get()), (1, 0));
    assert_eq!(producer.send(&message(9, 8), &futex), Ok(()));
    consumer.wait(&futex, 3);
    assert_eq!((futex.waits.get(), futex.wakes.get()), (1, 0), "there was something to do");
}

/// A futex whose wait sends two messages, as a producer on another processor may.
struct SendingFutex<'a> {
    producer: core::cell::RefCell<Producer<'a>>,
    inner: CountingFutex,
}

impl Futex for SendingFutex<'_> {
    fn wait<'w>(&self, _words: impl Iterator<Item = &'w AtomicU32>, _expected: u32) {
        for label in 1..=2 {
            assert_eq!(self.producer.borrow_mut().send(&message(label, 8), &self.inner), Ok(()));
        }
    }

    fn wake(&self, _word: &AtomicU32) {}
}

#[test]
fn a_sleeping_consumer_is_woken_once_for_several_messages() {
    let storage = RawMemory::new(4);
    let producer = core::cell::RefCell::new(Producer::new(&storage.memory()));
    let futex = SendingFutex { producer, inner: CountingFutex::default() };
    let mut consumer = Consumer::new(&storage.memory());
    let mut received = Message::EMPTY;
    consumer.wait(&futex, 0);
    assert_eq!(futex.inner.wakes.get(), 1);
    assert_eq!(consumer.pop(&mut received), Ok(()));
    assert_eq!(consumer.pop(&mut received), Ok(()));
}

#[test]
fn two_threads_stream_and_sleep() {
    let count = if cfg!(miri) { 60 } else { 20_000 };
    let storage = RawMemory::new(4);
    let futex = TestFutex::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut producer = Producer::new(&storage.memory());
            for label in 0..count {
                assert!(send_all(&mut producer, &futex, &message(label, label as usize % 65)));
            }
            producer.close(&futex);
        });
        let mut consumer = Consumer::new(&storage.memory());
        let mut received = Message::EMPTY;
        let mut label = 0;
        loop {
            match consumer.receive(&mut received, &futex) {
                Ok(()) => {
                    let sent = message(label, label as usize % 65);
                    assert_eq!((received.label, received.bytes()), (label, sent.bytes()));
                    label += 1;
                }
                Err(PopError::Empty) => consumer.wait(&futex, 100),
                Err(error) => {
                    assert_eq!((error, label), (PopError::Closed, count));
                    break;
                }
            }
        }
    });
}

#[test]
fn errors_say_what_to_do() {
    assert_eq!(
        PushError::Corrupt.to_string(),
        "the ring's consumer counts messages that were never sent: give the ring up"
    );
    assert_eq!(
        PopError::Empty.to_string(),
        "the ring is empty: wait until its producer has sent a message"
    );
    assert_eq!(
        LayoutError::Alignment.to_string(),
        "a ring begins at a multiple of 128 bytes: map it at the start of a page"
    );
}
