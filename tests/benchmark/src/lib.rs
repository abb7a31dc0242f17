//! What `phi-host bench` runs on both machines. Each system measures one thing and prints one line of JSON:
//!
//! | manifest | who measures | what |
//! |---|---|---|
//! | `phi.toml` | `caller` | calls and messages of 64 bytes to `answerer` |
//! | `messages.toml` | `caller` | the same, with room for 1,000 messages, nearly as many as a pipe of Linux has |
//! | `one-way.toml` | `asker` | each way of a call alone, by size ([`one_way`]) |
//! | made by `phi-host bench start` | `leader` | how long many services take to start ([`start`]) |
//! | `fan-in.toml` | `gatherer` | calls of 16 `client`s to one `answerer` |
//! | `lending.toml` | `lender` | calls that lend 4 KiB to 64 MiB to `answerer`, and calls that name slices of the same memory to `taker` |
//! | `revocation.toml` | `revoker` | revocations of 1 to 100,000 descendants, half of them with `holder` |
//! | `revocation-quick.toml` | `revoker` | the same of 1 to 1,000 |
//!
//! Principles: the same images everywhere, measured from inside with the processor's time stamp
//! counter, which both sides of a call can read; under QEMU's `-icount shift=0` it counts
//! instructions. What is measured are the bare calls of the ABI, as the peers' are system calls, from
//! before the call through the function table until after its return; typed interfaces come on top.
//! Limits: x86-64; the counters of two processors must agree, as invariant ones do.
#![no_std]

extern crate alloc;

mod answerer;
mod caller;
mod crowd;
mod lender;
pub mod one_way;
mod revoker;
mod slices;
pub mod start;

pub use answerer::answerer;
pub use caller::caller;
pub use crowd::{client, gatherer};
pub use lender::lender;
pub use revoker::{holder, revoker};
pub use slices::taker;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use phi_abi::{Error, Handle, Message, Number, Outcome};
use phi_rt::Service;

/// Label of a call that is answered with the counter as the call came and as its answer left.
const CALL: u64 = 1;

/// Label of a message that is only counted.
const COUNT: u64 = 2;

/// Label of a call that is answered when all messages before it have come.
const DRAIN: u64 = 3;

/// Bytes of each message.
const BYTES: usize = 64;

fn counter() -> u64 {
    // SAFETY: reading the counter touches no memory, and both machines allow it.
    unsafe { core::arch::x86_64::_rdtsc() }
}

fn invoke(number: Number, words: [u64; 4], message: &mut Message) -> Outcome {
    // SAFETY: the message is the caller's alone, and the handles are those of the start block, which
    // nobody drops, of messages, each of which is used once, or of what is made here and never shared
    // with other code; pages that are mapped or lent are not referred to.
    unsafe { phi_rt::system::call(number, words, message) }
}

/// A call without a message; its value.
fn plain(number: Number, words: [u64; 4]) -> Result<u64, Error> {
    invoke(number, words, &mut { Message::EMPTY }).result()
}

fn named(service: &Service, name: &str) -> Option<Handle> {
    service.start().find(name).map(|capability| capability.handle)
}

fn filled(label: u64) -> Message {
    Message { label, length: BYTES as u16, data: [7; BYTES], ..Message::EMPTY }
}

/// Prints what was measured, or why it was not; the service's status.
fn print(service: &Service, result: Result<String, Error>) -> u8 {
    let Ok(output) = service.console("console") else { return 2 };
    let (line, status) = match result {
        Ok(line) => (line, 0),
        Err(error) => (format!("{{\"error\":\"{error}\"}}"), 1),
    };
    status | u8::from(output.write(format!("{line}\n").as_bytes()).is_err())
}

/// How long something took by the counter and by the clock, to tell one by the other.
struct Watch {
    time: u64,
    counter: u64,
}

impl Watch {
    fn start() -> Watch {
        Watch { time: phi_rt::now(), counter: counter() }
    }

    /// Both, as fields of a JSON object.
    fn json(&self) -> String {
        let (time, ticks) = (phi_rt::now() - self.time, counter() - self.counter);
        format!("\"nanoseconds\":{time},\"ticks\":{ticks}")
    }
}

/// The members of a JSON object: what was measured of each size, or number.
#[derive(Default)]
struct Members(String);

impl Members {
    fn push(&mut self, name: impl core::fmt::Display, samples: &mut Samples) {
        let comma = if self.0.is_empty() { "" } else { "," };
        self.0 += &format!("{comma}\"{name}\":{}", samples.json());
    }
}

/// Differences of the counter.
struct Samples(Vec<u64>);

impl Samples {
    fn with_capacity(count: usize) -> Samples {
        Samples(Vec::with_capacity(count))
    }

    fn push(&mut self, from: u64, to: u64) {
        self.0.push(to.saturating_sub(from));
    }

    /// Least, median and 99th percentile.
    fn json(&mut self) -> String {
        self.0.sort_unstable();
        let at = |percent: usize| {
            let index = self.0.len().saturating_sub(1) * percent / 100;
            self.0.get(index).copied().unwrap_or_default()
        };
        format!("{{\"min\":{},\"p50\":{},\"p99\":{}}}", at(0), at(50), at(99))
    }
}
