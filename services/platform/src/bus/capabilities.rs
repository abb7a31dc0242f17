//! What a device can do besides: messages as interrupts, and a reset of its own.

use super::{Function, word, write};
use pci_types::{ConfigRegionAccess, PciAddress};

/// Capabilities of a device that are looked at: as many as fit in its configuration space. A list with more goes
/// in a circle.
const CAPABILITIES: usize = 48;

/// Ids of capabilities (PCI Code and ID Assignment Specification 1.11, 2).
const MSI: u8 = 0x05;
const EXPRESS: u8 = 0x10;
const MSI_X: u8 = 0x11;

/// How a device interrupts by messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Messages {
    /// As configuration space says (MSI).
    Configured,
    /// As a table says (MSI-X), which begins at a physical address.
    Table(u64),
}

/// Where in configuration space the capability with `id` is (PCI Local Bus Specification 3.0, 6.7).
fn find<A: ConfigRegionAccess + Copy>(access: A, address: PciAddress, id: u8) -> Option<u16> {
    let has_list = word(access, address, 0x04) >> 20 & 1 != 0;
    let mut next = if has_list { word(access, address, 0x34) as u8 & 0xFC } else { 0 };
    for _ in 0..CAPABILITIES {
        // Below is the header.
        if next < 0x40 {
            return None;
        }
        let entry = word(access, address, next.into());
        if entry as u8 == id {
            return Some(next.into());
        }
        next = (entry >> 8) as u8 & 0xFC;
    }
    None
}

/// Has the device write `data` to `address` as its interrupt, of which there is one; says whether what it
/// has for that is a table, which the caller fills. `None` for a device without messages.
pub fn set_messages<A: ConfigRegionAccess + Copy>(
    access: A,
    function: &Function,
    address: u64,
    data: u32,
) -> Option<Messages> {
    let device = function.address;
    match find(access, device, MSI_X) {
        Some(at) => set_table(access, function, at).map(Messages::Table),
        None => set_registers(access, device, find(access, device, MSI)?, address, data),
    }
}

/// Lets the messages of a table through (PCI Local Bus Specification 3.0, 6.8.2); says where the table is.
fn set_table<A: ConfigRegionAccess + Copy>(access: A, function: &Function, at: u16) -> Option<u64> {
    const ENTRY: u64 = 16;
    let (enabled, masked) = (1 << 31, 1 << 30);
    let place = word(access, function.address, at + 4);
    let window = function.windows.get(place as usize & 0b111)?.as_ref()?;
    let offset = u64::from(place & !0b111);
    if offset + ENTRY > window.length {
        return None;
    }
    let control = word(access, function.address, at);
    write(access, function.address, at, (control | enabled) & !masked);
    Some(window.address + offset)
}

/// Sets the one message of configuration space (PCI Local Bus Specification 3.0, 6.8.1).
fn set_registers<A: ConfigRegionAccess + Copy>(
    access: A,
    device: PciAddress,
    at: u16,
    address: u64,
    data: u32,
) -> Option<Messages> {
    let (enabled, several, wide) = (1 << 16, 0b111 << 20, 1 << 23);
    let control = word(access, device, at);
    let upper = (address >> 32) as u32;
    write(access, device, at + 4, address as u32);
    if control & wide != 0 {
        write(access, device, at + 8, upper);
        write(access, device, at + 12, data);
    } else if upper == 0 {
        write(access, device, at + 8, data);
    } else {
        return None;
    }
    write(access, device, at, control & !several | enabled);
    Some(Messages::Configured)
}

/// Nanoseconds that a reset may take.
pub const RESET: u64 = 100_000_000;

/// Has the device forget everything, if it can be told to alone (function level reset, PCI Express Base
/// Specification 5.0, 6.6.2). The caller waits for [`RESET`] before it uses the device.
pub fn reset<A: ConfigRegionAccess + Copy>(access: A, function: &Function) -> bool {
    let device = function.address;
    let Some(at) = find(access, device, EXPRESS) else { return false };
    let can = word(access, device, at + 4) >> 28 & 1 != 0;
    if can {
        let control = word(access, device, at + 8) & 0xFFFF;
        write(access, device, at + 8, control | 1 << 15);
    }
    can
}
