//! Calls on regions, and what is mapped where.

use crate::call::{Answer, Done, bad_argument, rights_argument};
use crate::{Content, DomainIndex, Kernel, Machine, MachineError, RegionIndex, Span};
use phi_abi::{Error, Kind, REGION_PINNED, Rights, layout};
use phi_cap::{Capability, Mapping};
use phi_mem::{Region, RegionState};

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
        let Capability { object, mapping, .. } = *self.capabilities.get(entry);
        let mapping = Mapping { access, ..mapping };
        self.capabilities.set_mapping(entry, mapping);
        if self.apply_access(entry, object, mapping).is_err() {
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
        let Capability { object, mapping, .. } = *self.capabilities.get(entry);
        if !mapping.access.is_empty() {
            self.capabilities.set_mapping(entry, mapping.without_access());
            // Where the machine fails, the holder has less than what it may have, and never more.
            let _ = self.apply_access(entry, object, mapping);
        }
    }

    /// Has the machine give the holder of `entry` that access to the pages of `changed` which all its
    /// mappings of the region add up to. Pages for which the machine fails are inaccessible
    /// afterwards: access that was to be taken away never stays.
    fn apply_access(
        &mut self,
        entry: u32,
        region: u32,
        changed: Mapping,
    ) -> Result<(), MachineError> {
        let Some(space) = self.capabilities.space(entry) else { return Ok(()) };
        let domain = DomainIndex(space as u16);
        let end = changed.address + changed.length;
        let mut address = changed.address;
        let mut result = Ok(());
        while address < end {
            let own = |entry: u32| {
                let own = self.capabilities.space(entry) == Some(space);
                own.then(|| self.capabilities.get(entry).mapping.access)
            };
            let (access, until) = self.access_at(self.capabilities.anchor(entry), address, &own);
            let until = until.min(end);
            let span = Span { address, length: until - address };
            if access.is_empty() {
                self.machine.unmap(domain, RegionIndex(region), span);
            } else if self.machine.map(domain, RegionIndex(region), span, access).is_err() {
                self.machine.unmap(domain, RegionIndex(region), span);
                result = Err(MachineError);
            }
            address = until;
        }
        result
    }

    /// What somebody may do at `address` of the region at `anchor`, and up to which address the same
    /// holds; `own` says which access of his is mapped through an entry.
    pub(crate) fn access_at(
        &self,
        anchor: u32,
        address: u64,
        own: &dyn Fn(u32) -> Option<Rights>,
    ) -> (Rights, u64) {
        let mut access = Rights::empty();
        let mut until = u64::MAX;
        let mut next = self.capabilities.first_mapped(anchor);
        while let Some(entry) = next {
            next = self.capabilities.after_mapped(entry);
            let mapping = self.capabilities.get(entry).mapping;
            let Some(mapped) = own(entry).filter(|mapped| !mapped.is_empty()) else { continue };
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
}
