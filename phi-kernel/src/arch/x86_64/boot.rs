//! From the loader's information to the kernel's own page tables, descriptors and clock.

use super::clock::{Clock, LOCAL_APIC};
use super::devices::{Board, Inventory};
use super::paging::{DIRECT_MAP, KERNEL_BASE, KernelSpace, direct};
use super::{CALL_TABLE, call_page, direct_way, machine_check, processor, traps};
use crate::memory::Ranges;
use core::fmt;
use core::ops::Range;
use phi_abi::layout::PAGE;
use phi_core::MachineError;
use phi_mem::FrameAllocator;
use x86_64::structures::paging::PageTableFlags as Flags;

/// What the loader said.
pub struct Boot {
    /// The time stamp of the kernel's entry.
    pub time: u64,
    /// All memory that the kernel maps, in physical addresses.
    pub memory: Ranges,
    /// What of it is free.
    pub free: Ranges,
    /// Where the bundle lies.
    pub bundle: Range<u64>,
    /// Physical address of the firmware's first table; 0 if the loader does not know.
    pub firmware: u64,
    /// Whether the command line asks for a dump at the system's end.
    pub dump: bool,
}

/// Why the machine cannot be set up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SetupError {
    /// The processor lacks something.
    Processor(&'static str),
    /// There is no usable clock.
    Clock(&'static str),
    /// There is too little memory for the kernel's page tables.
    Memory,
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SetupError::Processor(what) => write!(f, "this processor lacks {what}"),
            SetupError::Clock(what) => f.write_str(what),
            SetupError::Memory => f.write_str("there is no memory for the kernel's page tables"),
        }
    }
}

/// End of what the first page tables map; what is used before they are replaced lies below.
pub const EARLY_END: u64 = 1 << 32;

/// Memory below belongs to the firmware.
const FIRMWARE_END: u64 = 1 << 20;

/// First word of the start info.
const START_MAGIC: u32 = 0x336E_C578;

/// Bytes of the command line that are looked at.
const COMMAND_LINE: u64 = 512;

/// Kind of a range of the memory map that is ordinary memory.
const ORDINARY: u32 = 1;

/// `struct hvm_start_info`, version 1 (Xen, `arch-x86/hvm/start_info.h`).
#[derive(Clone, Copy)]
#[repr(C)]
struct StartInfo {
    magic: u32,
    version: u32,
    flags: u32,
    module_count: u32,
    modules: u64,
    command_line: u64,
    root_pointer: u64,
    memory_map: u64,
    memory_map_entries: u32,
    reserved: u32,
}

/// `struct hvm_modlist_entry`.
#[derive(Clone, Copy)]
#[repr(C)]
struct Module {
    address: u64,
    size: u64,
    command_line: u64,
    reserved: u64,
}

/// `struct hvm_memmap_table_entry`.
#[derive(Clone, Copy)]
#[repr(C)]
struct MemoryMapEntry {
    address: u64,
    size: u64,
    kind: u32,
    reserved: u32,
}

unsafe extern "C" {
    safe static image_start: u8;
    safe static text_start: u8;
    safe static rodata_start: u8;
    safe static data_start: u8;
    safe static data_filled_end: u8;
    safe static data_end: u8;
    safe static stack_start: u8;
    safe static stack_end: u8;
    safe static image_end: u8;
}

/// The kernel's first function: `start_info` is a physical address, `time` the entry's time stamp.
///
/// # Safety
/// Called once, by the entry.
pub unsafe extern "C" fn start(start_info: u64, time: u64) -> ! {
    // SAFETY: the loader's word, and the first tables map it.
    match unsafe { read(start_info, time) } {
        Ok(boot) => crate::boot(boot),
        Err(what) => {
            crate::panic::refuse(format_args!("the loader's information is no good: {what}"))
        }
    }
}

/// A loader's structure at a physical address below [`EARLY_END`].
///
/// # Safety
/// The loader put one there.
unsafe fn structure<T: Copy>(address: u64) -> Result<T, &'static str> {
    if address == 0 || address > EARLY_END - size_of::<T>() as u64 {
        return Err("it lies beyond 4 GiB, or nowhere");
    }
    // SAFETY: the first tables map all addresses below 4 GiB; any bytes make such a structure. Loaders
    // align less than the structures ask for.
    Ok(unsafe { direct(address).cast::<T>().read_unaligned() })
}

/// # Safety
/// The address is the loader's.
unsafe fn read(start_info: u64, time: u64) -> Result<Boot, &'static str> {
    // SAFETY: the caller's word.
    let info: StartInfo = unsafe { structure(start_info)? };
    if info.magic != START_MAGIC {
        return Err("it does not begin as PVH's");
    }
    if info.version < 1 || info.memory_map_entries == 0 {
        return Err("it has no memory map");
    }
    if info.module_count == 0 {
        return Err("there is no bundle: pass one as the initial RAM disk");
    }
    let mut memory = Ranges::EMPTY;
    for number in 0..u64::from(info.memory_map_entries) {
        let offset = number * size_of::<MemoryMapEntry>() as u64;
        // SAFETY: the loader says that so many follow each other.
        let entry: MemoryMapEntry = unsafe { structure(info.memory_map.saturating_add(offset))? };
        let end = entry.address.saturating_add(entry.size) & !(PAGE - 1);
        let first = entry.address.max(FIRMWARE_END).next_multiple_of(PAGE);
        if entry.kind == ORDINARY && !memory.add(first..end) {
            return Err("its memory map has too many ranges");
        }
    }
    // SAFETY: the loader says that it is there.
    let module: Module = unsafe { structure(info.modules)? };
    let bundle = module.address..module.address.saturating_add(module.size);
    if !memory.contain(&bundle) || bundle.end > EARLY_END {
        return Err("the bundle lies outside memory, or beyond 4 GiB");
    }
    let image = image();
    let mut free = memory.clone();
    // The image has its own mapping.
    let room = memory.remove(&image)
        && free.remove(&image)
        && free.remove(&(bundle.start & !(PAGE - 1)..bundle.end.next_multiple_of(PAGE)));
    // SAFETY: the loader says that it is there.
    let dump = info.command_line != 0 && unsafe { asks_for_dump(info.command_line)? };
    let firmware = info.root_pointer;
    let boot = Boot { time, memory, free, bundle, firmware, dump };
    if room { Ok(boot) } else { Err("it has too many ranges") }
}

