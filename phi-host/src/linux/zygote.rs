//! The process from which services' processes come: a helper of the supervisor, with nothing in it.
//!
//! It has a network namespace of its own, in which there is nothing but a loopback that is down, and
//! which all services share: making one for each costs as much as all the rest of a start. It has
//! six descriptors, so that a new process copies no more, however many the supervisor has. What it
//! makes are children of the supervisor, not its own.
//!
//! Where the supervisor is not root, it is also in a user namespace of its own, which owns that of the
//! network; those of the services lie within. So no service has any power over the network namespace,
//! whatever it gets in its own.

use super::agent::SOCKET;
use super::isolation::Isolation;
use super::launch::{Beginning, begin, map_users, system_call};
use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, pthread_sigmask};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, sendmsg, socketpair,
};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::{Pid, geteuid, getpid};
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// Bytes of its stack.
const STACK: usize = 64 << 10;

/// Where it finds the new process's socket, and what that reports its failure to. Those are the lowest
/// numbers that it has free, so Linux puts there what comes in with an order.
pub const REPORTER: RawFd = SOCKET + 1;

/// Where it gets its orders.
const ORDERS: RawFd = SOCKET + 2;

const _: () = assert!(SOCKET == 3, "its standard streams are below");

/// The namespaces that services' processes have of their own.
const NAMESPACES: i32 = libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP;

/// The process, as the supervisor sees it. Dropped, it is gone.
pub struct Zygote {
    id: Pid,
    orders: OwnedFd,
    /// What it runs on, and in it what it is told once.
    _stack: Box<[u8]>,
    start: Box<Start>,
}

/// What the process begins with.
struct Start {
    orders: RawFd,
    supervisor: Pid,
    /// Flags of the clones that it makes.
    flags: i32,
}

impl Zygote {
    /// Starts it.
    ///
    /// # Errors
    /// What Linux says; among others, that this user may have no namespaces.
    pub fn start(isolation: Isolation) -> io::Result<Zygote> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let (near, far) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
        let (own, theirs) = match isolation {
            Isolation::Full if geteuid().is_root() => (libc::CLONE_NEWNET, NAMESPACES),
            Isolation::Full => (libc::CLONE_NEWNET | libc::CLONE_NEWUSER, NAMESPACES),
            Isolation::Reduced => (0, 0),
        };
        let start = Start {
            orders: far.as_raw_fd(),
            supervisor: getpid(),
            flags: libc::CLONE_VM | libc::CLONE_PARENT | libc::SIGCHLD | theirs,
        };
        let start = Box::new(start);
        let mut stack = vec![0u8; STACK].into_boxed_slice();
        // It is in no terminal's hands: the supervisor's end is its own.
        let mut before = SigSet::empty();
        pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), Some(&mut before))?;
        // SAFETY: the new process shares this one's memory until it ends. It runs `serve` on the stack
        // given here, which reads what `start` and its orders name and calls the kernel. All that lives
        // until it has ended: see `drop`.
        let id = unsafe {
            let top = stack.as_mut_ptr().add(STACK).map_addr(|address| address & !15);
            let argument = (&raw const *start).cast_mut().cast();
            libc::clone(serve, top.cast(), libc::CLONE_VM | libc::SIGCHLD | own, argument)
        };
        let error = io::Error::last_os_error();
        pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&before), None)?;
        if id < 0 {
            return Err(error);
        }
        let id = Pid::from_raw(id);
        let zygote = Zygote { id, orders: near, _stack: stack, start };
        if zygote.has_users() {
            map_users(id, None)?;
        }
        Ok(zygote)
    }

    /// Whether the services' user namespaces lie within one of the zygote's, so that they cannot be
    /// given users from outside.
    pub fn has_users(&self) -> bool {
        self.start.flags & libc::CLONE_NEWUSER != 0 && !geteuid().is_root()
    }

    /// Has it make a process that begins at `beginning` with these descriptors: its socket, and what it
    /// reports a failure to.
    ///
    /// # Safety
    /// `beginning` and what it names, its stack included, live until the process has closed the second
    /// descriptor.
    ///
    /// # Errors
    /// What Linux says.
    pub unsafe fn spawn(
        &self,
        beginning: &Beginning,
        descriptors: [BorrowedFd; 2],
    ) -> io::Result<Pid> {
        let address = (&raw const *beginning as u64).to_ne_bytes();
        let raw = descriptors.map(|descriptor| descriptor.as_raw_fd());
        let rights = [ControlMessage::ScmRights(&raw)];
        let socket = self.orders.as_raw_fd();
        sendmsg::<()>(socket, &[IoSlice::new(&address)], &rights, MsgFlags::MSG_NOSIGNAL, None)?;
        let mut answer = 0i64;
        let arguments = [socket as u64, &raw mut answer as u64, 8, 0, 0, 0];
        // Not by the C library: the error that a failing clone leaves there would be taken for this call's.
        let length = loop {
            // SAFETY: the kernel writes 8 bytes, for which there is room.
            match unsafe { system_call(libc::SYS_recvfrom, arguments) } {
                error if error == -i64::from(libc::EINTR) => {}
                length => break length,
            }
        };
        match (length, answer) {
            (8, 1..) => Ok(Pid::from_raw(answer as i32)),
            (8, error) => Err(Errno::from_raw(-error as i32).into()),
            _ => Err(io::Error::other("the process that starts services is gone")),
        }
    }
}

