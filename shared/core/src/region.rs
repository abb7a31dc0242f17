//! Calls on regions, and what is mapped where.

use crate::call::{Answer, Done, bad_argument, rights_argument};
use crate::{Content, DmaIndex, DomainIndex, Kernel, Machine, MachineError, RegionIndex, Span};
use phi_abi::{Error, Kind, REGION_PINNED, Rights, layout};
use phi_cap::{Capability, Mapping};
use phi_mem::{Place, Region, RegionState};

/// Where a region is mapped: for a domain in its address space, for a device in its DMA space.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reach {
    Domain(DomainIndex),
    Device(DmaIndex),
}

impl<M: Machine> Kernel<M> {
    pub(crate) fn region_create(&mut self, thread: u32, length: u64, flags: u64) -> Answer {
        let Some(length) = layout::pages(length).filter(|length| *length > 0) else {
            return bad_argument(length);
        };
        let content = match flags {
            0 => Content::Zero,
            REGION_PINNED => Content::Pinned,
            _ => return bad_argument(flags),
        };
        let space = self.space_of(thread);
        let (slot, place) = self.free_region(space, length)?;
        let domain = self.domain(space);
        let used = domain.image_memory() + domain.region_memory;
        if length > domain.quota.memory.saturating_sub(used) {
            return Err(Error::QuotaExceeded.into());
        }
        let span = Span { address: place.address, length };
        self.machine
            .region_create(RegionIndex(slot), span, content)
            .map_err(|MachineError| Error::Machine)?;
        let (state, owner) = (RegionState::Alive, space as u16);
        let region = Region { state, place, owner, planned: false, device: false };
        self.regions[slot as usize] = region;
        self.domain_mut(space).region_memory += length;
        self.insert(space, Capability::new(Kind::Region, Kind::Region.rights(), slot, 0))
    }

    pub(crate) fn region_map(&mut self, thread: u32, handle: u64, rights: u64) -> Answer {
        let access = rights_argument(Kind::Region, rights)?;
        if access != Rights::READ && access != Rights::READ | Rights::WRITE {
            return bad_argument(rights);
        }
        let entry = self.entry_for(thread, handle, Kind::Region, access)?;
        let Capability { object, mapping, .. } = *self.capabilities.get(entry);
        if mapping.loan || !mapping.access.is_empty() {
            return Err(Error::Busy.into());
        }
        let place = self.regions[object as usize].place;
        let (address, length) = (place.address, place.page_length());
        self.capabilities.set_mapping(entry, Mapping { address, length, ..mapping });
        self.map_entry(entry, access)?;
        Ok(Done::Value(place.address))
    }

    pub(crate) fn region_unmap(&mut self, thread: u32, handle: u64) -> Answer {
        let entry = self.entry_for(thread, handle, Kind::Region, Rights::empty())?;
        if self.capabilities.get(entry).mapping.loan {
            return Err(Error::Busy.into());
        }
        self.unmap_access(entry);
        Ok(Done::Value(0))
    }

    /// Maps the pages that the capability in `entry` notes, with `access`.
    pub(crate) fn map_entry(&mut self, entry: u32, access: Rights) -> Result<(), Error> {
        let mapping = Mapping { access, ..self.capabilities.get(entry).mapping };
        self.capabilities.set_mapping(entry, mapping);
        let reach = self.reach(entry);
        if reach.is_some_and(|reach| self.apply(reach, entry, mapping).is_err()) {
            self.unmap_access(entry);
            return Err(Error::Machine);
        }
        Ok(())
    }

    /// Unmaps what is mapped through the capability in `entry`, in an address space and for a device.
    pub(crate) fn unmap_entry(&mut self, entry: u32) {
        self.dma_unmap_entry(entry);
        self.unmap_access(entry);
    }

    fn unmap_access(&mut self, entry: u32) {
        let mapping = self.capabilities.get(entry).mapping;
        if mapping.access.is_empty() {
            return;
        }
        self.capabilities.set_mapping(entry, mapping.without_access());
        if let Some(reach) = self.reach(entry) {
            // Where the machine fails, the holder has less than what it may have, and never more.
            let _ = self.apply(reach, entry, mapping);
        }
    }

