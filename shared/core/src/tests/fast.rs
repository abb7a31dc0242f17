//! The short way of calls and answers: whatever it does, the general code would have done.

use super::machine::FakeMachine;
use super::plan::plan;
use super::random::{AfterCall, Driver};
use super::system::{End, System};
use crate::object::{Activity, Thread};
use crate::{DomainIndex, Frame, Kernel, ThreadIndex, is_plain};
use phi_abi::layout::PAGE;
use phi_abi::{
    Error, FOREVER, Grant, Handle, Kind, MESSAGE_GRANTS, Message, Number, PRIORITIES, Rights,
};
use phi_manifest::plan::BudgetPlan;
use std::format;
use std::string::String;
use std::vec::Vec;

/// Whether there is a plan for the call in a thread's frame.
pub(crate) fn goes_short(kernel: &mut Kernel<FakeMachine>, thread: ThreadIndex) -> bool {
    let Frame { number, arguments: [first, second, third, _], message, .. } = *kernel.frame(thread);
    let (index, bytes) = (u32::from(thread.0), u64::from(message.length));
    let plain = is_plain(message.length, message.grant_count);
    match Number::from_number(number) {
        Some(Number::Call) => {
            kernel.learn(thread, first, Rights::CALL);
            match plain {
                true => kernel.short().plan_call(index, first, second).is_some(),
                false => kernel.plan_call_with_grants(index, first, second, bytes).is_some(),
            }
        }
        Some(Number::ReplyReceive) => {
            kernel.learn(thread, second, Rights::RECEIVE);
            match plain {
                true => kernel.short().plan_answer(index, first, second, third).is_some(),
                false => {
                    kernel.plan_answer_with_grants(index, [first, second, third], bytes).is_some()
                }
            }
        }
        _ => false,
    }
}

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
        let waits = matches!(
            activity,
            Activity::Calling(_)
                | Activity::Served
                | Activity::Receiving(_)
                | Activity::Waiting(..)
        );
        // It means something while the thread waits.
        let origin = waits.then_some(origin);
        state.push(format!("{activity:?} {domain} {priority} {lends} {frame:?} {origin:?}"));
    }
    for domain in 0..kernel.domains.len() as u32 {
        let held = kernel.domain(domain);
        let statistics = kernel.statistics(DomainIndex(domain as u16));
        state.push(format!("{:?} {statistics:?} {:?}", held.state, held.parked));
        state.push(format!("{:?}", Vec::from_iter(kernel.capabilities.free_entries(domain))));
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
    let (mut short, mut with_grants) = (0, 0);
    for seed in 500..525 {
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
        with_grants += fast.short_with_grants;
    }
    assert!(short > 400, "the short way was taken only {short} times");
    assert!(with_grants > 80, "the short way was taken only {with_grants} times with capabilities");
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
    assert!(!goes_short(&mut system.kernel, client), "who has a budget is timed");
    system.kernel.charge(server, 30);
    assert_eq!(system.kernel.system_call_then_dispatch(client), None);
    assert_eq!(system.kernel.thread(u32::from(server.0)).activity, Activity::Parked);
    system.pass_time(100);
    assert!(system.kernel.is_dispatched(server), "a new period has begun");
}

#[test]
fn whose_time_is_counted_does_not_hand_over() {
    let mut plan = plan(3);
    plan.services[2].budget = Some(BudgetPlan { time: 30, period: 100 });
    let mut system = System::start(&plan);
    let (server, client) = (system.first(1), system.first(2));
    let (serve, address) = (system.handle(1, "serve"), system.handle(2, "to-1"));
    assert_eq!(system.invoke(server, Number::Receive, &[serve, FOREVER]), End::Blocked);
    let (number, arguments) = (Number::Call as u32, [address, FOREVER, 0, 0]);
    *system.kernel.frame_mut(client) = Frame { number, arguments, ..Frame::EMPTY };
    assert!(!goes_short(&mut system.kernel, client));
}

