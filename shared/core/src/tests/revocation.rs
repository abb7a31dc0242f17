//! Revocation: after it returns, no use succeeds, whatever was going on.

use super::system::{End, System, carrying};
use crate::ThreadIndex;
use phi_abi::layout::PAGE;
use phi_abi::{Error, FOREVER, FaultKind, Grant, Handle, Kind, Message, Number, Rights};

/// Domain 1 makes a mailbox and hands a revocable capability with all rights to domain 2: the
/// mailbox, and the handle that domain 2 has.
fn shared_mailbox(system: &mut System) -> (u64, u64) {
    let (owner, other) = (system.first(1), system.first(2));
    let mailbox = system.value(owner, Number::MailboxCreate, &[2]);
    let at_other = hand_over(system, owner, other, mailbox);
    (mailbox, at_other)
}

/// Gives a revocable copy of `handle` with all rights to another domain: the handle there.
fn hand_over(system: &mut System, from: ThreadIndex, to: ThreadIndex, handle: u64) -> u64 {
    let rights = system.inspect(from, handle).kind.rights();
    let child = system.derive(from, handle, rights, true);
    let grant = Grant::transfer(Handle(child), rights);
    system.pass(from, to, &[grant])[0].handle.0
}

#[test]
fn an_idle_capability_leaves_a_tombstone() {
    let mut system = System::of(3);
    let (owner, other) = (system.first(1), system.first(2));
    let (mailbox, at_other) = shared_mailbox(&mut system);
    system.value(owner, Number::CapabilityRevoke, &[mailbox]);
    let send = u64::from(Rights::SEND.bits());
    let calls: [(Number, [u64; 3]); 7] = [
        (Number::Send, [at_other, 0, 0]),
        (Number::Call, [at_other, 0, 0]),
        (Number::Receive, [at_other, 0, 0]),
        (Number::CapabilityDerive, [at_other, send, 0]),
        (Number::CapabilityDerive, [at_other, send, 1]),
        (Number::CapabilityRevoke, [at_other, 0, 0]),
        (Number::ObjectMint, [at_other, 1, send]),
    ];
    for (number, words) in calls {
        assert_eq!(system.error(other, number, &words), Error::Revoked, "{number:?}");
    }
    // The source stands, may revoke again, and may hand out anew.
    system.value(owner, Number::CapabilityRevoke, &[mailbox]);
    system.value(owner, Number::Send, &[mailbox]);
    let again = hand_over(&mut system, owner, other, mailbox);
    system.value(other, Number::Send, &[again]);
    assert_eq!(system.error(other, Number::Send, &[at_other]), Error::Revoked);
    system.value(other, Number::CapabilityDrop, &[at_other]);
    let fault = (FaultKind::BadHandle, at_other);
    system.faults(other, Number::CapabilityDrop, &[at_other], Message::EMPTY, fault);
}

#[test]
fn revoking_needs_the_right_to_derive() {
    let mut system = System::of(2);
    let (thread, log) = (system.first(1), system.handle(1, "log"));
    let mute = system.derive(thread, log, Rights::WRITE, false);
    assert_eq!(system.error(thread, Number::CapabilityRevoke, &[mute]), Error::Denied);
    assert_eq!(system.value(thread, Number::CapabilityRevoke, &[log]), 0);
}

#[test]
fn everything_below_goes_and_everything_beside_stays() {
    let mut system = System::of(3);
    let (owner, other) = (system.first(1), system.first(2));
    let signal = system.value(owner, Number::SignalCreate, &[]);
    let beside = system.derive(owner, signal, Kind::Signal.rights(), false);
    let at_other = hand_over(&mut system, owner, other, signal);
    let deeper = system.derive(other, at_other, Kind::Signal.rights(), true);
    let copy = system.derive(other, deeper, Rights::NOTIFY, false);
    assert_eq!(system.kernel.capabilities.lineages_used(2), 1);
    system.value(other, Number::SignalNotify, &[copy, 1]);
    system.value(owner, Number::CapabilityRevoke, &[signal]);
    for handle in [at_other, deeper, copy] {
        assert_eq!(system.error(other, Number::SignalNotify, &[handle, 1]), Error::Revoked);
    }
    assert_eq!(system.kernel.capabilities.lineages_used(2), 0);
    system.value(owner, Number::SignalNotify, &[beside, 1]);
    system.value(owner, Number::SignalNotify, &[signal, 1]);
}

