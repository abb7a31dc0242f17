//! Devices: their memory, their interrupts, and what they can reach of memory themselves.
//!
//! All authority over devices comes from the one capability to the machine's hardware. Who holds it makes
//! the capabilities to single ones, and hands them out revocably. An interrupt or a DMA space ends with the
//! domain that made it or with the last capability to it; what a device can reach ends with the capability
//! through which it was mapped.

use crate::call::{Answer, Done, Stop, bad_argument, rights_argument};
use crate::fault::Line;
use crate::region::Reach;
use crate::{
    Devices, DmaIndex, DomainIndex, IrqIndex, Kernel, Machine, MachineError, RegionIndex, Span,
};
use core::fmt::Write;
use phi_abi::layout::PAGE;
use phi_abi::{CONSOLE_LOG, Caching, Error, Fault, FaultKind, IrqSource, Kind, Rights};
use phi_cap::{Capability, Mapping, Origin};
use phi_mem::{NONE, Region, RegionState};

/// Sources of interrupts, at most, in a system where a service holds the hardware.
pub(crate) const IRQS: u32 = 64;

/// DMA spaces, at most, in such a system.
pub(crate) const DMA_SPACES: u32 = 32;

/// A source of interrupts.
#[derive(Clone, Copy)]
pub(crate) struct Irq {
    pub(crate) alive: bool,
    pub(crate) owner: u16,
    /// Where a message-signalled one is written to, and what.
    pub(crate) message: MessageSignal,
    /// The signal that it sets, or [`NONE`], these bits of it, and where the two capabilities come from.
    pub(crate) signal: u32,
    bits: u64,
    pub(crate) origins: [Origin; 2],
    /// Interrupts since the last acknowledgement.
    count: u64,
    /// Whether one came after the signal was set.
    again: bool,
}

impl Irq {
    pub(crate) const FREE: Irq = Irq {
        alive: false,
        owner: 0,
        message: MessageSignal { address: 0, data: 0 },
        signal: NONE,
        bits: 0,
        origins: [Origin::ROOT; 2],
        count: 0,
        again: false,
    };
}

/// What a device writes to have an interrupt; zeros for a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MessageSignal {
    /// The address.
    pub address: u64,
    /// The data.
    pub data: u32,
}

/// What one device can reach.
#[derive(Clone, Copy)]
pub(crate) struct DmaSpace {
    pub(crate) alive: bool,
    pub(crate) owner: u16,
    requester: u16,
    /// Capabilities through which something is mapped.
    pub(crate) mappings: u32,
}

impl DmaSpace {
    pub(crate) const FREE: DmaSpace =
        DmaSpace { alive: false, owner: 0, requester: 0, mappings: 0 };
}

impl<M: Machine> Kernel<M> {
    pub(crate) fn devices(&mut self) -> Result<&mut dyn Devices, Error> {
        self.machine.devices().ok_or(Error::Machine)
    }

    /// Physical address of what the firmware says of the hardware; 0 where there is none.
    pub(crate) fn hardware(&mut self) -> u64 {
        self.machine.devices().map_or(0, |devices| devices.root())
    }

    /// `words`: hardware, physical address, length, caching.
    pub(crate) fn device_region(&mut self, thread: u32, words: [u64; 4]) -> Answer {
        let [hardware, physical, length, caching] = words;
        let Some(caching) = Caching::from_number(caching) else { return bad_argument(caching) };
        if !physical.is_multiple_of(PAGE) {
            return bad_argument(physical);
        }
        let whole = length > 0 && length.is_multiple_of(PAGE);
        if !whole || physical.checked_add(length).is_none() {
            return bad_argument(length);
        }
        let space = self.hardware_user(thread, hardware)?;
        let (slot, place) = self.free_region(space, length)?;
        let span = Span { address: place.address, length };
        let devices = self.devices()?;
        devices
            .region_create(RegionIndex(slot), span, physical, caching)
            .map_err(|MachineError| Error::Denied)?;
        let (state, owner) = (RegionState::Alive, space as u16);
        let region = Region { state, place, owner, planned: false, device: true };
        self.regions[slot as usize] = region;
        self.insert(space, Capability::new(Kind::Region, Kind::Region.rights(), slot, 0))
    }

