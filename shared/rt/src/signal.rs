//! Signals: words of bits that are set and taken.

use crate::{Capability, Mailbox, WrongKind, system};
use phi_abi::{Error, Handle, Kind, Number};

/// A signal: 64 bits that holders set and wait for.
#[derive(Debug)]
pub struct Signal(Capability);

impl Signal {
    pub(crate) fn new(capability: Capability) -> Signal {
        Signal(capability)
    }

    /// Makes a signal with no bit set.
    ///
    /// # Errors
    /// `QuotaExceeded`.
    pub fn create() -> Result<Signal, Error> {
        let handle = Handle(system::plain(Number::SignalCreate, [0; 4])?);
        // SAFETY: the call made the handle for us alone.
        Ok(Signal::new(unsafe { Capability::from_handle(handle) }))
    }

    /// Sets `bits`. Needs NOTIFY.
    ///
    /// # Errors
    /// `Denied`, `Revoked`, `Dead`.
    pub fn notify(&self, bits: u64) -> Result<(), Error> {
        system::plain(Number::SignalNotify, [self.0.handle().0, bits, 0, 0]).map(drop)
    }

    /// Waits up to `timeout` nanoseconds until a bit in `mask`, which is not 0, is set; takes and
    /// gives the bits of `mask` that are. Needs WAIT.
    ///
    /// # Errors
    /// `TimedOut`, `Denied`, `Revoked`, `Dead`.
    pub fn wait(&self, mask: u64, timeout: u64) -> Result<u64, Error> {
        system::plain(Number::SignalWait, [self.0.handle().0, mask, timeout, 0])
    }

    /// Binds the signal to `mailbox`: its receive then gives the signal's bits, too. Needs WAIT, and
    /// RECEIVE on the mailbox.
    ///
    /// # Errors
    /// `Busy` when either is bound, `Denied`, `Revoked`, `Dead`.
    pub fn bind(&self, mailbox: &Mailbox) -> Result<(), Error> {
        let words = [self.0.handle().0, mailbox.capability().handle().0, 0, 0];
        system::plain(Number::SignalBind, words).map(drop)
    }

    /// The capability, to derive from or to inspect.
    pub fn capability(&self) -> &Capability {
        &self.0
    }

    /// The capability itself, to give away.
    pub fn into_capability(self) -> Capability {
        self.0
    }
}

impl TryFrom<Capability> for Signal {
    type Error = WrongKind;

    fn try_from(capability: Capability) -> Result<Signal, WrongKind> {
        capability.expect(Kind::Signal)?;
        Ok(Signal(capability))
    }
}
