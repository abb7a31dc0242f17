//! Messages that the machine carries, and how they come back under ΦCore's rule.

use super::plan::{CAPACITY, badge};
use super::system::{End, System, message};
use crate::{Activity, Carried, Destination, DomainIndex, ThreadIndex};
use phi_abi::{Error, FOREVER, Grant, Handle, Number, Rights};
use phi_cap::State;

const CLIENT: DomainIndex = DomainIndex(1);
const SERVER: DomainIndex = DomainIndex(2);

/// A client and a server of the plan; the client's handle for the server's mailbox, and the server's.
fn pair(system: &System) -> (ThreadIndex, ThreadIndex, Handle, Handle) {
    let (to, serve) = (system.handle(1, "to-2"), system.handle(2, "serve"));
    (system.first(1), system.first(2), Handle(to), Handle(serve))
}

fn destination(system: &System, handle: Handle) -> Option<Destination> {
    system.kernel.destination(CLIENT, handle)
}

fn carried(caller: ThreadIndex, handle: Handle, timeout: u64) -> Carried {
    Carried { caller, handle, timeout }
}

#[test]
fn a_destination_lasts_as_long_as_its_capability() {
    let mut system = System::of(3);
    let (client, server, to, serve) = pair(&system);
    let found = destination(&system, to).expect("a mailbox that is open");
    assert_eq!(found.badge, badge(1, 2));
    assert!(found.rights.contains(Rights::CALL));
    assert_eq!(system.kernel.reception(SERVER, serve), Some(found.mailbox));
    assert_eq!(system.kernel.reception(CLIENT, to), None, "it may not receive");

    let weak = Handle(system.derive(client, to.0, Rights::SEND | Rights::TRANSFER, true));
    let id = destination(&system, weak).expect("a copy").capability;
    assert_eq!(system.kernel.stands(CLIENT, weak, id), Some(State::Held));
    assert_eq!(system.kernel.stands(CLIENT, weak, id + 1), None, "another capability");
    system.value(client, Number::CapabilityRevoke, &[to.0]);
    assert_eq!(destination(&system, weak), None);
    assert_eq!(system.kernel.stands(CLIENT, weak, id), Some(State::Revoked));
    system.value(client, Number::CapabilityDrop, &[weak.0]);
    assert_eq!(system.kernel.stands(CLIENT, weak, id), None);

    assert_eq!(system.invoke(server, Number::DomainExit, &[0]), End::Gone);
    assert_eq!(destination(&system, to), None, "its server has ended");
}

#[test]
fn who_alone_may_receive_is_known() {
    let mut system = System::of(4);
    let (_, server, to, serve) = pair(&system);
    let mailbox = destination(&system, to).expect("a mailbox").mailbox;
    assert_eq!(system.kernel.sole_receiver(mailbox), Some(SERVER));
    // A copy in the same domain changes nothing; one that may not receive neither.
    let copy = system.derive(server, serve.0, Rights::RECEIVE | Rights::TRANSFER, false);
    assert_eq!(system.kernel.sole_receiver(mailbox), Some(SERVER));
    let other = system.first(3);
    let sent = Grant::transfer(Handle(copy), Rights::RECEIVE);
    system.pass(server, other, &[sent]);
    assert_eq!(system.kernel.sole_receiver(mailbox), None);
}

#[test]
fn a_receive_that_is_withdrawn_gets_nothing() {
    let mut system = System::of(3);
    let (client, server, to, serve) = pair(&system);
    assert!(!system.kernel.withdraw(server), "it does not wait");
    assert_eq!(system.invoke(server, Number::Receive, &[serve.0, 1000]), End::Blocked);
    assert!(system.kernel.withdraw(server));
    assert_eq!(system.kernel.activity(server), Activity::Dispatched);
    let mailbox = destination(&system, to).expect("a mailbox").mailbox;
    assert!(!system.kernel.has_news(mailbox));
    let sent = system.invoke_with(client, Number::Send, &[to.0], message(5, &[]));
    assert_eq!(sent, End::Value(0));
    assert!(system.kernel.has_news(mailbox), "the message waits for the next receive");
    system.pass_time(2000);
    assert_eq!(system.kernel.activity(server), Activity::Dispatched, "its time is not over");
    assert_eq!(system.invoke(server, Number::Receive, &[serve.0, 0]), End::Value(0));
    assert_eq!(system.message(server).label, 5);
    assert!(!system.kernel.has_news(mailbox));
}

#[test]
fn what_the_machine_carries_counts_against_the_capacity() {
    let mut system = System::of(3);
    let (client, _, to, _) = pair(&system);
    let mailbox = destination(&system, to).expect("a mailbox").mailbox;
    system.kernel.set_carried(mailbox, CAPACITY - 1);
    assert_eq!(system.value(client, Number::Send, &[to.0]), 0);
    assert_eq!(system.error(client, Number::Send, &[to.0]), Error::Full);
    system.kernel.set_carried(mailbox, 0);
    assert_eq!(system.value(client, Number::Send, &[to.0]), 0);
}

