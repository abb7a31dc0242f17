//! The short way of calls and answers: whatever it does, the general code would have done.

use super::machine::FakeMachine;
use super::plan::plan;
use super::random::{AfterCall, Driver};
use super::system::{End, System};
use crate::object::{Activity, Thread};
use crate::{Frame, Kernel};
use phi_abi::{Error, FOREVER, Number, PRIORITIES, Rights};
use phi_manifest::plan::BudgetPlan;
use std::format;
use std::string::String;
use std::vec::Vec;

/// Everything that a message's way changes.
fn state(kernel: &Kernel<FakeMachine>) -> Vec<String> {
    let mut state = Vec::new();
    for Thread { frame, activity, origin, domain, priority, lends, .. } in &kernel.threads {
        let lends = *lends && *activity == Activity::Served;
        let mut frame = frame.clone();
        if !frame.message_out {
            // Noted on the way out, and never seen by the sender.
            (frame.message.badge, frame.message.rights) = (0, 0);
        }
        state.push(format!("{activity:?} {domain} {priority} {lends} {frame:?} {origin:?}"));
    }
    for domain in 0..kernel.domains.len() as u32 {
        let held = kernel.domain(domain);
        state.push(format!("{:?} {:?} {:?}", held.state, held.statistics, held.parked));
        for entry in kernel.capabilities.entries_of(domain) {
            let occupied = kernel.capabilities.is_occupied(entry);
            let capability = kernel.capabilities.get(entry);
            state.push(if occupied { format!("{capability:?}") } else { String::new() });
        }
    }
    state.extend(kernel.mailboxes.iter().map(|mailbox| format!("{mailbox:?}")));
    for priority in 0..PRIORITIES {
        let ready: Vec<u32> = kernel.ready.iter(&kernel.links, priority).collect();
        state.push(format!("{ready:?}"));
    }
    state.push(format!("{:?} {:?}", kernel.last_dispatched, kernel.next_deadline()));
    state
}

#[test]
fn the_short_way_does_what_the_general_one_does() {
    let mut short = 0;
    for seed in 500..510 {
        let mut general = Driver::with(seed, AfterCall::Dispatch);
        let mut fast = Driver::with(seed, AfterCall::Dispatched);
        for step in 0..1_200 {
            general.run(20, 64);
            fast.run(20, 64);
            let (expected, got) = (state(&general.kernel), state(&fast.kernel));
            for (expected, got) in expected.iter().zip(&got) {
                assert_eq!(got, expected, "seed {seed}, step {step}");
            }
        }
        short += fast.short;
    }
    assert!(short > 200, "the short way was taken only {short} times");
}

#[test]
fn a_server_without_budget_left_is_not_handed_over_to() {
    let mut plan = plan(3);
    plan.services[1].budget = Some(BudgetPlan { time: 30, period: 100 });
    let mut system = System::start(&plan);
    let (server, client) = (system.first(1), system.first(2));
    let (serve, address) = (system.handle(1, "serve"), system.handle(2, "to-1"));
    assert_eq!(system.invoke(server, Number::Receive, &[serve, FOREVER]), End::Blocked);
    let (number, arguments) = (Number::Call as u32, [address, FOREVER, 0, 0]);
    *system.kernel.frame_mut(client) = Frame { number, arguments, ..Frame::EMPTY };
    assert!(system.kernel.plan(client).is_some());
    system.kernel.charge(server, 30);
    assert!(system.kernel.plan(client).is_none());
    assert_eq!(system.kernel.system_call_then_dispatch(client), None);
    assert_eq!(system.kernel.thread(u32::from(server.0)).activity, Activity::Parked);
    system.pass_time(100);
    assert!(system.kernel.is_dispatched(server), "a new period has begun");
}

#[test]
fn a_server_with_bits_of_its_signal_set_does_not_wait() {
    let mut system = System::of(3);
    let (server, client) = (system.first(1), system.first(2));
    let (serve, address) = (system.handle(1, "serve"), system.handle(2, "to-1"));
    assert_eq!(system.invoke(client, Number::Call, &[address, FOREVER]), End::Blocked);
    system.value(server, Number::Receive, &[serve, FOREVER]);
    let reply = system.message(server).reply.0;
    let (number, arguments) = (Number::ReplyReceive as u32, [reply, serve, FOREVER, 0]);
    let answer = Frame { number, arguments, ..Frame::EMPTY };
    *system.kernel.frame_mut(server) = answer.clone();
    assert!(system.kernel.plan(server).is_some());
    let signal = system.value(server, Number::SignalCreate, &[]);
    system.value(server, Number::SignalBind, &[signal, serve]);
    system.value(server, Number::SignalNotify, &[signal, 4]);
    *system.kernel.frame_mut(server) = answer;
    system.kernel.system_call_then_dispatch(server);
    system.settle();
    assert_eq!((system.end(server), system.message(server).label), (End::Value(1), 4));
    assert_eq!(system.end(client), End::Value(0));
}

#[test]
fn rights_are_checked_on_the_short_way_too() {
    let mut system = System::of(3);
    let (server, client) = (system.first(1), system.first(2));
    let (serve, address) = (system.handle(1, "serve"), system.handle(2, "to-1"));
    assert_eq!(system.invoke(server, Number::Receive, &[serve, FOREVER]), End::Blocked);
    let number = Number::Call as u32;
    for (rights, allowed) in [(Rights::SEND, false), (Rights::CALL, true)] {
        let derived = system.derive(client, address, rights, false);
        let arguments = [derived, FOREVER, 0, 0];
        *system.kernel.frame_mut(client) = Frame { number, arguments, ..Frame::EMPTY };
        assert_eq!(system.kernel.plan(client).is_some(), allowed, "{rights:?}");
        system.kernel.system_call_then_dispatch(client);
        system.settle();
        let expected = if allowed { End::Blocked } else { End::Error(Error::Denied) };
        assert_eq!(system.end(client), expected, "{rights:?}");
    }
}
