//! The machine's devices, as far as the kernel has to know them: interrupt controllers and IOMMUs. It drives
//! no device; services do.

mod acpi;
mod bus;
mod io_apic;
mod iommu;
pub mod ports;
mod translation;
mod unit;

pub use acpi::Inventory;

use super::clock::{self, LOCAL_APIC};
use super::paging::KernelSpace;
use super::processor;
use super::traps::{DMA_FAULT, INTERRUPTS};
use crate::memory::{Ranges, slot};
use alloc::vec::Vec;
use core::ops::Range;
use io_apic::IoApic;
use iommu::Iommu;
use phi_abi::IrqSource;
use phi_abi::layout::PAGE;
use phi_core::{DmaIndex, IrqIndex, MachineError, MessageSignal};
use phi_mem::{FrameAllocator, FrameRange};
use translation::Translation;
use unit::{REGISTERS, Unit};

/// Interrupts of one source that come before an acknowledgement, and make it one that is stopped.
const STORM: u32 = 1000;

/// Device memory below belongs to the machine of old: vectors and tables of the firmware's.
const LOWEST: u64 = 0xA_0000;

/// A source of interrupts.
struct Irq {
    source: IrqSource,
    /// The controller and the line of one that is none of messages.
    line: Option<(usize, u32)>,
    masked: bool,
    /// Interrupts that came while it was masked.
    unwanted: u32,
}

/// What one device reaches.
struct Space {
    requester: u16,
    translation: Option<Translation>,
}

/// A fault of a device.
#[derive(Clone, Copy, Debug)]
pub struct DeviceFault {
    /// The device.
    pub requester: u16,
    /// Its DMA space, if it has one.
    pub space: Option<DmaIndex>,
    /// The page that it reached for, by its own address.
    pub address: u64,
}

/// The devices.
pub struct Board {
    root: u64,
    io_apics: Vec<IoApic>,
    iommu: Option<Iommu>,
    irqs: Vec<Option<Irq>>,
    spaces: Vec<Option<Space>>,
    /// Physical addresses that no service may have as device memory.
    reserved: Ranges,
    destination: u8,
}

/// Number of a DMA space as a domain of the IOMMUs; 0 means something else to some of them.
fn domain(space: DmaIndex) -> u16 {
    space.0 + 1
}

/// The tables of a space, if it has some.
fn translation(spaces: &mut [Option<Space>], space: DmaIndex) -> Option<&mut Translation> {
    spaces.get_mut(usize::from(space.0))?.as_mut()?.translation.as_mut()
}

impl Board {
    /// The devices that the firmware names, with all interrupts masked, and no device reaching anything;
    /// `None` without any. `memory` is all of the system's memory.
    ///
    /// # Errors
    /// There is no memory for the tables of the IOMMUs.
    pub fn new(
        inventory: &Inventory,
        memory: &Ranges,
        kernel: &KernelSpace,
        frames: &mut FrameAllocator,
    ) -> Result<Option<Board>, MachineError> {
        if inventory.root == 0 {
            return Ok(None);
        }
        let mut reserved = memory.clone();
        let mut map = |registers: u64, length: u64, frames: &mut FrameAllocator| {
            let range = registers & !(PAGE - 1)..(registers & !(PAGE - 1)) + length;
            let known = !memory.meet(&range) && reserved.add(range.clone());
            known.then(|| kernel.map_registers(range.start, length, frames)).flatten()
        };
        map(LOCAL_APIC, PAGE, frames);
        let mut io_apics = Vec::new();
        for place in &inventory.io_apics {
            if map(place.registers, PAGE, frames).is_some() {
                io_apics.push(IoApic::new(place));
            }
        }
        let mut units = Vec::new();
        for registers in &inventory.units {
            map(*registers, REGISTERS, frames).ok_or(MachineError)?;
            units.extend(Unit::new(*registers, frames));
        }
        if units.len() < inventory.units.len() {
            // A device behind a unit that cannot protect is not protected by the others.
            units.clear();
        }
        let destination = clock::processor();
        let iommu = Iommu::new(units, DMA_FAULT, destination, frames);
        let (irqs, spaces) = (Vec::new(), Vec::new());
        let root = inventory.root;
        Ok(Some(Board { root, io_apics, iommu, irqs, spaces, reserved, destination }))
    }