    pub(crate) fn irq_create(&mut self, thread: u32, hardware: u64, source: u64) -> Answer {
        let Some(from) = IrqSource::decode(source) else { return bad_argument(source) };
        let space = self.hardware_user(thread, hardware)?;
        let slot = self.irqs.iter().position(|irq| !irq.alive).ok_or(Error::QuotaExceeded)?;
        let message = self
            .devices()?
            .irq_open(IrqIndex(slot as u16), from)
            .map_err(|MachineError| Error::Denied)?;
        let owner = space as u16;
        self.irqs[slot] = Irq { alive: true, owner, message, ..Irq::FREE };
        self.insert(space, Capability::new(Kind::Irq, Kind::Irq.rights(), slot as u32, 0))
    }

    pub(crate) fn irq_bind(&mut self, thread: u32, irq: u64, signal: u64, bits: u64) -> Answer {
        if bits == 0 {
            return bad_argument(bits);
        }
        let irq = self.entry_for(thread, irq, Kind::Irq, Rights::CONTROL)?;
        let signal = self.entry_for(thread, signal, Kind::Signal, Rights::NOTIFY)?;
        let (irq, signal) = (*self.capabilities.get(irq), *self.capabilities.get(signal));
        let held = &mut self.irqs[irq.object as usize];
        if held.signal != NONE {
            return Err(Error::Busy.into());
        }
        let origins = [irq.origin, signal.origin];
        *held = Irq { signal: signal.object, bits, origins, count: 0, again: false, ..*held };
        self.devices()?.irq_mask(IrqIndex(irq.object as u16), false);
        Ok(Done::Value(0))
    }

    pub(crate) fn irq_acknowledge(&mut self, thread: u32, irq: u64) -> Answer {
        let entry = self.entry_for(thread, irq, Kind::Irq, Rights::CONTROL)?;
        let irq = self.capabilities.get(entry).object;
        let held = &mut self.irqs[irq as usize];
        let count = core::mem::take(&mut held.count);
        if held.signal == NONE {
            return Ok(Done::Value(count));
        }
        let again = core::mem::take(&mut held.again);
        self.devices()?.irq_mask(IrqIndex(irq as u16), false);
        if again {
            // It came while the last one was served: nothing says that it was seen.
            self.deliver(irq);
        }
        Ok(Done::Value(count))
    }

    /// An interrupt came. One that comes before the last one is acknowledged is delivered then.
    pub fn interrupt(&mut self, irq: IrqIndex) {
        let bound = |held: &&mut Irq| held.signal != NONE;
        let Some(held) = self.irqs.get_mut(usize::from(irq.0)).filter(bound) else { return };
        if held.count > 0 {
            held.count = held.count.saturating_add(1);
            held.again = true;
            return;
        }
        self.deliver(u32::from(irq.0));
    }

    /// Whether an interrupt may come that somebody waits for.
    pub fn awaits_interrupts(&self) -> bool {
        self.irqs.iter().any(|irq| irq.signal != NONE)
    }

    fn deliver(&mut self, irq: u32) {
        if let Some(devices) = self.machine.devices() {
            devices.irq_mask(IrqIndex(irq as u16), true);
        }
        let held = &mut self.irqs[irq as usize];
        held.count = 1;
        let Irq { signal, bits, .. } = *held;
        self.set_bits(signal, bits);
    }

    /// Ends the binding of an interrupt, if it has one.
    fn unbind_irq(&mut self, irq: u32) {
        let held = &mut self.irqs[irq as usize];
        if held.signal == NONE {
            return;
        }
        let Irq { alive, owner, message, .. } = *held;
        *held = Irq { alive, owner, message, ..Irq::FREE };
        if let Some(devices) = self.machine.devices() {
            devices.irq_mask(IrqIndex(irq as u16), true);
        }
    }

    /// Ends the bindings of interrupts to a signal that ends.
    pub(crate) fn unbind_irqs_of(&mut self, signal: u32) {
        for irq in 0..self.irqs.len() as u32 {
            if self.irqs[irq as usize].signal == signal {
                self.unbind_irq(irq);
            }
        }
    }

