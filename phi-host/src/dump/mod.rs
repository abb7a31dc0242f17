//! Dumps of the bare-metal kernel: one line each, which `phi-kernel/src/dump.rs` writes.
//!
//! `phi-dump`, a space, the state as JSON, a space, and a hash in hexadecimal digits, of the JSON in pieces
//! of 992 bytes: BLAKE3 of the hash of the pieces before (zeros before the first) and the piece.
//!
//! A dump that comes from a file is from outside: it is believed as far as its hash is right, and every
//! number in it that names something else may name nothing.

mod view;

use serde::Deserialize;
use std::fmt;

/// The version of the format.
const VERSION: u32 = 1;

/// The first word.
const WORD: &[u8] = b"phi-dump ";

/// Bytes of a dump, at most.
pub const SIZE: usize = 16 << 20;

/// Bytes that are hashed at a time, with the hash before them.
const PIECE: usize = 1024;

/// Bytes of a hash, and digits.
const HASH: usize = 32;
const DIGITS: usize = 2 * HASH;

/// A dump that is whole.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dump {
    bytes: Vec<u8>,
    state: State,
}

/// Why a dump is refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DumpError {
    /// It is none, or cut off.
    None,
    /// It is longer than any is.
    TooLong,
    /// Its content is not what its hash says.
    Damaged,
    /// It is of another version.
    Version(u32),
    /// Its content is no state of a system.
    Unreadable(String),
}

impl fmt::Display for DumpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DumpError::None => f.write_str("this is no dump, or it is cut off"),
            DumpError::TooLong => write!(f, "it has more than {SIZE} bytes"),
            DumpError::Damaged => {
                f.write_str("the dump is damaged: its hash does not match its content")
            }
            DumpError::Version(version) => {
                write!(f, "the dump is of version {version}, and this is version {VERSION}")
            }
            DumpError::Unreadable(reason) => write!(f, "the dump makes no sense: {reason}"),
        }
    }
}

impl std::error::Error for DumpError {}

impl Dump {
    /// Reads a dump.
    ///
    /// # Errors
    /// [`DumpError`].
    pub fn open(bytes: &[u8]) -> Result<Dump, DumpError> {
        if bytes.len() > SIZE {
            return Err(DumpError::TooLong);
        }
        let line = bytes.strip_prefix(WORD).and_then(|line| line.strip_suffix(b"\n"));
        let line = line.ok_or(DumpError::None)?;
        let split = line.len().checked_sub(DIGITS + 1).ok_or(DumpError::None)?;
        let (content, end) = line.split_at(split);
        let digits = blake3::Hash::from_bytes(hash(content)).to_hex();
        if end.strip_prefix(b" ") != Some(digits.as_bytes()) {
            return Err(DumpError::Damaged);
        }
        let unreadable = |error: serde_json::Error| DumpError::Unreadable(error.to_string());
        let Version { version } = serde_json::from_slice(content).map_err(unreadable)?;
        if version != VERSION {
            return Err(DumpError::Version(version));
        }
        let state = serde_json::from_slice(content).map_err(unreadable)?;
        Ok(Dump { bytes: bytes.to_vec(), state })
    }

    /// The dump as it was read.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The services, as a supervisor on Linux tells of them. The kernel does not count their CPU time.
    pub fn services(&self) -> Vec<crate::control::protocol::ServiceView> {
        view::services(&self.state)
    }

    /// The system's state.
    pub fn state(&self) -> &State {
        &self.state
    }
}

fn hash(content: &[u8]) -> [u8; HASH] {
    let mut hash = [0; HASH];
    let pieces = content.chunks(PIECE - HASH);
    for piece in pieces {
        hash = *blake3::hash(&[&hash, piece].concat()).as_bytes();
    }
    hash
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}

/// A system, in one moment.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct State {
    /// Why it was written down: `request`, `end`, `stuck` (it can never go on), or `bug` (of the kernel).
    pub reason: String,
    /// Nanoseconds since the system's start.
    pub time: u64,
    /// The system's name.
    pub name: String,
    /// The names of its inputs, by index.
    pub inputs: Vec<String>,
    /// Its services, by index.
    pub services: Vec<Service>,
    /// The mailboxes that there are; those of the plan come first, and have its indices.
    pub mailboxes: Vec<Mailbox>,
    /// The signals that there are; the first are the services' events, by index of the service.
    pub signals: Vec<Signal>,
    /// The regions that there are; first the inputs, by index, then the plan.
    pub regions: Vec<Region>,
    /// The capabilities, by holder and slot, then those that travel in messages.
    pub capabilities: Vec<Capability>,
}

/// A service.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// How often it was started.
    pub generation: u32,
    /// What it is doing.
    pub state: crate::statistics::State,
    /// The exit status, or the number of the fault; otherwise 0.
    pub code: u32,
    /// What the fault concerns.
    #[serde(default)]
    pub address: u64,
    /// Where it was when it faulted.
    #[serde(default)]
    pub instruction: u64,
    /// Base of its window of addresses.
    pub window: u64,
    /// Whether its budget of CPU time is used up.
    pub throttled: bool,
    /// Messages that it sent.
    pub messages: u64,
    /// Bytes of those messages that ΦCore copied.
    pub bytes_copied: u64,
    /// Loans that it made.
    pub loans: u64,
    /// Times that one of its threads was switched to.
    pub switches: u64,
    /// Bytes of memory charged to it.
    pub memory: u64,
    /// Calls that it made of ΦCore.
    pub calls: u64,
    /// Bytes that may be charged to it.
    pub memory_quota: u64,
    /// Capabilities that it holds.
    pub handles: u64,
    /// Capabilities that it may hold.
    pub handles_quota: u32,
    /// Its threads.
    pub threads: Vec<Thread>,
}