#[test]
fn who_does_not_run_hands_nothing_over() {
    let mut system = System::of(4);
    let (server, client, other) = (system.first(1), system.first(2), system.first(3));
    let (serve, address) = (system.handle(1, "serve"), system.handle(2, "to-1"));
    assert_eq!(system.invoke(server, Number::Receive, &[serve, FOREVER]), End::Blocked);
    assert!(system.kernel.hand_over_call(client, address, FOREVER, 0).is_some());
    // Another server waits, and knows the way: only that the two have left stands against it.
    let (helper, _) = system.spawn(server);
    assert_eq!(system.invoke(helper, Number::Receive, &[serve, FOREVER]), End::Blocked);
    assert_eq!(system.kernel.hand_over_call(client, address, FOREVER, 0), None);
    let reply = system.kernel.holdings_of(DomainIndex(1)).find(|held| {
        held.capability.kind == Kind::Reply && held.capability.object == u32::from(client.0)
    });
    let reply = reply.expect("the reply to the client").handle.0;
    assert!(system.kernel.hand_over_answer(server, reply, serve, FOREVER, 0).is_some());
    let address = system.handle(3, "to-1");
    assert!(system.kernel.hand_over_call(other, address, FOREVER, 0).is_some());
    let reply = system.kernel.holdings_of(DomainIndex(1)).find(|held| {
        held.capability.kind == Kind::Reply && held.capability.object == u32::from(other.0)
    });
    let reply = reply.expect("the reply to the other").handle.0;
    assert_eq!(system.kernel.hand_over_answer(server, reply, serve, FOREVER, 0), None);
}

#[test]
fn calls_go_only_where_their_handle_leads_now() {
    let mut system = System::of(3);
    let (server, client) = (system.first(1), system.first(2));
    let (serve, address) = (system.handle(1, "serve"), system.handle(2, "to-1"));
    assert_eq!(system.invoke(server, Number::Receive, &[serve, FOREVER]), End::Blocked);
    for dropped in [false, true] {
        let handle = system.derive(client, address, Rights::CALL, true);
        let handover = system.kernel.hand_over_call(client, handle, FOREVER, 0);
        let reply = handover.expect("a server waits").reply.0;
        let answer = system.kernel.hand_over_answer(server, reply, serve, FOREVER, 0);
        assert_eq!(answer.map(|handover| handover.receiver), Some(client));
        assert_eq!(system.kernel.hand_over_call(client, handle, 1000, 0), None, "a timeout");
        assert_eq!(system.kernel.hand_over_call(client, handle + 1, FOREVER, 0), None, "forged");
        match dropped {
            true => system.value(client, Number::CapabilityDrop, &[handle]),
            false => system.value(client, Number::CapabilityRevoke, &[address]),
        };
        assert_eq!(system.kernel.hand_over_call(client, handle, FOREVER, 0), None, "{dropped}");
    }
    assert!(system.kernel.hand_over_call(client, address, FOREVER, 0).is_some());
}

#[test]
fn servers_wait_only_where_their_handle_leads_now() {
    let mut system = System::of(3);
    let (server, client) = (system.first(1), system.first(2));
    let (serve, address) = (system.handle(1, "serve"), system.handle(2, "to-1"));
    assert_eq!(system.invoke(server, Number::Receive, &[serve, FOREVER]), End::Blocked);
    let call = |system: &mut System| {
        let handover = system.kernel.hand_over_call(client, address, FOREVER, 0);
        handover.expect("a server waits").reply.0
    };
    for dropped in [false, true] {
        let reply = call(&mut system);
        let handle = system.derive(server, serve, Rights::RECEIVE, true);
        assert!(system.kernel.hand_over_answer(server, reply, handle, FOREVER, 0).is_some());
        let reply = call(&mut system);
        let answer = |system: &mut System, handle: u64, timeout: u64| {
            system.kernel.hand_over_answer(server, reply, handle, timeout, 0)
        };
        assert_eq!(answer(&mut system, handle, 1000), None, "a timeout");
        assert_eq!(answer(&mut system, handle + 1, FOREVER), None, "forged");
        match dropped {
            true => system.value(server, Number::CapabilityDrop, &[handle]),
            false => system.value(server, Number::CapabilityRevoke, &[serve]),
        };
        assert_eq!(answer(&mut system, handle, FOREVER), None, "{dropped}");
        assert!(answer(&mut system, serve, FOREVER).is_some());
    }
}

#[test]
fn only_a_mailbox_receives_on_the_short_way() {
    let mut system = System::of(3);
    let (server, client) = (system.first(1), system.first(2));
    let (serve, address) = (system.handle(1, "serve"), system.handle(2, "to-1"));
    let object = system.value(server, Number::ObjectMint, &[serve, 1, 0]);
    assert_eq!(system.invoke(client, Number::Call, &[address, FOREVER]), End::Blocked);
    system.value(server, Number::Receive, &[serve, FOREVER]);
    let reply = system.message(server).reply.0;
    assert_eq!(system.kernel.hand_over_answer(server, reply, object, FOREVER, 0), None);
    assert!(system.kernel.hand_over_answer(server, reply, serve, FOREVER, 0).is_some());
}