    /// Physical address of the first table of the firmware's.
    pub fn root(&self) -> u64 {
        self.root
    }

    /// Whether services may have this device memory.
    pub fn may_map(&self, range: &Range<u64>) -> bool {
        range.start >= LOWEST
            && range.end <= 1 << processor::physical_bits()
            && !self.reserved.meet(range)
    }

    /// Whether IOMMUs stand before all devices.
    pub fn protects(&self) -> bool {
        self.iommu.is_some()
    }

    /// Makes a source of interrupts; see [`phi_core::Devices::irq_open`].
    ///
    /// # Errors
    /// There is no such line.
    pub fn irq_open(
        &mut self,
        irq: IrqIndex,
        source: IrqSource,
    ) -> Result<MessageSignal, MachineError> {
        let line = match source {
            IrqSource::Message { .. } => None,
            IrqSource::Line { number, .. } => {
                let mut controllers = self.io_apics.iter().enumerate();
                let found = controllers.find_map(|(at, one)| Some((at, one.line(number)?)));
                let taken = |held: &Option<Irq>| held.as_ref().is_some_and(|irq| irq.line == found);
                if self.irqs.iter().any(taken) {
                    return Err(MachineError);
                }
                Some(found.ok_or(MachineError)?)
            }
        };
        let place = slot(&mut self.irqs, usize::from(irq.0))?;
        *place = Some(Irq { source, line, masked: true, unwanted: 0 });
        let vector = INTERRUPTS + irq.0 as u8;
        self.set_remapped(irq, line.is_some());
        if let (Some((controller, line)), IrqSource::Line { level, active_low, .. }) =
            (line, source)
        {
            let remapped = self.iommu.as_ref().map(|_| irq.0);
            let kinds = [level, active_low];
            self.io_apics[controller].set(line, vector, kinds, remapped, self.destination);
            return Ok(MessageSignal { address: 0, data: 0 });
        }
        Ok(match self.iommu {
            Some(_) => Iommu::message(irq.0),
            None => MessageSignal {
                address: 0xFEE0_0000 | u64::from(self.destination) << 12,
                data: u32::from(vector),
            },
        })
    }

    /// Has the IOMMU let an interrupt come, or drop it.
    fn set_remapped(&mut self, irq: IrqIndex, on: bool) {
        let held = self.irqs.get(usize::from(irq.0)).and_then(Option::as_ref);
        let (Some(iommu), Some(held)) = (&mut self.iommu, held) else { return };
        let (level, requester) = match held.source {
            IrqSource::Message { requester } => (false, Some(requester)),
            IrqSource::Line { level, .. } => {
                (level, held.line.and_then(|(controller, _)| self.io_apics[controller].requester))
            }
        };
        iommu.set_interrupt(irq.0, INTERRUPTS + irq.0 as u8, level, requester, on);
    }

    /// Ends a source.
    pub fn irq_close(&mut self, irq: IrqIndex) {
        self.irq_mask(irq, true);
        self.set_remapped(irq, false);
        if let Some(place) = self.irqs.get_mut(usize::from(irq.0)) {
            *place = None;
        }
    }

    /// Masks a source, or lets it come. Messages are stopped only when they come as a storm, or nobody
    /// waits for any.
    pub fn irq_mask(&mut self, irq: IrqIndex, masked: bool) {
        let Some(held) = self.irqs.get_mut(usize::from(irq.0)).and_then(Option::as_mut) else {
            return;
        };
        held.masked = masked;
        held.unwanted = 0;
        match held.line {
            Some((controller, line)) => self.io_apics[controller].mask(line, masked),
            None if !masked => self.set_remapped(irq, true),
            None => {}
        }
    }

