//! All schedules of an answer and a caller that may give up.

use super::super::answer::AnswerSlot;
use super::super::ordering::{Site, WEAKENED};
use super::*;
// Not loom's: its destructor panics again when a model ends in a deadlock.
use std::sync::Arc;

struct Shared {
    slot: AnswerSlot,
    futex: TestFutex,
}

/// Runs a caller whose first call has begun, and a server that has taken it.
fn model(
    caller: impl Fn(Caller<'_>, &TestFutex) -> bool + Copy + Send + Sync + 'static,
    server: impl Fn(Answerer<'_>, &TestFutex) -> bool + Copy + Send + Sync + 'static,
) {
    loom::model(move || {
        let shared = Arc::new(Shared { slot: AnswerSlot::new(), futex: TestFutex::new() });
        let other = Arc::clone(&shared);
        let thread = loom::thread::spawn(move || {
            server(Answerer::new(&AnswerMemory::from_slot(&other.slot)), &other.futex)
        });
        let mut calling = Caller::new(&AnswerMemory::from_slot(&shared.slot));
        calling.begin();
        let learned = caller(calling, &shared.futex);
        assert_eq!(thread.join().unwrap(), learned, "both sides agree on how the call ended");
    });
}

fn answer(server: Answerer<'_>, futex: &TestFutex) -> bool {
    server.answer(1, &message(7, 8), futex)
}

/// What `look` says, with the answer checked.
fn answered(caller: &Caller<'_>) -> Option<bool> {
    let mut received = Message::EMPTY;
    let ended = caller.look(&mut received)?;
    if ended == Ended::Answered {
        assert_eq!(received, message(7, 8));
    }
    Some(ended == Ended::Answered)
}

/// A caller that looks until it has the answer.
fn polled() {
    model(
        |caller, _| loop {
            match answered(&caller) {
                Some(answered) => return answered,
                None => loom::thread::yield_now(),
            }
        },
        answer,
    );
}

/// A caller that sleeps until it has the answer.
fn sleeping() {
    model(
        |caller, futex| loop {
            match answered(&caller) {
                Some(answered) => return answered,
                None => caller.wait(futex, 0),
            }
        },
        answer,
    );
}

#[test]
fn an_answer_arrives_whole() {
    polled();
}

#[test]
fn no_answer_is_slept_over() {
    sleeping();
}

#[test]
fn a_call_ends_once_whoever_is_first() {
    model(
        |caller, _| match caller.give_up() {
            true => false,
            false => answered(&caller).expect("what cannot be given up has ended"),
        },
        answer,
    );
}

#[test]
fn who_gives_up_for_the_caller_is_believed() {
    model(
        |caller, futex| loop {
            match answered(&caller) {
                Some(answered) => return answered,
                None => caller.wait(futex, 0),
            }
        },
        |server, futex| {
            let memory = server.memory();
            assert!(memory.give_up(1));
            memory.wake_caller(futex);
            answer(server, futex)
        },
    );
}

mod weakened {
    use super::*;

    #[test]
    #[should_panic(expected = "Causality violation")]
    fn answer_is_noticed() {
        WEAKENED.set(Some(Site::Answer));
        polled();
    }

    #[test]
    #[should_panic(expected = "Causality violation")]
    fn learn_is_noticed() {
        WEAKENED.set(Some(Site::Learn));
        polled();
    }
}
