//! Signals: bits, waiters, and signals bound to mailboxes.

use super::system::{End, System};
use phi_abi::{Error, FOREVER, FaultKind, Message, Number, Rights};

#[test]
fn bits_add_up_and_are_taken_by_mask() {
    let mut system = System::of(2);
    let thread = system.first(1);
    let signal = system.value(thread, Number::SignalCreate, &[]);
    for bits in [0b001, 0b100, 0b001, 0] {
        system.value(thread, Number::SignalNotify, &[signal, bits]);
    }
    assert_eq!(system.value(thread, Number::SignalWait, &[signal, 0b110, 0]), 0b100);
    assert_eq!(system.value(thread, Number::SignalWait, &[signal, u64::MAX, 0]), 0b001);
    let empty = [signal, u64::MAX, 0];
    assert_eq!(system.error(thread, Number::SignalWait, &empty), Error::TimedOut);
}

#[test]
fn waiters_take_their_bits_in_the_order_of_their_arrival() {
    let mut system = System::of(2);
    let thread = system.first(1);
    let (first, _) = system.spawn(thread);
    let (second, _) = system.spawn(thread);
    let (third, _) = system.spawn(thread);
    let signal = system.value(thread, Number::SignalCreate, &[]);
    for (waiter, mask) in [(first, 0b0011), (second, 0b0110), (third, 0b1000)] {
        let words = [signal, mask, FOREVER];
        assert_eq!(system.invoke(waiter, Number::SignalWait, &words), End::Blocked);
    }
    system.value(thread, Number::SignalNotify, &[signal, 0b0110]);
    assert_eq!(system.end(first), End::Value(0b0010));
    assert_eq!(system.end(second), End::Value(0b0100));
    assert_eq!(system.end(third), End::Blocked);
    system.value(thread, Number::SignalNotify, &[signal, 0b11000]);
    assert_eq!(system.end(third), End::Value(0b1000));
    assert_eq!(system.value(thread, Number::SignalWait, &[signal, u64::MAX, 0]), 0b10000);
}

#[test]
fn a_wait_ends_with_its_time() {
    let mut system = System::of(2);
    let thread = system.first(1);
    let signal = system.value(thread, Number::SignalCreate, &[]);
    assert_eq!(system.invoke(thread, Number::SignalWait, &[signal, 1, 7]), End::Blocked);
    system.pass_time(6);
    assert_eq!(system.end(thread), End::Blocked);
    system.pass_time(1);
    assert_eq!(system.end(thread), End::Error(Error::TimedOut));
    system.value(thread, Number::SignalNotify, &[signal, 1]);
    assert_eq!(system.value(thread, Number::SignalWait, &[signal, 1, 0]), 1);
}

#[test]
fn a_wait_for_nothing_is_a_fault() {
    let mut system = System::of(2);
    let thread = system.first(1);
    let signal = system.value(thread, Number::SignalCreate, &[]);
    let fault = (FaultKind::BadArgument, 0);
    system.faults(thread, Number::SignalWait, &[signal, 0, FOREVER], Message::EMPTY, fault);
}

#[test]
fn each_side_needs_its_right() {
    let mut system = System::of(2);
    let thread = system.first(1);
    let serve = system.handle(1, "serve");
    let signal = system.value(thread, Number::SignalCreate, &[]);
    let wait = system.derive(thread, signal, Rights::WAIT, false);
    let notify = system.derive(thread, signal, Rights::NOTIFY, false);
    let send = system.derive(thread, serve, Rights::SEND, false);
    assert_eq!(system.error(thread, Number::SignalNotify, &[wait, 1]), Error::Denied);
    assert_eq!(system.error(thread, Number::SignalWait, &[notify, 1, 0]), Error::Denied);
    assert_eq!(system.error(thread, Number::SignalBind, &[notify, serve]), Error::Denied);
    assert_eq!(system.error(thread, Number::SignalBind, &[wait, send]), Error::Denied);
    system.value(thread, Number::SignalBind, &[wait, serve]);
}

#[test]
fn signals_are_made_within_the_quota() {
    let mut system = System::of(2);
    let thread = system.first(1);
    let first = system.value(thread, Number::SignalCreate, &[]);
    for _ in 0..2 {
        system.value(thread, Number::SignalCreate, &[]);
    }
    assert_eq!(system.error(thread, Number::SignalCreate, &[]), Error::QuotaExceeded);
    system.value(thread, Number::SignalNotify, &[first, 1]);
    system.value(thread, Number::CapabilityDrop, &[first]);
    let again = system.value(thread, Number::SignalCreate, &[]);
    let empty = [again, u64::MAX, 0];
    assert_eq!(system.error(thread, Number::SignalWait, &empty), Error::TimedOut);
}