    /// Ends the bindings of interrupts that a revocation has made invalid.
    pub(crate) fn end_revoked_irq_bindings(&mut self) {
        for irq in 0..self.irqs.len() as u32 {
            let Irq { signal, origins, .. } = self.irqs[irq as usize];
            let lineages = self.capabilities.lineages();
            if signal != NONE && !origins.iter().all(|origin| lineages.is_valid(*origin)) {
                self.unbind_irq(irq);
            }
        }
    }

    /// Ends a source of interrupts.
    pub(crate) fn destroy_irq(&mut self, irq: u32) {
        if !self.irqs[irq as usize].alive {
            return;
        }
        self.unbind_irq(irq);
        self.bury_all(self.anchors.of(Kind::Irq, irq));
        self.irqs[irq as usize] = Irq::FREE;
        if let Some(devices) = self.machine.devices() {
            devices.irq_close(IrqIndex(irq as u16));
        }
    }

    pub(crate) fn dma_space_create(
        &mut self,
        thread: u32,
        hardware: u64,
        requester: u64,
    ) -> Answer {
        let Ok(device) = u16::try_from(requester) else { return bad_argument(requester) };
        let space = self.hardware_user(thread, hardware)?;
        if self.dma_spaces.iter().any(|held| held.alive && held.requester == device) {
            return Err(Error::Busy.into());
        }
        let free = self.dma_spaces.iter().position(|held| !held.alive);
        let slot = free.ok_or(Error::QuotaExceeded)?;
        self.devices()?
            .dma_open(DmaIndex(slot as u16), device)
            .map_err(|MachineError| Error::Denied)?;
        let owner = space as u16;
        self.dma_spaces[slot] = DmaSpace { alive: true, owner, requester: device, mappings: 0 };
        self.insert(space, Capability::new(Kind::DmaSpace, Kind::DmaSpace.rights(), slot as u32, 0))
    }

    pub(crate) fn dma_map(&mut self, thread: u32, space: u64, region: u64, rights: u64) -> Answer {
        let access = rights_argument(Kind::Region, rights)?;
        if access != Rights::READ && access != Rights::READ | Rights::WRITE {
            return bad_argument(rights);
        }
        let held = self.entry_for(thread, space, Kind::DmaSpace, Rights::CONTROL)?;
        let space = self.capabilities.get(held).object;
        let entry = self.entry_for(thread, region, Kind::Region, access)?;
        let Capability { object, mapping, .. } = *self.capabilities.get(entry);
        let Region { place, device, .. } = self.regions[object as usize];
        if device {
            return bad_argument(region);
        }
        if mapping.space != NONE {
            return Err(Error::Busy.into());
        }
        if !self.devices()?.protects() {
            self.check_unprotected(self.space_of(thread), space)?;
        }
        let (address, length) = match mapping.length {
            0 => (place.address, place.page_length()),
            _ => (mapping.address, mapping.length),
        };
        let mapping = Mapping { address, length, dma: access, space, ..mapping };
        self.capabilities.set_mapping(entry, mapping);
        self.dma_spaces[space as usize].mappings += 1;
        match self.apply(Reach::Device(DmaIndex(space as u16)), entry, mapping) {
            Ok(at) => {
                self.devices()?.dma_enable(DmaIndex(space as u16), true);
                Ok(Done::Value(at))
            }
            Err(MachineError) => {
                self.dma_unmap_entry(entry);
                Err(Error::Machine.into())
            }
        }
    }

    /// Whether a domain may have its device transfer although nothing protects memory from it; the log says
    /// so when it begins.
    fn check_unprotected(&mut self, domain: u32, space: u32) -> Result<(), Error> {
        let held = &self.domains[domain as usize];
        if !held.unprotected_dma {
            return Err(Error::Denied);
        }
        if self.dma_spaces[space as usize].mappings == 0 {
            let mut line = Line::EMPTY;
            let (name, generation) = (&held.name, held.generation);
            let what = "its device can reach all memory, as its manifest allows";
            // What does not fit is cut off.
            let _ = writeln!(line, "{name}/{generation} is unprotected: {what}");
            self.machine.console_write(CONSOLE_LOG, line.bytes());
        }
        Ok(())
    }