#[test]
fn the_copy_that_is_not_revocable_shares_its_sources_fate_only() {
    let mut system = System::of(2);
    let thread = system.first(1);
    let signal = system.value(thread, Number::SignalCreate, &[]);
    let copy = system.derive(thread, signal, Kind::Signal.rights(), false);
    let below_copy = system.derive(thread, copy, Rights::NOTIFY, true);
    let below = system.derive(thread, signal, Rights::NOTIFY, true);
    system.value(thread, Number::CapabilityRevoke, &[signal]);
    assert_eq!(system.error(thread, Number::SignalNotify, &[below, 1]), Error::Revoked);
    system.value(thread, Number::SignalNotify, &[below_copy, 1]);
    system.value(thread, Number::CapabilityRevoke, &[copy]);
    assert_eq!(system.error(thread, Number::SignalNotify, &[below_copy, 1]), Error::Revoked);
}

#[test]
fn a_queued_call_and_a_served_one_end_as_revoked() {
    for served in [false, true] {
        let mut system = System::of(3);
        let (owner, other) = (system.first(1), system.first(2));
        let (mailbox, at_other) = shared_mailbox(&mut system);
        system.invoke(other, Number::Call, &[at_other, 1000]);
        if served {
            system.value(owner, Number::Receive, &[mailbox, 0]);
        }
        system.value(owner, Number::CapabilityRevoke, &[mailbox]);
        assert_eq!(system.end(other), End::Error(Error::Revoked));
        assert_eq!(system.kernel.next_deadline(), None);
        if !served {
            assert_eq!(system.error(owner, Number::Receive, &[mailbox, 0]), Error::TimedOut);
        }
    }
}

#[test]
fn a_served_call_with_loans_ends_with_its_loans() {
    let mut system = System::of(3);
    let (owner, other) = (system.first(1), system.first(2));
    let (mailbox, at_other) = shared_mailbox(&mut system);
    let region = system.value(other, Number::RegionCreate, &[PAGE]);
    let address = system.inspect(other, region).address;
    let index = system.capability(other, region).object;
    let loan = carrying(&[Grant::loan(Handle(region), Rights::READ, address, 1)]);
    system.invoke_with(other, Number::Call, &[at_other, FOREVER], loan);
    system.value(owner, Number::Receive, &[mailbox, 0]);
    let got = system.message(owner);
    assert_eq!(system.kernel.machine().access(1, index, address), Rights::READ);
    system.value(owner, Number::CapabilityRevoke, &[mailbox]);
    assert_eq!(system.end(other), End::Error(Error::Revoked));
    assert_eq!(system.kernel.machine().access(1, index, address), Rights::empty());
    assert_eq!(system.kernel.capabilities.lineages_used(2), 0);
    assert_eq!(system.error(owner, Number::Reply, &[got.reply.0]), Error::Dead);
}

#[test]
fn a_receive_ends_as_revoked() {
    let mut system = System::of(3);
    let (owner, other) = (system.first(1), system.first(2));
    let (mailbox, at_other) = shared_mailbox(&mut system);
    system.invoke(other, Number::Receive, &[at_other, 1000]);
    system.value(owner, Number::CapabilityRevoke, &[mailbox]);
    assert_eq!(system.end(other), End::Error(Error::Revoked));
    // What is sent now is there for whoever may still receive.
    system.value(owner, Number::Send, &[mailbox]);
    system.value(owner, Number::Receive, &[mailbox, 0]);
}

#[test]
fn a_wait_for_a_signal_ends_as_revoked() {
    let mut system = System::of(3);
    let (owner, other) = (system.first(1), system.first(2));
    let signal = system.value(owner, Number::SignalCreate, &[]);
    let at_other = hand_over(&mut system, owner, other, signal);
    system.invoke(other, Number::SignalWait, &[at_other, 1, 1000]);
    system.value(owner, Number::CapabilityRevoke, &[signal]);
    assert_eq!(system.end(other), End::Error(Error::Revoked));
    system.value(owner, Number::SignalNotify, &[signal, 1]);
    assert_eq!(system.value(owner, Number::SignalWait, &[signal, 1, 0]), 1);
}

