//! The agent: the main thread of a service's process. It does what the supervisor says about the
//! process's memory and threads, and ends with the supervisor.
//!
//! It confines itself first, then loads the image, then puts the process under its filter, and only
//! then starts threads of the image. From there on everything in this process may be the image's
//! doing: the supervisor checks what it must rely on ([`super::maps`]).

use super::control::ControlArea;
use super::device::{Driver, Held};
use super::direct::Notices;
use super::fault::Handlers;
use super::filter::{self, ThreadFilter};
use super::host_stacks::HostStacks;
use super::host_thread::{Begin, Service};
use super::isolation::{self, Isolation, Limits};
use super::memory::{self, Access};
use super::protocol::{self, Command, Source};
use super::watch;
use nix::errno::Errno;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;

/// The word that makes a program a service's process, as its first argument; the second is the word
/// of its [`Isolation`].
pub const SERVICE_WORD: &str = "__service";

/// The descriptor of the socket to the supervisor.
pub const SOCKET: RawFd = 3;

/// Bytes of heap that a driver may use once its filter has closed.
const DRIVER_HEAP: usize = 1 << 20;

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
    // SAFETY: the supervisor has put the socket there, and nothing else in this process uses it.
    let socket = unsafe { OwnedFd::from_raw_fd(SOCKET) };
    let handlers = Handlers::install()?;
    let confined = confine();
    let mut agent = None;
    while let Some((commands, descriptors)) = protocol::receive_commands(socket.as_fd())? {
        let result = match (&mut agent, &confined) {
            (Some(agent), _) => perform(agent, commands, descriptors),
            (None, Ok(confined)) => {
                load(commands, descriptors, confined, socket.as_fd()).map(|loaded| {
                    agent = Some(loaded);
                })
            }
            // The supervisor hears why, and ends the process.
            (None, Err(error)) => Err(*error),
        };
        protocol::send_answer(socket.as_fd(), result)?;
    }
    drop(handlers);
    Ok(())
}

/// What the agent knows of its process before the image is loaded.
struct Confined {
    isolation: Isolation,
    /// Bytes of the process's own private memory.
    memory: u64,
}

/// Gives up all that this process does not need.
fn confine() -> Result<Confined, Errno> {
    let word = std::env::args().nth(2);
    let isolation = word.and_then(|word| Isolation::from_word(&word)).ok_or(Errno::EINVAL)?;
    keep_heap_simple();
    let memory = isolation::private_memory().map_err(errno)?;
    isolation::confine(isolation, SOCKET).map_err(errno)?;
    Ok(Confined { isolation, memory })
}

/// Has the heap grow by `brk` only, and never shrink: so it needs one system call.
fn keep_heap_simple() {
    for (parameter, value) in
        [(libc::M_ARENA_MAX, 1), (libc::M_MMAP_MAX, 0), (libc::M_TRIM_THRESHOLD, i32::MAX)]
    {
        // SAFETY: the call takes two numbers, and the heap may be in use.
        unsafe { libc::mallopt(parameter, value) };
    }
}

/// What the agent has once the image is loaded.
struct Agent {
    service: Arc<Service>,
    stacks: HostStacks,
}

/// Does the first commands: the image and the service's own memory. Nothing else can be had of the
/// bundle afterwards, and no memory besides that of regions.
fn load(
    commands: Vec<Command>,
    descriptors: Vec<OwnedFd>,
    confined: &Confined,
    socket: BorrowedFd,
) -> Result<Agent, Errno> {
    let mut memory = confined.memory;
    let mut commands = commands.into_iter();
    let Some(Command::Begin { domain, threads, guard, stack }) = commands.next() else {
        return Err(Errno::EPROTO);
    };
    let mut descriptors = descriptors.into_iter();
    let mut next = || descriptors.next().ok_or(Errno::EBADF);
    let (control, doorbell, bundle, notices) = (next()?, next()?, next()?, next()?);
    let mut held = None;
    let control = ControlArea::open(control, threads as usize).map_err(errno)?;
    let notices = Notices::open(notices).map_err(errno)?;
    for command in commands {
        let (address, length, access, source) = match command {
            Command::Map { address, length, access, source } => (address, length, access, source),
            Command::Drive(assignment) => {
                let file = descriptors.next().ok_or(Errno::EBADF)?;
                held = Some(Held::new(assignment, file).map_err(errno)?);
                continue;
            }
            _ => return Err(Errno::EPROTO),
        };
        if access == Access::Write {
            memory += length;
        }
        map(bundle.as_fd(), address, length, access, &source, || Err(Errno::EBADF))?;
    }
    drop(bundle);
    let limits = Limits::new(threads, held.as_ref());
    let drives = held.as_ref().map(Held::descriptors);
    let filter = ThreadFilter::new(doorbell.as_raw_fd(), drives).map_err(errno)?;
    // Asks Linux for the processors, while it still may.
    let mut service = Service::new(domain, control, doorbell, guard..stack, notices);
    if let Some(held) = held {
        service.driver = Some(Arc::new(Driver::from(held)));
        // A driver takes from its heap while it may not ask Linux for more of it.
        drop(std::hint::black_box(Vec::<u8>::with_capacity(DRIVER_HEAP)));
        memory += DRIVER_HEAP as u64;
    }
    let service = Arc::new(service);
    let stacks = HostStacks::new(threads as usize, filter).map_err(errno)?;
    isolation::limit(confined.isolation, &limits, memory + stacks.length() as u64)
        .map_err(errno)?;
    let watch = watch::begin().map_err(errno)?;
    protocol::send_descriptor(socket, watch.as_fd()).map_err(errno)?;
    // The supervisor alone has it.
    drop(watch);
    filter::apply_to_process(service.doorbell.as_raw_fd(), drives).map_err(errno)?;
    Ok(Agent { service, stacks })
}

/// Does commands about what runs.
fn perform(
    agent: &mut Agent,
    commands: Vec<Command>,
    descriptors: Vec<OwnedFd>,
) -> Result<(), Errno> {
    let mut descriptors = descriptors.into_iter();
    for command in commands {
        match command {
            Command::Map { address, length, access, source: Source::Shared(offset) } => {
                let shared = descriptors.next().ok_or(Errno::EBADF)?;
                let source = memory::Source::Shared(shared.as_fd(), offset);
                memory::map(address, length, access, source)?;
            }
            Command::Unmap { address, length } => {
                if let Some(driver) = &agent.service.driver {
                    driver.leave(address..address.saturating_add(length))?;
                }
                memory::unmap(address, length)?;
            }
            Command::ChannelOpen { slot, channel } => {
                let inbox = agent.service.inboxes.get(slot as usize).ok_or(Errno::EINVAL)?;
                inbox.put(channel);
            }
            Command::ThreadStart { slot, entry, stack, argument } => {
                let slot = usize::try_from(slot).map_err(|_| Errno::EINVAL)?;
                let begin = Begin { slot, entry, stack, argument };
                agent.stacks.start(agent.service.clone(), begin).map_err(errno)?;
            }
            Command::Begin { .. } | Command::Drive(_) | Command::Map { .. } => {
                return Err(Errno::EPROTO);
            }
        }
    }
    Ok(())
}

/// Maps a service's own memory in this process as [`Command::Map`] says; `shared` is asked for the
/// memory of [`Source::Shared`].
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
