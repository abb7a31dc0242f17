//! What is done on both sides, and how it ends.

use phi_abi::{Error, Handle, Kind, Rights};

/// A capability to give away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gift {
    /// The giver's handle.
    pub handle: Handle,
    /// The rights to give.
    pub rights: Rights,
    /// Whether the giver keeps its own.
    pub copied: bool,
}

/// One operation; the first number is the domain that makes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// Makes a region, a mailbox or a signal.
    Create(u16, Kind),
    /// Derives a capability with these rights, revocably or not.
    Derive(u16, Handle, Rights, bool),
    /// Revokes what was derived.
    Revoke(u16, Handle),
    /// Drops a handle.
    Drop(u16, Handle),
    /// Mints an object on a mailbox.
    Mint(u16, Handle, Rights),
    /// Sends a capability through a mailbox; the last two are the receiver and its handle.
    Transfer(u16, Handle, Gift, u16, Handle),
    /// Calls through a mailbox, perhaps lending a region; the last two as above.
    Call(u16, Handle, Option<(Handle, Rights)>, u16, Handle),
    /// Answers a call, perhaps giving a capability.
    Answer(u16, Handle, Option<Gift>),
    /// The domain ends.
    End(u16),
}

/// How an operation ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Well, with these new handles.
    Handles(Vec<Handle>),
    /// Well.
    Done,
    /// With an error.
    Failed(Error),
}

fn words(handle: Handle) -> String {
    format!("{} {}", handle.slot(), handle.generation())
}

impl Operation {
    /// The operation as a line of the model's script.
    pub fn line(&self) -> String {
        match *self {
            Operation::Create(domain, kind) => format!("create {domain} {}", kind.name()),
            Operation::Derive(domain, handle, rights, revocable) => {
                let (handle, rights) = (words(handle), rights.bits());
                format!("derive {domain} {handle} {rights} {}", u8::from(revocable))
            }
            Operation::Revoke(domain, handle) => format!("revoke {domain} {}", words(handle)),
            Operation::Drop(domain, handle) => format!("drop {domain} {}", words(handle)),
            Operation::Mint(domain, handle, rights) => {
                format!("mint {domain} {} {}", words(handle), rights.bits())
            }
            Operation::Transfer(domain, way, gift, receiver, end) => {
                let (way, gift, end) = (words(way), gift.words(), words(end));
                format!("transfer {domain} {way} {gift} {receiver} {end}")
            }
            Operation::Call(domain, way, None, receiver, end) => {
                format!("call {domain} {} {receiver} {}", words(way), words(end))
            }
            Operation::Call(domain, way, Some((lent, rights)), receiver, end) => {
                let (way, lent, end) = (words(way), words(lent), words(end));
                format!("lend {domain} {way} {lent} {} {receiver} {end}", rights.bits())
            }
            Operation::Answer(domain, reply, None) => format!("answer {domain} {}", words(reply)),
            Operation::Answer(domain, reply, Some(gift)) => {
                format!("give {domain} {} {}", words(reply), gift.words())
            }
            Operation::End(domain) => format!("end {domain}"),
        }
    }
}

impl Gift {
    fn words(&self) -> String {
        format!("{} {} {}", words(self.handle), self.rights.bits(), u8::from(self.copied))
    }
}
