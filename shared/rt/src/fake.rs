//! A stand-in for ΦCore, for native tests of services.

use alloc::boxed::Box;
use core::cell::RefCell;
use phi_abi::{ABI_VERSION, CALLS, CallFunction, CallTable, Message, Number, Outcome};

/// Answers a call: its number, its words, and its message (an empty one where the call passes none).
pub type Answer = Box<dyn FnMut(Number, [u64; 4], &mut Message) -> Outcome>;

thread_local! {
    static ANSWER: RefCell<Option<Answer>> = const { RefCell::new(None) };
}

/// Lets `answer` stand in for ΦCore on this thread while `body` runs.
pub fn with<R>(
    answer: impl FnMut(Number, [u64; 4], &mut Message) -> Outcome + 'static,
    body: impl FnOnce() -> R,
) -> R {
    // SAFETY: the table is static, and its functions follow the ABI.
    unsafe { crate::system::install(&TABLE) };
    let before = ANSWER.replace(Some(Box::new(answer)));
    let result = body();
    ANSWER.set(before);
    result
}

unsafe extern "C" fn function<const NUMBER: usize>(
    first: u64,
    second: u64,
    third: u64,
    fourth: u64,
    message: *mut Message,
) -> Outcome {
    let mut nothing = Message::EMPTY;
    // SAFETY: null, or a message that is ours until the call returns.
    let message = unsafe { message.as_mut() }.unwrap_or(&mut nothing);
    ANSWER.with_borrow_mut(|answer| match answer {
        Some(answer) => answer(CALLS[NUMBER].number, [first, second, third, fourth], message),
        None => panic!("nothing stands in for ΦCore on this thread"),
    })
}

macro_rules! functions {
    ($($number:literal)+) => {
        [$(function::<$number> as CallFunction),+]
    };
}

static TABLE: CallTable = CallTable {
    version: ABI_VERSION,
    count: CALLS.len() as u32,
    functions: functions!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38),
};
