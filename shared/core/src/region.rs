//! Calls on regions, and what is mapped where.

use crate::call::{Answer, Done, bad_argument, rights_argument};
use crate::{Content, DomainIndex, Kernel, Machine, MachineError, RegionIndex, Span};
use phi_abi::{Error, Kind, Rights, layout};
use phi_cap::{Capability, Mapping};
use phi_mem::{Place, Region, RegionState};

impl<M: Machine> Kernel<M> {
    pub(crate) fn region_create(&mut self, thread: u32, length: u64) -> Answer {
        let Some(length) = layout::pages(length).filter(|length| *length > 0) else {
            return bad_argument(length);
        };
        let space = self.space_of(thread);
        let domain = self.domain(space);
        let used = domain.image_memory() + domain.region_memory;
        let free = |slot: &u32| self.regions[*slot as usize].state == RegionState::Free;
        let slot = domain.regions.clone().find(free).ok_or(Error::QuotaExceeded)?;
        let number = slot - domain.regions.start;
        let place = Place::of_service(domain.window, domain.quota.regions, number, length)
            .filter(|_| length <= domain.quota.memory.saturating_sub(used));
        let place = place.ok_or(Error::QuotaExceeded)?;
        if self.capabilities.free_slots(space) == 0 {
            return Err(Error::QuotaExceeded.into());
        }
        let span = Span { address: place.address, length };
        self.machine
            .region_create(RegionIndex(slot), span, Content::Zero)
            .map_err(|MachineError| Error::Machine)?;
        let (state, owner, planned) = (RegionState::Alive, space as u16, false);
        self.regions[slot as usize] = Region { state, place, owner, planned };
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
        if mapping != Mapping::NONE {
            return Err(Error::Busy.into());
        }
        let place = self.regions[object as usize].place;
        let (address, length) = (place.address, place.page_length());
        self.capabilities.set_mapping(entry, Mapping { address, length, ..Mapping::NONE });
        self.map_entry(entry, access)?;
        Ok(Done::Value(place.address))
    }

    pub(crate) fn region_unmap(&mut self, thread: u32, handle: u64) -> Answer {
        let entry = self.entry_for(thread, handle, Kind::Region, Rights::empty())?;
        if self.capabilities.get(entry).mapping.loan {
            return Err(Error::Busy.into());
        }
        self.unmap_entry(entry);
        Ok(Done::Value(0))
    }

    /// Maps the pages that the capability in `entry` notes, with `access`.
    pub(crate) fn map_entry(&mut self, entry: u32, access: Rights) -> Result<(), Error> {
        let Capability { object, mapping, .. } = *self.capabilities.get(entry);
        let mapping = Mapping { access, ..mapping };
        self.capabilities.set_mapping(entry, mapping);
        if self.apply_access(entry, object, mapping).is_err() {
            self.unmap_entry(entry);
            return Err(Error::Machine);
        }
        Ok(())
    }

    /// Unmaps what is mapped through the capability in `entry`.
    pub(crate) fn unmap_entry(&mut self, entry: u32) {
        let Capability { kind, object, mapping, .. } = *self.capabilities.get(entry);
        if kind == Kind::Region && !mapping.access.is_empty() {
            // A loan keeps its range: it still says what may be lent on.
            let kept = if mapping.loan { mapping } else { Mapping::NONE };
            self.capabilities.set_mapping(entry, Mapping { access: Rights::empty(), ..kept });
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
            let (access, until) = self.access_at(space, self.capabilities.anchor(entry), address);
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

    /// What a domain may do at `address` of the region at `anchor`, and up to which address the same
    /// holds.
    fn access_at(&self, space: u32, anchor: u32, address: u64) -> (Rights, u64) {
        let mut access = Rights::empty();
        let mut until = u64::MAX;
        let mut next = self.capabilities.first_mapped(anchor);
        while let Some(entry) = next {
            next = self.capabilities.after_mapped(entry);
            let mapping = self.capabilities.get(entry).mapping;
            if mapping.access.is_empty() || self.capabilities.space(entry) != Some(space) {
                continue;
            }
            let end = mapping.address + mapping.length;
            if (mapping.address..end).contains(&address) {
                access |= mapping.access;
                until = until.min(end);
            } else if mapping.address > address {
                until = until.min(mapping.address);
            }
        }
        (access, until)
    }
}
