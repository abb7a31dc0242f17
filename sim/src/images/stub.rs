//! The call table of an image in the simulator: each entry switches to the scheduler with the call.

#![expect(unsafe_code, reason = "copies messages of services and switches stacks")]

use super::coroutine::{self, Running};
use crate::event::Call;
use phi_abi::{ABI_VERSION, CALLS, CallTable, Message, Outcome};
use std::arch::{asm, naked_asm};
use std::mem::MaybeUninit;
use std::sync::atomic::{Ordering, compiler_fence};

macro_rules! table {
    ($($number:literal)*) => {
        /// What images are handed at their entry.
        pub(super) static TABLE: CallTable = CallTable {
            version: ABI_VERSION,
            count: CALLS.len() as u32,
            functions: [$(call::<$number>),*],
        };
    };
}

table!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38);

/// A call, while it is served.
#[repr(C)]
struct Request {
    number: u32,
    arguments: [u64; 4],
    message: *mut Message,
}

/// One entry of the table.
///
/// # Safety
/// As [`phi_abi::CallFunction`].
unsafe extern "C" fn call<const NUMBER: u32>(
    first: u64,
    second: u64,
    third: u64,
    fourth: u64,
    message: *mut Message,
) -> Outcome {
    let Some(running) = coroutine::current() else {
        // The table is reachable only from `enter`, in a coroutine that runs.
        std::process::abort();
    };
    let request = Request { number: NUMBER, arguments: [first, second, third, fourth], message };
    // SAFETY: the coroutine's stack below where `enter` left it is free while the service runs.
    unsafe { on_host_stack(&request, running.host_stack.get()) }
}

/// Serves `request` on the stack that ends at `host_stack`, and comes back to this one.
///
/// # Safety
/// The stack is free.
#[unsafe(naked)]
unsafe extern "C" fn on_host_stack(request: *const Request, host_stack: u64) -> Outcome {
    naked_asm!(
        "push rbp",
        "mov rbp, rsp",
        "mov rsp, rsi",
        "and rsp, -16",
        "call {serve}",
        "mov rsp, rbp",
        "pop rbp",
        "ret",
        serve = sym serve,
    )
}

/// Makes the call in `request`, and waits for its end.
///
/// # Safety
/// Called by [`on_host_stack`] with its own request, in a coroutine that runs.
unsafe extern "C" fn serve(request: *const Request) -> Outcome {
    let Some(running) = coroutine::current() else { std::process::abort() };
    // SAFETY: `call` made the request and waits for this.
    let Request { number, arguments, message } = unsafe { request.read() };
    let description = &CALLS[number as usize];
    let mut incoming = Message::EMPTY;
    if description.message_in {
        // The message is touched as the service: a fault there is its own.
        // SAFETY: a bad address faults, and the thread leaves.
        incoming = copying(running, message as u64, || unsafe { copy_in(message) });
    }
    set_in_service(running, false);
    // SAFETY: the scheduler of this coroutine, which waits for it while it runs.
    let scheduler = unsafe { &*running.scheduler.get() };
    let (outcome, outgoing) = scheduler.suspend(Call { number, arguments, message: incoming });
    set_in_service(running, true);
    if let Some(outgoing) = outgoing.filter(|_| description.message_out) {
        // SAFETY: as for the way in.
        copying(running, message as u64, || unsafe { copy_out(&outgoing, message) });
    }
    outcome
}

fn set_in_service(running: &Running, inside: bool) {
    compiler_fence(Ordering::SeqCst);
    running.in_service.set(inside);
    compiler_fence(Ordering::SeqCst);
}

/// Does `copy`, a copy of the message at `address`: a fault meanwhile is the argument's.
fn copying<T>(running: &Running, address: u64, copy: impl FnOnce() -> T) -> T {
    running.copying.set(Some(address));
    compiler_fence(Ordering::SeqCst);
    let result = copy();
    compiler_fence(Ordering::SeqCst);
    running.copying.set(None);
    result
}

/// Copies a message from the service, at any address: one that cannot be read faults.
///
/// # Safety
/// Whoever calls can be left at a fault.
unsafe fn copy_in(message: *const Message) -> Message {
    let mut copy = MaybeUninit::<Message>::uninit();
    // SAFETY: the source faults or is read; the destination is as long as a message.
    unsafe { copy_bytes(message.cast(), copy.as_mut_ptr().cast()) };
    // SAFETY: all of it was written, and any bytes make a message: it is all numbers.
    unsafe { copy.assume_init() }
}

/// Copies a message to the service, at any address: one that cannot be written faults.
///
/// # Safety
/// Whoever calls can be left at a fault.
unsafe fn copy_out(from: &Message, message: *mut Message) {
    // SAFETY: the source is a message; the destination faults or is the service's.
    unsafe { copy_bytes(std::ptr::from_ref(from).cast(), message.cast()) };
}

/// Copies the bytes of a message by one instruction, so that bad addresses fault and mean nothing
/// to the compiler.
///
/// # Safety
/// Both addresses hold a message, or one faults and whoever calls is left there.
unsafe fn copy_bytes(from: *const u8, to: *mut u8) {
    // SAFETY: as this function; the direction flag is clear, as the calling convention says.
    unsafe {
        asm!(
            "rep movsb",
            inout("rcx") size_of::<Message>() => _,
            inout("rsi") from => _,
            inout("rdi") to => _,
            options(nostack, preserves_flags),
        );
    }
}
