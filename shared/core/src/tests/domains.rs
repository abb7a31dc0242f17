//! Domains: start, stop, exit, restart, and what their end means for others.

use super::plan::plan;
use super::system::{End, System, carrying, message};
use crate::{DomainIndex, Kernel};
use phi_abi::layout::{HEAP_OFFSET, PAGE, WINDOWS_BASE, window};
use phi_abi::{
    ABI_VERSION, DomainInfo, DomainState, DomainStatistics, Error, FOREVER, FaultKind, Grant,
    Handle, Kind, Message, Number, Rights, TOPIC_STATE, TOPIC_STATISTICS,
};

fn state(system: &System, domain: u16) -> DomainState {
    system.kernel.info(DomainIndex(domain)).state
}

#[test]
fn the_start_block_says_who_a_service_is() {
    let system = System::of(2);
    let start = &system.kernel.machine().spaces[&1].start;
    assert_eq!((start.version, start.generation), (ABI_VERSION, 1));
    assert_eq!((start.window, start.heap), (window(1), window(1) + HEAP_OFFSET));
    assert_eq!((start.heap_size, start.priority), (PAGE, 10));
    assert_eq!(start.arguments(), b"number 1");
    let names: std::vec::Vec<&[u8]> =
        start.capabilities().iter().map(|capability| capability.name()).collect();
    assert_eq!(names, [&b"to-0"[..], b"serve", b"input", b"log"]);
    let input = start.find("input").unwrap();
    assert_eq!((input.kind, input.address, input.length), (1, WINDOWS_BASE, PAGE + 5));
    assert_eq!(input.rights, (Rights::READ | Rights::DERIVE | Rights::TRANSFER).bits());
    let serve = start.find("serve").unwrap();
    assert_eq!((serve.kind, serve.address, serve.length), (Kind::Mailbox as u32, 0, 0));
}

#[test]
fn a_planned_capability_has_no_right_that_its_kind_has_not() {
    let mut plan = plan(1);
    plan.services[0].capabilities[0].rights = u32::MAX;
    let system = System::boot(&plan);
    let rights = system.kernel.machine().spaces[&0].start.find("serve").unwrap().rights;
    assert_eq!(rights, Kind::Mailbox.rights().bits());
}

#[test]
fn a_domain_starts_once_and_stops_once() {
    let mut system = System::boot(&plan(2));
    let (init, domain) = (system.first(0), system.handle(0, "domain-1"));
    assert_eq!(state(&system, 1), DomainState::Created);
    assert_eq!(system.error(init, Number::DomainStop, &[domain]), Error::Busy);
    assert_eq!(system.value(init, Number::DomainStart, &[domain]), 1);
    assert_eq!(system.error(init, Number::DomainStart, &[domain]), Error::Busy);
    system.value(init, Number::DomainStop, &[domain]);
    assert_eq!(state(&system, 1), DomainState::Stopped);
    assert_eq!(system.error(init, Number::DomainStop, &[domain]), Error::Busy);
    assert_eq!(system.value(init, Number::DomainStart, &[domain]), 2);
}

#[test]
fn starting_stopping_and_inspecting_need_their_rights() {
    let mut system = System::of(2);
    let (init, domain) = (system.first(0), system.handle(0, "domain-1"));
    let start = system.derive(init, domain, Rights::START, false);
    let stop = system.derive(init, domain, Rights::STOP, false);
    assert_eq!(system.error(init, Number::DomainStop, &[start]), Error::Denied);
    assert_eq!(system.error(init, Number::DomainInspect, &[stop, 0]), Error::Denied);
    system.value(init, Number::DomainStop, &[stop]);
    assert_eq!(system.error(init, Number::DomainStart, &[stop]), Error::Denied);
    system.value(init, Number::DomainStart, &[start]);
}

#[test]
fn inspection_tells_state_and_use() {
    let mut system = System::of(2);
    let (init, domain, thread) = (system.first(0), system.handle(0, "domain-1"), system.first(1));
    system.value(init, Number::DomainInspect, &[domain, TOPIC_STATE]);
    let info = DomainInfo::decode(&system.message(init).data);
    assert_eq!(
        info,
        Some(DomainInfo { generation: 1, state: DomainState::Running, offered: false })
    );
    system.value(thread, Number::RegionCreate, &[2 * PAGE]);
    system.value(init, Number::DomainInspect, &[domain, TOPIC_STATISTICS]);
    let statistics = DomainStatistics::decode(&system.message(init).data);
    assert_eq!((statistics.memory, statistics.handles), (5 * PAGE, 5));
    assert_eq!((statistics.calls, statistics.switches), (1, 2));
    system.invoke(thread, Number::DomainExit, &[3]);
    system.value(init, Number::DomainInspect, &[domain, TOPIC_STATE]);
    let info = DomainInfo::decode(&system.message(init).data);
    assert_eq!(
        info,
        Some(DomainInfo { generation: 1, state: DomainState::Exited(3), offered: false })
    );
    assert_eq!(system.kernel.statistics(DomainIndex(1)).memory, 0);
    let fault = (FaultKind::BadArgument, 2);
    system.faults(init, Number::DomainInspect, &[domain, 2], Message::EMPTY, fault);
}

