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
//! | anything else | the same | serde, in the message's 64 bytes |
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

use phi_rt::{Error, Incoming, Mailbox, Outgoing, Rights};

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

/// Serves an interface at `mailbox` without end. Returns only when the mailbox can no longer be
/// received from, with the reason.
pub fn serve(mailbox: &Mailbox, server: &mut impl Dispatch) -> Error {
    mailbox.serve(|incoming| Some(server.dispatch(incoming)))
}
