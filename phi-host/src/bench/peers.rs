//! What people use instead, measured in the same run: a pipe pair and a Unix seqpacket socket
//! between two processes, 64 bytes there and back.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

use super::{BenchError, Distribution};

/// First argument of the process that a peer's measurement talks to.
pub const PEER_WORD: &str = "__bench-peer";

/// Bytes of each message, as in ΦOS.
const BYTES: usize = 64;

/// The other end of a peer's measurement: sends back what it gets until its input ends. Standard
/// input is read, and answered on standard output; with `both` as second argument standard input
/// is a socket that serves both ways.
pub fn peer_main() -> ! {
    let both = std::env::args().nth(2).as_deref() == Some("both");
    let mut bytes = [0; BYTES];
    let mut input = std::fs::File::from(duplicate(&std::io::stdin()));
    let mut output = match both {
        true => std::fs::File::from(duplicate(&std::io::stdin())),
        false => std::fs::File::from(duplicate(&std::io::stdout())),
    };
    while input.read_exact(&mut bytes).is_ok() && output.write_all(&bytes).is_ok() {}
    std::process::exit(0);
}

/// A descriptor of our own for an open stream, without the buffer in front of it.
fn duplicate(stream: &impl std::os::fd::AsFd) -> OwnedFd {
    stream.as_fd().try_clone_to_owned().unwrap_or_else(|_| std::process::exit(1))
}

/// Two pipes, one each way.
pub fn pipe(rounds: usize) -> Result<Distribution, BenchError> {
    let mut child = start("one", Stdio::piped(), Stdio::piped())?;
    let (Some(mut to), Some(mut from)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(BenchError::Peer("its pipes were not opened".into()));
    };
    let result = round_trips(rounds, &mut to, &mut from);
    drop(to);
    finish(child, result)
}

/// One Unix socket that keeps message boundaries.
pub fn seqpacket(rounds: usize) -> Result<Distribution, BenchError> {
    let (ours, theirs) =
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
            .map_err(|error| BenchError::Peer(format!("socketpair: {error}")))?;
    let child = start("both", Stdio::from(theirs), Stdio::null())?;
    let mut to = std::fs::File::from(ours);
    let mut from = to.try_clone().map_err(|error| BenchError::Peer(error.to_string()))?;
    let result = round_trips(rounds, &mut to, &mut from);
    drop((to, from));
    finish(child, result)
}

fn start(word: &str, input: Stdio, output: Stdio) -> Result<Child, BenchError> {
    Command::new("/proc/self/exe")
        .args([PEER_WORD, word])
        .stdin(input)
        .stdout(output)
        .spawn()
        .map_err(|error| BenchError::Peer(format!("cannot start its process: {error}")))
}

/// Waits for the other end, which ends with its input.
fn finish(
    mut child: Child,
    result: std::io::Result<Distribution>,
) -> Result<Distribution, BenchError> {
    if result.is_err() {
        // It may wait for what never comes. That it has ended already is fine.
        let _ = child.kill();
    }
    child.wait().map_err(|error| BenchError::Peer(error.to_string()))?;
    result.map_err(|error| BenchError::Peer(error.to_string()))
}

fn round_trips(
    rounds: usize,
    to: &mut impl Write,
    from: &mut impl Read,
) -> std::io::Result<Distribution> {
    let mut bytes = [7; BYTES];
    let mut samples = Vec::with_capacity(rounds);
    for _ in 0..rounds + rounds / 10 {
        let start = Instant::now();
        to.write_all(&bytes)?;
        from.read_exact(&mut bytes)?;
        samples.push(start.elapsed().as_nanos() as u64);
    }
    // The first tenth warms up.
    Ok(Distribution::of(samples.split_off(rounds / 10)))
}
