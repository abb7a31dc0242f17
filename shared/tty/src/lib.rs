//! Consoles: the interface of what text is written to, and of a line with a terminal at its other side, from which
//! bytes come as well.
//!
//! [`Console`] is served by the machine's debug console, which only writes, and by the drivers of lines: on Linux
//! `host-tty`, with a terminal device below; on bare metal `uart`. [`serve`] is the part of such a driver that is
//! the same everywhere.
//!
//! Principles:
//! - **Bytes as they are**: no encoding is assumed, nothing is added, and one call's bytes stay together.
//! - **A write that is answered is on its way**: the device has it, or it lies before what has it.
//! - **Short texts inline, long ones as a loan**, which costs ΦCore no copy.
//! - **Nothing waits in a read**: a signal says when bytes have come. Who reads takes; a line has one reader that
//!   makes sense, and the signal is that of who watched last.
//! - **No byte is lost in silence**: those that come while [`WAITING`] wait, and those that the line spoils, are
//!   counted, and the next read says so.
#![no_std]

mod line;

pub use line::{Line, serve};

use phi_idl::{Capability, Lent, interface};
use serde::{Deserialize, Serialize};

/// Bytes that wait for the reader, at most.
pub const WAITING: usize = 4096;

/// Bytes of a read, at most.
pub const PIECE: usize = 32;

/// The bit of the reader's signal that says that bytes have come.
pub const CAME: u64 = 1;

/// Prints, and reads.
#[interface]
pub trait Console {
    /// Writes `text`, at most 63 bytes.
    fn write(&mut self, text: &[u8]) -> Result<(), NotWritten>;

    /// Writes `text`.
    fn write_lent(&mut self, text: Lent<'_>) -> Result<(), NotWritten>;

    /// Has [`CAME`] be set in `signal` whenever bytes have come. Needs NOTIFY on it.
    fn watch(&mut self, signal: Capability) -> Result<(), NotRead>;

    /// Takes what came next; nothing if nothing has come.
    fn read(&mut self) -> Result<Piece, NotRead>;
}

/// The console took nothing, or not all.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NotWritten;

impl core::fmt::Display for NotWritten {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the console does not take the text")
    }
}

impl core::error::Error for NotWritten {}

/// Bytes that came.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Piece {
    length: u8,
    bytes: [u8; PIECE],
    /// Bytes that were lost before these, as far as that is known.
    pub lost: u32,
}

impl Piece {
    /// The first [`PIECE`] of `bytes`, before which so many were lost.
    pub fn new(from: &[u8], lost: u32) -> Piece {
        let length = from.len().min(PIECE);
        let mut bytes = [0; PIECE];
        bytes[..length].copy_from_slice(&from[..length]);
        Piece { length: length as u8, bytes, lost }
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        // The length is the other side's word.
        &self.bytes[..usize::from(self.length).min(PIECE)]
    }
}

/// Why nothing can be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum NotRead {
    /// Nothing ever comes from this console.
    WriteOnly,
    /// It is no signal that can be set.
    Signal,
    /// The line has failed.
    Failed,
}

impl core::fmt::Display for NotRead {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            NotRead::WriteOnly => "nothing comes from this console",
            NotRead::Signal => "this is no signal that can be set",
            NotRead::Failed => "the line has failed",
        })
    }
}

impl core::error::Error for NotRead {}
