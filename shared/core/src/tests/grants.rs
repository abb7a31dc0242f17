//! Capabilities in messages: move and copy, rights, room, and what was lost on the way.

use super::plan::plan;
use super::system::{End, System, carrying};
use crate::ThreadIndex;
use phi_abi::layout::PAGE;
use phi_abi::{Error, FOREVER, FaultKind, Grant, Handle, Kind, Message, Mode, Number, Rights};

const READ_WRITE: Rights = Rights::READ.union(Rights::WRITE);
const SHARED: Rights = Rights::DERIVE.union(Rights::TRANSFER);

fn first_two(system: &System) -> (ThreadIndex, ThreadIndex) {
    (system.first(1), system.first(2))
}

/// Fills the table of the domain of `thread`, but for `left` slots.
fn crowd(system: &mut System, thread: ThreadIndex, left: u32) {
    let domain = system.kernel.domain_of(thread).0;
    let log = system.handle(domain, "log");
    while system.kernel.capabilities.free_slots(u32::from(domain)) > left {
        system.derive(thread, log, Rights::WRITE, false);
    }
}

#[test]
fn a_move_takes_and_a_copy_keeps() {
    let mut system = System::of(3);
    let (from, to) = first_two(&system);
    let region = system.value(from, Number::RegionCreate, &[PAGE]);
    let at = system.value(from, Number::RegionMap, &[region, 4]);
    let before = system.inspect(from, region);
    let copy = Grant::copy(Handle(region), READ_WRITE | SHARED);
    let copied = system.pass(from, to, &[copy])[0];
    assert_eq!((copied.address, copied.length, copied.mode), (at, PAGE, Mode::Copy as u32));
    assert_eq!(copied.rights, (READ_WRITE | SHARED).bits());
    assert_ne!(system.inspect(to, copied.handle.0).id, before.id);
    let moved = system.pass(from, to, &[Grant::transfer(Handle(region), Rights::READ)])[0];
    let after = system.inspect(to, moved.handle.0);
    assert_eq!((after.id, after.rights), (before.id, Rights::READ));
    // What moves is unmapped at the sender, whose handle is gone.
    let index = system.capability(to, moved.handle.0).object;
    assert_eq!(system.kernel.machine().access(1, index, at), Rights::empty());
    let fault = (FaultKind::BadHandle, region);
    system.faults(from, Number::RegionUnmap, &[region], Message::EMPTY, fault);
}

#[test]
fn a_grant_passes_no_right_that_its_sender_lacks() {
    let mut system = System::of(3);
    let (from, _) = first_two(&system);
    let to = system.handle(1, "to-2");
    let region = system.value(from, Number::RegionCreate, &[PAGE]);
    let keep = system.derive(from, region, READ_WRITE | Rights::DERIVE, false);
    let moveable = system.derive(from, region, Rights::READ | Rights::TRANSFER, false);
    let cases = [
        Grant::transfer(Handle(keep), Rights::READ),
        Grant::copy(Handle(keep), Rights::READ),
        Grant::copy(Handle(moveable), Rights::READ),
        Grant::transfer(Handle(moveable), READ_WRITE),
        Grant::transfer(Handle(moveable), Rights::READ | Rights::DERIVE),
        Grant::loan(Handle(keep), Rights::READ, 0, 1),
    ];
    for grant in cases {
        let sent = system.invoke_with(from, Number::Call, &[to, 0], carrying(&[grant]));
        assert_eq!(sent, End::Error(Error::Denied), "{grant:?}");
    }
    let grant = Grant::transfer(Handle(moveable), Rights::READ | Rights::TRANSFER);
    let sent = system.invoke_with(from, Number::Send, &[to], carrying(&[grant]));
    assert_eq!(sent, End::Value(0));
}