impl Drop for Zygote {
    fn drop(&mut self) {
        // It is this process's child and not waited for yet, so the id is its own.
        let _ = kill(self.id, Signal::SIGKILL);
        while waitid(Id::Pid(self.id), WaitPidFlag::WEXITED) == Err(Errno::EINTR) {}
    }
}

/// The process. It shares memory and thread-local storage with the supervisor, so it calls the kernel
/// and nothing else.
extern "C" fn serve(start: *mut libc::c_void) -> libc::c_int {
    // SAFETY: `Zygote::start` has put it there for this, and nobody changes it.
    let start = unsafe { &*start.cast_const().cast::<Start>() };
    match prepare(start) {
        Ok(()) => {}
        // Its orders are closed with it, which the supervisor sees.
        Err(_) => return 1,
    }
    loop {
        let beginning = match order() {
            Ok(Some(beginning)) => beginning,
            Ok(None) => return 0,
            Err(_) => return 1,
        };
        // SAFETY: the supervisor vouches for what it names, and waits while the process uses it.
        let id = unsafe {
            let stack = (*beginning).stack.cast();
            libc::clone(begin, stack, start.flags, beginning.cast_mut().cast())
        };
        // SAFETY: on Linux, the error of this process's last call; the supervisor waits meanwhile.
        let answer = if id < 0 { -unsafe { *libc::__errno_location() } } else { id };
        let answer = i64::from(answer);
        let close = |descriptor: RawFd| call(libc::SYS_close, [descriptor as u64, 0, 0, 0, 0, 0]);
        let sent = close(SOCKET).and(close(REPORTER)).and(call(
            libc::SYS_sendto,
            [ORDERS as u64, &raw const answer as u64, 8, libc::MSG_NOSIGNAL as u64, 0, 0],
        ));
        if sent.is_err() {
            return 1;
        }
    }
}

/// Makes a call of the kernel with numbers, and pointers to what is there.
fn call(number: libc::c_long, arguments: [u64; 6]) -> Result<u64, i64> {
    // SAFETY: the callers here name descriptors of this process's own and memory of their frames.
    match unsafe { system_call(number, arguments) } {
        error @ ..0 => Err(error),
        value => Ok(value as u64),
    }
}

/// Ends with the supervisor, and has nothing of it but the orders.
fn prepare(start: &Start) -> Result<(), i64> {
    let death = [libc::PR_SET_PDEATHSIG as u64, libc::SIGKILL as u64, 0, 0, 0, 0];
    call(libc::SYS_prctl, death)?;
    if call(libc::SYS_getppid, [0; 6])? != start.supervisor.as_raw() as u64 {
        return Err(0);
    }
    let above = ORDERS as u64 + 1;
    // Out of the way of all that is replaced.
    let own = [start.orders as u64, libc::F_DUPFD_CLOEXEC as u64, above, 0, 0, 0];
    let own = call(libc::SYS_fcntl, own)?;
    let null = c"/dev/null".as_ptr() as u64;
    let null = call(libc::SYS_open, [null, libc::O_RDWR as u64, 0, 0, 0, 0])?;
    for standard in (0..3).filter(|standard| *standard != null) {
        call(libc::SYS_dup2, [null, standard, 0, 0, 0, 0])?;
    }
    call(libc::SYS_dup3, [own, ORDERS as u64, libc::O_CLOEXEC as u64, 0, 0, 0])?;
    for unwanted in [[SOCKET as u64, REPORTER as u64], [above, u64::from(u32::MAX)]] {
        call(libc::SYS_close_range, [unwanted[0], unwanted[1], 0, 0, 0, 0])?;
    }
    Ok(())
}

/// The next process's beginning, when its descriptors are in their places; `None` when there are no more.
fn order() -> Result<Option<*const Beginning<'static>>, i64> {
    let mut address = 0u64;
    let mut part = libc::iovec { iov_base: (&raw mut address).cast(), iov_len: 8 };
    // Room for two descriptors, aligned.
    let mut control = [0u64; 4];
    // SAFETY: all its fields may be zero.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control);
    let flags = libc::MSG_CMSG_CLOEXEC as u64;
    let arguments = [ORDERS as u64, &raw mut message as u64, flags, 0, 0, 0];
    match call(libc::SYS_recvmsg, arguments)? {
        0 => return Ok(None),
        8 => {}
        _ => return Err(0),
    }
    let places = SOCKET as u64 | (REPORTER as u64) << 32;
    // The first word is the length, the second the kind, the third the two descriptors.
    if message.msg_controllen < 24 || control[2] != places {
        return Err(0);
    }
    Ok(Some(address as *const Beginning))
}
