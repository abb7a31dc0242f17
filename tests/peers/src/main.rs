//! What people use instead of ΦOS, measured between processes of their own: one measurement per run, as one
//! line of JSON.
//!
//! Principles: the same clock, the same counts and the same shape of result as the images of
//! `tests/benchmark`, so that `phi-host bench` can set both side by side. The program that starts this
//! one chooses the processors and the scheduling class, which all processes here inherit.
//! Limits: x86-64 Linux. A run that takes longer than a minute ends by a signal.

mod clock;
mod eventfd;
mod fan_in;
mod futex;
mod hand_over;
#[cfg(feature = "libraries")]
mod iceoryx;
mod link;
mod memory;
mod pair;
mod pipe;
mod seqpacket;
#[cfg(feature = "libraries")]
mod shmem;

use std::fmt;
use std::process::ExitCode;

/// Why there is no measurement.
#[derive(Debug)]
pub struct PeerError(String);

impl fmt::Display for PeerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<std::io::Error> for PeerError {
    fn from(error: std::io::Error) -> PeerError {
        PeerError(error.to_string())
    }
}

impl From<nix::Error> for PeerError {
    fn from(error: nix::Error) -> PeerError {
        PeerError(error.to_string())
    }
}

/// Seconds that a run may take. Processes that wait for each other for ever end then.
const LIMIT: u32 = 60;

const USAGE: &str = "usage: phi-peers PEER MEASUREMENT COUNT
peers: pipe seqpacket eventfd futex-spinning futex-blocking iceoryx2 iceoryx2-event shmem-ipc
measurements: round-trip one-way fan-in hand-over";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [peer, measurement, count] = arguments.as_slice() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let Some(count) = count.parse().ok().filter(|count| (1..=10_000_000).contains(count)) else {
        eprintln!("phi-peers: `{count}` is no count from 1 to 10000000\n{USAGE}");
        return ExitCode::from(2);
    };
    // SAFETY: the call takes a number.
    unsafe { libc::alarm(LIMIT) };
    match measure(peer, measurement, count) {
        Some(Ok(line)) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Some(Err(error)) => {
            eprintln!("phi-peers: {peer} {measurement}: {error}");
            ExitCode::from(4)
        }
        None => {
            eprintln!("phi-peers: {peer} has no measurement `{measurement}` here\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

/// What a measurement prints; `None` when the peer has no such.
fn measure(peer: &str, measurement: &str, count: usize) -> Option<Result<String, PeerError>> {
    use futex::{Blocking, Spinning};
    Some(match (peer, measurement) {
        ("pipe", "round-trip") => pair::round_trip::<pipe::Pipes>(count),
        ("pipe", "one-way") => pair::one_way::<pipe::Pipes>(count),
        ("pipe", "fan-in") => fan_in::measure::<pipe::Shared>(count),
        ("pipe", "hand-over") => hand_over::measure::<pipe::Bulk>(count),
        ("seqpacket", "round-trip") => pair::round_trip::<seqpacket::Sockets>(count),
        ("seqpacket", "one-way") => pair::one_way::<seqpacket::Sockets>(count),
        ("seqpacket", "fan-in") => fan_in::measure::<seqpacket::Star>(count),
        ("eventfd", "round-trip") => pair::round_trip::<eventfd::Slots>(count),
        ("eventfd", "fan-in") => fan_in::measure::<eventfd::Star>(count),
        ("futex-spinning", "round-trip") => pair::round_trip::<futex::Rings<Spinning>>(count),
        ("futex-spinning", "one-way") => pair::one_way::<futex::Rings<Spinning>>(count),
        ("futex-spinning", "hand-over") => hand_over::measure::<futex::Kept<Spinning>>(count),
        ("futex-blocking", "round-trip") => pair::round_trip::<futex::Rings<Blocking>>(count),
        ("futex-blocking", "one-way") => pair::one_way::<futex::Rings<Blocking>>(count),
        ("futex-blocking", "fan-in") => fan_in::measure::<futex::Star>(count),
        ("futex-blocking", "hand-over") => hand_over::measure::<futex::Kept<Blocking>>(count),
        #[cfg(feature = "libraries")]
        ("iceoryx2", "round-trip") => pair::round_trip::<iceoryx::Requests>(count),
        #[cfg(feature = "libraries")]
        ("iceoryx2", "one-way") => pair::one_way::<iceoryx::Samples>(count),
        #[cfg(feature = "libraries")]
        ("iceoryx2", "fan-in") => fan_in::measure::<iceoryx::Star>(count),
        #[cfg(feature = "libraries")]
        ("iceoryx2", "hand-over") => hand_over::measure::<iceoryx::Loans>(count),
        #[cfg(feature = "libraries")]
        ("iceoryx2-event", "round-trip") => pair::round_trip::<iceoryx::Events>(count),
        #[cfg(feature = "libraries")]
        ("shmem-ipc", "round-trip") => pair::round_trip::<shmem::Rings>(count),
        #[cfg(feature = "libraries")]
        ("shmem-ipc", "one-way") => pair::one_way::<shmem::Rings>(count),
        _ => return None,
    })
}
