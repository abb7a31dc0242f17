//! The short way of calls and answers: from the trap to ΦCore's plan and commit, and straight to the
//! receiver, past the loop in [`crate::run`].
//!
//! Of all that the loop does for a thread nothing is needed here: no deadline changes, the slice is the
//! processor's, and threads with a budget, who are timed, are not handed over to, nor by them. When
//! ΦCore has no plan, nothing has happened, and the trap goes on to the loop.

use crate::arch::{self, Context, Event};
use crate::machine::Metal;
use crate::message;
use core::sync::atomic::{AtomicPtr, Ordering};
use phi_abi::{MESSAGE_BYTES, Number};
use phi_core::{Handover, Kernel, ThreadIndex};

/// ΦCore, while a service runs.
static KERNEL: AtomicPtr<Kernel<Metal>> = AtomicPtr::new(core::ptr::null_mut());

/// Tells ΦCore what this machine calls its threads: by the addresses of their contexts.
pub fn set_up(kernel: &mut Kernel<Metal>) {
    for thread in 0..kernel.machine_mut().threads() {
        let thread = ThreadIndex(thread as u16);
        let context: *mut Context = kernel.machine_mut().context(thread);
        kernel.set_name(thread, context.expose_provenance() as u64);
    }
}

/// Lets a thread run, to which the machine was switched, and whoever is handed over to, until one of
/// them makes a call that is not done here, faults or is interrupted: gives that one.
pub fn run(kernel: &mut Kernel<Metal>, thread: ThreadIndex) -> (ThreadIndex, Event) {
    let context: *mut Context = kernel.machine_mut().context(thread);
    let kernel: *mut Kernel<Metal> = kernel;
    KERNEL.store(kernel, Ordering::Relaxed);
    // SAFETY: address space and extended state are the thread's, as `switch_to` was the last to change
    // them. The reference to the kernel is not used until this returns.
    let (left, event) = unsafe { arch::run(context) };
    // SAFETY: the services have stopped, and with them what used the pointer to the kernel; contexts
    // stay where they are.
    let (thread, kernel) = unsafe { ((*left).thread(), &mut *kernel) };
    kernel.machine_mut().switched_to(thread);
    (thread, kernel.machine_mut().event(thread, event))
}

/// Tries a call of the thread of `from`. Comes back only if the loop has to go on.
///
/// # Safety
/// Only for the trap of a service that [`run`] lets run: the service has just made this call.
pub unsafe extern "C" fn call(handle: u64, timeout: u64, from: *mut Context) {
    // SAFETY: the service ran until now, so the address space is its own; nobody else uses the kernel
    // or the context while services run.
    unsafe {
        let bytes = arch::collect(from);
        if bytes <= MESSAGE_BYTES as u64 {
            let kernel = &mut *KERNEL.load(Ordering::Relaxed);
            let thread = (*from).thread();
            if let Some(handover) = kernel.hand_over_call(thread, handle, timeout, bytes) {
                return go_on(from, bytes, &handover);
            }
        }
        (*from).set_words([handle, timeout, 0, 0]);
    }
}

/// As [`call`], for an answer.
///
/// # Safety
/// As for [`call`].
pub unsafe extern "C" fn answer(reply: u64, mailbox: u64, timeout: u64, from: *mut Context) {
    // SAFETY: as above.
    unsafe {
        let bytes = arch::collect(from);
        if bytes <= MESSAGE_BYTES as u64 {
            let kernel = &mut *KERNEL.load(Ordering::Relaxed);
            let thread = (*from).thread();
            if let Some(handover) = kernel.hand_over_answer(thread, reply, mailbox, timeout, bytes)
            {
                return go_on(from, bytes, &handover);
            }
        }
        (*from).set_words([reply, mailbox, timeout, 0]);
    }
}

/// Tries a call or an answer that [`call`] or [`answer`] did not do: one with capabilities, which go by way
/// of the threads' frames while all else goes in registers. Its words are in the context. Comes back, with
/// the call's number, only if the loop has to go on.
///
/// # Safety
/// As for [`call`], which has come back just now; `from` is the context of who left.
pub unsafe extern "C" fn with_grants(from: *mut Context, number: u32) -> u32 {
    // SAFETY: as for `call`; where a message had no place its receiver has left, and made no call.
    unsafe {
        if !(*from).is_undelivered() {
            try_with_grants(from, number);
        }
    }
    number
}

/// # Safety
/// As for [`with_grants`]; the thread of `from` has made this call.
unsafe fn try_with_grants(from: *mut Context, number: u32) {
    // SAFETY: as for `call`.
    unsafe {
        let size = arch::collect(from);
        let bytes = size & u64::from(u16::MAX);
        let Ok(count @ 1..) = u16::try_from(size >> 16) else { return };
        let kernel = &mut *KERNEL.load(Ordering::Relaxed);
        let thread = (*from).thread();
        let message = &mut kernel.frame_mut(thread).message;
        message.grant_count = count;
        if message::read_grants(message, (*from).message()).is_err() {
            return;
        }
        let [first, second, third, _] = (*from).words();
        let handover = if number == Number::Call as u32 {
            kernel.hand_over_call_with_grants(thread, first, second, bytes)
        } else {
            kernel.hand_over_answer_with_grants(thread, first, second, third, bytes)
        };
        let Some(handover) = handover else { return };
        let message = &mut kernel.frame_mut(handover.receiver).message;
        (message.rights, message.length) = (handover.rights, bytes as u16);
        let to: *mut Context = core::ptr::with_exposed_provenance_mut(handover.name as usize);
        if arch::deliver(from, to, bytes, &handover)
            && message::write_grants(message, (*to).message()).is_ok()
        {
            arch::resume(to)
        }
        arch::leave_undelivered(to);
    }
}

/// Delivers what was handed over, and goes on with the receiver. Comes back if there is no place for it.
///
/// # Safety
/// As for [`call`]; this is ΦCore's handover of the message that was collected.
#[inline(always)]
unsafe fn go_on(from: *mut Context, bytes: u64, handover: &Handover) {
    let to: *mut Context = core::ptr::with_exposed_provenance_mut(handover.name as usize);
    // SAFETY: the name is the address of the receiver's context. Both threads are in a call, the sender as
    // it has just made one, the receiver since it waited. The sender ran until now, so address space and
    // extended state are its own, and afterwards the receiver's.
    unsafe {
        if arch::deliver(from, to, bytes, handover) {
            arch::resume(to)
        }
        arch::leave_undelivered(to);
    }
}
