//! Starting a service's process: with namespaces of its own from its first moment on.

use super::agent::{SERVICE_WORD, SOCKET};
use super::isolation::Isolation;
use super::zygote::{REPORTER, Zygote};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{AddressFamily, Shutdown, SockFlag, SockType, shutdown, socketpair};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::{Pid, getegid, geteuid, pipe2};
use std::arch::asm;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Bytes of the stack on which a new process runs until it runs its program.
const STACK: usize = 16 << 10;

/// The first user of Linux that stands for a service when the supervisor is root; one per service,
/// and beyond those that systems give to people.
const FIRST_USER: u32 = 0x7068_0000;

/// What service processes run, and how they are isolated.
pub struct Launcher {
    program: CString,
    isolation: Isolation,
    zygote: Zygote,
}

impl Launcher {
    /// Runs `program` in service processes.
    ///
    /// # Errors
    /// Linux lets this user have no namespaces, and `isolation` wants them.
    pub fn new(program: &Path, isolation: Isolation) -> io::Result<Launcher> {
        let program = CString::new(program.as_os_str().as_bytes())?;
        let zygote = Zygote::start(isolation).map_err(|error| no_namespaces(&error))?;
        let launcher = Launcher { program, isolation, zygote };
        if isolation == Isolation::Full {
            // One to try, which ends when it finds its gate closed.
            let flags = SockFlag::SOCK_CLOEXEC;
            let (near, far) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
            let close_gate = || Ok(shutdown(near.as_raw_fd(), Shutdown::Both)?);
            let launched = launcher.launch(&far, 0, close_gate);
            let (id, _descriptor) = launched.map_err(|error| no_namespaces(&error))?;
            waitid(Id::Pid(id), WaitPidFlag::WEXITED)?;
        }
        Ok(launcher)
    }

