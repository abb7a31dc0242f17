//! Ctrl-C as something to look for, so that what was begun can be ended well.

use crate::failure::{Failure, Kind};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// SIGINT and SIGTERM, which do not end this process from now on.
pub struct Interrupt(SignalFd);

impl Interrupt {
    /// Made before any other thread, since those have signals of their own otherwise.
    ///
    /// # Errors
    /// Linux refuses.
    pub fn new() -> Result<Interrupt, Failure> {
        let mut mask = SigSet::empty();
        mask.add(Signal::SIGINT);
        mask.add(Signal::SIGTERM);
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let signals = mask.thread_block().and_then(|()| SignalFd::with_flags(&mask, flags));
        signals.map(Interrupt).map_err(|error| {
            Failure::new(Kind::Computer, format!("signals cannot be waited for: {error}"))
        })
    }

    /// Whether one has come since this was asked last.
    pub fn is_pending(&self) -> bool {
        matches!(self.0.read_signal(), Ok(Some(_)))
    }
}
