//! What is needed to find out who called: the stack, and the registers that a function preserves.

use super::context::Registers;
use core::arch::asm;
use core::mem::offset_of;

/// Words of a stack that are looked at, at most.
const WORDS: u64 = 4096;

/// Registers in the middle of a function, as far as its callers care (System V ABI, AMD64 supplement,
/// 3.2.1).
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct CalleeState {
    /// The instruction pointer.
    pub instruction: u64,
    /// The stack pointer.
    pub stack: u64,
    /// RBX, RBP, and R12 to R15.
    pub preserved: [u64; 6],
}

impl CalleeState {
    /// Where this is called.
    #[inline(always)]
    pub fn here() -> CalleeState {
        let mut state = CalleeState::default();
        // SAFETY: writes to the state alone.
        unsafe {
            asm!(
                "lea rax, [rip]",
                "mov [rdi + {instruction}], rax",
                "mov [rdi + {stack}], rsp",
                "mov [rdi + {preserved}], rbx",
                "mov [rdi + {preserved} + 8], rbp",
                "mov [rdi + {preserved} + 16], r12",
                "mov [rdi + {preserved} + 24], r13",
                "mov [rdi + {preserved} + 32], r14",
                "mov [rdi + {preserved} + 40], r15",
                instruction = const offset_of!(CalleeState, instruction),
                stack = const offset_of!(CalleeState, stack),
                preserved = const offset_of!(CalleeState, preserved),
                in("rdi") &raw mut state,
                out("rax") _,
                options(nostack, preserves_flags),
            );
        }
        state
    }

    /// Where an interrupt or exception came.
    pub fn of(registers: &Registers) -> CalleeState {
        let Registers { rbx, rbp, r12, r13, r14, r15, rip, rsp, .. } = *registers;
        CalleeState { instruction: rip, stack: rsp, preserved: [rbx, rbp, r12, r13, r14, r15] }
    }
}

unsafe extern "C" {
    safe static stack_start: u8;
    safe static stack_end: u8;
}

/// The words of the kernel's stack from `pointer` on, the first of them if they are many; none if that is
/// not on it.
pub fn stack_from(pointer: u64) -> &'static [u64] {
    let (start, end) = (&raw const stack_start as u64, &raw const stack_end as u64);
    if !pointer.is_multiple_of(8) || !(start..end).contains(&pointer) {
        return &[];
    }
    let count = ((end - pointer) / 8).min(WORDS);
    // SAFETY: this is the kernel's stack, which is mapped to its end. Those who look at it run at its end,
    // or on another one, and change nothing above themselves any more.
    unsafe { core::slice::from_raw_parts(pointer as *const u64, count as usize) }
}
