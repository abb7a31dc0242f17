//! The direct path: plain messages from service to service, without the supervisor.
//!
//! Each thread that often sends through a capability gets a *channel*: a ring for its messages and a
//! slot for the answers to its calls (`phi_ipc::ring`), in sealed memory that it shares with the
//! receiver and nobody else but the supervisor. What else both sides must know (whether the channel is
//! open, what of ΦCore's is to be taken first) stands in *notices*, a page of each domain that only
//! the supervisor can write.
//!
//! Principles:
//! - **ΦCore decides.** The supervisor opens a channel only where ΦCore says that the capability stands
//!   and that one thread alone receives. Capabilities, loans, and whatever else is unusual go
//!   through ΦCore; what is under way then is adopted or absorbed by it, so that no service can tell
//!   which way a message took.
//! - **A hostile side spoils its own channel.** Each side believes of the shared memory what it has
//!   copied and checked, and of the notices everything.
//! - **Order is kept**: of one sender always, and between senders as time stamps tell; messages that
//!   went through ΦCore are taken before or after those in a ring by *barriers*.
//!
//! Limits: [`CHANNELS`] channels of a domain, [`PORTS`] mailboxes that it receives from directly; only
//! receivers of one thread. Those beyond go through ΦCore.

mod channel;
mod client;
mod futex;
mod inbox;
mod notices;
mod room;
mod server;
mod switchboard;
#[cfg(test)]
mod tests;
mod thread;

pub use channel::{address, length};
pub use inbox::{Inbox, Opened, Side};
pub use notices::{CHANNELS, Notices};
pub use switchboard::{Sent, Switchboard, count};
pub use thread::{Attempt, DirectThread, Surroundings};

use phi_abi::Handle;

/// Slots of the handles that stand for the replies of direct calls: far beyond any capability
/// table's.
const REPLY_SLOTS: u32 = 1 << 31;

/// Replies of direct calls that one thread holds before ΦCore adopts some.
pub const REPLIES: usize = 8;

/// The handle that stands for the reply of call `number` on the channel with this index.
fn reply_handle(channel: usize, number: u64) -> Handle {
    Handle::new(REPLY_SLOTS | channel as u32, number as u32)
}

/// Index of the channel whose reply this handle may stand for.
pub fn reply_channel(handle: Handle) -> Option<usize> {
    let channel = (handle.slot() & !REPLY_SLOTS) as usize;
    (handle.slot() & REPLY_SLOTS != 0 && channel < CHANNELS).then_some(channel)
}

/// What a sender says beside a message: when it sent it, and the number of a call, as far as there is
/// room for it; 0 for a message that awaits no answer. Without company there is no time, and the message
/// is older than those that have one: they came when there was company.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Note(u64);

/// Bits of a note that number a call.
const NUMBER_BITS: u32 = 16;

impl Note {
    /// Of a sent message.
    #[inline]
    fn of_send(company: bool) -> Note {
        Note(if company { futex::time_stamp() << NUMBER_BITS } else { 0 })
    }

    /// Of call `number`.
    #[inline]
    fn of_call(company: bool, number: u64) -> Note {
        Note(Note::of_send(company).0 | call_number(number))
    }

    /// Whether an answer is awaited.
    #[inline]
    fn is_call(self) -> bool {
        self.number() != 0
    }

    /// As [`call_number`].
    #[inline]
    fn number(self) -> u64 {
        self.0 & ((1 << NUMBER_BITS) - 1)
    }

    /// Whether it was sent before the other, who may have done so up to some hours earlier or later.
    fn is_before(self, other: Note) -> bool {
        let stamp = |note: Note| note.0 >> NUMBER_BITS << NUMBER_BITS;
        match (stamp(self), stamp(other)) {
            (_, 0) => false,
            (0, _) => true,
            (own, others) => (own.wrapping_sub(others) as i64) < 0,
        }
    }
}

/// The number of a call as a note has room for it: never 0.
fn call_number(number: u64) -> u64 {
    number % ((1 << NUMBER_BITS) - 1) + 1
}

#[cfg(test)]
mod note_tests {
    use super::*;

    #[test]
    fn notes_are_ordered_by_time_and_those_without_come_first() {
        let at = |time: u64| Note(time << NUMBER_BITS | 1);
        assert!(at(1).is_before(at(2)) && !at(2).is_before(at(1)));
        // The counter begins anew some time.
        assert!(at(u64::MAX >> NUMBER_BITS).is_before(at(1)));
        let plain = Note::of_call(false, 7);
        assert!(plain.is_call() && !Note::of_send(false).is_call());
        assert!(plain.is_before(at(1)) && plain.is_before(at(u64::MAX >> NUMBER_BITS)));
        assert!(!at(1).is_before(plain) && !plain.is_before(Note::of_send(false)));
        assert!(plain.is_before(Note::of_send(true)));
    }
}
