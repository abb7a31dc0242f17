//! The sending side.

use super::doorbell::{self, Futex};
use super::layout::RingMemory;
use phi_abi::{MESSAGE_BYTES, Message};

/// Why a message was not put into the ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PushError {
    /// No slot is free: wait, or try again later.
    Full,
    /// The consumer has closed: nobody will take messages.
    Closed,
    /// The consumer says that it took messages that were never sent: it is broken or hostile, and
    /// this ring is of no use any more.
    Corrupt,
    /// The message says that it has more than [`MESSAGE_BYTES`] bytes.
    TooLong,
    /// The message carries capabilities, which only ΦCore can pass on.
    Grants,
}

impl core::fmt::Display for PushError {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.write_str(match self {
            PushError::Full => "the ring is full: wait until its consumer has taken a message",
            PushError::Closed => "the ring's consumer has closed: nobody will take the message",
            PushError::Corrupt => {
                "the ring's consumer counts messages that were never sent: give the ring up"
            }
            PushError::TooLong => "the message is longer than 64 bytes: send it in shared pages",
            PushError::Grants => "the message carries capabilities: send it through ΦCore",
        })
    }
}

impl core::error::Error for PushError {}

/// The sending side of a ring. Use one for each ring: with two, the consumer sees garbage.
pub struct Producer<'a> {
    memory: RingMemory<'a>,
    /// Messages published so far: ours alone, never read back from the memory.
    position: u64,
    /// Messages taken so far, as last seen: at most `position`, and at least `position` less the
    /// capacity.
    taken: u64,
}

impl<'a> Producer<'a> {
    /// The sending side of a ring that was never used. A ring that was used can only be closed with
    /// this, on behalf of a producer that has ended.
    pub fn new(memory: &RingMemory<'a>) -> Producer<'a> {
        Producer { memory: *memory, position: 0, taken: 0 }
    }

    /// Puts a message into the ring, but does not wake the consumer: call [`Producer::ring`] after
    /// one or several. Of the message, the label and the bytes in use travel.
    ///
    /// # Errors
    /// [`PushError`]; then the ring is as it was.
    #[inline]
    pub fn push(&mut self, message: &Message) -> Result<(), PushError> {
        self.push_noted(message, 0)
    }

    /// [`Producer::push`], with a word beside the message for the consumer.
    ///
    /// # Errors
    /// As [`Producer::push`].
    #[inline(always)]
    pub fn push_noted(&mut self, message: &Message, note: u64) -> Result<(), PushError> {
        let length = message.length as usize;
        if length > MESSAGE_BYTES {
            return Err(PushError::TooLong);
        }
        if message.grant_count != 0 {
            return Err(PushError::Grants);
        }
        if self.memory.header.consumer.is_closed() {
            return Err(PushError::Closed);
        }
        if self.used() == self.capacity() {
            self.look_for_room()?;
        }
        let slot = self.memory.slot(self.position);
        slot.payload().write(message, length, note);
        slot.publish(self.position);
        self.position = self.position.wrapping_add(1);
        Ok(())
    }

    /// Wakes the consumer if it sleeps.
    #[inline]
    pub fn ring(&self, futex: &impl Futex) {
        self.memory.header.consumer.ring(futex);
    }

    /// [`Producer::push`], then [`Producer::ring`].
    ///
    /// # Errors
    /// As [`Producer::push`].
    #[inline]
    pub fn send(&mut self, message: &Message, futex: &impl Futex) -> Result<(), PushError> {
        self.push(message)?;
        self.ring(futex);
        Ok(())
    }

    /// Waits for room, or for the consumer's end: looks about `spins` times, then sleeps once. May
    /// return early; push again to know.
    pub fn wait(&self, futex: &impl Futex, spins: u32) {
        let header = self.memory.header;
        let ready =
            || self.used_of(self.taken_now()) != self.capacity() || header.consumer.is_closed();
        doorbell::wait(core::iter::once(&header.producer), ready, futex, spins);
    }

    /// Ends the ring from this side. The consumer still gets what was put in, then learns of the
    /// end.
    pub fn close(self, futex: &impl Futex) {
        self.memory.header.producer.close();
        self.ring(futex);
    }

    /// Learns how many messages were taken, and whether a slot is free now.
    #[cold]
    fn look_for_room(&mut self) -> Result<(), PushError> {
        let taken = self.taken_now();
        match self.used_of(taken) {
            used if used > self.capacity() => Err(PushError::Corrupt),
            used if used == self.capacity() => Err(PushError::Full),
            _ => {
                self.taken = taken;
                Ok(())
            }
        }
    }

    /// Whether fewer than `limit` messages lie in the ring.
    #[inline]
    pub fn has_room(&mut self, limit: u64) -> bool {
        if self.used() >= limit {
            let taken = self.taken_now();
            if self.used_of(taken) <= self.capacity() {
                self.taken = taken;
            }
        }
        self.used() < limit
    }

    /// Messages published so far.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Messages that the consumer says it has taken, now.
    pub fn taken_now(&self) -> u64 {
        self.memory.taken()
    }

    /// Slots in use if `taken` messages were taken; more than there are if that is impossible.
    #[inline(always)]
    fn used_of(&self, taken: u64) -> u64 {
        self.position.wrapping_sub(taken)
    }

    #[inline(always)]
    fn used(&self) -> u64 {
        self.used_of(self.taken)
    }

    #[inline(always)]
    fn capacity(&self) -> u64 {
        self.memory.capacity() as u64
    }
}
