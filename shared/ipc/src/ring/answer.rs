//! The slot through which the answers to one caller's calls come back.
//!
//! A caller has at most one call under way. Its calls are numbered from 1, by each side for itself. The
//! *turn* says which one ended last and how: twice its number, and one more if it was given up. Whoever
//! ends a call exchanges the turn, so it ends once: an answer that comes after the caller has given up
//! fails at the server, and a caller that wants to give up too late finds the answer.

use super::atomics::{AtomicU64, Ordering};
use super::doorbell::{self, Futex};
use super::layout::{Filler, Payload, Side};
use super::ordering::Site;
use core::mem::size_of;
use core::ptr::NonNull;
use phi_abi::{MESSAGE_BYTES, Message};

/// The answer in shared memory; zeroed memory is one before the first call.
#[repr(C, align(128))]
pub(super) struct AnswerSlot {
    turn: AtomicU64,
    payload: Payload,
    _filler: [Filler; 4],
    /// The caller's doorbell.
    caller: Side,
}

#[cfg(all(test, any(loom, shuttle)))]
impl AnswerSlot {
    /// A slot before its first call.
    pub(super) fn new() -> AnswerSlot {
        AnswerSlot {
            turn: AtomicU64::new(0),
            payload: Payload::new(),
            _filler: Default::default(),
            caller: Side::new(),
        }
    }
}

/// The turn after call `number` has ended.
const fn ended(number: u64, given_up: bool) -> u64 {
    number.wrapping_mul(2).wrapping_add(given_up as u64)
}

/// Whether `turn` says that the call before `number` was the last to end.
const fn is_open(turn: u64, number: u64) -> bool {
    turn / 2 == number.wrapping_sub(1) & (u64::MAX / 2)
}

/// The memory of an answer, shared with a side that may be hostile; see [`super::RingMemory`].
#[derive(Clone, Copy)]
pub struct AnswerMemory<'a> {
    slot: &'a AnswerSlot,
}

impl<'a> AnswerMemory<'a> {
    /// Bytes that it takes.
    pub const SIZE: usize = size_of::<AnswerSlot>();

    /// The answer at `start`; `None` unless that is a multiple of [`super::RING_ALIGNMENT`] bytes.
    ///
    /// # Safety
    /// As [`super::RingMemory::new`], for [`AnswerMemory::SIZE`] bytes.
    #[allow(unsafe_code)]
    pub unsafe fn new(start: NonNull<u8>) -> Option<AnswerMemory<'a>> {
        let slot = start.cast::<AnswerSlot>();
        if !slot.is_aligned() {
            return None;
        }
        // SAFETY: the caller vouches for the memory, the address is aligned, and the slot is all
        // atomics, so that any bits are a value and writes by others are allowed.
        Some(AnswerMemory { slot: unsafe { slot.as_ref() } })
    }

    /// The answer in this slot, which a model has made.
    #[cfg(all(test, any(loom, shuttle)))]
    pub(super) fn from_slot(slot: &'a AnswerSlot) -> AnswerMemory<'a> {
        AnswerMemory { slot }
    }

    /// Gives call `number` up, in the caller's place or as the caller; `false` if it has ended before.
    pub fn give_up(&self, number: u64) -> bool {
        let turn = self.slot.turn.load(Ordering::Relaxed);
        // What was said before is known to who learns of the end.
        is_open(turn, number) && self.end(turn, ended(number, true), Site::Answer.ordering())
    }

    /// Wakes the caller, whatever its doorbell says.
    pub fn wake_caller(&self, futex: &impl Futex) {
        self.slot.caller.wake_always(futex);
    }

    /// Writes a word, as a hostile side may.
    #[cfg(all(test, not(any(loom, shuttle))))]
    #[allow(unsafe_code)]
    pub(super) fn scribble(&self, word: usize, value: u64) {
        assert!(word < AnswerMemory::SIZE / size_of::<u64>());
        let words = core::ptr::from_ref(self.slot).cast::<AtomicU64>();
        // SAFETY: the slot has so many words, all of them atomics of this or half this size, and no
        // other thread uses them now.
        unsafe { (*words.add(word)).store(value, Ordering::Relaxed) };
    }

    #[inline(always)]
    fn end(&self, turn: u64, next: u64, success: Ordering) -> bool {
        self.slot.turn.compare_exchange(turn, next, success, Ordering::Relaxed).is_ok()
    }
}

