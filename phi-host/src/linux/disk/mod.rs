//! `host-disk`: the driver of block devices on Linux, and the files that it drives.
//!
//! A driver is a service whose code is this program's own and not an image's. It lives in a process
//! like any other, makes the same calls, and is restarted by `init` like any other. What it has more is
//! a ring of io_uring, made before its filter closes, that can do nothing but read, write, flush and
//! punch holes in the one file that it was made for ([`ring`]). The driver itself is in [`driver`].
//!
//! What of a driver is still under way when its process is gone goes on in Linux: such a write would
//! overtake those of the driver's next start, and such a read would change memory that its owner has
//! back. So each start has a file description of its own, with a lock on it: the lock is free once
//! nothing refers to the description any more, requests included, and the supervisor waits for that.

pub mod driver;
pub mod ring;

use super::device::{self, DeviceError, Given, Kind};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use phi_manifest::plan::ServicePlan;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Bytes of a block, at least.
const BLOCK: u32 = 512;

/// Bytes of a block, at most.
const LARGEST_BLOCK: u32 = 64 << 10;

/// What direct input and output wants on file systems that do not say: a page.
const CAREFUL: u32 = 4096;

/// Requests of a driver that are under way at a time, at most.
const DEPTH: u32 = 128;

/// Handles that a driver needs for itself; each request needs two more.
const OWN_HANDLES: u32 = 8;

/// Time that Linux has for what an ended driver left under way. A device that takes longer is lost.
const PATIENCE: Duration = Duration::from_secs(30);

/// A file for a disk, as the command line names it: `NAME=FILE` or `NAME=FILE,ro`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DiskFile {
    /// The disk's name in the manifest.
    pub name: String,
    /// The file, or the block device of Linux.
    pub file: PathBuf,
    /// Whether it is only read.
    pub read_only: bool,
}

impl std::str::FromStr for DiskFile {
    type Err = String;

    fn from_str(text: &str) -> Result<DiskFile, String> {
        let (text, read_only) = match text.strip_suffix(",ro") {
            Some(text) => (text, true),
            None => (text, false),
        };
        match text.split_once('=') {
            Some((name, file)) if !name.is_empty() && !file.is_empty() => {
                Ok(DiskFile { name: name.into(), file: file.into(), read_only })
            }
            _ => Err("a disk is given as NAME=FILE or NAME=FILE,ro".into()),
        }
    }
}

impl Given for DiskFile {
    const KIND: Kind = device::DISK;

    fn name(&self) -> &str {
        &self.name
    }
}

/// What to do about a file that cannot be a disk.
const HELP: &str = "name a regular file or a block device that this user may open";

/// `file` cannot be a disk, and why.
pub fn unusable(file: &Path, why: impl fmt::Display) -> DeviceError {
    let what = format!("{} cannot be a disk", file.display());
    DeviceError::Unusable(what, why.to_string(), HELP)
}

/// What the driver is told of its disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Parameters {
    /// Whole blocks of the disk.
    pub blocks: u64,
    /// Bytes of a block.
    pub block_size: u32,
    /// What the address of memory must be a multiple of.
    pub alignment: u32,
    /// Requests under way at a time.
    pub depth: u16,
    /// Whether it is only read.
    pub read_only: bool,
}

impl Parameters {
    /// Bytes of the disk.
    pub fn bytes(&self) -> u64 {
        self.blocks * u64::from(self.block_size)
    }
}

/// A disk, for the starts of its driver.
pub struct Disk {
    /// What it is called.
    file: PathBuf,
    /// Names the file, whatever becomes of its name. Nothing can be read or written through it.
    place: OwnedFd,
    /// How it is opened.
    flags: OFlag,
    /// What the driver is told.
    pub parameters: Parameters,
}

impl Disk {
    /// Opens the file of the disk that `service` drives.
    ///
    /// # Errors
    /// [`DeviceError::Unusable`].
    pub fn for_service(file: &DiskFile, service: &ServicePlan) -> Result<Disk, DeviceError> {
        let depth = (service.quota.handles.saturating_sub(OWN_HANDLES) / 2).clamp(1, DEPTH);
        Disk::open(file, depth as u16)
    }

