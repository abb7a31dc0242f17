//! What `phi-host bench ipc --metal` runs: `asker` and `replier` measure a call and its answer, each
//! alone, for messages of several sizes.
//!
//! As in sel4bench: a call lasts from the counter read before it in the client to that read after the
//! receive in the server, an answer from before the reply-and-receive to after the call. Times are
//! fetched by a call of their own, so that the measured messages carry nothing but what is measured.

use crate::{Samples, counter, invoke, named, plain, print};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use phi_abi::{Grant, Handle, MESSAGE_BYTES, MESSAGE_GRANTS, Message, Number, Outcome, Rights};
use phi_rt::{Error, FOREVER, Service};

/// A message that is measured: its bytes, and the capabilities that it carries.
#[derive(Clone, Copy)]
struct Size {
    bytes: usize,
    capabilities: usize,
}

const fn size(bytes: usize, capabilities: usize) -> Size {
    Size { bytes, capabilities }
}

/// What is measured, back and forth.
const SIZES: [Size; 6] = [
    size(0, 0),
    size(8, 0),
    size(40, 0),
    size(MESSAGE_BYTES, 0),
    size(MESSAGE_BYTES, 1),
    size(MESSAGE_BYTES, MESSAGE_GRANTS),
];

/// Label of a call after which the server has dropped the capabilities that came with the last one. Other
/// labels are sizes.
const DROP: u64 = u64::MAX - 1;

/// Label of a call that asks for the times of the last one that was measured.
const TELL: u64 = u64::MAX;

impl Size {
    fn label(self) -> u64 {
        (self.capabilities as u64) << 32 | self.bytes as u64
    }

    fn of_label(label: u64) -> Size {
        let (bytes, capabilities) = (label as u32 as usize, (label >> 32) as usize);
        size(bytes.min(MESSAGE_BYTES), capabilities.min(MESSAGE_GRANTS))
    }

    /// Makes `message` one of this size, with copies of `signal`.
    fn fill(self, message: &mut Message, signal: Handle) {
        message.length = self.bytes as u16;
        message.grant_count = self.capabilities as u16;
        message.grants[..self.capabilities].fill(Grant::copy(signal, Rights::NOTIFY));
    }
}

/// Drops the capabilities that came with a message.
fn drop_all(message: &Message) -> Result<(), Error> {
    let mut handles = message.grants().iter().map(|grant| grant.handle.0);
    handles.try_for_each(|handle| plain(Number::CapabilityDrop, [handle, 0, 0, 0]).map(drop))
}

/// An answer, and the call that comes next.
struct Turn {
    departure: u64,
    arrival: u64,
    outcome: Outcome,
}

/// Answers with `message`, in which the next call is then. One piece of code for all, so that what is not
/// measured changes nothing about what is.
#[inline(never)]
fn answer(mailbox: Handle, message: &mut Message) -> Turn {
    let words = [message.reply.0, mailbox.0, FOREVER, 0];
    let departure = counter();
    let outcome = invoke(Number::ReplyReceive, words, message);
    Turn { departure, arrival: counter(), outcome }
}

/// The service that answers.
pub fn replier(service: &Service) -> u8 {
    let Some(mailbox) = named(service, "echo") else { return 2 };
    let Ok(signal) = plain(Number::SignalCreate, [0; 4]) else { return 2 };
    let (mut held, mut message) = (Message::EMPTY, Message::EMPTY);
    let mut outcome = invoke(Number::Receive, [mailbox.0, FOREVER, 0, 0], &mut message);
    let (mut arrival, mut times) = (counter(), [0; 2]);
    while outcome.status == 0 {
        let label = message.label;
        match label {
            DROP => {
                if drop_all(&held).is_err() {
                    return 1;
                }
                held.grant_count = 0;
            }
            TELL => {
                message.length = 16;
                message.data[..8].copy_from_slice(&u64::to_le_bytes(times[0]));
                message.data[8..16].copy_from_slice(&u64::to_le_bytes(times[1]));
            }
            label => {
                held = message;
                Size::of_label(label).fill(&mut message, Handle(signal));
            }
        }
        let turn = answer(mailbox, &mut message);
        if !matches!(label, DROP | TELL) {
            times = [arrival, turn.departure];
        }
        (arrival, outcome) = (turn.arrival, turn.outcome);
    }
    1
}

/// The service that measures. Its arguments: the number of rounds of each size.
pub fn asker(service: &Service) -> u8 {
    let Some(peer) = named(service, "echo") else { return 2 };
    let Ok(rounds) = service.arguments().trim().parse() else { return 2 };
    let measured = plain(Number::SignalCreate, [0; 4]).and_then(|signal| {
        let measure = |size: &Size| measure(peer, Handle(signal), *size, rounds);
        SIZES.iter().map(measure).collect::<Result<Vec<String>, Error>>()
    });
    print(service, measured.map(|parts| format!("{{\"sizes\":[{}]}}", parts.join(","))))
}

/// Rounds of calls of `size`, answered with as much, after a tenth as many to warm up.
fn measure(peer: Handle, signal: Handle, size: Size, rounds: usize) -> Result<String, Error> {
    let warm_up = rounds / 10;
    let mut calls = Samples::with_capacity(rounds);
    let mut answers = Samples::with_capacity(rounds);
    let words = [peer.0, FOREVER, 0, 0];
    let Size { bytes, capabilities } = size;
    for round in 0..rounds + warm_up {
        let mut message = Message { label: size.label(), data: [7; 64], ..Message::EMPTY };
        size.fill(&mut message, signal);
        let start = counter();
        let outcome = invoke(Number::Call, words, &mut message);
        let end = counter();
        outcome.result()?;
        // After a drop, who calls or receives again is looked at as for the first time: so before the
        // next one that is measured both have done that.
        drop_all(&message)?;
        ask(DROP, words)?;
        let times = ask(TELL, words)?;
        let (times, _) = times.data.as_chunks::<8>();
        if round >= warm_up {
            calls.push(start, u64::from_le_bytes(times[0]));
            answers.push(u64::from_le_bytes(times[1]), end);
        }
    }
    let (calls, answers) = (calls.json(), answers.json());
    Ok(format!(
        "{{\"bytes\":{bytes},\"capabilities\":{capabilities},\"call\":{calls},\"answer\":{answers}}}"
    ))
}

/// The answer to a call that is not measured.
fn ask(label: u64, words: [u64; 4]) -> Result<Message, Error> {
    let mut message = Message { label, ..Message::EMPTY };
    invoke(Number::Call, words, &mut message).result()?;
    Ok(message)
}
