//! What a service's process gives up before any code of its image runs.
//!
//! The supervisor makes the process with namespaces of its own ([`super::launch`]); the agent,
//! alone in it, then leaves the file system, its privileges and most of its limits, and puts itself
//! under Landlock. The filter of system calls comes last, once the image is loaded
//! ([`super::filter`]).

use super::device::Held;
use landlock::{ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, Scope};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::prctl::{set_dumpable, set_no_new_privs, set_pdeathsig};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::{chdir, pivot_root};
use std::io;
use std::os::fd::RawFd;

/// How far services are isolated from Linux, and so from each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Isolation {
    /// By namespaces of their own, an empty root, Landlock, limits, and a filter of system calls.
    Full,
    /// By the same without namespaces and without the empty root, for where Linux does not let this
    /// user have them: the filter is then what stands between a service and Linux.
    Reduced,
}

impl Isolation {
    /// As the supervisor tells it to a service's process.
    pub fn word(self) -> &'static str {
        match self {
            Isolation::Full => "isolation=full",
            Isolation::Reduced => "isolation=reduced",
        }
    }

    /// What services go without here, for people.
    pub fn notes(self) -> impl Iterator<Item = &'static str> {
        let reduced = "services have no namespaces and no empty root: their filter of system calls \
                       is all that keeps them from Linux and from each other";
        let reduced = (self == Isolation::Reduced).then_some(reduced);
        let landlock = (!has_landlock()).then_some("this kernel has no Landlock");
        reduced.into_iter().chain(landlock)
    }

    /// The isolation with this word.
    pub fn from_word(word: &str) -> Option<Isolation> {
        [Isolation::Full, Isolation::Reduced].into_iter().find(|one| one.word() == word)
    }
}

/// Descriptors that a service's process may have: those that it keeps, and those of one command.
const DESCRIPTORS: u64 = 16;

/// Bytes to which the agent's own stack may grow.
const AGENT_STACK: u64 = 1 << 20;

/// Bytes of private memory that the agent may need besides what the plan gives the service.
const AGENT_MEMORY: u64 = 2 << 20;

/// Bytes of it more for each thread: the stack for its signals, and what it keeps of its channels.
const THREAD_MEMORY: u64 = 96 << 10;

/// Gives up everything but `socket` and memory, for ever.
///
/// # Errors
/// What Linux says. The process must end then.
pub fn confine(isolation: Isolation, socket: RawFd) -> io::Result<()> {
    close_from(socket as u32 + 1)?;
    if isolation == Isolation::Full {
        leave_file_system()?;
    }
    drop_capabilities()?;
    set_no_new_privs()?;
    if isolation == Isolation::Full {
        // Nobody may trace or read it who has no power over its user namespace. Without one, that
        // would keep the supervisor from looking at it.
        set_dumpable(false)?;
    }
    // After the last change of credentials: those clear it.
    set_pdeathsig(Signal::SIGKILL)?;
    for (resource, limit) in [
        (Resource::RLIMIT_CORE, 0),
        (Resource::RLIMIT_NOFILE, DESCRIPTORS),
        (Resource::RLIMIT_MSGQUEUE, 0),
        (Resource::RLIMIT_STACK, AGENT_STACK),
    ] {
        setrlimit(resource, limit, limit)?;
    }
    restrict_by_landlock()?;
    // Standard streams: the null device, which nothing needs from here on.
    for standard in 0..3 {
        nix::unistd::close(standard)?;
    }
    Ok(())
}

/// What a process is limited to besides memory.
pub struct Limits {
    /// Threads of the service.
    threads: u64,
    /// Threads that Linux makes for the device of a driver.
    workers: u64,
    /// Bytes to which a file may grow: none, but for a driver that its disk has already.
    file: u64,
}

impl Limits {
    /// For a service with `threads`, and what it `holds` of a device if it is a driver.
    pub fn new(threads: u64, holds: Option<&Held>) -> Limits {
        Limits {
            threads,
            workers: holds.map_or(0, Held::workers),
            file: holds.map_or(0, Held::file),
        }
    }
}

/// Limits threads, files and private memory to what the service's plan needs: `limits`, and `memory`
/// bytes on top of what the process has mapped now. Locked memory is what a ring is made of.
///
/// # Errors
/// What Linux says.
pub fn limit(isolation: Isolation, limits: &Limits, memory: u64) -> io::Result<()> {
    setrlimit(Resource::RLIMIT_FSIZE, limits.file, limits.file)?;
    setrlimit(Resource::RLIMIT_MEMLOCK, 0, 0)?;
    // Linux counts threads by user and namespace: without a namespace, all of this user's.
    if isolation == Isolation::Full {
        // The agent's own thread, and one that is on its way out.
        let threads = limits.threads + limits.workers + 2;
        setrlimit(Resource::RLIMIT_NPROC, threads, threads)?;
    }
    let memory = memory + AGENT_MEMORY + limits.threads * THREAD_MEMORY;
    setrlimit(Resource::RLIMIT_DATA, memory, memory)?;
    Ok(())
}

/// Bytes of private writable memory that this process has, as the limit on them counts. Reads the
/// file system, so it must be asked before that is left.
///
/// # Errors
/// What Linux says.
pub fn private_memory() -> io::Result<u64> {
    let words = std::fs::read_to_string("/proc/self/statm")?;
    let pages = words.split_whitespace().nth(5).and_then(|word| word.parse::<u64>().ok());
    let pages = pages.ok_or(io::ErrorKind::InvalidData)?;
    Ok(pages * phi_abi::layout::PAGE)
}

fn close_from(first: u32) -> io::Result<()> {
    // SAFETY: nothing in this process uses a descriptor from `first` on yet.
    match unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Makes an empty file system that nobody can write to the root, and takes all others away.
fn leave_file_system() -> io::Result<()> {
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    // A folder that is there on every Linux, and is not needed any more.
    mount(Some("none"), "/proc", Some("tmpfs"), flags, Some("size=4k,nr_inodes=1"))?;
    chdir("/proc")?;
    // The old root is then mounted over the new one, and goes from there.
    pivot_root(".", ".")?;
    umount2(".", MntFlags::MNT_DETACH)?;
    chdir("/")?;
    Ok(())
}

/// Gives up all capabilities in the process's own user namespace, or whatever it has without one.
fn drop_capabilities() -> io::Result<()> {
    const VERSION: u32 = 0x2008_0522;
    let header = [VERSION, 0];
    let none = [0u32; 6];
    // SAFETY: the header is two words and the sets are six, as this version says; 0 is this thread.
    match unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Forbids everything that the kernel's Landlock knows of, and nothing where it has none.
fn restrict_by_landlock() -> io::Result<()> {
    let abi = ABI::V7;
    let restrict = || {
        Ruleset::default()
            .handle_access(AccessFs::from_all(abi))?
            .handle_access(AccessNet::from_all(abi))?
            .scope(Scope::from_all(abi))?
            .create()?
            .restrict_self()
    };
    restrict().map(drop).map_err(io::Error::other)
}

/// Whether the kernel has Landlock.
fn has_landlock() -> bool {
    const VERSION: u32 = 1;
    let none = std::ptr::null::<u8>();
    // SAFETY: without attributes, this asks for the version.
    unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, none, 0, VERSION) > 0 }
}