#[test]
fn a_binding_ends_with_either_of_its_capabilities() {
    for revoke_signal in [false, true] {
        let mut system = System::of(3);
        let (owner, other) = (system.first(1), system.first(2));
        let (mailbox, mailbox_there) = shared_mailbox(&mut system);
        let signal = system.value(owner, Number::SignalCreate, &[]);
        let signal_there = hand_over(&mut system, owner, other, signal);
        system.value(other, Number::SignalBind, &[signal_there, mailbox_there]);
        assert_eq!(system.error(owner, Number::SignalBind, &[signal, mailbox]), Error::Busy);
        let source = if revoke_signal { signal } else { mailbox };
        system.value(owner, Number::CapabilityRevoke, &[source]);
        system.value(owner, Number::SignalNotify, &[signal, 2]);
        assert_eq!(system.error(owner, Number::Receive, &[mailbox, 0]), Error::TimedOut);
        system.value(owner, Number::SignalBind, &[signal, mailbox]);
        assert_eq!(system.value(owner, Number::Receive, &[mailbox, 0]), 1);
    }
}

#[test]
fn mapped_pages_are_gone_when_revocation_returns() {
    let mut system = System::of(4);
    let (owner, other, third) = (system.first(1), system.first(2), system.first(3));
    let region = system.value(owner, Number::RegionCreate, &[2 * PAGE]);
    let index = system.capability(owner, region).object;
    let at = system.value(owner, Number::RegionMap, &[region, 4]);
    let at_other = hand_over(&mut system, owner, other, region);
    system.value(other, Number::RegionMap, &[at_other, 12]);
    let at_third = hand_over(&mut system, other, third, at_other);
    system.value(third, Number::RegionMap, &[at_third, 4]);
    let access = |system: &System| {
        [1, 2, 3].map(|domain| system.kernel.machine().access(domain, index, at + PAGE).bits())
    };
    assert_eq!(access(&system), [4, 12, 4]);
    system.value(owner, Number::CapabilityRevoke, &[region]);
    assert_eq!(access(&system), [4, 0, 0]);
    let mapped = system.error(other, Number::RegionMap, &[at_other, 4]);
    assert_eq!(mapped, Error::Revoked);
    assert_eq!(system.error(other, Number::RegionUnmap, &[at_other]), Error::Revoked);
}

#[test]
fn one_mapping_goes_and_what_another_capability_maps_stays() {
    let mut system = System::of(3);
    let (owner, other) = (system.first(1), system.first(2));
    let region = system.value(owner, Number::RegionCreate, &[PAGE]);
    let index = system.capability(owner, region).object;
    let copy = Grant::copy(Handle(region), Rights::READ);
    let reader = system.pass(owner, other, &[copy])[0].handle.0;
    let at = system.value(other, Number::RegionMap, &[reader, 4]);
    let writer = hand_over(&mut system, owner, other, region);
    system.value(other, Number::RegionMap, &[writer, 12]);
    system.value(owner, Number::CapabilityRevoke, &[region]);
    assert_eq!(system.kernel.machine().access(2, index, at), Rights::READ);
}

#[test]
fn what_travels_in_a_stored_message_does_not_arrive() {
    let mut system = System::of(3);
    let (owner, other) = (system.first(1), system.first(2));
    let signal = system.value(owner, Number::SignalCreate, &[]);
    let child = system.derive(owner, signal, Kind::Signal.rights(), true);
    let grants =
        [Grant::transfer(Handle(child), Rights::NOTIFY), Grant::copy(Handle(signal), Rights::WAIT)];
    let (to, serve) = (system.handle(1, "to-2"), system.handle(2, "serve"));
    system.invoke_with(owner, Number::Send, &[to], carrying(&grants));
    system.value(owner, Number::CapabilityRevoke, &[signal]);
    system.value(other, Number::Receive, &[serve, 0]);
    let got = system.message(other);
    assert!(got.grants()[0].handle.is_null() && !got.grants()[1].handle.is_null());
}

#[test]
fn what_was_minted_goes_with_the_mailbox() {
    let mut system = System::of(3);
    let (owner, other) = (system.first(1), system.first(2));
    let (mailbox, at_other) = shared_mailbox(&mut system);
    let words = [at_other, 5, u64::from((Rights::CALL | Rights::SEND).bits())];
    let object = system.value(other, Number::ObjectMint, &words);
    system.value(other, Number::Send, &[object]);
    let (caller, _) = system.spawn(other);
    system.invoke(caller, Number::Call, &[object, FOREVER]);
    system.value(owner, Number::CapabilityRevoke, &[mailbox]);
    assert_eq!(system.end(caller), End::Error(Error::Revoked));
    assert_eq!(system.error(other, Number::Send, &[object]), Error::Revoked);
}

