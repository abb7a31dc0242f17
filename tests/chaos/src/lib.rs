//! Services that work with each other while `phi-host chaos` kills them.
//!
//! Clients call servers, lend them memory for reading and writing, send numbers one way, and pass
//! capabilities on. Everybody checks what it can: an answer is right or an error that a death explains,
//! own memory is as it was left, numbers of one sender come in order. What is not so is a panic.
//!
//! The keeper starts whoever was killed, counts every other end as wrong, and says when a storm can
//! begin and when all is calm: by then it has stopped whom it controls, and has who is left wait for an
//! answer of its.
//!
//! Limits: what only time can show (an answer that never comes) shows as a system that does not end.
#![no_std]

extern crate alloc;

mod client;
mod keeper;
mod server;

pub use client::main as client;
pub use keeper::main as keeper;
pub use server::main as server;

use phi_rt::Error;

/// What a message to a server asks for: its label.
mod label {
    /// The bytes back.
    pub const ECHO: u64 = 1;
    /// The sum of the lent bytes.
    pub const SUM: u64 = 2;
    /// The lent bytes all set to the message's first byte.
    pub const FILL: u64 = 3;
    /// To read a region that is passed on.
    pub const READ: u64 = 4;
    /// To keep a capability for a while.
    pub const KEEP: u64 = 5;
    /// An object of the server's.
    pub const MINT: u64 = 6;
    /// A number, of which none is answered and each of a sender is larger than the last.
    pub const NOTE: u64 = 7;
    /// The bytes back, by way of another server.
    pub const RELAY: u64 = 8;
    /// Of the keeper: whether to go on.
    pub const ASK: u64 = 9;
}

/// Labels of answers.
mod answer {
    /// What was asked for.
    pub const DONE: u64 = 0;
    /// Another server, or a quota, was in the way.
    pub const LATER: u64 = 1;
    /// Of the keeper: it is over.
    pub const END: u64 = 2;
}

/// Bytes of a page.
const PAGE: usize = 4096;

/// Whether a call may end with `error` because somebody was killed.
fn is_explained(error: Error) -> bool {
    matches!(error, Error::Dead)
}

/// Random numbers, good enough to choose what to do next. Source: Marsaglia, xorshift64.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Random {
        Random(seed | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}