#[test]
fn grants_that_are_never_right_are_faults() {
    let signal_right = Grant::copy(Handle(0), Rights::NOTIFY);
    let unknown_right = Grant { rights: 1 << 15, ..Grant::copy(Handle(0), Rights::empty()) };
    let no_mode = Grant { mode: 0, ..Grant::copy(Handle(0), Rights::READ) };
    let fourth_mode = Grant { mode: 4, ..Grant::copy(Handle(0), Rights::READ) };
    let blind = Grant::loan(Handle(0), Rights::WRITE, 0, 1);
    let cases = [
        (signal_right, u64::from(Rights::NOTIFY.bits())),
        (unknown_right, 1 << 15),
        (no_mode, 0),
        (fourth_mode, 4),
        (blind, u64::from(Rights::WRITE.bits())),
    ];
    for (grant, argument) in cases {
        let mut system = System::of(3);
        let from = system.first(1);
        let region = system.value(from, Number::RegionCreate, &[PAGE]);
        let grant = Grant { handle: Handle(region), ..grant };
        let words = [system.handle(1, "to-2"), FOREVER];
        let fault = (FaultKind::BadArgument, argument);
        system.faults(from, Number::Call, &words, carrying(&[grant]), fault);
    }
}

#[test]
fn a_forged_grant_is_a_fault_and_nothing_was_sent() {
    for number in [Number::Send, Number::Call, Number::Reply] {
        for forged in [Handle(0), Handle(77), Handle(u64::MAX)] {
            let mut system = System::of(3);
            let (from, to) = first_two(&system);
            let mut words = [system.handle(1, "to-2"), FOREVER];
            let serve = system.handle(2, "serve");
            if number == Number::Reply {
                let back = system.handle(2, "to-1");
                system.invoke(to, Number::Call, &[back, FOREVER]);
                let own = system.handle(1, "serve");
                system.value(from, Number::Receive, &[own, 0]);
                words[0] = system.message(from).reply.0;
            }
            let log = Grant::copy(Handle(system.handle(1, "log")), Rights::WRITE);
            let forged = Grant::copy(forged, Rights::empty());
            let fault = (FaultKind::BadHandle, forged.handle.0);
            system.faults(from, number, &words, carrying(&[log, forged]), fault);
            if number == Number::Reply {
                assert_eq!(system.end(to), End::Error(Error::Dead));
            } else {
                assert_eq!(system.error(to, Number::Receive, &[serve, 0]), Error::TimedOut);
            }
        }
    }
}

#[test]
fn what_moves_is_in_a_message_once() {
    for modes in [(Mode::Move, Mode::Move), (Mode::Move, Mode::Copy), (Mode::Copy, Mode::Move)] {
        let mut system = System::of(3);
        let from = system.first(1);
        let signal = Handle(system.value(from, Number::SignalCreate, &[]));
        let grant = |mode: Mode| Grant { mode: mode as u32, ..Grant::copy(signal, Rights::NOTIFY) };
        let both = carrying(&[grant(modes.0), grant(modes.1)]);
        let words = [system.handle(1, "to-2")];
        system.faults(from, Number::Send, &words, both, (FaultKind::BadArgument, signal.0));
    }
    let mut system = System::of(3);
    let (from, to) = first_two(&system);
    let signal = Handle(system.value(from, Number::SignalCreate, &[]));
    let copies = [Grant::copy(signal, Rights::NOTIFY), Grant::copy(signal, Rights::WAIT)];
    let got = system.pass(from, to, &copies);
    assert_ne!(got[0].handle, got[1].handle);
}

