//! The system calls that a service's process may make once its image is loaded.
//!
//! Two lists. The agent's list holds for the whole process, and for every thread that it starts. A
//! thread that carries a thread of the image takes on the second one, which is shorter, before the
//! image runs in it. A call that is in neither, or has other arguments, ends the process at once.
//! `docs/isolation.md` has a paragraph on each call.
//!
//! To allow a call, add it to [`THREAD_CALLS`], or to the agent's list if only it makes the call,
//! and say in that page what a hostile image can do with it.

use super::agent::SOCKET;
use super::device::{Descriptors, MOST};
use super::disk;
use phi_abi::layout::{SERVICES, WINDOW_SIZE, WINDOWS_BASE};
use seccompiler::SeccompCmpArgLen::{Dword, Qword};
use seccompiler::SeccompCmpOp::{Eq, Ge, Le, Lt, MaskedEq};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch,
};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::RawFd;

/// Who may do what with which arguments: a call's number, and its rules, one of which must hold.
type Calls = BTreeMap<i64, Vec<SeccompRule>>;

/// What the C library asks for when it makes a thread that shares everything with its process.
const THREAD: u64 = (libc::CLONE_VM
    | libc::CLONE_FS
    | libc::CLONE_FILES
    | libc::CLONE_SYSVSEM
    | libc::CLONE_SIGHAND
    | libc::CLONE_THREAD
    | libc::CLONE_SETTLS
    | libc::CLONE_PARENT_SETTID
    | libc::CLONE_CHILD_CLEARTID) as u64;

/// The calls of a thread that carries a thread of the image, with any arguments.
const THREAD_CALLS: [i64; 9] = [
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigprocmask,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex_waitv,
    libc::SYS_sched_yield,
    libc::SYS_clock_gettime,
];

/// The calls that only the agent makes, with any arguments.
const AGENT_CALLS: [i64; 5] =
    [libc::SYS_close, libc::SYS_brk, libc::SYS_gettid, libc::SYS_set_robust_list, libc::SYS_rseq];

/// The flag of `io_uring_enter` that has it wait.
const GET_EVENTS: u32 = 1;

/// The filter that a thread takes on before an image runs in it.
pub struct ThreadFilter(BpfProgram);

impl ThreadFilter {
    /// For threads that ring `doorbell`, and of a driver use its descriptors.
    ///
    /// # Errors
    /// The filter cannot be made.
    pub fn new(doorbell: RawFd, drives: Option<Descriptors>) -> io::Result<ThreadFilter> {
        let calls = thread_calls(doorbell, drives).map_err(io::Error::other)?;
        Ok(ThreadFilter(program(calls, SeccompAction::KillProcess, SeccompAction::Allow)?))
    }

    /// Puts the calling thread under it.
    ///
    /// # Errors
    /// What Linux says.
    pub fn apply(&self) -> io::Result<()> {
        seccompiler::apply_filter(&self.0).map_err(io::Error::other)
    }
}

/// Puts this process under the agent's filter, with `doorbell` the one that its threads ring, and a
/// driver's descriptors.
///
/// # Errors
/// What Linux says.
pub fn apply_to_process(doorbell: RawFd, drives: Option<Descriptors>) -> io::Result<()> {
    // A filter cannot look at the arguments of `clone3`, which lie in memory. The C library takes
    // `clone` where there is no `clone3`; the list lets it pass so that this answer is the
    // stricter.
    let absent = Calls::from([(libc::SYS_clone3, Vec::new())]);
    let absent = program(absent, SeccompAction::Allow, SeccompAction::Errno(libc::ENOSYS as u32))?;
    let calls = agent_calls(doorbell, drives).map_err(io::Error::other)?;
    let allowed = program(calls, SeccompAction::KillProcess, SeccompAction::Allow)?;
    for program in [absent, allowed] {
        seccompiler::apply_filter_all_threads(&program).map_err(io::Error::other)?;
    }
    Ok(())
}

fn program(calls: Calls, other: SeccompAction, found: SeccompAction) -> io::Result<BpfProgram> {
    let filter = SeccompFilter::new(calls, other, found, TargetArch::x86_64);
    filter.and_then(BpfProgram::try_from).map_err(io::Error::other)
}

