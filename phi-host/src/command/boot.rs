//! `phi-host boot`.

use super::SourceArguments;
use super::devices::DeviceArguments;
use super::session::{Machine, Style, device_failure, without_host_drivers};
use crate::failure::{Failure, Kind};
use crate::linux::device::{self, AllGiven};
use crate::linux::disk as host_disk;
use crate::linux::nic::Interface;
use crate::linux::tty::TerminalFile;
use crate::symbols::Symbols;
use crate::{disk, qemu};
use phi_manifest::bundle::Bundle;
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;

/// Bytes of a virtio disk's name, at most (virtio 1.2, 5.2.6).
const DISK_NAME: usize = 20;

/// Serial lines that the kernel does not write to itself.
const LINES: usize = 2;

const EXAMPLES: &str = "\
The transcript goes to standard output, the log to standard error. A disk that `phi-host image --disk` wrote
is booted by UEFI. SIGUSR1 asks the kernel for a dump; docs/booting.md has more.

Examples:
  phi-host boot examples/wordcount --input text=README.md
  phi-host boot examples/wordcount --input text=README.md --uefi
  phi-host boot --memory 512 --stats wordcount.bundle
  phi-host boot wordcount.disk
  phi-host boot tests/disk --disk data=disk.img
  phi-host boot tests/nic --nic net=phi0
  phi-host boot examples/wordcount --input text=README.md --gdb";

/// Run a system on the bare-metal kernel, in QEMU
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Boot {
    #[command(flatten)]
    source: SourceArguments,
    /// MiB of memory; by default as much as the bundle and the quotas need, and for a disk 1024
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(4..))]
    memory: Option<u32>,
    #[command(flatten)]
    given: DeviceArguments,
    /// A further device, in QEMU's words, as `edu` or `virtio-rng-pci`
    #[arg(long = "device", value_name = "DEVICE")]
    devices: Vec<String>,
    /// Leave out the IOMMU that stands before disks and devices
    #[arg(long)]
    no_iommu: bool,
    /// Have the machine's clock count instructions, each a nanosecond, so that times are those of the code and
    /// not of this computer
    #[arg(long)]
    count_instructions: bool,
    /// Boot from a disk by UEFI firmware, as most computers do
    #[arg(long)]
    uefi: bool,
    /// Wait for gdb before the first instruction, and print how to start it
    #[arg(long)]
    gdb: bool,
    /// Keep the kernel's last dump in this file: at the system's end, on SIGUSR1, or after a bug of its own
    #[arg(long, value_name = "FILE")]
    dump: Option<PathBuf>,
    #[command(flatten)]
    style: Style,
}

impl Boot {
    /// Does it; returns the exit status.
    ///
    /// # Errors
    /// Any [`Failure`].
    pub fn perform(&self) -> Result<u8, Failure> {
        // What cannot be opened is the manifest's matter.
        if let Ok(mut file) = File::open(&self.source.system)
            && disk::is_disk(&mut file).unwrap_or(false)
        {
            return self.boot_disk(&file);
        }
        let loaded = self.source.load()?;
        let bundle = loaded.bundle()?;
        without_host_drivers(&bundle)?;
        self.check_devices(&bundle)?;
        let project = loaded.project()?;
        let kernel = qemu::kernel(&project)?;
        let loader = self.uefi.then(|| qemu::loader(&project)).transpose()?;
        let symbols = loaded.symbols(&bundle, Some(&kernel));
        let options = qemu::Options { loader, ..self.options() };
        Machine::Metal(&kernel, options).present(&bundle, &symbols, &self.style)
    }

    fn options(&self) -> qemu::Options {
        qemu::Options {
            memory: self.memory,
            given: self.given.given(),
            devices: self.devices.clone(),
            no_iommu: self.no_iommu,
            count_instructions: self.count_instructions,
            debugger: self.gdb,
            dump: self.dump.clone(),
            ..qemu::Options::default()
        }
    }

    /// What is given for each device is there, and the emulator will be able to open it.
    fn check_devices(&self, bundle: &Bundle<'_>) -> Result<(), Failure> {
        let AllGiven { disks, nics, ttys } = self.given.given();
        let check = || {
            device::assign(bundle.plan(), &disks)?;
            device::assign(bundle.plan(), &nics)?;
            device::assign(bundle.plan(), &ttys)?;
            nics.iter().try_for_each(Interface::check)?;
            ttys.iter().try_for_each(TerminalFile::check)?;
            disks.iter().try_for_each(|disk| {
                let opened = File::options().read(true).write(!disk.read_only).open(&disk.file);
                opened.map(drop).map_err(|error| host_disk::unusable(&disk.file, error))
            })
        };
        if let Some(disk) = disks.iter().find(|disk| disk.name.len() > DISK_NAME) {
            let what = format!("the disk's name has more than {DISK_NAME} bytes: `{}`", disk.name);
            return Err(Failure::new(Kind::Mistake, what)
                .help("virtio disks have short names: choose another one in the manifest"));
        }
        if let Some(line) = ttys.get(LINES) {
            let what = format!("bare metal has {LINES} lines: there is none for `{}`", line.name);
            return Err(Failure::new(Kind::Mistake, what).help("leave --tty out for this one"));
        }
        check().map_err(|error| device_failure(&error))
    }

    fn boot_disk(&self, file: &File) -> Result<u8, Failure> {
        let name = &self.source.system;
        if let Some(input) = self.source.inputs.first() {
            let what = format!("a disk has its inputs on it already: `{}`", input.name);
            return Err(Failure::new(Kind::Mistake, what)
                .in_file(name)
                .help("leave --input out, or name the system's folder"));
        }
        if let Some(replacement) = self.source.replacements.first() {
            let what = format!("a disk is finished: `{}` keeps its image", replacement.service);
            return Err(Failure::new(Kind::Mistake, what)
                .in_file(name)
                .help("leave --replace out, or name the system's folder"));
        }
        let mut transcript = Vec::new();
        let output: &mut dyn Write =
            if self.style.json { &mut transcript } else { &mut io::stdout() };
        let (symbols, log) = (Symbols::default(), &mut io::stderr());
        let report = qemu::boot_disk(file, &self.options(), &symbols, output, log)?;
        let name = name.display().to_string();
        self.style.print(&name, "bare metal", &report, &transcript, None)
    }
}
