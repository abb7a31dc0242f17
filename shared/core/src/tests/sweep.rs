//! What is idle is buried after its revocation, in steps, and nobody can tell when.

use super::plan;
use super::system::{End, System, carrying};
use crate::revoke::SWEEP_LOOKS;
use crate::{DomainIndex, ThreadIndex};
use phi_abi::{Error, FOREVER, Grant, Handle, Kind, Number, Rights};
use phi_cap::State;
use std::vec::Vec;

/// Copies that a thread derives, more than one step looks at.
const COPIES: u64 = 3 * SWEEP_LOOKS as u64;

/// Three services with room for many capabilities.
fn roomy() -> System {
    let mut plan = plan::plan(3);
    for service in &mut plan.services {
        service.quota.handles = 256;
    }
    System::start(&plan)
}

/// Derives many revocable copies of `handle`.
fn derive_many(system: &mut System, thread: ThreadIndex, handle: u64) -> Vec<u64> {
    let rights = system.inspect(thread, handle).kind.rights();
    (0..COPIES).map(|_| system.derive(thread, handle, rights, true)).collect()
}

/// Makes a signal of `owner`'s with many copies, and has `other`, of domain 2, derive from one that it is
/// given: all lineages that it may have, each below a copy of its own. The signal, and how many those are.
fn with_all_lineages(system: &mut System, owner: ThreadIndex, other: ThreadIndex) -> (u64, u32) {
    let signal = system.value(owner, Number::SignalCreate, &[]);
    derive_many(system, owner, signal);
    let child = system.derive(owner, signal, Kind::Signal.rights(), true);
    let grants = [Grant::transfer(Handle(child), Kind::Signal.rights())];
    let at_other = system.pass(owner, other, &grants)[0].handle.0;
    let quota = system.kernel.account(DomainIndex(2)).quota.lineages;
    for _ in 0..quota {
        let copy = system.derive(other, at_other, Kind::Signal.rights(), false);
        system.derive(other, copy, Rights::NOTIFY, true);
    }
    (signal, quota)
}

/// Capabilities of domain 1 that are no longer valid, and not buried yet.
fn unburied(system: &System) -> usize {
    let capabilities = &system.kernel.capabilities;
    let listed = (0..system.kernel.anchors.shared() as u32).flat_map(|anchor| {
        let first = capabilities.first_of(anchor);
        std::iter::successors(first, |entry| capabilities.after(*entry))
    });
    listed.filter(|entry| capabilities.standing(*entry) == State::Revoked).count()
}

#[test]
fn revoking_buries_nothing_that_is_idle_and_each_later_call_a_few() {
    let mut system = roomy();
    let thread = system.first(1);
    let signal = system.value(thread, Number::SignalCreate, &[]);
    let copies = derive_many(&mut system, thread, signal);
    system.value(thread, Number::CapabilityRevoke, &[signal]);
    assert_eq!(unburied(&system), COPIES as usize);
    let states: Vec<State> = system
        .kernel
        .holdings_of(DomainIndex(1))
        .filter(|holding| copies.contains(&holding.handle.0))
        .map(|holding| holding.state)
        .collect();
    assert_eq!(states, [State::Revoked; COPIES as usize]);
    let mut left = unburied(&system);
    while left > 0 {
        assert_eq!(system.error(thread, Number::SignalNotify, &[copies[0], 1]), Error::Revoked);
        let now = unburied(&system);
        assert!(now < left && left - now <= SWEEP_LOOKS as usize, "{left} and then {now}");
        left = now;
    }
    system.value(thread, Number::ClockRead, &[]);
    assert!(system.kernel.capabilities.is_swept());
}

#[test]
fn a_sweep_goes_on_where_what_it_would_look_at_next_is_dropped() {
    let mut system = roomy();
    let thread = system.first(1);
    let (signal, other) = (
        system.value(thread, Number::SignalCreate, &[]),
        system.value(thread, Number::SignalCreate, &[]),
    );
    let copies = derive_many(&mut system, thread, signal);
    let others = derive_many(&mut system, thread, other);
    system.value(thread, Number::CapabilityRevoke, &[signal]);
    system.value(thread, Number::CapabilityRevoke, &[other]);
    // The second of them came while the first was swept, and so did a third.
    let last = system.derive(thread, signal, Rights::NOTIFY, true);
    system.value(thread, Number::CapabilityRevoke, &[signal]);
    for handle in copies.iter().chain(&others).rev() {
        system.value(thread, Number::CapabilityDrop, &[*handle]);
    }
    while !system.kernel.capabilities.is_swept() {
        system.value(thread, Number::ClockRead, &[]);
    }
    assert_eq!(unburied(&system), 0);
    assert_eq!(system.error(thread, Number::SignalNotify, &[last, 1]), Error::Revoked);
}

