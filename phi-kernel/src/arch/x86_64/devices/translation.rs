//! What a device can reach: second-level tables of four levels, as a device's addresses are looked up in
//! (Intel VT-d 4.1, 3.7 and 9.8). They look like the processor's, with other bits.

use super::super::paging::direct;
use core::arch::x86_64::_mm_clflush;
use phi_abi::layout::PAGE;
use phi_mem::{FrameAllocator, FrameRange};
use phi_tables::{ENTRIES, Format, Framed, Store, Tables, Words};

const READ: u64 = 1;
const WRITE: u64 = 1 << 1;

/// Bytes of a line of the processor's cache.
const LINE: usize = 64;

/// A new table of zeros, where every unit sees it; `None` when there is no memory.
pub fn new_table(frames: &mut FrameAllocator) -> Option<u64> {
    growing(frames).new_table()
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

/// Tables that units look into.
struct Shown;

impl Words for Shown {
    fn entry(&self, table: u64, index: usize) -> u64 {
        // SAFETY: tables are only what a [`Store`] made, and the index is one of its entries.
        unsafe { entry(table, index) }
    }

    fn set_entry(&mut self, table: u64, index: usize, value: u64) {
        // SAFETY: as above; what entries refer to is what ΦCore says.
        unsafe { set_entry(table, index, value) }
    }

    fn clear(&mut self, table: u64) {
        // SAFETY: the frame is the table's alone, and in the direct map.
        unsafe { direct(table).write_bytes(0, PAGE as usize) };
        for offset in (0..PAGE as usize).step_by(LINE) {
            // SAFETY: as above.
            unsafe { _mm_clflush(direct(table).add(offset)) };
        }
    }
}

/// The same, and frames to make more from.
fn growing(frames: &mut FrameAllocator) -> Framed<'_, Shown> {
    Framed { words: Shown, frames }
}

/// The tables of one device.
pub struct Translation(Tables);

impl Translation {
    /// Tables with nothing in them, with large pages if all units know them; `None` when there is no memory.
    pub fn new(large: bool, frames: &mut FrameAllocator) -> Option<Translation> {
        let format = Format { table: READ | WRITE, large };
        Some(Translation(Tables::new(format, &mut growing(frames))?))
    }

    /// Physical address of the first table.
    pub fn root(&self) -> u64 {
        self.0.root()
    }

    /// Makes the tables for `count` pages from `address` on; `None` when there is no memory for them.
    pub fn reserve(&mut self, address: u64, count: u64, frames: &mut FrameAllocator) -> Option<()> {
        self.0.reserve(address, count, &mut growing(frames))
    }

    /// Maps frames in a row from `address` on, instead of what was there. The place is reserved.
    pub fn map(&mut self, address: u64, frames: FrameRange, writable: bool) {
        let access = if writable { READ | WRITE } else { READ };
        self.0.map(address, frames, access, &mut Shown);
    }

    /// Unmaps `count` pages from `address` on.
    pub fn unmap(&mut self, address: u64, count: u64) {
        self.0.unmap(address, count, &mut Shown);
    }

    /// Gives the tables back. No unit knows them any more.
    pub fn free(self, frames: &mut FrameAllocator) {
        self.0.free(0..ENTRIES, &mut growing(frames));
    }
}
