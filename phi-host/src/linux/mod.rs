//! The Linux machine: ΦCore in one supervisor process, services in processes of their own.
//!
//! Principles:
//! - **The supervisor is ΦCore**: one thread that waits for doorbells, ends of processes and time,
//!   and runs `phi-core`, which decides everything.
//! - **A service's process has a socket, and nothing else gets in**: its control area, its doorbell,
//!   the images and the memory of its regions are descriptors that the supervisor passes. All memory
//!   is anonymous and of sealed size, so that nothing is left when the processes are gone, and every
//!   process ends with the supervisor.
//! - **The supervisor believes nothing** that stands in memory which a service can write: it copies
//!   once and checks what it copied.
//! - **The same stub and faults in both modes**: `--mode threads` runs the same host threads in the
//!   supervisor's own process.
//! - **An image may contain any instruction**: namespaces, an empty root and a filter of system
//!   calls stand around its process, and the supervisor looks for itself what the process has
//!   mapped. `docs/isolation.md` argues each call.
//!
//! - **Plain messages go past the supervisor**, once a thread sends often: see [`direct`].
//!
//! Limits: x86-64, and the GNU C library, whose calls the filter knows. `--mode threads` isolates
//! nothing.
#![allow(unsafe_code)]

mod agent;
pub mod attempt;
pub mod chaos;
mod control;
mod control_socket;
pub mod device;
mod direct;
pub mod disk;
mod domain;
mod events;
mod fault;
mod filter;
mod futex;
mod host_stacks;
mod host_thread;
#[cfg(any(test, fuzzing))]
pub mod hostile;
mod isolation;
mod launch;
mod machine;
mod maps;
mod memory;
pub mod nic;
pub(crate) mod probe;
mod process;
mod protocol;
mod region;
pub mod scheduling;
mod shared_space;
mod stub;
mod supervisor;
#[cfg(test)]
mod tests;
pub mod tty;
mod watch;
mod witness;
mod zygote;

pub use agent::{SERVICE_WORD, service_main};
pub use isolation::Isolation;
pub use machine::Watcher;

use crate::control::place::{Listener, Place};
use control_socket::ControlSocket;
use device::{AllGiven, Device, DeviceError};
use direct::Switchboard;
use launch::Launcher;
use machine::LinuxMachine;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use phi_abi::{DomainInfo, DomainStatistics};
use phi_core::BootError;
use phi_manifest::bundle::Bundle;
use phi_sim::recording::Journal;
use std::fs::File;
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
    /// Where the run is written down, so that it can be replayed.
    pub recording: Option<PathBuf>,
    /// How far service processes are isolated.
    pub isolation: Isolation,
    /// Plain messages through a capability after which its sender gets a channel to the receiver; none
    /// to let every message go through the supervisor. A run that is recorded has no channels.
    pub channel_after: Option<u32>,
    /// Where others may ask what the system is doing; none for nowhere.
    pub control: Option<Place>,
    /// What the system was loaded from, for those who ask.
    pub source: Option<PathBuf>,
    /// What is handed in for the system's devices.
    pub devices: AllGiven,
}

/// Messages after which a channel is worth what it costs to open.
const CHANNEL_AFTER: u32 = 4;

impl Options {
    /// In `mode`; service processes run the program that runs now, fully isolated, nothing is
    /// recorded, and nobody can ask.
    pub fn new(mode: Mode) -> Options {
        let program = PathBuf::from("/proc/self/exe");
        let (isolation, channel_after) = (Isolation::Full, Some(CHANNEL_AFTER));
        let (recording, control, source) = (None, None, None);
        let devices = AllGiven::default();
        Options { mode, program, recording, isolation, channel_after, control, source, devices }
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
    /// Linux does not let this user isolate services as they should be.
    Isolation(io::Error),
    /// A disk of the system cannot be had.
    Device(DeviceError),
    /// ΦCore could not start the system.
    Boot(BootError),
    /// Waiting failed.
    Wait(nix::Error),
    /// Every service waits, and nothing is due that could wake one.
    Stuck,
    /// The transcript or the log could not be written.
    Console(io::Error),
    /// The recording could not be written.
    Recording(io::Error),
    /// There can be no control socket where one was asked for.
    Control(io::Error),
}

impl std::fmt::Display for LinuxError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LinuxError::Machine(error) => write!(f, "Linux cannot run the system: {error}"),
            LinuxError::Isolation(error) => write!(f, "Linux cannot isolate services: {error}"),
            LinuxError::Device(error) => error.fmt(f),
            LinuxError::Boot(error) => write!(f, "the system cannot start: {error}"),
            LinuxError::Wait(error) => write!(f, "the supervisor cannot wait for events: {error}"),
            LinuxError::Stuck => f.write_str(
                "the system has no end: every service waits, and nothing is due that could wake one",
            ),
            LinuxError::Console(error) => write!(f, "the output cannot be written: {error}"),
            LinuxError::Recording(error) => write!(f, "the recording cannot be written: {error}"),
            LinuxError::Control(error) => write!(f, "there can be no control socket: {error}"),
        }
    }
}

