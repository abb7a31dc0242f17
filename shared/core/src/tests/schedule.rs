//! Who runs next: priorities, slices, budgets and deadlines.

use super::plan::plan;
use super::system::{End, System};
use crate::{DomainIndex, ThreadIndex};
use phi_abi::{FOREVER, Number};
use phi_manifest::plan::BudgetPlan;

/// Three services of one priority, whose first threads are ready in the order of their numbers.
fn ready_in_order() -> System {
    let mut system = System::of(4);
    system.eager = false;
    for service in [1, 2, 3] {
        let thread = system.first(service);
        system.kernel.preempt(thread);
    }
    system
}

fn order(system: &mut System) -> std::vec::Vec<u16> {
    let next = || system.kernel.dispatch().map(|thread| system.kernel.domain_of(thread).0);
    std::iter::from_fn(next).collect()
}

#[test]
fn equals_take_turns_and_the_urgent_go_first() {
    let mut system = ready_in_order();
    let first = system.kernel.dispatch().unwrap();
    assert_eq!(first, system.first(1));
    system.kernel.preempt(first);
    let init = system.first(0);
    system.kernel.preempt(init);
    assert_eq!(order(&mut system), [0, 2, 3, 1]);
    assert_eq!(system.kernel.dispatch(), None);
}

#[test]
fn who_is_interrupted_goes_on_before_its_equals() {
    let mut system = ready_in_order();
    let first = system.kernel.dispatch().unwrap();
    system.kernel.put_back(first);
    assert_eq!(order(&mut system), [1, 2, 3]);
}

#[test]
fn what_is_not_dispatched_can_be_neither_preempted_nor_put_back_nor_make_a_call() {
    let mut system = ready_in_order();
    let first = system.first(1);
    system.kernel.preempt(first);
    system.kernel.put_back(first);
    let calls = system.kernel.statistics(DomainIndex(1)).calls;
    system.kernel.system_call(first);
    assert_eq!(system.kernel.statistics(DomainIndex(1)).calls, calls);
    for unknown in [ThreadIndex(15), ThreadIndex(16), ThreadIndex(u16::MAX)] {
        system.kernel.preempt(unknown);
        system.kernel.system_call(unknown);
        system.kernel.charge(unknown, 1);
        assert_eq!(system.kernel.budget_left(unknown), None);
    }
    system.settle();
    assert_eq!(order(&mut system), [1, 2, 3]);
}

#[test]
fn a_call_and_its_reply_hand_the_processor_over() {
    let mut system = System::of(4);
    let (client, server, other) = (system.first(1), system.first(2), system.first(3));
    let (to, serve) = (system.handle(1, "to-2"), system.handle(2, "serve"));
    system.invoke(server, Number::Receive, &[serve, FOREVER]);
    system.eager = false;
    system.kernel.preempt(other);
    // The server runs before service 3, which was ready earlier.
    system.invoke(client, Number::Call, &[to, FOREVER]);
    assert_eq!(system.kernel.dispatch(), Some(server));
    let reply = system.message(server).reply.0;
    let words = [reply, serve, FOREVER];
    assert_eq!(system.invoke(server, Number::ReplyReceive, &words), End::Blocked);
    assert_eq!(system.kernel.dispatch(), Some(client));
    assert_eq!(system.kernel.dispatch(), Some(other));
}

#[test]
fn switches_are_counted_where_another_thread_runs() {
    let mut system = System::of(3);
    system.eager = false;
    let (first, second) = (system.first(1), system.first(2));
    let switches = |system: &System| {
        [1, 2].map(|domain| system.kernel.statistics(DomainIndex(domain)).switches)
    };
    for thread in [first, second] {
        system.kernel.put_back(thread);
        system.kernel.dispatch();
    }
    let before = switches(&system);
    system.kernel.put_back(second);
    system.kernel.dispatch();
    assert_eq!(switches(&system), before, "it only went on");
    system.kernel.put_back(first);
    system.kernel.dispatch();
    assert_eq!(switches(&system), [before[0] + 1, before[1]]);
}

/// Two services; the first has 30 ns in each 100 ns.
fn budgeted() -> System {
    let mut plan = plan(3);
    plan.services[1].budget = Some(BudgetPlan { time: 30, period: 100 });
    System::start(&plan)
}

