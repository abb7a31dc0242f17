//! Handles are given up exactly once, whatever becomes of a message.

use crate::{Incoming, Mailbox, Outgoing, Peer, Problem, Region, Service, Signal, fake};
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::sync::atomic::{AtomicU8, Ordering};
use phi_abi::{
    Error, FOREVER, Grant, Handle, Kind, Message, NamedCapability, Number, Outcome, Rights,
    StartBlock,
};

/// Runs `body` while `answer` says how calls end; the handles that were dropped, in order.
fn dropped(
    mut answer: impl FnMut(Number, &mut Message) -> Outcome + 'static,
    body: impl FnOnce(),
) -> Vec<u64> {
    let dropped = Rc::new(RefCell::new(Vec::new()));
    let list = dropped.clone();
    let answer = move |number, words: [u64; 4], message: &mut Message| match number {
        Number::CapabilityDrop => {
            list.borrow_mut().push(words[0]);
            Outcome::success(0)
        }
        other => answer(other, message),
    };
    fake::with(answer, body);
    dropped.take()
}

/// Numbers the handles that create calls make, from 1 on; other calls end with `error`.
fn failing(error: Error) -> impl FnMut(Number, &mut Message) -> Outcome {
    let mut last = 0;
    move |number, _| match number {
        Number::MailboxCreate | Number::SignalCreate => {
            last += 1;
            Outcome::success(last)
        }
        _ => Outcome::failure(error),
    }
}

/// Gives a signal (handle 2) away in a call or a send to a mailbox (handle 1).
fn give(call: bool, error: Error) -> Vec<u64> {
    dropped(failing(error), || {
        let peer = Peer::new(Mailbox::create(1).expect("a mailbox").into_capability());
        let mut message = Outgoing::empty(0);
        let signal = Signal::create().expect("a signal").into_capability();
        message.give(signal).expect("room");
        if call {
            assert_eq!(peer.call(message, FOREVER).err(), Some(error));
        } else {
            assert_eq!(peer.send(message), Err(error));
        }
    })
}

#[test]
fn what_was_not_delivered_is_dropped() {
    assert_eq!(give(false, Error::Full), [2, 1]);
    assert_eq!(give(true, Error::Denied), [2, 1]);
}

#[test]
fn what_may_have_been_delivered_is_left_alone() {
    assert_eq!(give(true, Error::TimedOut), [1]);
    assert_eq!(give(true, Error::Dead), [1]);
}

fn incoming() -> Incoming {
    let mut message = Message { reply: Handle(9), ..Message::EMPTY };
    message.push(Grant::transfer(Handle(5), Rights::empty()));
    message.push(Grant::transfer(Handle::NULL, Rights::empty()));
    message.push(Grant::loan(Handle(6), Rights::READ, 4096, 1));
    // SAFETY: no ΦCore is there to object to made-up handles, and the loan is not read.
    unsafe { Incoming::from_message(message) }
}

#[test]
fn parts_of_a_mapping_lie_in_it() {
    static BYTES: [AtomicU8; 8] = [const { AtomicU8::new(5) }; 8];
    let answer = |number, _: [u64; 4], _: &mut Message| match number {
        Number::RegionMap => Outcome::success(BYTES.as_ptr() as u64),
        _ => Outcome::success(1),
    };
    fake::with(answer, || {
        let read_only = Region::create(8).and_then(|region| region.map(false)).expect("a region");
        let mut into = [0; 8];
        let part = read_only.part(2, 6).expect("a part");
        assert_eq!((part.address(), part.read(0, &mut into)), (BYTES.as_ptr() as u64 + 2, 6));
        for (offset, length) in [(0, 9), (9, 0), (8, 1), (u64::MAX, 2), (1, u64::MAX)] {
            assert!(read_only.part(offset, length).is_none());
        }
        assert!(read_only.part(8, 0).is_some());
        assert!(read_only.part_mut(0, 1).is_none());
        let writable = Region::create(8).and_then(|region| region.map(true)).expect("a region");
        assert!(writable.part_mut(8, 1).is_none());
        assert_eq!(writable.part_mut(7, 1).expect("a part").write(0, &[1, 2]), 1);
    });
    assert_eq!(BYTES[7].load(Ordering::Relaxed), 1);
}

#[test]
fn what_nobody_takes_is_dropped() {
    assert_eq!(dropped(failing(Error::Dead), || drop(incoming())), [5, 6, 9]);
}

#[test]
fn what_is_taken_is_dropped_by_its_owner() {
    let order = dropped(failing(Error::Dead), || {
        let mut incoming = incoming();
        let taken = incoming.take(0).expect("a capability");
        assert!(incoming.take(0).is_none() && incoming.take(1).is_none());
        assert!(incoming.take(2).is_none(), "a loan is not to be kept");
        assert!(incoming.lent(0).is_none() && incoming.lent(3).is_none());
        assert!(incoming.lent(2).is_some() && incoming.lent_mut(2).is_none());
        drop(incoming);
        drop(taken);
    });
    assert_eq!(order, [6, 9, 5]);
}

#[test]
fn an_answer_uses_the_reply_up() {
    let mut replies = 0;
    let answer = move |number, _: &mut Message| match number {
        Number::Reply => {
            replies += 1;
            assert_eq!(replies, 1);
            Outcome::success(0)
        }
        other => panic!("{other:?}"),
    };
    let order = dropped(answer, || incoming().reply(Outgoing::empty(0)).expect("a caller"));
    assert_eq!(order, [5, 6]);
}

#[test]
fn serving_survives_callers_that_are_gone() {
    let mut calls = Vec::from([Number::Receive, Number::ReplyReceive, Number::Receive]).into_iter();
    let answer = move |number, message: &mut Message| {
        if number == Number::MailboxCreate {
            return Outcome::success(1);
        }
        assert_eq!(Some(number), calls.next());
        match (number, calls.len()) {
            (Number::Receive, 2) => {
                *message = Message { reply: Handle(9), ..Message::EMPTY };
                Outcome::success(0)
            }
            (Number::ReplyReceive, _) => Outcome::failure(Error::Dead),
            _ => Outcome::failure(Error::Revoked),
        }
    };
    let order = dropped(answer, || {
        let mailbox = Mailbox::create(1).expect("a mailbox");
        let end = mailbox.serve(|_| Some(Outgoing::empty(0)));
        assert_eq!(end, Error::Revoked);
    });
    assert_eq!(order, [1]);
}

#[test]
fn named_capabilities_are_taken_once_and_by_kind() {
    let mut start = StartBlock::EMPTY;
    let mut named =
        NamedCapability { handle: Handle(3), kind: Kind::Signal as u32, ..NamedCapability::EMPTY };
    named.name[..4].copy_from_slice(b"bell");
    start.capabilities[0] = named;
    start.capability_count = 1;
    let start = alloc::boxed::Box::leak(alloc::boxed::Box::new(start));
    // SAFETY: no ΦCore is there to object to made-up handles, and there is no region.
    let service = unsafe { Service::new(start) };
    let order = dropped(failing(Error::Dead), || {
        let problem = |error: crate::NameError<'_>| error.problem;
        assert_eq!(service.signal("gong").map_err(problem).err(), Some(Problem::Missing));
        assert_eq!(service.domain("bell").map_err(problem).err(), Some(Problem::WrongKind));
        let bell = service.signal("bell").expect("it is there");
        assert_eq!(service.signal("bell").map_err(problem).err(), Some(Problem::Taken));
        drop(bell);
    });
    assert_eq!(order, [3]);
}
