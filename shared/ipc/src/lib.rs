//! Mailboxes, signals, the messages that wait in them, and rings that carry messages past ΦCore.
//!
//! Principles:
//! - **One queue per mailbox** for calls and sent messages, in the order of their arrival. Its members
//!   are indexes: a caller's thread, which waits with its message, or a stored message.
//! - **A message is copied once** where a receiver waits or a caller does, and never more of it than
//!   is in use ([`copy`]).
//! - **Bounded**: stored messages come from one pool, as large as all the mailboxes' capacities.
//!
//! [`ring`] is the same idea between two services that need no word from ΦCore.
//!
//! Limits: a mailbox stores at most [`MAILBOX_CAPACITY`] messages. Who may send, who is woken and
//! what capabilities travel is the caller's part.
#![no_std]
extern crate alloc;
#[cfg(any(test, loom, shuttle))]
extern crate std;

mod mailbox;
mod message;
pub mod ring;
mod signal;

pub use mailbox::{MAILBOX_CAPACITY, Mailbox, MailboxState};
pub use message::{MessagePool, copy};
pub use signal::{Binding, Signal};
