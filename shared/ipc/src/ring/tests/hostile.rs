//! A side that writes what it likes, where it likes, between and during our calls.

use super::plain::RawMemory;
use super::*;
use crate::ring::layout::Header;
use core::mem::offset_of;
use core::sync::atomic::AtomicU64;
use proptest::prelude::*;
use std::vec::Vec;

/// One step of a test: something that we do, or something that the hostile side does.
#[derive(Clone, Debug)]
enum Step {
    Push(u16),
    Pop,
    WaitForRoom,
    WaitForMessage,
    /// Lets word `.0` of the memory, modulo its words, be `.1`.
    Scribble(usize, u64),
    /// Lets the 8 bytes of word `.0` be those of word `.1`: plausible values in wrong places.
    Copy(usize, usize),
}

/// A futex on which nothing is ever waited for in vain.
struct NoFutex;

impl Futex for NoFutex {
    fn wait<'w>(&self, _words: impl Iterator<Item = &'w AtomicU32>, _expected: u32) {}

    fn wake(&self, _word: &AtomicU32) {}
}

/// The words of a ring's memory. Those of two halves are used by halves, as the ring does: mixed sizes
/// are nothing that Rust has a meaning for.
struct Words<'a>(&'a [AtomicU64]);

impl Words<'_> {
    /// The word that `place` is modulo the words, in halves if it is one of those.
    #[allow(unsafe_code)]
    fn at(&self, place: usize) -> Result<&AtomicU64, &[AtomicU32; 2]> {
        let place = place % self.0.len();
        let word = &self.0[place];
        let sides = [offset_of!(Header, consumer), offset_of!(Header, producer)];
        if sides.contains(&(place * size_of::<AtomicU64>())) {
            // SAFETY: as large, and aligned for both; bell and closed lie there.
            return Err(unsafe { &*core::ptr::from_ref(word).cast() });
        }
        Ok(word)
    }

    fn load(&self, place: usize) -> u64 {
        match self.at(place) {
            Ok(word) => word.load(Ordering::Relaxed),
            Err(halves) => {
                let [low, high] = halves.each_ref().map(|half| half.load(Ordering::Relaxed));
                u64::from(low) | u64::from(high) << 32
            }
        }
    }

    fn store(&self, place: usize, value: u64) {
        match self.at(place) {
            Ok(word) => word.store(value, Ordering::Relaxed),
            Err([low, high]) => {
                low.store(value as u32, Ordering::Relaxed);
                high.store((value >> 32) as u32, Ordering::Relaxed);
            }
        }
    }
}

#[allow(unsafe_code)]
fn words(storage: &RawMemory) -> Words<'_> {
    let count = storage.layout.size() / size_of::<AtomicU64>();
    // SAFETY: the storage is that large, aligned beyond a word, zeroed, and shared as atomics only.
    Words(unsafe { core::slice::from_raw_parts(storage.start.cast().as_ptr(), count) })
}

/// Values that a hostile side would try, and any other.
fn value() -> impl Strategy<Value = u64> {
    prop_oneof![0u64..8, (0u64..8).prop_map(|value| value.wrapping_sub(4)), 60u64..70, any::<u64>()]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u16..70).prop_map(Step::Push),
        4 => Just(Step::Pop),
        1 => Just(Step::WaitForRoom),
        1 => Just(Step::WaitForMessage),
        4 => (any::<usize>(), value()).prop_map(|(place, value)| Step::Scribble(place, value)),
        2 => (any::<usize>(), any::<usize>()).prop_map(|(to, from)| Step::Copy(to, from)),
    ]
}

