//! The hand-over: one block of memory with all that the kernel gets, and the code that leaves long mode,
//! moves the kernel to its place, and enters it.
//!
//! | part of the block | what |
//! |---|---|
//! | the first page | the code, and the segments that it uses |
//! | then | the start information |
//! | then | the kernel, as it shall lie at its place |
//! | then | the bundle |
//!
//! Each part begins on a page. The block lies below 4 GiB and beyond the kernel's place. The code runs
//! without paging, since the firmware's page tables may lie where the kernel goes.

use crate::failure::Failure;
use core::arch::{asm, global_asm};
use core::ops::Range;
use core::ptr::NonNull;
use phi_loader::kernel::KernelImage;
use phi_loader::start_info::{SIZE, StartInfo};
use uefi::boot::{AllocateType, MemoryType, allocate_pages};

const PAGE: u64 = 4096;

/// End of what a 32-bit program reaches.
const LIMIT: u64 = 1 << 32;

/// Offset of the segments in the first page, and of what `lgdt` reads.
const SEGMENTS: usize = 2048;
const SEGMENTS_POINTER: usize = SEGMENTS + 24;

/// None; 32-bit code, and data, each with all addresses.
const SEGMENT_TABLE: [u64; 3] = [0, 0x00CF_9B00_0000_FFFF, 0x00CF_9300_0000_FFFF];

/// Bits of CR4 that must be off before paging can be: process-context identifiers, and control-flow
/// enforcement before write protection.
const CONTROL_OFF: i32 = 1 << 17 | 1 << 23;

global_asm!(
    r#"
    .global handover_code, handover_code_end
    // In 32-bit code of long mode: source in esi, destination in edi, bytes in ebp, entry in edx, start
    // information in ebx. No stack.
    .code32
handover_code:
    mov esp, edx
    mov eax, 16
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov fs, ax
    mov gs, ax
    mov eax, 0x11               // Protection, extension type; paging is off.
    mov cr0, eax
    jmp 2f
2:  mov ecx, 0xC0000080         // EFER: no long mode.
    rdmsr
    and eax, 0xFFFFFEFF
    wrmsr
    xor eax, eax
    mov cr4, eax
    mov ecx, ebp
    cld
    rep movsb
    jmp esp
handover_code_end:
    .code64
"#
);

unsafe extern "C" {
    safe static handover_code: u8;
    safe static handover_code_end: u8;
}

/// Bytes of the block's parts.
pub struct Plan {
    kernel_end: u64,
    kernel: u64,
    bundle: u64,
}

impl Plan {
    /// For this kernel and a bundle of so many bytes.
    pub fn new(kernel: &KernelImage<'_>, bundle: u64) -> Plan {
        Plan { kernel_end: kernel.start() + kernel.length(), kernel: kernel.length(), bundle }
    }

    fn kernel_offset(&self) -> u64 {
        PAGE + (SIZE as u64).next_multiple_of(PAGE)
    }

    fn bundle_offset(&self) -> u64 {
        self.kernel_offset() + self.kernel.next_multiple_of(PAGE)
    }

    fn length(&self) -> u64 {
        self.bundle_offset() + self.bundle.next_multiple_of(PAGE)
    }
}

/// The block.
pub struct Block<'a> {
    start: NonNull<u8>,
    plan: &'a Plan,
}

impl<'a> Block<'a> {
    /// Allocates it, with the code in it and zeros elsewhere.
    ///
    /// # Errors
    /// [`Failure::Memory`].
    pub fn allocate(plan: &'a Plan) -> Result<Block<'a>, Failure> {
        let length = plan.length();
        let count = (length / PAGE) as usize;
        let kind = AllocateType::MaxAddress(LIMIT - 1);
        // Of this type, since memory of other types may not be executed.
        let start = allocate_pages(kind, MemoryType::LOADER_CODE, count)
            .ok()
            .filter(|start| start.as_ptr() as u64 >= plan.kernel_end)
            .ok_or(Failure::Memory(length))?;
        // SAFETY: the pages are ours.
        unsafe { start.write_bytes(0, length as usize) };
        let mut block = Block { start, plan };
        block.write_code();
        Ok(block)
    }

    fn write_code(&mut self) {
        let code = &raw const handover_code;
        let length = &raw const handover_code_end as usize - code as usize;
        assert!(length <= SEGMENTS);
        let segments = self.address() + SEGMENTS as u64;
        // SAFETY: code and segments have room in the first page, which is ours.
        unsafe {
            self.start.as_ptr().copy_from_nonoverlapping(code, length);
            self.start.add(SEGMENTS).cast::<[u64; 3]>().write(SEGMENT_TABLE);
            let pointer = self.start.add(SEGMENTS_POINTER);
            pointer.cast::<u16>().write(size_of_val(&SEGMENT_TABLE) as u16 - 1);
            pointer.add(2).cast::<u64>().write_unaligned(segments);
        }
    }

    fn address(&self) -> u64 {
        self.start.as_ptr() as u64
    }

    fn part(&mut self, offset: u64, length: u64) -> &mut [u8] {
        assert!(offset + length <= self.plan.length());
        // SAFETY: the block is ours alone, and as long; it was written when it was allocated.
        unsafe {
            core::slice::from_raw_parts_mut(
                self.start.as_ptr().add(offset as usize),
                length as usize,
            )
        }
    }

    /// The kernel's part.
    pub fn kernel(&mut self) -> &mut [u8] {
        self.part(self.plan.kernel_offset(), self.plan.kernel)
    }

    /// The bundle's part.
    pub fn bundle(&mut self) -> &mut [u8] {
        self.part(self.plan.bundle_offset(), self.plan.bundle)
    }

    /// Where the bundle lies.
    pub fn bundle_range(&self) -> Range<u64> {
        let start = self.address() + self.plan.bundle_offset();
        start..start + self.plan.bundle
    }

    /// Writes the start information.
    pub fn write_start_info(&mut self, info: &StartInfo<'_>) {
        let address = self.address() + PAGE;
        let written = info.write(self.part(PAGE, SIZE as u64), address);
        assert!(written.is_some(), "there is room for the longest");
    }

    /// Moves the kernel to its place and enters it.
    ///
    /// # Safety
    /// The firmware's services have ended, all parts are written, and nothing is needed any more of what
    /// lies at the kernel's place.
    pub unsafe fn enter(&self, kernel: &KernelImage<'_>) -> ! {
        let start = self.address();
        // SAFETY: addresses are physical ones, as the firmware maps all memory. The code is in memory of
        // its own and needs none but what it copies. Interrupts are off from here on.
        unsafe {
            asm!(
                "cli",
                "mov r10, cr4",
                "and r10, {control}",
                "mov cr4, r10",
                "lgdt [r8]",
                "mov rbx, rax",
                "mov rbp, rcx",
                "push 8",
                "push r9",
                "retfq",
                control = const !CONTROL_OFF,
                in("rax") start + PAGE,
                in("rcx") self.plan.kernel,
                in("rdx") kernel.entry(),
                in("rsi") start + self.plan.kernel_offset(),
                in("rdi") kernel.start(),
                in("r8") start + SEGMENTS_POINTER as u64,
                in("r9") start,
                options(noreturn),
            )
        }
    }
}
