//! The ring through which a driver's process reaches its file, and what it may do.

use super::Parameters;
use io_uring::register::Restriction;
use io_uring::types::Fixed;
use io_uring::{IoUring, opcode};
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// The file, among the ring's own files. The process has no other descriptor of it.
pub const FILE: Fixed = Fixed(0);

/// The counter that wakes the thread at the ring.
pub const WAKER: Fixed = Fixed(1);

/// Threads of Linux's own that do what cannot be begun without waiting.
const WORKERS: u32 = 8;

/// What a driver's process has beside what every service's has.
pub struct Ring {
    /// The ring.
    pub ring: IoUring,
    /// Counts what the thread at the ring is to look at.
    pub waker: OwnedFd,
    /// The disk.
    pub parameters: Parameters,
}

/// The descriptors of a [`Ring`], for the filter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Descriptors {
    /// Of the ring.
    pub ring: RawFd,
    /// Of the counter.
    pub waker: RawFd,
}

impl Ring {
    /// Threads of Linux's own that the ring may have.
    pub const WORKERS: u64 = WORKERS as u64 + 1;

    /// Descriptors that it keeps open.
    pub const DESCRIPTORS: u64 = 2;

    /// Makes the ring for `file`. From here on it does nothing but read, write, flush and punch holes,
    /// and only in that file, and nothing of that can be changed.
    ///
    /// # Errors
    /// What Linux says.
    pub fn new(file: BorrowedFd, parameters: Parameters) -> io::Result<Ring> {
        let waker = OwnedFd::from(EventFd::from_flags(EfdFlags::EFD_CLOEXEC)?);
        let entries = (u32::from(parameters.depth) + 1).next_power_of_two();
        let ring = IoUring::builder().setup_r_disabled().build(entries)?;
        let submitter = ring.submitter();
        submitter.register_files(&[file.as_raw_fd(), waker.as_raw_fd()])?;
        submitter.register_iowq_max_workers(&mut [WORKERS, 1])?;
        let allowed =
            [opcode::Read::CODE, opcode::Write::CODE, opcode::Fsync::CODE, opcode::Fallocate::CODE];
        // Only the ring's own files: no descriptor of the process is within reach.
        const FIXED_FILE: u8 = 1;
        let mut restrictions: Vec<Restriction> = allowed.map(Restriction::sqe_op).into();
        restrictions.push(Restriction::sqe_flags_allowed(FIXED_FILE));
        restrictions.push(Restriction::sqe_flags_required(FIXED_FILE));
        submitter.register_restrictions(&mut restrictions)?;
        submitter.register_enable_rings()?;
        Ok(Ring { ring, waker, parameters })
    }

    /// Its descriptors.
    pub fn descriptors(&self) -> Descriptors {
        Descriptors { ring: self.ring.as_raw_fd(), waker: self.waker.as_raw_fd() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use io_uring::squeue::Entry;
    use std::fs::File;
    use std::os::fd::AsFd;

    /// What becomes of a request.
    fn done(ring: &mut Ring, entry: &Entry) -> i32 {
        // SAFETY: the request's memory lives until it has ended, which is waited for.
        unsafe { ring.ring.submission().push(entry).unwrap() };
        ring.ring.submit_and_wait(1).unwrap();
        ring.ring.completion().next().unwrap().result()
    }

    #[test]
    fn a_ring_reaches_its_file_and_nothing_else() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(1 << 20).unwrap();
        let parameters = Parameters {
            blocks: 1 << 11,
            block_size: 512,
            alignment: 1,
            depth: 4,
            read_only: false,
        };
        let mut ring = Ring::new(file.as_fd(), parameters).unwrap();
        let other = File::open("/proc/self/status").unwrap();
        let mut bytes = [7; 512];
        let write = opcode::Write::new(FILE, bytes.as_ptr(), 512).offset(1024).build();
        assert_eq!(done(&mut ring, &write), 512);
        let into = bytes.as_mut_ptr();
        assert_eq!(done(&mut ring, &opcode::Read::new(FILE, into, 512).offset(1024).build()), 512);
        assert_eq!(done(&mut ring, &opcode::Fsync::new(FILE).build()), 0);
        let own = io_uring::types::Fd(other.as_raw_fd());
        let forbidden = [
            opcode::Read::new(own, into, 512).build(),
            opcode::Nop::new().build(),
            opcode::Close::new(own).build(),
            opcode::OpenAt::new(io_uring::types::Fd(libc::AT_FDCWD), c"/".as_ptr()).build(),
            opcode::Socket::new(libc::AF_INET, libc::SOCK_STREAM, 0).build(),
            opcode::Splice::new(FILE, 0, own, 0, 8).build(),
        ];
        for entry in &forbidden {
            assert_eq!(done(&mut ring, entry), -libc::EACCES, "{entry:?}");
        }
        let submitter = ring.ring.submitter();
        assert!(submitter.register_files_update(0, &[other.as_raw_fd()]).is_err());
        assert!(submitter.unregister_files().is_err());
    }
}
