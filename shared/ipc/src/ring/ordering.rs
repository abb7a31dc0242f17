//! Every memory ordering of the ring that is stronger than relaxed, in one place, with its reason.
//!
//! Under loom, one of them can be weakened, so that a test can show that the model notices. The
//! full argument is in `docs/ring.md`.

use super::atomics::Ordering;

/// An operation whose ordering the ring depends on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Site {
    /// The producer stores a slot's sequence number. Release: who reads the number finds the payload
    /// that was written before it.
    Publish,
    /// The consumer loads a slot's sequence number. Acquire: the other half of [`Site::Publish`].
    Observe,
    /// The consumer stores how many messages it has taken. Release: its reads of the payload come
    /// before any write by a producer that has seen the number.
    Release,
    /// The producer loads how many messages were taken. Acquire: the other half of
    /// [`Site::Release`].
    Reclaim,
    /// A side stores that it has closed. Release: who sees that the producer has closed also sees
    /// everything it has published.
    Close,
    /// A side loads whether the other has closed. Acquire: the other half of [`Site::Close`].
    Closed,
    /// The server exchanges an answer's turn. Release: who reads the turn finds the answer that was
    /// written before it.
    Answer,
    /// The caller loads an answer's turn. Acquire: the other half of [`Site::Answer`].
    Learn,
    /// The fence between changing the ring and looking whether the other side sleeps. Sequentially
    /// consistent: together with [`Site::Sleep`], one of the two sides sees the other's store.
    Ring,
    /// The fence between announcing to sleep and looking at the ring a last time; see
    /// [`Site::Ring`].
    Sleep,
}

impl Site {
    /// The ordering that the ring uses here.
    #[inline(always)]
    const fn argued(self) -> Ordering {
        match self {
            Site::Publish | Site::Release | Site::Close | Site::Answer => Ordering::Release,
            Site::Observe | Site::Reclaim | Site::Closed | Site::Learn => Ordering::Acquire,
            Site::Ring | Site::Sleep => Ordering::SeqCst,
        }
    }

    /// The ordering to use here.
    #[cfg(not(loom))]
    #[inline(always)]
    pub(super) const fn ordering(self) -> Ordering {
        self.argued()
    }

    /// The ordering to use here: weakened if a test has asked for that.
    #[cfg(loom)]
    pub(super) fn ordering(self) -> Ordering {
        if WEAKENED.get() == Some(self) { self.weakened() } else { self.argued() }
    }

    /// The next weaker ordering: relaxed, and for a fence, which cannot be relaxed, acquire and
    /// release.
    #[cfg(loom)]
    const fn weakened(self) -> Ordering {
        match self {
            Site::Ring | Site::Sleep => Ordering::AcqRel,
            _ => Ordering::Relaxed,
        }
    }
}

#[cfg(loom)]
std::thread_local! {
    /// The site that the model on this thread weakens. Loom runs all threads of a model on the
    /// thread of its test.
    pub(super) static WEAKENED: core::cell::Cell<Option<Site>> = const { core::cell::Cell::new(None) };
}
