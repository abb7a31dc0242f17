//! A lock for the threads of one service.

use crate::clock;
use core::sync::atomic::{AtomicBool, Ordering};
use talc::lock_api::{self, GuardSend, RawMutex};

/// A lock that gives the processor away while it waits: first to threads of the same priority, then
/// by sleeping, longer each time, so that a less urgent holder gets to run and let go.
pub struct YieldingLock {
    locked: AtomicBool,
}

/// Attempts before the processor is given away.
const SPINS: u32 = 64;

/// Times that only the same priority is given way, before sleeping.
const YIELDS: u32 = 8;

/// Nanoseconds of the first sleep and of the longest.
const SLEEP: core::ops::RangeInclusive<u64> = 10_000..=1_000_000;

/// A value that one thread at a time may use.
pub type Mutex<T> = lock_api::Mutex<YieldingLock, T>;

/// The use of a [`Mutex`]'s value, until it is dropped.
pub type MutexGuard<'a, T> = lock_api::MutexGuard<'a, YieldingLock, T>;

// SAFETY: `try_lock` succeeds for one holder at a time: only the one that changed false to true,
// until `unlock` changes it back.
unsafe impl RawMutex for YieldingLock {
    // A constant with interior mutability is how lock_api asks for a new lock.
    #[allow(clippy::declare_interior_mutable_const)]
    const INIT: YieldingLock = YieldingLock { locked: AtomicBool::new(false) };

    type GuardMarker = GuardSend;

    #[inline]
    fn lock(&self) {
        if !self.try_lock() {
            self.wait();
        }
    }

    #[inline]
    fn try_lock(&self) -> bool {
        self.locked.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    #[inline]
    unsafe fn unlock(&self) {
        self.locked.store(false, Ordering::Release);
    }
}

impl YieldingLock {
    #[cold]
    fn wait(&self) {
        let mut attempts = 0u32;
        let mut pause = *SLEEP.start();
        loop {
            if !self.locked.load(Ordering::Relaxed) && self.try_lock() {
                return;
            }
            attempts = attempts.saturating_add(1);
            if attempts < SPINS {
                core::hint::spin_loop();
            } else if attempts < SPINS + YIELDS {
                clock::sleep(0);
            } else {
                clock::sleep(pause);
                pause = (pause * 2).min(*SLEEP.end());
            }
        }
    }
}
