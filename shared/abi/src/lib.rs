//! What a service and ΦCore agree on, and nothing else.
//!
//! An image is handed two pointers at its entry: a [`StartBlock`] (who it is, and the named
//! capabilities it begins with) and a [`CallTable`] (how to reach ΦCore on this machine). It holds
//! no raw trap, so the same bytes run on Linux, on bare metal and in the simulator.
//!
//! Principles:
//! - **One list of calls**, [`CALLS`], from which the call numbers, the table and the reference
//!   (`docs/syscalls.md`) are checked.
//! - **One shape for every call**: four words and at most one [`Message`] in, an [`Outcome`] (and
//!   possibly the message) out. ΦCore follows no other pointer of a service.
//! - **Errors are expected outcomes** and say who is to blame ([`Error::blame`]). A programmer
//!   error (a forged handle, a bad pointer) is a [`Fault`] that ends the service instead.
//! - **Everything has a limit**, and the limits that both sides must know are constants here.
//!
//! Limits: messages carry 64 bytes and 4 capabilities; a lineage is 8 deep; numbers are
//! little-endian and 64 bits wide; pages are 4 KiB.
#![no_std]

mod call;
mod device;
mod fault;
mod handle;
mod info;
pub mod layout;
mod message;
mod rights;
mod start;
mod status;

pub use call::{CALLS, CallDescription, CallFunction, CallTable, Number};
pub use device::{Caching, IrqSource, PortWidth, REGION_PINNED};
pub use fault::{Fault, FaultKind};
pub use handle::Handle;
pub use info::{
    CapabilityInfo, DomainInfo, DomainState, DomainStatistics, TOPIC_STATE, TOPIC_STATISTICS,
};
pub use message::{Grant, MESSAGE_BYTES, MESSAGE_GRANTS, Message, Mode};
pub use rights::{Kind, Rights};
pub use start::{
    ARGUMENT_BYTES, Entry, NAME_BYTES, NamedCapability, START_CAPABILITIES, StartBlock,
};
pub use status::{Blame, Error, Outcome};

/// Version of this interface. A machine refuses an image built for another one.
pub const ABI_VERSION: u32 = 4;

/// An ELF note that says for which [`ABI_VERSION`] an image was built. Each image has one.
///
/// Source: System V ABI, generic part, "Note Section".
#[repr(C)]
pub struct VersionNote {
    owner_length: u32,
    length: u32,
    kind: u32,
    owner: [u8; 4],
    version: u32,
}

impl VersionNote {
    /// The owner's name.
    pub const OWNER: [u8; 4] = *b"phi\0";

    /// The type among this owner's notes.
    pub const KIND: u32 = 1;

    /// The note of an image that is built with this crate.
    pub const CURRENT: VersionNote = VersionNote {
        owner_length: 4,
        length: 4,
        kind: VersionNote::KIND,
        owner: VersionNote::OWNER,
        version: ABI_VERSION,
    };
}

/// The status with which a service ends that has handed its state over to its next generation.
pub const STATUS_HANDED_OVER: u8 = 75;

/// The bit of a service's signal `hand-over` that asks it to hand over.
pub const HAND_OVER: u64 = 1;

/// Time without end, where a call takes a timeout in nanoseconds.
pub const FOREVER: u64 = u64::MAX;

/// The greatest depth of a lineage: how often a revocable derivation may be derived revocably again.
pub const LINEAGE_DEPTH: usize = 8;

/// Number of priorities; 0 is the least urgent.
pub const PRIORITIES: u8 = 32;

/// Flag of [`Number::CapabilityDerive`]: the copy belongs to the revocable lineage of its source, so
/// that [`Number::CapabilityRevoke`] on the source ends it.
pub const DERIVE_REVOCABLE: u64 = 1;

/// Badge of a console capability that writes to the system's transcript.
pub const CONSOLE_TRANSCRIPT: u64 = 0;

/// Badge of a console capability that writes to the machine's log, beside the transcript.
pub const CONSOLE_LOG: u64 = 1;
