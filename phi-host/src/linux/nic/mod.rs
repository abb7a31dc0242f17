//! `host-tap`: the driver of network cards on Linux, and the TAP interfaces that it drives.
//!
//! A TAP interface is a network card of Linux's whose other side is a file: what Linux sends there is read from
//! it, and what is written to it Linux receives. The driver lives in a process as `host-disk` does, and has that
//! file; its filter lets it read and write there, and nothing else. The driver itself is in [`driver`].

pub mod driver;

use super::device::{self, DeviceError, Given, Kind};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::sys::stat::Mode;
use phi_nic::Address;
use std::fmt;
use std::io;
use std::mem::zeroed;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// Where TAP interfaces are made, and their files opened.
pub const TUN: &str = "/dev/net/tun";

/// Bytes of an interface's name, at most (`IFNAMSIZ`, without the end).
const NAME: usize = 15;

/// Time that Linux has to let go of the file of an ended driver.
const PATIENCE: Duration = Duration::from_secs(10);

const HELP: &str =
    "make it, as root: ip tuntap add dev INTERFACE mode tap, then ip link set INTERFACE up";

const HELP_OWNER: &str = "run as root, or make it for this user, as root: \
                          ip tuntap add dev INTERFACE mode tap user NAME";

const HELP_BUSY: &str = "end the other program, or make another interface";

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
    /// Whether Linux has it, as a TAP interface that this process may use.
    ///
    /// # Errors
    /// [`DeviceError::Unusable`], [`DeviceError::NoTap`].
    pub fn check(&self) -> Result<(), DeviceError> {
        match driver_of(&self.interface) {
            Ok(driver) if driver == *b"tap" => {}
            Err(Errno::ENODEV) => {
                return Err(self.unusable("there is no TAP interface of this name", HELP));
            }
            Ok(_) | Err(Errno::EOPNOTSUPP) => {
                return Err(self.unusable("it is no TAP interface, but one of another kind", HELP));
            }
            Err(error) => return Err(self.unusable(io::Error::from(error), HELP)),
        }
        let file = open_tun().map_err(|error| DeviceError::NoTap(error.into()))?;
        self.attach(file).map(drop).map_err(|error| self.refused(error))
    }

    /// Why Linux does not let this process have it.
    fn refused(&self, error: Errno) -> DeviceError {
        match error {
            Errno::EPERM => self.unusable("it belongs to another user", HELP_OWNER),
            Errno::EBUSY => self.unusable("another program has it", HELP_BUSY),
            error => self.unusable(io::Error::from(error), HELP),
        }
    }

    fn unusable(&self, why: impl fmt::Display, help: &'static str) -> DeviceError {
        let what = format!("{} cannot be a network card", self.interface);
        DeviceError::Unusable(what, why.to_string(), help)
    }

    /// Has `file` be the interface's (Linux, `Documentation/networking/tuntap.rst`): whole frames, and nothing
    /// before them.
    fn attach(&self, file: OwnedFd) -> nix::Result<OwnedFd> {
        let mut request = request(&self.interface);
        request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI) as i16;
        // SAFETY: the call reads the request, and writes to it.
        let attached = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
        Errno::result(attached).map(|_| file)
    }
}

/// A file that can become an interface's.
fn open_tun() -> nix::Result<OwnedFd> {
    open(TUN, OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())
}

/// A request about an interface, with nothing but its name.
fn request(interface: &str) -> libc::ifreq {
    // SAFETY: all zeros is a request without a name or flags.
    let mut request: libc::ifreq = unsafe { zeroed() };
    for (place, byte) in request.ifr_name.iter_mut().zip(interface.bytes().take(NAME)) {
        *place = byte as libc::c_char;
    }
    request
}

/// What Linux tells about the driver of an interface (`struct ethtool_drvinfo` of `linux/ethtool.h`).
#[repr(C)]
struct DriverInformation {
    command: u32,
    driver: [u8; 32],
    versions: [u8; 64],
    bus: [u8; 32],
    others: [u8; 64],
}

/// The command that asks for it (`ETHTOOL_GDRVINFO`).
const GET_DRIVER: u32 = 3;

/// What drives an interface: of `tun`, which of its two kinds it is. Asked at a socket, since `/sys` may show
/// the interfaces of another network namespace than this process's.
fn driver_of(interface: &str) -> nix::Result<Vec<u8>> {
    let socket = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    let mut answer = DriverInformation {
        command: GET_DRIVER,
        driver: [0; 32],
        versions: [0; 64],
        bus: [0; 32],
        others: [0; 64],
    };
    let mut request = request(interface);
    request.ifr_ifru.ifru_data = (&raw mut answer).cast();
    // SAFETY: the call reads the request, and writes to what it points to, which is as long as Linux says.
    let asked = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    Errno::result(asked)?;
    let text = |bytes: &[u8]| bytes.split(|byte| *byte == 0).next().unwrap_or_default().to_vec();
    match text(&answer.driver).as_slice() {
        b"tun" => Ok(text(&answer.bus)),
        other => Ok(other.to_vec()),
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
    /// As for [`Interface::check`].
    pub fn open(interface: &Interface) -> Result<Tap, DeviceError> {
        interface.check()?;
        Ok(Tap { interface: interface.clone(), address: Address::of_name(&interface.name) })
    }

    /// The interface's file for one start of the driver. It has one at a time: Linux may not have let go of an
    /// ended driver's yet.
    ///
    /// # Errors
    /// What Linux says.
    pub fn hand_out(&self) -> io::Result<OwnedFd> {
        let end = Instant::now() + PATIENCE;
        loop {
            match open_tun().and_then(|file| self.interface.attach(file)) {
                Err(Errno::EBUSY) if Instant::now() < end => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                attached => return Ok(attached?),
            }
        }
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

    #[test]
    fn what_refuses_an_interface_is_said_and_what_to_do() {
        let given = Interface { name: "net".into(), interface: "phi0".into() };
        for (error, why, help) in [
            (Errno::EPERM, "belongs to another user", "user NAME"),
            (Errno::EBUSY, "another program has it", "end the other program"),
            (Errno::EINVAL, "Invalid argument", "ip tuntap add"),
        ] {
            let refused = given.refused(error);
            assert!(refused.to_string().starts_with("phi0 cannot be a network card: "));
            assert!(refused.to_string().contains(why), "{refused}");
            assert!(refused.help().contains(help), "{}", refused.help());
        }
        for (error, help) in [(Errno::ENOENT, "modprobe tun"), (Errno::EACCES, "run as root")] {
            let none = DeviceError::NoTap(error.into());
            assert!(none.to_string().contains(TUN), "{none}");
            assert!(!none.to_string().contains("phi0") && none.help().contains(help), "{none}");
        }
    }
}
