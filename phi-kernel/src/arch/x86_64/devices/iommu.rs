//! The IOMMUs of the machine as one: which device reaches what, and which interrupts it may write (Intel
//! VT-d 4.1, 3.4, 5.1 and 9).
//!
//! Without an entry in these tables, a device reaches nothing and interrupts nobody. An interrupt is written
//! as the number of an entry, which says vector and processor, and from which device it must come.

use super::translation::{Translation, entry, new_table, set_entry};
use super::unit::{Fault, Unit};
use crate::panic::refuse;
use alloc::vec::Vec;
use phi_core::MessageSignal;
use phi_mem::{FrameAllocator, FrameRange};
use phi_tables::ADDRESS;

const PRESENT: u64 = 1;

/// Of an interrupt's entry: no fault is noted when it is not present.
const SILENT: u64 = 1 << 1;

/// Of a context entry: addresses of 48 bits, tables of four levels.
const FOUR_LEVELS: u64 = 0b010;

/// Of an interrupt's entry: all bits of the requester id are compared.
const VERIFIED: u64 = 1 << 18;

/// The IOMMUs.
pub struct Iommu {
    units: Vec<Unit>,
    /// The root table, by bus.
    root: u64,
    /// The table of interrupts.
    interrupts: u64,
    /// The processor that interrupts go to.
    destination: u8,
}

impl Iommu {
    /// Turns on the units; `None` when one of them lacks something, or there is no memory: then no device
    /// is protected.
    pub fn new(
        mut units: Vec<Unit>,
        vector: u8,
        destination: u8,
        frames: &mut FrameAllocator,
    ) -> Option<Iommu> {
        if units.is_empty() {
            return None;
        }
        let (root, interrupts) = (new_table(frames)?, new_table(frames)?);
        for unit in &mut units {
            unit.enable(root, interrupts, vector, destination)?;
        }
        Some(Iommu { units, root, interrupts, destination })
    }

    /// Tables for one device; `None` when there is no memory.
    pub fn translation(&self, frames: &mut FrameAllocator) -> Option<Translation> {
        Translation::new(self.units.iter().all(Unit::has_large_pages), frames)
    }

    /// Does something with each unit. One that no longer answers could go on with what it knew: the
    /// machine ends rather than that a device reaches what is somebody else's.
    fn each(&mut self, mut act: impl FnMut(&mut Unit) -> Option<()>) {
        for unit in &mut self.units {
            if act(unit).is_none() {
                refuse(format_args!("an IOMMU does not answer any more"));
            }
        }
    }

    /// Has a device reach what `translation` says. `None` when there is no memory.
    pub fn attach(
        &mut self,
        requester: u16,
        domain: u16,
        translation: &Translation,
        frames: &mut FrameAllocator,
    ) -> Option<()> {
        let bus = usize::from(requester >> 8);
        // SAFETY: the tables are the IOMMU's own, and refer to tables.
        let mut context = unsafe { entry(self.root, 2 * bus) } & ADDRESS;
        if context == 0 {
            context = new_table(frames)?;
            // SAFETY: as above.
            unsafe { set_entry(self.root, 2 * bus, context | PRESENT) };
        }
        let index = 2 * usize::from(requester & 0xFF);
        // SAFETY: as above. The entry is present last.
        unsafe {
            set_entry(context, index + 1, FOUR_LEVELS | u64::from(domain) << 8);
            set_entry(context, index, translation.root() | PRESENT);
        }
        self.each(|unit| unit.forget_device(requester, domain));
        Some(())
    }

    /// Has a device reach nothing.
    pub fn detach(&mut self, requester: u16, domain: u16) {
        let bus = usize::from(requester >> 8);
        // SAFETY: as in `attach`.
        let context = unsafe { entry(self.root, 2 * bus) } & ADDRESS;
        if context != 0 {
            // SAFETY: as in `attach`.
            unsafe { set_entry(context, 2 * usize::from(requester & 0xFF), 0) };
            self.each(|unit| unit.forget_device(requester, domain));
        }
    }

    /// Maps frames for a domain's device. The place is reserved.
    pub fn map(
        &mut self,
        domain: u16,
        translation: &mut Translation,
        address: u64,
        frames: FrameRange,
        writable: bool,
    ) {
        translation.map(address, frames, writable);
        self.each(|unit| unit.forget_pages(domain));
    }

    /// Unmaps pages of a domain's device, which has ended what it had under way when this returns.
    pub fn unmap(&mut self, domain: u16, translation: &mut Translation, address: u64, count: u64) {
        translation.unmap(address, count);
        self.each(|unit| unit.forget_pages(domain));
    }

    /// Lets interrupt number `index` come from `requester` with `vector`, or has it dropped.
    pub fn set_interrupt(
        &mut self,
        index: u16,
        vector: u8,
        level: bool,
        requester: Option<u16>,
        on: bool,
    ) {
        let processor = u64::from(self.destination) << 40;
        let low = u64::from(vector) << 16 | processor | u64::from(level) << 4 | SILENT;
        let high = requester.map_or(0, |requester| VERIFIED | u64::from(requester));
        let place = 2 * usize::from(index);
        // SAFETY: the table is the IOMMU's own, and has 256 entries. The entry is present last.
        unsafe {
            set_entry(self.interrupts, place, low);
            set_entry(self.interrupts, place + 1, high);
            set_entry(self.interrupts, place, low | u64::from(on));
        }
        self.each(Unit::forget_interrupts);
    }

    /// What a device writes to have interrupt number `index` (5.1.2.2).
    pub fn message(index: u16) -> MessageSignal {
        MessageSignal { address: 0xFEE0_0010 | u64::from(index) << 5, data: 0 }
    }

    /// Takes a fault that one of the units has noted.
    pub fn take_fault(&mut self) -> Option<Fault> {
        self.units.iter_mut().find_map(Unit::take_fault)
    }
}
