//! `host-tap`: the driver of network cards on Linux, and the TAP interfaces that it drives.
//!
//! A TAP interface is a network card of Linux's whose other side is a file: what Linux sends there is read from
//! it, and what is written to it Linux receives. The driver lives in a process as `host-disk` does, and has that
//! file; its filter lets it read and write there, and nothing else. The driver itself is in [`driver`].

pub mod driver;

use super::device::{self, DeviceError, Given, Kind};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use phi_nic::Address;
use std::fmt;
use std::io;
use std::mem::zeroed;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Where TAP interfaces are made, and their files opened.
const TUN: &str = "/dev/net/tun";

/// Bytes of an interface's name, at most (`IFNAMSIZ`, without the end).
const NAME: usize = 15;

/// The flag of a TAP interface in its `tun_flags`.
const IFF_TAP: u32 = libc::IFF_TAP as u32;

/// Time that Linux has to let go of the file of an ended driver.
const PATIENCE: Duration = Duration::from_secs(10);

const HELP: &str =
    "make it, as root: ip tuntap add dev INTERFACE mode tap, then ip link set INTERFACE up";

/// An interface for a network card, as the command line names it: `NAME=INTERFACE`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Interface {
    /// The card's name in the manifest.
    pub name: String,
    /// The TAP interface of Linux.
    pub interface: String,
}

impl std::str::FromStr for Interface {
    type Err = String;

    fn from_str(text: &str) -> Result<Interface, String> {
        let wrong =
            || format!("a network card is given as NAME=INTERFACE, of at most {NAME} bytes");
        let (name, interface) = text.split_once('=').ok_or_else(wrong)?;
        // Of a name with a path in it, the flags would be another file's.
        let fits = (1..=NAME).contains(&interface.len()) && !interface.contains(['/', ',']);
        if name.is_empty() || !fits || interface.starts_with('.') {
            return Err(wrong());
        }
        Ok(Interface { name: name.into(), interface: interface.into() })
    }
}

impl Given for Interface {
    const KIND: Kind = device::NIC;

    fn name(&self) -> &str {
        &self.name
    }
}

impl Interface {
    /// Whether Linux has it, as a TAP interface.
    ///
    /// # Errors
    /// [`DeviceError::Unusable`].
    pub fn check(&self) -> Result<(), DeviceError> {
        let file = PathBuf::from(format!("/sys/class/net/{}/tun_flags", self.interface));
        let flags = match std::fs::read_to_string(&file) {
            Ok(flags) => flags,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(self.unusable("there is no TAP interface of this name"));
            }
            Err(error) => return Err(self.unusable(error)),
        };
        let flags = flags.trim().trim_start_matches("0x");
        match u32::from_str_radix(flags, 16) {
            Ok(flags) if flags & IFF_TAP != 0 => Ok(()),
            _ => Err(self.unusable("it is another kind of interface than TAP")),
        }
    }

    fn unusable(&self, why: impl fmt::Display) -> DeviceError {
        let what = format!("{} cannot be a network card", self.interface);
        DeviceError::Unusable(what, why.to_string(), HELP)
    }
}

/// A network card, for the starts of its driver.
pub struct Tap {
    interface: Interface,
    /// The card's address.
    pub address: Address,
}

impl Tap {
    /// The card that is `interface`.
    ///
    /// # Errors
    /// [`DeviceError::Unusable`].
    pub fn open(interface: &Interface) -> Result<Tap, DeviceError> {
        interface.check()?;
        let tap = Tap { interface: interface.clone(), address: Address::of_name(&interface.name) };
        tap.attach().map_err(|error| interface.unusable(error))?;
        Ok(tap)
    }

    /// The interface's file for one start of the driver. It has one at a time: Linux may not have let go of an
    /// ended driver's yet.
    ///
    /// # Errors
    /// What Linux says.
    pub fn hand_out(&self) -> io::Result<OwnedFd> {
        let end = Instant::now() + PATIENCE;
        loop {
            match self.attach() {
                Err(Errno::EBUSY) if Instant::now() < end => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                attached => return Ok(attached?),
            }
        }
    }

    /// The interface's file (Linux, `Documentation/networking/tuntap.rst`): whole frames, and nothing before them.
    fn attach(&self) -> nix::Result<OwnedFd> {
        let file = open(TUN, OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())?;
        // SAFETY: all zeros is a request without a name or flags.
        let mut request: libc::ifreq = unsafe { zeroed() };
        for (place, byte) in request.ifr_name.iter_mut().zip(self.interface.interface.bytes()) {
            *place = byte as libc::c_char;
        }
        request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI) as i16;
        // SAFETY: the call reads the request, and writes to it.
        let attached = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
        Errno::result(attached).map(|_| file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_is_a_name_and_an_interface() {
        let card: Interface = "net=phi0".parse().unwrap();
        assert_eq!(card, Interface { name: "net".into(), interface: "phi0".into() });
        for text in
            ["", "net", "=phi0", "net=", "net=..", "net=a/b", "net=a,b", "net=0123456789abcdef"]
        {
            assert!(text.parse::<Interface>().is_err(), "{text}");
        }
    }

    #[test]
    fn only_tap_interfaces_are_cards() {
        for interface in ["lo", "phi-no-such"] {
            let given = Interface { name: "net".into(), interface: interface.into() };
            let error = Tap::open(&given).err().expect("no card").to_string();
            assert!(error.contains("no TAP interface"), "{error}");
        }
    }
}