fn cases() -> ProptestConfig {
    let cases = if cfg!(miri) { 8 } else { 2_000 };
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases())]

    /// Both sides survive anything: every call returns, no message is longer than a message, and a
    /// refused call changes nothing of ours.
    #[test]
    fn scribbling_harms_nobody(
        exponent in 0u32..4,
        steps in proptest::collection::vec(step(), 0..if cfg!(miri) { 20 } else { 80 }),
    ) {
        let storage = RawMemory::new(1 << exponent);
        let words = words(&storage);
        let mut producer = Producer::new(&storage.memory());
        let mut consumer = Consumer::new(&storage.memory());
        for step in steps {
            match step {
                Step::Push(length) => {
                    let message = Message { length, ..Message::EMPTY };
                    let result = producer.send(&message, &NoFutex);
                    prop_assert_eq!(result == Err(PushError::TooLong), length > 64);
                }
                Step::Pop => {
                    let before = Message { badge: 5, length: 9, data: [9; 64], ..Message::EMPTY };
                    let mut received = before;
                    match consumer.receive(&mut received, &NoFutex) {
                        Ok(()) => prop_assert!(
                            received.length <= 64 && received.badge == 0 && received.grant_count == 0
                        ),
                        Err(_) => prop_assert_eq!(received, before),
                    }
                }
                Step::WaitForRoom => producer.wait(&NoFutex, 3),
                Step::WaitForMessage => consumer.wait(&NoFutex, 3),
                Step::Scribble(place, value) => {
                    words.store(place, value);
                }
                Step::Copy(to, from) => {
                    words.store(to, words.load(from));
                }
            }
        }
    }

    /// A ring is its sides' alone: scribbling in one leaves another as it was.
    #[test]
    fn another_ring_is_untouched(scribbles in proptest::collection::vec((any::<usize>(), value()), 0..20)) {
        let (hostile, honest) = (RawMemory::new(2), RawMemory::new(2));
        let mut producer = Producer::new(&honest.memory());
        let mut consumer = Consumer::new(&honest.memory());
        let mut victim = Consumer::new(&hostile.memory());
        let hostile = words(&hostile);
        let mut received = Message::EMPTY;
        for (label, (place, value)) in scribbles.into_iter().enumerate() {
            hostile.store(place, value);
            let _ = victim.receive(&mut received, &NoFutex);
            let sent = message(label as u64, 64);
            prop_assert_eq!(producer.send(&sent, &NoFutex), Ok(()));
            prop_assert_eq!(consumer.receive(&mut received, &NoFutex), Ok(()));
            prop_assert_eq!(received, sent);
        }
    }
}

#[test]
fn an_impossible_length_costs_one_message() {
    let storage = RawMemory::new(2);
    let mut producer = Producer::new(&storage.memory());
    let mut consumer = Consumer::new(&storage.memory());
    assert_eq!(producer.push(&message(1, 8)), Ok(()));
    assert_eq!(producer.push(&message(2, 8)), Ok(()));
    // The length of the first slot: after the header (384 bytes), the sequence and the label.
    words(&storage).0[384 / 8 + 2].store(65, Ordering::Relaxed);
    let mut received = Message::EMPTY;
    assert_eq!(consumer.pop(&mut received), Err(PopError::Corrupt));
    assert_eq!(consumer.pop(&mut received), Ok(()));
    assert_eq!(received, message(2, 8));
    assert_eq!(producer.push(&message(3, 8)), Ok(()), "the bad message's slot is free again");
}

#[test]
fn an_impossible_count_is_told_and_a_count_that_falls_back_is_only_full() {
    let storage = RawMemory::new(2);
    let mut producer = Producer::new(&storage.memory());
    for label in 0..2 {
        assert_eq!(producer.push(&message(label, 8)), Ok(()));
    }
    let taken = &words(&storage).0[0];
    for impossible in [3, u64::MAX, 1 << 63] {
        taken.store(impossible, Ordering::Relaxed);
        assert_eq!(producer.push(&message(2, 8)), Err(PushError::Corrupt));
        producer.wait(&NoFutex, 0);
    }
    taken.store(2, Ordering::Relaxed);
    for label in 2..4 {
        assert_eq!(producer.push(&message(label, 8)), Ok(()));
    }
    taken.store(2, Ordering::Relaxed);
    assert_eq!(producer.push(&message(4, 8)), Err(PushError::Full));
}

/// Not under Miri: the scribbler writes whole words over the doorbells' halves, as another process may.
/// Within one program the language has no meaning for that.
#[test]
#[cfg_attr(miri, ignore)]
fn scribbling_at_the_same_time_harms_nobody() {
    let rounds = 200_000;
    let storage = RawMemory::new(4);
    let done = core::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let Words(words) = words(&storage);
            let mut random = 1u64;
            while !done.load(Ordering::Relaxed) {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let small = random >> 32 & 0xff;
                let value = if random & 1 == 0 { small } else { random };
                words[(random >> 8) as usize % words.len()].store(value, Ordering::Relaxed);
            }
        });
        let mut producer = Producer::new(&storage.memory());
        let mut consumer = Consumer::new(&storage.memory());
        let mut received = Message::EMPTY;
        let mut lengths = Vec::new();
        for round in 0..rounds {
            let _ = producer.send(&message(round, 64), &NoFutex);
            if consumer.receive(&mut received, &NoFutex).is_ok() {
                lengths.push(received.length);
            }
            producer.wait(&NoFutex, 2);
            consumer.wait(&NoFutex, 2);
        }
        done.store(true, Ordering::Relaxed);
        assert!(lengths.iter().all(|length| *length <= 64));
    });
}
