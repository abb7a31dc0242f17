//! What `phi-host bench ipc --metal` runs: `asker` and `replier` measure a call and its answer, each
//! alone, for messages of several sizes.
//!
//! As in sel4bench: a call lasts from the counter read before it in the client to that read after the
//! receive in the server, an answer from before the reply-and-receive to after the call. Times are
//! fetched by a call of their own, so that the measured messages carry nothing but their bytes.

use crate::{Samples, counter, invoke, named, print};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use phi_abi::{Handle, MESSAGE_BYTES, Message, Number};
use phi_rt::{Error, FOREVER, Service};

/// Bytes of the messages that are measured.
const SIZES: [usize; 4] = [0, 8, 40, MESSAGE_BYTES];

/// Label of a call that asks for the times of the last one. Other labels are sizes.
const TELL: u64 = u64::MAX;

/// The service that answers.
pub fn replier(service: &Service) -> u8 {
    let Some(mailbox) = named(service, "echo") else { return 2 };
    let mut message = Message::EMPTY;
    let (mut last_arrival, mut last_departure) = (0, 0);
    let mut outcome = invoke(Number::Receive, [mailbox.0, FOREVER, 0, 0], &mut message);
    loop {
        let arrival = counter();
        if outcome.status != 0 {
            return 1;
        }
        let words = [message.reply.0, mailbox.0, FOREVER, 0];
        if message.label == TELL {
            message.length = 16;
            message.data[..8].copy_from_slice(&u64::to_le_bytes(last_arrival));
            message.data[8..16].copy_from_slice(&u64::to_le_bytes(last_departure));
            outcome = invoke(Number::ReplyReceive, words, &mut message);
            continue;
        }
        message.length = message.label.min(MESSAGE_BYTES as u64) as u16;
        last_arrival = arrival;
        last_departure = counter();
        outcome = invoke(Number::ReplyReceive, words, &mut message);
    }
}

/// The service that measures. Its arguments: the number of rounds of each size.
pub fn asker(service: &Service) -> u8 {
    let Some(peer) = named(service, "echo") else { return 2 };
    let Ok(rounds) = service.arguments().trim().parse() else { return 2 };
    let parts: Result<Vec<String>, Error> =
        SIZES.iter().map(|size| measure(peer, *size, rounds)).collect();
    print(service, parts.map(|parts| format!("{{\"sizes\":[{}]}}", parts.join(","))))
}

/// Rounds of calls of `size` bytes, answered with as many, after a tenth as many to warm up.
fn measure(peer: Handle, size: usize, rounds: usize) -> Result<String, Error> {
    let warm_up = rounds / 10;
    let mut calls = Samples::with_capacity(rounds);
    let mut answers = Samples::with_capacity(rounds);
    let words = [peer.0, FOREVER, 0, 0];
    let label = size as u64;
    for round in 0..rounds + warm_up {
        let mut message = Message { label, length: size as u16, data: [7; 64], ..Message::EMPTY };
        let start = counter();
        let outcome = invoke(Number::Call, words, &mut message);
        let end = counter();
        outcome.result()?;
        let mut times = Message { label: TELL, ..Message::EMPTY };
        invoke(Number::Call, words, &mut times).result()?;
        let (times, _) = times.data.as_chunks::<8>();
        if round >= warm_up {
            calls.push(start, u64::from_le_bytes(times[0]));
            answers.push(u64::from_le_bytes(times[1]), end);
        }
    }
    Ok(format!("{{\"bytes\":{size},\"call\":{},\"answer\":{}}}", calls.json(), answers.json()))
}
