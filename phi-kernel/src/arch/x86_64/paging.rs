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
//!
//! Where the processor has identifiers (PCID, 5.10.1), each domain has one, and the processor keeps what it knows of a
//! domain's pages while others run. What it has to forget, and when, is decided in [`phi_tables::Space`].

use core::arch::asm;
use phi_abi::Caching;
use phi_abi::layout::{PAGE, SERVICES, WINDOWS_BASE, window};
use phi_core::DomainIndex;
use phi_mem::{FrameAllocator, FrameRange};
use phi_tables::{
    Format, Framed, Identifier, LARGE, Processor, Space, Store, Words, index, make_path,
};
use x86_64::VirtAddr;
use x86_64::instructions::tlb::{self, InvPcidCommand, Pcid};
use x86_64::registers::control::{Cr3, Cr4, Cr4Flags};
use x86_64::structures::paging::PageTableFlags as Flags;

/// Where all of the machine's memory lies, at its physical address beyond this.
pub const DIRECT_MAP: u64 = 0xFFFF_8000_0000_0000;

/// What is added to the physical addresses of the kernel's image to get its link addresses.
pub const KERNEL_BASE: u64 = 0xFFFF_FFFF_8000_0000;

/// Bytes that one entry of a directory maps.
const LARGE_PAGE: u64 = LARGE * PAGE;

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

/// The kernel's and domains' tables, in the direct map.
struct Mapped;

impl Words for Mapped {
    fn entry(&self, table: u64, index: usize) -> u64 {
        // SAFETY: tables are only what a [`Store`] made, and the direct map has them. Nothing holds references
        // to entries, which the processor writes to as well.
        unsafe { direct(table).cast::<u64>().add(index).read_volatile() }
    }

    fn set_entry(&mut self, table: u64, index: usize, value: u64) {
        // SAFETY: as above.
        unsafe { direct(table).cast::<u64>().add(index).write_volatile(value) }
    }

    fn clear(&mut self, table: u64) {
        // SAFETY: the frame is the table's alone, and in the direct map.
        unsafe { direct(table).write_bytes(0, PAGE as usize) };
    }
}

/// The same, and frames to make more from.
fn growing(frames: &mut FrameAllocator) -> Framed<'_, Mapped> {
    Framed { words: Mapped, frames }
}

/// What the upper levels' entries allow: everything, as the last level decides.
const TABLE_FLAGS: Flags = Flags::PRESENT.union(Flags::WRITABLE);

