//! How a side sleeps, and how the other wakes it.

use super::atomics::{AtomicU32, Ordering, fence, spin_loop};
use super::layout::Side;
use super::ordering::Site;

/// A doorbell whose side is awake.
const AWAKE: u32 = 0;

/// A doorbell whose side sleeps, or is about to, and wants to be woken.
const SLEEPING: u32 = 1;

/// How this machine blocks a thread on a word of shared memory.
pub trait Futex {
    /// Blocks while all `words` hold `expected`, until [`Futex::wake`] on one of them. May return at
    /// any time without reason, and returns at the deadline if this futex has one. Comparing and
    /// beginning to block are one step for a `wake` that comes after a change of a word. Blocks not
    /// at all if there are more words than the machine can wait for.
    fn wait<'w>(&self, words: impl Iterator<Item = &'w AtomicU32>, expected: u32);

    /// Wakes who blocks on `word`.
    fn wake(&self, word: &AtomicU32);
}

/// Waits as all of `sides` until `ready`: about `spins` looks, then one sleep. May return early: the
/// caller looks for itself, and counts its rounds if the other side may be hostile.
pub(super) fn wait<'a>(
    sides: impl Iterator<Item = &'a Side> + Clone,
    ready: impl Fn() -> bool,
    futex: &impl Futex,
    spins: u32,
) {
    for _ in 0..spins {
        if ready() {
            return;
        }
        spin_loop();
    }
    for side in sides.clone() {
        side.bell.store(SLEEPING, Ordering::Relaxed);
    }
    // Between the announcements and the last look; the fence in `ring` lies between a change and
    // the look at the announcement. Fences of this kind have one order. If ours is first, the other
    // side sees SLEEPING, and rings; else we see the change.
    fence(Site::Sleep.ordering());
    if !ready() {
        futex.wait(sides.clone().map(|side| &side.bell), SLEEPING);
    }
    for side in sides {
        side.bell.store(AWAKE, Ordering::Relaxed);
    }
}

impl Side {
    /// Wakes this side if it sleeps. For the other side, after it has changed something that this
    /// side may wait for. Rings once for each time that this side has announced to sleep.
    #[inline(always)]
    pub(super) fn ring(&self, futex: &impl Futex) {
        // See `wait`.
        fence(Site::Ring.ordering());
        if self.bell.load(Ordering::Relaxed) == SLEEPING {
            self.wake(futex);
        }
    }

    /// As [`Side::ring`], whatever the doorbell says.
    pub(super) fn wake_always(&self, futex: &impl Futex) {
        // See `wait`.
        fence(Site::Ring.ordering());
        self.wake(futex);
    }

    #[cold]
    fn wake(&self, futex: &impl Futex) {
        // First the word, so that a side that is about to block finds it changed, then the wake for
        // one that blocks already.
        self.bell.store(AWAKE, Ordering::Relaxed);
        futex.wake(&self.bell);
    }

    /// Whether this side has closed. If so, all that it has published before is to be seen.
    #[inline(always)]
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Site::Closed.ordering()) != 0
    }

    /// Says that this side has closed. The other side is then to be woken.
    pub(super) fn close(&self) {
        self.closed.store(1, Site::Close.ordering());
    }
}
