//! The service that measures calls and messages.

use crate::{CALL, COUNT, DRAIN, Samples, Watch, counter, filled, invoke, named, print};
use alloc::format;
use alloc::string::String;
use phi_abi::{Handle, Number};
use phi_rt::{Error, FOREVER, Service};

/// Measures calls and messages to `echo`. Its arguments: the number of rounds.
pub fn caller(service: &Service) -> u8 {
    let Some(peer) = named(service, "echo") else { return 2 };
    let Ok(rounds) = service.arguments().trim().parse() else { return 2 };
    print(service, measure(peer, rounds))
}

/// Rounds of calls, then as many messages one way; both after a tenth as many to warm up.
fn measure(peer: Handle, rounds: usize) -> Result<String, Error> {
    let warm_up = rounds / 10;
    let mut trips = Samples::with_capacity(rounds);
    let mut calls = Samples::with_capacity(rounds);
    let mut replies = Samples::with_capacity(rounds);
    let watch = Watch::start();
    for round in 0..rounds + warm_up {
        let (start, arrival, departure, end) = call(peer)?;
        if round >= warm_up {
            trips.push(start, end);
            calls.push(start, arrival);
            replies.push(departure, end);
        }
    }
    let watch = watch.json();
    send(peer, warm_up)?;
    let one_way = send(peer, rounds)?;
    Ok(format!(
        "{{\"rounds\":{rounds},{watch},\"round_trip\":{},\"call\":{},\"reply\":{},\
         \"one_way\":{one_way}}}",
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
