//! Page tables of four levels, as the processor's and an IOMMU's are: both look up 9 bits of an address in each
//! level, and differ in the bits beside an entry's address (Intel's Software Developer's Manual, volume 3, 5.5;
//! VT-d 4.1, 3.7).
//!
//! Principles:
//! - **What can fail comes first.** [`Tables::reserve`] makes the tables for a range; to map and to unmap in it
//!   then succeeds, whatever is mapped there.
//! - **Large pages are found, not asked for.** 2 MiB that lie in a row, aligned alike on both sides, become one
//!   entry. The table that it takes the place of is kept: a later change of a part of them needs it.
//! - **Memory is somebody else's.** The crate names tables by their physical address and touches none of them,
//!   so the same code runs in the kernel and on a developer's computer, against a model.
#![no_std]

mod space;

pub use space::{Identifier, Processor, Space};

use core::ops::Range;
use phi_abi::layout::PAGE;
use phi_mem::{FrameAllocator, FrameRange};

/// Entries of a table.
pub const ENTRIES: usize = 512;

/// Pages of 4 KiB in a page of 2 MiB.
pub const LARGE: u64 = ENTRIES as u64;

/// Bits of an entry that are an address.
pub const ADDRESS: u64 = 0x000F_FFFF_FFFF_F000;

/// The bit of an entry of the last level but one that makes it a page of 2 MiB.
const IS_LARGE: u64 = 1 << 7;

/// The tables in memory.
pub trait Words {
    /// The entry `index` of the table at a physical address.
    fn entry(&self, table: u64, index: usize) -> u64;

    /// Sets that entry. Whoever walks the tables sees it then.
    fn set_entry(&mut self, table: u64, index: usize, value: u64);

    /// Makes a table one of zeros.
    fn clear(&mut self, table: u64);
}

/// The tables in memory, and where more come from.
pub trait Store: Words {
    /// A new table of zeros; `None` when there is no memory.
    fn new_table(&mut self) -> Option<u64>;

    /// Gives a table back.
    fn free_table(&mut self, table: u64);
}

/// The tables in memory, and frames to make more from.
pub struct Framed<'a, W> {
    /// The tables.
    pub words: W,
    /// The frames.
    pub frames: &'a mut FrameAllocator,
}

impl<W: Words> Words for Framed<'_, W> {
    fn entry(&self, table: u64, index: usize) -> u64 {
        self.words.entry(table, index)
    }

    fn set_entry(&mut self, table: u64, index: usize, value: u64) {
        self.words.set_entry(table, index, value);
    }

    fn clear(&mut self, table: u64) {
        self.words.clear(table);
    }
}

impl<W: Words> Store for Framed<'_, W> {
    fn new_table(&mut self) -> Option<u64> {
        let table = self.frames.allocate()? * PAGE;
        self.words.clear(table);
        Some(table)
    }

    fn free_table(&mut self, table: u64) {
        self.frames.free(table / PAGE, 1);
    }
}

/// Index into the table of `level` (0: the last) of an address.
pub const fn index(address: u64, level: u32) -> usize {
    (address >> (12 + 9 * level)) as usize & (ENTRIES - 1)
}

/// The table of `level` for `address` below `root`; tables that are missing are made with `flags`. `None` when
/// there is no memory, or where a large page is.
pub fn make_path(
    root: u64,
    address: u64,
    level: u32,
    flags: u64,
    store: &mut impl Store,
) -> Option<u64> {
    let mut table = root;
    for upper in (level + 1..=3).rev() {
        let slot = index(address, upper);
        let mut entry = store.entry(table, slot);
        if entry == 0 {
            entry = store.new_table()? | flags;
            store.set_entry(table, slot, entry);
        } else if is_large(entry, upper) {
            return None;
        }
        table = entry & ADDRESS;
    }
    Some(table)
}

fn is_large(entry: u64, level: u32) -> bool {
    level == 1 && entry & IS_LARGE != 0
}

/// Who walks the tables, as far as it makes a difference.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Format {
    /// Bits of an entry that refers to a table.
    pub table: u64,
    /// Whether there are pages of 2 MiB.
    pub large: bool,
}

/// The tables of one address space.
pub struct Tables {
    root: u64,
    format: Format,
    /// The first of the tables that large pages have taken the place of, or 0. Each one's first entry is the
    /// next one. There are at least as many as large pages.
    spare: u64,
    /// Spare tables beyond the number of large pages.
    surplus: usize,
}

/// What pages become: the first one's frame, and the bits of an entry besides.
#[derive(Clone, Copy)]
struct Leaf {
    first: u64,
    flags: u64,
}

impl Leaf {
    fn entry(self, page: u64) -> u64 {
        ((self.first + page) * PAGE) | self.flags
    }
}

impl Tables {
    /// Tables with nothing in them; `None` when there is no memory.
    pub fn new(format: Format, store: &mut impl Store) -> Option<Tables> {
        Some(Tables { root: store.new_table()?, format, spare: 0, surplus: 0 })
    }

    /// Physical address of the first table.
    pub fn root(&self) -> u64 {
        self.root
    }

    /// Makes the tables for `count` pages from `address` on, so that mapping there cannot fail; `None` when
    /// there is no memory for them.
    pub fn reserve(&mut self, address: u64, count: u64, store: &mut impl Store) -> Option<()> {
        let mut page = 0;
        while page < count {
            let at = address + page * PAGE;
            let directory = make_path(self.root, at, 1, self.format.table, store)?;
            let slot = index(at, 1);
            if store.entry(directory, slot) == 0 {
                let table = match self.surplus {
                    0 => store.new_table()?,
                    _ => self.take_surplus(store),
                };
                store.set_entry(directory, slot, table | self.format.table);
            }
            page += LARGE - index(at, 0) as u64;
        }
        Some(())
    }