#[test]
fn plain_messages_have_no_capabilities_and_no_more_bytes_than_there_can_be() {
    assert!(is_plain(0, 0) && is_plain(64, 0));
    assert!(!is_plain(65, 0) && !is_plain(u16::MAX, 0));
    assert!(!is_plain(0, 1) && !is_plain(64, u16::MAX));
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
    assert!(goes_short(&mut system.kernel, server));
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
        assert_eq!(goes_short(&mut system.kernel, client), allowed, "{rights:?}");
        system.kernel.system_call_then_dispatch(client);
        system.settle();
        let expected = if allowed { End::Blocked } else { End::Error(Error::Denied) };
        assert_eq!(system.end(client), expected, "{rights:?}");
    }
}

/// A server that waits, its client, and the frame of a call with these capabilities.
fn calling(system: &mut System, grants: &[Grant]) -> (ThreadIndex, ThreadIndex) {
    let (server, client) = (system.first(1), system.first(2));
    let (serve, address) = (system.handle(1, "serve"), system.handle(2, "to-1"));
    assert_eq!(system.invoke(server, Number::Receive, &[serve, FOREVER]), End::Blocked);
    let arguments = [address, FOREVER, 0, 0];
    let mut frame = Frame { number: Number::Call as u32, arguments, ..Frame::EMPTY };
    grants.iter().for_each(|grant| assert!(frame.message.push(*grant)));
    *system.kernel.frame_mut(client) = frame;
    (server, client)
}

#[test]
fn capabilities_go_the_short_way_and_come_back_on_it() {
    let mut system = System::of(3);
    let (client, serve) = (system.first(2), system.handle(1, "serve"));
    let kept = Handle(system.value(client, Number::SignalCreate, &[]));
    let given = Handle(system.value(client, Number::RegionCreate, &[1, 0]));
    let grants = [
        Grant::copy(kept, Rights::NOTIFY | Rights::TRANSFER),
        Grant::transfer(given, Rights::READ),
    ];
    let (server, _) = calling(&mut system, &grants);
    assert!(goes_short(&mut system.kernel, client));
    assert_eq!(system.kernel.system_call_then_dispatch(client), Some(server));
    let Message { reply, grants: [signal, region, ..], grant_count, .. } = system.message(server);
    assert_eq!((grant_count, signal.rights), (2, (Rights::NOTIFY | Rights::TRANSFER).bits()));
    assert_eq!((region.rights, region.length), (Rights::READ.bits(), PAGE));
    let arguments = [reply.0, serve, FOREVER, 0];
    let mut frame = Frame { number: Number::ReplyReceive as u32, arguments, ..Frame::EMPTY };
    assert!(frame.message.push(Grant::transfer(signal.handle, Rights::NOTIFY)));
    *system.kernel.frame_mut(server) = frame;
    assert!(goes_short(&mut system.kernel, server));
    assert_eq!(system.kernel.system_call_then_dispatch(server), Some(client));
    let back = system.message(client).grants[0];
    assert_eq!(back.rights, Rights::NOTIFY.bits());
    let space = |thread: ThreadIndex| system.kernel.space_of(u32::from(thread.0));
    let held = |thread, handle| system.kernel.capabilities.find(space(thread), handle).is_some();
    assert!(held(client, kept) && held(client, back.handle) && held(server, region.handle));
    assert!(!held(client, given) && !held(server, signal.handle));
}

#[test]
fn no_more_capabilities_go_than_there_can_be() {
    let mut system = System::of(3);
    let signal = Handle(system.value(system.first(2), Number::SignalCreate, &[]));
    let grants = [Grant::copy(signal, Rights::NOTIFY); MESSAGE_GRANTS];
    let (_, client) = calling(&mut system, &grants);
    for (grant_count, length, goes) in [(4, 64, true), (5, 64, false), (4, 65, false)] {
        let message = &mut system.kernel.frame_mut(client).message;
        (message.grant_count, message.length) = (grant_count, length);
        assert_eq!(goes_short(&mut system.kernel, client), goes, "{grant_count} {length}");
    }
}

