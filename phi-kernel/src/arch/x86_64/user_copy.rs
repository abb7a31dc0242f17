//! The only way to a service's memory: copies that survive bad addresses.
//!
//! A copy is one instruction. When it faults, [`super::traps`] has it go on at the failure's code, so no
//! look at the page tables is needed beforehand.

use core::arch::global_asm;
use core::sync::atomic::{AtomicU8, Ordering};

/// End of the addresses that a service can have.
const USER_END: u64 = 1 << 47;

/// Not 0 where access to services' memory must be opened by `stac`.
static ACCESS_PREVENTION: AtomicU8 = AtomicU8::new(0);

/// The source or destination is not the service's to use so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadPointer;

global_asm!(
    r#"
    .global user_copy, user_copy_access, user_copy_access_open, user_copy_failed
user_copy:                          // To rdi, from rsi, words in rdx; returns 0 or 1.
    mov rcx, rdx
    cmp byte ptr [rip + {prevention}], 0
    je user_copy_access_open
    stac
user_copy_access:
    rep movsq
    clac
    xor eax, eax
    ret
user_copy_access_open:
    rep movsq
    xor eax, eax
    ret
user_copy_failed:
    cmp byte ptr [rip + {prevention}], 0
    je 2f
    clac
2:  mov eax, 1
    ret
"#,
    prevention = sym ACCESS_PREVENTION,
);

unsafe extern "C" {
    fn user_copy(to: *mut u64, from: *const u64, words: usize) -> u64;
    safe static user_copy_access: u8;
    safe static user_copy_access_open: u8;
    safe static user_copy_failed: u8;
}

/// Says whether the processor prevents accidental access to services' memory.
pub fn set_access_prevention(on: bool) {
    ACCESS_PREVENTION.store(u8::from(on), Ordering::Relaxed);
}

/// Closes access to services' memory, which an interrupted service can have opened: its own flag is
/// that of the processor.
pub fn close_access() {
    if ACCESS_PREVENTION.load(Ordering::Relaxed) != 0 {
        // SAFETY: the processor has the instruction, which only clears a flag.
        unsafe { core::arch::asm!("clac", options(nomem, nostack)) };
    }
}

/// Where to go on after a page fault at `instruction`, if that is a copy's.
pub fn recovery(instruction: u64) -> Option<u64> {
    let copies = [&raw const user_copy_access as u64, &raw const user_copy_access_open as u64];
    copies.contains(&instruction).then_some(&raw const user_copy_failed as u64)
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
