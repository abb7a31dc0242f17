//! Disks that are not as they were written end with the reason, whoever finds it: the loader, the kernel,
//! or the firmware.

use fatfs::{FileSystem, FsOptions};
use phi_host::failure::{Failure, Kind};
use phi_host::symbols::Symbols;
use phi_host::{disk, qemu};
use phi_loader::inventory::LOADER_FILE;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::OnceLock;

/// The partition's beginning.
const PARTITION: u64 = 1 << 20;

/// The partition of a disk.
struct Partition(File);

impl Read for Partition {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.0.read(bytes)
    }
}

impl Write for Partition {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Seek for Partition {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let to = match to {
            SeekFrom::Start(position) => SeekFrom::Start(position + PARTITION),
            other => other,
        };
        self.0.seek(to).map(|position| position - PARTITION)
    }
}

type Folder<'a> = fatfs::Dir<'a, Partition>;

/// Loader and kernel; nothing where they cannot be built or booted, which is an error where that is asked
/// for.
fn programs() -> Option<&'static [Vec<u8>; 2]> {
    static BUILT: OnceLock<Option<[Vec<u8>; 2]>> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let build = || {
            let firmware = Path::new("/usr/share/ovmf/OVMF.fd").exists();
            let emulator =
                std::process::Command::new("qemu-system-x86_64").arg("--version").output();
            if !firmware || emulator.is_err() {
                return Err(Failure::new(Kind::Computer, "qemu-system-x86 and ovmf are needed"));
            }
            Ok([qemu::loader(&project)?, qemu::kernel(&project)?])
        };
        match build() {
            Ok(files) => Some(files.map(|file| std::fs::read(file).expect("what was built"))),
            Err(failure) => {
                assert!(std::env::var_os("PHI_REQUIRE_METAL").is_none(), "{failure}");
                eprintln!("skipped with UEFI: {failure}");
                None
            }
        }
    });
    built.as_ref()
}

/// Boots a disk with this bundle after `harm` has changed it; gives the failure and the log.
fn boot(bundle: &[u8], harm: impl FnOnce(&Folder<'_>)) -> Option<(Failure, String)> {
    let [loader, kernel] = programs()?;
    let mut file = tempfile::tempfile().expect("a file");
    let content = disk::Content { loader, kernel, bundle, command_line: "" };
    disk::write(&mut file, &content).expect("a disk");
    let partition = Partition(file.try_clone().expect("a descriptor"));
    let mut partition = partition;
    partition.seek(SeekFrom::Start(0)).expect("a beginning");
    let system = FileSystem::new(partition, FsOptions::new()).expect("a file system");
    harm(&system.root_dir());
    system.unmount().expect("a whole file system");
    let (mut transcript, mut log) = (Vec::new(), Vec::new());
    let options = qemu::Options { memory: Some(256), ..qemu::Options::default() };
    let result = qemu::boot_disk(&file, &options, &Symbols::default(), &mut transcript, &mut log);
    let failure = result.expect_err("a disk that is harmed");
    assert!(transcript.is_empty(), "a transcript of nothing");
    Some((failure, String::from_utf8(log).expect("text")))
}

fn refused(bundle: &[u8], harm: impl FnOnce(&Folder<'_>), expected: &str) {
    let Some((failure, log)) = boot(bundle, harm) else { return };
    assert_eq!(log, expected, "{failure}");
    assert_eq!(failure.kind, Kind::Bug);
}

#[test]
fn a_disk_without_a_bundle() {
    let expected = "phi-loader: /phi/bundle is not on the disk\n";
    refused(b"bundle", |root| root.remove("phi/bundle").expect("a bundle"), expected);
}

#[test]
fn a_bundle_that_is_cut_off() {
    let cut = |root: &Folder<'_>| {
        let mut file = root.open_file("phi/bundle").expect("a bundle");
        file.seek(SeekFrom::Start(4096)).expect("a place");
        file.truncate().expect("a shorter file");
    };
    let expected = "phi-loader: /phi/bundle has 4096 bytes, and should have 9000\n";
    refused(&[7; 9000], cut, expected);
}

#[test]
fn a_kernel_that_is_damaged() {
    let damage = |root: &Folder<'_>| {
        let mut file = root.open_file("phi/kernel").expect("a kernel");
        file.seek(SeekFrom::Start(100_000)).expect("a place");
        file.write_all(b"x").expect("room");
    };
    let expected = "phi-loader: /phi/kernel is damaged: it is not what the inventory says\n";
    refused(b"bundle", damage, expected);
}

#[test]
fn a_bundle_that_the_kernel_refuses() {
    let expected = "phi-kernel: the bundle is refused: this is no ΦOS bundle\n";
    refused(&[7; 9000], |_| {}, expected);
}

#[test]
fn a_loader_that_is_none() {
    let damage = |root: &Folder<'_>| {
        let mut file = root.open_file(LOADER_FILE).expect("a loader");
        file.write_all(b"no program").expect("room");
    };
    let Some((failure, log)) = boot(b"bundle", damage) else { return };
    assert_eq!((failure.kind, &*log), (Kind::Input, ""));
    assert!(failure.what.contains("has not started a loader"), "{failure}");
}
