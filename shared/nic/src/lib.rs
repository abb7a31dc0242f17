//! Network cards: the interface that drivers serve and clients use, and what all of them do alike.
//!
//! [`Nic`] is the driver line: on Linux `host-tap` serves it, with a TAP interface below; on bare metal the
//! driver of virtio-net. [`serve`] is the part of a driver that is the same everywhere, [`Link`] that of a
//! client.
//!
//! Principles:
//! - **Frames lie in memory of the client's** that both sides keep mapped: a call is a few words. A frame is copied
//!   once between that memory and the device's: it is less than half a page, and having a device reach a page
//!   costs more.
//! - **A card has one client at a time**, until that one gives it up or ends. So a client that ends while the
//!   driver copies ends a driver that nobody else has; to take the memory back and live on is not possible. Who
//!   shares a card among others is a service of its own.
//! - **Nothing waits in a call**: a signal says when a frame has come.
//! - **Ethernet's promises, and no more**: a frame arrives once, or not at all. Those that come while
//!   [`WAITING`] wait for the client are lost.
//! - **Sessions**: a driver that is started anew begins another one, and refuses what belongs to the old one as
//!   [`NicError::Stale`].
//! - **All arguments are hostile**, and so are frames.
#![no_std]

#[cfg(test)]
extern crate std;

mod address;
mod desk;
mod link;
#[cfg(test)]
mod tests;

pub use address::Address;
pub use desk::{Card, serve};
pub use link::{Link, LinkError};

use phi_idl::{Caller, Capability, Slice, interface};
use serde::{Deserialize, Serialize};

/// Bytes of a frame, at most: 14 of its head, and 1,500 (IEEE 802.3, without the check sequence).
pub const FRAME: usize = 1514;

/// Bytes of a frame's head, which no frame is shorter than.
pub const HEAD: usize = 14;

/// Frames that wait for the client, at most.
pub const WAITING: usize = 64;

/// Bytes of the memory that frames are handed over in, at most.
pub const MEMORY: u64 = 1 << 20;

/// The bit of the client's signal that says that a frame has come.
pub const CAME: u64 = 1;

/// A network card.
#[interface]
pub trait Nic {
    /// Begins a session, and ends the one that this client had; frames that wait already are dropped.
    /// Frames are handed over in `memory`, at most [`MEMORY`] bytes, which needs READ and WRITE, and which nobody
    /// can take back: no capability on the way to it was derived revocably. [`CAME`] is set in `signal`, which
    /// needs NOTIFY, whenever a frame has come; with the signal the session ends.
    fn open(
        &mut self,
        caller: Caller,
        memory: Capability,
        signal: Capability,
    ) -> Result<Opened, NicError>;

    /// Sends the frame that lies in `frame`, which is free again with the answer.
    fn send(&mut self, caller: Caller, session: u64, frame: Slice) -> Result<(), NicError>;

    /// Takes the next frame to the beginning of `into`, which has room for [`FRAME`] bytes: how many it has.
    fn receive(&mut self, caller: Caller, session: u64, into: Slice) -> Result<u32, NicError>;

    /// Ends the session: another client may have the card.
    fn close(&mut self, caller: Caller, session: u64) -> Result<(), NicError>;
}

/// A session that was opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Opened {
    /// Its number, for everything that is asked in it. Never 0.
    pub session: u64,
    /// The card's address.
    pub address: Address,
}

/// Why a request was not done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum NicError {
    /// The session is over. Open a new one.
    Stale,
    /// Another client has the card.
    Taken,
    /// It is no frame: too short, too long, or not in the session's memory.
    Length,
    /// No frame has come.
    Nothing,
    /// As many frames are being sent as can be: try again.
    Busy,
    /// It is no signal that can be set.
    Signal,
    /// It is no memory that the driver can map, or too much, or could be taken back.
    Memory,
    /// The device failed.
    Failed,
}

impl core::fmt::Display for NicError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            NicError::Stale => "the session is over",
            NicError::Taken => "another client has the card",
            NicError::Length => {
                "the frame is too short or too long, or does not lie in the session's memory"
            }
            NicError::Nothing => "no frame has come",
            NicError::Busy => "as many frames are being sent as can be",
            NicError::Signal => "this is no signal that can be set",
            NicError::Memory => {
                "this is no memory that the driver can map, or too much, or it could be taken back"
            }
            NicError::Failed => "the device failed",
        })
    }
}

impl core::error::Error for NicError {}
