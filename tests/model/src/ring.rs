//! Target `ring`: a ring is a bounded queue while both sides keep to it; and when somebody scribbles
//! into its memory, every call still returns, and no message is longer than a message.

use crate::bytes::Bytes;
use phi_abi::{MESSAGE_BYTES, Message};
use phi_ipc::ring::{AtomicU32, Consumer, Futex, PopError, Producer, PushError, RingMemory};
use std::collections::VecDeque;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

/// Rounds that a side looks before it sleeps.
const SPINS: u32 = 2;

/// 128 bytes, aligned as a ring must be.
#[repr(align(128))]
struct Line([AtomicU64; 16]);

/// The memory of a ring.
struct Storage {
    lines: Box<[Line]>,
    capacity: usize,
}

impl Storage {
    /// Memory for an empty ring of 1, 2, 4 or 8 slots.
    fn new(exponent: usize) -> Storage {
        let capacity = 1 << (exponent % 4);
        let bytes = RingMemory::size(capacity).expect("a ring that small exists");
        let line = || Line(std::array::from_fn(|_| AtomicU64::new(0)));
        let lines = std::iter::repeat_with(line).take(bytes.div_ceil(size_of::<Line>())).collect();
        Storage { lines, capacity }
    }

    #[allow(unsafe_code)]
    fn ring(&self) -> RingMemory<'_> {
        let start = NonNull::from(&*self.lines).cast();
        // SAFETY: the lines are as many bytes as the ring takes, live as long as the result, and are
        // atomics: what is scribbled besides is no data race.
        unsafe { RingMemory::new(start, self.capacity) }.expect("aligned lines")
    }

    fn word(&self, place: usize) -> &AtomicU64 {
        &self.lines[place / 16 % self.lines.len()].0[place % 16]
    }
}

/// A futex on which nobody sleeps.
struct Sleepless;

impl Futex for Sleepless {
    fn wait<'w>(&self, _words: impl Iterator<Item = &'w AtomicU32>, _expected: u32) {}

    fn wake(&self, _word: &AtomicU32) {}
}

/// Does what `input` describes; how many messages came through while nobody scribbled.
///
/// # Panics
/// When the ring is no queue, or a message is none.
pub fn run(input: &[u8]) -> usize {
    let mut bytes = Bytes::new(input);
    let storage = Storage::new(bytes.below(4));
    let mut producer = Producer::new(&storage.ring());
    let mut consumer = Consumer::new(&storage.ring());
    let mut queue: VecDeque<Message> = VecDeque::new();
    let (mut sound, mut passed) = (true, 0);
    while !bytes.is_empty() {
        match bytes.byte() {
            0..115 => {
                let message = message(&mut bytes);
                let result = producer.send(&message, &Sleepless);
                let expected = expected(&message, queue.len() == storage.capacity);
                let own = |error| matches!(error, Err(PushError::TooLong | PushError::Grants));
                assert!(!sound || result == expected, "{result:?}, not {expected:?}");
                assert_eq!(own(result), own(expected), "what is wrong with the message itself");
                if result.is_ok() {
                    queue.push_back(message);
                }
            }
            115..230 => {
                let before = Message { badge: 5, length: 9, ..Message::EMPTY };
                let mut found = before;
                let result = consumer.receive(&mut found, &Sleepless);
                match result {
                    Ok(()) => assert!(usize::from(found.length) <= MESSAGE_BYTES),
                    Err(_) => assert_eq!(found, before, "a message without one"),
                }
                let next = queue.pop_front();
                if sound {
                    let seen = result.map(|()| (found.label, found.bytes().to_vec()));
                    let expected = next.map(|next| (next.label, next.bytes().to_vec()));
                    assert_eq!(seen, expected.ok_or(PopError::Empty), "what comes out");
                    assert_eq!((found.grant_count, found.reply.0), (0, 0));
                    passed += usize::from(result.is_ok());
                }
            }
            230..240 => producer.wait(&Sleepless, SPINS),
            240..250 => consumer.wait(&Sleepless, SPINS),
            choice => {
                let word = storage.word(usize::from(bytes.byte()) * 2 + usize::from(choice & 1));
                let value = match choice {
                    250..252 => bytes.word(),
                    252..254 => u64::from(bytes.byte()).wrapping_sub(8),
                    _ => storage.word(usize::from(bytes.byte())).load(Ordering::Relaxed),
                };
                sound &= word.swap(value, Ordering::Relaxed) == value;
            }
        }
    }
    passed
}

fn message(bytes: &mut Bytes<'_>) -> Message {
    let (label, choice) = (u64::from(bytes.byte()), bytes.byte());
    let length = u16::from(choice) % 66;
    Message {
        label,
        length,
        grant_count: u16::from(choice == 255),
        data: std::array::from_fn(|at| label as u8 ^ at as u8),
        ..Message::EMPTY
    }
}

fn expected(message: &Message, full: bool) -> Result<(), PushError> {
    if usize::from(message.length) > MESSAGE_BYTES {
        Err(PushError::TooLong)
    } else if message.grant_count > 0 {
        Err(PushError::Grants)
    } else if full {
        Err(PushError::Full)
    } else {
        Ok(())
    }
}
