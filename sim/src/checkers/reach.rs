//! A device reaches memory only through what somebody holds who has mapped it for that device, and begins transfers
//! only while something is.

use super::ledger::{Held, Ledger, NONE};
use super::memory::{Run, covered};
use super::{Property, Violation, violates};
use crate::event::Event;
use phi_core::{DomainIndex, IrqIndex};
use std::collections::{BTreeMap, BTreeSet};

/// What one device can do.
#[derive(Default)]
struct Space {
    runs: Vec<Run>,
    enabled: bool,
}

/// What devices can do, by the machine's books.
#[derive(Default)]
pub struct Reach {
    spaces: BTreeMap<u16, Space>,
    irqs: BTreeSet<u16>,
}

impl Reach {
    /// Follows the machine's books.
    ///
    /// # Errors
    /// ΦCore speaks of a device that it has not opened, or a region ends that one reaches.
    pub fn observe(&mut self, event: &Event) -> Result<(), Violation> {
        match event {
            Event::IrqOpened(irq) => {
                self.irqs.insert(irq.0);
            }
            Event::IrqMasked(irq, _) => self.known(*irq)?,
            Event::IrqClosed(irq) => {
                self.known(*irq)?;
                self.irqs.remove(&irq.0);
            }
            Event::DmaOpened(space) => {
                self.spaces.insert(space.0, Space::default());
            }
            Event::DmaClosed(space) => {
                self.spaces.remove(&space.0);
            }
            Event::DmaEnabled(space, on) => self.space(space.0)?.enabled = *on,
            Event::DmaMapped(space, region, span, access) => {
                let runs = &mut self.space(space.0)?.runs;
                Run::cut(runs, region.0, *span);
                runs.push(Run::new(region.0, *span, *access));
            }
            Event::DmaUnmapped(space, region, span) => {
                Run::cut(&mut self.space(space.0)?.runs, region.0, *span);
            }
            Event::RegionDestroyed(region) => {
                let reaches = |space: &&Space| space.runs.iter().any(|run| run.region == region.0);
                if self.spaces.values().find(reaches).is_some() {
                    let what = format!("{region:?} ended while a device reaches it");
                    return violates(Property::Memory, what);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn known(&self, irq: IrqIndex) -> Result<(), Violation> {
        match self.irqs.contains(&irq.0) {
            true => Ok(()),
            false => violates(Property::Rights, format!("{irq:?} is not open")),
        }
    }

    fn space(&mut self, space: u16) -> Result<&mut Space, Violation> {
        let open = self.spaces.get_mut(&space);
        open.ok_or_else(|| Violation {
            property: Property::Rights,
            what: format!("the DMA space {space} is not open"),
        })
    }

    /// The step is over: what each device reaches is held by somebody who has mapped it for it.
    ///
    /// # Errors
    /// A page that a device reaches and may not; or a device that may transfer with nothing to reach.
    pub fn settled(&self, ledger: &Ledger) -> Result<(), Violation> {
        for (index, space) in &self.spaces {
            let object = ledger.spaces.get(usize::from(*index)).copied().unwrap_or(NONE);
            let mapped: Vec<&Held> = ledger.mapped_for(object).collect();
            // Not the other way round: when what a domain has lent or given ends with it, the ledger does not know.
            if space.enabled && !mapped.iter().any(|held| ledger.stands(held)) {
                let what = format!("the device of space {index} may transfer, and reaches nothing");
                return violates(Property::Memory, what);
            }
            let mapped = mapped.iter().map(|held| (*held, held.dma.1));
            for run in &space.runs {
                let who = || format!("the device of space {index}");
                covered(ledger, *run, mapped.clone(), who)?;
            }
        }
        Ok(())
    }
}

impl Ledger {
    /// What anybody has mapped for the device of a space, by the space's object.
    fn mapped_for(&self, space: u32) -> impl Iterator<Item = &Held> {
        let domains = (0..self.domains()).map(DomainIndex);
        let held = domains.flat_map(|domain| self.held(domain)).map(|(_, held)| held);
        let mapped = move |held: &&Held| held.dma.0 == space && space != NONE;
        // A region that has ended is nobody's any more, whoever still has a handle of it.
        held.filter(mapped).filter(|held| self.pages(held).is_some())
    }
}
