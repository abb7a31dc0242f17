//! Threads: start, priority, sleep and end.

use super::plan::{PRIORITY, plan};
use super::system::{End, System};
use crate::{DomainIndex, ThreadIndex};
use phi_abi::layout::{STACK_OFFSET, START_OFFSET, window};
use phi_abi::{DomainState, Error, FOREVER, FaultKind, Message, Number, Rights};

#[test]
fn a_thread_starts_where_it_is_told() {
    let mut system = System::of(2);
    let thread = system.first(1);
    let words = [0x1234, 0x7000, 99, 3];
    let handle = system.value(thread, Number::ThreadCreate, &words);
    let index = system.capability(thread, handle).object;
    let started = system.kernel.machine().threads[&(index as u16)];
    assert_eq!((started.domain, started.entry), (1, 0x1234));
    assert_eq!((started.stack, started.argument), (0x7000, 99));
    assert_eq!(system.kernel.domain_of(ThreadIndex(index as u16)), DomainIndex(1));
    assert_eq!(system.inspect(thread, handle).rights, phi_abi::Kind::Thread.rights());
    // A domain's first thread gets the start block.
    let first = system.kernel.machine().threads[&thread.0];
    assert_eq!(first.stack, window(1) + STACK_OFFSET);
    assert_eq!(first.argument, window(1) + START_OFFSET);
    assert_eq!(first.entry, plan(2).services[1].image.entry);
}

#[test]
fn arguments_that_no_thread_can_have_are_faults() {
    let user_end = 1 << 47;
    let cases = [
        ([user_end, 0x2000, 0, 0], user_end),
        ([0x1000, user_end + 16, 0, 0], user_end + 16),
        ([0x1000, 0x2008, 0, 0], 0x2008),
        ([0x1000, 0x2000, 0, 32], 32),
        ([0x1000, 0x2000, 0, 1 << 32], 1 << 32),
    ];
    for (words, argument) in cases {
        let mut system = System::of(2);
        let fault = (FaultKind::BadArgument, argument);
        let thread = system.first(1);
        system.faults(thread, Number::ThreadCreate, &words, Message::EMPTY, fault);
    }
    let mut system = System::of(2);
    let thread = system.first(1);
    system.value(thread, Number::ThreadCreate, &[user_end - 1, user_end, u64::MAX, 0]);
}

#[test]
fn threads_are_made_within_quota_and_priority() {
    let mut system = System::of(2);
    let thread = system.first(1);
    let above = [0x1000, 0x2000, 0, u64::from(PRIORITY) + 1];
    assert_eq!(system.error(thread, Number::ThreadCreate, &above), Error::Denied);
    let (second, handle) = system.spawn(thread);
    system.spawn(thread);
    system.spawn(thread);
    let words = [0x1000, 0x2000, 0, 0];
    assert_eq!(system.error(thread, Number::ThreadCreate, &words), Error::QuotaExceeded);
    assert_eq!(system.invoke(second, Number::ThreadExit, &[]), End::Gone);
    assert!(!system.kernel.machine().threads.contains_key(&second.0));
    // What is left of its capability says that it is gone.
    assert_eq!(system.error(thread, Number::ThreadPriority, &[handle, 0]), Error::Dead);
    let (again, _) = system.spawn(thread);
    assert_eq!(again, second);
    assert_eq!(system.error(thread, Number::ThreadPriority, &[handle, 0]), Error::Dead);
}

#[test]
fn the_end_of_the_last_thread_is_the_end_of_its_domain() {
    let mut system = System::of(2);
    let thread = system.first(1);
    let (second, _) = system.spawn(thread);
    assert_eq!(system.invoke(thread, Number::ThreadExit, &[]), End::Gone);
    assert_eq!(system.kernel.info(DomainIndex(1)).state, DomainState::Running);
    assert_eq!(system.invoke(second, Number::ThreadExit, &[]), End::Gone);
    assert_eq!(system.kernel.info(DomainIndex(1)).state, DomainState::Exited(0));
    assert!(!system.kernel.machine().spaces.contains_key(&1));
}

