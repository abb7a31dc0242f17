//! What Linux lets this process do, found out by doing it.
//!
//! What cannot be taken back is tried in a child process that ends with it.

use super::disk::Parameters;
use super::disk::ring::Ring;
use super::isolation::Isolation;
use super::launch::Launcher;
use nix::errno::Errno;
use nix::sys::prctl::set_no_new_privs;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::path::Path;

/// Does `attempt` in a child process of its own, which ends with it. The calling process must have
/// one thread only.
fn in_child(attempt: impl FnOnce() -> nix::Result<()>) -> nix::Result<()> {
    // SAFETY: this process has one thread, so nothing is locked in the child.
    match unsafe { fork() }? {
        ForkResult::Child => {
            let status = attempt().map_or_else(|error| error as i32, |()| 0);
            // SAFETY: the call takes a number; nothing of the parent's is torn down twice.
            unsafe { libc::_exit(status) }
        }
        ForkResult::Parent { child } => match waitpid(child, None)? {
            WaitStatus::Exited(_, 0) => Ok(()),
            WaitStatus::Exited(_, number) => Err(Errno::from_raw(number)),
            _ => Err(Errno::EPROTO),
        },
    }
}

/// A system call that returns a descriptor.
fn descriptor(result: libc::c_long) -> nix::Result<OwnedFd> {
    let raw = Errno::result(result)? as RawFd;
    // SAFETY: the kernel has just made it, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// Starts a service's process in namespaces of its own, and ends it before it runs a program.
///
/// # Errors
/// What Linux says.
pub fn namespaces() -> std::io::Result<()> {
    Launcher::new(Path::new("/proc/self/exe"), Isolation::Full).map(drop)
}

/// Forbids itself all files by Landlock, and tries one. Returns the version of Landlock's
/// interface.
///
/// # Errors
/// What Linux says; EPROTO when the file could be opened all the same.
pub fn landlock() -> nix::Result<u32> {
    const VERSION: u32 = 1;
    const READ_FILE: u64 = 1 << 2;
    // SAFETY: without attributes, the call takes two numbers and returns one.
    let version = Errno::result(unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u64>(), 0, VERSION)
    })?;
    in_child(|| {
        let handled = READ_FILE;
        // SAFETY: the attributes are one word, which is as much as the first version reads.
        let rules = descriptor(unsafe {
            libc::syscall(libc::SYS_landlock_create_ruleset, &raw const handled, 8, 0)
        })?;
        set_no_new_privs()?;
        let raw = std::os::fd::AsRawFd::as_raw_fd(&rules);
        // SAFETY: the call takes two numbers.
        Errno::result(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, raw, 0) })?;
        match std::fs::File::open("/proc/self/status") {
            Err(_) => Ok(()),
            Ok(_) => Err(Errno::EPROTO),
        }
    })?;
    Ok(version as u32)
}

/// Has a seccomp filter refuse one call.
///
/// # Errors
/// What Linux says; EPROTO when the call is not refused.
pub fn seccomp() -> nix::Result<()> {
    const REFUSAL: u32 = Errno::EXDEV as u32;
    let step = |code: u32, jump_true, jump_false, k| libc::sock_filter {
        code: code as u16,
        jt: jump_true,
        jf: jump_false,
        k,
    };
    in_child(|| {
        let mut filter = [
            step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
            step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, libc::SYS_getppid as u32),
            step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | REFUSAL),
            step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
        ];
        let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
        set_no_new_privs()?;
        // SAFETY: the program is read during the call; the calls take numbers besides.
        unsafe {
            Errno::result(libc::prctl(
                libc::PR_SET_SECCOMP,
                libc::SECCOMP_MODE_FILTER,
                &raw const program,
            ))?;
            match Errno::result(libc::syscall(libc::SYS_getppid)) {
                Err(Errno::EXDEV) => Ok(()),
                _ => Err(Errno::EPROTO),
            }
        }
    })
}

