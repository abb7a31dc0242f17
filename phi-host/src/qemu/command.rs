//! The command that starts QEMU.

use super::debugger::Debugger;
use super::firmware;
use crate::linux::device::AllGiven;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getpid, getppid};
use phi_nic::Address;
use std::io;
use std::os::fd::{BorrowedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The emulator.
pub const PROGRAM: &str = "qemu-system-x86_64";

/// How a system is booted.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Options {
    /// MiB of memory; without it, as much as the bundle and the quotas need.
    pub memory: Option<u32>,
    /// Whether the guest's clock counts its instructions, which two runs repeat exactly.
    pub count_instructions: bool,
    /// The UEFI program, to boot by UEFI from a disk; without it, PVH enters the kernel.
    pub loader: Option<PathBuf>,
    /// What is handed in for the system's devices.
    pub given: AllGiven,
    /// Further devices, in the emulator's words.
    pub devices: Vec<String>,
    /// Whether no IOMMU stands before disks and devices.
    pub no_iommu: bool,
    /// Whether the machine waits for gdb.
    pub debugger: bool,
    /// The file for dumps: the kernel's last one stays, which it writes at the system's end, if it has not
    /// found a bug before.
    pub dump: Option<PathBuf>,
}

impl Options {
    /// The kernel's command line.
    pub fn command_line(&self) -> String {
        if self.dump.is_some() { "dump".into() } else { String::new() }
    }
}

/// What is booted.
pub enum Source<'a> {
    /// This kernel, with the bundle behind this descriptor, by PVH.
    Direct {
        /// The kernel's file.
        kernel: &'a Path,
        /// The bundle.
        bundle: RawFd,
    },
    /// The disk behind this descriptor, by UEFI.
    Disk(RawFd),
}

/// The command. It inherits the source's descriptor and `log` and `monitor`, which must stay open until
/// it is spawned.
pub fn command(
    source: &Source<'_>,
    memory: u64,
    options: &Options,
    [log, monitor]: [RawFd; 2],
    debugger: Option<&Debugger>,
) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(["-M", "q35", "-accel", "tcg", "-cpu", "max", "-m", &format!("{memory}M")]);
    command.args(["-nodefaults", "-display", "none", "-no-reboot"]);
    devices(&mut command, options);
    let image = match *source {
        Source::Direct { kernel, bundle } => {
            command.args(["-bios", "qboot.rom", "-kernel"]).arg(kernel);
            command.args(["-initrd", &format!("/dev/fd/{bundle}")]);
            command.args(["-append", &options.command_line()]);
            bundle
        }
        Source::Disk(disk) => {
            command.args(["-bios", firmware::FILE, "-drive"]);
            command.arg(format!("if=none,id=disk,format=raw,readonly=on,file=/dev/fd/{disk}"));
            command.args(["-device", "virtio-blk-pci,drive=disk,bootindex=0"]);
            disk
        }
    };
    for (name, file) in [("transcript", 1), ("log", log)] {
        command.args(["-chardev", &format!("file,id={name},path=/dev/fd/{file}")]);
        command.args(["-serial", &format!("chardev:{name}")]);
    }
    // The third line and the fourth one: the kernel writes to the first two.
    for (number, line) in options.given.ttys.iter().enumerate() {
        let file = line.file.display().to_string().replace(',', ",,");
        command.args(["-chardev", &format!("serial,id=line{number},path={file}")]);
        command.args(["-serial", &format!("chardev:line{number}")]);
    }
    command.args(["-chardev", &format!("socket,id=monitor,fd={monitor}")]);
    command.args(["-mon", "chardev=monitor,mode=control"]);
    command.args(["-device", "isa-debug-exit,iobase=0xf4,iosize=4"]);
    if options.count_instructions {
        command.args(["-icount", "shift=0,sleep=off"]);
    }
    if let Some(debugger) = debugger {
        let socket = debugger.socket().display().to_string();
        command.args([
            "-S",
            "-chardev",
            &format!("socket,id=gdb,path={socket},server=on,wait=off"),
        ]);
        command.args(["-gdb", "chardev:gdb"]);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // A group of its own, so that Ctrl-C reaches this process alone, which then ends it.
    command.process_group(0);
    inherit(&mut command, [image, log, monitor], getpid());
    command
}

/// Virtio disks and network cards with the names of the system's, and further devices, behind an IOMMU.
fn devices(command: &mut Command, options: &Options) {
    let Options { given: AllGiven { disks, nics, .. }, devices, no_iommu, .. } = options;
    if !(disks.is_empty() && nics.is_empty() && devices.is_empty() || *no_iommu) {
        // Before all that it stands before.
        command.args(["-device", "intel-iommu,intremap=on,aw-bits=48"]);
    }
    for device in devices {
        command.args(["-device", device]);
    }
    for (number, disk) in disks.iter().enumerate() {
        let file = disk.file.display().to_string().replace(',', ",,");
        let access = if disk.read_only { "on" } else { "off" };
        command.args([
            "-drive",
            &format!("if=none,id=disk{number},format=raw,readonly={access},file={file}"),
        ]);
        let name = disk.name.replace(',', ",,");
        command.args(["-device", &format!(
            "virtio-blk-pci,drive=disk{number},serial={name},disable-legacy=on,iommu_platform=on"
        )]);
    }
    for (number, nic) in nics.iter().enumerate() {
        let interface = &nic.interface;
        command.args([
            "-netdev",
            &format!("tap,id=nic{number},ifname={interface},script=no,downscript=no"),
        ]);
        let address = Address::of_name(&nic.name);
        // Without firmware of its own, which would boot from the network.
        command.args(["-device", &format!(
            "virtio-net-pci,netdev=nic{number},mac={address},romfile=,disable-legacy=on,iommu_platform=on"
        )]);
    }
}

/// Has the process of `command` inherit `descriptors`, and end when its parent does.
#[expect(unsafe_code, reason = "prepares a process between fork and exec")]
fn inherit(command: &mut Command, descriptors: [RawFd; 3], parent: Pid) {
    let prepare = move || {
        set_pdeathsig(Signal::SIGKILL)?;
        if getppid() != parent {
            // It ended before the wish to end with it was made.
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        for descriptor in descriptors {
            // SAFETY: the caller keeps it open until the process was started, and the copy of it
            // that this process has is closed by nobody else.
            let descriptor = unsafe { BorrowedFd::borrow_raw(descriptor) };
            fcntl(descriptor, FcntlArg::F_SETFD(FdFlag::empty()))?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec, the closure makes only system calls that are async-signal-safe,
    // allocates nothing, and touches nothing but its own captured numbers.
    unsafe { command.pre_exec(prepare) };
}
