//! Each checker rejects a trace that was made wrong by hand, and accepts the one that is right.

use super::ledger::{Held, NONE};
use super::{Checkers, Property, Violation};
use crate::event::{Call, Event, Named};
use crate::world::World;
use phi_abi::{
    CapabilityInfo, DERIVE_REVOCABLE, Error, FOREVER, Grant, Handle, Kind, Message, Number,
    Outcome, Rights,
};
use phi_core::{DmaIndex, DomainIndex, IrqIndex, RegionIndex, Span, ThreadIndex};
use phi_random::Random;

const PAGE: u64 = phi_abi::layout::PAGE;

/// Domain 1 serves the mailbox, domain 2 calls it; threads have the domains' numbers.
struct Trace {
    checkers: Checkers,
    result: Result<(), Violation>,
}

fn thread(number: u16) -> ThreadIndex {
    ThreadIndex(number)
}

/// The handle of a slot that is used for the first time.
fn handle(slot: u32) -> Handle {
    Handle::new(slot, 1)
}

fn call(number: Number, words: &[u64], message: Message) -> Call {
    let mut arguments = [0; 4];
    arguments[..words.len()].copy_from_slice(words);
    Call { number: number as u32, arguments, message }
}

impl Trace {
    /// Both domains run: the server holds its mailbox at slot 0, the client its capability to it.
    fn begin() -> Trace {
        let (plan, _) = World::Pair.plan(&mut Random::new(1));
        let mut trace = Trace { checkers: Checkers::new(&plan), result: Ok(()) };
        let shared = Rights::DERIVE | Rights::TRANSFER;
        for (domain, rights) in
            [(1, Kind::Mailbox.rights()), (2, shared | Rights::SEND | Rights::CALL)]
        {
            let named = Named { handle: handle(0), kind: Kind::Mailbox, rights };
            let index = DomainIndex(domain);
            trace.add(Event::Loaded(index, vec![named]));
            trace.add(Event::ThreadStarted(thread(domain), index));
        }
        trace.settle()
    }

    fn add(&mut self, event: Event) {
        if self.result.is_ok() {
            self.result = self.checkers.observe(&event);
        }
    }

    fn settle(mut self) -> Trace {
        self.add(Event::Settled(0));
        self
    }

    fn called(mut self, by: u16, number: Number, words: &[u64], message: Message) -> Trace {
        self.add(Event::Called(thread(by), call(number, words, message)));
        self
    }

    fn ended(mut self, by: u16, value: u64, message: Option<Message>) -> Trace {
        self.add(Event::Ended(thread(by), Outcome::success(value), message));
        self
    }

    fn failed(mut self, by: u16, error: Error) -> Trace {
        self.add(Event::Ended(thread(by), Outcome::failure(error), None));
        self
    }

    fn with(mut self, event: Event) -> Trace {
        self.add(event);
        self
    }

    /// A whole step: a call without a message that succeeds at once.
    fn does(self, by: u16, number: Number, words: &[u64], value: u64) -> Trace {
        self.called(by, number, words, Message::EMPTY).ended(by, value, None).settle()
    }

    fn violates(self, property: Property) {
        match self.result {
            Err(violation) if violation.property == property => {}
            other => panic!("expected a violation of {}, and got {other:?}", property.name()),
        }
    }

    fn holds(self) {
        assert_eq!(self.result, Ok(()));
    }

    /// The client holds the hardware at slot 5, as if it had been given it.
    fn hardware(mut self) -> Trace {
        let held = Held::new(Kind::Hardware, Kind::Hardware.rights(), NONE, 0);
        if self.result.is_ok() {
            self.result = self.checkers.ledger.insert(2, handle(5).0, held);
        }
        self
    }

    /// The client gets a region of one page at slot 1.
    fn region(self) -> Trace {
        let span = Span { address: 0x10_0000, length: PAGE };
        self.called(2, Number::RegionCreate, &[PAGE], Message::EMPTY)
            .with(Event::RegionCreated(RegionIndex(9), span))
            .ended(2, handle(1).0, None)
            .settle()
    }
}

