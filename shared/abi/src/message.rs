//! Messages: at most 64 bytes and 4 capabilities. Anything larger travels in shared pages.

use crate::{Handle, Rights};

/// Bytes that a message carries inline, at most.
pub const MESSAGE_BYTES: usize = 64;

/// Capabilities that a message carries, at most.
pub const MESSAGE_GRANTS: usize = 4;

/// How a message passes a capability on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Mode {
    /// The sender's handle is gone; needs TRANSFER.
    Move = 1,
    /// The sender keeps its handle; needs TRANSFER and DERIVE.
    Copy = 2,
    /// The pages of a region under `address..address + length` are the receiver's for the length of
    /// this call: mapped when the message arrives, taken back as the reply is made. Needs TRANSFER;
    /// only in a call.
    Loan = 3,
}

impl Mode {
    /// The mode with this number.
    pub const fn from_number(number: u32) -> Option<Mode> {
        match number {
            1 => Some(Mode::Move),
            2 => Some(Mode::Copy),
            3 => Some(Mode::Loan),
            _ => None,
        }
    }
}

/// One capability in a message. The sender names its own handle and the rights to pass on; the
/// receiver finds its new handle, the rights it got, and for a region where it lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Grant {
    /// In: the sender's handle. Out: the receiver's.
    pub handle: Handle,
    /// In: the rights to pass on, of those the sender holds ([`Rights::bits`]). Out: those passed on.
    pub rights: u32,
    /// A [`Mode`], as a number.
    pub mode: u32,
    /// Regions: address of the first byte, the same in every domain. In: read for loans only.
    pub address: u64,
    /// Regions: length in bytes. In: read for loans only. A loan reaches whole pages.
    pub length: u64,
}

impl Grant {
    /// Gives `handle` away, with at most `rights`.
    pub const fn transfer(handle: Handle, rights: Rights) -> Grant {
        Grant { handle, rights: rights.bits(), mode: Mode::Move as u32, address: 0, length: 0 }
    }

    /// Passes on a copy of `handle`, with at most `rights`.
    pub const fn copy(handle: Handle, rights: Rights) -> Grant {
        Grant { handle, rights: rights.bits(), mode: Mode::Copy as u32, address: 0, length: 0 }
    }

    /// Lends `length` bytes from `address` on of the region `handle` for one call.
    pub const fn loan(handle: Handle, rights: Rights, address: u64, length: u64) -> Grant {
        Grant { handle, rights: rights.bits(), mode: Mode::Loan as u32, address, length }
    }
}

/// A message, as a service lays it out and as it finds it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Message {
    /// What the message asks or says; its meaning is the interface's. For a receive that returns
    /// signals instead of a message, the bits that were taken.
    pub label: u64,
    /// Out: which client, or which object, in the server's own terms. Never the sender's to choose.
    pub badge: u64,
    /// Out: how to answer; [`Handle::NULL`] when no answer is awaited.
    pub reply: Handle,
    /// Out: the rights of the capability that the message was sent through.
    pub rights: u32,
    /// Bytes of `data` in use, at most [`MESSAGE_BYTES`].
    pub length: u16,
    /// Entries of `grants` in use, at most [`MESSAGE_GRANTS`].
    pub grant_count: u16,
    /// The inline bytes.
    pub data: [u8; MESSAGE_BYTES],
    /// The capabilities.
    pub grants: [Grant; MESSAGE_GRANTS],
}

impl Message {
    /// A message with nothing in it.
    pub const EMPTY: Message = Message {
        label: 0,
        badge: 0,
        reply: Handle::NULL,
        rights: 0,
        length: 0,
        grant_count: 0,
        data: [0; MESSAGE_BYTES],
        grants: [Grant { handle: Handle::NULL, rights: 0, mode: 0, address: 0, length: 0 };
            MESSAGE_GRANTS],
    };

    /// A message with `label` and a copy of `bytes`; `None` when they are more than
    /// [`MESSAGE_BYTES`].
    pub fn new(label: u64, bytes: &[u8]) -> Option<Message> {
        let mut message = Message { label, ..Message::EMPTY };
        message.data.get_mut(..bytes.len())?.copy_from_slice(bytes);
        message.length = bytes.len() as u16;
        Some(message)
    }

    /// The inline bytes in use. A length beyond the limit counts as the limit.
    pub fn bytes(&self) -> &[u8] {
        &self.data[..(self.length as usize).min(MESSAGE_BYTES)]
    }

    /// The capabilities in use. A count beyond the limit counts as the limit.
    pub fn grants(&self) -> &[Grant] {
        &self.grants[..(self.grant_count as usize).min(MESSAGE_GRANTS)]
    }

    /// Adds a capability; `false` when there is no room for it.
    pub fn push(&mut self, grant: Grant) -> bool {
        let Some(place) = self.grants.get_mut(self.grant_count as usize) else { return false };
        *place = grant;
        self.grant_count += 1;
        true
    }
}

impl Default for Message {
    fn default() -> Message {
        Message::EMPTY
    }
}
