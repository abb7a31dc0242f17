//! The control area: shared memory through which a service's threads and the supervisor exchange
//! calls.
//!
//! One page of pending bits, then one page per thread. A service can write to all of its own area,
//! so the supervisor copies once, by atomic words, and checks what it copied; what it knows about a
//! thread it keeps for itself.

use super::direct::REPLIES;
use super::futex;
use super::memory;
use memmap2::{MmapOptions, MmapRaw};
use phi_abi::layout::PAGE;
use phi_abi::{Fault, FaultKind, Handle, Message, Outcome};
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

/// The status of a receive that has not ended, and is to go on with the thread's channels.
pub const GO_ON: u64 = u64::MAX;

/// ΦCore has nothing to do with what the thread waits for.
const CARRIED: u32 = 0;
/// ΦCore has taken over the call that the thread made on a channel.
const ADOPTED: u32 = 1;
/// That call has ended, as the page says.
const RETURNED: u32 = 2;

/// A thread that waits for others, without a timeout; with one; or does not.
const AWAKE: u64 = 0;
const WAITS: u64 = 1;
const WAITS_FOREVER: u64 = 2;

/// What a thread has done past ΦCore, modulo 2^64: a difference may be negative.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Tally {
    /// Calls that ΦCore would have counted.
    pub calls: u64,
    /// Messages.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// A call under way on a channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Carrying {
    /// Index of the channel in the domain's notices.
    pub channel: usize,
    /// The call's number on it.
    pub number: u64,
    /// The end of its time, in nanoseconds of the monotonic clock.
    pub end: u64,
}

