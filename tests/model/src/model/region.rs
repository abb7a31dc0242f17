//! Regions, and what of them is mapped where.

use super::{Answer, Capability, Done, Life, Model, Place, Region, Stop, Value};
use phi_abi::layout::PAGE;
use phi_abi::{Error, FaultKind, Kind, REGION_PINNED, Rights};
use phi_manifest::plan::SegmentAccess;
use std::collections::BTreeMap;

impl Model {
    pub(super) fn image_memory(&self, domain: usize) -> u64 {
        let plan = &self.domains[domain].plan;
        let data = plan.image.segments.iter().filter(|part| part.access == SegmentAccess::Write);
        data.map(|part| part.memory_length).sum::<u64>() + plan.stack + plan.heap
    }

    pub(super) fn region_memory(&self, domain: usize) -> u64 {
        let own = self.regions.iter().filter(|held| held.alive && held.owner == Some(domain));
        own.map(|region| region.length).sum()
    }

    pub(super) fn region_create(&mut self, domain: usize, length: u64, flags: u64) -> Answer {
        let mut stops = Vec::new();
        let whole = length.checked_next_multiple_of(PAGE).filter(|whole| *whole > 0);
        if whole.is_none() {
            stops.push(Stop::Fault(FaultKind::BadArgument, length));
        }
        if flags & !REGION_PINNED != 0 {
            stops.push(Stop::Fault(FaultKind::BadArgument, flags));
        }
        let Some(length) = whole.filter(|_| stops.is_empty()) else { return Err(stops) };
        let own = |held: &&Region| held.alive && held.owner == Some(domain);
        let used = self.regions.iter().filter(own).count() as u32;
        let quota = self.domains[domain].quota;
        let left = quota.memory - self.image_memory(domain) - self.region_memory(domain);
        if used >= quota.regions || length > left || self.slots_left(domain) == 0 {
            return Err(vec![Stop::Error(Error::QuotaExceeded)]);
        }
        // Whoever compares says where ΦCore has put it.
        self.regions.push(Region { alive: true, owner: Some(domain), address: 0, length });
        let (object, place) = (self.regions.len() - 1, Place::Table(domain));
        let made = Capability::new(Kind::Region, Kind::Region.rights(), object, place);
        Ok(Done::Value(Value::Handle(self.add(made))))
    }

    pub(super) fn region_map(&mut self, domain: usize, handle: u64, rights: u64) -> Answer {
        let mut stops = Vec::new();
        let both = Rights::READ | Rights::WRITE;
        let given = u32::try_from(rights).ok().and_then(Rights::from_bits);
        let access = given.filter(|given| *given == Rights::READ || *given == both);
        if access.is_none() {
            stops.push(Stop::Fault(FaultKind::BadArgument, rights));
        }
        let access = access.unwrap_or_default();
        let found = self.check(domain, handle, &[Kind::Region], access, &mut stops);
        let Some(capability) = found else { return Err(stops) };
        let held = &mut self.capabilities[capability];
        if held.life == Life::Held && (held.loan.is_some() || !held.mapped.is_empty()) {
            stops.push(Stop::Error(Error::Busy));
        }
        if !stops.is_empty() {
            return Err(stops);
        }
        held.mapped = access;
        Ok(Done::Value(Value::Number(self.regions[held.object].address)))
    }

    pub(super) fn region_unmap(&mut self, domain: usize, handle: u64) -> Answer {
        let mut stops = Vec::new();
        let found = self.check(domain, handle, &[Kind::Region], Rights::empty(), &mut stops);
        let Some(capability) = found.filter(|_| stops.is_empty()) else { return Err(stops) };
        let held = &mut self.capabilities[capability];
        if held.loan.is_some() {
            return Err(vec![Stop::Error(Error::Busy)]);
        }
        held.mapped = Rights::empty();
        Ok(Done::Value(Value::Number(0)))
    }

    /// The owner of a region has ended. What is lent of it stays until the answer.
    pub(super) fn end_regions_of(&mut self, domain: usize) {
        for region in 0..self.regions.len() {
            if self.regions[region].alive && self.regions[region].owner == Some(domain) {
                self.bury_object(&[Kind::Region], region);
            }
        }
    }

    /// Address and bytes of the pages that a capability maps, or would map.
    pub(super) fn pages_of(&self, capability: &Capability) -> (u64, u64) {
        let region = &self.regions[capability.object];
        match capability.loan {
            Some(loan) => (loan.address, loan.length),
            None => (region.address, region.length.next_multiple_of(PAGE)),
        }
    }

    /// The access of each domain to each page.
    pub fn accessible(&self) -> BTreeMap<(usize, u64), Rights> {
        let mut pages = BTreeMap::new();
        for held in self.capabilities.iter().filter(|held| held.is_held()) {
            let Place::Table(domain) = held.place else { continue };
            if held.mapped.is_empty() {
                continue;
            }
            let (address, length) = self.pages_of(held);
            for page in (address..address + length).step_by(PAGE as usize) {
                *pages.entry((domain, page)).or_insert(Rights::empty()) |= held.mapped;
            }
        }
        pages
    }
}
