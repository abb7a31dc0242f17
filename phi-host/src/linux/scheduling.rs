//! The scheduling class of this process and of those that it starts.

use nix::errno::Errno;

/// From now on this process, and those that it starts, run before all others of the computer, first in, first
/// out; or no longer.
///
/// # Errors
/// What Linux says: most often EPERM, without privileges.
pub fn set_first_in_first_out(on: bool) -> nix::Result<()> {
    let (class, priority) = if on { (libc::SCHED_FIFO, 1) } else { (libc::SCHED_OTHER, 0) };
    let parameter = libc::sched_param { sched_priority: priority };
    // SAFETY: the parameter is read during the call; the rest are numbers.
    Errno::result(unsafe { libc::sched_setscheduler(0, class, &raw const parameter) }).map(drop)
}