/// A reply for ΦCore to adopt.
#[repr(C)]
struct Adoption {
    /// The handle that stands for it.
    handle: AtomicU64,
    /// In: the number of its call. Out: the handle that ΦCore has made of it.
    number: AtomicU64,
}

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
    // What the thread does past ΦCore.
    adopted: AtomicU32,
    /// Index of the channel, and 1, on which the thread has a call under way; 0 without one.
    channel: AtomicU32,
    /// Number of that call, and the end of its time.
    call: [AtomicU64; 2],
    /// How the thread waits, and in the bits above how often it has waited.
    waiting: AtomicU64,
    tally: [AtomicU64; 3],
    adoption_count: AtomicU32,
    adoptions: [Adoption; REPLIES],
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
        self.end_adopted();
    }

    /// Whether the thread shall leave.
    pub fn has_ended(&self) -> bool {
        self.state() == ENDED
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

    /// Service: a call is about to begin on a channel.
    pub fn begin_carried(&self, Carrying { channel, number, end }: Carrying) {
        self.call[0].store(number, Ordering::Relaxed);
        self.call[1].store(end, Ordering::Relaxed);
        self.channel.store(channel as u32 + 1, Ordering::Release);
    }

    /// Service: the call on a channel is over.
    pub fn end_carried(&self) {
        self.channel.store(0, Ordering::Relaxed);
    }

    /// Supervisor: the call that the thread says to have under way on a channel.
    pub fn carried(&self) -> Option<Carrying> {
        let channel = self.channel.load(Ordering::Acquire).checked_sub(1)? as usize;
        let [number, end] = std::array::from_fn(|place| self.call[place].load(Ordering::Relaxed));
        Some(Carrying { channel, number, end })
    }

    /// Supervisor: says, before it takes over the call on a channel, that it does; or that it did not.
    pub fn set_adopted(&self, adopted: bool) {
        let state = if adopted { ADOPTED } else { CARRIED };
        self.adopted.store(state, Ordering::Release);
    }

    /// Supervisor: the call that it took over has ended, if there is one.
    pub fn end_adopted(&self) {
        let ended =
            self.adopted.compare_exchange(ADOPTED, RETURNED, Ordering::Release, Ordering::Relaxed);
        if ended.is_ok() {
            futex::wake(&self.adopted);
        }
    }

    /// Service: waits until the call that the supervisor took over has ended; `false` if it has not
    /// taken it over.
    pub fn wait_adopted(&self) -> bool {
        while self.adopted.load(Ordering::Acquire) == ADOPTED {
            futex::wait(&self.adopted, ADOPTED, None);
        }
        self.adopted.swap(CARRIED, Ordering::Relaxed) == RETURNED
    }

    /// Supervisor: the page is for a new thread.
    pub fn begin(&self) {
        self.adopted.store(CARRIED, Ordering::Relaxed);
        self.channel.store(0, Ordering::Relaxed);
        self.adoption_count.store(0, Ordering::Relaxed);
        self.set_awake();
        self.set_state(PARKED);
    }

    /// Service: the thread is about to wait for others, with a timeout or for ever.
    pub fn set_waiting(&self, forever: bool) {
        let turns = self.waiting.load(Ordering::Relaxed) >> 2;
        let how = if forever { WAITS_FOREVER } else { WAITS };
        self.waiting.store((turns + 1) << 2 | how, Ordering::Relaxed);
    }

    /// Service: the thread waits no more.
    pub fn set_awake(&self) {
        let turns = self.waiting.load(Ordering::Relaxed) >> 2;
        self.waiting.store(turns << 2 | AWAKE, Ordering::Relaxed);
    }

    /// Supervisor: a number that changes with each wait, if the thread waits without a timeout.
    pub fn waits_forever(&self) -> Option<u64> {
        let waiting = self.waiting.load(Ordering::Relaxed);
        (waiting & 3 == WAITS_FOREVER).then_some(waiting)
    }

    /// Supervisor: whether the thread says that it waits for others.
    pub fn waits(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) & 3 != AWAKE
    }

    /// Service: counts a call that takes no message.
    pub fn count_call(&self) {
        self.count(0, 1);
    }

    /// Service: counts a call with a message of so many bytes.
    pub fn count_carried(&self, length: u16) {
        self.count(0, 1);
        self.count(1, 1);
        self.count(2, u64::from(length));
    }

    /// Service: takes back [`ThreadPage::count_call`], since ΦCore will count the call.
    pub fn uncount_call(&self) {
        self.count(0, u64::MAX);
    }

    /// Service: takes back [`ThreadPage::count_carried`].
    pub fn uncount_carried(&self, length: u16) {
        self.count(0, u64::MAX);
        self.count(1, u64::MAX);
        self.count(2, u64::from(length).wrapping_neg());
    }

    /// Only the thread itself writes its tally. What is added may be negative.
    fn count(&self, place: usize, more: u64) {
        let place = &self.tally[place];
        place.store(place.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
    }

    /// What the thread says to have done past ΦCore.
    pub fn tally(&self) -> Tally {
        let [calls, messages, bytes] =
            std::array::from_fn(|place| self.tally[place].load(Ordering::Relaxed));
        Tally { calls, messages, bytes }
    }

    /// Service: names the replies for ΦCore to adopt before the call in the page: the first
    /// [`REPLIES`] of them.
    pub fn write_adoptions(&self, replies: impl Iterator<Item = (Handle, u64)>) {
        let mut count = 0;
        for (place, (handle, number)) in self.adoptions.iter().zip(replies) {
            place.handle.store(handle.0, Ordering::Relaxed);
            place.number.store(number, Ordering::Relaxed);
            count += 1;
        }
        self.adoption_count.store(count, Ordering::Relaxed);
    }

    /// Supervisor: copies the replies to adopt, each with the number of its call.
    pub fn read_adoptions(&self) -> Vec<(Handle, u64)> {
        let count = self.adoption_count.load(Ordering::Relaxed) as usize;
        let read = |place: &Adoption| {
            let number = place.number.load(Ordering::Relaxed);
            (Handle(place.handle.load(Ordering::Relaxed)), number)
        };
        self.adoptions.iter().take(count).map(read).collect()
    }

    /// Supervisor: says which handles it has made of them, in their order.
    pub fn write_adopted(&self, adopted: &[Handle]) {
        for (place, handle) in self.adoptions.iter().zip(adopted) {
            place.number.store(handle.0, Ordering::Relaxed);
        }
    }

    /// Service: takes what became of the replies that it named.
    pub fn take_adoptions(&self) -> Vec<(Handle, Handle)> {
        let adopted = self.read_adoptions();
        self.adoption_count.store(0, Ordering::Relaxed);
        adopted.into_iter().map(|(handle, adopted)| (handle, Handle(adopted))).collect()
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