/// How a call ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// With an answer.
    Answered,
    /// It was given up, here or in the caller's place.
    GivenUp,
    /// With an answer of an impossible length: the server is broken or hostile.
    Corrupt,
}

/// The caller's side.
pub struct Caller<'a> {
    memory: AnswerMemory<'a>,
    number: u64,
}

impl<'a> Caller<'a> {
    /// The caller's side of an answer that was never used.
    pub fn new(memory: &AnswerMemory<'a>) -> Caller<'a> {
        Caller { memory: *memory, number: 0 }
    }

    /// The number of the call that begins next.
    pub fn next_number(&self) -> u64 {
        self.number.wrapping_add(1)
    }

    /// A call begins: its message was published.
    #[inline]
    pub fn begin(&mut self) {
        self.number = self.number.wrapping_add(1);
    }

    /// How the call ended, if it has; an answer is then in `message`, as
    /// [`super::Consumer::pop`] leaves it.
    #[inline(always)]
    pub fn look(&self, message: &mut Message) -> Option<Ended> {
        let turn = self.memory.slot.turn.load(Site::Learn.ordering());
        if turn == ended(self.number, false) {
            let sound = self.memory.slot.payload.read(message).is_some();
            Some(if sound { Ended::Answered } else { Ended::Corrupt })
        } else if turn == ended(self.number, true) {
            Some(Ended::GivenUp)
        } else {
            None
        }
    }

    /// Gives the call up; `false` if it has ended before.
    pub fn give_up(&self) -> bool {
        self.memory.give_up(self.number)
    }

    /// Waits for the call's end: looks about `spins` times, then sleeps once. May return early.
    pub fn wait(&self, futex: &impl Futex, spins: u32) {
        let slot = self.memory.slot;
        let ready = || slot.turn.load(Ordering::Relaxed) / 2 == self.number & (u64::MAX / 2);
        doorbell::wait(core::iter::once(&slot.caller), ready, futex, spins);
    }
}

/// The server's side.
pub struct Answerer<'a> {
    memory: AnswerMemory<'a>,
}

impl<'a> Answerer<'a> {
    /// The server's side of an answer.
    pub fn new(memory: &AnswerMemory<'a>) -> Answerer<'a> {
        Answerer { memory: *memory }
    }

    /// The memory.
    #[cfg(all(test, loom))]
    pub(super) fn memory(&self) -> AnswerMemory<'a> {
        self.memory
    }

    /// Whether call `number` still waits for its answer.
    #[inline]
    pub fn is_awaited(&self, number: u64) -> bool {
        is_open(self.memory.slot.turn.load(Ordering::Relaxed), number)
    }

    /// Answers call `number` with `message`, of which the label and the bytes in use travel, and
    /// wakes the caller if it sleeps; `false` if the call was given up, or has ended before. A length
    /// beyond [`MESSAGE_BYTES`] counts as that.
    #[inline(always)]
    pub fn answer(&self, number: u64, message: &Message, futex: &impl Futex) -> bool {
        let slot = self.memory.slot;
        let turn = slot.turn.load(Ordering::Relaxed);
        if !is_open(turn, number) {
            return false;
        }
        // Nobody reads it before the turn says that it is there.
        slot.payload.write(message, usize::from(message.length).min(MESSAGE_BYTES), 0);
        let answered = self.memory.end(turn, ended(number, false), Site::Answer.ordering());
        if answered {
            slot.caller.ring(futex);
        }
        answered
    }
}
