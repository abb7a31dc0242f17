//! The way to a service's memory: copies that survive bad addresses. Plain messages have another one,
//! [`super::handover`].
//!
//! A copy is one instruction. When it faults, [`super::traps`] has it go on at the failure's code, so no
//! look at the page tables is needed beforehand.
//!
//! Where the processor prevents accidental access to services' memory, `stac` opens and `clac` closes it.
//! Other processors do not have these instructions: [`remove_access_switches`] overwrites them.

use core::arch::{asm, global_asm};

/// End of the addresses that a service can have.
pub const USER_END: u64 = 1 << 47;

/// The instruction that opens access to services' memory.
macro_rules! open_access {
    () => {
        "99: stac
         .pushsection .access, \"a\", @progbits
         .quad 99b
         .popsection"
    };
}

/// The instruction that closes access to services' memory.
macro_rules! close_access {
    () => {
        "99: clac
         .pushsection .access, \"a\", @progbits
         .quad 99b
         .popsection"
    };
}

pub(super) use {close_access, open_access};

/// The source or destination is not the service's to use so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadPointer;

global_asm!(
    ".global user_copy, user_copy_access, user_copy_failed",
    "user_copy:", // To rdi, from rsi, words in rdx; returns 0 or 1.
    "mov rcx, rdx",
    "xor eax, eax",
    open_access!(),
    "user_copy_access:",
    "rep movsq",
    "2:",
    close_access!(),
    "ret",
    "user_copy_failed:",
    "mov eax, 1",
    "jmp 2b",
);

unsafe extern "C" {
    fn user_copy(to: *mut u64, from: *const u64, words: usize) -> u64;
    safe static user_copy_access: u8;
    safe static user_copy_failed: u8;
    safe static access_start: u64;
    safe static access_end: u64;
}

/// Overwrites the instructions that open and close access, which this processor does not have.
///
/// # Safety
/// The kernel's text can be written.
pub unsafe fn remove_access_switches() {
    /// An instruction of three bytes that does nothing: `nop dword ptr [rax]`.
    const NOTHING: [u8; 3] = [0x0F, 0x1F, 0x00];
    let (start, end) = (&raw const access_start, &raw const access_end);
    // SAFETY: the linker puts the addresses of all these instructions, of three bytes each, between
    // these two; the text is the caller's word.
    unsafe {
        for place in core::slice::from_raw_parts(start, end.offset_from_unsigned(start)) {
            (*place as *mut [u8; 3]).write_volatile(NOTHING);
        }
    }
}

/// Closes access to services' memory, which an interrupted service can have opened: its own flag is
/// that of the processor.
pub fn close() {
    // SAFETY: the instruction only clears a flag, or does nothing.
    unsafe { asm!(close_access!(), options(nomem, nostack)) };
}

/// Where to go on after a page fault at `instruction`, if that is a copy's.
pub fn recovery(instruction: u64) -> Option<u64> {
    let copy = &raw const user_copy_access as u64;
    (instruction == copy).then_some(&raw const user_copy_failed as u64)
}

/// Whether `words` words from `address` on lie where a service's memory can.
fn is_possible(address: u64, words: usize) -> bool {
    USER_END.checked_sub(words as u64 * 8).is_some_and(|last| address <= last)
}

/// Copies words of the running service's memory.
///
/// # Errors
/// [`BadPointer`] when it may not read them; some may have been copied.
pub fn copy_from_user(to: &mut [u64], from: u64) -> Result<(), BadPointer> {
    if !is_possible(from, to.len()) {
        return Err(BadPointer);
    }
    // SAFETY: the destination is ours and as long; the source cannot be the kernel's, and if it cannot
    // be read the copy says so.
    match unsafe { user_copy(to.as_mut_ptr(), from as *const u64, to.len()) } {
        0 => Ok(()),
        _ => Err(BadPointer),
    }
}

/// Copies words to the running service's memory.
///
/// # Errors
/// [`BadPointer`] when it may not write there; some may have been copied.
pub fn copy_to_user(to: u64, from: &[u64]) -> Result<(), BadPointer> {
    if !is_possible(to, from.len()) {
        return Err(BadPointer);
    }
    // SAFETY: the source is ours and as long; the destination cannot be the kernel's, and if it cannot
    // be written the copy says so.
    match unsafe { user_copy(to as *mut u64, from.as_ptr(), from.len()) } {
        0 => Ok(()),
        _ => Err(BadPointer),
    }
}
