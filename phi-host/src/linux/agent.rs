//! The agent: the main thread of a service's process. It does what the supervisor says about the
//! process's memory and threads, and ends with the supervisor.

use super::control::ControlArea;
use super::fault::Handlers;
use super::host_thread::{self, Begin, Service};
use super::memory::{self, Access};
use super::protocol::{self, Command, Source};
use nix::errno::Errno;
use nix::sys::prctl::{set_no_new_privs, set_pdeathsig};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::getppid;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;

/// The word that makes a program a service's process, as its first argument; the second is the
/// supervisor's process id.
pub const SERVICE_WORD: &str = "__service";

/// The descriptor of the socket to the supervisor.
pub const SOCKET: RawFd = 3;

/// Runs a service's process: to be called first thing when the program's first argument is
/// [`SERVICE_WORD`].
pub fn service_main() -> ! {
    let status = match serve() {
        Ok(()) => 0,
        // The supervisor sees the process end; nothing else of it is open.
        Err(_) => 1,
    };
    std::process::exit(status)
}

fn serve() -> io::Result<()> {
    set_pdeathsig(Signal::SIGKILL)?;
    give_up_the_rest()?;
    let supervisor = std::env::args().nth(2).and_then(|word| word.parse().ok());
    if supervisor != Some(getppid().as_raw()) {
        // It ended before the wish to end with it was made.
        return Ok(());
    }
    // SAFETY: the supervisor has put the socket there, and nothing else in this process uses it.
    let socket = unsafe { OwnedFd::from_raw_fd(SOCKET) };
    let _handlers = Handlers::install()?;
    let mut agent = None;
    while let Some((commands, descriptors)) = protocol::receive_commands(socket.as_fd())? {
        let mut descriptors = descriptors.into_iter();
        let result = commands
            .into_iter()
            .try_for_each(|command| perform(&mut agent, command, &mut descriptors));
        protocol::send_answer(socket.as_fd(), result)?;
    }
    Ok(())
}

/// Gives up what a service's process does not need: descriptors that the supervisor itself was
/// started with, new privileges, and core files.
fn give_up_the_rest() -> io::Result<()> {
    // SAFETY: nothing in this process uses a descriptor after the socket's yet.
    if unsafe { libc::syscall(libc::SYS_close_range, SOCKET + 1, u32::MAX, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    set_no_new_privs()?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    Ok(())
}

/// What the agent has once it has begun.
struct Agent {
    service: Arc<Service>,
    bundle: OwnedFd,
}

fn perform(
    agent: &mut Option<Agent>,
    command: Command,
    descriptors: &mut impl Iterator<Item = OwnedFd>,
) -> Result<(), Errno> {
    let mut next = || descriptors.next().ok_or(Errno::EBADF);
    if let Command::Begin { threads, guard, stack } = command {
        let (control, doorbell, bundle) = (next()?, next()?, next()?);
        let control = ControlArea::open(control, threads as usize).map_err(errno)?;
        let service = Arc::new(Service { control, doorbell, guard: guard..stack });
        *agent = Some(Agent { service, bundle });
        return Ok(());
    }
    let Some(agent) = agent else { return Err(Errno::EPROTO) };
    match command {
        Command::Begin { .. } => Err(Errno::EPROTO),
        Command::Map { address, length, access, source } => {
            map(agent.bundle.as_fd(), address, length, access, &source, next)
        }
        Command::Unmap { address, length } => memory::unmap(address, length),
        Command::ThreadStart { slot, entry, stack, argument } => {
            let slot = usize::try_from(slot).map_err(|_| Errno::EINVAL)?;
            if slot >= agent.service.control.threads() {
                return Err(Errno::EINVAL);
            }
            let begin = Begin { slot, entry, stack, argument };
            host_thread::start(agent.service.clone(), begin).map_err(errno)
        }
    }
}

/// Maps memory in this process as [`Command::Map`] says; `shared` is asked for the memory of
/// [`Source::Shared`].
pub fn map(
    bundle: BorrowedFd,
    address: u64,
    length: u64,
    access: Access,
    source: &Source,
    shared: impl FnOnce() -> Result<OwnedFd, Errno>,
) -> Result<(), Errno> {
    match source {
        Source::Zero => memory::map(address, length, access, memory::Source::Zero),
        Source::Bytes(bytes) => memory::map(address, length, access, memory::Source::Bytes(bytes)),
        Source::Bundle(offset) => {
            memory::map(address, length, access, memory::Source::Copy(bundle, *offset))
        }
        Source::Shared(offset) => {
            let shared = shared()?;
            memory::map(address, length, access, memory::Source::Shared(shared.as_fd(), *offset))
        }
    }
}

fn errno(error: io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}