    /// An interrupt came: whether that is one too many before an acknowledgement, and it was stopped.
    pub fn is_storm(&mut self, irq: IrqIndex) -> bool {
        let Some(held) = self.irqs.get_mut(usize::from(irq.0)).and_then(Option::as_mut) else {
            return false;
        };
        if held.masked {
            held.unwanted += 1;
        }
        if held.unwanted < STORM || self.iommu.is_none() {
            return false;
        }
        held.unwanted = 0;
        self.set_remapped(irq, false);
        true
    }

    /// Makes the space of a device that has none; see [`phi_core::Devices::dma_open`].
    ///
    /// # Errors
    /// There is no memory for its tables.
    pub fn dma_open(
        &mut self,
        space: DmaIndex,
        requester: u16,
        frames: &mut FrameAllocator,
    ) -> Result<(), MachineError> {
        bus::set_master(requester, false);
        let place = slot(&mut self.spaces, usize::from(space.0))?;
        let translation = match &mut self.iommu {
            None => None,
            Some(iommu) => {
                let translation = iommu.translation(frames).ok_or(MachineError)?;
                if iommu.attach(requester, domain(space), &translation, frames).is_none() {
                    translation.free(frames);
                    return Err(MachineError);
                }
                Some(translation)
            }
        };
        *place = Some(Space { requester, translation });
        Ok(())
    }

    /// Ends a space: its device reaches nothing.
    pub fn dma_close(&mut self, space: DmaIndex, frames: &mut FrameAllocator) {
        let place = self.spaces.get_mut(usize::from(space.0));
        let Some(Space { requester, translation }) = place.and_then(Option::take) else { return };
        bus::set_master(requester, false);
        if let (Some(iommu), Some(translation)) = (&mut self.iommu, translation) {
            iommu.detach(requester, domain(space));
            translation.free(frames);
        }
    }

    /// Lets the device of a space begin transfers, or not.
    pub fn dma_enable(&mut self, space: DmaIndex, on: bool) {
        if let Some(Some(held)) = self.spaces.get(usize::from(space.0)) {
            bus::set_master(held.requester, on);
        }
    }

    /// Maps runs of frames, each at a distance in pages from `address`, for the device of a space; its
    /// address of the first.
    ///
    /// # Errors
    /// There is no memory for the tables; or nothing protects, and the frames are not one run.
    pub fn dma_map(
        &mut self,
        space: DmaIndex,
        address: u64,
        runs: impl Iterator<Item = (u64, FrameRange)> + Clone,
        writable: bool,
        frames: &mut FrameAllocator,
    ) -> Result<u64, MachineError> {
        let Some(iommu) = &mut self.iommu else {
            let mut runs = runs;
            let first = runs.next().map(|(_, run)| run.first * PAGE).ok_or(MachineError)?;
            return if runs.next().is_none() { Ok(first) } else { Err(MachineError) };
        };
        let translation = translation(&mut self.spaces, space).ok_or(MachineError)?;
        for (distance, run) in runs.clone() {
            let at = address + distance * PAGE;
            translation.reserve(at, run.count, frames).ok_or(MachineError)?;
        }
        for (distance, run) in runs {
            iommu.map(domain(space), translation, address + distance * PAGE, run, writable);
        }
        Ok(address)
    }

    /// Takes pages out of the reach of the device of a space.
    pub fn dma_unmap(&mut self, space: DmaIndex, address: u64, count: u64) {
        let translation = translation(&mut self.spaces, space);
        if let (Some(iommu), Some(translation)) = (&mut self.iommu, translation) {
            iommu.unmap(domain(space), translation, address, count);
        }
    }

    /// Takes a fault that the IOMMUs have noted. The device that made it begins nothing any more, until
    /// something is mapped for it anew.
    pub fn take_fault(&mut self) -> Option<DeviceFault> {
        let unit::Fault { requester, address } = self.iommu.as_mut()?.take_fault()?;
        bus::set_master(requester, false);
        let own =
            |held: &Option<Space>| held.as_ref().is_some_and(|held| held.requester == requester);
        let space = self.spaces.iter().position(own).map(|index| DmaIndex(index as u16));
        Some(DeviceFault { requester, space, address })
    }
}
