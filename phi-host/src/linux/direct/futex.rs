//! How a thread waits for shared memory to change, and time stamps.

use phi_ipc::ring::Futex;
use std::sync::atomic::AtomicU32;

/// Words that Linux waits for at once, at most (`FUTEX_WAITV_MAX`).
const WORDS: usize = 128;

/// Size and place of the futex words: 32 bits, shared between processes (`FUTEX2_SIZE_U32`).
const FLAGS: u32 = 2;

/// Nanoseconds of a second.
const NANOSECONDS: u64 = 1_000_000_000;

/// One word to wait for, as Linux wants it (`struct futex_waitv`).
#[repr(C)]
#[derive(Clone, Copy)]
struct Waiter {
    value: u64,
    address: u64,
    flags: u32,
    reserved: u32,
}

/// Waits for the words of a ring and, besides, for one of the supervisor's, at most until a time.
pub struct DirectFutex<'a> {
    /// A word that only the supervisor writes, and what it holds while there is nothing to do.
    pub also: (&'a AtomicU32, u32),
    /// When the wait is over, in nanoseconds of the monotonic clock.
    pub end: Option<u64>,
}

impl Futex for DirectFutex<'_> {
    fn wait<'w>(&self, words: impl Iterator<Item = &'w AtomicU32>, expected: u32) {
        let nothing = Waiter { value: 0, address: 0, flags: FLAGS, reserved: 0 };
        let mut waiters = [nothing; WORDS];
        let own = std::iter::once(self.also);
        let all = own.chain(words.map(|word| (word, expected)));
        let mut count = 0;
        for (word, value) in all {
            let Some(waiter) = waiters.get_mut(count) else { return };
            (waiter.value, waiter.address) = (u64::from(value), word.as_ptr() as u64);
            count += 1;
        }
        let end = self.end.map(|end| libc::timespec {
            tv_sec: (end / NANOSECONDS) as libc::time_t,
            tv_nsec: (end % NANOSECONDS) as libc::c_long,
        });
        let end = end.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: the kernel reads `count` waiters and the time, valid for the length of the call;
        // each names a word that lives as long.
        unsafe {
            libc::syscall(
                libc::SYS_futex_waitv,
                waiters.as_ptr(),
                count,
                0,
                end,
                libc::CLOCK_MONOTONIC,
            );
        }
    }

    fn wake(&self, word: &AtomicU32) {
        super::super::futex::wake(word);
    }
}

/// A futex of who only wakes others: the supervisor, and a sender that does not wait.
pub struct WakeOnly;

impl Futex for WakeOnly {
    fn wait<'w>(&self, _: impl Iterator<Item = &'w AtomicU32>, _: u32) {}

    fn wake(&self, word: &AtomicU32) {
        super::super::futex::wake(word);
    }
}

/// A stamp that grows with time, the same on all processors. Where they disagree, only the order of
/// messages from different senders suffers.
pub fn time_stamp() -> u64 {
    // SAFETY: every x86-64 processor has the counter, and Linux lets programs read it.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// How many times a thread looks before it sleeps, learned from whether the other side took long lately.
///
/// On several processors it goes on looking meanwhile. On one the other side needs it: between two looks
/// the thread offers it to whoever may run. That costs one switch where sleeping and being woken costs
/// several system calls.
pub struct Patience {
    looks: u32,
    most: u32,
    /// Whether the other side runs at the same time.
    apart: bool,
}

/// Looks on several processors, at most: about as long as waking a thread on another one takes.
const LOOKS: u32 = 1 << 12;

/// Looks on one processor, at most: one that is served by somebody who has to ask others waits for
/// several switches.
const OFFERS: u32 = 4;

/// Who slept for less, in nanoseconds, had better looked.
const NAP: u64 = 100_000;

impl Patience {
    /// For threads on so many processors.
    pub fn new(processors: usize) -> Patience {
        let apart = processors > 1;
        let most = if apart { LOOKS } else { OFFERS };
        Patience { looks: most, most, apart }
    }

    /// How many times to look.
    #[inline]
    pub fn looks(&self) -> u32 {
        self.looks
    }

    /// Between two looks.
    #[inline]
    pub fn pause(&self) {
        if self.apart {
            std::hint::spin_loop();
        } else {
            std::thread::yield_now();
        }
    }

    /// It came before the thread slept.
    #[inline]
    pub fn found(&mut self) {
        if self.looks < self.most {
            self.grow();
        }
    }

    #[cold]
    fn grow(&mut self) {
        self.looks = (self.looks * 2 + self.most / 256 + 1).min(self.most);
    }

    /// The thread slept for so long, in nanoseconds.
    pub fn slept(&mut self, time: u64) {
        if time < NAP {
            self.grow();
        } else {
            self.looks /= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_is_lost_by_long_sleep_and_comes_back_by_short() {
        for (processors, most) in [(1, OFFERS), (2, LOOKS)] {
            let mut patience = Patience::new(processors);
            assert_eq!(patience.looks(), most);
            for _ in 0..32 {
                patience.slept(NAP);
            }
            assert_eq!(patience.looks(), 0);
            patience.slept(NAP - 1);
            assert!(patience.looks() > 0);
            for _ in 0..32 {
                patience.found();
            }
            assert_eq!(patience.looks(), most);
        }
    }
}