    pub(crate) fn dma_unmap(&mut self, thread: u32, space: u64, region: u64) -> Answer {
        let held = self.entry_for(thread, space, Kind::DmaSpace, Rights::CONTROL)?;
        let entry = self.entry_for(thread, region, Kind::Region, Rights::empty())?;
        if self.capabilities.get(entry).mapping.space == self.capabilities.get(held).object {
            self.dma_unmap_entry(entry);
        }
        Ok(Done::Value(0))
    }

    /// Takes what is mapped for a device through the capability in `entry` out of its reach.
    pub(crate) fn dma_unmap_entry(&mut self, entry: u32) {
        let mapping = self.capabilities.get(entry).mapping;
        let space = mapping.space;
        if space == NONE {
            return;
        }
        self.capabilities.set_mapping(entry, mapping.without_dma());
        let held = &mut self.dma_spaces[space as usize];
        held.mappings -= 1;
        if held.mappings == 0
            && let Some(devices) = self.machine.devices()
        {
            devices.dma_enable(DmaIndex(space as u16), false);
        }
        // Where the machine fails, the device has less than what it may have, and never more.
        let _ = self.apply(Reach::Device(DmaIndex(space as u16)), entry, mapping);
    }

    /// Ends everything that is mapped in a DMA space.
    pub(crate) fn empty_dma_space(&mut self, space: u32) {
        if self.dma_spaces[space as usize].mappings == 0 {
            return;
        }
        for entry in 0..self.capabilities.count() {
            if self.capabilities.get(entry).mapping.space == space {
                self.dma_unmap_entry(entry);
            }
        }
    }

    /// Ends a DMA space.
    pub(crate) fn destroy_dma_space(&mut self, space: u32) {
        if !self.dma_spaces[space as usize].alive {
            return;
        }
        self.empty_dma_space(space);
        self.bury_all(self.anchors.of(Kind::DmaSpace, space));
        self.dma_spaces[space as usize] = DmaSpace::FREE;
        if let Some(devices) = self.machine.devices() {
            devices.dma_close(DmaIndex(space as u16));
        }
    }

    /// A device reached for memory at this address of its own which is not mapped for it. It reaches nothing
    /// any more, and the domain that drives it ends as faulted: the one that has mapped something for it. If
    /// nobody has, its driver has ended before.
    pub fn dma_fault(&mut self, space: DmaIndex, address: u64) {
        let index = u32::from(space.0);
        let maps = |entry: &u32| self.capabilities.get(*entry).mapping.space == index;
        let Some(entry) = (0..self.capabilities.count()).find(maps) else { return };
        let driver = self.capabilities.space(entry);
        self.empty_dma_space(index);
        if let Some(driver) = driver {
            let fault = Fault { kind: FaultKind::Dma, address, instruction: 0 };
            self.domain_lost(DomainIndex(driver as u16), fault);
        }
    }

    /// Ends the interrupts, the DMA spaces and the ports that a domain made.
    pub(crate) fn end_devices(&mut self, domain: u32) {
        for irq in 0..self.irqs.len() as u32 {
            if u32::from(self.irqs[irq as usize].owner) == domain {
                self.destroy_irq(irq);
            }
        }
        for space in 0..self.dma_spaces.len() as u32 {
            if u32::from(self.dma_spaces[space as usize].owner) == domain {
                self.destroy_dma_space(space);
            }
        }
        for ports in 0..self.ports.len() as u32 {
            if u32::from(self.ports[ports as usize].owner) == domain {
                self.destroy_ports(ports);
            }
        }
    }

    /// The domain of a thread that may make something of the hardware and has room for a capability.
    pub(crate) fn hardware_user(&mut self, thread: u32, hardware: u64) -> Result<u32, Stop> {
        self.entry_for(thread, hardware, Kind::Hardware, Rights::CONTROL)?;
        let space = self.space_of(thread);
        if self.capabilities.free_slots(space) == 0 {
            return Err(Error::QuotaExceeded.into());
        }
        Ok(space)
    }
}
