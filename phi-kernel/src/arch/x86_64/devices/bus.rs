//! Whether a device may begin transfers: the one bit of configuration space that is the kernel's (PCI Local
//! Bus Specification 3.0, 3.2.2.3.2 and 6.2.2). All else of it is the platform service's.

use x86_64::instructions::port::Port;

const COMMAND: u32 = 4;
const BUS_MASTER: u16 = 1 << 2;
const ENABLED: u32 = 1 << 31;

/// Lets a device begin transfers, or not.
pub fn set_master(requester: u16, on: bool) {
    let mut address = Port::<u32>::new(0xCF8);
    let mut data = Port::<u16>::new(0xCFC);
    // SAFETY: this configuration mechanism is used by nobody else, and the bit decides only whether the
    // device transfers at all: to what, its DMA space does.
    unsafe {
        address.write(ENABLED | u32::from(requester) << 8 | COMMAND);
        let command = data.read();
        data.write(if on { command | BUS_MASTER } else { command & !BUS_MASTER });
    }
}
