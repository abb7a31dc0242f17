//! Address spaces, and what the processor keeps of their tables (Intel's Software Developer's Manual, volume 3, 5.10).
//!
//! A processor may keep each page that it has found, and each table on the way there, and goes on using what it
//! keeps when the tables say something else. Without identifiers (PCID) it keeps things of the space in use only. With
//! them it keeps things of others too, so that what changes in a space that is not in use has to be forgotten as well.

use crate::{Format, Store, Tables, Words};
use core::ops::Range;
use phi_abi::layout::PAGE;
use phi_mem::FrameRange;

/// Pages that are forgotten one by one, at most; for more, all of the space's are.
const SINGLE: u64 = 32;

/// Bit of the root register's new value: what is kept under its identifier stays (5.10.4.1).
const KEEP: u64 = 1 << 63;

/// Under which a processor keeps what it has found in one space; its lower 12 bits. 0 is the kernel's own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identifier(pub u16);

/// What forgets, when it is told.
pub trait Processor {
    /// Physical address of the first table of those in use.
    fn root(&self) -> u64;

    /// Forgets, of the space in use, the page at an address, of 4 KiB or 2 MiB, and all tables (`INVLPG`).
    fn forget_page(&mut self, address: u64);

    /// Forgets everything of the space in use, but for what is the kernel's.
    fn forget_active(&mut self);

    /// Forgets everything of a space, in use or not (`INVPCID`). There are identifiers.
    fn forget_identifier(&mut self, identifier: Identifier);
}

/// An address space: its tables, and what they are kept under.
pub struct Space {
    tables: Tables,
    identifier: Option<Identifier>,
}

impl Space {
    /// A space with nothing in it; `None` when there is no memory. Where the processor has identifiers, it gets this
    /// one, which no other space has.
    pub fn new(
        format: Format,
        identifier: Option<Identifier>,
        store: &mut impl Store,
        processor: &mut impl Processor,
    ) -> Option<Space> {
        let tables = Tables::new(format, store)?;
        if let Some(identifier) = identifier {
            // Something is kept of the space that had it before.
            processor.forget_identifier(identifier);
        }
        Some(Space { tables, identifier })
    }

    /// See [`Tables::reserve`].
    pub fn reserve(&mut self, address: u64, count: u64, store: &mut impl Store) -> Option<()> {
        self.tables.reserve(address, count, store)
    }

    /// See [`Tables::map`].
    pub fn map(
        &mut self,
        address: u64,
        frames: FrameRange,
        flags: u64,
        words: &mut impl Words,
        processor: &mut impl Processor,
    ) {
        if self.tables.map(address, frames, flags, words) {
            self.forget(address, frames.count, processor);
        }
    }

    /// See [`Tables::unmap`].
    pub fn unmap(
        &mut self,
        address: u64,
        count: u64,
        words: &mut impl Words,
        processor: &mut impl Processor,
    ) {
        if self.tables.unmap(address, count, words) {
            self.forget(address, count, processor);
        }
    }

    fn forget(&self, address: u64, count: u64, processor: &mut impl Processor) {
        let active = self.is_active(processor);
        if active && count <= SINGLE {
            (0..count).for_each(|page| processor.forget_page(address + page * PAGE));
        } else if let Some(identifier) = self.identifier {
            processor.forget_identifier(identifier);
        } else if active {
            processor.forget_active();
        }
    }

    /// Physical address of the first table.
    pub fn root(&self) -> u64 {
        self.tables.root()
    }

    /// What is written to the root register to use this space.
    pub fn root_register(&self) -> u64 {
        let kept = |identifier: Identifier| KEEP | u64::from(identifier.0);
        self.tables.root() | self.identifier.map_or(0, kept)
    }

    /// Whether the processor uses it.
    pub fn is_active(&self, processor: &impl Processor) -> bool {
        processor.root() == self.tables.root()
    }

    /// See [`Tables::free`]. The space is not in use.
    pub fn free(self, own: Range<usize>, store: &mut impl Store) {
        self.tables.free(own, store);
    }
}