/// A thread.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct Thread {
    /// Its slot in its service.
    pub slot: u32,
    /// Its number among all threads, by which capabilities name it.
    pub index: u32,
    /// What it is doing.
    pub activity: Activity,
    /// The mailbox or the signal that this is about.
    pub object: Option<u32>,
    /// The bits that it waits for.
    pub bits: u64,
    /// When its wait ends by itself, in nanoseconds since the system's start.
    pub deadline: Option<u64>,
}

/// What a thread is doing: [`phi_core::Activity`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activity {
    /// It runs, or may go on at once.
    Running,
    /// It is ready.
    Ready,
    /// It is ready, but its service's budget is used up.
    Parked,
    /// Its call waits in a mailbox.
    Calling,
    /// Its call is delivered, and not answered.
    Served,
    /// It waits for a message.
    Receiving,
    /// It waits for bits of a signal.
    Waiting,
    /// It sleeps.
    Sleeping,
}

/// A mailbox.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct Mailbox {
    /// Its number.
    pub index: u32,
    /// Index of the service that serves it, or made it.
    pub owner: u16,
    /// Whether it takes messages.
    pub open: bool,
    /// Sent messages that it stores, at most.
    pub capacity: u32,
    /// Sent messages that it stores.
    pub stored: u32,
    /// The interface's name; `None` for one that a service made.
    pub name: Option<String>,
}

/// A signal.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct Signal {
    /// Its number.
    pub index: u32,
    /// Index of the service that made it, or supervises those whose ends it tells.
    pub owner: u16,
    /// Whether it is of the plan.
    pub planned: bool,
    /// Bits that are set and not taken.
    pub bits: u64,
}

/// A region.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct Region {
    /// Its number.
    pub index: u32,
    /// Index of the service that made it; of no meaning for the plan's.
    pub owner: u16,
    /// Whether it is of the plan.
    pub planned: bool,
    /// Where it lies.
    pub address: u64,
    /// Its bytes.
    pub length: u64,
}

/// A capability.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct Capability {
    /// Index of the service that holds it; `None` while it travels.
    pub service: Option<u16>,
    /// The holder's handle.
    pub handle: u64,
    /// Its id: unique, never used again.
    pub id: u64,
    /// `held`, or why it cannot be used.
    pub state: Standing,
    /// [`phi_abi::Kind`]'s number.
    pub kind: u8,
    /// [`phi_abi::Rights::bits`].
    pub rights: u32,
    /// Number of the object among those of its kind.
    pub object: u32,
    /// The badge on its messages.
    pub badge: u64,
    /// The lineage that it belongs to.
    pub lineage: Option<u32>,
    /// The lineage of what was derived revocably from it.
    pub child: Option<u32>,
    /// Bytes that are mapped through it.
    pub mapped: u64,
    /// Whether it is a loan.
    pub loan: bool,
}

/// How a capability stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// It can be used.
    Held,
    /// It was revoked.
    Revoked,
    /// Its object has ended.
    Dead,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const EMPTY: &str = "{\"version\":1,\"reason\":\"end\",\"time\":5,\"name\":\"a\",\"inputs\":[],\
                         \"services\":[],\"mailboxes\":[],\"signals\":[],\"regions\":[],\
                         \"capabilities\":[]}";

    fn sealed(content: &str) -> Vec<u8> {
        let digits = blake3::Hash::from_bytes(hash(content.as_bytes())).to_hex();
        format!("phi-dump {content} {digits}\n").into_bytes()
    }

    /// A dump of nothing.
    pub fn sample() -> Dump {
        Dump::open(&sealed(EMPTY)).unwrap()
    }

    #[test]
    fn a_dump_is_believed_if_its_hash_is_right() {
        let dump = sample();
        assert_eq!((dump.state().time, &*dump.state().reason), (5, "end"));
        for place in 0..dump.bytes().len() {
            let mut changed = dump.bytes().to_vec();
            changed[place] ^= 1;
            assert!(matches!(Dump::open(&changed), Err(DumpError::None | DumpError::Damaged)));
            assert!(Dump::open(&dump.bytes()[..place]).is_err());
        }
    }

    #[test]
    fn the_hash_is_a_chain_over_pieces() {
        let long = "x".repeat(3 * (PIECE - HASH) + 1);
        let first = blake3::hash(&[&[0; HASH][..], &long.as_bytes()[..PIECE - HASH]].concat());
        let rest = &long.as_bytes()[PIECE - HASH..];
        let mut expected = *first.as_bytes();
        for piece in rest.chunks(PIECE - HASH) {
            expected = *blake3::hash(&[&expected[..], piece].concat()).as_bytes();
        }
        assert_eq!(hash(long.as_bytes()), expected);
        assert_eq!(hash(b""), [0; HASH]);
    }

    #[test]
    fn other_versions_and_nonsense_are_refused() {
        let newer = EMPTY.replacen("1", "2", 1);
        assert_eq!(Dump::open(&sealed(&newer)), Err(DumpError::Version(2)));
        for content in ["", "{}", "{\"version\":1}", "[1]", &"[".repeat(100_000)] {
            assert!(matches!(Dump::open(&sealed(content)), Err(DumpError::Unreadable(_))));
        }
        assert_eq!(Dump::open(&vec![0; SIZE + 1]), Err(DumpError::TooLong));
    }
}
