//! Tests of the ring: plain ones, which Miri runs too; hostile peers; and models under loom and
//! shuttle, which `tests/ring` builds.

#[cfg(not(any(loom, shuttle)))]
mod answers;
#[cfg(not(any(loom, shuttle)))]
mod hostile;
#[cfg(loom)]
mod loom_answers;
#[cfg(loom)]
mod loom_models;
#[cfg(not(any(loom, shuttle)))]
mod plain;
#[cfg(shuttle)]
mod shuttle_schedules;
#[cfg(any(loom, shuttle))]
mod storage;

use super::atomics::{AtomicU32, Ordering};
use super::*;
use phi_abi::Message;

#[cfg(loom)]
use loom::sync::{Condvar, Mutex};
#[cfg(shuttle)]
use shuttle::sync::{Condvar, Mutex};
#[cfg(not(any(loom, shuttle)))]
use std::sync::{Condvar, Mutex};

/// A futex for the threads of one test. Like Linux', it compares the word under its own lock, and a
/// wake takes that lock after the word was changed.
struct TestFutex {
    lock: Mutex<()>,
    wakes: Condvar,
}

impl TestFutex {
    fn new() -> TestFutex {
        TestFutex { lock: Mutex::new(()), wakes: Condvar::new() }
    }
}

impl Futex for TestFutex {
    fn wait<'w>(&self, mut words: impl Iterator<Item = &'w AtomicU32>, expected: u32) {
        let guard = self.lock.lock().unwrap();
        if words.all(|word| word.load(Ordering::Relaxed) == expected) {
            drop(self.wakes.wait(guard).unwrap());
        }
    }

    fn wake(&self, _word: &AtomicU32) {
        let _guard = self.lock.lock().unwrap();
        self.wakes.notify_all();
    }
}

/// The message with this label, and the label once more in `length` bytes.
fn message(label: u64, length: usize) -> Message {
    let mut bytes = [0; 64];
    for (place, byte) in bytes.iter_mut().zip(label.to_le_bytes().iter().cycle()) {
        *place = *byte;
    }
    Message::new(label, &bytes[..length]).unwrap()
}

/// Sends `message`, waiting for room; `false` if the consumer has closed.
fn send_all(producer: &mut Producer<'_>, futex: &TestFutex, message: &Message) -> bool {
    loop {
        match producer.send(message, futex) {
            Ok(()) => return true,
            Err(PushError::Full) => producer.wait(futex, 0),
            Err(PushError::Closed) => return false,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Receives a message, waiting for it; `None` if the producer has closed.
#[cfg(any(loom, shuttle))]
fn receive_next(consumer: &mut Consumer<'_>, futex: &TestFutex) -> Option<Message> {
    let mut message = Message::EMPTY;
    loop {
        match consumer.receive(&mut message, futex) {
            Ok(()) => return Some(message),
            Err(PopError::Empty) => consumer.wait(futex, 0),
            Err(PopError::Closed) => return None,
            Err(error) => panic!("{error}"),
        }
    }
}
