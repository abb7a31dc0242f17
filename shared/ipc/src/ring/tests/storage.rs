//! Memory for the rings of tests.

use super::super::RingMemory;
use super::super::layout::{Header, Side, Slot, Taken};
use crate::ring::atomics::AtomicU64;
use std::boxed::Box;

/// The memory of one ring. The models' atomics must be made one by one, in the model.
pub(super) struct Storage {
    header: Header,
    slots: Box<[Slot]>,
}

impl Storage {
    /// Memory for an empty ring.
    pub(super) fn new(capacity: usize) -> Storage {
        let header = Header {
            taken: Taken(AtomicU64::new(0), Default::default()),
            consumer: Side::new(),
            producer: Side::new(),
        };
        Storage { header, slots: (0..capacity).map(|_| Slot::new()).collect() }
    }

    /// The ring.
    pub(super) fn memory(&self) -> RingMemory<'_> {
        RingMemory::from_parts(&self.header, &self.slots)
    }
}
