//! The atomics that the ring is made of: core's, or a model checker's, with the same names.

#[cfg(not(any(loom, shuttle)))]
pub use core::sync::atomic::AtomicU32;
#[cfg(not(any(loom, shuttle)))]
pub(super) use core::{
    hint::spin_loop,
    sync::atomic::{AtomicU64, Ordering, fence},
};

#[cfg(loom)]
pub use loom::sync::atomic::AtomicU32;
#[cfg(loom)]
pub(super) use loom::{
    hint::spin_loop,
    sync::atomic::{AtomicU64, Ordering, fence},
};

#[cfg(shuttle)]
pub use shuttle::sync::atomic::AtomicU32;
#[cfg(shuttle)]
pub(super) use shuttle::{
    hint::spin_loop,
    sync::atomic::{AtomicU64, Ordering, fence},
};

/// One word of a message in shared memory.
///
/// A relaxed atomic: the other side may be hostile and write it at any time, so each read is one
/// load whose result is then private. Between honest sides the sequence numbers order all uses, and
/// no use needs to be atomic. The loom build proves that: there a word is a plain cell, and loom
/// reports every pair of uses that nothing orders.
#[cfg(not(loom))]
#[repr(transparent)]
pub(super) struct Word(AtomicU64);

#[cfg(not(loom))]
impl Word {
    /// A word that holds zero.
    #[cfg(all(test, shuttle))]
    pub(super) fn new() -> Word {
        Word(AtomicU64::new(0))
    }

    /// What the word holds.
    #[inline(always)]
    pub(super) fn load(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Lets the word hold `value`.
    #[inline(always)]
    pub(super) fn store(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }
}

/// One word of a message, with every use checked by loom.
#[cfg(loom)]
pub(super) struct Word(loom::cell::UnsafeCell<u64>);

#[cfg(loom)]
#[allow(unsafe_code)]
impl Word {
    /// A word that holds zero.
    #[cfg(test)]
    pub(super) fn new() -> Word {
        Word(loom::cell::UnsafeCell::new(0))
    }

    /// What the word holds.
    pub(super) fn load(&self) -> u64 {
        // SAFETY: the pointer is the cell's own; loom ends the test if a store is not ordered with
        // this load, and runs one thread at a time.
        self.0.with(|word| unsafe { *word })
    }

    /// Lets the word hold `value`.
    pub(super) fn store(&self, value: u64) {
        // SAFETY: as in `load`.
        self.0.with_mut(|word| unsafe { *word = value });
    }
}

// SAFETY: every use goes through loom's tracking, which ends the test on a race.
#[cfg(loom)]
#[allow(unsafe_code)]
unsafe impl Sync for Word {}
