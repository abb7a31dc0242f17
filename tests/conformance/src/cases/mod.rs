//! The cases, by subject: each is one function from top to bottom.

mod capabilities;
mod death;
mod domains;
mod faults;
mod limits;
mod loans;
mod messages;
mod regions;
mod revocation;
mod signals;
mod threads;
mod time;
mod transfer;

use crate::expect::{Step, equal};
use crate::play::{Actor, PARTNER, Play, SUBJECT};
use alloc::vec::Vec;
use phi_abi::{Error, FOREVER, Grant, Handle, Message, Mode, Number, Rights};

/// A case: its name in the transcript, and what it does.
pub type Case = (&'static str, fn(&Play) -> Step);

/// All cases, subject by subject.
pub const SUBJECTS: &[&[Case]] = &[
    capabilities::CASES,
    messages::CASES,
    transfer::CASES,
    regions::CASES,
    loans::CASES,
    revocation::CASES,
    death::CASES,
    limits::CASES,
    signals::CASES,
    threads::CASES,
    time::CASES,
    domains::CASES,
    faults::CASES,
];

/// Names the cases of a file by its subject and their functions.
macro_rules! cases {
    ($subject:literal: $($case:ident),+ $(,)?) => {
        /// The cases of this subject.
        pub const CASES: &[super::Case] =
            &[$((concat!($subject, "::", stringify!($case)), $case)),+];
    };
}
use cases;

/// Rights to use a mailbox as a client, and to pass that on.
const CLIENT: Rights =
    Rights::SEND.union(Rights::CALL).union(Rights::DERIVE).union(Rights::TRANSFER);

/// Access to a region.
const BOTH: Rights = Rights::READ.union(Rights::WRITE);

/// Rights to whatever can be passed on.
const PASS: Rights = Rights::DERIVE.union(Rights::TRANSFER);

/// Rights as a word of a call.
fn word(rights: Rights) -> u64 {
    u64::from(rights.bits())
}

/// A grant that moves a capability.
fn moved(handle: u64, rights: Rights) -> Grant {
    Grant { mode: Mode::Move as u32, ..copied(handle, rights) }
}

/// A grant that copies a capability.
fn copied(handle: u64, rights: Rights) -> Grant {
    Grant::copy(Handle(handle), rights)
}

/// A grant that lends a part of a region.
fn lent(handle: u64, rights: Rights, address: u64, length: u64) -> Grant {
    Grant::loan(Handle(handle), rights, address, length)
}

/// Has a puppet make a mailbox; its handle.
fn mailbox(play: &Play, actor: Actor, capacity: u64) -> Step<u64> {
    play.value(actor, Number::MailboxCreate, &[capacity])
}

/// Has a puppet make a signal; its handle.
fn signal(play: &Play, actor: Actor) -> Step<u64> {
    play.value(actor, Number::SignalCreate, &[])
}

/// Has a puppet make a region; its handle.
fn region(play: &Play, actor: Actor, length: u64) -> Step<u64> {
    play.value(actor, Number::RegionCreate, &[length])
}

/// Has a puppet make a region and map it to read and write; its handle and address.
fn mapped(play: &Play, actor: Actor, length: u64) -> Step<(u64, u64)> {
    let handle = region(play, actor, length)?;
    Ok((handle, play.value(actor, Number::RegionMap, &[handle, word(BOTH)])?))
}

/// The partner makes a mailbox, and the subject becomes its client: both handles.
fn served(play: &Play) -> Step<(u64, u64)> {
    let server = mailbox(play, PARTNER, 4)?;
    Ok((server, play.copy(PARTNER, server, CLIENT, SUBJECT)?))
}

/// The subject calls with this draft and is blocked; the partner receives the call.
fn serving(play: &Play, server: u64, client: u64) -> Step<Message> {
    play.begin(SUBJECT, Number::Call, &[client, FOREVER])?;
    play.receive(PARTNER, server)
}

/// Has a puppet copy a capability until its table is full; the copies.
fn fill_table(play: &Play, actor: Actor, handle: u64) -> Step<Vec<u64>> {
    let mut copies = Vec::new();
    loop {
        match play.ask(actor, Number::CapabilityDerive, &[handle, word(Rights::TRANSFER), 0])? {
            Ok(copy) => copies.push(copy),
            Err(error) => {
                equal("end of the table", error, Error::QuotaExceeded)?;
                return Ok(copies);
            }
        }
    }
}
