//! The serial lines: COM1 carries the transcript, COM2 the log.

use core::fmt;
use x86_64::instructions::port::{PortReadOnly, PortWriteOnly};

/// Bytes that a 16550's transmitter holds.
const TRANSMIT_BYTES: usize = 16;

/// Line status: the transmitter holds nothing.
const EMPTY: u8 = 1 << 5;

/// A 16550 that is only written to. One that is not there takes everything.
pub struct Serial {
    data: PortWriteOnly<u8>,
    status: PortReadOnly<u8>,
    present: bool,
}

impl Serial {
    /// The transcript's line, COM1.
    pub fn transcript() -> Serial {
        Serial::new(0x3F8)
    }

    /// The log's line, COM2.
    pub fn log() -> Serial {
        Serial::new(0x2F8)
    }

    /// Sets a line to 115200 baud, 8 bits, no parity, with its buffers on and without interrupts.
    fn new(base: u16) -> Serial {
        // Divisor latch on, divisor 1 in two bytes, 8N1 and latch off, FIFOs on and cleared, no
        // interrupts, DTR and RTS.
        let setup = [(3, 0x80), (0, 1), (1, 0), (3, 0x03), (2, 0x07), (1, 0), (4, 0x03)];
        for (register, value) in setup {
            // SAFETY: these are the line's registers, which only the kernel touches; writing them has
            // no effect on memory.
            unsafe { PortWriteOnly::<u8>::new(base + register).write(value) };
        }
        let mut status = PortReadOnly::new(base + 5);
        // SAFETY: reading the line's status has no effect that anyone relies on. All ones is what an
        // absent device reads as.
        let present = unsafe { status.read() } != 0xFF;
        Serial { data: PortWriteOnly::new(base), status, present }
    }

    /// Writes bytes as they are; waits until the line has room for the last of them, however long
    /// that takes: what services say must not be lost because its reader pauses.
    pub fn write(&mut self, bytes: &[u8]) {
        if !self.present {
            return;
        }
        for part in bytes.chunks(TRANSMIT_BYTES) {
            // SAFETY: reading the line's status has no effect that anyone relies on.
            while unsafe { self.status.read() } & EMPTY == 0 {
                core::hint::spin_loop();
            }
            for byte in part {
                // SAFETY: the transmitter is empty and takes 16 bytes; it has no effect on memory.
                unsafe { self.data.write(*byte) };
            }
        }
    }
}

impl fmt::Write for Serial {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.write(text.as_bytes());
        Ok(())
    }
}
