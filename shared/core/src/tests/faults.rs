//! Faults: the end of a domain, what the log and its supervisor learn of it.

use super::plan::plan;
use super::system::{End, System, message};
use crate::{DomainIndex, ThreadIndex};
use phi_abi::{CONSOLE_LOG, DomainState, Error, FOREVER, Fault, FaultKind, Message, Number};
use std::string::String;

fn log(system: &System) -> String {
    String::from_utf8(system.kernel.machine().written(CONSOLE_LOG)).expect("UTF-8")
}

#[test]
fn every_kind_of_fault_ends_its_domain_with_one_line() {
    for kind in FaultKind::ALL {
        let mut system = System::of(2);
        let (init, events) = (system.first(0), system.handle(0, "events"));
        let fault = Fault { kind, address: 0xABC, instruction: 0x123 };
        let thread = system.first(1);
        system.kernel.fault(thread, fault);
        system.settle();
        let state = DomainState::Faulted { kind, address: 0xABC, instruction: 0x123 };
        assert_eq!(system.kernel.info(DomainIndex(1)).state, state);
        assert_eq!(system.value(init, Number::SignalWait, &[events, u64::MAX, 0]), 1 << 1);
        let line = log(&system);
        assert!(line.starts_with("service-1/1 faulted: "), "{line}");
        assert!(line.contains(kind.description()), "{line}");
        assert!(line.ends_with(", instruction 0x123\n") && line.lines().count() == 1, "{line}");
    }
}

#[test]
fn the_log_says_what_a_fault_concerns() {
    let cases: [(Number, [u64; 2], &str); 3] = [
        (Number::Send, [0x77, 0], "service-1/1 faulted: bad handle 0x77\n"),
        (Number::RegionCreate, [0, 0], "service-1/1 faulted: bad argument 0x0\n"),
        (Number::DomainExit, [0x100, 0], "service-1/1 faulted: bad argument 0x100\n"),
    ];
    for (number, words, line) in cases {
        let mut system = System::of(2);
        system.invoke(system.first(1), number, &words);
        assert_eq!(log(&system), line);
    }
    let mut system = System::of(2);
    system.enter(system.first(1), 4711, &[], Message::EMPTY);
    assert_eq!(log(&system), "service-1/1 faulted: unknown call 4711\n");
    let mut system = System::of(2);
    let fault = Fault { kind: FaultKind::Write, address: 0x5000, instruction: 0 };
    system.kernel.domain_lost(DomainIndex(1), fault);
    assert_eq!(
        log(&system),
        "service-1/1 faulted: write to memory not mapped for writing at 0x5000\n"
    );
}

#[test]
fn a_panic_says_why() {
    let mut system = System::of(2);
    let thread = system.first(1);
    let text = message(0, b"it went wrong\n");
    assert_eq!(system.invoke_with(thread, Number::DomainPanic, &[], text), End::Gone);
    assert_eq!(system.fault(1), (FaultKind::Panic, 0));
    assert_eq!(log(&system), "service-1/1 panicked: it went wrong\n");
    let mut system = System::of(2);
    let text = message(0, &[0xFF, 0xFE]);
    system.invoke_with(system.first(1), Number::DomainPanic, &[], text);
    assert_eq!(log(&system), "service-1/1 panicked: (no UTF-8 text)\n");
}

#[test]
fn a_fault_of_a_thread_that_does_not_run_is_none() {
    let mut system = System::of(2);
    let fault = Fault { kind: FaultKind::Read, address: 0, instruction: 0 };
    let thread = system.first(1);
    system.invoke(thread, Number::ThreadSleep, &[100]);
    for thread in [thread, ThreadIndex(7), ThreadIndex(u16::MAX)] {
        system.kernel.fault(thread, fault);
    }
    assert_eq!(system.kernel.info(DomainIndex(1)).state, DomainState::Running);
    // The machine can lose a domain all the same, and only once.
    system.kernel.domain_lost(DomainIndex(1), fault);
    system.kernel.domain_lost(DomainIndex(1), Fault { kind: FaultKind::Write, ..fault });
    system.settle();
    assert_eq!(system.fault(1), (FaultKind::Read, 0));
    assert_eq!(system.kernel.next_deadline(), None);
}

#[test]
fn a_fault_ends_every_thread_of_its_domain() {
    let mut system = System::of(3);
    let thread = system.first(1);
    let (sleeper, _) = system.spawn(thread);
    let (receiver, _) = system.spawn(thread);
    let (caller, _) = system.spawn(thread);
    let (serve, to) = (system.handle(1, "serve"), system.handle(1, "to-2"));
    system.invoke(sleeper, Number::ThreadSleep, &[100]);
    system.invoke(receiver, Number::Receive, &[serve, 100]);
    system.invoke(caller, Number::Call, &[to, 100]);
    system.enter(thread, u32::MAX, &[], Message::EMPTY);
    for ended in [thread, sleeper, receiver, caller] {
        assert_eq!(system.end(ended), End::Gone);
    }
    let (server, serve) = (system.first(2), system.handle(2, "serve"));
    assert_eq!(system.error(server, Number::Receive, &[serve, 0]), Error::TimedOut);
}

#[test]
fn a_server_that_faults_in_any_step_ends_its_calls_as_dead() {
    for step in 0..4 {
        let mut system = System::of(3);
        let (client, server) = (system.first(1), system.first(2));
        let (helper, _) = system.spawn(server);
        let (to, serve) = (system.handle(1, "to-2"), system.handle(2, "serve"));
        match step {
            // Before it receives, while another of its threads does, and after.
            0 => assert_eq!(system.invoke(client, Number::Call, &[to, FOREVER]), End::Blocked),
            1 => {
                system.invoke(helper, Number::Receive, &[serve, FOREVER]);
                system.invoke(client, Number::Call, &[to, FOREVER]);
            }
            2 => {
                system.invoke(client, Number::Call, &[to, FOREVER]);
                system.value(server, Number::Receive, &[serve, 0]);
            }
            // While the reply is on its way to somebody else, in the server's own mailbox.
            _ => {
                system.invoke(client, Number::Call, &[to, FOREVER]);
                system.value(server, Number::Receive, &[serve, 0]);
                let reply = system.message(server).reply;
                let grant = phi_abi::Grant::transfer(reply, phi_abi::Rights::empty());
                let carried = super::system::carrying(&[grant]);
                let sent = system.invoke_with(server, Number::Send, &[serve], carried);
                assert_eq!(sent, End::Value(0));
            }
        }
        system.enter(server, u32::MAX, &[], Message::EMPTY);
        assert_eq!(system.end(client), End::Error(Error::Dead), "step {step}");
    }
}

#[test]
fn a_line_of_the_log_that_is_too_long_is_cut_off() {
    let mut plan = plan(2);
    plan.services[1].name = "n".repeat(300);
    let mut system = System::start(&plan);
    let text = message(0, b"it went wrong");
    assert_eq!(system.invoke_with(system.first(1), Number::DomainPanic, &[], text), End::Gone);
    assert_eq!(log(&system), "n".repeat(256));
    system.start_service(1);
    let fault = Fault { kind: FaultKind::Write, address: 0x5000, instruction: 0 };
    system.kernel.domain_lost(DomainIndex(1), fault);
    assert_eq!(log(&system), "n".repeat(512));
}
