//! Which memory a service's process maps once its image is loaded: what the supervisor has ordered, and
//! nothing else.
//!
//! A descriptor is for a whole region, whatever part of it is lent, and whoever takes the agent over has
//! the descriptor for a moment. So every `mmap` of the process waits for the supervisor (seccomp's user
//! notification), which lets the one through that it expects. What counts are the call's arguments, which
//! are in registers: Linux has copied them, and nobody changes them while the call waits.

use super::memory::Access;
use nix::errno::Errno;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// A mapping that was ordered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Expected {
    /// Its first address.
    pub address: u64,
    /// Its bytes.
    pub length: u64,
    /// What may be done with it.
    pub access: Access,
    /// Where in the file it begins.
    pub offset: u64,
}

/// What the supervisor hears of the calls by. Without it, they all fail.
pub struct Watch(OwnedFd);

/// Takes the number of the call, and lets `mmap` wait for the supervisor. Calls of other interfaces have
/// other numbers, and are the other filters' matter.
const PROGRAM: [libc::sock_filter; 4] = [
    // The first word that a filter sees is the number.
    libc::sock_filter { code: LOAD, jt: 0, jf: 0, k: 0 },
    libc::sock_filter { code: JUMP_IF_EQUAL, jt: 0, jf: 1, k: libc::SYS_mmap as u32 },
    libc::sock_filter { code: RETURN, jt: 0, jf: 0, k: libc::SECCOMP_RET_USER_NOTIF },
    libc::sock_filter { code: RETURN, jt: 0, jf: 0, k: libc::SECCOMP_RET_ALLOW },
];

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const JUMP_IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

/// A call that waits, as Linux lays it out.
#[repr(C)]
#[derive(Default)]
struct Notification {
    id: u64,
    process: u32,
    flags: u32,
    number: i32,
    interface: u32,
    instruction: u64,
    arguments: [u64; 6],
}

/// What becomes of it.
#[repr(C)]
struct Response {
    id: u64,
    value: i64,
    error: i32,
    flags: u32,
}

/// The call is made.
const CONTINUE: u32 = 1;

/// Calls to the listener: read and write, of a structure, and their numbers.
const fn request(direction: libc::c_ulong, size: usize, number: u8) -> libc::c_ulong {
    direction << 30
        | (size as libc::c_ulong) << 16
        | (b'!' as libc::c_ulong) << 8
        | number as libc::c_ulong
}
const RECEIVE: libc::c_ulong = request(3, size_of::<Notification>(), 0);
const SEND: libc::c_ulong = request(3, size_of::<Response>(), 1);

const _: () = assert!(size_of::<Notification>() == 80 && size_of::<Response>() == 24);

/// Agent: from here on, whatever this thread and those that it starts map waits for whoever has the
/// descriptor.
///
/// # Errors
/// What Linux says: `EBUSY` when something outside watches this process in the same way.
pub fn begin() -> io::Result<OwnedFd> {
    let program =
        libc::sock_fprog { len: PROGRAM.len() as u16, filter: PROGRAM.as_ptr().cast_mut() };
    let (mode, flags) = (libc::SECCOMP_SET_MODE_FILTER, libc::SECCOMP_FILTER_FLAG_NEW_LISTENER);
    // SAFETY: the kernel copies the program, which is as long as it says.
    match unsafe { libc::syscall(libc::SYS_seccomp, mode, flags, &raw const program) } {
        // SAFETY: the call has just made it, and nobody else knows of it.
        descriptor @ 0.. => Ok(unsafe { OwnedFd::from_raw_fd(descriptor as RawFd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

impl Watch {
    /// Supervisor: by the descriptor that the agent has handed over.
    pub fn new(descriptor: OwnedFd) -> Watch {
        Watch(descriptor)
    }

    /// Becomes readable when a call waits.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Takes the call that waits, and lets it go on if it is the `expected` one, which is expected no more
    /// then. `false` if it is another: it waits until the process ends.
    pub fn look(&self, expected: &mut Option<Expected>) -> bool {
        let mut call = Notification::default();
        // SAFETY: the kernel writes a notification, which must be zeros before.
        let received = unsafe { libc::ioctl(self.0.as_raw_fd(), RECEIVE, &raw mut call) };
        match Errno::result(received) {
            Ok(_) => {}
            // Who called is gone, or a signal came: there may be another look.
            Err(Errno::ENOENT | Errno::EINTR) => return true,
            Err(_) => return false,
        }
        if !expected.is_some_and(|expected| call.is(expected)) {
            return false;
        }
        let response = Response { id: call.id, value: 0, error: 0, flags: CONTINUE };
        // SAFETY: the kernel reads a response.
        let sent = unsafe { libc::ioctl(self.0.as_raw_fd(), SEND, &raw const response) };
        match Errno::result(sent) {
            Ok(_) => {
                *expected = None;
                true
            }
            // A signal took the caller out of the call, which was not made: it calls again.
            Err(Errno::ENOENT) => true,
            Err(_) => false,
        }
    }
}

impl Notification {
    /// Whether it is this mapping, of whatever descriptor: there is one of memory in the process, and what
    /// it was is seen afterwards.
    fn is(&self, Expected { address, length, access, offset }: Expected) -> bool {
        let protection = match access {
            Access::Read => libc::PROT_READ,
            Access::Write => libc::PROT_READ | libc::PROT_WRITE,
            Access::Execute => return false,
        };
        let [at, bytes, may, how, _, from] = self.arguments;
        let shared = (libc::MAP_SHARED | libc::MAP_FIXED) as u64;
        i64::from(self.number) == libc::SYS_mmap
            && (at, bytes, from) == (address, length, offset)
            && (may, how) == (protection as u64, shared)
    }
}
