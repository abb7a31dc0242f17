//! The way of a message from one service's memory straight to another's.
//!
//! What a message has goes into registers, the address space changes, and the receiver gets it: there
//! is no copy in between. Its bytes travel in the vector registers, which the sender has given up with
//! its call; before the receiver runs they are its own again.
//!
//! An address is the service's word. In the half of the addresses that is the kernel's, with the sign bit
//! set, it is refused; in the other one nothing but that service's memory is mapped, and what is not
//! mapped, or no address at all, faults and is recovered from.

use super::Context;
use super::context::Registers;
use super::extended_state::VECTOR_CONTROL;
use super::user_copy::{close_access, open_access};
use core::arch::asm;
use core::mem::offset_of;
use phi_abi::{MESSAGE_BYTES, Message};
use phi_core::Handover;

// The bytes' length and the number of capabilities are one word of 32 bits: it is no more than the
// bytes can be exactly when the message is plain.
const _: () = assert!(offset_of!(Message, length) + 2 == offset_of!(Message, grant_count));
const _: () = assert!(MESSAGE_BYTES == 64);

/// A window of this, 16 bytes long, keeps the first bytes of a register and clears the others.
static MASK: [u8; 32] = {
    let mut mask = [0; 32];
    let mut byte = 0;
    while byte < 16 {
        mask[byte] = 0xFF;
        byte += 1;
    }
    mask
};

// What both machines' services agree on has its checks in ΦCore.
const _: () = assert!(phi_core::is_plain(MESSAGE_BYTES as u16, 0));
const _: () =
    assert!(!phi_core::is_plain(MESSAGE_BYTES as u16 + 1, 0) && !phi_core::is_plain(0, 1));

/// Reads the message of the thread of `from` into registers: its bytes into the first four vector
/// registers and its label into the fifth, where they stay until [`deliver`]. Gives the number of its
/// bytes and, above the 16 bits of that, of its capabilities; all ones if the service may not read it.
///
/// # Safety
/// The thread is in a call, and its address space is active.
#[inline(always)]
pub unsafe fn collect(from: *const Context) -> u64 {
    let bytes: u64;
    // SAFETY: only memory of the service is read; a page fault there ends in the recovery. The kernel
    // uses no vector registers, and the service has given them up.
    unsafe {
        asm!(
            "mov {address}, [{from} + {message}]",
            "test {address}, {address}",
            "js 8f",
            open_access!(),
            "2: mov {bytes:e}, [{address} + {length}]",
            "movq xmm4, [{address} + {label}]",
            "test {bytes:e}, {bytes:e}",
            "jnz 5f",
            // All of it must be there, whatever is in use.
            "test byte ptr [{address} + {data} + 63], 0",
            "4:",
            close_access!(),
            ".pushsection .text.handover, \"ax\", @progbits",
            "5: movups xmm0, [{address} + {data}]",
            "movups xmm1, [{address} + {data} + 16]",
            "movups xmm2, [{address} + {data} + 32]",
            "movups xmm3, [{address} + {data} + 48]",
            "jmp 4b",
            // A fault at one of the instructions above goes on here.
            "8: mov {bytes}, -1",
            "jmp 4b",
            ".popsection",
            ".pushsection .recovery, \"a\", @progbits",
            ".quad 2b, 4b, 8b",
            ".quad 5b, 8b, 8b",
            ".popsection",
            from = in(reg) from,
            address = out(reg) _,
            bytes = out(reg) bytes,
            message = const offset_of!(Registers, r8),
            length = const offset_of!(Message, length),
            label = const offset_of!(Message, label),
            data = const offset_of!(Message, data),
            options(nostack, readonly),
        );
    }
    bytes
}

