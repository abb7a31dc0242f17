//! Devices of the simulated machine, as ΦCore knows them: sources of interrupts, and what each device reaches of
//! memory. They do nothing by themselves: interrupts, and transfers that go too far, are drawn from the seed.
//!
//! Limits: there is no device memory, so that no region of it can be made.

use crate::event::Event;
use crate::machine::{Services, SimMachine, fail};
use phi_abi::{Caching, IrqSource, PortWidth, Rights};
use phi_core::{Devices, DmaIndex, IrqIndex, MachineError, MessageSignal, RegionIndex, Span};
use phi_random::Random;
use std::collections::BTreeSet;

/// The devices of a machine.
#[derive(Default)]
pub struct Board {
    /// The sources of interrupts that let some through.
    open: BTreeSet<u16>,
    spaces: BTreeSet<u16>,
}

impl Board {
    /// A source that could interrupt now.
    pub fn interrupt(&self, random: &mut Random) -> Option<IrqIndex> {
        drawn(&self.open, random).map(IrqIndex)
    }

    /// The space of a device that could reach too far.
    pub fn fault(&self, random: &mut Random) -> Option<DmaIndex> {
        drawn(&self.spaces, random).map(DmaIndex)
    }
}

/// One of these numbers; none when there is none.
fn drawn(numbers: &BTreeSet<u16>, random: &mut Random) -> Option<u16> {
    numbers.iter().nth(random.below(numbers.len() as u64) as usize).copied()
}

impl<S: Services> Devices for SimMachine<S> {
    fn root(&self) -> u64 {
        // There is no firmware to say anything.
        0
    }

    fn region_create(
        &mut self,
        _: RegionIndex,
        _: Span,
        _: u64,
        _: Caching,
    ) -> Result<(), MachineError> {
        Err(MachineError)
    }

    fn irq_open(&mut self, irq: IrqIndex, _: IrqSource) -> Result<MessageSignal, MachineError> {
        fail(&mut self.failures.map, &mut self.events)?;
        self.events.push(Event::IrqOpened(irq));
        Ok(MessageSignal { address: 0xFEE0_0000, data: irq.0.into() })
    }

    fn irq_close(&mut self, irq: IrqIndex) {
        if let Some(board) = &mut self.board {
            board.open.remove(&irq.0);
        }
        self.events.push(Event::IrqClosed(irq));
    }

    fn irq_mask(&mut self, irq: IrqIndex, masked: bool) {
        if let Some(board) = &mut self.board {
            match masked {
                true => board.open.remove(&irq.0),
                false => board.open.insert(irq.0),
            };
        }
        self.events.push(Event::IrqMasked(irq, masked));
    }

    fn protects(&self) -> bool {
        true
    }

    fn dma_open(&mut self, space: DmaIndex, _: u16) -> Result<(), MachineError> {
        fail(&mut self.failures.map, &mut self.events)?;
        self.board.as_mut().ok_or(MachineError)?.spaces.insert(space.0);
        self.events.push(Event::DmaOpened(space));
        Ok(())
    }

    fn dma_close(&mut self, space: DmaIndex) {
        if let Some(board) = &mut self.board {
            board.spaces.remove(&space.0);
        }
        self.events.push(Event::DmaClosed(space));
    }

    fn dma_enable(&mut self, space: DmaIndex, on: bool) {
        self.events.push(Event::DmaEnabled(space, on));
    }

    fn dma_map(
        &mut self,
        space: DmaIndex,
        region: RegionIndex,
        span: Span,
        access: Rights,
    ) -> Result<u64, MachineError> {
        fail(&mut self.failures.map, &mut self.events)?;
        self.events.push(Event::DmaMapped(space, region, span, access));
        Ok(span.address)
    }

    fn dma_unmap(&mut self, space: DmaIndex, region: RegionIndex, span: Span) {
        self.events.push(Event::DmaUnmapped(space, region, span));
    }

    fn ports_open(&mut self, _: u16, _: u16) -> Result<(), MachineError> {
        fail(&mut self.failures.map, &mut self.events)
    }

    fn port_read(&mut self, _: u16, width: PortWidth) -> u32 {
        // Nobody answers.
        width.most()
    }

    fn port_write(&mut self, _: u16, _: PortWidth, _: u32) {}
}
