//! Memory: anonymous files that hold it, and its mapping at the fixed addresses of the layout.

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, mmap_anonymous, mprotect, munmap};
use nix::sys::stat::Mode;
use phi_abi::layout::{PAGE, SERVICES, WINDOW_SIZE, WINDOWS_BASE};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::time::{Duration, Instant};

/// Access to mapped memory. None is both writable and executable.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Access {
    /// Read only.
    Read,
    /// Read and write.
    Write,
    /// Read and execute.
    Execute,
}

/// What mapped memory begins with.
pub enum Source<'a> {
    /// Zeros, the mapper's own.
    Zero,
    /// A copy of these bytes, and zeros after them.
    Bytes(&'a [u8]),
    /// A copy of a file from an offset on, the mapper's own.
    Copy(BorrowedFd<'a>, u64),
    /// A file from an offset on, shared with all who map it.
    Shared(BorrowedFd<'a>, u64),
}

/// Whether `address..address + length` is whole pages within the windows of the layout. Nothing of
/// the host itself ever lies there.
pub fn in_windows(address: u64, length: u64) -> bool {
    let end = WINDOWS_BASE + (SERVICES as u64 + 1) * WINDOW_SIZE;
    let whole = address.is_multiple_of(PAGE) && length.is_multiple_of(PAGE) && length > 0;
    whole && address >= WINDOWS_BASE && address < end && length <= end - address
}

/// Maps memory at its fixed address in this process, in place of what was mapped there.
///
/// # Errors
/// `EINVAL` for what is not whole pages within the windows; otherwise what Linux says.
pub fn map(address: u64, length: u64, access: Access, source: Source) -> nix::Result<()> {
    let (place, size) = span(address, length)?;
    let protection = match access {
        Access::Read => ProtFlags::PROT_READ,
        Access::Write => ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
        Access::Execute => ProtFlags::PROT_READ | ProtFlags::PROT_EXEC,
    };
    let private = MapFlags::MAP_PRIVATE | MapFlags::MAP_FIXED;
    let anonymous = private | MapFlags::MAP_NORESERVE;
    match source {
        Source::Zero => {
            // SAFETY: `span` has checked that the pages lie in the windows, where only services'
            // memory is: no Rust object of the host is replaced.
            unsafe { mmap_anonymous(Some(place), size, protection, anonymous) }?;
        }
        Source::Bytes(bytes) => {
            let bytes = bytes.get(..size.get()).unwrap_or(bytes);
            let writable = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
            // SAFETY: as above; the copy then stays within the pages just mapped, which no service
            // can use yet.
            unsafe {
                let memory = mmap_anonymous(Some(place), size, writable, anonymous)?;
                memory
                    .cast::<u8>()
                    .copy_from_nonoverlapping(NonNull::from(bytes).cast::<u8>(), bytes.len());
                mprotect(memory, size.get(), protection)?;
            }
        }
        Source::Copy(file, offset) => {
            // SAFETY: as above.
            unsafe { mmap(Some(place), size, protection, private, file, offset as libc::off_t) }?;
        }
        Source::Shared(file, offset) => {
            let shared = MapFlags::MAP_SHARED | MapFlags::MAP_FIXED;
            // SAFETY: as above.
            unsafe { mmap(Some(place), size, protection, shared, file, offset as libc::off_t) }?;
        }
    }
    Ok(())
}

/// Takes memory at its fixed address out of this process.
///
/// # Errors
/// As [`map`].
pub fn unmap(address: u64, length: u64) -> nix::Result<()> {
    let (place, size) = span(address, length)?;
    // SAFETY: `span` has checked that the pages lie in the windows, where only services' memory is.
    unsafe { munmap(place_pointer(place), size.get()) }
}

fn span(address: u64, length: u64) -> nix::Result<(NonZeroUsize, NonZeroUsize)> {
    if !in_windows(address, length) {
        return Err(nix::Error::EINVAL);
    }
    let place = NonZeroUsize::new(address as usize).ok_or(nix::Error::EINVAL)?;
    let size = NonZeroUsize::new(length as usize).ok_or(nix::Error::EINVAL)?;
    Ok((place, size))
}

fn place_pointer(place: NonZeroUsize) -> NonNull<libc::c_void> {
    NonNull::with_exposed_provenance(place)
}

/// Makes `length` bytes of zeroed memory that several processes can map; its size is sealed.
pub fn create(name: &str, length: u64) -> io::Result<OwnedFd> {
    let memory = memfd_create(name, MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?;
    let size = libc::off_t::try_from(length).map_err(|_| io::ErrorKind::OutOfMemory)?;
    nix::unistd::ftruncate(&memory, size)?;
    seal(&memory, SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW)?;
    Ok(memory)
}

/// Makes memory that holds `bytes`, filled up to whole pages and at least to `length` with zeros,
/// which nobody can change.
/// The descriptor is read-only: before Linux 6.7 another one cannot be mapped shared.
pub fn create_constant(name: &str, bytes: &[u8], length: u64) -> io::Result<OwnedFd> {
    let memory = memfd_create(name, MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?;
    let mut file = File::from(memory);
    file.write_all(bytes)?;
    file.set_len((bytes.len() as u64).max(length).next_multiple_of(PAGE))?;
    let memory = OwnedFd::from(file);
    let size = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW;
    seal(&memory, size | SealFlag::F_SEAL_WRITE)?;
    Ok(read_only(&memory)?)
}

/// Time that Linux has to let go of pages that are to be sealed.
const SEALING: Duration = Duration::from_secs(10);

/// Seals memory. On a busy machine Linux itself may still hold pages that were just written, and
/// then refuses to seal them against writing: that passes.
fn seal(memory: &OwnedFd, seals: SealFlag) -> nix::Result<()> {
    let end = Instant::now() + SEALING;
    loop {
        match fcntl(memory, FcntlArg::F_ADD_SEALS(seals | SealFlag::F_SEAL_SEAL)) {
            Err(Errno::EBUSY) if Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(1));
            }
            result => return result.map(drop),
        }
    }
}

/// A descriptor of the same memory that cannot write to it.
pub fn read_only(memory: impl AsFd) -> nix::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", memory.as_fd().as_raw_fd());
    nix::fcntl::open(path.as_str(), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_pages_in_the_windows_are_mapped() {
        assert!(in_windows(WINDOWS_BASE, PAGE));
        assert!(!in_windows(WINDOWS_BASE, 0));
        assert!(!in_windows(WINDOWS_BASE + 1, PAGE));
        assert!(!in_windows(WINDOWS_BASE, PAGE + 1));
        assert!(!in_windows(WINDOWS_BASE - PAGE, PAGE));
        assert!(!in_windows(WINDOWS_BASE, !(PAGE - 1)));
        assert!(!in_windows(!(PAGE - 1), PAGE));
        assert_eq!(map(0x1000, PAGE, Access::Read, Source::Zero), Err(nix::Error::EINVAL));
        assert_eq!(unmap(0, PAGE), Err(nix::Error::EINVAL));
    }

    #[test]
    fn constant_memory_cannot_be_written() {
        let memory = create_constant("phi-test", b"abc", 0).unwrap();
        assert!(nix::unistd::write(&memory, b"x").is_err());
        let address = WINDOWS_BASE + 0x7000_0000;
        assert!(map(address, PAGE, Access::Write, Source::Shared(memory.as_fd(), 0)).is_err());
        map(address, PAGE, Access::Read, Source::Shared(memory.as_fd(), 0)).unwrap();
        // SAFETY: the page was just mapped for reading, and nothing changes it.
        let bytes = unsafe { std::slice::from_raw_parts(address as *const u8, 4) };
        assert_eq!(bytes, b"abc\0");
        unmap(address, PAGE).unwrap();
    }

    #[test]
    fn a_read_only_descriptor_maps_read_only() {
        let memory = create("phi-test", PAGE).unwrap();
        let reader = read_only(&memory).unwrap();
        let address = WINDOWS_BASE + 0x7100_0000;
        let source = || Source::Shared(reader.as_fd(), 0);
        assert!(map(address, PAGE, Access::Write, source()).is_err());
        map(address, PAGE, Access::Read, source()).unwrap();
        unmap(address, PAGE).unwrap();
    }
}
