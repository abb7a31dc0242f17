//! The devices of the fake machine: books that panic when ΦCore breaks the contract of [`Devices`].

use crate::{Devices, DmaIndex, IrqIndex, MachineError, MessageSignal, RegionIndex, Span};
use phi_abi::layout::PAGE;
use phi_abi::{Caching, IrqSource, PortWidth, Rights};
use std::collections::{BTreeMap, BTreeSet};
use std::vec::Vec;

/// Physical address of what the firmware says.
pub(crate) const ROOT: u64 = 0xE_0000;

/// Device memory that the machine refuses: its own.
pub(crate) const REFUSED: u64 = 0xFEE0_0000;

/// A port that the machine refuses.
pub(crate) const REFUSED_PORT: u64 = 0xF4;

/// What is added to an address for a device that nothing stands before.
pub(crate) const PHYSICAL: u64 = 1 << 50;

/// What one device can reach.
#[derive(Default)]
pub(crate) struct Reach {
    pub(crate) enabled: bool,
    pub(crate) pages: BTreeMap<(u32, u64), Rights>,
}

#[derive(Default)]
pub(crate) struct FakeHardware {
    /// Whether there is no IOMMU.
    pub(crate) open: bool,
    /// Sources, and whether they are masked.
    pub(crate) irqs: BTreeMap<u16, bool>,
    pub(crate) spaces: BTreeMap<u16, Reach>,
    /// Device memory that was made since the machine last looked.
    pub(crate) made: Vec<(RegionIndex, Span)>,
    /// How often mapping is to fail from now on.
    pub(crate) fails: u32,
    /// Spaces in which it has failed, with the region.
    pub(crate) failed: BTreeSet<(u16, u32)>,
    /// What was written to ports.
    pub(crate) ports: BTreeMap<u16, u8>,
}

impl FakeHardware {
    /// No device reaches a region that has no memory any more.
    pub(crate) fn region_is_gone(&self, region: RegionIndex) {
        for (space, reach) in &self.spaces {
            let mapped = reach.pages.keys().any(|(other, _)| *other == region.0);
            assert!(!mapped, "{region:?} is destroyed while the device of {space} reaches it");
        }
    }

    fn reach(&mut self, space: DmaIndex) -> &mut Reach {
        self.spaces.get_mut(&space.0).expect("a space that was opened")
    }
}

fn pages(span: Span) -> impl Iterator<Item = u64> {
    assert!(span.length > 0 && (span.length | span.address).is_multiple_of(PAGE), "{span:?}");
    (span.address..span.address + span.length).step_by(PAGE as usize)
}

impl Devices for FakeHardware {
    fn root(&self) -> u64 {
        ROOT
    }

    fn region_create(
        &mut self,
        region: RegionIndex,
        span: Span,
        physical: u64,
        _: Caching,
    ) -> Result<(), MachineError> {
        if physical == REFUSED {
            return Err(MachineError);
        }
        self.made.push((region, span));
        Ok(())
    }

    fn irq_open(
        &mut self,
        irq: IrqIndex,
        source: IrqSource,
    ) -> Result<MessageSignal, MachineError> {
        if source == (IrqSource::Message { requester: u16::MAX }) {
            return Err(MachineError);
        }
        assert!(self.irqs.insert(irq.0, true).is_none(), "{irq:?} is open");
        Ok(MessageSignal { address: 0xFEE0_0000, data: u32::from(irq.0) })
    }

    fn irq_close(&mut self, irq: IrqIndex) {
        assert_eq!(self.irqs.remove(&irq.0), Some(true), "{irq:?} was open and masked");
    }

    fn irq_mask(&mut self, irq: IrqIndex, masked: bool) {
        *self.irqs.get_mut(&irq.0).expect("an open source") = masked;
    }

    fn protects(&self) -> bool {
        !self.open
    }

    fn dma_open(&mut self, space: DmaIndex, requester: u16) -> Result<(), MachineError> {
        if requester == u16::MAX {
            return Err(MachineError);
        }
        assert!(self.spaces.insert(space.0, Reach::default()).is_none(), "{space:?} is open");
        Ok(())
    }

    fn dma_close(&mut self, space: DmaIndex) {
        let reach = self.spaces.remove(&space.0).expect("a space that was opened");
        assert!(reach.pages.is_empty() && !reach.enabled, "{space:?} ends in use");
    }

    fn dma_enable(&mut self, space: DmaIndex, on: bool) {
        self.reach(space).enabled = on;
    }

    fn dma_map(
        &mut self,
        space: DmaIndex,
        region: RegionIndex,
        span: Span,
        access: Rights,
    ) -> Result<u64, MachineError> {
        assert!(access == Rights::READ || access == Rights::READ | Rights::WRITE, "{access:?}");
        if let Some(left) = self.fails.checked_sub(1) {
            self.fails = left;
            self.failed.insert((space.0, region.0));
            return Err(MachineError);
        }
        self.reach(space).pages.extend(pages(span).map(|page| ((region.0, page), access)));
        Ok(span.address + if self.open { PHYSICAL } else { 0 })
    }

    fn dma_unmap(&mut self, space: DmaIndex, region: RegionIndex, span: Span) {
        for page in pages(span) {
            self.reach(space).pages.remove(&(region.0, page));
        }
    }

    fn ports_open(&mut self, first: u16, _: u16) -> Result<(), MachineError> {
        if u64::from(first) == REFUSED_PORT { Err(MachineError) } else { Ok(()) }
    }

    fn port_read(&mut self, port: u16, width: PortWidth) -> u32 {
        let bytes = (0..width as u16).map(|at| self.ports.get(&(port + at)).copied().unwrap_or(0));
        bytes.rev().fold(0, |value, byte| value << 8 | u32::from(byte))
    }

    fn port_write(&mut self, port: u16, width: PortWidth, value: u32) {
        for (at, byte) in (0..width as u16).zip(value.to_le_bytes()) {
            self.ports.insert(port + at, byte);
        }
    }
}
