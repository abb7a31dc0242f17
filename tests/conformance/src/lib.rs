//! The conformance suite: one system, the same on every machine, that exercises every call and every
//! error of the ABI.
//!
//! The service `conductor` plays the cases of `cases::SUBJECTS` one after the other and prints a line
//! for each. It makes hardly any call itself: it orders *puppets* (the services `subject`, `partner`,
//! `witness` and `glutton`, all of one image) to make calls, right or wrong, and looks at what comes
//! of it. So a case is one function that reads from top to bottom, whoever acts in it, and a puppet
//! that ends by a fault is simply started again.
//!
//! Principles:
//! - **Nothing is timed.** Whether a puppet is blocked in a call is read from the number of calls
//!   that it has made, which ΦCore counts.
//! - **Every wait has an end**, so a case that hangs fails, and the next one follows.
//! - **Each case begins with fresh puppets**, so that none depends on another.
//! - **Expectations are those of `docs/syscalls.md`**, faults with their addresses included.
//!
//! Limits: a call number that does not exist cannot be reached through the call table, so the fault
//! `BadCall` is left to ΦCore's own tests; so are `Killed` and `Machine`, which need a machine
//! that fails, and `Denied` and `Revoked` of domains and consoles, to which a manifest gives nobody a
//! weaker capability. Cases must hold where services share one address space (Linux threads), so none
//! relies on memory of another service being out of reach.
#![no_std]

extern crate alloc;

#[cfg(test)]
extern crate std;

mod cases;
mod conductor;
mod expect;
mod order;
mod play;
mod puppet;
mod stunt;

pub use conductor::conductor;
pub use puppet::puppet;

use phi_abi::{Error, Message, Number};

/// Makes any call, right or wrong.
fn invoke(number: Number, words: [u64; 4], message: *mut Message) -> Result<u64, Error> {
    // SAFETY: a message is always one of the caller's own, or one that the call must refuse. What a
    // call that is wrong on purpose breaks is what the suite looks at: the puppets keep nothing in
    // regions, and the conductor makes only calls that are right.
    unsafe { phi_rt::system::call(number, words, message) }.result()
}
