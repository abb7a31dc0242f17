//! QEMU's monitor (the QEMU Machine Protocol), for the one thing that a running machine is told: a
//! non-maskable interrupt, which asks the kernel for a dump.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;

/// Ends the negotiation, which QEMU wants first.
const HELLO: &[u8] = b"{\"execute\":\"qmp_capabilities\"}\n";

const INTERRUPT: &[u8] = b"{\"execute\":\"inject-nmi\"}\n";

/// Our end of the monitor.
pub struct Monitor {
    stream: UnixStream,
}

impl Monitor {
    /// Both ends: ours, and the one that QEMU inherits.
    ///
    /// # Errors
    /// What Linux says.
    pub fn new() -> io::Result<(Monitor, UnixStream)> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let mut monitor = Monitor { stream: ours };
        // It lies there until QEMU reads it.
        monitor.stream.write_all(HELLO)?;
        Ok((monitor, theirs))
    }

    /// Interrupts the machine.
    ///
    /// # Errors
    /// What Linux says; QEMU does not read, or has ended.
    pub fn interrupt(&mut self) -> io::Result<()> {
        // Nobody wants to know what QEMU says, and it must not wait for somebody who does.
        let mut answers = [0; 4096];
        while self.stream.read(&mut answers).is_ok_and(|count| count > 0) {}
        self.stream.write_all(INTERRUPT)
    }
}
