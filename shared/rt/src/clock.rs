//! Time.

use crate::system;
use phi_abi::Number;

/// Nanoseconds since the system's start.
pub fn now() -> u64 {
    // Reading the clock has no error.
    system::plain(Number::ClockRead, [0; 4]).unwrap_or(0)
}

/// Sleeps for `nanoseconds`; 0 only lets others of the same priority run.
pub fn sleep(nanoseconds: u64) {
    // Sleeping has no error.
    let _ = system::plain(Number::ThreadSleep, [nanoseconds, 0, 0, 0]);
}
