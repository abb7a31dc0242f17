//! The end of the machine: QEMU's `isa-debug-exit` device, or nothing any more.

use x86_64::instructions::{hlt, interrupts, port::Port};

/// Port of the device, as the tool configures it.
const PORT: u16 = 0xF4;

/// How the kernel ends. QEMU's exit status is twice the value, plus 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Ending {
    /// The system ended and its record is out: status 33.
    Clean = 16,
    /// The kernel found a bug of its own, or cannot run this bundle on this machine: status 35.
    Broken = 17,
}

/// Ends the machine. Where there is no such device, the processor stops for ever.
pub fn exit(ending: Ending) -> ! {
    // SAFETY: the port is the exit device's or nobody's; the kernel uses it for nothing else.
    unsafe { Port::<u32>::new(PORT).write(ending as u32) };
    loop {
        interrupts::disable();
        hlt();
    }
}
