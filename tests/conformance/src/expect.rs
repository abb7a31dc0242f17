//! What cases expect, and the conductor's own calls.

use crate::invoke;
use alloc::format;
use alloc::string::String;
use core::fmt::Debug;
use phi_abi::{DomainState, Error, FaultKind, Message, Number};

/// A step's result, or what went wrong for people.
pub type Step<T = ()> = Result<T, String>;

/// Four words from up to four.
pub fn four(words: &[u64]) -> [u64; 4] {
    let mut all = [0; 4];
    all.iter_mut().zip(words).for_each(|(place, word)| *place = *word);
    all
}

/// The error with this status; none for 0.
pub fn outcome(status: u64, value: u64) -> Result<u64, Error> {
    phi_abi::Outcome { status, value }.result()
}

/// Expects `got` to be `expected`.
pub fn equal<T: PartialEq + Debug>(what: &str, got: T, expected: T) -> Step {
    match got == expected {
        true => Ok(()),
        false => Err(format!("{what}: expected {expected:?}, got {got:?}")),
    }
}

/// Expects something to hold.
pub fn holds(what: &str, condition: bool) -> Step {
    if condition { Ok(()) } else { Err(format!("expected that {what}")) }
}

/// A call of the conductor's own that succeeds.
pub fn own(number: Number, words: &[u64]) -> Step<u64> {
    let mut message = Message::EMPTY;
    invoke(number, four(words), &mut message)
        .map_err(|error| format!("{} of the conductor: {error}", number.description().name))
}

/// Expects a call of the conductor's own to end like this.
pub fn own_ends(number: Number, words: &[u64], expected: Result<u64, Error>) -> Step {
    let mut message = Message::EMPTY;
    equal(number.description().name, invoke(number, four(words), &mut message), expected)
}

/// Expects a state to be a fault of this kind at this address.
pub fn is_fault(what: &str, state: DomainState, kind: FaultKind, address: u64) -> Step {
    match state {
        DomainState::Faulted { kind: got, address: at, .. } if got == kind && at == address => {
            Ok(())
        }
        _ => Err(format!("{what}: expected fault {kind:?} at {address:#x}, got {state:x?}")),
    }
}
