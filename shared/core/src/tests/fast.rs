//! The short way of calls and answers: whatever it does, the general code would have done.

use super::machine::FakeMachine;
use super::random::{AfterCall, Driver};
use crate::Kernel;
use crate::object::{Activity, Thread};
use phi_abi::PRIORITIES;
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