#[test]
fn an_exit_has_a_status_of_one_byte() {
    let mut system = System::of(2);
    assert_eq!(system.invoke(system.first(1), Number::DomainExit, &[255]), End::Gone);
    assert_eq!(state(&system, 1), DomainState::Exited(255));
    system.start_service(1);
    let thread = system.first(1);
    let fault = (FaultKind::BadArgument, 256);
    system.faults(thread, Number::DomainExit, &[256], Message::EMPTY, fault);
}

#[test]
fn a_restart_is_a_new_generation_with_new_handles() {
    let mut system = System::of(2);
    let before = system.handle(1, "serve");
    let thread = system.first(1);
    let own = system.value(thread, Number::SignalCreate, &[]);
    system.stop_service(1);
    assert_eq!(system.start_service(1), 2);
    assert_eq!(system.kernel.machine().spaces[&1].start.generation, 2);
    let after = system.handle(1, "serve");
    assert_ne!(before, after);
    for stale in [before, own] {
        let mut other = System::of(2);
        other.stop_service(1);
        other.start_service(1);
        let fault = (FaultKind::BadHandle, stale);
        let thread = other.first(1);
        other.faults(thread, Number::CapabilityInspect, &[stale], Message::EMPTY, fault);
    }
    // Quotas are as on the first day.
    let statistics = system.kernel.statistics(DomainIndex(1));
    assert_eq!((statistics.handles, statistics.memory), (4, 3 * PAGE));
}

#[test]
fn what_a_domain_made_ends_with_it_whoever_holds_it() {
    let mut system = System::of(3);
    let (maker, other) = (system.first(1), system.first(2));
    let mailbox = system.value(maker, Number::MailboxCreate, &[1]);
    let signal = system.value(maker, Number::SignalCreate, &[]);
    let region = system.value(maker, Number::RegionCreate, &[PAGE]);
    let (_, thread) = system.spawn(maker);
    let grants = [mailbox, signal, region, thread].map(|handle| {
        let kind = system.inspect(maker, handle).kind;
        Grant::transfer(Handle(handle), kind.rights())
    });
    let got = system.pass(maker, other, &grants);
    let [mailbox, signal, region, thread] = [0, 1, 2, 3].map(|number| got[number].handle.0);
    let at = system.value(other, Number::RegionMap, &[region, 12]);
    let index = system.capability(other, region).object;
    let (waiter, _) = system.spawn(other);
    let (caller, _) = system.spawn(other);
    system.invoke(waiter, Number::SignalWait, &[signal, 1, FOREVER]);
    system.invoke(caller, Number::Call, &[mailbox, FOREVER]);
    system.stop_service(1);
    assert_eq!(system.end(waiter), End::Error(Error::Dead));
    assert_eq!(system.end(caller), End::Error(Error::Dead));
    assert_eq!(system.kernel.machine().access(2, index, at), Rights::empty());
    assert_eq!(system.error(other, Number::Send, &[mailbox]), Error::Dead);
    assert_eq!(system.error(other, Number::Receive, &[mailbox, 0]), Error::Dead);
    assert_eq!(system.error(other, Number::SignalNotify, &[signal, 1]), Error::Dead);
    assert_eq!(system.error(other, Number::SignalWait, &[signal, 1, 0]), Error::Dead);
    assert_eq!(system.error(other, Number::RegionMap, &[region, 4]), Error::Dead);
    assert_eq!(system.error(other, Number::ThreadPriority, &[thread, 0]), Error::Dead);
    let notify = [signal, u64::from(Rights::NOTIFY.bits()), 0];
    assert_eq!(system.error(other, Number::CapabilityDerive, &notify), Error::Dead);
    assert_eq!(system.error(other, Number::CapabilityRevoke, &[signal]), Error::Dead);
    let grant = carrying(&[Grant::transfer(Handle(signal), Rights::NOTIFY)]);
    let to = system.handle(2, "to-0");
    let sent = system.invoke_with(other, Number::Send, &[to], grant);
    assert_eq!(sent, End::Error(Error::Dead));
}

