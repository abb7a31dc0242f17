//! What `phi-host bench start` runs: `waiter`, many times over, which says that it is there and waits,
//! and `keeper`, which says when all of them wait.

use core::fmt::Write;
use phi_abi::Kind;
use phi_rt::{Event, FOREVER, Outgoing, Service};

/// Nanoseconds that the system lasts: longer than anybody measures it. Without an end, a system in which
/// all wait would be over.
const END: u64 = 3_600_000_000_000;

/// A service that calls the keeper, which does not answer: it waits.
pub fn waiter(service: &Service) -> u8 {
    let Ok(keeper) = service.peer("keeper") else { return 2 };
    u8::from(keeper.call(Outgoing::empty(0), FOREVER).is_err())
}

/// The service that all others wait for. Its arguments: how many there are. Once all are there, it
/// prints `ready`.
pub fn keeper(service: &Service) -> u8 {
    let Ok(output) = service.console("output") else { return 2 };
    let Ok(waiters) = service.mailbox("keeper") else { return 2 };
    let Ok(count) = service.arguments().trim().parse::<usize>() else { return 2 };
    let mut calls = alloc::vec::Vec::with_capacity(count);
    while calls.len() < count {
        match waiters.receive(FOREVER) {
            Ok(Event::Message(call)) => calls.push(call),
            _ => return 1,
        }
    }
    let mut output = &output;
    if output.write_str("ready\n").is_err() {
        return 1;
    }
    phi_rt::sleep(END);
    0
}

/// A service that starts those that it controls, and waits.
pub fn leader(service: &Service) -> u8 {
    let Ok(events) = service.signal("events") else { return 2 };
    let mut domains = alloc::vec::Vec::new();
    for capability in service.start().capabilities() {
        if capability.kind != Kind::Domain as u32 {
            continue;
        }
        let name = core::str::from_utf8(capability.name()).unwrap_or_default();
        let Ok(domain) = service.domain(name) else { return 2 };
        if domain.start().is_err() {
            return 3;
        }
        domains.push(domain);
    }
    // Whose end says nothing: it is the keeper's, and so the system's.
    while events.wait(u64::MAX, FOREVER).is_ok() {}
    4
}
