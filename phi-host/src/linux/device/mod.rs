//! The devices that drivers of Linux have below them, whatever they are: what the command line hands in for
//! them, and what of a driver's process depends on which one it is.

mod entry;
mod file;

pub use entry::{bound_signal, entry, give_up};
pub use file::{File, MOST};

use super::attempt;
use super::disk::ring::Ring;
use super::disk::{self, Disk, DiskFile, Parameters};
use super::nic::{self, Interface, Tap};
use super::tty::{self, Terminal, TerminalFile};
use crate::failure;
use nix::errno::Errno;
use phi_manifest::plan::{Plan, ServicePlan};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

/// A kind of devices.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kind {
    /// The name of its driver in a plan.
    pub driver: &'static str,
    /// What people call one.
    noun: &'static str,
    /// How one is handed in.
    option: &'static str,
}

/// Disks.
pub const DISK: Kind = Kind { driver: "host-disk", noun: "disk", option: "--disk NAME=FILE" };

/// Network cards.
pub const NIC: Kind =
    Kind { driver: "host-tap", noun: "network card", option: "--nic NAME=INTERFACE" };

/// Lines with a terminal.
pub const TTY: Kind = Kind { driver: "host-tty", noun: "line", option: "--tty NAME=FILE" };

/// What the command line hands in for a device.
pub trait Given {
    /// Of which kind it is.
    const KIND: Kind;

    /// The device's name in the manifest.
    fn name(&self) -> &str;
}

/// Why a system's devices cannot be had.
#[derive(Debug)]
pub enum DeviceError {
    /// Nothing was given for a device of this name.
    Missing(Kind, String),
    /// The system has no device of this name; it has these.
    Unknown(Kind, String, Vec<String>),
    /// Two were given for a device of this name.
    Twice(Kind, String),
    /// What was given, and why it cannot be the device; what to do.
    Unusable(String, String, &'static str),
    /// Linux gives this process no ring for drivers.
    NoRing(io::Error),
    /// Linux gives this process no files of TAP interfaces.
    NoTap(io::Error),
    /// All services would run in one process, where drivers cannot.
    NoProcesses,
}

impl fmt::Display for DeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceError::Missing(kind, name) => write!(f, "the {} `{name}` is missing", kind.noun),
            DeviceError::Unknown(kind, name, _) => {
                write!(f, "the system has no {} `{name}`", kind.noun)
            }
            DeviceError::Twice(kind, name) => {
                write!(f, "the {} `{name}` is given twice", kind.noun)
            }
            DeviceError::Unusable(what, why, _) => write!(f, "{what}: {why}"),
            DeviceError::NoRing(error) => {
                write!(f, "disks need io_uring, which is refused: {error}")
            }
            DeviceError::NoTap(error) => {
                write!(f, "network cards need {}, which cannot be opened: {error}", nic::TUN)
            }
            DeviceError::NoProcesses => f.write_str("devices need processes: a driver has its own"),
        }
    }
}

impl DeviceError {
    /// What to do about it.
    pub fn help(&self) -> String {
        match self {
            DeviceError::Missing(kind, name) => {
                format!("say what it is: {}", kind.option.replace("NAME", name))
            }
            DeviceError::Unknown(kind, _, known) if known.is_empty() => {
                let (option, _) = kind.option.split_once(' ').unwrap_or((kind.option, ""));
                format!("it has none; leave {option} out")
            }
            DeviceError::Unknown(kind, _, known) => {
                format!("its {}s are {}", kind.noun, known.join(", "))
            }
            DeviceError::Twice(..) => "leave one of them out".into(),
            DeviceError::Unusable(_, _, help) => (*help).into(),
            DeviceError::NoRing(_) => "`phi-host doctor` says how to turn it on".into(),
            DeviceError::NoTap(error) => {
                let tun = nic::TUN;
                let first = match error.kind() {
                    io::ErrorKind::PermissionDenied => {
                        format!("run as root, or let everybody open it, as root: chmod 666 {tun}")
                    }
                    _ => "load Linux's module for it, as root: modprobe tun".into(),
                };
                format!("{first}; a container has to be given the file")
            }
            DeviceError::NoProcesses => "leave --mode threads out".into(),
        }
    }

