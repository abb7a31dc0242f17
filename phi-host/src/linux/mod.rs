//! The Linux machine: ΦCore in one supervisor process, services in processes of their own.
//!
//! Principles:
//! - **The supervisor is ΦCore**: one thread that waits for doorbells, ends of processes and time,
//!   and runs `phi-core`, which decides everything.
//! - **A service's process has a socket, and nothing else gets in**: its control area, its doorbell,
//!   the bundle and the memory of its regions are descriptors that the supervisor passes. All memory
//!   is anonymous and of sealed size, so that nothing is left when the processes are gone, and every
//!   process ends with the supervisor.
//! - **The supervisor believes nothing** that stands in memory which a service can write: it copies
//!   once and checks what it copied.
//! - **The same stub and faults in both modes**: `--mode threads` runs the same host threads in the
//!   supervisor's own process.
//!
//! Limits: x86-64. Every call goes through the supervisor. A service's process is isolated by its
//! address space and by what descriptors it has, not by namespaces or system call filters: an image
//! with a raw `syscall` instruction still reaches Linux. `--mode threads` isolates nothing.
#![allow(unsafe_code)]

mod agent;
mod control;
mod domain;
mod events;
mod fault;
mod futex;
mod host_thread;
mod machine;
mod memory;
mod process;
mod protocol;
mod region;
mod shared_space;
mod stub;
mod supervisor;
#[cfg(test)]
mod tests;

pub use agent::{SERVICE_WORD, service_main};

use machine::LinuxMachine;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use phi_abi::{DomainInfo, DomainStatistics};
use phi_core::BootError;
use phi_manifest::bundle::Bundle;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Instant;
use supervisor::Supervisor;

/// Where services run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Each in a process of its own.
    Processes,
    /// All in this process, to debug them: nothing isolates them.
    Threads,
}

/// How a system is run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// Where services run.
    pub mode: Mode,
    /// The program of service processes: it calls [`service_main`] first thing when its first
    /// argument is [`SERVICE_WORD`].
    pub program: PathBuf,
}

impl Options {
    /// In `mode`; service processes run the program that runs now.
    pub fn new(mode: Mode) -> Options {
        Options { mode, program: PathBuf::from("/proc/self/exe") }
    }
}

/// A service's name, what it is doing, and what it has used.
pub type ServiceReport = (String, DomainInfo, DomainStatistics);

/// How a system ran.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// Its exit status; 128 and the signal's number when a signal to the supervisor ended it.
    pub status: u8,
    /// Its services.
    pub services: Vec<ServiceReport>,
    /// Microseconds from the start of [`run`] to the first dispatch of `init`.
    pub start_microseconds: u64,
}

/// Why a system could not be run to its end.
#[derive(Debug)]
pub enum LinuxError {
    /// Linux could not provide what the machine needs.
    Machine(io::Error),
    /// ΦCore could not start the system.
    Boot(BootError),
    /// Waiting failed.
    Wait(nix::Error),
    /// Every service waits, and nothing is due that could wake one.
    Stuck,
    /// The transcript or the log could not be written.
    Console(io::Error),
}

impl std::fmt::Display for LinuxError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LinuxError::Machine(error) => write!(f, "Linux cannot run the system: {error}"),
            LinuxError::Boot(error) => write!(f, "the system cannot start: {error}"),
            LinuxError::Wait(error) => write!(f, "the supervisor cannot wait for events: {error}"),
            LinuxError::Stuck => f.write_str(
                "the system has no end: every service waits, and nothing is due that could wake one",
            ),
            LinuxError::Console(error) => write!(f, "the output cannot be written: {error}"),
        }
    }
}

impl std::error::Error for LinuxError {}

impl From<io::Error> for LinuxError {
    fn from(error: io::Error) -> LinuxError {
        LinuxError::Machine(error)
    }
}

/// Runs the system of `bundle` to its end. The transcript and the log are written as they come.
///
/// SIGINT and SIGTERM end the system while it runs. The calling thread must be the only one that
/// gets them: block them in others.
///
/// # Errors
/// Linux or ΦCore could not run it, or the output could not be written.
pub fn run(
    bundle: &Bundle<'_>,
    options: &Options,
    transcript: &mut dyn Write,
    log: &mut dyn Write,
) -> Result<Report, LinuxError> {
    let begun = Instant::now();
    raise_descriptor_limit();
    let (program, _handlers) = match options.mode {
        Mode::Processes => (Some(options.program.clone()), None),
        Mode::Threads => (None, Some(fault::Handlers::install()?)),
    };
    let machine = LinuxMachine::new(bundle, program, transcript, log)?;
    let mut supervisor = Supervisor::start(machine, bundle.plan())?;
    let start_microseconds = begun.elapsed().as_micros() as u64;
    let status = supervisor.run()?;
    Ok(Report { status, services: supervisor.services(bundle.plan()), start_microseconds })
}

/// Every region and every process takes descriptors; the limit that programs begin with is low for
/// the sake of old ones.
fn raise_descriptor_limit() {
    if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // Without it, large systems run out of regions.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, most, most);
    }
}
