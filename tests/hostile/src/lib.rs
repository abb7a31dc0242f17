//! A hostile service, and a judge that looks at what comes of each attack.
//!
//! The attacker knows that it runs on Linux, and makes system calls of its own or touches what is
//! not its own. Each attack is a row of [`attacks::ATTACKS`] with the end that it must have. After
//! each one the victim is asked whether its data is unharmed.
//!
//! Limits: x86-64. What makes sense on every machine (stale and forged handles, floods of messages,
//! quotas) is in `tests/conformance`.
#![no_std]

mod attacker;
pub mod attacks;
mod channels;
mod judge;
mod victim;

pub use attacker::attacker;
pub use judge::judge;
pub use victim::victim;