#[test]
fn an_adopted_call_is_answered_like_any_other() {
    let mut system = System::of(3);
    let (client, server, to, _) = pair(&system);
    let reply = system.kernel.adopt(carried(client, to, FOREVER), SERVER, false);
    system.settle();
    assert_eq!(system.end(client), End::Blocked);
    let answer = message(9, b"yes");
    assert_eq!(system.invoke_with(server, Number::Reply, &[reply.0], answer), End::Value(0));
    assert_eq!(system.end(client), End::Value(0));
    assert_eq!(system.message(client).bytes(), b"yes");
}

#[test]
fn an_adopted_call_times_out_and_its_reply_is_dead() {
    let mut system = System::of(3);
    let (client, server, to, _) = pair(&system);
    let reply = system.kernel.adopt(carried(client, to, 1000), SERVER, false);
    system.settle();
    system.pass_time(1000);
    assert_eq!(system.end(client), End::Error(Error::TimedOut));
    assert_eq!(system.error(server, Number::Reply, &[reply.0]), Error::Dead);
    // One that was given up before has a dead reply from the beginning, and its caller goes on.
    let reply = system.kernel.adopt(carried(client, to, FOREVER), SERVER, true);
    system.settle();
    assert_eq!(system.kernel.activity(client), Activity::Dispatched);
    assert_eq!(system.error(server, Number::Reply, &[reply.0]), Error::Dead);
}

#[test]
fn an_adopted_call_ends_with_its_capability() {
    let mut system = System::of(3);
    let (client, _, to, _) = pair(&system);
    let (other, _) = system.spawn(client);
    let weak = Handle(system.derive(client, to.0, Rights::CALL, true));
    system.kernel.adopt(carried(other, weak, FOREVER), SERVER, false);
    system.settle();
    system.value(client, Number::CapabilityRevoke, &[to.0]);
    assert_eq!(system.end(other), End::Error(Error::Revoked));
}

#[test]
fn a_server_without_room_lets_an_adopted_call_go() {
    let mut system = System::of(3);
    let (client, server, to, serve) = pair(&system);
    let weak = u64::from(Rights::SEND.bits());
    while let End::Value(_) = system.invoke(server, Number::CapabilityDerive, &[serve.0, weak, 0]) {
    }
    let reply = system.kernel.adopt(carried(client, to, FOREVER), SERVER, false);
    system.settle();
    assert_eq!(reply, Handle::NULL);
    assert_eq!(system.end(client), End::Error(Error::Dead));
}

#[test]
fn what_is_absorbed_waits_in_its_order() {
    let mut system = System::of(3);
    let (client, server, to, serve) = pair(&system);
    let found = destination(&system, to).expect("a mailbox");
    let mut sent = message(1, b"first");
    sent.badge = found.badge;
    system.kernel.absorb_send(found.mailbox, &sent);
    let mut called = message(2, b"second");
    called.badge = found.badge;
    system.kernel.absorb_call(carried(client, to, FOREVER), found.mailbox, &called);
    system.settle();
    assert_eq!(system.end(client), End::Blocked);
    assert!(system.kernel.has_news(found.mailbox));
    for (label, bytes, answered) in [(1, &b"first"[..], false), (2, b"second", true)] {
        assert_eq!(system.invoke(server, Number::Receive, &[serve.0, 0]), End::Value(0));
        let got = system.message(server);
        assert_eq!((got.label, got.bytes(), got.badge), (label, bytes, found.badge));
        assert_eq!(!got.reply.is_null(), answered);
        if answered {
            assert_eq!(system.value(server, Number::Reply, &[got.reply.0]), 0);
        }
    }
    assert_eq!(system.end(client), End::Value(0));
}

#[test]
fn who_sends_more_than_there_is_room_for_takes_no_room_of_others() {
    let mut system = System::of(3);
    let (_, _, to, _) = pair(&system);
    let found = destination(&system, to).expect("a mailbox");
    let capacity = system.kernel.mailboxes()[found.mailbox as usize].capacity;
    assert_eq!(capacity, CAPACITY);
    for _ in 0..100 * capacity {
        system.kernel.absorb_send(found.mailbox, &message(1, b"too many"));
    }
    assert_eq!(system.kernel.mailboxes()[found.mailbox as usize].stored, capacity);
    let sender = system.first(2);
    let elsewhere = system.handle(2, "to-1");
    for _ in 0..capacity {
        assert_eq!(system.invoke(sender, Number::Send, &[elsewhere]), End::Value(0));
    }
    assert_eq!(system.invoke(sender, Number::Send, &[elsewhere]), End::Error(Error::Full));
}

#[test]
fn counts_are_added_and_taken_back() {
    let mut system = System::of(3);
    let before = system.kernel.statistics(CLIENT);
    system.kernel.count_carried(CLIENT, 3, 2, 100);
    system.kernel.count_carried(CLIENT, u64::MAX, 0, 0);
    let after = system.kernel.statistics(CLIENT);
    assert_eq!(after.calls, before.calls + 2);
    assert_eq!(after.messages, before.messages + 2);
    assert_eq!(after.bytes_copied, before.bytes_copied + 100);
}
