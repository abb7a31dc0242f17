//! Page tables: the kernel's, and one set for each domain.
//!
//! | addresses | what |
//! |---|---|
//! | below 2^47 | the running domain: what it maps, and the call page of [`super::call_page`] |
//! | [`DIRECT_MAP`] | all memory at its physical address, but for the kernel's image |
//! | [`KERNEL_BASE`] | the kernel's image |
//!
//! Every domain's root shares the upper half. No page is both writable and executable, and the kernel's
//! text and constants have no writable second address. Terms are those of Intel's Software Developer's
//! Manual, volume 3, chapter 5.

use phi_abi::Caching;
use phi_abi::layout::{PAGE, SERVICES, WINDOWS_BASE, window};
use phi_mem::{FrameAllocator, FrameRange};
use x86_64::PhysAddr;
use x86_64::instructions::tlb;
use x86_64::registers::control::{Cr3, Cr3Flags};
use x86_64::structures::paging::{
    PageTable, PageTableFlags as Flags, PhysFrame, page_table::PageTableEntry,
};

/// Where all of the machine's memory lies, at its physical address beyond this.
pub const DIRECT_MAP: u64 = 0xFFFF_8000_0000_0000;

/// What is added to the physical addresses of the kernel's image to get its link addresses.
pub const KERNEL_BASE: u64 = 0xFFFF_FFFF_8000_0000;

/// Bytes that one entry of a directory maps.
const LARGE_PAGE: u64 = 1 << 21;

/// Pages that are invalidated one by one, at most; for more, all of the domain's are.
const SINGLE_INVALIDATIONS: u64 = 32;

/// Entries of a root that belong to domains' windows.
const WINDOW_ENTRIES: core::ops::Range<usize> =
    index(WINDOWS_BASE, 3)..index(window(SERVICES - 1), 3) + 1;

/// Entries of a root that belong to the kernel.
const KERNEL_ENTRIES: core::ops::Range<usize> = 256..512;

/// The address through which the kernel reaches physical memory.
pub fn direct(physical: u64) -> *mut u8 {
    (DIRECT_MAP + physical) as *mut u8
}

/// The physical address of what [`direct`] gave.
pub fn physical(address: *const u8) -> u64 {
    address as u64 - DIRECT_MAP
}

/// Index into the table of `level` (0: the last) of an address.
const fn index(address: u64, level: u32) -> usize {
    (address >> (12 + 9 * level)) as usize & 511
}

/// The table at a physical address.
///
/// # Safety
/// There is a table there, and nothing else refers to it while the reference is used.
unsafe fn table<'a>(physical: u64) -> &'a mut PageTable {
    // SAFETY: the direct map covers all tables; the rest is the caller's word.
    unsafe { &mut *direct(physical).cast() }
}

/// A new empty table; `None` when there is no memory.
fn new_table(frames: &mut FrameAllocator) -> Option<u64> {
    let physical = frames.allocate()? * PAGE;
    // SAFETY: the frame is ours alone, and zeros are an empty table.
    unsafe { direct(physical).write_bytes(0, PAGE as usize) };
    Some(physical)
}

/// What the upper levels' entries allow: everything, as the last level decides.
const TABLE_FLAGS: Flags = Flags::PRESENT.union(Flags::WRITABLE);

/// The table under `entry`, made if there is none.
fn next_table<'a>(
    entry: &mut PageTableEntry,
    flags: Flags,
    frames: &mut FrameAllocator,
) -> Option<&'a mut PageTable> {
    if entry.is_unused() {
        entry.set_addr(PhysAddr::new(new_table(frames)?), flags);
    }
    // SAFETY: a used entry of an upper level refers to a table that only this one owns, and callers
    // hold one table of a level at a time.
    Some(unsafe { table(entry.addr().as_u64()) })
}

/// The table of `level` that maps `address`, made if there is none.
fn make_path<'a>(
    root: u64,
    address: u64,
    level: u32,
    flags: Flags,
    frames: &mut FrameAllocator,
) -> Option<&'a mut PageTable> {
    // SAFETY: the root is a table, and its owner calls.
    let mut current = unsafe { table(root) };
    for upper in (level + 1..=3).rev() {
        current = next_table(&mut current[index(address, upper)], flags, frames)?;
    }
    Some(current)
}

/// Access of a domain to a page of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Read only.
    Read,
    /// Read and write.
    Write,
    /// Read and execute.
    Execute,
    /// A device's memory.
    Device {
        /// How the processor reaches it.
        caching: Caching,
        /// Whether it can be written.
        writable: bool,
    },
}