/// Makes the ring of a driver for a file in memory, with all that keeps it from doing anything else.
///
/// # Errors
/// What Linux says.
pub fn driver_ring() -> std::io::Result<()> {
    let file = super::memory::create("phi-doctor", 4096)?;
    let parameters =
        Parameters { blocks: 8, block_size: 512, alignment: 1, depth: 1, read_only: false };
    Ring::new(std::os::fd::AsFd::as_fd(&file), parameters).map(drop)
}

/// Makes the ring that the supervisor waits by.
///
/// # Errors
/// Why it waits by epoll instead.
pub fn waiting_ring() -> std::io::Result<()> {
    super::events::attempt_ring()
}

/// Opens a descriptor for this process.
///
/// # Errors
/// What Linux says.
pub fn process_descriptor() -> nix::Result<()> {
    // SAFETY: the call takes two numbers.
    descriptor(unsafe { libc::syscall(libc::SYS_pidfd_open, libc::getpid(), 0) }).map(drop)
}

/// Counts this process's time with a perf event.
///
/// # Errors
/// What Linux says.
pub fn perf_event() -> nix::Result<()> {
    const SOFTWARE: u32 = 1;
    /// Bytes of the attributes in their first version.
    const SIZE: u32 = 64;
    let mut attributes = [0u32; SIZE as usize / 4];
    (attributes[0], attributes[1]) = (SOFTWARE, SIZE);
    // SAFETY: the attributes have as many bytes as they say; the rest are numbers.
    descriptor(unsafe {
        libc::syscall(libc::SYS_perf_event_open, attributes.as_ptr(), 0, -1, -1, 0)
    })
    .map(drop)
}

/// Loads a tracing program of two instructions into the kernel.
///
/// # Errors
/// What Linux says.
pub fn bpf_program() -> nix::Result<()> {
    const PROGRAM_LOAD: u32 = 5;
    const TRACEPOINT: u32 = 5;
    /// `r0 = 0`, `exit`.
    static CODE: [u64; 2] = [0xb7, 0x95];
    static LICENCE: &std::ffi::CStr = c"GPL";
    let mut attributes = [0u64; 6];
    attributes[0] = u64::from(TRACEPOINT) | (CODE.len() as u64) << 32;
    attributes[1] = CODE.as_ptr() as u64;
    attributes[2] = LICENCE.as_ptr() as u64;
    // SAFETY: the attributes have as many bytes as is said, and what they point to stays.
    descriptor(unsafe {
        libc::syscall(libc::SYS_bpf, PROGRAM_LOAD, attributes.as_ptr(), size_of_val(&attributes))
    })
    .map(drop)
}

/// Asks KVM for its interface's version, which has been 12 for ever.
///
/// # Errors
/// What Linux says; EPROTO for another version.
pub fn kvm() -> std::io::Result<()> {
    const GET_API_VERSION: libc::c_ulong = 0xae00;
    let device = std::fs::File::options().read(true).write(true).open("/dev/kvm")?;
    let raw = std::os::fd::AsRawFd::as_raw_fd(&device);
    // SAFETY: the request takes a number.
    match Errno::result(unsafe { libc::ioctl(raw, GET_API_VERSION, 0) })? {
        12 => Ok(()),
        _ => Err(Errno::EPROTO.into()),
    }
}

/// Makes memory of sealed size, and tries to change it.
///
/// # Errors
/// What Linux says; `InvalidData` when the seal does not hold.
pub fn sealed_memory() -> std::io::Result<()> {
    let memory = super::memory::create("phi-doctor", 4096)?;
    match nix::unistd::ftruncate(&memory, 0) {
        Err(_) => Ok(()),
        Ok(()) => Err(std::io::ErrorKind::InvalidData.into()),
    }
}

/// Passes one site of the supervisor's, for a tracer to see: that domain 0 may run. `label` is the
/// site's.
#[inline(always)]
pub fn pass_site(label: u64) {
    super::probe::site!("throttle", 0, 0, 0, label, 0, 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_says_how_it_went() {
        assert_eq!(in_child(|| Ok(())), Ok(()));
        assert_eq!(in_child(|| Err(Errno::EXDEV)), Err(Errno::EXDEV));
        assert_eq!(in_child(|| std::process::abort()), Err(Errno::EPROTO));
    }
}
