//! The receiving side.

use super::doorbell::{self, Futex};
use super::layout::RingMemory;
use super::ordering::Site;
use phi_abi::Message;

/// Why no message was taken from the ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PopError {
    /// There is none: wait, or try again later.
    Empty,
    /// There is none, and the producer has closed: there will be none.
    Closed,
    /// A message was taken and dropped, since its length is beyond what a message can have: the
    /// producer is broken or hostile.
    Corrupt,
}

impl core::fmt::Display for PopError {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.write_str(match self {
            PopError::Empty => "the ring is empty: wait until its producer has sent a message",
            PopError::Closed => "the ring's producer has closed: there will be no more messages",
            PopError::Corrupt => {
                "the ring's producer sent a message with an impossible length: give the ring up"
            }
        })
    }
}

impl core::error::Error for PopError {}

/// The receiving side of a ring. Use one for each ring: with two, both see garbage.
pub struct Consumer<'a> {
    memory: RingMemory<'a>,
    /// Messages taken so far: ours alone, never read back from the memory.
    position: u64,
}

impl<'a> Consumer<'a> {
    /// The receiving side of a ring that was never used. A ring that was used can only be closed
    /// with this, on behalf of a consumer that has ended.
    pub fn new(memory: &RingMemory<'a>) -> Consumer<'a> {
        Consumer { memory: *memory, position: 0 }
    }

    /// The receiving side in place of one that has taken `position` messages and takes no more.
    pub fn resume(memory: &RingMemory<'a>, position: u64) -> Consumer<'a> {
        Consumer { memory: *memory, position }
    }

    /// Messages taken so far.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Takes the next message, but does not wake a producer that waits for room: call
    /// [`Consumer::ring`] after one or several. Fills the label, the length, and that many bytes;
    /// the badge, the rights and the reply are empty, and there are no capabilities. Whose ring it
    /// is says who sent the message.
    ///
    /// # Errors
    /// [`PopError`]; then `message` is as it was.
    #[inline]
    pub fn pop(&mut self, message: &mut Message) -> Result<(), PopError> {
        self.pop_noted(message).map(drop)
    }

    /// The note of the next message, which stays where it is; `None` when there is none.
    #[inline]
    pub fn peek(&self) -> Option<u64> {
        let slot = self.memory.slot(self.position);
        slot.holds(self.position).then(|| slot.payload().note())
    }

    /// [`Consumer::pop`], with the word that the producer put beside the message.
    ///
    /// # Errors
    /// As [`Consumer::pop`].
    #[inline(always)]
    pub fn pop_noted(&mut self, message: &mut Message) -> Result<u64, PopError> {
        let slot = self.memory.slot(self.position);
        if !slot.holds(self.position) {
            if !self.memory.header.producer.is_closed() {
                return Err(PopError::Empty);
            }
            // Once more: a message may have come before the end, after the first look.
            if !slot.holds(self.position) {
                return Err(PopError::Closed);
            }
        }
        let note = slot.payload().read(message);
        self.position = self.position.wrapping_add(1);
        self.memory.header.taken.0.store(self.position, Site::Release.ordering());
        note.ok_or(PopError::Corrupt)
    }

    /// Wakes the producer if it sleeps.
    #[inline]
    pub fn ring(&self, futex: &impl Futex) {
        self.memory.header.producer.ring(futex);
    }

    /// [`Consumer::pop`], then [`Consumer::ring`] if a slot became free.
    ///
    /// # Errors
    /// As [`Consumer::pop`].
    #[inline]
    pub fn receive(&mut self, message: &mut Message, futex: &impl Futex) -> Result<(), PopError> {
        let result = self.pop(message);
        if matches!(result, Ok(()) | Err(PopError::Corrupt)) {
            self.ring(futex);
        }
        result
    }

    /// Waits for a message, or for the producer's end: looks about `spins` times, then sleeps once.
    /// May return early; pop again to know.
    pub fn wait(&self, futex: &impl Futex, spins: u32) {
        Consumer::wait_any(core::iter::once(self), futex, spins);
    }

    /// [`Consumer::wait`] for any of several rings, as a server does that has one for each client.
    pub fn wait_any<'c>(
        consumers: impl Iterator<Item = &'c Consumer<'a>> + Clone,
        futex: &impl Futex,
        spins: u32,
    ) where
        'a: 'c,
    {
        let sides = consumers.clone().map(|consumer| &consumer.memory.header.consumer);
        let ready = || consumers.clone().any(Consumer::has_news);
        doorbell::wait(sides, ready, futex, spins);
    }

    /// Whether there is a message or the end.
    fn has_news(&self) -> bool {
        let slot = self.memory.slot(self.position);
        slot.holds(self.position) || self.memory.header.producer.is_closed()
    }

    /// Ends the ring from this side. The producer learns of it with its next message.
    pub fn close(self, futex: &impl Futex) {
        self.memory.header.consumer.close();
        self.ring(futex);
    }
}