#[test]
fn a_domain_without_budget_left_stops_until_the_next_period() {
    let mut system = budgeted();
    let thread = system.first(1);
    let (other, _) = system.spawn(thread);
    assert_eq!(system.kernel.budget_left(thread), Some(30));
    assert_eq!(system.kernel.budget_left(system.first(2)), None);
    system.kernel.charge(thread, 29);
    system.settle();
    assert_eq!(system.kernel.budget_left(other), Some(1));
    assert_eq!(system.kernel.next_deadline(), Some(100));
    system.kernel.preempt(other);
    system.kernel.charge(thread, 1);
    system.settle();
    assert!(system.kernel.machine().throttled.contains(&1));
    // The ready one at once, the dispatched one as the machine reports it back.
    system.kernel.preempt(thread);
    system.settle();
    assert_eq!(system.kernel.dispatch(), None);
    system.pass_time(99);
    assert!(!system.kernel.is_dispatched(thread));
    system.eager = false;
    system.pass_time(1);
    assert!(!system.kernel.machine().throttled.contains(&1));
    assert_eq!(system.kernel.budget_left(thread), Some(30));
    assert_eq!(system.kernel.dispatch(), Some(other));
    assert_eq!(system.kernel.dispatch(), Some(thread));
    assert_eq!(system.kernel.next_deadline(), None, "no period runs while nothing is used");
}

#[test]
fn what_is_used_beyond_the_budget_is_owed() {
    let mut system = budgeted();
    let thread = system.first(1);
    system.kernel.charge(thread, 75);
    system.kernel.preempt(thread);
    system.settle();
    for _ in 0..2 {
        assert!(!system.kernel.is_dispatched(thread));
        system.pass_time(100);
    }
    assert!(system.kernel.is_dispatched(thread));
    assert_eq!(system.kernel.budget_left(thread), Some(15));
    system.pass_time(100);
    assert_eq!(system.kernel.budget_left(thread), Some(30));
}

#[test]
fn who_is_woken_without_budget_waits_for_it() {
    let mut system = budgeted();
    let (thread, client) = (system.first(1), system.first(2));
    let (helper, _) = system.spawn(thread);
    let serve = system.handle(1, "serve");
    let to = system.handle(2, "to-1");
    system.invoke(thread, Number::Receive, &[serve, FOREVER]);
    system.invoke(helper, Number::ThreadSleep, &[10]);
    system.kernel.charge(thread, 30);
    system.value(client, Number::Send, &[to]);
    system.pass_time(10);
    assert!(!system.kernel.is_dispatched(thread) && !system.kernel.is_dispatched(helper));
    system.pass_time(90);
    assert!(system.kernel.is_dispatched(thread) && system.kernel.is_dispatched(helper));
}

#[test]
fn a_restart_brings_no_new_budget() {
    let mut system = budgeted();
    let thread = system.first(1);
    system.kernel.charge(thread, 30);
    system.settle();
    system.stop_service(1);
    system.start_service(1);
    assert!(!system.kernel.is_dispatched(thread));
    assert!(system.kernel.machine().throttled.contains(&1));
    system.pass_time(100);
    assert!(system.kernel.is_dispatched(thread));
    // And a period that ends while nothing runs is over.
    system.kernel.charge(thread, 30);
    system.stop_service(1);
    system.pass_time(100);
    system.start_service(1);
    assert!(system.kernel.is_dispatched(thread));
}

#[test]
fn a_thread_without_budget_can_be_made_less_urgent() {
    let mut system = budgeted();
    let thread = system.first(1);
    let (other, handle) = system.spawn(thread);
    let (watcher, _) = system.spawn(thread);
    system.kernel.preempt(other);
    system.kernel.charge(thread, 30);
    system.settle();
    system.value(watcher, Number::ThreadPriority, &[handle, 1]);
    system.eager = false;
    system.pass_time(100);
    assert_eq!(system.kernel.dispatch(), Some(watcher));
    assert_eq!(system.kernel.dispatch(), Some(other));
}

#[test]
fn deadlines_are_due_in_order() {
    let mut system = System::of(4);
    for (service, time) in [(1, 30), (2, 10), (3, 20)] {
        let thread = system.first(service);
        system.invoke(thread, Number::ThreadSleep, &[time]);
    }
    system.eager = false;
    assert_eq!(system.kernel.next_deadline(), Some(10));
    system.pass_time(25);
    assert_eq!(system.kernel.next_deadline(), Some(30));
    assert_eq!(order(&mut system), [2, 3]);
    system.pass_time(5);
    assert_eq!(order(&mut system), [1]);
}
