//! What `phi-host bench ipc` runs on both machines: `caller` measures calls and sends of 64 bytes to
//! `answerer`, and prints one line of JSON.
//!
//! Principles: the same images everywhere, measured from inside with the processor's time stamp
//! counter, which both sides of a call can read; under QEMU's `-icount shift=0` it counts
//! instructions. What is measured are the bare calls of the ABI, as the peers' are system calls, from
//! before the call through the function table until after its return; typed interfaces come on top.
//! Limits: x86-64; the counters of two processors must agree, as invariant ones do.
#![no_std]

extern crate alloc;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use phi_abi::{Handle, Message, Number, Outcome};
use phi_rt::{Console, Error, FOREVER, Service};

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

fn invoke(number: Number, words: [u64; 4], message: &mut Message) -> Outcome {
    // SAFETY: the message is the caller's alone, and the handles are those of the start block, which
    // nobody drops, or of messages, each of which is used once.
    unsafe { phi_rt::system::call(number, words, message) }
}

fn named(service: &Service, name: &str) -> Option<Handle> {
    service.start().find(name).map(|capability| capability.handle)
}

/// The service that answers.
pub fn answerer(service: &Service) -> u8 {
    let Some(mailbox) = named(service, "echo") else { return 2 };
    let mut message = Message::EMPTY;
    let mut outcome = invoke(Number::Receive, [mailbox.0, FOREVER, 0, 0], &mut message);
    loop {
        let arrival = counter();
        if outcome.status != 0 {
            return 1;
        }
        outcome = if message.reply.is_null() {
            invoke(Number::Receive, [mailbox.0, FOREVER, 0, 0], &mut message)
        } else {
            message.length = BYTES as u16;
            message.data[..8].copy_from_slice(&arrival.to_le_bytes());
            message.data[8..16].copy_from_slice(&counter().to_le_bytes());
            let words = [message.reply.0, mailbox.0, FOREVER, 0];
            invoke(Number::ReplyReceive, words, &mut message)
        };
    }
}

/// The service that measures. Its arguments: the number of rounds.
pub fn caller(service: &Service) -> u8 {
    let Ok(output) = service.console("console") else { return 2 };
    let Some(peer) = named(service, "echo") else { return 2 };
    let Ok(rounds) = service.arguments().trim().parse() else { return 2 };
    match measure(peer, rounds) {
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
fn measure(peer: Handle, rounds: usize) -> Result<String, Error> {
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
fn call(peer: Handle) -> Result<(u64, u64, u64, u64), Error> {
    let mut message = filled(CALL);
    let start = counter();
    let outcome = invoke(Number::Call, [peer.0, FOREVER, 0, 0], &mut message);
    let end = counter();
    outcome.result()?;
    let word = |at: usize| {
        let bytes = message.bytes().get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
        bytes.map(u64::from_le_bytes).ok_or(Error::Machine)
    };
    Ok((start, word(0)?, word(8)?, end))
}

/// Ticks per message for `count` messages one way, until the last has been received.
fn send(peer: Handle, count: usize) -> Result<u64, Error> {
    let mut message = filled(COUNT);
    let start = counter();
    for _ in 0..count {
        while let Err(error) = invoke(Number::Send, [peer.0, 0, 0, 0], &mut message).result() {
            if error != Error::Full {
                return Err(error);
            }
            // The receiver is behind: let it go on. A call waits its turn behind what was sent.
            drain(peer)?;
        }
    }
    drain(peer)?;
    Ok((counter() - start) / count.max(1) as u64)
}

/// Waits until all that was sent before has been received.
fn drain(peer: Handle) -> Result<(), Error> {
    let words = [peer.0, FOREVER, 0, 0];
    invoke(Number::Call, words, &mut filled(DRAIN)).result().map(drop)
}

fn filled(label: u64) -> Message {
    Message { label, length: BYTES as u16, data: [7; BYTES], ..Message::EMPTY }
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
