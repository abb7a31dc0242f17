//! The control area: shared memory through which a service's threads and the supervisor exchange
//! calls.
//!
//! One page of pending bits, then one page per thread. A service can write to all of its own area,
//! so the supervisor copies once, by atomic words, and checks what it copied; what it knows about a
//! thread it keeps for itself.

use super::futex;
use super::memory;
use memmap2::{MmapOptions, MmapRaw};
use phi_abi::layout::PAGE;
use phi_abi::{Fault, FaultKind, Message, Outcome};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

const MESSAGE_WORDS: usize = size_of::<Message>() / 8;
const PENDING_WORDS: usize = PAGE as usize / 8;

/// Threads of one service, at most.
pub const THREADS: usize = PENDING_WORDS * 64;

/// No thread uses the page.
pub const IDLE: u32 = 0;
/// The thread waits for its first dispatch.
pub const PARKED: u32 = 1;
/// The thread runs in the service.
pub const RUNNING: u32 = 2;
/// The thread made the call in its page, and waits.
pub const CALLING: u32 = 3;
/// The thread did the fault in its page, and waits for its end.
pub const FAULTED: u32 = 4;
/// The thread shall leave.
pub const ENDED: u32 = 5;

/// One thread's page.
#[repr(C, align(4096))]
pub struct ThreadPage {
    state: AtomicU32,
    held: AtomicU32,
    thread: AtomicI32,
    number: AtomicU32,
    arguments: [AtomicU64; 4],
    status: AtomicU64,
    value: AtomicU64,
    message_out: AtomicU32,
    fault_kind: AtomicU32,
    fault_address: AtomicU64,
    fault_instruction: AtomicU64,
    message: [AtomicU64; MESSAGE_WORDS],
}

const _: () = assert!(size_of::<ThreadPage>() == PAGE as usize);
const _: () = assert!(size_of::<Message>() == MESSAGE_WORDS * 8);

impl ThreadPage {
    /// What the thread is doing: one of the constants above, unless its service lies.
    pub fn state(&self) -> u32 {
        self.state.load(Ordering::Acquire)
    }

    /// Waits, at most `timeout`, while the state is `state`.
    pub fn wait_while(&self, state: u32, timeout: Option<Duration>) {
        if self.state() == state {
            futex::wait(&self.state, state, timeout);
        }
    }

    /// Changes the state whatever it was, and wakes whoever waits for that.
    pub fn set_state(&self, state: u32) {
        self.state.store(state, Ordering::Release);
        futex::wake(&self.state);
    }

    /// Supervisor: tells the thread to leave, if there is one.
    pub fn end(&self) {
        let ended = |state| (state != IDLE).then_some(ENDED);
        // An idle page stays so: its thread, if it had one, has left.
        let _ = self.state.fetch_update(Ordering::Release, Ordering::Relaxed, ended);
        futex::wake(&self.state);
    }

    /// Changes the state from RUNNING to `state`; `false` when the thread shall leave instead.
    pub fn stop_running(&self, state: u32) -> bool {
        self.state.compare_exchange(RUNNING, state, Ordering::Release, Ordering::Relaxed).is_ok()
    }

    /// The Linux thread that uses the page, once it runs.
    pub fn thread(&self) -> i32 {
        self.thread.load(Ordering::Acquire)
    }

    /// Says which Linux thread uses the page.
    pub fn set_thread(&self, thread: i32) {
        self.thread.store(thread, Ordering::Release);
    }

    /// Whether the thread is held back because its service's budget is used up.
    pub fn held(&self) -> bool {
        self.held.load(Ordering::Acquire) != 0
    }

    /// Holds the thread back, or lets it go on.
    pub fn set_held(&self, held: bool) {
        self.held.store(u32::from(held), Ordering::Release);
        futex::wake(&self.held);
    }

    /// Waits while the thread is held back.
    pub fn wait_while_held(&self) {
        while self.held() {
            futex::wait(&self.held, 1, None);
        }
    }

    /// Service: writes a call.
    pub fn write_call(&self, number: u32, arguments: [u64; 4], message: Option<&Message>) {
        self.number.store(number, Ordering::Relaxed);
        for (place, argument) in self.arguments.iter().zip(arguments) {
            place.store(argument, Ordering::Relaxed);
        }
        if let Some(message) = message {
            self.write_message(message);
        }
    }

    /// Supervisor: copies the call's number and arguments.
    pub fn read_call(&self) -> (u32, [u64; 4]) {
        let arguments = std::array::from_fn(|i| self.arguments[i].load(Ordering::Relaxed));
        (self.number.load(Ordering::Relaxed), arguments)
    }

    /// Supervisor: writes how a call ended.
    pub fn write_outcome(&self, outcome: Outcome, message: Option<&Message>) {
        self.status.store(outcome.status, Ordering::Relaxed);
        self.value.store(outcome.value, Ordering::Relaxed);
        self.message_out.store(u32::from(message.is_some()), Ordering::Relaxed);
        if let Some(message) = message {
            self.write_message(message);
        }
    }

    /// Service: how the call ended, and whether there is a message for it.
    pub fn read_outcome(&self) -> (Outcome, bool) {
        let outcome = Outcome {
            status: self.status.load(Ordering::Relaxed),
            value: self.value.load(Ordering::Relaxed),
        };
        (outcome, self.message_out.load(Ordering::Relaxed) != 0)
    }

    fn write_message(&self, message: &Message) {
        // SAFETY: a message is `repr(C)` without padding, as long as the words, and aligned to them.
        let words: [u64; MESSAGE_WORDS] = unsafe { std::mem::transmute_copy(message) };
        for (place, word) in self.message.iter().zip(words) {
            place.store(word, Ordering::Relaxed);
        }
    }

