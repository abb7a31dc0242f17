//! The request for a dump: a non-maskable interrupt, which QEMU's monitor and many machines' buttons make.
//!
//! It comes at any time, in the middle of anything. So its handler only notes it, and has the processor
//! interrupt itself as the timer does: the kernel looks for the note where it takes that interrupt, between
//! two steps of ΦCore.

use super::clock::{INTERRUPT_COMMAND, LOCAL_APIC};
use super::paging::DIRECT_MAP;
use super::traps::TIMER;
use core::arch::global_asm;
use core::sync::atomic::{AtomicU8, Ordering};
use x86_64::instructions::port::PortReadOnly;

/// Not 0 after an interrupt that nobody has looked for.
static REQUESTED: AtomicU8 = AtomicU8::new(0);

/// Interrupt command: vector of the timer, fixed, to this processor itself.
const SELF: u32 = 1 << 18 | TIMER as u32;

global_asm!(
    r#"
    .global request_entry
request_entry:
    mov byte ptr [rip + {requested}], 1
    push rax
    movabs rax, {command}
    mov dword ptr [rax], {itself}
    pop rax
    iretq
"#,
    requested = sym REQUESTED,
    command = const DIRECT_MAP + LOCAL_APIC + INTERRUPT_COMMAND,
    itself = const SELF,
);

unsafe extern "C" {
    safe static request_entry: u8;
}

/// Address of the handler.
pub fn entry() -> u64 {
    &raw const request_entry as u64
}

/// What a non-maskable interrupt was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Request {
    /// Somebody wants a dump.
    Dump,
    /// The machine reports an error of its memory or its buses.
    HardwareError,
}

/// Takes the note of an interrupt, if one came.
pub fn take_request() -> Option<Request> {
    if REQUESTED.swap(0, Ordering::Relaxed) == 0 {
        return None;
    }
    // System control port B: bit 7 is a memory error, bit 6 one of an expansion bus.
    // SAFETY: reading it has no effect that anyone relies on.
    let control = unsafe { PortReadOnly::<u8>::new(0x61).read() };
    Some(if control & 0xC0 == 0 { Request::Dump } else { Request::HardwareError })
}