impl Access {
    fn flags(self) -> Flags {
        let user = Flags::PRESENT | Flags::USER_ACCESSIBLE;
        match self {
            Access::Read => user | Flags::NO_EXECUTE,
            Access::Write => user | Flags::NO_EXECUTE | Flags::WRITABLE,
            Access::Execute => user,
            Access::Device { caching, writable } => {
                let cache = match caching {
                    Caching::Uncached => Flags::NO_CACHE | Flags::WRITE_THROUGH,
                    // What the processor is told to take this combination for.
                    Caching::WriteCombining => Flags::WRITE_THROUGH,
                };
                let write = if writable { Flags::WRITABLE } else { Flags::empty() };
                user | Flags::NO_EXECUTE | cache | write
            }
        }
    }
}

/// The kernel's own tables, whose upper half every domain shares.
#[derive(Clone, Copy)]
pub struct KernelSpace {
    root: u64,
}

impl KernelSpace {
    /// Tables with nothing in them; `None` when there is no memory.
    pub fn new(frames: &mut FrameAllocator) -> Option<KernelSpace> {
        Some(KernelSpace { root: new_table(frames)? })
    }

    /// Maps physical memory for the kernel, in large pages where they fit; `None` when there is no
    /// memory for tables. Addresses and length are whole pages.
    pub fn map(
        &self,
        address: u64,
        physical: u64,
        length: u64,
        flags: Flags,
        frames: &mut FrameAllocator,
    ) -> Option<()> {
        let mut done = 0;
        while done < length {
            let (at, from) = (address + done, physical + done);
            let large = (at | from).is_multiple_of(LARGE_PAGE) && length - done >= LARGE_PAGE;
            let (level, size, huge) =
                if large { (1, LARGE_PAGE, Flags::HUGE_PAGE) } else { (0, PAGE, Flags::empty()) };
            let last = make_path(self.root, at, level, TABLE_FLAGS, frames)?;
            let flags = flags | huge | Flags::PRESENT | Flags::GLOBAL;
            last[index(at, level)].set_addr(PhysAddr::new(from), flags);
            done += size;
        }
        Some(())
    }

    /// Maps a device's registers for the kernel, where [`direct`] says; `None` when there is no memory for
    /// tables. Addresses are whole pages.
    pub fn map_registers(
        &self,
        physical: u64,
        length: u64,
        frames: &mut FrameAllocator,
    ) -> Option<()> {
        let data = Flags::WRITABLE | Flags::NO_EXECUTE;
        let flags = data | Flags::NO_CACHE | Flags::WRITE_THROUGH;
        self.map(DIRECT_MAP + physical, physical, length, flags, frames)
    }

    /// Maps one frame for every domain, readable and executable, under an entry of the root that no
    /// window uses; `None` when there is no memory for tables.
    pub fn map_for_all(&self, address: u64, frame: u64, frames: &mut FrameAllocator) -> Option<()> {
        let flags = TABLE_FLAGS | Flags::USER_ACCESSIBLE;
        let last = make_path(self.root, address, 0, flags, frames)?;
        last[index(address, 0)].set_addr(PhysAddr::new(frame * PAGE), Access::Execute.flags());
        Some(())
    }

    /// Makes these the tables that the processor uses.
    ///
    /// # Safety
    /// They map the kernel's image, its stack and all that it uses, where they are now.
    pub unsafe fn activate(&self) {
        // SAFETY: the caller's word.
        unsafe { write_root(self.root) };
    }
}

/// # Safety
/// The root is one of complete tables.
unsafe fn write_root(root: u64) {
    let frame = PhysFrame::containing_address(PhysAddr::new(root));
    // SAFETY: the caller's word.
    unsafe { Cr3::write(frame, Cr3Flags::empty()) };
}

/// The address space of a domain.
pub struct AddressSpace {
    root: u64,
    kernel: KernelSpace,
}

impl AddressSpace {
    /// An address space with nothing in it but the kernel and the call page; `None` when there is no
    /// memory.
    pub fn new(kernel: KernelSpace, frames: &mut FrameAllocator) -> Option<AddressSpace> {
        let root = new_table(frames)?;
        // SAFETY: both are tables, two different ones, and no other references to them are in use.
        let (own, shared) = unsafe { (table(root), table(kernel.root)) };
        let call_page = index(super::CALL_TABLE, 3);
        for entry in KERNEL_ENTRIES.chain([call_page]) {
            own[entry] = shared[entry].clone();
        }
        Some(AddressSpace { root, kernel })
    }