    /// Copies the message.
    pub fn read_message(&self) -> Message {
        let words: [u64; MESSAGE_WORDS] =
            std::array::from_fn(|i| self.message[i].load(Ordering::Relaxed));
        // SAFETY: a message is as long as the words, and any bits make one: it is all numbers.
        unsafe { std::mem::transmute::<[u64; MESSAGE_WORDS], Message>(words) }
    }

    /// Service: writes a fault.
    pub fn write_fault(&self, fault: Fault) {
        self.fault_kind.store(fault.kind as u32, Ordering::Relaxed);
        self.fault_address.store(fault.address, Ordering::Relaxed);
        self.fault_instruction.store(fault.instruction, Ordering::Relaxed);
    }

    /// Supervisor: copies the fault. A kind that does not exist reads as a protection fault.
    pub fn read_fault(&self) -> Fault {
        let kind = FaultKind::from_number(self.fault_kind.load(Ordering::Relaxed));
        Fault {
            kind: kind.unwrap_or(FaultKind::Protection),
            address: self.fault_address.load(Ordering::Relaxed),
            instruction: self.fault_instruction.load(Ordering::Relaxed),
        }
    }
}

/// The control area of one service, mapped.
pub struct ControlArea {
    mapping: MmapRaw,
    threads: usize,
}

impl ControlArea {
    /// Makes an area for `threads` threads; the descriptor is for the service's process.
    pub fn create(threads: usize) -> io::Result<(ControlArea, OwnedFd)> {
        let threads = threads.min(THREADS);
        let memory = memory::create("phi-control", length(threads) as u64)?;
        Ok((ControlArea::open(&memory, threads)?, memory))
    }

    /// Maps the area for `threads` threads that `memory` is.
    pub fn open(memory: impl AsFd, threads: usize) -> io::Result<ControlArea> {
        let descriptor = std::os::fd::AsRawFd::as_raw_fd(&memory.as_fd());
        let mapping = MmapOptions::new().len(length(threads)).map_raw(descriptor)?;
        Ok(ControlArea { mapping, threads })
    }

    /// How many threads it is for.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// The page of the thread in `slot`.
    ///
    /// # Panics
    /// When there is no such slot.
    pub fn page(&self, slot: usize) -> &ThreadPage {
        assert!(slot < self.threads, "no such thread");
        // SAFETY: the mapping has a page of pending bits and `threads` further pages, is aligned to
        // pages, and lives as long as `self`. Both sides touch it through atomics only.
        unsafe { &*self.mapping.as_ptr().add((slot + 1) * PAGE as usize).cast() }
    }

    fn pending(&self) -> &[AtomicU64] {
        let words = self.threads.div_ceil(64);
        // SAFETY: the first page holds PENDING_WORDS words; the rest as for `page`.
        unsafe { std::slice::from_raw_parts(self.mapping.as_ptr().cast(), words) }
    }

    /// Service: says that the thread in `slot` has something for the supervisor. Returns whether the
    /// doorbell must be rung: others that said so before have rung it.
    pub fn set_pending(&self, slot: usize) -> bool {
        self.pending()[slot / 64].fetch_or(1 << (slot % 64), Ordering::AcqRel) == 0
    }

    /// Supervisor: takes the slots that are pending.
    pub fn take_pending(&self, slots: &mut Vec<usize>) {
        for (index, word) in self.pending().iter().enumerate() {
            let mut bits = word.swap(0, Ordering::AcqRel);
            while bits != 0 {
                let slot = index * 64 + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                if slot < self.threads {
                    slots.push(slot);
                }
            }
        }
    }
}

fn length(threads: usize) -> usize {
    (threads + 1) * PAGE as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_side_writes_the_other_reads() {
        let (area, memory) = ControlArea::create(70).unwrap();
        let other = ControlArea::open(&memory, 70).unwrap();
        let mut message = Message::new(7, b"hello").unwrap();
        message.grants[3].length = 99;
        area.page(69).write_call(11, [1, 2, 3, 4], Some(&message));
        assert_eq!(other.page(69).read_call(), (11, [1, 2, 3, 4]));
        assert_eq!(other.page(69).read_message(), message);

        assert!(area.set_pending(69));
        assert!(!area.set_pending(69));
        assert!(area.set_pending(3));
        let mut slots = Vec::new();
        other.take_pending(&mut slots);
        assert_eq!(slots, [3, 69]);
        other.take_pending(&mut slots);
        assert_eq!(slots, [3, 69]);
    }

    #[test]
    fn an_unknown_kind_of_fault_is_a_protection_fault() {
        let (area, _memory) = ControlArea::create(1).unwrap();
        area.page(0).fault_kind.store(u32::MAX, Ordering::Relaxed);
        assert_eq!(area.page(0).read_fault().kind, FaultKind::Protection);
    }

    #[test]
    fn a_thread_that_shall_end_makes_no_call() {
        let (area, _memory) = ControlArea::create(1).unwrap();
        area.page(0).end();
        assert_eq!(area.page(0).state(), IDLE);
        area.page(0).set_state(RUNNING);
        area.page(0).end();
        assert!(!area.page(0).stop_running(CALLING));
        area.page(0).set_state(RUNNING);
        assert!(area.page(0).stop_running(CALLING));
        assert_eq!(area.page(0).state(), CALLING);
    }

    #[test]
    fn the_size_of_the_area_is_sealed() {
        let (_area, memory) = ControlArea::create(1).unwrap();
        assert!(nix::unistd::ftruncate(&memory, 0).is_err());
    }
}