    /// Opens the file of a disk, as one with `depth` requests under way at a time.
    ///
    /// # Errors
    /// [`DeviceError::Unusable`].
    fn open(given: &DiskFile, depth: u16) -> Result<Disk, DeviceError> {
        let unusable = |why: String| unusable(&given.file, why);
        let failed = |error: io::Error| unusable(error.to_string());
        let place = open(&given.file, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty());
        let place = place.map_err(|error| failed(error.into()))?;
        // A pipe would be opened for ever, so its kind comes first.
        let kind = File::from(place.try_clone().map_err(failed)?).metadata().map_err(failed)?;
        if !kind.is_file() && !kind.file_type().is_block_device() {
            return Err(unusable("it is neither a regular file nor a block device".into()));
        }
        let access = if given.read_only { OFlag::O_RDONLY } else { OFlag::O_RDWR };
        let mut flags = access | OFlag::O_CLOEXEC | OFlag::O_DIRECT;
        let mut opened = reopen(&place, flags);
        if opened.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::EINVAL)) {
            flags.remove(OFlag::O_DIRECT);
            opened = reopen(&place, flags);
        }
        let opened = opened.map_err(failed)?;
        let (mut block_size, mut alignment) = (BLOCK, 1);
        if flags.contains(OFlag::O_DIRECT) {
            match direct_alignment(&opened) {
                Some((0, _) | (_, 0)) => flags.remove(OFlag::O_DIRECT),
                Some((offset, memory)) => (block_size, alignment) = (offset.max(BLOCK), memory),
                None => (block_size, alignment) = (CAREFUL, CAREFUL),
            }
        }
        if block_size > LARGEST_BLOCK || alignment > phi_abi::layout::PAGE as u32 {
            return Err(unusable(format!("it wants blocks of {block_size} bytes")));
        }
        let bytes = File::from(opened).seek(SeekFrom::End(0)).map_err(failed)?;
        let blocks = bytes / u64::from(block_size);
        if blocks == 0 {
            return Err(unusable(format!("it has less than a block of {block_size} bytes")));
        }
        let read_only = given.read_only;
        let parameters = Parameters { blocks, block_size, alignment, depth, read_only };
        let disk = Disk { file: given.file.clone(), place, flags, parameters };
        match disk.try_lock() {
            Ok(Some(_)) => Ok(disk),
            Ok(None) => Err(unusable("another system or program has locked it".into())),
            Err(error) => Err(failed(error)),
        }
    }

    /// What people should know of it.
    pub fn note(&self) -> Option<String> {
        let file = self.file.display();
        let note = format!(
            "{file} has no direct input and output here: it is read and written through Linux's own cache"
        );
        (!self.flags.contains(OFlag::O_DIRECT)).then_some(note)
    }

    /// A file description for one start of the driver, once nothing of an earlier one is under way.
    ///
    /// # Errors
    /// What Linux says; `TimedOut` when it does not come to an end.
    pub fn hand_out(&self) -> io::Result<OwnedFd> {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(file) = self.try_lock()? {
                return Ok(file);
            }
            if Instant::now() > end {
                return Err(io::ErrorKind::TimedOut.into());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits until nothing of an ended driver is under way any more.
    ///
    /// # Errors
    /// As [`Disk::hand_out`].
    pub fn settle(&self) -> io::Result<()> {
        self.hand_out().map(drop).map_err(|error| {
            let file = self.file.display();
            io::Error::new(
                error.kind(),
                format!("{file} does not end what its driver began: {error}"),
            )
        })
    }

    /// A new description of the file, with the lock on it; `None` while another one has the lock.
    fn try_lock(&self) -> io::Result<Option<OwnedFd>> {
        let file = reopen(&self.place, self.flags)?;
        // SAFETY: the call takes two numbers.
        let locked = unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) };
        match Errno::result(locked) {
            Ok(_) => Ok(Some(file)),
            Err(Errno::EWOULDBLOCK | Errno::EINTR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// A new description of what `place` names.
fn reopen(place: &OwnedFd, flags: OFlag) -> io::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", place.as_raw_fd());
    Ok(open(Path::new(&path), flags, Mode::empty())?)
}

/// What direct input and output wants offsets and addresses to be multiples of: zeros where there is
/// none, and nothing where Linux does not say (before 6.1).
fn direct_alignment(file: &OwnedFd) -> Option<(u32, u32)> {
    // SAFETY: all zeros is a valid answer.
    let mut answer: libc::statx = unsafe { std::mem::zeroed() };
    let (mask, flags) = (libc::STATX_DIOALIGN, libc::AT_EMPTY_PATH);
    // SAFETY: the path is an empty text, and the answer is as long as the kernel takes it for.
    let result =
        unsafe { libc::statx(file.as_raw_fd(), c"".as_ptr(), flags, mask, &raw mut answer) };
    Errno::result(result).ok()?;
    let known = answer.stx_mask & libc::STATX_DIOALIGN != 0;
    known.then_some((answer.stx_dio_offset_align, answer.stx_dio_mem_align))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(file: &Path, read_only: bool) -> DiskFile {
        DiskFile { name: "data".into(), file: file.into(), read_only }
    }

    fn why(error: Result<Disk, DeviceError>) -> String {
        error.err().expect("no disk").to_string()
    }

    #[test]
    fn a_disk_is_a_name_and_a_file() {
        let disk: DiskFile = "data=a=b,ro".parse().unwrap();
        assert_eq!(disk, DiskFile { name: "data".into(), file: "a=b".into(), read_only: true });
        for text in ["", "data", "=file", "data=", "data=,ro", ",ro"] {
            assert!(text.parse::<DiskFile>().is_err(), "{text}");
        }
    }

    #[test]
    fn only_whole_blocks_of_files_and_devices_are_disks() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("disk");
        assert!(why(Disk::open(&given(&file, false), 1)).contains("No such file"));
        assert!(why(Disk::open(&given(folder.path(), false), 1)).contains("neither"));
        assert!(why(Disk::open(&given(Path::new("/dev/null"), false), 1)).contains("neither"));
        std::fs::write(&file, [1; 100]).unwrap();
        assert!(why(Disk::open(&given(&file, false), 1)).contains("less than a block"));
        std::fs::write(&file, vec![1; 9_000 * 8]).unwrap();
        let disk = Disk::open(&given(&file, true), 7).unwrap();
        let Parameters { blocks, block_size, depth, read_only, .. } = disk.parameters;
        assert_eq!(blocks, 72_000 / u64::from(block_size));
        assert!(block_size.is_power_of_two() && read_only);
        assert_eq!(depth, 7);
    }

    #[test]
    fn a_file_has_one_driver_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("disk");
        std::fs::write(&file, vec![1; 64 << 10]).unwrap();
        let disk = Disk::open(&given(&file, false), 1).unwrap();
        let first = disk.hand_out().unwrap();
        assert!(disk.try_lock().unwrap().is_none());
        assert!(why(Disk::open(&given(&file, false), 1)).contains("locked"));
        // A descriptor of the same description keeps the lock, as a request under way does.
        let second = first.try_clone().unwrap();
        drop(first);
        assert!(disk.try_lock().unwrap().is_none());
        drop(second);
        disk.settle().unwrap();
    }
}
