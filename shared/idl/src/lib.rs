//! Typed interfaces: a Rust trait in, client and server stubs out.
//!
//! ```
//! use phi_idl::{Caller, Lent, interface};
//!
//! /// Adds.
//! #[interface]
//! pub trait Adder {
//!     /// The sum of two numbers.
//!     fn add(&mut self, left: u64, right: u64) -> Result<u64, Overflow>;
//!     /// The sum of the bytes.
//!     fn sum(&mut self, caller: Caller, bytes: Lent<'_>) -> Result<u64, Overflow>;
//! }
//!
//! /// The sum is too large.
//! #[derive(Debug, serde::Serialize, serde::Deserialize)]
//! pub struct Overflow;
//! ```
//!
//! makes `AdderClient`, whose methods call a server and return `Result<_, CallError<Overflow>>`, and
//! `AdderServer`, which hands calls to something that implements `Adder`; [`serve`] runs it. A
//! parameter travels by its type:
//!
//! | in the trait | at the client | travels as |
//! |---|---|---|
//! | [`Lent`] | [`phi_rt::Loan`] | a loan for reading |
//! | [`LentMut`] | [`phi_rt::LoanMut`] | a loan for reading and writing |
//! | [`Capability`] | [`Capability`] | a capability that is given away, as an answer, too |
//! | [`Caller`] | | not at all: ΦCore tells the server who calls |
//! | [`Slice`] | [`Slice`] | two words: a part of a region that both sides hold mapped |
//! | anything else | the same | serde, in the message's 64 bytes |
//!
//! A method marked `#[idempotent]` does the same once or twice. If its call ends with `Dead`, its stub calls
//! again, up to [`support::RETRIES`] times and ever later: so a server may be restarted or replaced meanwhile.
//!
//! A server that answers calls later, in an order of its own, has `#[interface(deferred)]` make
//! `AdderRequest`, an enum of what calls ask; it keeps each [`Incoming`] and answers it with
//! [`answer`].
//!
//! Principles:
//! - **The trait is the interface**: a method's place is its label, so methods are only ever added at
//!   the end.
//! - **Hostile bytes are an answer, not a panic**: whatever comes in is decoded or refused as not
//!   understood, and capabilities that nobody expected are given up.
//! - **What cannot travel does not compile**, as far as types tell; otherwise the client gets
//!   [`CallError::TooLong`] and nothing is sent.
//!
//! Limits: 64 bytes of arguments, 64 of answer, 4 loans and capabilities. Types with owned sequences
//! inside would let a hostile length allocate, so they have no place in an interface; where the macro
//! can see one, it refuses it.
#![no_std]

#[cfg(test)]
extern crate self as phi_idl;
#[cfg(test)]
extern crate std;

pub mod support;
#[cfg(test)]
mod tests;

pub use phi_idl_macros::interface;
pub use phi_rt::{Capability, LentBytes as Lent, LentBytesMut as LentMut};
pub use support::{answer, not_understood};

use phi_rt::{Error, Incoming, Mailbox, Mapping, Outgoing, Rights};

/// Who calls: what ΦCore says of the capability that the call came through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Caller {
    /// Which client, or which object, in the server's own terms.
    pub badge: u64,
    /// The capability's rights; the high 16 are the server's own.
    pub rights: Rights,
}

impl Caller {
    /// Who sent a message.
    pub fn of(incoming: &Incoming) -> Caller {
        Caller { badge: incoming.badge(), rights: incoming.rights() }
    }
}

/// A part of a region that both sides hold mapped: bulk data handed over by two words, however long it is.
///
/// Who has the region derives a capability from it and gives that away once; the other side maps it, and from
/// then on slices travel in plain messages, with nothing for ΦCore to do. Unlike a loan a slice does not end with
/// the call: to take it back is to revoke the capability, and with it the whole mapping.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Slice {
    /// Its first byte, from the region's first.
    pub offset: u64,
    /// How many bytes there are.
    pub length: u64,
}

impl Slice {
    /// Its bytes, to read; `None` unless all of them lie in the region.
    pub fn of(self, mapping: &Mapping) -> Option<Lent<'_>> {
        mapping.part(self.offset, self.length)
    }

    /// Its bytes, to read and write; `None` for a mapping that is not writable, too.
    pub fn of_mut(self, mapping: &Mapping) -> Option<LentMut<'_>> {
        mapping.part_mut(self.offset, self.length)
    }
}

/// Why a call gave no answer of the kind hoped for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CallError<E> {
    /// The server's own error.
    Refused(E),
    /// The call did not get through, or was not answered.
    Transport(Error),
    /// The arguments do not fit into a message; nothing was sent.
    TooLong,
    /// One side did not understand the other: they do not speak the same interface.
    NotUnderstood,
}

impl<E> From<Error> for CallError<E> {
    fn from(error: Error) -> CallError<E> {
        CallError::Transport(error)
    }
}

impl<E> From<phi_rt::TooLong> for CallError<E> {
    fn from(_: phi_rt::TooLong) -> CallError<E> {
        CallError::TooLong
    }
}

impl<E: core::fmt::Display> core::fmt::Display for CallError<E> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            CallError::Refused(error) => error.fmt(f),
            CallError::Transport(error) => error.fmt(f),
            CallError::TooLong => f.write_str("the arguments do not fit into a message"),
            CallError::NotUnderstood => f.write_str("the two sides do not speak one interface"),
        }
    }
}

impl<E: core::fmt::Debug + core::fmt::Display> core::error::Error for CallError<E> {}

/// Hands calls to what implements an interface.
pub trait Dispatch {
    /// Does what `incoming` asks; the answer says what came of it.
    fn dispatch(&mut self, incoming: &mut Incoming) -> Outgoing<'static>;
}

/// Serves an interface at `mailbox` until the signal that is bound to it has bits: those. So a service
/// with [`phi_rt::State`] learns that it is to hand over.
///
/// # Errors
/// The mailbox can no longer be received from.
pub fn serve_until_signal(mailbox: &Mailbox, server: &mut impl Dispatch) -> Result<u64, Error> {
    mailbox.serve_until_signal(|incoming| Some(server.dispatch(incoming)))
}

/// Serves an interface at `mailbox` without end. Returns only when the mailbox can no longer be
/// received from, with the reason.
pub fn serve(mailbox: &Mailbox, server: &mut impl Dispatch) -> Error {
    mailbox.serve(|incoming| Some(server.dispatch(incoming)))
}
