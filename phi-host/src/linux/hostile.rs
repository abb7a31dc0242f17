//! Fuzz target `control`: what a hostile service leaves in its control area and in its socket is
//! read as what it is, or refused. `cargo test` runs it on fixed seeds; see `docs/fuzzing.md`.

use super::control::{self, ControlArea};
use super::protocol;
use memmap2::{MmapOptions, MmapRaw};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, send, socketpair};
use phi_abi::layout::PAGE;
use phi_abi::{FaultKind, MESSAGE_BYTES, MESSAGE_GRANTS, Message, Outcome};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

/// Threads of the service: more than one word of pending bits, and not all of the second.
const THREADS: usize = 70;

/// Bytes that describe one step: what, which thread, which word of its page, and a value.
const STEP: usize = 12;

/// Words at the beginning of a page that something may be written to.
const WORDS: usize = 64;

/// The control area as its service sees it: memory.
struct Scribbler(MmapRaw);

impl Scribbler {
    fn open(memory: &OwnedFd) -> Scribbler {
        let length = (THREADS + 1) * PAGE as usize;
        Scribbler(MmapOptions::new().len(length).map_raw(memory).expect("a second mapping"))
    }

    /// A word of the page of pending bits, which is the first, or of a thread's.
    fn word(&self, page: usize, place: usize) -> &AtomicU64 {
        let at = page % (THREADS + 1) * PAGE as usize + place % WORDS * 8;
        // SAFETY: it lies within the mapping, aligned, and all who touch it do by atomics.
        unsafe { &*self.0.as_ptr().add(at).cast() }
    }
}

/// Does what `input` describes; how many threads were found that had something for the supervisor.
///
/// # Panics
/// When the supervisor finds something that cannot be.
pub fn run(input: &[u8]) -> usize {
    let (area, memory) = ControlArea::create(THREADS).expect("memory");
    let scribbler = Scribbler::open(&memory);
    let mut found = 0;
    for step in input.chunks(STEP) {
        let mut bytes = [0; STEP];
        bytes[..step.len()].copy_from_slice(step);
        let [choice, slot, low, high, value @ ..] = bytes;
        let slot = usize::from(slot) % THREADS;
        let place = usize::from(u16::from_le_bytes([low, high]));
        let number = u64::from_le_bytes(value);
        match choice & 15 {
            0..6 => scribbler.word(slot + 1, place).store(number, Ordering::Relaxed),
            6..8 => scribbler.word(0, place).store(number, Ordering::Relaxed),
            8..10 => found += take_pending(&area, &scribbler),
            10..12 => read(&area, slot),
            12 => end(&area, slot),
            13 => release(&area, slot, number),
            14 => answer(&value[..place % 9]),
            _ => commands(&input[place.min(input.len())..]),
        }
    }
    found + take_pending(&area, &scribbler)
}

/// Each thread that exists and whose bit is set is found once, and no other.
fn take_pending(area: &ControlArea, scribbler: &Scribbler) -> usize {
    let bit =
        |slot: &usize| scribbler.word(0, slot / 64).load(Ordering::Relaxed) >> (slot % 64) & 1 == 1;
    let expected: Vec<usize> = (0..THREADS).filter(bit).collect();
    let mut slots = Vec::new();
    area.take_pending(&mut slots);
    assert_eq!(slots, expected, "the threads that are pending");
    slots.len()
}

/// What is read of a thread's page stays what it is, whatever is there.
fn read(area: &ControlArea, slot: usize) {
    let page = area.page(slot);
    let (number, arguments) = page.read_call();
    let message = page.read_message();
    assert!(message.bytes().len() <= MESSAGE_BYTES, "more bytes than a message has");
    assert!(message.grants().len() <= MESSAGE_GRANTS, "more capabilities than a message has");
    let fault = page.read_fault();
    assert_eq!(FaultKind::from_number(fault.kind as u32), Some(fault.kind));
    page.write_call(number, arguments, Some(&message));
    page.write_fault(fault);
    assert_eq!(page.read_call(), (number, arguments));
    assert_eq!((page.read_message(), page.read_fault()), (message, fault));
}

/// A thread that shall leave makes no call; and a page that nobody uses stays so.
fn end(area: &ControlArea, slot: usize) {
    let page = area.page(slot);
    let idle = page.state() == control::IDLE;
    page.end();
    assert_eq!(page.state(), if idle { control::IDLE } else { control::ENDED });
    assert!(!page.stop_running(control::CALLING), "a call of a thread that has ended");
}

/// A thread that goes on finds how its call ended, and no other thread's page is touched.
fn release(area: &ControlArea, slot: usize, value: u64) {
    let neighbour = area.page((slot + 1) % THREADS);
    let seen = || (neighbour.state(), neighbour.read_call(), neighbour.read_message());
    let before = seen();
    let (outcome, message) = (Outcome::success(value), Message { label: value, ..Message::EMPTY });
    let page = area.page(slot);
    page.write_outcome(outcome, Some(&message));
    page.set_state(control::RUNNING);
    assert_eq!((page.read_outcome(), page.read_message()), ((outcome, true), message));
    assert_eq!(seen(), before, "another thread's page");
}

/// An answer is four bytes, and only zero is success.
fn answer(bytes: &[u8]) {
    match protocol::answer(bytes) {
        None => assert_ne!(bytes.len(), 4, "an answer that is not understood"),
        Some(result) => assert_eq!(result.is_ok(), bytes == [0; 4]),
    }
}

/// A datagram is commands, which mean the same when they are sent again, or is refused.
fn commands(bytes: &[u8]) {
    let flags = SockFlag::SOCK_CLOEXEC;
    let pair = || socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags);
    let (near, far) = pair().expect("a pair of sockets");
    send(near.as_raw_fd(), bytes, MsgFlags::empty()).expect("a short datagram");
    let Ok(Some((commands, descriptors))) = protocol::receive_commands(far.as_fd()) else { return };
    assert!(descriptors.is_empty(), "descriptors that nobody sent");
    protocol::send_commands(near.as_fd(), &commands, &[]).expect("commands that were sent");
    let again = protocol::receive_commands(far.as_fd()).expect("commands").expect("a datagram");
    assert_eq!(again.0, commands);
}

#[cfg(test)]
mod tests {
    use super::*;
    use phi_random::Random;
    use std::collections::BTreeSet;
    use std::path::Path;

    #[test]
    fn nothing_that_a_service_writes_is_believed() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus/control");
        let files = std::fs::read_dir(corpus).expect("the corpus");
        let inputs = files.map(|file| std::fs::read(file.expect("a file").path()).expect("input"));
        assert!(inputs.map(|input| run(&input)).max() > Some(0));
        let mut found = BTreeSet::new();
        for seed in 0..200 {
            let mut random = Random::new(seed);
            let input: Vec<u8> = (0..100).flat_map(|_| random.word().to_le_bytes()).collect();
            found.insert(run(&input));
        }
        assert!(found.len() > 10, "{found:?}");
    }
}