#[test]
fn a_thread_that_exits_leaves_the_calls_that_its_domain_serves() {
    let mut system = System::of(3);
    let (client, server) = (system.first(1), system.first(2));
    let (helper, _) = system.spawn(server);
    let (to, serve) = (system.handle(1, "to-2"), system.handle(2, "serve"));
    system.invoke(client, Number::Call, &[to, FOREVER]);
    system.value(server, Number::Receive, &[serve, 0]);
    let reply = system.message(server).reply.0;
    system.invoke(server, Number::ThreadExit, &[]);
    assert_eq!(system.end(client), End::Blocked);
    system.value(helper, Number::Reply, &[reply]);
    assert_eq!(system.end(client), End::Value(0));
}

#[test]
fn a_priority_is_set_up_to_the_domains() {
    let mut system = System::of(2);
    let thread = system.first(1);
    let (other, handle) = system.spawn(thread);
    system.value(thread, Number::ThreadPriority, &[handle, 2]);
    assert_eq!(system.kernel.thread(u32::from(other.0)).priority, 2);
    let above = [handle, u64::from(PRIORITY) + 1];
    assert_eq!(system.error(thread, Number::ThreadPriority, &above), Error::Denied);
    system.value(thread, Number::ThreadPriority, &[handle, u64::from(PRIORITY)]);
    let idle = system.derive(thread, handle, Rights::TRANSFER, false);
    assert_eq!(system.error(thread, Number::ThreadPriority, &[idle, 1]), Error::Denied);
    let fault = (FaultKind::BadArgument, 32);
    system.faults(thread, Number::ThreadPriority, &[handle, 32], Message::EMPTY, fault);
}

#[test]
fn a_priority_counts_for_a_thread_that_is_ready() {
    let mut system = System::of(2);
    let thread = system.first(1);
    system.eager = false;
    let (low, low_handle) = system.spawn(thread);
    system.kernel.dispatch();
    let (high, _) = system.spawn(thread);
    system.kernel.dispatch();
    system.value(thread, Number::ThreadPriority, &[low_handle, 1]);
    assert_eq!(system.kernel.dispatch(), Some(thread));
    assert_eq!(system.kernel.dispatch(), Some(high));
    assert_eq!(system.kernel.dispatch(), Some(low));
}

#[test]
fn sleep_lasts_as_long_as_it_says() {
    let mut system = System::of(2);
    let thread = system.first(1);
    assert_eq!(system.invoke(thread, Number::ThreadSleep, &[50]), End::Blocked);
    system.pass_time(49);
    assert_eq!(system.end(thread), End::Blocked);
    system.pass_time(1);
    assert_eq!(system.end(thread), End::Value(0));
    assert_eq!(system.invoke(thread, Number::ThreadSleep, &[FOREVER]), End::Blocked);
    assert_eq!(system.kernel.next_deadline(), None);
    system.stop_service(1);
    assert_eq!(system.end(thread), End::Gone);
}

#[test]
fn a_sleep_of_nothing_lets_others_of_the_priority_run() {
    let mut system = System::of(2);
    let thread = system.first(1);
    let (other, _) = system.spawn(thread);
    system.eager = false;
    system.kernel.put_back(other);
    assert_eq!(system.invoke(thread, Number::ThreadSleep, &[0]), End::Value(0));
    assert_eq!(system.kernel.dispatch(), Some(other));
    assert_eq!(system.kernel.dispatch(), Some(thread));
}

#[test]
fn the_clock_is_the_machines() {
    let mut system = System::of(2);
    let thread = system.first(1);
    assert_eq!(system.value(thread, Number::ClockRead, &[]), 0);
    system.pass_time(1234);
    assert_eq!(system.value(thread, Number::ClockRead, &[]), 1234);
}