#[test]
fn a_domain_that_ends_does_not_revoke_what_it_derived() {
    let mut system = System::of(3);
    let (init, first, second) = (system.first(0), system.first(1), system.first(2));
    let to = system.handle(0, "to-2");
    let rights = Rights::DERIVE | Rights::TRANSFER | Rights::SEND | Rights::CALL;
    let child = system.derive(init, to, rights, true);
    let grant = Grant::transfer(Handle(child), rights);
    let at_first = system.pass(init, first, &[grant])[0].handle.0;
    let deeper = system.derive(first, at_first, rights, true);
    let grant = Grant::transfer(Handle(deeper), rights);
    let at_second = system.pass(first, second, &[grant])[0].handle.0;
    assert_eq!(system.inspect(second, at_second).depth, 2);
    system.stop_service(1);
    assert_eq!(system.inspect(second, at_second).depth, 1);
    system.value(second, Number::Send, &[at_second]);
    system.value(init, Number::CapabilityRevoke, &[to]);
    assert_eq!(system.error(second, Number::Send, &[at_second]), Error::Revoked);
}

#[test]
fn waits_follow_a_lineage_that_is_dissolved() {
    let mut system = System::of(3);
    let (owner, other) = (system.first(1), system.first(2));
    let (mailbox, at_other) = shared_mailbox(&mut system);
    let deeper = system.derive(other, at_other, Kind::Mailbox.rights(), true);
    let (waiter, _) = system.spawn(other);
    system.invoke(waiter, Number::Receive, &[deeper, FOREVER]);
    // The wait came through `deeper`; now it comes from where `at_other` does.
    system.value(other, Number::CapabilityDrop, &[at_other]);
    assert_eq!(system.end(waiter), End::Blocked);
    system.value(owner, Number::CapabilityRevoke, &[mailbox]);
    assert_eq!(system.end(waiter), End::Error(Error::Revoked));
}

#[test]
fn bindings_follow_a_lineage_that_is_dissolved() {
    let mut system = System::of(3);
    let (owner, other) = (system.first(1), system.first(2));
    let (mailbox, at_other) = shared_mailbox(&mut system);
    let deeper = system.derive(other, at_other, Kind::Mailbox.rights(), true);
    let signal = system.value(other, Number::SignalCreate, &[]);
    system.value(other, Number::SignalBind, &[signal, deeper]);
    system.value(other, Number::CapabilityDrop, &[at_other]);
    system.value(other, Number::SignalNotify, &[signal, 1]);
    assert_eq!(system.value(owner, Number::Receive, &[mailbox, 0]), 1);
    system.value(owner, Number::CapabilityRevoke, &[mailbox]);
    system.value(other, Number::SignalNotify, &[signal, 1]);
    assert_eq!(system.error(owner, Number::Receive, &[mailbox, 0]), Error::TimedOut);
}

#[test]
fn domains_threads_and_consoles_are_revoked_like_everything_else() {
    let mut system = System::of(3);
    let (init, other) = (system.first(0), system.first(1));
    let domain = system.handle(0, "domain-2");
    let at_other = hand_over(&mut system, init, other, domain);
    system.value(other, Number::DomainInspect, &[at_other, 0]);
    let log = system.handle(0, "log");
    let log_there = hand_over(&mut system, init, other, log);
    let (_, thread) = system.spawn(init);
    let thread_there = hand_over(&mut system, init, other, thread);
    system.value(other, Number::ThreadPriority, &[thread_there, 1]);
    for source in [domain, log, thread] {
        system.value(init, Number::CapabilityRevoke, &[source]);
    }
    assert_eq!(system.error(other, Number::DomainStop, &[at_other]), Error::Revoked);
    assert_eq!(system.error(other, Number::ConsoleWrite, &[log_there]), Error::Revoked);
    let words = [thread_there, 1];
    assert_eq!(system.error(other, Number::ThreadPriority, &words), Error::Revoked);
}
