//! What the program does with the machine itself: the serial lines, and the end in QEMU.

use core::arch::asm;
use core::fmt;
use phi_loader::MARK;

/// The transcript's line, COM1.
pub const TRANSCRIPT: u16 = 0x3F8;

/// The log's line, COM2.
pub const LOG: u16 = 0x2F8;

/// Port of QEMU's `isa-debug-exit`, as `phi-host` configures it.
const EXIT: u16 = 0xF4;

/// What ends QEMU with status 35, as the kernel does where it cannot go on.
const BROKEN: u32 = 17;

/// Line status: the transmitter holds nothing.
const EMPTY: u8 = 1 << 5;

/// Looks at a line's status after which it counts as stuck: what a loader says is worth less than that it
/// goes on.
const PATIENCE: u32 = 1 << 22;

fn output(port: u16, value: u8) {
    // SAFETY: the ports are those of serial lines, which have no effect on memory.
    unsafe { asm!("out dx, al", in("dx") port, in("al") value, options(nomem, nostack)) };
}

fn input(port: u16) -> u8 {
    let value: u8;
    // SAFETY: as for output.
    unsafe { asm!("in al, dx", in("dx") port, out("al") value, options(nomem, nostack)) };
    value
}

/// Writes `bytes` to the serial line at `base`, at 115200 baud, 8 bits, no parity. A line that is not
/// there, or stuck, takes nothing.
fn write(base: u16, bytes: &[u8]) {
    for (register, value) in [(1, 0), (3, 0x80), (0, 1), (1, 0), (3, 0x03), (2, 0x07), (4, 0x03)] {
        output(base + register, value);
    }
    // All ones is what an absent device reads as.
    if input(base + 5) == 0xFF {
        return;
    }
    for byte in bytes {
        if !(0..PATIENCE).any(|_| input(base + 5) & EMPTY != 0) {
            return;
        }
        output(base, *byte);
    }
}

/// Begins a serial line: what follows is no longer the firmware's.
pub fn mark(base: u16) {
    // The firmware may be in the middle of a line, or of a sequence for a terminal.
    write(base, b"\r\n");
    write(base, MARK);
}

/// The log.
pub struct Log;

impl fmt::Write for Log {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        write(LOG, text.as_bytes());
        Ok(())
    }
}

/// Ends the machine where that is QEMU.
pub fn end() {
    // SAFETY: the port is the exit device's, or nobody's.
    unsafe { asm!("out dx, eax", in("dx") EXIT, in("eax") BROKEN, options(nomem, nostack)) };
}
