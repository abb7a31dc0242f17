//! Memory that a process shares with those that it forks, and the forks.

use crate::PeerError;
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};
use std::num::NonZeroUsize;

/// Zeroed memory for a `T`, shared with all processes that are forked from now on. It stays until they end.
pub fn shared<T: Zeroed>() -> Result<&'static T, PeerError> {
    let length = NonZeroUsize::new(size_of::<T>()).ok_or_else(|| PeerError("no bytes".into()))?;
    let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: a new mapping, at a place that Linux chooses, replaces nothing.
    let place = unsafe { mmap_anonymous(None, length, access, MapFlags::MAP_SHARED) }?;
    // SAFETY: the pages are zero, which is a `T`; they are aligned to more than a `T`, and never unmapped.
    Ok(unsafe { place.cast::<T>().as_ref() })
}

/// Types of atomics alone, for which zeroed memory is a value.
///
/// # Safety
/// All zeros are a value of the type, and all its fields may change while it is shared.
pub unsafe trait Zeroed: Sync {}

/// A forked process.
pub struct Child(Pid);

impl Child {
    /// Runs `work` in a process of its own, which ends with it, or with this one.
    pub fn run(work: impl FnOnce() -> Result<(), PeerError>) -> Result<Child, PeerError> {
        // SAFETY: this process has one thread, so nothing is locked in the child.
        match unsafe { fork() }? {
            ForkResult::Parent { child } => Ok(Child(child)),
            ForkResult::Child => {
                let result = nix::sys::prctl::set_pdeathsig(Some(Signal::SIGKILL))
                    .map_err(PeerError::from)
                    .and_then(|()| work());
                if let Err(error) = &result {
                    eprintln!("phi-peers: the other end: {error}");
                }
                // SAFETY: the call takes a number; nothing of the parent's is torn down twice.
                unsafe { libc::_exit(i32::from(result.is_err())) }
            }
        }
    }

    /// Waits for its end.
    pub fn finish(self) -> Result<(), PeerError> {
        match waitpid(self.0, None)? {
            WaitStatus::Exited(_, 0) => Ok(()),
            other => Err(PeerError(format!("the other end ended with {other:?}"))),
        }
    }
}