/// What arrives of a message of the client's.
fn arrived(sent: Message, reply: Handle) -> Message {
    let rights = Rights::DERIVE | Rights::TRANSFER | Rights::SEND | Rights::CALL;
    Message { badge: 102, rights: rights.bits(), reply, ..sent }
}

fn labelled(label: u64) -> Message {
    Message { label, ..Message::EMPTY }
}

#[test]
fn a_derivation_that_grows_is_found() {
    let all = u64::from(Kind::Mailbox.rights().bits());
    let words = [handle(0).0, all, 0];
    Trace::begin().does(1, Number::CapabilityDerive, &words, handle(1).0).holds();
    Trace::begin()
        .does(2, Number::CapabilityDerive, &words, handle(1).0)
        .violates(Property::Rights);
}

#[test]
fn a_capability_with_other_rights_than_were_given_is_found() {
    let info = |rights| {
        let (id, kind, version, address, length, depth) = (1, Kind::Mailbox, 0, 0, 0, 0);
        let info = CapabilityInfo { id, kind, rights, version, address, length, depth };
        Some(Message { data: info.encode(), length: 64, ..Message::EMPTY })
    };
    let inspect =
        || Trace::begin().called(2, Number::CapabilityInspect, &[handle(0).0], Message::EMPTY);
    let held = Rights::DERIVE | Rights::TRANSFER | Rights::SEND | Rights::CALL;
    inspect().ended(2, 0, info(held)).holds();
    inspect().ended(2, 0, info(held | Rights::RECEIVE)).violates(Property::Rights);
}

#[test]
fn a_grant_that_grows_on_its_way_is_found() {
    let passed = Rights::SEND;
    let mut sent = labelled(1);
    sent.push(Grant::copy(handle(0), passed));
    let arrives = |rights: Rights| {
        let mut got = arrived(sent, Handle::NULL);
        got.grants[0] = Grant { rights: rights.bits(), ..Grant::copy(handle(1), rights) };
        Trace::begin()
            .called(2, Number::Send, &[handle(0).0], sent)
            .ended(2, 0, None)
            .settle()
            .called(1, Number::Receive, &[handle(0).0, 0], Message::EMPTY)
            .ended(1, 0, Some(got))
    };
    arrives(passed).holds();
    arrives(passed | Rights::CALL).violates(Property::Rights);
}

#[test]
fn a_call_without_the_right_to_it_is_found() {
    let receive = |by| Trace::begin().does(by, Number::Receive, &[handle(0).0, 0], 1);
    receive(1).holds();
    receive(2).violates(Property::Rights);
}

#[test]
fn a_use_after_a_revocation_is_found() {
    let rights = u64::from(Rights::SEND.bits());
    let derived = || {
        let words = [handle(0).0, rights, DERIVE_REVOCABLE];
        Trace::begin().does(2, Number::CapabilityDerive, &words, handle(1).0)
    };
    let send = |trace: Trace| {
        trace.called(2, Number::Send, &[handle(1).0], labelled(1)).ended(2, 0, None).settle()
    };
    send(derived()).holds();
    let revoked = derived().does(2, Number::CapabilityRevoke, &[handle(0).0], 0);
    send(revoked).violates(Property::Revocation);
}

#[test]
fn a_wait_that_outlives_a_revocation_is_found() {
    let call = u64::from(Rights::CALL.bits());
    // The server derives a capability for itself and calls through it with a second thread.
    let waits = || {
        let words = [handle(0).0, call, DERIVE_REVOCABLE];
        Trace::begin()
            .with(Event::ThreadStarted(thread(3), DomainIndex(1)))
            .settle()
            .does(1, Number::CapabilityDerive, &words, handle(1).0)
            .called(3, Number::Call, &[handle(1).0, FOREVER], labelled(1))
            .settle()
            .called(1, Number::CapabilityRevoke, &[handle(0).0], Message::EMPTY)
            .ended(1, 0, None)
    };
    waits().failed(3, Error::Revoked).settle().holds();
    waits().settle().violates(Property::Revocation);
}

