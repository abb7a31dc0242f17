//! The x87 and vector registers, which only services use: the kernel is compiled without them.
//!
//! They stay in the processor until another thread runs. A thread that left by a call gave its vector
//! registers up, as functions may (System V ABI, AMD64 supplement, 3.2.1), and keeps only the control
//! words; one that was interrupted keeps everything. Either way the next thread gets its own state, and
//! never sees another's, not even by speculation: nothing of another thread is left in a register when
//! a service runs (with a lazy switch it would be: CVE-2018-3665). While a thread runs, its area is
//! *plain*: as after a reset, but for the control words. So a call has only these to save. Layout of the areas: Intel's Software Developer's Manual, volume 1, 13.4.

use alloc::alloc::{Layout, alloc_zeroed, dealloc};
use core::arch::asm;
use core::arch::x86_64::__cpuid_count;
use core::ptr::NonNull;

/// Alignment of an area, as XSAVE wants it.
const ALIGNMENT: usize = 64;

/// Offset of the header of an area, whose first word says which components are not as after a reset.
const HEADER: usize = 512;

/// Offset of MXCSR.
pub const VECTOR_CONTROL: usize = 24;

/// The x87 component.
const X87: u64 = 1;

/// Control words after a reset (Linux and the ABI begin with the same).
const FIRST_X87_CONTROL: u16 = 0x037F;
const FIRST_VECTOR_CONTROL: u32 = 0x1F80;

/// The extended states of all threads.
pub struct ExtendedStates {
    areas: NonNull<u8>,
    size: usize,
    count: usize,
    /// The thread whose state is in the processor.
    owner: Option<usize>,
}

impl ExtendedStates {
    /// States for `count` threads; `None` when there is no memory for them.
    pub fn new(count: usize) -> Option<ExtendedStates> {
        // Leaf 0xD: bytes for the components that are on.
        let size = (__cpuid_count(0xD, 0).ebx as usize).next_multiple_of(ALIGNMENT);
        // SAFETY: the size is not 0: an area has at least its header.
        let areas = unsafe { alloc_zeroed(layout(size, count)?) };
        Some(ExtendedStates { areas: NonNull::new(areas)?, size, count, owner: None })
    }

    /// Says that the state of `thread` is in the processor.
    pub fn set_owner(&mut self, thread: usize) {
        self.owner = Some(thread);
    }

    /// The area of a thread.
    pub fn area(&self, thread: usize) -> *mut u8 {
        assert!(thread < self.count);
        // SAFETY: the areas are `count` times `size` bytes.
        unsafe { self.areas.as_ptr().add(thread * self.size) }
    }

    /// The thread whose state is in the processor.
    pub fn owner(&self) -> Option<usize> {
        self.owner
    }

    /// Gives `thread` the state that threads begin with.
    pub fn reset(&mut self, thread: usize) {
        let area = self.area(thread);
        // SAFETY: the area is `size` bytes, of which these are the first.
        unsafe {
            area.write_bytes(0, self.size);
            area.cast::<u16>().write(FIRST_X87_CONTROL);
            area.add(VECTOR_CONTROL).cast::<u32>().write(FIRST_VECTOR_CONTROL);
        }
        if self.owner == Some(thread) {
            self.owner = None;
        }
    }

    /// Puts the state of `thread` into the processor. `in_call` says whether its owner until now left
    /// by a call.
    pub fn switch(&mut self, thread: usize, in_call: bool) {
        if self.owner == Some(thread) {
            return;
        }
        match self.owner {
            Some(owner) if in_call => self.save_control(owner),
            Some(owner) => {
                let area = self.area(owner);
                // SAFETY: the area is large enough for the components that are on, and aligned.
                unsafe {
                    asm!("xsave64 [{}]", in(reg) area, in("eax") !0, in("edx") !0, options(nostack));
                }
            }
            None => {}
        }
        let area = self.area(thread);
        // SAFETY: the area is large enough and aligned, and was written by `reset`, XSAVE or
        // `save_control`, so it is one that XRSTOR accepts. Its first 24 bytes are the x87 control,
        // status, tags and last instruction; the tags' zeros say that its registers are empty.
        unsafe {
            asm!("xrstor64 [{}]", in(reg) area, in("eax") !0, in("edx") !0, options(nostack));
            area.write_bytes(0, VECTOR_CONTROL);
            area.add(HEADER).cast::<u64>().write(X87);
        }
        self.owner = Some(thread);
    }

    /// Saves the control words alone, to a plain area: all else will be as after a reset.
    fn save_control(&self, owner: usize) {
        let area = self.area(owner);
        // SAFETY: the area is aligned and longer than its header.
        unsafe {
            asm!(
                "fnstcw [{area}]",
                "stmxcsr [{area} + {control}]",
                area = in(reg) area,
                control = const VECTOR_CONTROL,
                options(nostack)
            );
        }
    }
}

impl Drop for ExtendedStates {
    fn drop(&mut self) {
        if let Some(layout) = layout(self.size, self.count) {
            // SAFETY: they were allocated so.
            unsafe { dealloc(self.areas.as_ptr(), layout) };
        }
    }
}

fn layout(size: usize, count: usize) -> Option<Layout> {
    Layout::from_size_align(size.checked_mul(count.max(1))?, ALIGNMENT).ok()
}