    /// Starts the process of service number `service`, whose socket to the supervisor is `far`;
    /// `open_gate` lets it go on, by a byte that can be read from the socket. Returns its id and a
    /// descriptor of it.
    ///
    /// # Errors
    /// What Linux says.
    pub fn launch(
        &self,
        far: &OwnedFd,
        service: u16,
        open_gate: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<(Pid, OwnedFd)> {
        let (report, reporter) = pipe2(OFlag::O_CLOEXEC)?;
        let word = CString::new(SERVICE_WORD)?;
        let isolation = CString::new(self.isolation.word())?;
        let arguments =
            [c"phi-service".as_ptr(), word.as_ptr(), isolation.as_ptr(), std::ptr::null()];
        let mut stack = vec![0u8; STACK];
        let beginning = Beginning {
            stack: stack.as_mut_ptr_range().end.map_addr(|address| address & !15),
            program: &self.program,
            arguments: &arguments,
            isolated: self.isolation == Isolation::Full,
            names_users: self.zygote.has_users(),
        };
        // SAFETY: the new process runs `begin` on this stack, which only reads what `beginning` names. All
        // that lives until the report below is read to its end, which is when the process has left.
        let id = unsafe { self.zygote.spawn(&beginning, [far.as_fd(), reporter.as_fd()]) }?;
        drop(reporter);
        let opened = match self.isolation {
            Isolation::Full if !beginning.names_users => map_users(id, Some(service)),
            _ => Ok(()),
        };
        let opened = opened.and_then(|()| open_gate());
        if opened.is_err() {
            let _ = kill(id, Signal::SIGKILL);
        }
        let mut failure = Vec::new();
        let told = File::from(report).read_to_end(&mut failure);
        let result = opened.and_then(|()| told.map(drop)).and_then(|()| failed(&failure));
        // It is this process's child and not waited for yet, so the id is its own.
        let result = result.and_then(|()| descriptor_of(id));
        if result.is_err() {
            let _ = kill(id, Signal::SIGKILL);
            while waitid(Id::Pid(id), WaitPidFlag::WEXITED) == Err(Errno::EINTR) {}
        }
        result.map(|descriptor| (id, descriptor))
    }
}

/// A descriptor of the process `id`, which becomes readable when it ends. The id must be that of a child
/// that was not waited for.
pub fn descriptor_of(id: Pid) -> io::Result<OwnedFd> {
    // SAFETY: the call takes two numbers.
    match unsafe { libc::syscall(libc::SYS_pidfd_open, id.as_raw(), 0) } {
        // SAFETY: the call has just made it, and nobody else knows of it.
        descriptor @ 0.. => Ok(unsafe { OwnedFd::from_raw_fd(descriptor as RawFd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Lets the users and groups of a new process's namespace be one of Linux: for root and a service one
/// that is nobody else, and otherwise the user itself.
pub fn map_users(id: Pid, service: Option<u16>) -> io::Result<()> {
    let write = |file: &str, text: &str| std::fs::write(format!("/proc/{id}/{file}"), text);
    let one = |outside: u32| format!("0 {outside} 1");
    if let Some(service) = service
        && geteuid().is_root()
    {
        let user = one(FIRST_USER + u32::from(service));
        // A root that is one in a container only may not have so many users.
        if write("gid_map", &user).and_then(|()| write("uid_map", &user)).is_ok() {
            return Ok(());
        }
    }
    // Without this, a process could give up a group that denies it something.
    write("setgroups", "deny")?;
    write("gid_map", &one(getegid().as_raw()))?;
    write("uid_map", &one(geteuid().as_raw()))
}

/// What a new process begins with.
pub struct Beginning<'a> {
    /// The end of its stack.
    pub stack: *mut u8,
    program: &'a CStr,
    arguments: &'a [*const libc::c_char; 4],
    isolated: bool,
    /// Whether it says itself which users its namespace has.
    names_users: bool,
}

/// What a new process may fail to do before it runs its program.
const STEPS: [&str; 5] = [
    "take its socket",
    "have mounts of its own",
    "name the user of its namespace",
    "become the user of its namespace",
    "run its program",
];

/// Status of a process that nobody let go on.
const UNWANTED: libc::c_int = 2;

/// The new process. It shares memory and thread-local storage with the supervisor, so it calls the
/// kernel and nothing else.
pub extern "C" fn begin(beginning: *mut libc::c_void) -> libc::c_int {
    // SAFETY: `launch` has put it there for this, and nobody changes it.
    let beginning = unsafe { &*beginning.cast_const().cast::<Beginning>() };
    let Err((step, error)) = run(beginning) else { return UNWANTED };
    let report = [step, -error as u8];
    let (reporter, bytes) = (REPORTER as u64, report.len() as u64);
    // SAFETY: the report is as long as that. When it cannot be written, nobody waits for it.
    let _ =
        unsafe { system_call(libc::SYS_write, [reporter, report.as_ptr() as u64, bytes, 0, 0, 0]) };
    1
}

/// Runs the program, once the gate is open. Returns when it is not, or with the step that failed
/// and how.
fn run(beginning: &Beginning) -> Result<(), (u8, i64)> {
    let socket = SOCKET as u64;
    // SAFETY: each call is given numbers, and pointers to what lives on this stack or in
    // `beginning`. Descriptors, mounts and users that change are this process's own.
    let call = |step: u8, number, arguments| match unsafe { system_call(number, arguments) } {
        error @ ..0 => Err((step, error)),
        value => Ok(value as u64),
    };
    // Kept by the program, unlike all others but the standard streams.
    call(0, libc::SYS_fcntl, [socket, libc::F_SETFD as u64, 0, 0, 0, 0])?;
    let blocked = [libc::SIGINT, libc::SIGTERM].map(|signal| 1u64 << (signal - 1));
    let blocked = blocked[0] | blocked[1];
    let mask = [libc::SIG_SETMASK as u64, &raw const blocked as u64, 0, 8, 0, 0];
    call(0, libc::SYS_rt_sigprocmask, mask)?;
    if beginning.isolated {
        // Nothing that is mounted here is to show outside.
        let root = c"/".as_ptr() as u64;
        call(1, libc::SYS_mount, [0, root, 0, libc::MS_REC | libc::MS_PRIVATE, 0, 0])?;
    }
    if beginning.names_users {
        let one = c"0 0 1";
        for file in [c"/proc/self/gid_map", c"/proc/self/uid_map"] {
            let file =
                [file.as_ptr() as u64, (libc::O_WRONLY | libc::O_CLOEXEC) as u64, 0, 0, 0, 0];
            let file = call(2, libc::SYS_open, file)?;
            let length = one.count_bytes() as u64;
            call(2, libc::SYS_write, [file, one.as_ptr() as u64, length, 0, 0, 0])?;
            call(2, libc::SYS_close, [file, 0, 0, 0, 0, 0])?;
        }
    }
    let mut gate = 0u8;
    if call(0, libc::SYS_read, [socket, &raw mut gate as u64, 1, 0, 0, 0])? == 0 {
        return Ok(());
    }
    if beginning.isolated {
        // Where groups cannot be given up, they are the user's own, and nothing is left to use them
        // on.
        let _ = call(3, libc::SYS_setgroups, [0; 6]);
        call(3, libc::SYS_setresgid, [0; 6])?;
        call(3, libc::SYS_setresuid, [0; 6])?;
    }
    let environment: [*const libc::c_char; 1] = [std::ptr::null()];
    let program = beginning.program.as_ptr() as u64;
    let (arguments, environment) = (beginning.arguments.as_ptr(), environment.as_ptr());
    call(4, libc::SYS_execve, [program, arguments as u64, environment as u64, 0, 0, 0])?;
    Ok(())
}

/// Makes a system call, and touches nothing but registers; returns what the kernel says.
///
/// # Safety
/// As the call.
pub unsafe fn system_call(number: libc::c_long, arguments: [u64; 6]) -> i64 {
    let result;
    // SAFETY: as this function; the kernel keeps all registers but those named.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") arguments[0],
            in("rsi") arguments[1],
            in("rdx") arguments[2],
            in("r10") arguments[3],
            in("r8") arguments[4],
            in("r9") arguments[5],
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result
}

/// The failure that a new process has reported.
fn failed(report: &[u8]) -> io::Result<()> {
    let [step, error] = report else { return Ok(()) };
    let error = Errno::from_raw(i32::from(*error));
    let step = STEPS.get(usize::from(*step)).unwrap_or(&"begin");
    Err(io::Error::other(format!("a service's process cannot {step}: {}", error.desc())))
}

/// Why there are no namespaces.
fn no_namespaces(error: &io::Error) -> io::Error {
    io::Error::other(format!("this user may have no namespaces for services: {error}"))
}