    /// Makes the tables for `count` pages from `address` on, so that mapping there cannot fail; `None`
    /// when there is no memory for them.
    pub fn reserve(&mut self, address: u64, count: u64, frames: &mut FrameAllocator) -> Option<()> {
        let end = address + count * PAGE;
        let mut at = address;
        while at < end {
            make_path(self.root, at, 0, TABLE_FLAGS | Flags::USER_ACCESSIBLE, frames)?;
            at = (at & !(LARGE_PAGE - 1)) + LARGE_PAGE;
        }
        Some(())
    }

    /// Maps `frames` in a row from `address` on, instead of what was there. The place is reserved.
    pub fn map(&mut self, address: u64, frames: FrameRange, access: Access) {
        let flags = access.flags();
        let mut next = frames.first * PAGE;
        self.change(address, frames.count, |entry| {
            entry.set_addr(PhysAddr::new(next), flags);
            next += PAGE;
        });
    }

    /// Unmaps `count` pages from `address` on, if they are mapped.
    pub fn unmap(&mut self, address: u64, count: u64) {
        self.change(address, count, PageTableEntry::set_unused);
    }

    /// Changes the entries of `count` pages from `address` on where there are tables, and has the
    /// processor forget what it knew of them.
    fn change(&mut self, address: u64, count: u64, mut change: impl FnMut(&mut PageTableEntry)) {
        let end = address + count * PAGE;
        let mut at = address;
        let mut was_used = false;
        while at < end {
            let next = end.min((at & !(LARGE_PAGE - 1)) + LARGE_PAGE);
            if let Some(last) = self.last_table(at) {
                let first = index(at, 0);
                for entry in last.iter_mut().skip(first).take(((next - at) / PAGE) as usize) {
                    was_used |= !entry.is_unused();
                    change(entry);
                }
            }
            at = next;
        }
        if was_used && self.is_active() {
            invalidate(address, count);
        }
    }

    /// The last table for `address`, if there is one.
    fn last_table<'a>(&mut self, address: u64) -> Option<&'a mut PageTable> {
        let mut physical = self.root;
        for level in (1..=3).rev() {
            // SAFETY: used entries of upper levels refer to tables that are this space's.
            let entry = unsafe { &table(physical)[index(address, level)] };
            if entry.is_unused() {
                return None;
            }
            physical = entry.addr().as_u64();
        }
        // SAFETY: as above; the caller uses one at a time.
        Some(unsafe { table(physical) })
    }

    /// What the root register is while this space is active.
    pub fn root(&self) -> u64 {
        self.root
    }

    fn is_active(&self) -> bool {
        Cr3::read().0.start_address().as_u64() == self.root
    }

    /// Makes this the address space that the processor uses. Returns whether it was another one.
    pub fn activate(&self) -> bool {
        let change = !self.is_active();
        if change {
            // SAFETY: the root's upper half is the kernel's, so the kernel goes on as it is.
            unsafe { write_root(self.root) };
        }
        change
    }

    /// Gives the tables back. What was mapped stays whose it is.
    pub fn free(self, frames: &mut FrameAllocator) {
        if self.is_active() {
            // SAFETY: the kernel's own tables map all that it uses.
            unsafe { self.kernel.activate() };
        }
        // SAFETY: the root is a table, and nothing uses it any more.
        let root = unsafe { table(self.root) };
        for entry in WINDOW_ENTRIES {
            free_tables(&mut root[entry], 2, frames);
        }
        frames.free(self.root / PAGE, 1);
    }
}

/// Gives the table under `entry`, which is of `level`, back, and the tables under that.
fn free_tables(entry: &mut PageTableEntry, level: u32, frames: &mut FrameAllocator) {
    if entry.is_unused() {
        return;
    }
    let physical = entry.addr().as_u64();
    if level > 0 {
        // SAFETY: a used entry of an upper level refers to a table, which nothing else uses.
        for entry in unsafe { table(physical) }.iter_mut() {
            free_tables(entry, level - 1, frames);
        }
    }
    entry.set_unused();
    frames.free(physical / PAGE, 1);
}

/// Has the processor forget what it knows of pages of the active address space.
fn invalidate(address: u64, count: u64) {
    if count > SINGLE_INVALIDATIONS {
        // Writing the root forgets everything that is not the kernel's.
        tlb::flush_all();
        return;
    }
    for page in 0..count {
        tlb::flush(x86_64::VirtAddr::new_truncate(address + page * PAGE));
    }
}