    /// Whose fault it is.
    pub fn kind(&self) -> failure::Kind {
        match self {
            DeviceError::Unusable(..) => failure::Kind::Input,
            DeviceError::NoRing(_) | DeviceError::NoTap(_) => failure::Kind::Computer,
            _ => failure::Kind::Mistake,
        }
    }
}

/// Which of `given` is for the driver that each service of `plan` is, in their order.
///
/// # Errors
/// [`DeviceError`]: nothing is given for one, or it has no driver, or is given twice.
pub fn assign<'a, G: Given>(
    plan: &Plan,
    given: &'a [G],
) -> Result<Vec<Option<&'a G>>, DeviceError> {
    let device = |service: &ServicePlan| {
        let driver = service.driver.as_ref().filter(|driver| driver.name == G::KIND.driver);
        driver.map(|driver| driver.device.clone())
    };
    for (index, one) in given.iter().enumerate() {
        let mut devices = plan.services.iter().filter_map(device);
        let name = one.name();
        if !devices.any(|device| device == name) {
            let known = plan.services.iter().filter_map(device);
            let known = known.map(|device| format!("`{device}`")).collect();
            return Err(DeviceError::Unknown(G::KIND, name.into(), known));
        }
        if given[..index].iter().any(|before| before.name() == name) {
            return Err(DeviceError::Twice(G::KIND, name.into()));
        }
    }
    let of = |service: &ServicePlan| {
        let Some(device) = device(service) else { return Ok(None) };
        let found = given.iter().find(|one| one.name() == device);
        found.map(Some).ok_or(DeviceError::Missing(G::KIND, device))
    };
    plan.services.iter().map(of).collect()
}

/// A device, for the starts of its driver.
pub enum Device {
    /// A disk.
    Disk(Disk),
    /// A network card.
    Nic(Tap),
    /// A line.
    Tty(Terminal),
}

/// What is handed in for a system's devices.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct AllGiven {
    /// Files of disks.
    pub disks: Vec<DiskFile>,
    /// Interfaces of network cards.
    pub nics: Vec<Interface>,
    /// Terminal devices of lines.
    pub ttys: Vec<TerminalFile>,
}

/// The devices of the services of `plan`, in their order.
///
/// # Errors
/// [`DeviceError`].
pub fn open_all(plan: &Plan, given: &AllGiven) -> Result<Vec<Option<Device>>, DeviceError> {
    let AllGiven { disks, nics, ttys } = given;
    let (disks, nics, ttys) = (assign(plan, disks)?, assign(plan, nics)?, assign(plan, ttys)?);
    if disks.iter().any(Option::is_some) {
        attempt::driver_ring().map_err(DeviceError::NoRing)?;
    }
    let open = |(index, service): (usize, &ServicePlan)| {
        Ok(match (disks[index], nics[index], ttys[index]) {
            (Some(file), ..) => Some(Device::Disk(Disk::for_service(file, service)?)),
            (_, Some(interface), _) => Some(Device::Nic(Tap::open(interface)?)),
            (.., Some(file)) => Some(Device::Tty(Terminal::open(file)?)),
            _ => None,
        })
    };
    plan.services.iter().enumerate().map(open).collect()
}

impl Device {
    /// What people should know of it.
    pub fn note(&self) -> Option<String> {
        match self {
            Device::Disk(disk) => disk.note(),
            Device::Nic(_) | Device::Tty(_) => None,
        }
    }

    /// What its driver's process is told.
    pub fn assignment(&self) -> Assignment {
        match self {
            Device::Disk(disk) => Assignment::Disk(disk.parameters),
            Device::Nic(tap) => Assignment::Nic(tap.address.0),
            Device::Tty(_) => Assignment::Tty,
        }
    }

    /// A file description for one start of the driver, once nothing of an earlier one is under way.
    ///
    /// # Errors
    /// What Linux says.
    pub fn hand_out(&self) -> io::Result<OwnedFd> {
        match self {
            Device::Disk(disk) => disk.hand_out(),
            Device::Nic(tap) => tap.hand_out(),
            Device::Tty(terminal) => terminal.hand_out(),
        }
    }