    /// The address space of who holds `entry`; `None` for one in a stored message.
    fn reach(&self, entry: u32) -> Option<Reach> {
        let space = self.capabilities.space(entry)?;
        Some(Reach::Domain(DomainIndex(space as u16)))
    }

    /// Has the machine give `reach` that access to the pages of `changed` which all mappings of the region
    /// for it add up to; its address of the first. Pages for which the machine fails are inaccessible
    /// afterwards: access that was to be taken away never stays.
    pub(crate) fn apply(
        &mut self,
        reach: Reach,
        entry: u32,
        changed: Mapping,
    ) -> Result<u64, MachineError> {
        let (anchor, region) =
            (self.capabilities.anchor(entry), RegionIndex(self.capabilities.get(entry).object));
        let end = changed.address + changed.length;
        let mut address = changed.address;
        let mut first = Ok(address);
        while address < end {
            let (access, until) = self.access_at(reach, anchor, address);
            let until = until.min(end);
            let span = Span { address, length: until - address };
            let has_access = !access.is_empty();
            let mapped = has_access.then(|| self.map_span(reach, region, span, access));
            match mapped {
                Some(Ok(at)) if address == changed.address => first = Ok(at),
                Some(Err(MachineError)) => first = Err(MachineError),
                _ => {}
            }
            if !matches!(mapped, Some(Ok(_))) {
                self.unmap_span(reach, region, span);
            }
            address = until;
        }
        first
    }

    fn map_span(
        &mut self,
        reach: Reach,
        region: RegionIndex,
        span: Span,
        access: Rights,
    ) -> Result<u64, MachineError> {
        match reach {
            Reach::Domain(domain) => {
                self.machine.map(domain, region, span, access).map(|()| span.address)
            }
            Reach::Device(space) => {
                let devices = self.machine.devices().ok_or(MachineError)?;
                devices.dma_map(space, region, span, access)
            }
        }
    }

    fn unmap_span(&mut self, reach: Reach, region: RegionIndex, span: Span) {
        match reach {
            Reach::Domain(domain) => self.machine.unmap(domain, region, span),
            Reach::Device(space) => {
                if let Some(devices) = self.machine.devices() {
                    devices.dma_unmap(space, region, span);
                }
            }
        }
    }

    /// What `reach` may do at `address` of the region at `anchor`, and up to which address the same holds.
    fn access_at(&self, reach: Reach, anchor: u32, address: u64) -> (Rights, u64) {
        let mut access = Rights::empty();
        let mut until = u64::MAX;
        let mut next = self.capabilities.first_mapped(anchor);
        while let Some(entry) = next {
            next = self.capabilities.after_mapped(entry);
            let mapping = self.capabilities.get(entry).mapping;
            let mapped = match reach {
                Reach::Domain(domain)
                    if self.capabilities.space(entry) == Some(u32::from(domain.0)) =>
                {
                    mapping.access
                }
                Reach::Device(space) if mapping.space == u32::from(space.0) => mapping.dma,
                _ => continue,
            };
            if mapped.is_empty() {
                continue;
            }
            let end = mapping.address + mapping.length;
            if (mapping.address..end).contains(&address) {
                access |= mapped;
                until = until.min(end);
            } else if mapping.address > address {
                until = until.min(mapping.address);
            }
        }
        (access, until)
    }

    /// A free region of a domain that has room for a capability, and the place of `length` bytes there.
    pub(crate) fn free_region(&self, space: u32, length: u64) -> Result<(u32, Place), Error> {
        let domain = self.domain(space);
        let free = |slot: &u32| self.regions[*slot as usize].state == RegionState::Free;
        let slot = domain.regions.clone().find(free).ok_or(Error::QuotaExceeded)?;
        let number = slot - domain.regions.start;
        let place = Place::of_service(domain.window, domain.quota.regions, number, length);
        let place = place.ok_or(Error::QuotaExceeded)?;
        if self.capabilities.free_slots(space) == 0 {
            return Err(Error::QuotaExceeded);
        }
        Ok((slot, place))
    }
}
