//! The way into the kernel and back without a trap, for a unikernel: its services have the kernel's privileges,
//! and run in one address space.
//!
//! A call jumps from the call page to [`open`]'s entry, with what `syscall` would have put into registers, and
//! goes on as any call. Every `sysret` of the kernel becomes a jump to the instructions that do the same for a
//! thread of the same privilege. The processor does not change stacks then, so that what it pushes when it
//! interrupts would destroy what a function keeps below its stack pointer: all interrupts get a stack by their
//! gate ([`descriptors::SHARED_PLACE`]), which is the end of the service's registers while one runs.

use super::descriptors::{self, KERNEL_TRAP_STACK, SHARED_PLACE, TASK_STACK, TASK_STATE};
use core::arch::global_asm;
use core::sync::atomic::{AtomicU8, Ordering};
use x86_64::registers::control::{Cr0, Cr0Flags};

/// 1 in a unikernel: what is interrupted below the kernel's half of the addresses is a service.
pub static OPEN: AtomicU8 = AtomicU8::new(0);

/// The return to a service, with room for a jump in its place.
macro_rules! return_to_service {
    () => {
        "98: sysretq
         nop
         nop
         .pushsection .returns, \"a\", @progbits
         .quad 98b
         .popsection"
    };
}

pub(super) use return_to_service;

/// Bytes of that, and of a jump.
const RETURN: usize = 5;

global_asm!(
    ".global direct_entry, direct_return",
    // From the call page: rcx is where the service goes on, r11 its flags, and interrupts are off.
    "direct_entry:",
    "mov r9, [rip + {kernel_trap_stack}]",
    "mov [rip + {task_state} + {shared_place}], r9",
    "jmp call_entry",
    // In the place of `sysret`, with the same registers.
    "direct_return:",
    "mov r9, [rip + {task_state} + {task_stack}]",
    "mov [rip + {task_state} + {shared_place}], r9",
    "xor r9d, r9d",
    "and r11, -0x201",
    "push r11",
    "popfq",
    // Nothing interrupts before the next instruction is done.
    "sti",
    "jmp rcx",
    kernel_trap_stack = sym KERNEL_TRAP_STACK,
    task_state = sym TASK_STATE,
    shared_place = const SHARED_PLACE,
    task_stack = const TASK_STACK,
);

unsafe extern "C" {
    safe static direct_entry: u8;
    safe static direct_return: u8;
    safe static returns_start: u64;
    safe static returns_end: u64;
}

/// Opens it; gives the address to jump to.
///
/// # Safety
/// Called once, before any service runs: all threads have the kernel's privileges.
pub unsafe fn open() -> u64 {
    let (start, end) = (&raw const returns_start, &raw const returns_end);
    let target = &raw const direct_return as u64;
    // SAFETY: the linker puts the addresses of all these returns between these two. The kernel's text is
    // mapped, and without write protection it can be written; nobody executes a return now.
    unsafe {
        Cr0::update(|flags| flags.remove(Cr0Flags::WRITE_PROTECT));
        for place in core::slice::from_raw_parts(start, end.offset_from_unsigned(start)) {
            let distance = target.wrapping_sub(place + RETURN as u64) as u32;
            let [a, b, c, d] = distance.to_le_bytes();
            // A jump by a distance.
            (*place as *mut [u8; RETURN]).write_volatile([0xE9, a, b, c, d]);
        }
        Cr0::update(|flags| flags.insert(Cr0Flags::WRITE_PROTECT));
    }
    descriptors::share_stack();
    OPEN.store(1, Ordering::Relaxed);
    &raw const direct_entry as u64
}