#[test]
fn one_receive_waits_for_messages_and_for_a_bound_signal() {
    let mut system = System::of(3);
    let (client, server) = (system.first(1), system.first(2));
    let (to, serve) = (system.handle(1, "to-2"), system.handle(2, "serve"));
    let signal = system.value(server, Number::SignalCreate, &[]);
    system.value(server, Number::SignalBind, &[signal, serve]);
    assert_eq!(system.error(server, Number::Receive, &[serve, 0]), Error::TimedOut);
    // Bits that are set already come before messages.
    system.value(client, Number::Send, &[to]);
    system.value(server, Number::SignalNotify, &[signal, 0b101]);
    assert_eq!(system.value(server, Number::Receive, &[serve, FOREVER]), 1);
    let got = system.message(server);
    assert_eq!((got.label, got.length, got.badge), (0b101, 0, 0));
    assert_eq!(system.value(server, Number::Receive, &[serve, FOREVER]), 0);
    // And they wake a receiver that waits, whose timeout then is over.
    let (helper, _) = system.spawn(server);
    assert_eq!(system.invoke(helper, Number::Receive, &[serve, 100]), End::Blocked);
    system.value(server, Number::SignalNotify, &[signal, 0b1]);
    assert_eq!(system.end(helper), End::Value(1));
    assert_eq!(system.message(helper).label, 1);
    assert_eq!(system.kernel.next_deadline(), None);
}

#[test]
fn waiters_of_the_signal_itself_come_before_the_mailbox() {
    let mut system = System::of(2);
    let thread = system.first(1);
    let (waiter, _) = system.spawn(thread);
    let (receiver, _) = system.spawn(thread);
    let serve = system.handle(1, "serve");
    let signal = system.value(thread, Number::SignalCreate, &[]);
    system.value(thread, Number::SignalBind, &[signal, serve]);
    system.invoke(receiver, Number::Receive, &[serve, FOREVER]);
    system.invoke(waiter, Number::SignalWait, &[signal, 0b01, FOREVER]);
    system.value(thread, Number::SignalNotify, &[signal, 0b01]);
    assert_eq!((system.end(waiter), system.end(receiver)), (End::Value(1), End::Blocked));
    system.invoke(waiter, Number::SignalWait, &[signal, 0b01, FOREVER]);
    system.value(thread, Number::SignalNotify, &[signal, 0b11]);
    assert_eq!((system.end(waiter), system.end(receiver)), (End::Value(1), End::Value(1)));
    assert_eq!(system.message(receiver).label, 0b10);
}

#[test]
fn a_binding_is_one_to_one() {
    let mut system = System::of(2);
    let thread = system.first(1);
    let serve = system.handle(1, "serve");
    let mailbox = system.value(thread, Number::MailboxCreate, &[1]);
    let signal = system.value(thread, Number::SignalCreate, &[]);
    let other = system.value(thread, Number::SignalCreate, &[]);
    system.value(thread, Number::SignalBind, &[signal, serve]);
    assert_eq!(system.error(thread, Number::SignalBind, &[signal, serve]), Error::Busy);
    assert_eq!(system.error(thread, Number::SignalBind, &[signal, mailbox]), Error::Busy);
    assert_eq!(system.error(thread, Number::SignalBind, &[other, serve]), Error::Busy);
    // It ends with the signal.
    system.value(thread, Number::CapabilityDrop, &[signal]);
    system.value(thread, Number::SignalBind, &[other, serve]);
    // And with the mailbox.
    let third = system.value(thread, Number::SignalCreate, &[]);
    system.value(thread, Number::SignalBind, &[third, mailbox]);
    system.value(thread, Number::CapabilityDrop, &[mailbox]);
    let next = system.value(thread, Number::MailboxCreate, &[1]);
    system.value(thread, Number::SignalBind, &[third, next]);
}

#[test]
fn bits_that_are_set_before_the_binding_wake_who_receives() {
    let mut system = System::of(2);
    let thread = system.first(1);
    let (receiver, _) = system.spawn(thread);
    let serve = system.handle(1, "serve");
    let signal = system.value(thread, Number::SignalCreate, &[]);
    system.value(thread, Number::SignalNotify, &[signal, 4]);
    system.invoke(receiver, Number::Receive, &[serve, FOREVER]);
    system.value(thread, Number::SignalBind, &[signal, serve]);
    assert_eq!(system.end(receiver), End::Value(1));
    assert_eq!(system.message(receiver).label, 4);
}

#[test]
fn a_signal_without_capabilities_ends_its_waits_as_dead() {
    let mut system = System::of(2);
    let thread = system.first(1);
    let (waiter, _) = system.spawn(thread);
    let signal = system.value(thread, Number::SignalCreate, &[]);
    system.invoke(waiter, Number::SignalWait, &[signal, 1, 100]);
    system.value(thread, Number::CapabilityDrop, &[signal]);
    assert_eq!(system.end(waiter), End::Error(Error::Dead));
}
