//! Real eBPF for the Linux machine: programs in the kernel that count who talks to whom, and tell
//! what happens as it happens.
//!
//! The programs stand in `ebpf/`, their compiled objects in `ebpf/objects`. [`Tracer`] loads them
//! and attaches them to the sites of this program (`linux/probe.rs`): those of the supervisor at
//! once, those of a service when its process starts.
//!
//! Principles:
//! - **A run goes on without it**: what is missing is an [`Off`], which says why and what to do.
//! - **The process is the identity**: which service a message is from is what the kernel knows of
//!   the process, not what the service says.
//! - **Bytes of the kernel are read as any others**, with every bound checked: [`layout`].
//!
//! Limits: the feature `ebpf` of this package, since libbpf needs the headers of libelf and zlib;
//! Linux 6.6 or newer, and root. 4096 edges; beyond that, messages are lost to the counts, and
//! counted as lost.

pub mod layout;
#[cfg(feature = "ebpf")]
mod loader;
#[cfg(not(feature = "ebpf"))]
#[path = "absent.rs"]
mod loader;
mod report;
mod running;
#[cfg(any(feature = "ebpf", test))]
mod sites;

pub use loader::{EventStream, Tracer, attempt_program};
pub use report::{Edges, label};
pub use running::{Attached, NotAttached};

use layout::{Edge, EdgeKey, Lost, ServiceCounts};
use std::path::PathBuf;

/// What a tracer is to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TraceOptions {
    /// The program that service processes run: [`crate::linux::Options::program`].
    pub program: PathBuf,
    /// Whether services run in the supervisor's process.
    pub threads: bool,
    /// Whether every event goes to the [`EventStream`], and not only to the counts.
    pub stream: bool,
    /// The process of the supervisor, if it is not this one: its system may run already.
    pub supervisor: Option<i32>,
}

/// Loads the programs, attaches them to this process, passes a site, and takes what they tell. Says
/// of sites, and then of CPU time, whether it works.
pub fn attempt() -> (Result<(), Off>, Result<(), Off>) {
    let options =
        TraceOptions { program: OWN.into(), threads: true, stream: true, supervisor: None };
    let tracer = match Tracer::new(&options) {
        Ok(tracer) => tracer,
        Err(off) => return (Err(off.clone()), Err(off)),
    };
    let processor = tracer.off().first().map_or(Ok(()), |off| Err(off.clone()));
    let told = tracer.events().and_then(|mut events| {
        crate::linux::attempt::pass_site(0);
        events.next().ok_or_else(|| Off {
            what: "eBPF".into(),
            why: "a site was passed, and nothing was told".into(),
            how: "see whether another tracer or the kernel's lockdown forbids uprobes".into(),
        })
    });
    (told.map(drop), processor)
}

/// The program that runs.
const OWN: &str = "/proc/self/exe";

/// Something that this computer, or this build, does not have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Off {
    /// What is off.
    pub what: String,
    /// Why.
    pub why: String,
    /// What turns it on.
    pub how: String,
}

impl Off {
    /// The same, for programs.
    pub fn json(&self) -> serde_json::Value {
        serde_json::json!({ "what": self.what, "why": self.why, "how": self.how })
    }
}

impl std::fmt::Display for Off {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Off { what, why, how } = self;
        write!(f, "phi-host: {what} is off: {why}\n  help: {how}")
    }
}

/// Where the messages through a capability go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Door {
    /// The domain that holds it.
    pub domain: u16,
    /// Its handle.
    pub handle: u64,
    /// Index of the mailbox.
    pub mailbox: u32,
    /// The domain that serves it.
    pub server: u16,
}

/// Everything that was counted until now.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Snapshot {
    /// The edges, by client, server, mailbox and label.
    pub edges: Vec<(EdgeKey, Edge)>,
    /// What became of each service, by index of its domain.
    pub services: Vec<ServiceCounts>,
    /// What could not be counted.
    pub lost: Lost,
}