fn thread_calls(doorbell: RawFd, drives: Option<Descriptors>) -> Result<Calls, BackendError> {
    let mut calls = Calls::from(THREAD_CALLS.map(|call| (call, Vec::new())));
    let ring = [argument(0, Dword, Eq, doorbell as u64), argument(2, Qword, Eq, 8)];
    let mut writes = vec![rule(ring)?];
    match drives {
        Some(Descriptors::Ring(disk::ring::Descriptors { ring, waker })) => {
            writes.push(rule([argument(0, Dword, Eq, waker as u64), argument(2, Qword, Eq, 8)])?);
            // Submitting and waiting, without a mask of signals or anything else in memory.
            let enter = [
                argument(0, Dword, Eq, ring as u64),
                argument(3, Dword, MaskedEq(!u64::from(GET_EVENTS)), 0),
                argument(4, Qword, Eq, 0),
            ];
            calls.insert(libc::SYS_io_uring_enter, vec![rule(enter)?]);
        }
        Some(Descriptors::File(file)) => {
            let one = || [argument(0, Dword, Eq, file as u64), argument(2, Qword, Le, MOST as u64)];
            writes.push(rule(one())?);
            calls.insert(libc::SYS_read, vec![rule(one())?]);
        }
        None => {}
    }
    calls.insert(libc::SYS_write, writes);
    // Waiting and waking, and no more: no inheritance of priorities, no requeueing.
    let flags = (libc::FUTEX_PRIVATE_FLAG | libc::FUTEX_CLOCK_REALTIME) as u32;
    let operations =
        [libc::FUTEX_WAIT, libc::FUTEX_WAKE, libc::FUTEX_WAIT_BITSET, libc::FUTEX_WAKE_BITSET];
    let operations = operations
        .map(|operation| rule([argument(1, Dword, MaskedEq(u64::from(!flags)), operation as u64)]));
    calls.insert(libc::SYS_futex, operations.into_iter().collect::<Result<_, _>>()?);
    Ok(calls)
}

fn agent_calls(doorbell: RawFd, drives: Option<Descriptors>) -> Result<Calls, BackendError> {
    let mut calls = thread_calls(doorbell, drives)?;
    calls.extend(AGENT_CALLS.map(|call| (call, Vec::new())));
    calls.insert(libc::SYS_clone3, Vec::new());
    calls.insert(libc::SYS_clone, vec![rule([argument(0, Qword, Eq, THREAD)])?]);
    let socket = || argument(0, Dword, Eq, SOCKET as u64);
    // Without looking ahead, which would leave descriptors in the socket that were taken already.
    let receive = [socket(), argument(2, Dword, Eq, libc::MSG_CMSG_CLOEXEC as u64)];
    calls.insert(libc::SYS_recvmsg, vec![rule(receive)?]);
    let answer = [
        socket(),
        argument(2, Qword, Le, 8),
        argument(3, Dword, Eq, libc::MSG_NOSIGNAL as u64),
        argument(4, Qword, Eq, 0),
    ];
    calls.insert(libc::SYS_sendto, vec![rule(answer)?]);
    // Memory of regions, at their places. Never executable, never the process's own.
    let writable = libc::PROT_WRITE as u64;
    let map = in_windows().into_iter().chain([
        argument(2, Qword, MaskedEq(!writable), libc::PROT_READ as u64),
        argument(3, Qword, Eq, (libc::MAP_SHARED | libc::MAP_FIXED) as u64),
    ]);
    calls.insert(libc::SYS_mmap, vec![rule(map)?]);
    calls.insert(libc::SYS_munmap, vec![rule(in_windows())?]);
    // Debug builds look whether a descriptor is there before they close it.
    let look = argument(1, Dword, Eq, libc::F_GETFD as u64);
    calls.insert(libc::SYS_fcntl, vec![rule([look])?]);
    // For a thread's name, and for its filter, which can only forbid more.
    let name = argument(0, Dword, Eq, libc::PR_SET_NAME as u64);
    let privileges = argument(0, Dword, Eq, libc::PR_SET_NO_NEW_PRIVS as u64);
    calls.insert(libc::SYS_prctl, vec![rule([name])?, rule([privileges])?]);
    let filter = argument(0, Dword, Eq, u64::from(libc::SECCOMP_SET_MODE_FILTER));
    let none = argument(1, Dword, Eq, 0);
    calls.insert(libc::SYS_seccomp, vec![rule([filter, none])?]);
    Ok(calls)
}

/// An address and a length that reach nothing of the host: what lies beyond the windows is further
/// away than a window is long.
fn in_windows() -> [Result<SeccompCondition, BackendError>; 3] {
    let end = WINDOWS_BASE + (SERVICES as u64 + 1) * WINDOW_SIZE;
    [
        argument(0, Qword, Ge, WINDOWS_BASE),
        argument(0, Qword, Lt, end),
        argument(1, Qword, Le, WINDOW_SIZE),
    ]
}

fn argument(
    index: u8,
    length: SeccompCmpArgLen,
    operator: SeccompCmpOp,
    value: u64,
) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(index, length, operator, value)
}