#[test]
fn a_reply_cannot_carry_itself_nor_loans() {
    for loan in [false, true] {
        let mut system = System::of(3);
        let (client, server) = first_two(&system);
        let (to, serve) = (system.handle(1, "to-2"), system.handle(2, "serve"));
        system.invoke(client, Number::Call, &[to, FOREVER]);
        system.value(server, Number::Receive, &[serve, 0]);
        let reply = system.message(server).reply;
        let region = Handle(system.value(server, Number::RegionCreate, &[PAGE]));
        let (grant, argument) = if loan {
            (Grant::loan(region, Rights::READ, 0, 1), Mode::Loan as u64)
        } else {
            (Grant::transfer(reply, Rights::TRANSFER), reply.0)
        };
        let fault = (FaultKind::BadArgument, argument);
        system.faults(server, Number::Reply, &[reply.0], carrying(&[grant]), fault);
        assert_eq!(system.end(client), End::Error(Error::Dead));
    }
}

#[test]
fn a_send_carries_no_loan() {
    let mut system = System::of(3);
    let from = system.first(1);
    let region = Handle(system.value(from, Number::RegionCreate, &[PAGE]));
    let loan = carrying(&[Grant::loan(region, Rights::READ, 0, 1)]);
    let words = [system.handle(1, "to-2")];
    system.faults(from, Number::Send, &words, loan, (FaultKind::BadArgument, Mode::Loan as u64));
}

#[test]
fn a_stored_message_carries_what_moved_and_what_was_copied() {
    let mut system = System::of(3);
    let (from, to) = first_two(&system);
    let signal = Handle(system.value(from, Number::SignalCreate, &[]));
    let region = Handle(system.value(from, Number::RegionCreate, &[PAGE]));
    let grants = [Grant::transfer(signal, Rights::NOTIFY), Grant::copy(region, Rights::READ)];
    let mailbox = system.handle(1, "to-2");
    system.invoke_with(from, Number::Send, &[mailbox], carrying(&grants));
    // The sender's last capability to the region goes, and the one in the message keeps it.
    system.value(from, Number::CapabilityDrop, &[region.0]);
    let serve = system.handle(2, "serve");
    system.value(to, Number::Receive, &[serve, 0]);
    let got = system.message(to);
    assert_eq!((got.grants()[0].rights, got.grants()[1].rights), (128, 4));
    system.value(to, Number::SignalNotify, &[got.grants()[0].handle.0, 1]);
    assert_eq!(system.inspect(to, got.grants()[1].handle.0).length, PAGE);
}

#[test]
fn a_queued_call_passes_what_is_still_there_when_it_arrives() {
    let mut system = System::of(3);
    let (from, to) = first_two(&system);
    let (helper, _) = system.spawn(from);
    let kept = Handle(system.value(from, Number::SignalCreate, &[]));
    let dropped = Handle(system.value(from, Number::SignalCreate, &[]));
    let source = system.value(from, Number::SignalCreate, &[]);
    let revoked = Handle(system.derive(from, source, Kind::Signal.rights(), true));
    let grants = [
        Grant::transfer(dropped, Rights::NOTIFY),
        Grant::transfer(kept, Rights::NOTIFY),
        Grant::copy(revoked, Rights::NOTIFY),
    ];
    let mailbox = system.handle(1, "to-2");
    system.invoke_with(helper, Number::Call, &[mailbox, FOREVER], carrying(&grants));
    system.value(from, Number::CapabilityDrop, &[dropped.0]);
    system.value(from, Number::CapabilityRevoke, &[source]);
    let serve = system.handle(2, "serve");
    system.value(to, Number::Receive, &[serve, 0]);
    let got = system.message(to);
    let handles: std::vec::Vec<bool> =
        got.grants().iter().map(|grant| grant.handle.is_null()).collect();
    assert_eq!(handles, [true, false, true]);
    assert_eq!((got.grants()[0].rights, got.grants()[2].rights), (0, 0));
}

#[test]
fn two_queued_calls_that_move_the_same_capability_pass_it_once() {
    let mut system = System::of(3);
    let (from, to) = first_two(&system);
    let (helper, _) = system.spawn(from);
    let signal = Handle(system.value(from, Number::SignalCreate, &[]));
    let grant = carrying(&[Grant::transfer(signal, Rights::NOTIFY)]);
    let mailbox = system.handle(1, "to-2");
    system.invoke_with(helper, Number::Call, &[mailbox, FOREVER], grant);
    system.invoke_with(from, Number::Call, &[mailbox, FOREVER], grant);
    let serve = system.handle(2, "serve");
    for arrives in [true, false] {
        system.value(to, Number::Receive, &[serve, 0]);
        assert_eq!(!system.message(to).grants()[0].handle.is_null(), arrives);
    }
}