#[test]
fn what_was_revoked_keeps_no_object_and_wakes_who_waits_for_it() {
    let mut system = roomy();
    let owner = system.first(1);
    let signal = system.value(owner, Number::SignalCreate, &[]);
    let copies = derive_many(&mut system, owner, signal);
    let (waiter, _) = system.spawn(owner);
    system.invoke(waiter, Number::SignalWait, &[signal, 1, FOREVER]);
    system.value(owner, Number::CapabilityRevoke, &[signal]);
    system.value(owner, Number::CapabilityDrop, &[signal]);
    assert_eq!(system.end(waiter), End::Error(Error::Dead));
    // What was revoked first is not dead.
    let notify = [copies[COPIES as usize - 1], 1];
    assert_eq!(system.error(owner, Number::SignalNotify, &notify), Error::Revoked);
}

#[test]
fn what_was_revoked_before_its_object_ended_stays_revoked() {
    let mut system = roomy();
    let (owner, other) = (system.first(1), system.first(2));
    let signal = system.value(owner, Number::SignalCreate, &[]);
    derive_many(&mut system, owner, signal);
    let child = system.derive(owner, signal, Kind::Signal.rights(), true);
    let grants = [Grant::transfer(Handle(child), Rights::NOTIFY)];
    let revoked = system.pass(owner, other, &grants)[0].handle.0;
    let grants = [Grant::copy(Handle(signal), Rights::NOTIFY)];
    let dead = system.pass(owner, other, &grants)[0].handle.0;
    system.value(owner, Number::CapabilityRevoke, &[signal]);
    system.stop_service(1);
    assert_eq!(system.error(other, Number::SignalNotify, &[revoked, 1]), Error::Revoked);
    assert_eq!(system.error(other, Number::SignalNotify, &[dead, 1]), Error::Dead);
}

#[test]
fn a_quota_of_lineages_is_free_as_soon_as_they_are_revoked() {
    let mut system = roomy();
    let (owner, other) = (system.first(1), system.first(2));
    let (signal, quota) = with_all_lineages(&mut system, owner, other);
    let own = system.value(other, Number::SignalCreate, &[]);
    let words = [own, u64::from(Rights::NOTIFY.bits()), 1];
    assert_eq!(system.error(other, Number::CapabilityDerive, &words), Error::QuotaExceeded);
    system.value(owner, Number::CapabilityRevoke, &[signal]);
    assert_eq!(system.kernel.lineages_of(DomainIndex(2)), 0);
    assert_eq!(system.kernel.capabilities.lineages().used(2), quota);
    system.value(other, Number::CapabilityDerive, &words);
    assert_eq!(system.kernel.lineages_of(DomainIndex(2)), 1);
}

#[test]
fn loans_have_the_quota_of_what_was_revoked() {
    let mut system = roomy();
    let (owner, other) = (system.first(1), system.first(2));
    let (signal, _) = with_all_lineages(&mut system, owner, other);
    let region = system.value(other, Number::RegionCreate, &[phi_abi::layout::PAGE]);
    let address = system.inspect(other, region).address;
    let (to, serve) = (system.handle(2, "to-1"), system.handle(1, "serve"));
    system.value(owner, Number::CapabilityRevoke, &[signal]);
    let loan = carrying(&[Grant::loan(Handle(region), Rights::READ, address, 1)]);
    system.invoke_with(other, Number::Call, &[to, FOREVER], loan);
    system.value(owner, Number::Receive, &[serve, 0]);
    assert!(!system.message(owner).grants()[0].handle.is_null());
}

#[test]
fn who_may_receive_no_longer_is_no_receiver() {
    let mut system = roomy();
    let (owner, other) = (system.first(1), system.first(2));
    let mailbox = system.value(owner, Number::MailboxCreate, &[2]);
    let index = system.capability(owner, mailbox).object;
    let child = system.derive(owner, mailbox, Kind::Mailbox.rights(), true);
    let grants = [Grant::transfer(Handle(child), Kind::Mailbox.rights())];
    system.pass(owner, other, &grants);
    assert_eq!(system.kernel.sole_receiver(index), None);
    system.value(owner, Number::CapabilityRevoke, &[mailbox]);
    assert_eq!(system.kernel.sole_receiver(index), Some(DomainIndex(1)));
}