/// Bytes of the kernel's text, constants and data, as its file has them.
pub fn text_and_data() -> u64 {
    &raw const data_filled_end as u64 - &raw const image_start as u64
}

/// Bytes of memory of the machine: what the kernel maps, its own image, and what is the firmware's.
pub fn memory(boot: &Boot) -> u64 {
    let image = image();
    let ranges = boot.memory.iter().map(|range| range.end - range.start);
    FIRMWARE_END + (image.end - image.start) + ranges.sum::<u64>()
}

/// Where the kernel's image is.
fn image() -> Range<u64> {
    &raw const image_start as u64 - KERNEL_BASE..&raw const image_end as u64 - KERNEL_BASE
}

/// Whether one of the words of the command line at `address` is `dump`. Others mean nothing.
///
/// # Safety
/// The loader put one there, which ends with a zero.
unsafe fn asks_for_dump(address: u64) -> Result<bool, &'static str> {
    let mut text = [0; COMMAND_LINE as usize];
    for (offset, place) in (0..).zip(&mut text) {
        // SAFETY: the caller's word, up to the zero.
        *place = unsafe { structure::<u8>(address.saturating_add(offset))? };
        if *place == 0 {
            break;
        }
    }
    Ok(text.split(|byte| matches!(byte, b' ' | 0)).any(|word| word == b"dump"))
}

/// Replaces what the entry set up: page tables, descriptors; turns the processor's features on, and
/// measures the clock.
///
/// # Errors
/// [`SetupError`].
///
/// # Safety
/// Called once, by [`crate::boot`]; the first free frames of `frames` lie below [`EARLY_END`].
pub unsafe fn set_up(
    boot: &Boot,
    frames: &mut FrameAllocator,
) -> Result<(KernelSpace, Clock, Option<Board>), SetupError> {
    processor::set_up().map_err(|missing| SetupError::Processor(missing.0))?;
    // The tables are not mapped afterwards.
    let inventory = Inventory::read(boot.firmware);
    let space = KernelSpace::new(frames).ok_or(SetupError::Memory)?;
    map_all(&space, boot, frames).ok_or(SetupError::Memory)?;
    // SAFETY: the image, the stack and all memory are mapped where they are now, but for the guard
    // below the stack, which nothing uses.
    unsafe { space.activate() };
    // SAFETY: this is called once, and interrupts are off.
    unsafe { traps::set_up() };
    // SAFETY: exceptions have their handlers now.
    unsafe { machine_check::set_up() };
    let clock = Clock::new(boot.time).map_err(|missing| SetupError::Clock(missing.0))?;
    // The image is no part of the memory that is mapped as such.
    let mut memory = boot.memory.clone();
    if !memory.add(image()) {
        return Err(SetupError::Memory);
    }
    let board = Board::new(&inventory, &memory, &space, frames);
    Ok((space, clock, board.map_err(|MachineError| SetupError::Memory)?))
}

/// Opens the way into the kernel: by a trap, or, if services have the kernel's privileges, by a jump. `None` when
/// there is no memory.
///
/// # Safety
/// Called once, after [`set_up`], and before any address space is made.
pub unsafe fn open_calls(
    space: &KernelSpace,
    privileged: bool,
    frames: &mut FrameAllocator,
) -> Option<()> {
    // SAFETY: the caller's word.
    let entry = privileged.then(|| unsafe { direct_way::open() });
    let page = call_page::content(entry);
    let frame = frames.allocate()?;
    // SAFETY: the frame is ours alone, and as long as the content.
    unsafe { direct(frame * PAGE).copy_from_nonoverlapping(page.as_ptr(), page.len()) };
    space.map_for_all(CALL_TABLE, frame, privileged, frames)
}

/// Maps the kernel's image, all memory, and the local APIC.
fn map_all(space: &KernelSpace, boot: &Boot, frames: &mut FrameAllocator) -> Option<()> {
    let data = Flags::WRITABLE | Flags::NO_EXECUTE;
    let parts = [
        (&raw const text_start, &raw const rodata_start, Flags::empty()),
        (&raw const rodata_start, &raw const data_start, Flags::NO_EXECUTE),
        (&raw const data_start, &raw const data_end, data),
        (&raw const stack_start, &raw const stack_end, data),
    ];
    for (start, end, flags) in parts {
        let (start, end) = (start as u64, end as u64);
        space.map(start, start - KERNEL_BASE, end - start, flags, frames)?;
    }
    for range in boot.memory.iter() {
        let length = range.end - range.start;
        space.map(DIRECT_MAP + range.start, range.start, length, data, frames)?;
    }
    space.map_registers(LOCAL_APIC, PAGE, frames)
}