#[test]
fn a_receiver_without_room_learns_so_and_the_message_waits() {
    for number in [Number::Send, Number::Call] {
        let mut system = System::of(3);
        let (from, to) = first_two(&system);
        let signal = Handle(system.value(from, Number::SignalCreate, &[]));
        let grants =
            carrying(&[Grant::copy(signal, Rights::NOTIFY), Grant::copy(signal, Rights::WAIT)]);
        let needed = if number == Number::Call { 3 } else { 2 };
        crowd(&mut system, to, needed - 1);
        let (mailbox, serve) = (system.handle(1, "to-2"), system.handle(2, "serve"));
        let (helper, _) = system.spawn(from);
        // It waits already, and is told as the message comes.
        assert_eq!(system.invoke(to, Number::Receive, &[serve, FOREVER]), End::Blocked);
        system.invoke_with(helper, number, &[mailbox, FOREVER], grants);
        assert_eq!(system.end(to), End::Error(Error::QuotaExceeded));
        // And it is told when it asks.
        let again = system.error(to, Number::Receive, &[serve, FOREVER]);
        assert_eq!(again, Error::QuotaExceeded);
        let log = system.handle(2, "log");
        system.value(to, Number::CapabilityDrop, &[log]);
        system.value(to, Number::Receive, &[serve, FOREVER]);
        let got = system.message(to);
        assert!(got.grants().iter().all(|grant| !grant.handle.is_null()));
        assert_eq!(system.kernel.capabilities.free_slots(2), 0);
        assert_eq!(got.reply.is_null(), number == Number::Send);
    }
}

#[test]
fn a_call_without_capabilities_needs_a_slot_for_its_reply() {
    let mut system = System::of(3);
    let (from, to) = first_two(&system);
    crowd(&mut system, to, 0);
    let (mailbox, serve) = (system.handle(1, "to-2"), system.handle(2, "serve"));
    system.value(from, Number::Send, &[mailbox]);
    system.value(to, Number::Receive, &[serve, 0]);
    system.invoke(from, Number::Call, &[mailbox, FOREVER]);
    assert_eq!(system.error(to, Number::Receive, &[serve, 0]), Error::QuotaExceeded);
}

#[test]
fn a_caller_without_room_gets_its_answer_and_null_handles() {
    let mut system = System::of(3);
    let (client, server) = first_two(&system);
    crowd(&mut system, client, 1);
    let (mailbox, serve) = (system.handle(1, "to-2"), system.handle(2, "serve"));
    system.invoke(client, Number::Call, &[mailbox, FOREVER]);
    system.value(server, Number::Receive, &[serve, 0]);
    let reply = system.message(server).reply.0;
    let signal = Handle(system.value(server, Number::SignalCreate, &[]));
    let other = Handle(system.value(server, Number::SignalCreate, &[]));
    let grants = [Grant::transfer(signal, Rights::NOTIFY), Grant::transfer(other, Rights::NOTIFY)];
    let mut answer = carrying(&grants);
    answer.label = 9;
    assert_eq!(system.invoke_with(server, Number::Reply, &[reply], answer), End::Value(0));
    let got = system.message(client);
    assert_eq!((got.label, got.grant_count), (9, 2));
    assert!(!got.grants()[0].handle.is_null() && got.grants()[1].handle.is_null());
    // What did not arrive is still the server's.
    system.value(server, Number::SignalNotify, &[other.0, 1]);
    let fault = (FaultKind::BadHandle, signal.0);
    system.faults(server, Number::SignalNotify, &[signal.0, 1], Message::EMPTY, fault);
}

