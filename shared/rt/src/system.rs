//! The way to ΦCore: the call table, and calls by number.
//!
//! The types of this crate cover every call safely. Calls by number are for what they leave out:
//! tests that make calls which are never right.

use core::sync::atomic::{AtomicPtr, Ordering};
use phi_abi::{CallTable, Error, Handle, Message, Number, Outcome};

static TABLE: AtomicPtr<CallTable> = AtomicPtr::new(core::ptr::null_mut());

/// Makes `table` the way to ΦCore from here on.
///
/// # Safety
/// `table` is valid for ever, and its functions follow the ABI.
pub unsafe fn install(table: *const CallTable) {
    TABLE.store(table.cast_mut(), Ordering::Release);
}

/// Makes the call `number`.
///
/// # Panics
/// When no table is installed, as in a native test without a stand-in.
///
/// # Safety
/// As [`phi_abi::CallFunction`]. What the call does must not break what safe code relies on: it must
/// not unmap memory that is in use, give others write access to memory that is borrowed, or start a
/// thread at what is no entry.
#[inline]
pub unsafe fn call(number: Number, words: [u64; 4], message: *mut Message) -> Outcome {
    let table = TABLE.load(Ordering::Relaxed);
    assert!(!table.is_null(), "no call table is installed");
    let [first, second, third, fourth] = words;
    // SAFETY: `install` promises a valid table; the rest is the caller's promise.
    unsafe { ((*table).functions[number as usize])(first, second, third, fourth, message) }
}

/// Makes a call that moves no memory and takes no message: the caller of this function, which is
/// inside this crate, answers for that.
#[inline]
pub(crate) fn plain(number: Number, words: [u64; 4]) -> Result<u64, Error> {
    debug_assert!(!number.description().message_in && !number.description().message_out);
    // SAFETY: no message is read or written by this call.
    unsafe { call(number, words, core::ptr::null_mut()) }.result()
}

/// Makes a call with a message that names no memory of this domain, or only memory that the message
/// borrows: the caller of this function, which is inside this crate, answers for that.
#[inline]
pub(crate) fn with_message(
    number: Number,
    words: [u64; 4],
    message: &mut Message,
) -> Result<u64, Error> {
    // SAFETY: the message is borrowed exclusively for the length of the call.
    unsafe { call(number, words, message) }.result()
}

/// Gives a handle up, unless it is null.
pub(crate) fn drop_handle(handle: Handle) {
    if !handle.is_null() {
        // Dropping a valid handle always succeeds.
        let _ = plain(Number::CapabilityDrop, [handle.0, 0, 0, 0]);
    }
}
