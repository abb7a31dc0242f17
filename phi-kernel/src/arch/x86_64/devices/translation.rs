//! What a device can reach: second-level tables of four levels, as a device's addresses are looked up in
//! (Intel VT-d 4.1, 3.7 and 9.8). They look like the processor's, with other bits.

use super::super::paging::direct;
use core::arch::x86_64::_mm_clflush;
use phi_abi::layout::PAGE;
use phi_mem::{FrameAllocator, FrameRange};

const READ: u64 = 1;
const WRITE: u64 = 1 << 1;

/// Bits of an entry that are an address.
pub const ADDRESS: u64 = 0x000F_FFFF_FFFF_F000;

const ENTRIES: usize = 512;

/// Bytes of a line of the processor's cache.
const LINE: usize = 64;

/// A new table of zeros, where every unit sees it; `None` when there is no memory.
pub fn new_table(frames: &mut FrameAllocator) -> Option<u64> {
    let physical = frames.allocate()? * PAGE;
    // SAFETY: the frame is ours alone, and in the direct map.
    unsafe { direct(physical).write_bytes(0, PAGE as usize) };
    for offset in (0..PAGE as usize).step_by(LINE) {
        // SAFETY: as above.
        unsafe { _mm_clflush(direct(physical).add(offset)) };
    }
    Some(physical)
}

/// The entry `index` of the table at a physical address.
///
/// # Safety
/// There is a table of 64-bit words there, which only the caller changes, and the index lies in it.
pub unsafe fn entry(table: u64, index: usize) -> u64 {
    // SAFETY: the caller's word; the direct map has it.
    unsafe { direct(table).cast::<u64>().add(index).read_volatile() }
}

/// Sets that entry, and has units that do not look into the processor's cache see it.
///
/// # Safety
/// As for [`entry`], and what the value refers to is what it says.
pub unsafe fn set_entry(table: u64, index: usize, value: u64) {
    // SAFETY: the caller's word.
    unsafe {
        let place = direct(table).cast::<u64>().add(index);
        place.write_volatile(value);
        _mm_clflush(place.cast());
    }
}

/// Index into the table of `level` (0: the last) of an address.
fn index(address: u64, level: u32) -> usize {
    (address >> (12 + 9 * level)) as usize & (ENTRIES - 1)
}

/// The tables of one device.
pub struct Translation {
    root: u64,
}

impl Translation {
    /// Tables with nothing in them; `None` when there is no memory.
    pub fn new(frames: &mut FrameAllocator) -> Option<Translation> {
        Some(Translation { root: new_table(frames)? })
    }

    /// Physical address of the first table.
    pub fn root(&self) -> u64 {
        self.root
    }

    /// The last table for `address`, made if `frames` are there to make it from.
    fn last_table(&self, address: u64, mut frames: Option<&mut FrameAllocator>) -> Option<u64> {
        let mut table = self.root;
        for level in (1..=3).rev() {
            let index = index(address, level);
            // SAFETY: this space's tables are its own, and their entries refer to tables.
            let mut next = unsafe { entry(table, index) } & ADDRESS;
            if next == 0 {
                next = new_table(frames.as_deref_mut()?)?;
                // SAFETY: as above.
                unsafe { set_entry(table, index, next | READ | WRITE) };
            }
            table = next;
        }
        Some(table)
    }

    /// Makes the tables for `count` pages from `address` on; `None` when there is no memory for them.
    pub fn reserve(&self, address: u64, count: u64, frames: &mut FrameAllocator) -> Option<()> {
        for page in 0..count {
            let at = address + page * PAGE;
            if page == 0 || index(at, 0) == 0 {
                self.last_table(at, Some(frames))?;
            }
        }
        Some(())
    }

    /// Maps frames in a row from `address` on, instead of what was there. The place is reserved.
    pub fn map(&self, address: u64, frames: FrameRange, writable: bool) {
        let access = if writable { READ | WRITE } else { READ };
        self.change(address, frames.count, |page| ((frames.first + page) * PAGE) | access);
    }

    /// Unmaps `count` pages from `address` on.
    pub fn unmap(&self, address: u64, count: u64) {
        self.change(address, count, |_| 0);
    }

    fn change(&self, address: u64, count: u64, value: impl Fn(u64) -> u64) {
        let mut table = None;
        for page in 0..count {
            let at = address + page * PAGE;
            if page == 0 || index(at, 0) == 0 {
                table = self.last_table(at, None);
            }
            if let Some(table) = table {
                // SAFETY: this space's tables are its own; the frames are those that ΦCore says.
                unsafe { set_entry(table, index(at, 0), value(page)) };
            }
        }
    }

    /// Gives the tables back. No unit knows them any more.
    pub fn free(self, frames: &mut FrameAllocator) {
        free(self.root, 3, frames);
    }
}

fn free(table: u64, level: u32, frames: &mut FrameAllocator) {
    if level > 0 {
        for index in 0..ENTRIES {
            // SAFETY: the tables are ours alone.
            let next = unsafe { entry(table, index) } & ADDRESS;
            if next != 0 {
                free(next, level - 1, frames);
            }
        }
    }
    frames.free(table / PAGE, 1);
}
