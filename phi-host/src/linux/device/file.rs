//! A file that a driver reads from and writes to, and nothing else: its filter sees to that.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

/// Bytes that are read or written at once, at most: one more than a frame has, by which one that is too long shows.
pub const MOST: usize = phi_nic::FRAME + 1;

/// A device's file.
pub struct File(OwnedFd);

impl File {
    /// What was handed out.
    pub fn new(file: OwnedFd) -> File {
        File(file)
    }

    /// Its descriptor.
    pub fn descriptor(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Waits for what comes next; how many bytes that is. At most [`MOST`] fit.
    ///
    /// # Errors
    /// What Linux says.
    pub fn read(&self, bytes: &mut [u8]) -> io::Result<usize> {
        let length = bytes.len().min(MOST);
        // SAFETY: the kernel writes at most so many bytes there.
        let count = unsafe { libc::read(self.0.as_raw_fd(), bytes.as_mut_ptr().cast(), length) };
        usize::try_from(count).map_err(|_| io::Error::last_os_error())
    }

    /// Writes at most [`MOST`] of `bytes`; how many it was.
    ///
    /// # Errors
    /// What Linux says.
    pub fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let length = bytes.len().min(MOST);
        // SAFETY: the kernel reads so many bytes there.
        let count = unsafe { libc::write(self.0.as_raw_fd(), bytes.as_ptr().cast(), length) };
        usize::try_from(count).map_err(|_| io::Error::last_os_error())
    }
}
