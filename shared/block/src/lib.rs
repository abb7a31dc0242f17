//! Block devices: the interface that drivers serve and clients use, and what drivers do alike.
//!
//! [`Block`] is the driver line: on Linux `host-disk` serves it, with a file or a block device of Linux
//! below; on bare metal the driver of virtio-blk will. [`Desk`] is the part of a driver that is the same
//! everywhere: it checks what is asked, keeps who waits, and knows what is under way.
//!
//! Principles:
//! - **A block that was written and flushed is there**: [`Block::flush`] answers once everything whose
//!   write was answered before survives a loss of power; so does a write with [`Durability::Durable`].
//! - **Nothing is promised of order**: requests that are under way at the same time end in any order,
//!   and a block that two of them write holds either. Who wants an order waits for an answer first. That
//!   is what virtio-blk and NVMe promise, and all that is needed: write, wait, flush, wait.
//! - **A request may be made again**: each method does the same when it is done twice. After `Dead` a
//!   client opens a session and repeats what it has had no answer to.
//! - **Sessions**: a driver that is started anew begins a new one, and refuses what belongs to the old
//!   one as [`BlockError::Stale`]. What was written and not flushed in the old one may be lost.
//!   [`Block::open`] is answered only when nothing of this client's is under way any more, so no old
//!   write overtakes a new one.
//! - **Data is lent, never copied**: the device reads and writes the client's own pages.
//! - **All arguments are hostile.**
//!
//! Limits: 65,536 blocks in a request and no more bytes than [`Device::max_bytes`]; blocks of 512 bytes
//! to 64 KiB; as many requests at a time as [`Device::depth`] says, the others wait in the mailbox.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod desk;
#[cfg(test)]
mod tests;

pub use desk::{Accepted, Desk, Finished, Work};

use phi_idl::{Caller, Lent, LentMut, interface};
use serde::{Deserialize, Serialize};

/// A block device.
#[interface(deferred)]
pub trait Block {
    /// Begins a session. It is answered once nothing that this client asked for before is under way.
    fn open(&mut self, caller: Caller) -> Result<Device, BlockError>;

    /// Reads `count` blocks from block `first` on, to the beginning of what is lent.
    fn read(
        &mut self,
        caller: Caller,
        session: u64,
        first: u64,
        count: u32,
        into: LentMut<'_>,
    ) -> Result<(), BlockError>;

    /// Writes `count` blocks from block `first` on, from the beginning of what is lent. Nobody may
    /// change what is lent meanwhile: who does gets something of both.
    fn write(
        &mut self,
        caller: Caller,
        session: u64,
        first: u64,
        count: u32,
        durability: Durability,
        from: Lent<'_>,
    ) -> Result<(), BlockError>;

    /// Has everything survive a loss of power whose write was answered before this was asked.
    fn flush(&mut self, caller: Caller, session: u64) -> Result<(), BlockError>;

    /// Says that nobody needs what `count` blocks from `first` on hold. Reading them gives zeros
    /// afterwards.
    fn discard(
        &mut self,
        caller: Caller,
        session: u64,
        first: u64,
        count: u64,
    ) -> Result<(), BlockError>;
}

/// When a write is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Durability {
    /// When the device has it; a flush makes it survive a loss of power.
    Cached,
    /// When it survives a loss of power. What was written before need not.
    Durable,
}

/// What a device is, and the session that was opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Device {
    /// Number of the session, for everything that is asked in it. Never 0.
    pub session: u64,
    /// Blocks of the device.
    pub blocks: u64,
    /// Bytes of a block, a power of 2.
    pub block_size: u32,
    /// Bytes of a request, at most; a multiple of the block size.
    pub max_bytes: u32,
    /// What the address of lent memory must be a multiple of, a power of 2 and at most a page.
    pub alignment: u32,
    /// Requests that are under way at a time, at most.
    pub depth: u16,
    /// Whether nothing can be written.
    pub read_only: bool,
    /// Whether blocks can be discarded.
    pub discards: bool,
}

/// Why a request was not done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum BlockError {
    /// The session is over: what was written in it and not flushed may be lost. Open a new one.
    Stale,
    /// It reaches beyond the device's end, or is for no block at all, or for too many.
    Range,
    /// Less is lent than is asked for.
    TooShort,
    /// What is lent does not begin where the device can reach it: see [`Device::alignment`].
    Unaligned,
    /// The device cannot be written.
    ReadOnly,
    /// The device does not do this.
    Unsupported,
    /// What the device is on has no room left.
    NoSpace,
    /// The device failed. Of a flush: what was written since the last one may be lost.
    Failed,
}

impl core::fmt::Display for BlockError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            BlockError::Stale => "the session is over: what was not flushed may be lost",
            BlockError::Range => "the request does not lie within the device's limits",
            BlockError::TooShort => "less is lent than is asked for",
            BlockError::Unaligned => "the device cannot reach what is lent: it is not aligned",
            BlockError::ReadOnly => "the device cannot be written",
            BlockError::Unsupported => "the device does not do this",
            BlockError::NoSpace => "what the device is on has no room left",
            BlockError::Failed => "the device failed",
        })
    }
}

impl core::error::Error for BlockError {}
