//! Where a device's registers are, by its base address registers (PCI Local Bus Specification 3.0, 6.2.5.1).

use super::{Window, word, write};
use pci_types::{CommandRegister, ConfigRegionAccess, MAX_BARS, PciAddress, PciHeader};

/// Registers larger than this are nobody's.
const LARGEST: u64 = 1 << 32;

/// Offset of a base address register.
fn register(slot: usize) -> u16 {
    0x10 + 4 * slot as u16
}

/// The registers of a device, as its base address registers say: with the address 0 if it has no place.
/// Registers behind ports are left out, as are those that no device could have.
pub fn windows<A: ConfigRegionAccess + Copy>(
    access: A,
    address: PciAddress,
) -> [Option<Window>; MAX_BARS] {
    let mut windows = [None; MAX_BARS];
    let mut header = PciHeader::new(address);
    // While a register is measured, it says something else.
    let before = header.command(access);
    header.update_command(access, |command| command & !CommandRegister::MEMORY_ENABLE);
    let mut slot = 0;
    while slot < MAX_BARS {
        // Memory or ports, and memory of 32 or of 64 bits; the third kind of memory is reserved.
        let kind = word(access, address, register(slot)) & 0b111;
        let wide = kind == 0b100 && slot + 1 < MAX_BARS;
        if kind == 0 || wide {
            windows[slot] = measure(access, address, slot, wide);
        }
        slot += if wide { 2 } else { 1 };
    }
    header.update_command(access, |_| before);
    windows
}

/// What one base address register says, or two of them.
fn measure<A: ConfigRegionAccess + Copy>(
    access: A,
    address: PciAddress,
    slot: usize,
    wide: bool,
) -> Option<Window> {
    let read = || {
        let upper = if wide { word(access, address, register(slot + 1)) } else { 0 };
        (u64::from(upper) << 32 | u64::from(word(access, address, register(slot)))) & !0xF
    };
    let put = |value: u64| {
        write(access, address, register(slot), value as u32);
        if wide {
            write(access, address, register(slot + 1), (value >> 32) as u32);
        }
    };
    let place = read();
    put(u64::MAX);
    // The bits that stay 0 are those of an offset.
    let fixed = read();
    put(place);
    let length = 1u64.checked_shl(fixed.trailing_zeros())?;
    (length <= LARGEST && place.is_multiple_of(length)).then_some(Window {
        address: place,
        length,
        wide,
    })
}

/// Moves a device's registers to where `window` says.
pub fn place<A: ConfigRegionAccess + Copy>(
    access: A,
    address: PciAddress,
    slot: usize,
    window: Window,
) {
    write(access, address, register(slot), window.address as u32);
    if window.wide {
        write(access, address, register(slot + 1), (window.address >> 32) as u32);
    }
}
