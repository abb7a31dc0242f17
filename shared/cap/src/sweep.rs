//! What is left to do after a revocation: the capabilities that are no longer valid are still in the lists
//! of their objects, and are to be buried.
//!
//! Nothing depends on when that happens, since every use compares versions. So it is done in small steps,
//! object by object, and what asks for something that a step would free does the rest first.

use alloc::boxed::Box;
use alloc::vec;
use phi_mem::{Links, List, NONE};

/// The objects whose capabilities are to be looked at, by anchor.
#[derive(Clone)]
pub(crate) struct Sweeps {
    queue: List,
    links: Links,
    queued: Box<[bool]>,
    /// Of the first object in the queue, the capability to look at next; [`NONE`] at the end.
    pub(crate) next: u32,
    /// Whether something of that object was revoked since its sweep began.
    again: bool,
}

impl Sweeps {
    pub(crate) fn new(anchors: usize) -> Sweeps {
        Sweeps {
            queue: List::EMPTY,
            links: Links::new(anchors),
            queued: vec![false; anchors].into_boxed_slice(),
            next: NONE,
            again: false,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Puts an object into the queue; `first` is the first capability to it.
    pub(crate) fn add(&mut self, anchor: u32, first: Option<u32>) {
        let begins = self.queue.is_empty();
        if self.queued[anchor as usize] {
            self.again |= self.queue.first() == Some(anchor);
            return;
        }
        self.queued[anchor as usize] = true;
        self.links.push_back(&mut self.queue, anchor);
        if begins {
            self.next = first.unwrap_or(NONE);
        }
    }

    /// The first object is done: it leaves the queue, or gets in again at its end. Returns the object that
    /// is first now; the caller sets what comes next of it.
    pub(crate) fn finish_first(&mut self) -> Option<u32> {
        let done = self.links.pop_front(&mut self.queue)?;
        self.queued[done as usize] = self.again;
        if self.again {
            self.links.push_back(&mut self.queue, done);
        }
        self.again = false;
        self.queue.first()
    }
}
