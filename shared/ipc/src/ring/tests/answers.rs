//! What answers do, without a model: small enough for Miri.

use super::*;
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;

/// Runs `test` with both sides of an answer that was never used.
#[allow(unsafe_code)]
fn with_answer(test: impl FnOnce(AnswerMemory<'_>)) {
    let layout = Layout::from_size_align(AnswerMemory::SIZE, RING_ALIGNMENT).unwrap();
    // SAFETY: the layout's size is not zero.
    let start = NonNull::new(unsafe { alloc_zeroed(layout) }).unwrap();
    // SAFETY: the memory is of this size and lives until the test is over.
    test(unsafe { AnswerMemory::new(start) }.unwrap());
    // SAFETY: it was allocated with this layout, and nothing borrows it any more.
    unsafe { dealloc(start.as_ptr(), layout) }
}

#[test]
fn a_call_is_answered_once_and_whole() {
    with_answer(|memory| {
        let (mut caller, server) = (Caller::new(&memory), Answerer::new(&memory));
        let futex = TestFutex::new();
        for number in 1..=5 {
            let mut received = Message::EMPTY;
            assert_eq!(caller.next_number(), number);
            caller.begin();
            assert_eq!(caller.look(&mut received), None);
            assert!(server.is_awaited(number) && !server.is_awaited(number + 1));
            let sent = message(number, (number * 12) as usize);
            assert!(server.answer(number, &sent, &futex));
            assert!(!server.answer(number, &sent, &futex), "only once");
            assert!(!caller.give_up(), "too late");
            assert_eq!(caller.look(&mut received), Some(Ended::Answered));
            assert_eq!(received, sent);
        }
    });
}

#[test]
fn who_has_given_up_is_not_answered() {
    with_answer(|memory| {
        let (mut caller, server) = (Caller::new(&memory), Answerer::new(&memory));
        let futex = TestFutex::new();
        caller.begin();
        assert!(caller.give_up());
        assert!(!caller.give_up());
        assert!(!server.answer(1, &message(1, 8), &futex));
        let mut received = Message::EMPTY;
        assert_eq!(caller.look(&mut received), Some(Ended::GivenUp));
        caller.begin();
        assert_eq!(caller.look(&mut received), None);
        assert!(!memory.give_up(1) && !memory.give_up(3), "another call's number");
        assert!(server.answer(2, &message(2, 8), &futex));
        assert_eq!(caller.look(&mut received), Some(Ended::Answered));
    });
}

#[test]
#[allow(unsafe_code)]
fn hostile_words_are_no_answer_or_garbage() {
    let words = AnswerMemory::SIZE / 8;
    for word in 0..words {
        for value in [1, 2, 3, u64::MAX, u64::MAX / 2, 1 << 63] {
            with_answer(|memory| {
                let (mut caller, server) = (Caller::new(&memory), Answerer::new(&memory));
                caller.begin();
                memory.scribble(word, value);
                let mut received = Message::EMPTY;
                let _ = caller.look(&mut received);
                assert!(usize::from(received.length) <= phi_abi::MESSAGE_BYTES);
                let _ = server.answer(1, &message(1, 64), &TestFutex::new());
                let _ = (caller.give_up(), memory.give_up(u64::MAX));
            });
        }
    }
}