    /// Waits until nothing of an ended driver is under way any more.
    ///
    /// # Errors
    /// What Linux says.
    pub fn settle(&self) -> io::Result<()> {
        match self {
            Device::Disk(disk) => disk.settle(),
            // What is read or written is so in one step.
            Device::Nic(_) | Device::Tty(_) => Ok(()),
        }
    }
}

/// What a driver's process is told of its device, whose file is handed over beside it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Assignment {
    /// A disk.
    Disk(Parameters),
    /// A network card with this address.
    Nic([u8; 6]),
    /// A line.
    Tty,
}

impl Assignment {
    /// Descriptors that the process keeps open for it.
    pub fn descriptors(self) -> u64 {
        match self {
            Assignment::Disk(_) => Ring::DESCRIPTORS,
            Assignment::Nic(_) | Assignment::Tty => 1,
        }
    }
}

/// The descriptors that a driver uses, for the filter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Descriptors {
    /// A ring and the counter that wakes the thread at it.
    Ring(disk::ring::Descriptors),
    /// What is read from and written to, at most [`MOST`] bytes at once.
    File(RawFd),
}

/// What a driver's process has of its device before its filter closes.
pub enum Held {
    /// Of a disk.
    Disk(Box<Ring>),
    /// Of a network card, with its address.
    Nic(OwnedFd, [u8; 6]),
    /// Of a line.
    Tty(OwnedFd),
}

impl Held {
    /// What `assignment` says of `file`.
    ///
    /// # Errors
    /// What Linux says.
    pub fn new(assignment: Assignment, file: OwnedFd) -> io::Result<Held> {
        match assignment {
            Assignment::Disk(parameters) => {
                Ring::new(file.as_fd(), parameters).map(|ring| Held::Disk(Box::new(ring)))
            }
            Assignment::Nic(address) => Ok(Held::Nic(file, address)),
            Assignment::Tty => Ok(Held::Tty(file)),
        }
    }

    /// What the filter lets it use.
    pub fn descriptors(&self) -> Descriptors {
        match self {
            Held::Disk(ring) => Descriptors::Ring(ring.descriptors()),
            Held::Nic(file, _) | Held::Tty(file) => Descriptors::File(file.as_raw_fd()),
        }
    }

    /// Threads that Linux makes for it.
    pub fn workers(&self) -> u64 {
        match self {
            Held::Disk(_) => Ring::WORKERS,
            Held::Nic(..) | Held::Tty(_) => 0,
        }
    }

    /// Bytes to which a file may grow through it: as many as the disk has.
    pub fn file(&self) -> u64 {
        match self {
            Held::Disk(ring) => ring.parameters.bytes(),
            Held::Nic(..) | Held::Tty(_) => 0,
        }
    }
}

/// What the threads of a driver share, and the agent with them.
pub enum Driver {
    /// Of a disk.
    Disk(Box<disk::driver::Driver>),
    /// Of a network card.
    Nic(nic::driver::Driver),
    /// Of a line.
    Tty(tty::driver::Driver),
}

impl From<Held> for Driver {
    fn from(held: Held) -> Driver {
        match held {
            Held::Disk(ring) => Driver::Disk(Box::new(disk::driver::Driver::new(*ring))),
            Held::Nic(file, address) => Driver::Nic(nic::driver::Driver::new(file, address)),
            Held::Tty(file) => Driver::Tty(tty::driver::Driver::new(file)),
        }
    }
}

impl Driver {
    /// Waits until the device uses no memory of `range`, which is about to be taken back.
    ///
    /// # Errors
    /// `EBUSY` when that takes too long.
    pub fn leave(&self, range: Range<u64>) -> Result<(), Errno> {
        match self {
            Driver::Disk(driver) => driver.leave(range),
            // What is read and written is in the driver's own memory.
            Driver::Nic(_) | Driver::Tty(_) => Ok(()),
        }
    }
}
