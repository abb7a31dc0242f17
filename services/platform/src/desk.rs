//! Who has which device, and what was made for it.

use crate::bus::{self, Function, Messages};
use crate::lines::Lines;
use crate::space::Configuration;
use alloc::vec::Vec;
use phi_idl::{Caller, Capability};
use phi_platform::{Platform, PlatformError};
use phi_rt::{Caching, DmaSpace, Hardware, Irq, IrqSource, Region, Registers, Rights};

const PAGE: u64 = 4096;

/// What drivers get of an object that the platform keeps.
const GIVEN: Rights = Rights::CONTROL.union(Rights::DERIVE).union(Rights::TRANSFER);

/// A device, and what was made for it. What drivers hold are revocable copies.
struct Place {
    function: Function,
    /// The badge of the client that drives it.
    driver: Option<u64>,
    regions: [Option<Region>; 6],
    irq: Option<Irq>,
    space: Option<DmaSpace>,
}

impl Place {
    /// Takes everything back that a driver was given.
    fn revoke(&self) {
        let regions = self.regions.iter().flatten().map(Region::capability);
        let irq = self.irq.iter().map(Irq::capability);
        let space = self.space.iter().map(DmaSpace::capability);
        for capability in regions.chain(irq).chain(space) {
            // What was never given out has nothing to revoke.
            let _ = capability.revoke();
        }
    }
}

/// The platform.
pub struct Desk {
    hardware: Hardware,
    configuration: Option<Configuration>,
    places: Vec<Place>,
    lines: Lines,
}

impl Desk {
    /// Of the devices that configuration space shows, if there is any.
    pub fn new(hardware: Hardware, configuration: Option<Configuration>) -> Desk {
        let functions = configuration
            .as_ref()
            .map(|space| bus::functions(space, space.first(), space.count(), space.end));
        let place = |function| Place {
            function,
            driver: None,
            regions: [const { None }; 6],
            irq: None,
            space: None,
        };
        let places = functions.unwrap_or_default().into_iter().map(place).collect();
        let lines = Lines::find(&hardware);
        Desk { hardware, configuration, places, lines }
    }

    /// The configuration space, and the place of the device that `caller` has claimed.
    fn claimed(
        &mut self,
        caller: Caller,
    ) -> Result<(&Hardware, &Configuration, &mut Place), PlatformError> {
        let Desk { hardware, configuration, places, .. } = self;
        let own = places.iter_mut().find(|place| place.driver == Some(caller.badge));
        let configuration = configuration.as_ref().ok_or(PlatformError::NotFound)?;
        Ok((hardware, configuration, own.ok_or(PlatformError::NotClaimed)?))
    }
}

/// A revocable copy of what the platform keeps.
pub fn copy(of: &Capability, rights: Rights) -> Result<Capability, PlatformError> {
    of.derive_revocable(rights).map_err(|_| PlatformError::Refused)
}

impl Platform for Desk {
    fn claim(
        &mut self,
        caller: Caller,
        vendor: u16,
        device: u16,
        nth: u16,
    ) -> Result<phi_platform::Function, PlatformError> {
        let wanted = self
            .places
            .iter_mut()
            .filter(|place| place.function.ids == (vendor, device))
            .nth(usize::from(nth))
            .ok_or(PlatformError::NotFound)?;
        let configuration = self.configuration.as_ref().ok_or(PlatformError::NotFound)?;
        match wanted.driver {
            Some(driver) if driver != caller.badge => return Err(PlatformError::Taken),
            Some(_) => {
                wanted.revoke();
                if bus::reset(configuration, &wanted.function) {
                    phi_rt::sleep(bus::RESET);
                }
            }
            None => {}
        }
        wanted.driver = Some(caller.badge);
        bus::switch_on(configuration, &wanted.function);
        Ok(phi_platform::Function { requester: wanted.function.requester() })
    }

    fn configuration(&mut self, caller: Caller, offset: u16) -> Result<u32, PlatformError> {
        let (_, configuration, place) = self.claimed(caller)?;
        Ok(bus::word(configuration, place.function.address, offset))
    }

    fn region(&mut self, caller: Caller, bar: u8) -> Result<Capability, PlatformError> {
        let (hardware, _, place) = self.claimed(caller)?;
        let slot = usize::from(bar);
        let window = place.function.windows.get(slot).copied().flatten();
        let window = window.ok_or(PlatformError::Unsupported)?;
        if place.regions[slot].is_none() {
            // What shares a page with others' registers cannot be given to one alone.
            if window.length < PAGE {
                return Err(PlatformError::Unsupported);
            }
            let region = hardware.region(window.address, window.length, Caching::Uncached);
            place.regions[slot] = Some(region.map_err(|_| PlatformError::Refused)?);
        }
        let region = place.regions[slot].as_ref().ok_or(PlatformError::Refused)?;
        let both = Rights::READ | Rights::WRITE | Rights::TRANSFER | Rights::DERIVE;
        copy(region.capability(), both)
    }

    fn irq(&mut self, caller: Caller) -> Result<Capability, PlatformError> {
        let (hardware, configuration, place) = self.claimed(caller)?;
        if place.irq.is_none() {
            let requester = place.function.requester();
            let irq = hardware.irq(IrqSource::Message { requester });
            place.irq = Some(irq.map_err(|_| PlatformError::Refused)?);
        }
        let irq = place.irq.as_ref().ok_or(PlatformError::Refused)?;
        let (address, data) = irq.message().map_err(|_| PlatformError::Refused)?;
        match bus::set_messages(configuration, &place.function, address, data) {
            None => return Err(PlatformError::Unsupported),
            Some(Messages::Configured) => {}
            Some(Messages::Table(table)) => fill_entry(hardware, table, address, data)?,
        }
        copy(irq.capability(), GIVEN)
    }

    fn dma_space(&mut self, caller: Caller) -> Result<Capability, PlatformError> {
        let (hardware, _, place) = self.claimed(caller)?;
        if place.space.is_none() {
            let space = hardware.dma_space(place.function.requester());
            place.space = Some(space.map_err(|_| PlatformError::Refused)?);
        }
        let space = place.space.as_ref().ok_or(PlatformError::Refused)?;
        copy(space.capability(), GIVEN)
    }

    fn release(&mut self, caller: Caller) -> Result<(), PlatformError> {
        let (_, _, place) = self.claimed(caller)?;
        place.revoke();
        place.driver = None;
        Ok(())
    }

    fn claim_line(&mut self, caller: Caller, nth: u16) -> Result<Capability, PlatformError> {
        self.lines.claim(caller, nth)
    }

    fn line_irq(&mut self, caller: Caller) -> Result<Capability, PlatformError> {
        self.lines.irq(&self.hardware, caller)
    }
}

/// Fills entry 0 of a table of messages (PCI Local Bus Specification 3.0, 6.8.2).
fn fill_entry(
    hardware: &Hardware,
    table: u64,
    address: u64,
    data: u32,
) -> Result<(), PlatformError> {
    let refused = |_| PlatformError::Refused;
    let page = table & !(PAGE - 1);
    let region = hardware.region(page, PAGE, Caching::Uncached).map_err(refused)?;
    let registers = Registers::map(region).map_err(refused)?;
    let entry = table - page;
    registers.write(entry, address as u32);
    registers.write(entry + 4, (address >> 32) as u32);
    registers.write(entry + 8, data);
    registers.write(entry + 12, 0u32);
    Ok(())
}