/// Delivers the message that [`collect`] has read in the address space of the thread of `from` to the
/// thread of `to`, and makes address space and extended state the latter's. `false` if the service may
/// not write where it wants its message.
///
/// # Safety
/// Both threads are in a call. Address space and extended state are those of `from`, whose area is
/// plain; that of `to` is one that XRSTOR accepts.
#[inline(always)]
pub unsafe fn deliver(
    from: *mut Context,
    to: *mut Context,
    bytes: u64,
    handover: &Handover,
) -> bool {
    // SAFETY: only memory of the receiver is written but for the area of `from`, which is large enough
    // and aligned; a page fault there ends in the recovery. The root is that of complete tables with
    // the kernel's upper half. The kernel uses no vector registers.
    unsafe {
        asm!(
            "mov rax, [{receiver} + {extended}]",
            "mov rcx, [{sender} + {extended}]",
            "fnstcw [rcx]",
            "stmxcsr [rcx + {control}]",
            "mov rcx, [{receiver} + {root}]",
            "cmp rcx, [{sender} + {root}]",
            "je 2f",
            "mov cr3, rcx",
            // Nothing of the sender's is left in the segments.
            "xor ecx, ecx",
            "mov ds, ecx",
            "mov es, ecx",
            "mov fs, ecx",
            "mov gs, ecx",
            "2: mov {receiver}, [{receiver} + {message}]",
            "test {receiver}, {receiver}",
            "js 8f",
            open_access!(),
            "3: movq [{receiver} + {label}], xmm4",
            "mov [{receiver} + {badge_offset}], {badge}",
            "mov [{receiver} + {reply_offset}], {reply}",
            "mov [{receiver} + {rights_offset}], {rights:e}",
            "mov [{receiver} + {length}], {bytes:e}",
            "test {bytes:e}, {bytes:e}",
            "jnz 5f",
            // All of it must be there, whatever is in use.
            "or byte ptr [{receiver} + {data} + 63], 0",
            "4:",
            close_access!(),
            "mov {receiver}, rax",
            // The upper half of the mask, in edx, concerns nothing that is on.
            "mov eax, -1",
            "xrstor64 [{receiver}]",
            ".pushsection .text.handover, \"ax\", @progbits",
            "5: cmp {bytes:e}, 64",
            "jb 6f",
            "movups [{receiver} + {data}], xmm0",
            "movups [{receiver} + {data} + 16], xmm1",
            "movups [{receiver} + {data} + 32], xmm2",
            "33: movups [{receiver} + {data} + 48], xmm3",
            "jmp 4b",
            // Less than all bytes: what is beyond them becomes zeros up to the end of 16.
            "6: or byte ptr [{receiver} + {data} + 63], 0",
            "mov ecx, {bytes:e}",
            "neg ecx",
            "and ecx, 15",
            "movups xmm5, [rcx + {mask}]",
            "cmp {bytes:e}, 48",
            "ja 26f",
            "cmp {bytes:e}, 32",
            "ja 25f",
            "cmp {bytes:e}, 16",
            "ja 24f",
            "pand xmm0, xmm5",
            "movups [{receiver} + {data}], xmm0",
            "jmp 4b",
            "24: pand xmm1, xmm5",
            "movups [{receiver} + {data}], xmm0",
            "movups [{receiver} + {data} + 16], xmm1",
            "jmp 4b",
            "25: pand xmm2, xmm5",
            "movups [{receiver} + {data}], xmm0",
            "movups [{receiver} + {data} + 16], xmm1",
            "movups [{receiver} + {data} + 32], xmm2",
            "jmp 4b",
            "26: pand xmm3, xmm5",
            "movups [{receiver} + {data}], xmm0",
            "movups [{receiver} + {data} + 16], xmm1",
            "movups [{receiver} + {data} + 32], xmm2",
            "jmp 33b",
            // A fault at one of the instructions above goes on here.
            "8:",
            close_access!(),
            "mov {receiver}, rax",
            "mov eax, -1",
            "xrstor64 [{receiver}]",
            "jmp {failed}",
            ".popsection",
            ".pushsection .recovery, \"a\", @progbits",
            ".quad 3b, 4b, 8b",
            ".quad 5b, 8b, 8b",
            ".popsection",
            sender = in(reg) from,
            receiver = inout(reg) to => _,
            bytes = in(reg) bytes,
            badge = in(reg) handover.badge,
            reply = in(reg) handover.reply.0,
            rights = in(reg) u64::from(handover.rights),
            out("rax") _,
            out("rcx") _,
            message = const offset_of!(Registers, r8),
            root = const offset_of!(Context, root),
            extended = const offset_of!(Context, extended),
            label = const offset_of!(Message, label),
            badge_offset = const offset_of!(Message, badge),
            reply_offset = const offset_of!(Message, reply),
            rights_offset = const offset_of!(Message, rights),
            length = const offset_of!(Message, length),
            data = const offset_of!(Message, data),
            control = const VECTOR_CONTROL,
            mask = sym MASK,
            failed = label { return false },
            options(nostack),
        );
    }
    true
}

/// Instructions that reach for a service's memory, and where to go on when one of them faults.
#[repr(C)]
struct Recovery {
    start: u64,
    end: u64,
    recovery: u64,
}

unsafe extern "C" {
    safe static recovery_start: Recovery;
    safe static recovery_end: Recovery;
}

/// Where to go on after a page fault at `instruction`, if that hands a message over.
pub fn recovery(instruction: u64) -> Option<u64> {
    let (start, end) = (&raw const recovery_start, &raw const recovery_end);
    // SAFETY: the linker puts the whole table between these two, and nothing writes to it.
    let table = unsafe { core::slice::from_raw_parts(start, end.offset_from_unsigned(start)) };
    let entry = table.iter().find(|entry| (entry.start..entry.end).contains(&instruction))?;
    Some(entry.recovery)
}
