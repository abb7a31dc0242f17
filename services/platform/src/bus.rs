//! What is on the buses: devices, their registers' places, their interrupts and their resets (PCI Local Bus
//! Specification 3.0, chapter 6; PCI Express Base Specification 5.0, 7.5.3).

//!
//! A device may say anything: what it says is measured by rules of our own, since libraries take it at its word.

mod capabilities;
mod registers;
#[cfg(test)]
mod tests;

pub use capabilities::{Messages, RESET, reset, set_messages};

use alloc::vec::Vec;
use core::ops::Range;
use pci_types::{CommandRegister, ConfigRegionAccess, HeaderType, MAX_BARS, PciAddress, PciHeader};

/// Devices, at most.
const FUNCTIONS: usize = 64;

/// End of the addresses below 4 GiB that registers can have; interrupt controllers follow.
const REGISTERS_END: u64 = 0xFEC0_0000;

/// The registers of a device behind one base address register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window {
    /// Physical address, a multiple of the length.
    pub address: u64,
    /// Bytes, a power of 2.
    pub length: u64,
    /// Whether its base address register is one of 64 bits.
    wide: bool,
}

impl Window {
    fn range(&self) -> Option<Range<u64>> {
        Some(self.address..self.address.checked_add(self.length)?)
    }
}

/// A device.
#[derive(Clone, Debug)]
pub struct Function {
    /// Where it is.
    pub address: PciAddress,
    /// Its ids.
    pub ids: (u16, u16),
    /// Its registers.
    pub windows: [Option<Window>; MAX_BARS],
}

impl Function {
    /// Bus, device and function, as 8, 5 and 3 bits.
    pub fn requester(&self) -> u16 {
        let (bus, device) = (u16::from(self.address.bus()), u16::from(self.address.device()));
        (bus << 8) | (device << 3) | u16::from(self.address.function())
    }
}

/// The devices that `access` shows on buses `first..first + count`, each with a place for its registers:
/// from `free` on for those whose firmware gave them none.
pub fn functions<A: ConfigRegionAccess + Copy>(
    access: A,
    first: u8,
    count: usize,
    free: u64,
) -> Vec<Function> {
    let mut found = Vec::new();
    for bus in (first..=u8::MAX).take(count) {
        for device in 0..32 {
            let whole = PciHeader::new(PciAddress::new(0, bus, device, 0));
            if whole.id(access).0 == u16::MAX {
                continue;
            }
            let functions = if whole.has_multiple_functions(access) { 8 } else { 1 };
            for function in 0..functions {
                let header = PciHeader::new(PciAddress::new(0, bus, device, function));
                let ids = header.id(access);
                let endpoint = header.header_type(access) == HeaderType::Endpoint;
                if ids.0 != u16::MAX && endpoint && found.len() < FUNCTIONS {
                    let address = header.address();
                    found.push(Function {
                        address,
                        ids,
                        windows: registers::windows(access, address),
                    });
                }
            }
        }
    }
    give_places(access, &mut found, free);
    found
}

/// Gives registers without a place one below 4 GiB, from `free` on, beside what has one. What does not fit, or
/// says that it is where another device is, stays without.
fn give_places<A: ConfigRegionAccess + Copy>(access: A, found: &mut [Function], free: u64) {
    let mut taken: Vec<Range<u64>> = Vec::new();
    for place in found.iter_mut().flat_map(|function| &mut function.windows) {
        let Some(window) = place.filter(|window| window.address != 0) else { continue };
        match window.range().filter(|range| !taken.iter().any(|other| touch(range, other))) {
            Some(range) => taken.push(range),
            None => *place = None,
        }
    }
    for function in found {
        for (slot, place) in (0..).zip(&mut function.windows) {
            let Some(window) = place.filter(|window| window.address == 0) else { continue };
            *place = next_place(&taken, free, window.length).map(|range| {
                let moved = Window { address: range.start, ..window };
                registers::place(access, function.address, slot, moved);
                taken.push(range);
                moved
            });
        }
    }
}

fn touch(one: &Range<u64>, other: &Range<u64>) -> bool {
    one.start < other.end && other.start < one.end
}

/// The first place of `length` bytes from `free` on that nothing has.
fn next_place(taken: &[Range<u64>], free: u64, length: u64) -> Option<Range<u64>> {
    let mut address = free.checked_next_multiple_of(length)?;
    while let Some(end) = address.checked_add(length).filter(|end| *end <= REGISTERS_END) {
        let place = address..end;
        match taken.iter().find(|other| touch(&place, other)) {
            None => return Some(place),
            Some(other) => address = other.end.checked_next_multiple_of(length)?,
        }
    }
    None
}

/// Lets the device answer at the places of its registers, and takes back its way to interrupt by a line.
pub fn switch_on<A: ConfigRegionAccess + Copy>(access: A, function: &Function) {
    PciHeader::new(function.address).update_command(access, |command| {
        command | CommandRegister::MEMORY_ENABLE | CommandRegister::INTERRUPT_DISABLE
    });
}

/// The word at `offset` of a device's configuration space.
pub fn word<A: ConfigRegionAccess>(access: A, address: PciAddress, offset: u16) -> u32 {
    // SAFETY: reading has no effect that anybody relies on.
    #[expect(unsafe_code, reason = "the trait wants it so")]
    unsafe {
        access.read(address, offset & 0xFFC)
    }
}

/// Writes the word at `offset` of a device's configuration space: of its registers' places, its messages, and
/// its reset, and of nothing else.
fn write<A: ConfigRegionAccess>(access: A, address: PciAddress, offset: u16, value: u32) {
    // SAFETY: what is written here changes where the device answers and how it interrupts. Nobody drives it
    // meanwhile, its registers get places that nothing else has, and the IOMMU bounds what it writes.
    #[expect(unsafe_code, reason = "the trait wants it so")]
    unsafe {
        access.write(address, offset & 0xFFC, value);
    }
}
