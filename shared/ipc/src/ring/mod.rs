//! A ring of messages from one producer to one consumer, in memory that both can write.
//!
//! Principles:
//! - **The other side may be hostile.** It may write anything anywhere in the ring at any time. The
//!   worst that comes of it: messages with garbage in them, or a ring that seems full, empty, closed
//!   or corrupt. What this side depends on (its position, the capacity) lies in memory of its own.
//!   Each word is read once, then checked; no call loops for longer than it was told.
//! - **Slots publish themselves**: a slot's sequence number says whether it holds the next message,
//!   so that a message moves with one pair of cache lines, and the producer's position is never
//!   shared. The producer remembers how many messages were taken, and looks again only when the
//!   ring seems full.
//! - **Waking is rare**: a side that found nothing to do spins, then says that it sleeps, looks once
//!   more, and blocks. The other side makes the system call only for one that has said so.
//! - **Orderings are argued and tested**: they are listed in `ordering.rs`, argued in
//!   `docs/ring.md`, and loom notices when any one of them is weakened. `tests/ring` runs the models.
//!
//! - **Answers come back through one slot** ([`AnswerMemory`]) beside the ring: each call ends exactly
//!   once, with an answer or given up, and both sides know which.
//!
//! Limits: [`RING_CAPACITY`] slots; messages without capabilities. A ring is for one producer and
//! one consumer, once: neither side can be handed on after its first message.

mod answer;
mod atomics;
mod consumer;
mod doorbell;
mod layout;
mod ordering;
mod producer;
#[cfg(test)]
mod tests;

pub use answer::{AnswerMemory, Answerer, Caller, Ended};
pub use atomics::AtomicU32;
pub use consumer::{Consumer, PopError};
pub use doorbell::Futex;
pub use layout::{LayoutError, RING_ALIGNMENT, RING_CAPACITY, RingMemory};
pub use producer::{Producer, PushError};
