//! The service that revokes, and one that holds half of what is revoked.

use crate::{Members, Samples, Watch, counter, invoke, named, plain, print};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use phi_abi::{DERIVE_REVOCABLE, Grant, Handle, Kind, MESSAGE_GRANTS, Message, Number};
use phi_rt::{Error, FOREVER, Service};

/// Label of a call that carries capabilities to hold.
const HOLD: u64 = 1;

/// Label of a call that is answered when all that is held has been dropped.
const DROP: u64 = 2;

/// Descendants that are made for one number of them, at most, unless that number is larger.
const IN_ALL: usize = 30_000;

/// Revocations of one number of descendants, at most.
const ROUNDS: usize = 100;

/// Measures the revocation of as many descendants as each of its arguments says.
pub fn revoker(service: &Service) -> u8 {
    let Some(holder) = named(service, "hold") else { return 2 };
    print(service, measure(holder, service.arguments()))
}

fn measure(holder: Handle, counts: &str) -> Result<String, Error> {
    let signal = Handle(plain(Number::SignalCreate, [0; 4])?);
    let watch = Watch::start();
    let mut lines = Members::default();
    for count in counts.split(' ') {
        let count: usize = count.parse().map_err(|_| Error::Machine)?;
        let rounds = (IN_ALL / count.max(1)).clamp(1, ROUNDS);
        let mut samples = Samples::with_capacity(rounds);
        for _ in 0..rounds {
            let own = hand_out(signal, holder, count)?;
            let start = counter();
            plain(Number::CapabilityRevoke, [signal.0, 0, 0, 0])?;
            samples.push(start, counter());
            take_back(holder, own)?;
        }
        lines.push(count, &mut samples);
    }
    Ok(format!("{{{},\"revocation\":{{{}}}}}", watch.json(), lines.0))
}

/// Derives so many capabilities that one revocation ends, and gives every other four of them away.
/// Returns those that stay.
fn hand_out(signal: Handle, holder: Handle, count: usize) -> Result<Vec<Handle>, Error> {
    let rights = Kind::Signal.rights();
    let words = [signal.0, u64::from(rights.bits()), DERIVE_REVOCABLE, 0];
    let mut own = Vec::with_capacity(count / 2 + MESSAGE_GRANTS);
    let mut left = count;
    while left > 0 {
        let stays = left.min(MESSAGE_GRANTS);
        for _ in 0..stays {
            own.push(Handle(plain(Number::CapabilityDerive, words)?));
        }
        left -= stays;
        let mut message = Message { label: HOLD, ..Message::EMPTY };
        for _ in 0..left.min(MESSAGE_GRANTS) {
            let derived = Handle(plain(Number::CapabilityDerive, words)?);
            message.push(Grant::transfer(derived, rights));
        }
        left -= usize::from(message.grant_count);
        if message.grant_count > 0 {
            invoke(Number::Call, [holder.0, FOREVER, 0, 0], &mut message).result()?;
        }
    }
    Ok(own)
}

/// Drops what is left of what was revoked. None of it may be usable.
fn take_back(holder: Handle, own: Vec<Handle>) -> Result<(), Error> {
    drop_revoked(own)?;
    let mut message = Message { label: DROP, ..Message::EMPTY };
    invoke(Number::Call, [holder.0, FOREVER, 0, 0], &mut message).result()?;
    (message.label == 0).then_some(()).ok_or(Error::Machine)
}

fn drop_revoked(handles: Vec<Handle>) -> Result<(), Error> {
    for handle in handles {
        let used = plain(Number::SignalNotify, [handle.0, 1, 0, 0]);
        if used != Err(Error::Revoked) {
            return Err(Error::Machine);
        }
        plain(Number::CapabilityDrop, [handle.0, 0, 0, 0])?;
    }
    Ok(())
}

/// Holds capabilities until it is told to drop them, and finds them revoked then.
pub fn holder(service: &Service) -> u8 {
    let Some(mailbox) = named(service, "hold") else { return 2 };
    let mut held = Vec::new();
    loop {
        let mut message = Message::EMPTY;
        let words = [mailbox.0, FOREVER, 0, 0];
        if invoke(Number::Receive, words, &mut message).status != 0 {
            return 1;
        }
        let label = match message.label {
            HOLD => {
                held.extend(message.grants().iter().map(|grant| grant.handle));
                0
            }
            _ => u64::from(drop_revoked(core::mem::take(&mut held)).is_err()),
        };
        let mut answer = Message { label, ..Message::EMPTY };
        if invoke(Number::Reply, [message.reply.0, 0, 0, 0], &mut answer).status != 0 {
            return 1;
        }
    }
}
