//! `host-tty`: the driver of lines with a terminal on Linux, and the terminal devices that it drives: pseudoterminals
//! and serial lines.
//!
//! The supervisor keeps the device open and sets it up so that bytes go through as they are; at the end it is as it was.
//! The driver lives in a process as `host-disk` does, and has the device's file; its filter lets it read and write
//! there, and nothing else. The driver itself is in [`driver`].

pub mod driver;

use super::device::{self, DeviceError, Given, Kind};
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::sys::termios::{BaudRate, SetArg, Termios, cfmakeraw, cfsetspeed, tcgetattr, tcsetattr};
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

const HELP: &str = "name a terminal device that this user may open, as /dev/ttyS0 or /dev/pts/3";

/// A terminal device for a line, as the command line names it: `NAME=FILE`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TerminalFile {
    /// The line's name in the manifest.
    pub name: String,
    /// The device.
    pub file: PathBuf,
}

impl std::str::FromStr for TerminalFile {
    type Err = String;

    fn from_str(text: &str) -> Result<TerminalFile, String> {
        match text.split_once('=') {
            Some((name, file)) if !name.is_empty() && !file.is_empty() => {
                Ok(TerminalFile { name: name.into(), file: file.into() })
            }
            _ => Err("a line is given as NAME=FILE".into()),
        }
    }
}

impl Given for TerminalFile {
    const KIND: Kind = device::TTY;

    fn name(&self) -> &str {
        &self.name
    }
}

impl TerminalFile {
    /// Whether it is a terminal device that can be opened.
    ///
    /// # Errors
    /// [`DeviceError::Unusable`].
    pub fn check(&self) -> Result<(), DeviceError> {
        let failed = |error: nix::Error| self.unusable(io::Error::from(error));
        let file = reopen(&self.file).map_err(failed)?;
        tcgetattr(&file).map(drop).map_err(|_| self.unusable("it is no terminal device"))
    }

    fn unusable(&self, why: impl fmt::Display) -> DeviceError {
        let what = format!("{} cannot be a line", self.file.display());
        DeviceError::Unusable(what, why.to_string(), HELP)
    }
}

/// A terminal device, for the starts of its driver.
pub struct Terminal {
    /// Kept open, so that the device stays as it was set up.
    file: OwnedFd,
    before: Termios,
}

impl Terminal {
    /// Opens the device, and has bytes go through it as they are, 115,200 bits a second where that means something.
    ///
    /// # Errors
    /// [`DeviceError::Unusable`].
    pub fn open(given: &TerminalFile) -> Result<Terminal, DeviceError> {
        given.check()?;
        let failed = |error: nix::Error| given.unusable(io::Error::from(error));
        let file = reopen(&given.file).map_err(failed)?;
        let before = tcgetattr(&file).map_err(failed)?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        cfsetspeed(&mut raw, BaudRate::B115200).map_err(failed)?;
        tcsetattr(&file, SetArg::TCSANOW, &raw).map_err(failed)?;
        Ok(Terminal { file, before })
    }

    /// The device's file for one start of the driver.
    ///
    /// # Errors
    /// What Linux says.
    pub fn hand_out(&self) -> io::Result<OwnedFd> {
        let path = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        Ok(reopen(Path::new(&path))?)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A device that is gone needs nothing.
        let _ = tcsetattr(&self.file, SetArg::TCSANOW, &self.before);
    }
}

/// Opens a terminal device, without making it this process's own terminal or waiting for a modem.
fn reopen(file: &Path) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    open(file, flags, Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::pty::openpty;
    use nix::sys::termios::LocalFlags;
    use nix::unistd::ttyname;

    #[test]
    fn a_line_is_a_name_and_a_file() {
        let line: TerminalFile = "line=/dev/pts/3".parse().unwrap();
        assert_eq!((&*line.name, &*line.file), ("line", Path::new("/dev/pts/3")));
        for text in ["", "line", "=/dev/pts/3", "line="] {
            assert!(text.parse::<TerminalFile>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_terminal_is_as_it_was_afterwards() {
        let pair = openpty(None, None).unwrap();
        let file = ttyname(&pair.slave).unwrap();
        let given = TerminalFile { name: "line".into(), file };
        let echoes = || tcgetattr(&pair.slave).unwrap().local_flags.contains(LocalFlags::ECHO);
        assert!(echoes());
        let terminal = Terminal::open(&given).unwrap();
        assert!(!echoes());
        terminal.hand_out().unwrap();
        drop(terminal);
        assert!(echoes());
    }

    #[test]
    fn what_is_no_terminal_is_no_line() {
        for (file, why) in [("/dev/null", "no terminal"), ("/dev/no-such", "No such file")] {
            let given = TerminalFile { name: "line".into(), file: file.into() };
            let error = Terminal::open(&given).err().expect("no line").to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
