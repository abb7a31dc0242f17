//! What `phi-host bench ipc` runs on both machines: `caller` measures calls and sends of 64 bytes to
//! `answerer`, and prints one line of JSON.
//!
//! Principles: the same images everywhere, measured from inside with the processor's time stamp
//! counter, which both sides of a call can read; under QEMU's `-icount shift=0` it counts
//! instructions. Limits: x86-64; the counters of two processors must agree, as invariant ones do.
#![no_std]

extern crate alloc;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use phi_rt::{Console, Error, Event, FOREVER, Incoming, Mailbox, Outgoing, Peer, Service};

/// Label of a call that is answered with the counter as the call came and as its answer left.
const CALL: u64 = 1;

/// Label of a message that is only counted.
const COUNT: u64 = 2;

/// Label of a call that is answered when all messages before it have come.
const DRAIN: u64 = 3;

/// Bytes of each message.
const BYTES: usize = 64;

fn counter() -> u64 {
    // SAFETY: reading the counter touches no memory, and both machines allow it.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// The service that answers.
pub fn answerer(service: &Service) -> u8 {
    let Ok(mailbox) = service.mailbox("echo") else { return 2 };
    let mut event = mailbox.receive(FOREVER);
    loop {
        let arrival = counter();
        event = match event {
            Ok(Event::Message(incoming)) => answer(&mailbox, incoming, arrival),
            Ok(Event::Signals(_)) => mailbox.receive(FOREVER),
            Err(_) => return 1,
        };
    }
}

fn answer(mailbox: &Mailbox, incoming: Incoming, arrival: u64) -> Result<Event, Error> {
    if !incoming.is_call() {
        drop(incoming);
        return mailbox.receive(FOREVER);
    }
    let mut bytes = [0; BYTES];
    bytes[..8].copy_from_slice(&arrival.to_le_bytes());
    bytes[8..16].copy_from_slice(&counter().to_le_bytes());
    let Ok(message) = Outgoing::new(CALL, &bytes) else { return Err(Error::Machine) };
    mailbox.reply_receive(incoming, message, FOREVER)
}

/// The service that measures. Its arguments: the number of rounds.
pub fn caller(service: &Service) -> u8 {
    let Ok(output) = service.console("console") else { return 2 };
    let Ok(peer) = service.peer("echo") else { return 2 };
    let Ok(rounds) = service.arguments().trim().parse() else { return 2 };
    match measure(&peer, rounds) {
        Ok(line) => print(&output, &line),
        Err(error) => {
            print(&output, &format!("{{\"error\":\"{error}\"}}\n"));
            1
        }
    }
}

fn print(output: &Console, line: &str) -> u8 {
    u8::from(output.write(line.as_bytes()).is_err())
}

/// Rounds of calls, then as many messages one way; both after a tenth as many to warm up.
fn measure(peer: &Peer, rounds: usize) -> Result<String, Error> {
    let warm_up = rounds / 10;
    let mut trips = Samples::with_capacity(rounds);
    let mut calls = Samples::with_capacity(rounds);
    let mut replies = Samples::with_capacity(rounds);
    let (time_before, counter_before) = (phi_rt::now(), counter());
    for round in 0..rounds + warm_up {
        let (start, arrival, departure, end) = call(peer)?;
        if round >= warm_up {
            trips.push(start, end);
            calls.push(start, arrival);
            replies.push(departure, end);
        }
    }
    let (time, ticks) = (phi_rt::now() - time_before, counter() - counter_before);
    let one_way = send(peer, rounds)?;
    Ok(format!(
        "{{\"rounds\":{rounds},\"nanoseconds\":{time},\"ticks\":{ticks},\"round_trip\":{},\
         \"call\":{},\"reply\":{},\"one_way\":{one_way}}}\n",
        trips.json(),
        calls.json(),
        replies.json()
    ))
}

/// One call: the counter before it, at its arrival, at its answer's departure, and after it.
fn call(peer: &Peer) -> Result<(u64, u64, u64, u64), Error> {
    let message = Outgoing::new(CALL, &[7; BYTES]).map_err(|_| Error::Machine)?;
    let start = counter();
    let answer = peer.call(message, FOREVER)?;
    let end = counter();
    let word = |at: usize| {
        let bytes = answer.bytes().get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
        bytes.map(u64::from_le_bytes).ok_or(Error::Machine)
    };
    Ok((start, word(0)?, word(8)?, end))
}

/// Ticks per message for `count` messages one way, until the last has been received.
fn send(peer: &Peer, count: usize) -> Result<u64, Error> {
    let start = counter();
    for _ in 0..count {
        let mut message = Outgoing::new(COUNT, &[7; BYTES]).map_err(|_| Error::Machine)?;
        while let Err(error) = peer.send(message) {
            if error != Error::Full {
                return Err(error);
            }
            // The receiver is behind: let it go on. A call waits its turn behind what was sent.
            peer.call(Outgoing::empty(DRAIN), FOREVER)?;
            message = Outgoing::new(COUNT, &[7; BYTES]).map_err(|_| Error::Machine)?;
        }
    }
    peer.call(Outgoing::empty(DRAIN), FOREVER)?;
    Ok((counter() - start) / count.max(1) as u64)
}

/// Differences of the counter.
struct Samples(Vec<u64>);

impl Samples {
    fn with_capacity(count: usize) -> Samples {
        Samples(Vec::with_capacity(count))
    }

    fn push(&mut self, from: u64, to: u64) {
        self.0.push(to.saturating_sub(from));
    }

    /// Least, median and 99th percentile.
    fn json(&mut self) -> String {
        self.0.sort_unstable();
        let at = |percent: usize| {
            let index = self.0.len().saturating_sub(1) * percent / 100;
            self.0.get(index).copied().unwrap_or_default()
        };
        format!("{{\"min\":{},\"p50\":{},\"p99\":{}}}", at(0), at(50), at(99))
    }
}
