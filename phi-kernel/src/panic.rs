//! The kernel's early end: a bug of its own, or a machine or bundle that it cannot run.

use crate::arch::{CalleeState, Ending, Serial, exit, stack_from};
use crate::dump;
use crate::report::RECORD_SEPARATOR;
use core::fmt::{Arguments, Write};
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};

#[panic_handler]
fn panic(information: &PanicInfo) -> ! {
    // The machine ends whether this is seen or not.
    let _ = writeln!(Serial::log(), "\nphi-kernel: {information}");
    end_after_bug(&CalleeState::here())
}

/// Says on the log why the kernel does not go on, and ends the machine.
pub fn refuse(reason: Arguments<'_>) -> ! {
    // The machine ends whether this is seen or not.
    let _ = writeln!(Serial::log(), "phi-kernel: {reason}");
    exit(Ending::Broken)
}

/// Ends the machine after a bug of the kernel, which was at `state`: writes the stack from there on, for
/// the tool to name the functions on it, and what ΦCore knows.
pub fn end_after_bug(state: &CalleeState) -> ! {
    static ENDING: AtomicBool = AtomicBool::new(false);
    // A second bug on the way out changes nothing about the first.
    if !ENDING.swap(true, Ordering::Relaxed) {
        write_stack(state);
        dump::write_last();
    }
    exit(Ending::Broken)
}

/// One record: registers, and the words of the stack.
fn write_stack(state: &CalleeState) {
    let mut log = Serial::log();
    let CalleeState { instruction, stack, preserved: [first, rest @ ..] } = state;
    let mut write = || {
        write!(
            log,
            "{RECORD_SEPARATOR}phi-stack {{\"registers\":{{\"instruction\":{instruction},"
        )?;
        write!(log, "\"stack\":{stack},\"preserved\":[{first}")?;
        rest.iter().try_for_each(|word| write!(log, ",{word}"))?;
        log.write_str("]},\"words\":[")?;
        for (number, word) in stack_from(*stack).iter().enumerate() {
            let comma = if number > 0 { "," } else { "" };
            write!(log, "{comma}{word}")?;
        }
        log.write_str("]}\n")
    };
    // The machine ends whether this is seen or not.
    let _ = write();
}