/// Domains' tables.
const FORMAT: Format =
    Format { table: TABLE_FLAGS.union(Flags::USER_ACCESSIBLE).bits(), large: true };

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
        Some(KernelSpace { root: growing(frames).new_table()? })
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
            let store = &mut growing(frames);
            let table = make_path(self.root, at, level, TABLE_FLAGS.bits(), store)?;
            let flags = flags | huge | Flags::PRESENT | Flags::GLOBAL;
            store.set_entry(table, index(at, level), from | flags.bits());
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
    /// window uses; if `privileged`, for domains that have the kernel's privileges. `None` when there is no
    /// memory for tables.
    pub fn map_for_all(
        &self,
        address: u64,
        frame: u64,
        privileged: bool,
        frames: &mut FrameAllocator,
    ) -> Option<()> {
        let store = &mut growing(frames);
        let table = make_path(self.root, address, 0, FORMAT.table, store)?;
        let entry = (frame * PAGE) | flags(Access::Execute, privileged);
        store.set_entry(table, index(address, 0), entry);
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
/// The value is one that [`Space::root_register`] gives, or the root of complete tables.
unsafe fn write_root(value: u64) {
    // SAFETY: the caller's word.
    unsafe { asm!("mov cr3, {}", in(reg) value, options(nostack, preserves_flags)) };
}

/// What the processor that runs this keeps of tables.
struct Running;

impl Processor for Running {
    fn root(&self) -> u64 {
        Cr3::read_raw().0.start_address().as_u64()
    }

    fn forget_page(&mut self, address: u64) {
        tlb::flush(VirtAddr::new_truncate(address));
    }

    fn forget_active(&mut self) {
        // Writing the root forgets everything that is not the kernel's.
        tlb::flush_all();
    }

    fn forget_identifier(&mut self, Identifier(identifier): Identifier) {
        let Ok(identifier) = Pcid::new(identifier) else { return };
        // SAFETY: where there are identifiers, there is the instruction.
        unsafe { tlb::flush_pcid(InvPcidCommand::Single(identifier)) };
    }
}

/// The identifier of a domain; `None` where the processor has none.
fn identifier(domain: DomainIndex) -> Option<Identifier> {
    // They have 12 bits, and 0 is the kernel's.
    const { assert!(SERVICES < 1 << 12) };
    Cr4::read().contains(Cr4Flags::PCID).then_some(Identifier(domain.0 + 1))
}

/// The bits of a page's entry. A page for who has the kernel's privileges is none for services without.
fn flags(access: Access, privileged: bool) -> u64 {
    let hidden = if privileged { Flags::USER_ACCESSIBLE } else { Flags::empty() };
    (access.flags() - hidden).bits()
}

/// The address space of a domain, or of all of them.
pub struct AddressSpace {
    space: Space,
    kernel: KernelSpace,
    privileged: bool,
}

impl AddressSpace {
    /// An address space with nothing in it but the kernel and the call page: for the threads of one domain, which has
    /// no other, or for those of all, with the kernel's privileges; `None` when there is no memory.
    pub fn new(
        kernel: KernelSpace,
        domain: Option<DomainIndex>,
        frames: &mut FrameAllocator,
    ) -> Option<AddressSpace> {
        let identifier = domain.and_then(identifier);
        let space = Space::new(FORMAT, identifier, &mut growing(frames), &mut Running)?;
        let call_page = index(super::CALL_TABLE, 3);
        for slot in KERNEL_ENTRIES.chain([call_page]) {
            Mapped.set_entry(space.root(), slot, Mapped.entry(kernel.root, slot));
        }
        Some(AddressSpace { space, kernel, privileged: domain.is_none() })
    }

    /// Whether threads in it have the kernel's privileges.
    pub fn is_privileged(&self) -> bool {
        self.privileged
    }

    /// Makes the tables for `count` pages from `address` on, so that mapping there cannot fail; `None`
    /// when there is no memory for them.
    pub fn reserve(&mut self, address: u64, count: u64, frames: &mut FrameAllocator) -> Option<()> {
        self.space.reserve(address, count, &mut growing(frames))
    }

    /// Maps `frames` in a row from `address` on, instead of what was there. The place is reserved.
    pub fn map(&mut self, address: u64, frames: FrameRange, access: Access) {
        let flags = flags(access, self.privileged);
        self.space.map(address, frames, flags, &mut Mapped, &mut Running);
    }

    /// Unmaps `count` pages from `address` on, if they are mapped.
    pub fn unmap(&mut self, address: u64, count: u64) {
        self.space.unmap(address, count, &mut Mapped, &mut Running);
    }

    /// What is written to the root register to make this space active.
    pub fn root_register(&self) -> u64 {
        self.space.root_register()
    }

    /// Makes this the address space that the processor uses. Returns whether it was another one.
    pub fn activate(&self) -> bool {
        let change = !self.space.is_active(&Running);
        if change {
            // SAFETY: the root's upper half is the kernel's, so the kernel goes on as it is.
            unsafe { write_root(self.root_register()) };
        }
        change
    }

    /// Gives the tables back. What was mapped stays whose it is.
    pub fn free(self, frames: &mut FrameAllocator) {
        if self.space.is_active(&Running) {
            // SAFETY: the kernel's own tables map all that it uses.
            unsafe { self.kernel.activate() };
        }
        self.space.free(WINDOW_ENTRIES, &mut growing(frames));
    }
}