#[test]
fn what_is_mapped_moves_on_the_general_way() {
    let mut system = System::of(3);
    let client = system.first(2);
    let region = system.value(client, Number::RegionCreate, &[1, 0]);
    let read = Rights::READ;
    let (server, _) = calling(&mut system, &[Grant::transfer(Handle(region), read)]);
    let frame = system.kernel.frame(client).clone();
    assert!(goes_short(&mut system.kernel, client));
    system.value(client, Number::RegionMap, &[region, u64::from(read.bits())]);
    *system.kernel.frame_mut(client) = frame;
    assert!(!goes_short(&mut system.kernel, client), "it would have to be unmapped");
    let copy = Grant::copy(Handle(region), read);
    system.kernel.frame_mut(client).message.grants[0] = copy;
    assert!(goes_short(&mut system.kernel, client), "a copy is not mapped");
    assert_eq!(system.kernel.system_call_then_dispatch(client), Some(server));
}

#[test]
fn who_gives_its_mailbox_away_receives_nothing() {
    let mut system = System::of(3);
    let serve = system.handle(1, "serve");
    let (server, client) = calling(&mut system, &[]);
    assert_eq!(system.kernel.system_call_then_dispatch(client), Some(server));
    let arguments = [system.message(server).reply.0, serve, FOREVER, 0];
    let mut frame = Frame { number: Number::ReplyReceive as u32, arguments, ..Frame::EMPTY };
    assert!(frame.message.push(Grant::transfer(Handle(serve), Rights::RECEIVE)));
    *system.kernel.frame_mut(server) = frame;
    assert!(!goes_short(&mut system.kernel, server));
    system.kernel.system_call_then_dispatch(server);
    system.settle();
    assert_eq!(system.end(client), End::Value(0));
    let activity = system.kernel.thread(u32::from(server.0)).activity;
    assert!(!matches!(activity, Activity::Receiving(_)), "{activity:?}");
}

/// Has `server` answer and receive, by frame; whether that goes the short way, and what came of it.
fn answer(system: &mut System, server: ThreadIndex, reply: u64, serve: u64) -> (bool, End) {
    let (number, arguments) = (Number::ReplyReceive as u32, [reply, serve, FOREVER, 0]);
    *system.kernel.frame_mut(server) = Frame { number, arguments, ..Frame::EMPTY };
    let short = goes_short(&mut system.kernel, server);
    system.kernel.system_call_then_dispatch(server);
    system.settle();
    (short, system.end(server))
}

#[test]
fn nobody_waits_at_a_mailbox_that_has_closed() {
    for closes in [false, true] {
        let mut system = System::of(4);
        let (owner, client, server) = (system.first(1), system.first(2), system.first(3));
        let (serve, address) = (system.handle(1, "serve"), system.handle(2, "to-1"));
        let given = system.pass(owner, server, &[Grant::copy(Handle(serve), Rights::RECEIVE)]);
        let serve = given[0].handle.0;
        assert_eq!(system.invoke(server, Number::Receive, &[serve, FOREVER]), End::Blocked);
        assert_eq!(system.invoke(client, Number::Call, &[address, FOREVER]), End::Blocked);
        if closes {
            system.stop_service(1);
        }
        let reply = system.message(server).reply.0;
        let (short, end) = answer(&mut system, server, reply, serve);
        assert_eq!((short, end == End::Blocked), (!closes, !closes), "{end:?}");
        assert_eq!(system.end(client), End::Value(0));
    }
}

#[test]
fn who_does_not_wait_for_an_answer_gets_none() {
    for ends in [false, true] {
        let mut system = System::of(3);
        let (server, client) = (system.first(1), system.first(2));
        let (serve, address) = (system.handle(1, "serve"), system.handle(2, "to-1"));
        assert_eq!(system.invoke(server, Number::Receive, &[serve, FOREVER]), End::Blocked);
        assert_eq!(system.invoke(client, Number::Call, &[address, 10]), End::Blocked);
        let reply = system.message(server).reply.0;
        if ends {
            system.pass_time(10);
            assert_eq!(system.end(client), End::Error(Error::TimedOut));
            // It waits again, for something else.
            let own = system.handle(2, "serve");
            assert_eq!(system.invoke(client, Number::Receive, &[own, FOREVER]), End::Blocked);
        }
        let (short, _) = answer(&mut system, server, reply, serve);
        assert_eq!(system.end(client), if ends { End::Blocked } else { End::Value(0) });
        assert!(!(short && ends));
    }
}
