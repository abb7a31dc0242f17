//! Many clients of one server, and the service that has them begin together and gathers what they
//! measured.

use crate::{BYTES, CALL, Samples, Watch, counter, filled, invoke, named, print};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use phi_abi::{Handle, Message, Number};
use phi_rt::{Error, FOREVER, Service};

/// Label of a client's call that is answered when all are ready.
const READY: u64 = 1;

/// Label of a client's call that is answered when all are done.
const DONE: u64 = 2;

/// Label of a call with some of a client's samples, of 32 bits each; with none, they were the last.
const SAMPLES: u64 = 3;

/// Measures its calls to `echo` while others do the same. Its arguments: the number of rounds.
pub fn client(service: &Service) -> u8 {
    let Some(peer) = named(service, "echo") else { return 2 };
    let Some(gatherer) = named(service, "gather") else { return 2 };
    let Ok(rounds) = service.arguments().trim().parse() else { return 2 };
    u8::from(take_part(peer, gatherer, rounds).is_err())
}

fn call(to: Handle, message: &mut Message) -> Result<(), Error> {
    invoke(Number::Call, [to.0, FOREVER, 0, 0], message).result().map(drop)
}

fn take_part(peer: Handle, gatherer: Handle, rounds: usize) -> Result<(), Error> {
    let mut samples = Samples::with_capacity(rounds);
    call(gatherer, &mut filled(READY))?;
    for round in 0..rounds + rounds / 10 {
        let mut message = filled(CALL);
        let start = counter();
        call(peer, &mut message)?;
        if round >= rounds / 10 {
            samples.push(start, counter());
        }
    }
    call(gatherer, &mut filled(DONE))?;
    for part in samples.0.chunks(BYTES / 4) {
        let mut message = filled(SAMPLES);
        message.length = part.len() as u16 * 4;
        for (bytes, sample) in message.data.chunks_mut(4).zip(part) {
            bytes.copy_from_slice(&u32::try_from(*sample).unwrap_or(u32::MAX).to_le_bytes());
        }
        call(gatherer, &mut message)?;
    }
    call(gatherer, &mut Message { label: SAMPLES, ..Message::EMPTY })
}

/// Has the clients begin together, and prints what they measured. Its arguments: how many there are, and
/// the number of rounds of each.
pub fn gatherer(service: &Service) -> u8 {
    let Some(mailbox) = named(service, "gather") else { return 2 };
    let Some((clients, rounds)) = service.arguments().split_once(' ') else { return 2 };
    let (Ok(clients), Ok(rounds)) = (clients.parse(), rounds.parse()) else { return 2 };
    print(service, gather(mailbox, clients, rounds))
}

fn receive(mailbox: Handle, label: u64) -> Result<Message, Error> {
    let mut message = Message::EMPTY;
    invoke(Number::Receive, [mailbox.0, FOREVER, 0, 0], &mut message).result()?;
    (message.label == label).then_some(message).ok_or(Error::Machine)
}

fn reply(to: Handle) -> Result<(), Error> {
    invoke(Number::Reply, [to.0, 0, 0, 0], &mut filled(0)).result().map(drop)
}

/// Waits until each client has called once with `label`; their replies.
fn all(mailbox: Handle, label: u64, clients: usize) -> Result<Vec<Handle>, Error> {
    (0..clients).map(|_| receive(mailbox, label).map(|message| message.reply)).collect()
}

fn gather(mailbox: Handle, clients: usize, rounds: usize) -> Result<String, Error> {
    let ready = all(mailbox, READY, clients)?;
    let watch = Watch::start();
    let start = counter();
    ready.into_iter().try_for_each(reply)?;
    let done = all(mailbox, DONE, clients)?;
    let calls = clients * (rounds + rounds / 10);
    let each = (counter() - start) / calls.max(1) as u64;
    let watch = watch.json();
    done.into_iter().try_for_each(reply)?;
    let mut samples = Samples::with_capacity(clients * rounds);
    let mut left = clients;
    while left > 0 {
        let message = receive(mailbox, SAMPLES)?;
        left -= usize::from(message.length == 0);
        for bytes in message.bytes().chunks_exact(4) {
            let sample = bytes.try_into().map(u32::from_le_bytes).unwrap_or_default();
            samples.push(0, u64::from(sample));
        }
        reply(message.reply)?;
    }
    let samples = samples.json();
    Ok(format!("{{\"rounds\":{rounds},{watch},\"fan_in\":{samples},\"fan_in_each\":{each}}}"))
}
