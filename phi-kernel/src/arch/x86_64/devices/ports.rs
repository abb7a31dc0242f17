//! Ports that services may have. By some ports memory can be written (the firmware's, and those of old controllers of
//! transfers), or the machine be stopped, reset or taken over; nothing stands between them and the machine as an
//! IOMMU does. So only those are given away of which it is known what they do: the serial lines that the kernel does
//! not write to itself.

use phi_abi::PortWidth;
use phi_core::MachineError;
use x86_64::instructions::port::Port;

/// The ports of a serial line.
const LINE: u16 = 8;

/// The first ports of the serial lines that are nobody's: COM3 and COM4 of a PC.
const LINES: [u16; 2] = [0x3E8, 0x2E8];

/// Whether a service may have `count` ports from `first` on.
///
/// # Errors
/// It may not.
pub fn open(first: u16, count: u16) -> Result<(), MachineError> {
    // Both numbers are a service's word: their sum may be more than a port's number.
    let lies = |line: &u16| {
        first.checked_sub(*line).is_some_and(|offset| offset < LINE && count <= LINE - offset)
    };
    if LINES.iter().any(lies) { Ok(()) } else { Err(MachineError) }
}

/// Reads a port that [`open`] has allowed.
pub fn read(port: u16, width: PortWidth) -> u32 {
    // SAFETY: a serial line's ports reach no memory, and the kernel does not use them.
    unsafe {
        match width {
            PortWidth::Byte => Port::<u8>::new(port).read().into(),
            PortWidth::Word => Port::<u16>::new(port).read().into(),
            PortWidth::Double => Port::<u32>::new(port).read(),
        }
    }
}

/// Writes such a port.
pub fn write(port: u16, width: PortWidth, value: u32) {
    // SAFETY: as for reading.
    unsafe {
        match width {
            PortWidth::Byte => Port::new(port).write(value as u8),
            PortWidth::Word => Port::new(port).write(value as u16),
            PortWidth::Double => Port::new(port).write(value),
        }
    }
}
