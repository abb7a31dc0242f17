//! What a system's mode asks of the machine.

use crate::arch::{self, Boot, Serial};
use crate::panic::refuse;
use core::fmt::Write;
use phi_manifest::plan::{EMBEDDED_KERNEL, EMBEDDED_MEMORY, Mode};

/// Says on the log in which mode the system runs, if not in the usual one, and ends the machine where it cannot.
pub fn begin(mode: Mode, boot: &Boot) {
    let mut log = Serial::log();
    // A line that cannot be written to is not there to be told.
    let _ = match mode {
        Mode::Full => return,
        Mode::Unikernel => writeln!(
            log,
            "mode: unikernel: all services run with the kernel's privileges, and nothing isolates them"
        ),
        Mode::Embedded => {
            let (memory, kernel) = (arch::memory(boot), arch::text_and_data());
            let fits = memory <= EMBEDDED_MEMORY && kernel <= EMBEDDED_KERNEL;
            let (memory, kernel) = (memory >> 10, kernel >> 10);
            if !fits {
                refuse(format_args!(
                    "an embedded system has at most {} KiB of memory and {} KiB of kernel text and \
                     data; this one has {memory} and {kernel}",
                    EMBEDDED_MEMORY >> 10,
                    EMBEDDED_KERNEL >> 10
                ));
            }
            writeln!(
                log,
                "mode: embedded: {memory} KiB of memory, {kernel} KiB of kernel text and data"
            )
        }
    };
}
