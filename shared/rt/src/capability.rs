//! Capabilities of any kind, owned.

use crate::system;
use core::mem::ManuallyDrop;
use phi_abi::{CapabilityInfo, DERIVE_REVOCABLE, Error, Handle, Kind, Message, Number, Rights};

/// A capability of this domain: the owner of one handle. Dropping it gives the handle up.
#[derive(Debug, PartialEq, Eq)]
pub struct Capability {
    handle: Handle,
}

/// A capability was of another kind than the one needed, or could not be inspected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WrongKind;

impl core::fmt::Display for WrongKind {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the capability is of another kind")
    }
}

impl core::error::Error for WrongKind {}

impl Capability {
    /// Takes `handle` over.
    ///
    /// # Safety
    /// The handle is valid and has no other owner, and memory that it names is not in use.
    pub unsafe fn from_handle(handle: Handle) -> Capability {
        Capability { handle }
    }

    /// The handle, still owned by `self`.
    pub fn handle(&self) -> Handle {
        self.handle
    }

    /// The handle, which nobody owns any more.
    pub fn into_handle(self) -> Handle {
        ManuallyDrop::new(self).handle
    }

    /// A copy with `rights`. Needs DERIVE.
    ///
    /// # Errors
    /// `Denied`, `Revoked`, `Dead`, or `QuotaExceeded` when the capability table is full.
    pub fn derive(&self, rights: Rights) -> Result<Capability, Error> {
        self.derive_with(rights, 0)
    }

    /// A copy with `rights` that [`Capability::revoke`] on `self` takes back. Needs DERIVE.
    ///
    /// # Errors
    /// As [`Capability::derive`]; also `QuotaExceeded` when no lineage is left, and `TooDeep`.
    pub fn derive_revocable(&self, rights: Rights) -> Result<Capability, Error> {
        self.derive_with(rights, DERIVE_REVOCABLE)
    }

    fn derive_with(&self, rights: Rights, flags: u64) -> Result<Capability, Error> {
        let words = [self.handle.0, u64::from(rights.bits()), flags, 0];
        let handle = system::plain(Number::CapabilityDerive, words)?;
        Ok(Capability { handle: Handle(handle) })
    }

    /// Takes back everything that was derived revocably from this capability, wherever it went.
    /// Needs DERIVE.
    ///
    /// # Errors
    /// `Denied`, `Revoked`, `Dead`.
    pub fn revoke(&self) -> Result<(), Error> {
        system::plain(Number::CapabilityRevoke, [self.handle.0, 0, 0, 0]).map(drop)
    }

    /// What the capability is.
    ///
    /// # Errors
    /// Those of the call; `Machine` when the answer names no kind.
    pub fn inspect(&self) -> Result<CapabilityInfo, Error> {
        let mut message = Message::EMPTY;
        let words = [self.handle.0, 0, 0, 0];
        system::with_message(Number::CapabilityInspect, words, &mut message)?;
        CapabilityInfo::decode(&message.data).ok_or(Error::Machine)
    }

    /// What the capability is, when it is of `kind`. A capability that somebody else sent must be
    /// asked before it is used: using it as what it is not would be this service's fault.
    ///
    /// # Errors
    /// [`WrongKind`].
    pub fn expect(&self, kind: Kind) -> Result<CapabilityInfo, WrongKind> {
        self.inspect().ok().filter(|info| info.kind == kind).ok_or(WrongKind)
    }
}

impl Drop for Capability {
    fn drop(&mut self) {
        system::drop_handle(self.handle);
    }
}