#[test]
fn a_reply_capability_can_move_and_then_answers_from_there() {
    let mut system = System::of(4);
    let (client, server, third) = (system.first(1), system.first(2), system.first(3));
    let (mailbox, serve) = (system.handle(1, "to-2"), system.handle(2, "serve"));
    system.invoke(client, Number::Call, &[mailbox, FOREVER]);
    system.value(server, Number::Receive, &[serve, 0]);
    let reply = system.message(server).reply;
    let copy = carrying(&[Grant::copy(reply, Rights::TRANSFER)]);
    let on = system.handle(2, "to-3");
    let sent = system.invoke_with(server, Number::Send, &[on], copy);
    assert_eq!(sent, End::Error(Error::Denied), "there is one answer, so there is one reply");
    let moved = system.pass(server, third, &[Grant::transfer(reply, Rights::empty())])[0];
    let answer = super::system::message(4, b"from afar");
    let words = [moved.handle.0];
    assert_eq!(system.invoke_with(third, Number::Reply, &words, answer), End::Value(0));
    assert_eq!(system.message(client).bytes(), b"from afar");
}

#[test]
fn a_reply_capability_in_a_message_that_is_dropped_ends_the_call() {
    let mut system = System::of(4);
    let (client, server) = first_two(&system);
    let (mailbox, serve) = (system.handle(1, "to-2"), system.handle(2, "serve"));
    system.invoke(client, Number::Call, &[mailbox, FOREVER]);
    system.value(server, Number::Receive, &[serve, 0]);
    let reply = system.message(server).reply;
    let on = system.handle(2, "to-3");
    let moved = carrying(&[Grant::transfer(reply, Rights::empty())]);
    system.invoke_with(server, Number::Send, &[on], moved);
    assert_eq!(system.end(client), End::Blocked);
    system.stop_service(3);
    assert_eq!(system.end(client), End::Error(Error::Dead));
}

#[test]
fn a_call_to_oneself_moves_within_one_full_table() {
    let mut plan = plan(2);
    plan.services[1].quota.handles = 8;
    let mut system = System::start(&plan);
    let thread = system.first(1);
    let (helper, _) = system.spawn(thread);
    let signal = Handle(system.value(thread, Number::SignalCreate, &[]));
    crowd(&mut system, thread, 1);
    let serve = system.handle(1, "serve");
    let grant = carrying(&[Grant::transfer(signal, Rights::NOTIFY)]);
    system.invoke_with(thread, Number::Call, &[serve, FOREVER], grant);
    // ΦCore asks for room for both, though the move frees one.
    assert_eq!(system.error(helper, Number::Receive, &[serve, 0]), Error::QuotaExceeded);
    let log = system.handle(1, "log");
    system.value(helper, Number::CapabilityDrop, &[log]);
    system.value(helper, Number::Receive, &[serve, 0]);
    let got = system.message(helper);
    system.value(helper, Number::SignalNotify, &[got.grants()[0].handle.0, 1]);
    system.value(helper, Number::Reply, &[got.reply.0]);
    assert_eq!(system.end(thread), End::Value(0));
}

#[test]
fn a_revoked_capability_cannot_be_granted() {
    let mut system = System::of(3);
    let from = system.first(1);
    let source = system.value(from, Number::SignalCreate, &[]);
    let child = system.derive(from, source, Kind::Signal.rights(), true);
    system.value(from, Number::CapabilityRevoke, &[source]);
    let grant = carrying(&[Grant::transfer(Handle(child), Rights::NOTIFY)]);
    let mailbox = system.handle(1, "to-2");
    let sent = system.invoke_with(from, Number::Send, &[mailbox], grant);
    assert_eq!(sent, End::Error(Error::Revoked));
    // A tombstone stays with its holder.
    system.value(from, Number::CapabilityDrop, &[child]);
}