#[test]
fn pages_that_stay_after_a_revocation_are_found() {
    let read = u64::from(Rights::READ.bits());
    let span = Span { address: 0x10_0000, length: PAGE };
    let revoked = || {
        let words = [handle(1).0, read, DERIVE_REVOCABLE];
        Trace::begin()
            .region()
            .does(2, Number::CapabilityDerive, &words, handle(2).0)
            .called(2, Number::RegionMap, &[handle(2).0, read], Message::EMPTY)
            .with(Event::Mapped(DomainIndex(2), RegionIndex(9), span, Rights::READ))
            .ended(2, span.address, None)
            .settle()
            .called(2, Number::CapabilityRevoke, &[handle(1).0], Message::EMPTY)
    };
    revoked()
        .with(Event::Unmapped(DomainIndex(2), RegionIndex(9), span))
        .ended(2, 0, None)
        .settle()
        .holds();
    revoked().ended(2, 0, None).settle().violates(Property::Revocation);
}

#[test]
fn pages_of_nobody_are_found() {
    let span = Span { address: 0x10_0000, length: PAGE };
    Trace::begin()
        .region()
        .with(Event::Mapped(DomainIndex(1), RegionIndex(9), span, Rights::READ))
        .settle()
        .violates(Property::Memory);
}

#[test]
fn a_message_that_arrives_twice_changed_or_out_of_order_is_found() {
    let sent = |labels: &[u64]| {
        labels.iter().fold(Trace::begin(), |trace, label| {
            trace
                .called(2, Number::Send, &[handle(0).0], labelled(*label))
                .ended(2, 0, None)
                .settle()
        })
    };
    let receive = |trace: Trace, label| {
        trace
            .called(1, Number::Receive, &[handle(0).0, 0], Message::EMPTY)
            .ended(1, 0, Some(arrived(labelled(label), Handle::NULL)))
            .settle()
    };
    receive(receive(sent(&[1, 2]), 1), 2).holds();
    receive(receive(sent(&[1, 2]), 2), 1).violates(Property::Delivery);
    receive(receive(sent(&[1]), 1), 1).violates(Property::Delivery);
    receive(sent(&[1]), 3).violates(Property::Delivery);
}

#[test]
fn an_answer_of_nobody_or_of_another_is_found() {
    let served = || {
        Trace::begin()
            .called(2, Number::Call, &[handle(0).0, FOREVER], labelled(1))
            .settle()
            .called(1, Number::Receive, &[handle(0).0, 0], Message::EMPTY)
            .ended(1, 0, Some(arrived(labelled(1), handle(5))))
            .settle()
    };
    let answer = |label| {
        served().called(1, Number::Reply, &[handle(5).0], labelled(2)).ended(
            2,
            0,
            Some(labelled(label)),
        )
    };
    answer(2).ended(1, 0, None).settle().holds();
    answer(3).violates(Property::Delivery);
    served().ended(2, 0, Some(labelled(2))).violates(Property::Delivery);
    served()
        .called(1, Number::Reply, &[handle(5).0], labelled(2))
        .ended(1, 0, None)
        .violates(Property::Delivery);
}

#[test]
fn counts_that_do_not_add_up_are_found() {
    let usage = |memory, handles| {
        Trace::begin().region().with(Event::Usage(DomainIndex(2), memory, handles))
    };
    // One page each of data, stack and heap, and the region.
    usage(4 * PAGE, 2).holds();
    usage(4 * PAGE, 3).violates(Property::Memory);
    usage(3 * PAGE, 2).violates(Property::Memory);
}