fn rule(
    conditions: impl IntoIterator<Item = Result<SeccompCondition, BackendError>>,
) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(conditions.into_iter().collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::disk::Parameters;
    use crate::linux::disk::ring::Ring;
    use nix::sys::prctl::set_no_new_privs;
    use nix::sys::signal::Signal;
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::{ForkResult, fork};
    use std::os::fd::{AsFd, AsRawFd};

    /// How a process under the filter of a driver ends that makes this call, and then exits with 7.
    fn ending(number: libc::c_long, arguments: [u64; 5], drives: Descriptors) -> WaitStatus {
        // A descriptor that nothing uses stands for the doorbell.
        const DOORBELL: RawFd = 900;
        // SAFETY: the child makes calls of the kernel, and what it allocates is its own: the heap's lock
        // is taken over at a fork.
        match unsafe { fork() }.unwrap() {
            ForkResult::Child => {
                let confined = set_no_new_privs().map_err(io::Error::from);
                let confined = confined.and_then(|()| apply_to_process(DOORBELL, Some(drives)));
                // SAFETY: the calls take numbers, and null pointers, which the kernel refuses.
                unsafe {
                    if confined.is_ok() {
                        let [first, second, third, fourth, fifth] = arguments;
                        libc::syscall(number, first, second, third, fourth, fifth);
                    }
                    libc::_exit(if confined.is_ok() { 7 } else { 8 })
                }
            }
            ForkResult::Parent { child } => waitpid(child, None).unwrap(),
        }
    }

    #[test]
    fn a_driver_enters_its_ring_and_makes_or_changes_none() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(4096).unwrap();
        let parameters =
            Parameters { blocks: 8, block_size: 512, alignment: 1, depth: 1, read_only: false };
        let ring = Ring::new(file.as_fd(), parameters).unwrap();
        let other = Ring::new(file.as_fd(), parameters).unwrap().ring;
        let disk::ring::Descriptors { ring: own, waker } = ring.descriptors();
        let drives = Descriptors::Ring(ring.descriptors());
        let (own, other) = (own as u64, other.as_raw_fd() as u64);
        let (file, waker) = (file.as_raw_fd() as u64, waker as u64);
        let enter = libc::SYS_io_uring_enter;
        let get = u64::from(GET_EVENTS);
        for (number, arguments) in
            [(enter, [own, 0, 0, 0, 0]), (enter, [own, 0, 0, get, 0]), (libc::SYS_gettid, [0; 5])]
        {
            let WaitStatus::Exited(_, 7) = ending(number, arguments, drives) else {
                panic!("{number} {arguments:?} is allowed")
            };
        }
        for (number, arguments) in [
            (enter, [other, 0, 0, 0, 0]),
            // Waking a thread of Linux's own, a mask of signals, and more arguments in memory.
            (enter, [own, 0, 0, 2, 0]),
            (enter, [own, 0, 0, get, 1]),
            (enter, [own, 0, 0, get | 8, 0]),
            (libc::SYS_io_uring_setup, [4, 0, 0, 0, 0]),
            (libc::SYS_io_uring_register, [own, 2, 0, 0, 0]),
            (libc::SYS_write, [file, 0, 8, 0, 0]),
            (libc::SYS_write, [waker, 0, 16, 0, 0]),
            (libc::SYS_pwrite64, [file, 0, 8, 0, 0]),
            (libc::SYS_ftruncate, [file, 0, 0, 0, 0]),
            (libc::SYS_flock, [file, 8, 0, 0, 0]),
            (libc::SYS_mmap, [0, 4096, 3, 1, own]),
        ] {
            let WaitStatus::Signaled(_, Signal::SIGSYS, _) = ending(number, arguments, drives)
            else {
                panic!("{number} {arguments:?} is forbidden")
            };
        }
    }

    #[test]
    fn a_driver_of_a_file_reads_and_writes_there_and_no_more() {
        let (file, other) = std::os::unix::net::UnixDatagram::pair().unwrap();
        let drives = Descriptors::File(file.as_raw_fd());
        let (own, other) = (file.as_raw_fd() as u64, other.as_raw_fd() as u64);
        file.set_nonblocking(true).unwrap();
        let most = MOST as u64;
        for number in [libc::SYS_read, libc::SYS_write] {
            let WaitStatus::Exited(_, 7) = ending(number, [own, 0, most, 0, 0], drives) else {
                panic!("{number} is allowed")
            };
            for arguments in [[other, 0, most, 0, 0], [own, 0, most + 1, 0, 0]] {
                let WaitStatus::Signaled(_, Signal::SIGSYS, _) = ending(number, arguments, drives)
                else {
                    panic!("{number} {arguments:?} is forbidden")
                };
            }
        }
        for (number, arguments) in [
            (libc::SYS_ioctl, [own, libc::TUNSETIFF, 0, 0, 0]),
            (libc::SYS_pread64, [own, 0, 8, 0, 0]),
            (libc::SYS_dup, [own, 0, 0, 0, 0]),
            (libc::SYS_io_uring_enter, [own, 0, 0, 0, 0]),
        ] {
            let WaitStatus::Signaled(_, Signal::SIGSYS, _) = ending(number, arguments, drives)
            else {
                panic!("{number} {arguments:?} is forbidden")
            };
        }
    }
}