    /// Maps frames in a row from `address` on, instead of what was there, by entries with `flags`. The place is
    /// reserved. Says whether something was there, be it a table without pages: walkers may still know it.
    pub fn map(
        &mut self,
        address: u64,
        frames: FrameRange,
        flags: u64,
        words: &mut impl Words,
    ) -> bool {
        self.change(address, frames.count, Some(Leaf { first: frames.first, flags }), words)
    }

    /// Unmaps `count` pages from `address` on, if they are mapped. Says whether one was.
    pub fn unmap(&mut self, address: u64, count: u64, words: &mut impl Words) -> bool {
        self.change(address, count, None, words)
    }

    fn change(
        &mut self,
        address: u64,
        count: u64,
        leaf: Option<Leaf>,
        words: &mut impl Words,
    ) -> bool {
        let mut was_used = false;
        let mut page = 0;
        while page < count {
            let at = address + page * PAGE;
            let pages = (LARGE - index(at, 0) as u64).min(count - page);
            if let Some(directory) = self.directory(at, words) {
                let place = (directory, index(at, 1));
                let part = leaf.map(|leaf| Leaf { first: leaf.first + page, ..leaf });
                was_used |= match pages {
                    LARGE => self.change_whole(place, part, words),
                    _ => self.change_part(place, index(at, 0), pages, part, words),
                };
            }
            page += pages;
        }
        was_used
    }

    /// The table of the last level but one for `address`, if there is one.
    fn directory(&self, address: u64, words: &impl Words) -> Option<u64> {
        (2..=3).rev().try_fold(self.root, |table, level| {
            Some(words.entry(table, index(address, level)) & ADDRESS).filter(|next| *next != 0)
        })
    }

    /// Changes the 512 pages of one entry of a directory.
    fn change_whole(
        &mut self,
        (directory, slot): (u64, usize),
        leaf: Option<Leaf>,
        words: &mut impl Words,
    ) -> bool {
        let entry = words.entry(directory, slot);
        let fits = leaf.filter(|leaf| self.format.large && leaf.first.is_multiple_of(LARGE));
        match (is_large(entry, 1), fits, leaf) {
            (_, None, Some(_)) | (false, None, None) => {
                self.change_part((directory, slot), 0, LARGE, leaf, words)
            }
            // One large page after another, with the table that the first has taken the place of.
            (true, Some(leaf), _) => {
                words.set_entry(directory, slot, leaf.entry(0) | IS_LARGE);
                true
            }
            (true, None, None) => {
                words.set_entry(directory, slot, 0);
                self.surplus += 1;
                true
            }
            // What is not reserved stays as it is.
            (false, Some(_), _) if entry == 0 => false,
            // The table has no pages, perhaps: a walker may know it all the same, and look there.
            (false, Some(leaf), _) => {
                let table = entry & ADDRESS;
                words.set_entry(directory, slot, leaf.entry(0) | IS_LARGE);
                words.set_entry(table, 0, self.spare);
                self.spare = table;
                true
            }
        }
    }

    /// Changes `count` pages from number `first` on of one entry of a directory.
    fn change_part(
        &mut self,
        (directory, slot): (u64, usize),
        first: usize,
        count: u64,
        leaf: Option<Leaf>,
        words: &mut impl Words,
    ) -> bool {
        let mut entry = words.entry(directory, slot);
        if is_large(entry, 1) {
            entry = self.split(entry, words) | self.format.table;
            words.set_entry(directory, slot, entry);
        }
        let table = entry & ADDRESS;
        if table == 0 {
            return false;
        }
        let mut was_used = false;
        for (page, index) in (0..count).zip(first..) {
            was_used |= words.entry(table, index) != 0;
            words.set_entry(table, index, leaf.map_or(0, |leaf| leaf.entry(page)));
        }
        was_used
    }

    /// A table that says the same as the large page `entry`.
    fn split(&mut self, entry: u64, words: &mut impl Words) -> u64 {
        let table = self.take_spare(words);
        let (first, flags) = ((entry & ADDRESS) / PAGE, entry & !ADDRESS & !IS_LARGE);
        for (page, index) in (0..LARGE).zip(0..) {
            words.set_entry(table, index, Leaf { first, flags }.entry(page));
        }
        table
    }

    fn take_spare(&mut self, words: &impl Words) -> u64 {
        let table = self.spare;
        self.spare = words.entry(table, 0);
        table
    }

    fn take_surplus(&mut self, words: &mut impl Words) -> u64 {
        self.surplus -= 1;
        let table = self.take_spare(words);
        words.clear(table);
        table
    }

    /// Gives the tables back: the first, and those under its entries in `own`. What was mapped stays whose it
    /// is. Nobody walks them any more.
    pub fn free(mut self, own: Range<usize>, store: &mut impl Store) {
        while self.spare != 0 {
            let table = self.take_spare(store);
            store.free_table(table);
        }
        for slot in own {
            free_below(store.entry(self.root, slot), 3, store);
        }
        store.free_table(self.root);
    }
}

/// Gives the table back that `entry`, of a table of `level`, refers to, and the tables under that.
fn free_below(entry: u64, level: u32, store: &mut impl Store) {
    if entry == 0 || is_large(entry, level) {
        return;
    }
    let table = entry & ADDRESS;
    if level > 1 {
        for slot in 0..ENTRIES {
            free_below(store.entry(table, slot), level - 1, store);
        }
    }
    store.free_table(table);
}
