//! The kernel's early end: a bug of its own, or a machine or bundle that it cannot run.

use crate::arch::{Ending, Serial, exit};
use core::fmt::{Arguments, Write};
use core::panic::PanicInfo;

#[panic_handler]
fn panic(information: &PanicInfo) -> ! {
    // The machine ends whether this is seen or not.
    let _ = writeln!(Serial::log(), "\nphi-kernel: {information}");
    exit(Ending::Broken)
}

/// Says on the log why the kernel does not go on, and ends the machine.
pub fn refuse(reason: Arguments<'_>) -> ! {
    // The machine ends whether this is seen or not.
    let _ = writeln!(Serial::log(), "phi-kernel: {reason}");
    exit(Ending::Broken)
}