#[test]
fn a_crash_loop_leaks_nothing() {
    let mut system = System::of(3);
    let other = system.first(2);
    for _ in 0..50 {
        let thread = system.first(1);
        let region = system.value(thread, Number::RegionCreate, &[60 * PAGE]);
        let grant = Grant::copy(Handle(region), Rights::READ);
        let kept = system.pass(thread, other, &[grant])[0].handle.0;
        system.value(thread, Number::MailboxCreate, &[8]);
        for _ in 0..3 {
            system.value(thread, Number::SignalCreate, &[]);
        }
        let log = system.handle(1, "log");
        system.derive(thread, log, Rights::WRITE, true);
        system.stop_service(1);
        assert_eq!(system.error(other, Number::RegionMap, &[kept, 4]), Error::Dead);
        system.value(other, Number::CapabilityDrop, &[kept]);
        system.start_service(1);
    }
}

#[test]
fn a_planned_mailbox_outlives_its_server() {
    let mut system = System::of(3);
    let (client, to) = (system.first(1), system.handle(1, "to-2"));
    let (second, _) = system.spawn(client);
    let (third, _) = system.spawn(client);
    let serve = system.handle(2, "serve");
    let server = system.first(2);
    // One call is served, one waits, and two messages are stored.
    system.invoke(client, Number::Call, &[to, FOREVER]);
    system.value(server, Number::Receive, &[serve, 0]);
    system.value(second, Number::Send, &[to]);
    let carried = system.value(second, Number::SignalCreate, &[]);
    let grant = carrying(&[Grant::transfer(Handle(carried), Rights::NOTIFY)]);
    system.invoke_with(second, Number::Send, &[to], grant);
    system.invoke(third, Number::Call, &[to, FOREVER]);
    system.stop_service(2);
    assert_eq!(system.end(client), End::Error(Error::Dead));
    assert_eq!(system.end(third), End::Error(Error::Dead));
    assert_eq!(system.error(client, Number::Send, &[to]), Error::Dead);
    assert_eq!(system.error(client, Number::Call, &[to, FOREVER]), Error::Dead);
    system.start_service(2);
    let (server, serve) = (system.first(2), system.handle(2, "serve"));
    assert_eq!(system.error(server, Number::Receive, &[serve, 0]), Error::TimedOut);
    let sent = system.invoke_with(client, Number::Send, &[to], message(1, b"again"));
    assert_eq!(sent, End::Value(0));
    system.value(server, Number::Receive, &[serve, 0]);
    assert_eq!(system.message(server).bytes(), b"again");
}

#[test]
fn a_closed_mailbox_takes_nothing_from_who_may_receive() {
    let mut plan = plan(3);
    // Service 1 may receive what service 2 serves.
    let rights = Kind::Mailbox.rights().bits();
    plan.services[1].capabilities[2].rights = rights;
    let mut system = System::start(&plan);
    let (thread, mailbox) = (system.first(1), system.handle(1, "to-2"));
    let (waiter, _) = system.spawn(thread);
    system.invoke(waiter, Number::Receive, &[mailbox, FOREVER]);
    let signal = system.value(thread, Number::SignalCreate, &[]);
    system.value(thread, Number::SignalBind, &[signal, mailbox]);
    system.stop_service(2);
    assert_eq!(system.end(waiter), End::Error(Error::Dead));
    assert_eq!(system.error(thread, Number::Receive, &[mailbox, FOREVER]), Error::Dead);
    assert_eq!(system.error(thread, Number::SignalBind, &[signal, mailbox]), Error::Dead);
    system.start_service(2);
    system.value(thread, Number::SignalBind, &[signal, mailbox]);
}

#[test]
fn a_caller_that_ends_lets_its_server_find_out() {
    for served in [false, true] {
        let mut system = System::of(3);
        let (client, server) = (system.first(1), system.first(2));
        let (to, serve) = (system.handle(1, "to-2"), system.handle(2, "serve"));
        system.invoke(client, Number::Call, &[to, FOREVER]);
        if served {
            system.value(server, Number::Receive, &[serve, 0]);
        }
        system.stop_service(1);
        // The slot of the thread is used again.
        system.start_service(1);
        if served {
            let reply = system.message(server).reply.0;
            assert_eq!(system.error(server, Number::Reply, &[reply]), Error::Dead);
        } else {
            assert_eq!(system.error(server, Number::Receive, &[serve, 0]), Error::TimedOut);
        }
        assert_eq!(system.end(client), End::Value(0), "the new thread runs");
    }
}

