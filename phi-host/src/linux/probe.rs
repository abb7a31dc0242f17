//! Sites at which Linux's tracers can look in: USDT, one instruction that does nothing each, with a
//! record in the program's file that says where it is.
//!
//! A tracer (`phi-host run --edges`, bpftrace, perf) has the kernel put a call in the instruction's
//! place, and count in [`WATCHED`] (the record's semaphore); without one, a site costs a look at that count.
//! Sites carry the same six words, in the registers of C's arguments, so that a program reads them without
//! the record: domain, thread (its slot in the domain), handle, label, length, and a value that depends on
//! the site. `docs/ebpf.md` has the list.
//!
//! What a thread says and gets is seen in its own process, in the entry stub; what ΦCore decides is
//! seen in the supervisor.

use super::host_thread::HostThread;
use phi_abi::{Message, Mode, Number, Outcome};
#[cfg(feature = "sites")]
use std::sync::atomic::AtomicU16;

/// How many tracers watch sites of this process: Linux counts, in the memory of each process that it traces,
/// at a place of the program's file; so it stands in a section that has one.
#[cfg(feature = "sites")]
// SAFETY: the section is of this name's own, and data like any other.
#[unsafe(link_section = ".probes")]
pub static WATCHED: AtomicU16 = AtomicU16::new(0);

/// The instruction of a site. With five bytes, Linux 6.18 and later can put a call there instead of
/// a breakpoint. The newest libbpf looks for longer ones as well: change it here.
#[cfg(feature = "sites")]
macro_rules! instruction {
    () => {
        ".byte 0x0f, 0x1f, 0x44, 0x00, 0x00"
    };
}

/// One site: its name and its six words. The record's form is SystemTap's, version 3.
#[cfg(feature = "sites")]
macro_rules! site {
    ($name:literal, $domain:expr, $thread:expr, $handle:expr, $label:expr, $length:expr,
     $value:expr $(,)?) => {{
        if $crate::linux::probe::WATCHED.load(std::sync::atomic::Ordering::Relaxed) != 0 {
            std::hint::cold_path();
            let words: [u64; 6] = [
                $domain as u64,
                $thread as u64,
                $handle as u64,
                $label as u64,
                $length as u64,
                $value as u64,
            ];
            // SAFETY: the instruction does nothing, and what stands in the other sections is no code.
            unsafe {
                std::arch::asm!(
                    "990:",
                    $crate::linux::probe::instruction!(),
                    ".pushsection .note.stapsdt, \"?\", \"note\"",
                    ".balign 4",
                    ".4byte 992f - 991f, 994f - 993f, 3",
                    "991: .asciz \"stapsdt\"",
                    "992: .balign 4",
                    "993: .8byte 990b, _.stapsdt.base, {watched}",
                    ".asciz \"phi\"",
                    concat!(".asciz \"", $name, "\""),
                    ".asciz \"8@%rdi 8@%rsi 8@%rdx 8@%rcx 8@%r8 8@%r9\"",
                    "994: .balign 4",
                    ".popsection",
                    // From where the file was moved, tools see by this section, which all sites share.
                    ".ifndef _.stapsdt.base",
                    ".pushsection .stapsdt.base, \"aGR\", \"progbits\", .stapsdt.base, comdat",
                    ".weak _.stapsdt.base",
                    ".hidden _.stapsdt.base",
                    "_.stapsdt.base: .space 1",
                    ".size _.stapsdt.base, 1",
                    ".popsection",
                    ".endif",
                    in("rdi") words[0],
                    in("rsi") words[1],
                    in("rdx") words[2],
                    in("rcx") words[3],
                    in("r8") words[4],
                    in("r9") words[5],
                    watched = sym $crate::linux::probe::WATCHED,
                    options(nostack, preserves_flags, readonly),
                );
            }
        }
    }};
}
#[cfg(feature = "sites")]
pub(crate) use instruction;

/// No site: what would have been said is not even worked out.
#[cfg(not(feature = "sites"))]
macro_rules! site {
    ($name:literal, $($word:expr),+ $(,)?) => {{
        let _ = || ($($word as u64),+);
    }};
}

pub(crate) use site;

/// In the service: a thread is about to make a call.
#[inline(always)]
pub fn call_begins(
    thread: &HostThread,
    number: u32,
    arguments: &[u64; 4],
    message: Option<&Message>,
) {
    let Some(message) = message else { return };
    let (domain, slot, handle) = (thread.domain(), thread.slot(), arguments[0]);
    if number == Number::Call as u32 {
        let lent = message.grants().iter().filter(|grant| grant.mode == Mode::Loan as u32).count();
        site!("call", domain, slot, handle, message.label, message.length, lent);
    } else if number == Number::Reply as u32 || number == Number::ReplyReceive as u32 {
        site!("reply", domain, slot, handle, message.label, message.length, 0u64);
    }
}

/// In the service: a call of a thread has ended, with the message that it sent or got.
#[inline(always)]
pub fn call_ends(
    thread: &HostThread,
    number: u32,
    arguments: &[u64; 4],
    outcome: Outcome,
    sent: Option<&Message>,
    got: Option<&Message>,
) {
    let (domain, slot, status) = (thread.domain(), thread.slot(), outcome.status);
    if number == Number::Call as u32 {
        let (label, length) = got.map_or((0, 0), |message| (message.label, message.length));
        site!("answer", domain, slot, arguments[0], label, length, status);
    } else if number == Number::Send as u32 {
        let (label, length) = sent.map_or((0, 0), |message| (message.label, message.length));
        site!("send", domain, slot, arguments[0], label, length, status);
    } else if let Some(message) = got
        // With another value, the label is a signal's bits.
        && outcome.value == 0
    {
        if number == Number::Receive as u32 {
            site!(
                "receive",
                domain,
                slot,
                arguments[0],
                message.label,
                message.length,
                message.badge
            );
        } else if number == Number::ReplyReceive as u32 {
            site!(
                "receive",
                domain,
                slot,
                arguments[1],
                message.label,
                message.length,
                message.badge
            );
        }
    }
}
