//! Physical memory and configuration space, through regions of device memory.

use crate::firmware::Window;
use alloc::vec::Vec;
use pci_types::{ConfigRegionAccess, PciAddress};
use phi_firmware::Memory;
use phi_rt::{Caching, Hardware, Registers};

const PAGE: u64 = 4096;

/// Bytes of a bus's configuration space.
const BUS: u64 = 1 << 20;

/// Physical memory, mapped as far as it is read.
pub struct Physical<'a>(pub &'a Hardware);

impl Memory for Physical<'_> {
    fn read(&self, address: u64, into: &mut [u8]) -> Option<()> {
        let start = address & !(PAGE - 1);
        let end = address.checked_add(into.len() as u64)?.checked_next_multiple_of(PAGE)?;
        let region = self.0.region(start, end - start, Caching::Uncached).ok()?;
        let registers = Registers::map(region).ok()?;
        for (offset, byte) in (address - start..).zip(into) {
            *byte = registers.read(offset);
        }
        Some(())
    }
}

/// Configuration space, mapped bus by bus as far as there are any.
pub struct Configuration {
    first: u8,
    buses: Vec<Registers>,
    /// First physical address behind it.
    pub end: u64,
}

impl Configuration {
    /// Maps the buses of `window`, as many as there is room for.
    pub fn map(hardware: &Hardware, window: Window) -> Option<Configuration> {
        let mut buses = Vec::new();
        for bus in window.first..=window.last {
            let address = window.address.checked_add(u64::from(bus) * BUS)?;
            let region = hardware.region(address, BUS, Caching::Uncached);
            let Some(registers) = region.ok().and_then(|region| Registers::map(region).ok()) else {
                break;
            };
            buses.push(registers);
            // A bus with nothing on it is the last that firmware gave a number.
            let empty = (0..32).all(|device| {
                buses.last().is_none_or(|bus| bus.read::<u16>(device << 15) == u16::MAX)
            });
            if empty {
                buses.pop();
                break;
            }
        }
        let end = window.address.checked_add((u64::from(window.last) + 1) * BUS)?;
        (!buses.is_empty()).then_some(Configuration { first: window.first, buses, end })
    }

    /// The first bus.
    pub fn first(&self) -> u8 {
        self.first
    }

    /// How many buses there are.
    pub fn count(&self) -> usize {
        self.buses.len()
    }

    fn place(&self, address: PciAddress, offset: u16) -> Option<(&Registers, u64)> {
        let bus = self.buses.get(usize::from(address.bus().checked_sub(self.first)?))?;
        let function = (u64::from(address.device()) << 15) | (u64::from(address.function()) << 12);
        Some((bus, function + u64::from(offset & 0xFFC)))
    }
}

impl ConfigRegionAccess for &Configuration {
    #[expect(unsafe_code, reason = "the trait wants it so")]
    unsafe fn read(&self, address: PciAddress, offset: u16) -> u32 {
        self.place(address, offset).map_or(u32::MAX, |(bus, offset)| bus.read(offset))
    }

    #[expect(unsafe_code, reason = "the trait wants it so")]
    unsafe fn write(&self, address: PciAddress, offset: u16, value: u32) {
        if let Some((bus, offset)) = self.place(address, offset) {
            bus.write(offset, value);
        }
    }
}