impl std::error::Error for LinuxError {}

impl From<io::Error> for LinuxError {
    fn from(error: io::Error) -> LinuxError {
        LinuxError::Machine(error)
    }
}

/// Runs the system of `bundle` to its end. The transcript and the log are written as they come;
/// `watcher` is told of each process.
///
/// SIGINT and SIGTERM end the system while it runs. The calling thread must be the only one that
/// gets them: block them in others.
///
/// # Errors
/// Linux or ΦCore could not run it, or the output could not be written.
pub fn run(
    bundle: &Bundle<'_>,
    options: &Options,
    watcher: Option<&mut dyn Watcher>,
    transcript: &mut dyn Write,
    log: &mut dyn Write,
) -> Result<Report, LinuxError> {
    run_examined(bundle, options, watcher, transcript, log, |_| ()).map(|(report, ())| report)
}

/// As [`run`]; `examine` sees what is left when the system has ended.
fn run_examined<R>(
    bundle: &Bundle<'_>,
    options: &Options,
    watcher: Option<&mut dyn Watcher>,
    transcript: &mut dyn Write,
    log: &mut dyn Write,
    examine: impl FnOnce(&Supervisor<'_>) -> R,
) -> Result<(Report, R), LinuxError> {
    let begun = Instant::now();
    raise_descriptor_limit();
    let devices = device::open_all(bundle.plan(), &options.devices);
    let devices = devices.map_err(LinuxError::Device)?;
    if options.mode == Mode::Threads && devices.iter().any(Option::is_some) {
        return Err(LinuxError::Device(DeviceError::NoProcesses));
    }
    for note in devices.iter().flatten().filter_map(Device::note) {
        writeln!(log, "linux: {note}").map_err(LinuxError::Console)?;
    }
    let (launcher, _handlers) = match options.mode {
        Mode::Processes => {
            let launcher = Launcher::new(&options.program, options.isolation);
            let launcher = launcher.map_err(LinuxError::Isolation)?;
            for note in options.isolation.notes() {
                writeln!(log, "linux: {note}").map_err(LinuxError::Console)?;
            }
            (Some(launcher), None)
        }
        Mode::Threads => (None, Some(fault::Handlers::install()?)),
    };
    let control = match &options.control {
        Some(place) => control_socket(place, log)?,
        None => None,
    };
    let journal =
        options.recording.as_ref().map(|file| Journal::new(Box::new(File::create(file)?), bundle));
    let journal = journal.transpose().map_err(LinuxError::Recording)?;
    // What it points to may live longer than the rest.
    let watcher = watcher.map(|watcher| watcher as &mut dyn Watcher);
    let machine = LinuxMachine::new(bundle, launcher, devices, watcher, transcript, log)?;
    let switchboard = Switchboard::new(options.channel_after);
    let mut supervisor = Supervisor::start(machine, bundle.plan(), journal, switchboard)?;
    if let Some(control) = control {
        let listening = supervisor.listen(control, options.source.clone());
        listening.map_err(|error| LinuxError::Control(error.into()))?;
    }
    let start_microseconds = begun.elapsed().as_micros() as u64;
    let status = supervisor.run()?;
    let services = supervisor.services(bundle.plan());
    let examined = examine(&supervisor);
    Ok((Report { status, services, start_microseconds }, examined))
}

/// The control socket at `place`. Where nobody asked for one in particular, the run goes on without.
fn control_socket(place: &Place, log: &mut dyn Write) -> Result<Option<ControlSocket>, LinuxError> {
    match Listener::new(place).and_then(ControlSocket::new) {
        Ok(socket) => Ok(Some(socket)),
        Err(error) if matches!(place, Place::Default(_)) => {
            writeln!(log, "linux: there is no control socket: {error}")
                .map_err(LinuxError::Console)?;
            Ok(None)
        }
        Err(error) => Err(LinuxError::Control(error)),
    }
}

/// Memory with the content of an image, as a supervisor takes it while its system runs.
///
/// # Errors
/// What Linux says.
pub fn sealed_image(file: &[u8]) -> io::Result<std::os::fd::OwnedFd> {
    memory::create_constant("phi-image", file, 0)
}

/// Every region and every process takes descriptors; the limit that programs begin with is low for
/// the sake of old ones.
fn raise_descriptor_limit() {
    if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // Without it, large systems run out of regions.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, most, most);
    }
}

/// The monotonic clock, in nanoseconds.
fn monotonic() -> u64 {
    let time = nix::time::ClockId::CLOCK_MONOTONIC.now();
    // The clock always exists.
    time.map_or(0, |time| std::time::Duration::from(time).as_nanos() as u64)
}
