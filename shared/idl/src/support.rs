//! What the stubs are made of. Only generated code needs it.
//!
//! An answer's label says how to read it: [`DONE`], [`REFUSED`], or anything else for a call that was
//! not understood.

pub use phi_rt::{Capability, FOREVER, Incoming, Loan, LoanMut, Outgoing, Peer};

use crate::CallError;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Bytes in a message.
const BYTES: usize = 64;

/// Label of an answer that holds the method's value.
const DONE: u64 = 0;

/// Label of an answer that holds the server's error.
const REFUSED: u64 = 1;

/// Label of an answer to what the server could not read, or had no room to answer.
const NOT_UNDERSTOOD: u64 = 2;

/// How often a call of an idempotent method that ends with `Dead` is made again, at most.
pub const RETRIES: u32 = 8;

/// Nanoseconds before the first of them; doubled for each further one, which makes a quarter of a second.
const RETRY_PAUSE: u64 = 1_000_000;

/// Calls `peer` with what `message` makes, again and again as long as its server is gone.
///
/// # Errors
/// What `message` says, or the last call.
pub fn call_idempotent<'a, E>(
    peer: &Peer,
    timeout: u64,
    message: impl Fn() -> Result<Outgoing<'a>, CallError<E>>,
) -> Result<Incoming, CallError<E>> {
    for retry in 0..RETRIES {
        match peer.call(message()?, timeout) {
            Err(phi_rt::Error::Dead) => phi_rt::sleep(RETRY_PAUSE << retry),
            result => return Ok(result?),
        }
    }
    Ok(peer.call(message()?, timeout)?)
}

/// A call of method `label`.
///
/// # Errors
/// [`CallError::TooLong`].
pub fn request<'a, E>(
    label: u64,
    arguments: &impl Serialize,
) -> Result<Outgoing<'a>, CallError<E>> {
    encode(label, arguments).ok_or(CallError::TooLong)
}

fn encode<'a>(label: u64, value: &impl Serialize) -> Option<Outgoing<'a>> {
    let mut bytes = [0; BYTES];
    let used = postcard::to_slice(value, &mut bytes).ok()?;
    Outgoing::new(label, used).ok()
}

/// A value from all of `bytes`.
pub fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Option<T> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Some(value),
        _ => None,
    }
}

/// The answer to what could not be read.
pub fn not_understood() -> Outgoing<'static> {
    Outgoing::empty(NOT_UNDERSTOOD)
}

/// The answer that holds `result`.
pub fn answer<T: Serialize, E: Serialize>(result: Result<T, E>) -> Outgoing<'static> {
    match result {
        Ok(value) => encode(DONE, &value),
        Err(error) => encode(REFUSED, &error),
    }
    .unwrap_or_else(not_understood)
}

/// The answer that gives a capability away, or says why not.
pub fn capability_answer<E: Serialize>(result: Result<Capability, E>) -> Outgoing<'static> {
    match result {
        Ok(capability) => {
            let mut answer = Outgoing::empty(DONE);
            if answer.give(capability).is_ok() { answer } else { not_understood() }
        }
        Err(error) => answer::<(), E>(Err(error)),
    }
}

/// Reads an answer.
///
/// # Errors
/// The server's, or [`CallError::NotUnderstood`].
pub fn result<T: DeserializeOwned, E: DeserializeOwned>(
    answer: Incoming,
) -> Result<T, CallError<E>> {
    match answer.label() {
        DONE => decode(answer.bytes()).ok_or(CallError::NotUnderstood),
        _ => Err(refusal(&answer)),
    }
}

/// Reads an answer that gives a capability.
///
/// # Errors
/// The server's, or [`CallError::NotUnderstood`].
pub fn capability_result<E: DeserializeOwned>(
    mut answer: Incoming,
) -> Result<Capability, CallError<E>> {
    match answer.label() {
        DONE => answer.take(0).ok_or(CallError::NotUnderstood),
        _ => Err(refusal(&answer)),
    }
}

fn refusal<E: DeserializeOwned>(answer: &Incoming) -> CallError<E> {
    match answer.label() {
        REFUSED => decode(answer.bytes()).map_or(CallError::NotUnderstood, CallError::Refused),
        _ => CallError::NotUnderstood,
    }
}
