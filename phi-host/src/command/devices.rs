//! What is handed in for a system's devices, as commands take it.

use crate::linux::device::AllGiven;
use crate::linux::disk::DiskFile;
use crate::linux::nic::Interface;
use crate::linux::tty::TerminalFile;

/// What is handed in for the devices of a system.
#[derive(clap::Args, Debug)]
pub struct DeviceArguments {
    /// The file or block device for a disk of the manifest; with `,ro` it is only read
    #[arg(long = "disk", value_name = "NAME=FILE[,ro]")]
    disks: Vec<DiskFile>,
    /// The TAP interface for a network card of the manifest
    #[arg(long = "nic", value_name = "NAME=INTERFACE")]
    nics: Vec<Interface>,
    /// The terminal device for a line of the manifest
    #[arg(long = "tty", value_name = "NAME=FILE")]
    ttys: Vec<TerminalFile>,
}

impl DeviceArguments {
    /// What was handed in.
    pub fn given(&self) -> AllGiven {
        let DeviceArguments { disks, nics, ttys } = self;
        AllGiven { disks: disks.clone(), nics: nics.clone(), ttys: ttys.clone() }
    }
}