#[test]
fn a_thread_before_a_more_urgent_one_is_found() {
    let two = |chosen| {
        let slow = [0x1000, 0x2000, 0, 0];
        Trace::begin()
            .with(Event::Dispatched(thread(1)))
            .with(Event::Dispatched(thread(2)))
            .called(1, Number::ThreadCreate, &slow, Message::EMPTY)
            .with(Event::ThreadStarted(thread(3), DomainIndex(1)))
            .ended(1, handle(4).0, None)
            .with(Event::Dispatched(thread(chosen)))
    };
    two(1).holds();
    two(3).violates(Property::Fairness);
}

#[test]
fn a_thread_that_does_nothing_is_found_unless_its_domain_stands_still() {
    let idle = |mut trace: Trace| {
        trace = trace.with(Event::Dispatched(thread(1)));
        for _ in 0..super::fairness::STEPS + 1024 {
            trace = trace.settle();
        }
        trace
    };
    let stalled = |domain| Event::Stalled(DomainIndex(domain), true);
    idle(Trace::begin()).violates(Property::Fairness);
    idle(Trace::begin().with(stalled(1))).holds();
    idle(Trace::begin().with(stalled(2))).violates(Property::Fairness);
    let ended = Event::Stalled(DomainIndex(1), false);
    idle(Trace::begin().with(stalled(1)).with(ended)).violates(Property::Fairness);
}

#[test]
fn a_thread_that_waits_without_end_is_found() {
    let mut trace = Trace::begin().with(Event::Dispatched(thread(1)));
    let peers = World::Pair.plan(&mut Random::new(1)).0.services;
    let priority = u64::from(peers[1].priority);
    trace = trace
        .with(Event::Dispatched(thread(2)))
        .called(1, Number::ThreadCreate, &[0x1000, 0x2000, 0, priority], Message::EMPTY)
        .with(Event::ThreadStarted(thread(3), DomainIndex(1)))
        .ended(1, handle(4).0, None);
    for _ in 0..=super::fairness::BOUND {
        trace = trace.with(Event::Dispatched(thread(1))).with(Event::Preempted(thread(1)));
    }
    trace.violates(Property::Fairness);
}

#[test]
fn a_device_that_reaches_what_is_not_mapped_for_it_is_found() {
    let read = u64::from(Rights::READ.bits());
    let span = Span { address: 0x10_0000, length: PAGE };
    let (space, region) = (DmaIndex(3), RegionIndex(9));
    let opened = || {
        Trace::begin().region().hardware().called(
            2,
            Number::DmaSpaceCreate,
            &[handle(5).0],
            Message::EMPTY,
        )
    };
    let with_space = || opened().with(Event::DmaOpened(space)).ended(2, handle(2).0, None).settle();
    let mapped = Event::DmaMapped(space, region, span, Rights::READ);
    with_space().with(mapped.clone()).settle().violates(Property::Memory);
    let enabled = with_space().with(Event::DmaEnabled(space, true)).settle();
    enabled.violates(Property::Memory);
    // What has ended, and what was never there.
    let closed = with_space().with(Event::DmaClosed(space));
    closed.with(Event::DmaEnabled(space, true)).violates(Property::Rights);
    Trace::begin().with(Event::IrqMasked(IrqIndex(1), false)).violates(Property::Rights);
    // A region that ends under a device.
    let words = [handle(2).0, handle(1).0, read];
    let holder = || {
        with_space()
            .called(2, Number::DmaMap, &words, Message::EMPTY)
            .with(mapped.clone())
            .with(Event::DmaEnabled(space, true))
            .ended(2, span.address, None)
            .settle()
    };
    holder().holds();
    holder().with(Event::RegionDestroyed(region)).violates(Property::Memory);
    let unmapped = holder().does(2, Number::DmaUnmap, &words, 0);
    unmapped.violates(Property::Memory);
    holder()
        .called(2, Number::DmaUnmap, &words, Message::EMPTY)
        .with(Event::DmaEnabled(space, false))
        .with(Event::DmaUnmapped(space, region, span))
        .ended(2, 0, None)
        .settle()
        .holds();
}