#[test]
fn a_domain_may_stop_itself() {
    let mut plan = plan(2);
    let own = plan.services[0].capabilities.iter().find(|held| held.name == "domain-1").cloned();
    plan.services[1].capabilities.extend(own);
    let mut system = System::start(&plan);
    let domain = system.handle(1, "domain-1");
    assert_eq!(system.invoke(system.first(1), Number::DomainStop, &[domain]), End::Gone);
    assert_eq!(state(&system, 1), DomainState::Stopped);
}

#[test]
fn a_supervisor_learns_of_every_end() {
    let mut plan = plan(4);
    plan.services[3].supervisor = 2;
    let mut system = System::start(&plan);
    let (init, events) = (system.first(0), system.handle(0, "events"));
    let none = [events, u64::MAX, 0];
    system.invoke(system.first(1), Number::DomainExit, &[0]);
    assert_eq!(system.value(init, Number::SignalWait, &[events, u64::MAX, 0]), 1 << 1);
    system.invoke(system.first(3), Number::ThreadExit, &[]);
    assert_eq!(system.error(init, Number::SignalWait, &none), Error::TimedOut);
    assert_eq!(system.kernel.signals[2].bits, 1 << 3, "its supervisor is service 2");
    // Who waits is woken.
    system.invoke(init, Number::SignalWait, &[events, 1 << 2, FOREVER]);
    system.enter(system.first(2), 99, &[], Message::EMPTY);
    assert_eq!(system.end(init), End::Value(1 << 2));
}

#[test]
fn the_system_ends_with_init() {
    let calls: [(Number, u64, u8); 4] = [
        (Number::DomainExit, 7, 7),
        (Number::ThreadExit, 0, 0),
        (Number::DomainPanic, 0, 70),
        (Number::CapabilityDrop, 0, 70),
    ];
    for (number, word, status) in calls {
        let mut system = System::of(2);
        assert_eq!(system.kernel.halted(), None);
        assert_eq!(system.invoke(system.first(0), number, &[word]), End::Gone);
        assert_eq!(system.kernel.halted(), Some(status), "{number:?}");
    }
    let mut system = System::of(2);
    let (init, domain) = (system.first(0), system.handle(0, "domain-0"));
    system.invoke(init, Number::DomainStop, &[domain]);
    assert_eq!(system.kernel.halted(), Some(70));
}

#[test]
fn a_start_that_fails_leaves_the_domain_as_it_was() {
    let mut system = System::boot(&plan(2));
    let (init, domain) = (system.first(0), system.handle(0, "domain-1"));
    for load in [true, false] {
        let failures = &mut system.kernel.machine_mut().failures;
        *(if load { &mut failures.load } else { &mut failures.thread_start }) = 1;
        assert_eq!(system.error(init, Number::DomainStart, &[domain]), Error::Machine);
        let info = system.kernel.info(DomainIndex(1));
        assert_eq!((info.generation, info.state), (0, DomainState::Created));
    }
    assert_eq!(system.value(init, Number::DomainStart, &[domain]), 1);
    system.stop_service(1);
    system.kernel.machine_mut().failures.load = 1;
    assert_eq!(system.error(init, Number::DomainStart, &[domain]), Error::Machine);
    assert_eq!(state(&system, 1), DomainState::Stopped);
    assert_eq!(system.start_service(1), 2);
}

#[test]
fn a_plan_that_cannot_boot_is_refused() {
    let boot = |plan: &phi_manifest::plan::Plan, failures| {
        let machine = super::machine::FakeMachine { failures, ..Default::default() };
        Kernel::boot(machine, plan).map(|_| ()).map_err(|error| std::format!("{error}"))
    };
    let none = super::machine::Failures::default();
    let mut greedy = plan(2);
    greedy.services[1].quota.threads = 65_533;
    assert_eq!(boot(&greedy, none).unwrap_err(), "the quotas add up to too many threads");
    let mut greedy = plan(2);
    greedy.services[0].quota.handles = u32::MAX;
    assert_eq!(boot(&greedy, none).unwrap_err(), "the quotas add up to too many handles");
    let regions = super::machine::Failures { region_create: 1, ..none };
    assert_eq!(boot(&plan(1), regions).unwrap_err(), "there is no memory for input 0");
    let mut bare = plan(1);
    bare.inputs.clear();
    bare.services[0].capabilities.retain(|held| held.name != "input");
    assert_eq!(boot(&bare, regions).unwrap_err(), "there is no memory for the plan");
    let load = super::machine::Failures { load: 1, ..none };
    assert_eq!(boot(&plan(1), load).unwrap_err(), "init cannot be started");
    assert_eq!(boot(&bare, none), Ok(()));
}
