//! What the regions of a system hold, and who reaches it: memory for actors that use it.

use phi_abi::Rights;
use phi_abi::layout::PAGE;
use phi_core::{DomainIndex, RegionIndex, Span};
use std::collections::BTreeMap;

/// The memory of all regions.
#[derive(Default)]
pub(super) struct Memory {
    /// By address: regions lie apart from each other.
    regions: BTreeMap<u64, Vec<u8>>,
    addresses: BTreeMap<u32, u64>,
    /// What a domain may do with a page, by domain and address.
    access: BTreeMap<(u16, u64), Rights>,
}

impl Memory {
    pub(super) fn create(&mut self, region: RegionIndex, span: Span) {
        self.regions.insert(span.address, vec![0; span.length as usize]);
        self.addresses.insert(region.0, span.address);
    }

    pub(super) fn destroy(&mut self, region: RegionIndex) {
        if let Some(address) = self.addresses.remove(&region.0) {
            self.regions.remove(&address);
        }
    }

    pub(super) fn set_access(&mut self, domain: DomainIndex, span: Span, access: Rights) {
        for page in (span.address..span.address + span.length).step_by(PAGE as usize) {
            match access.is_empty() {
                true => self.access.remove(&(domain.0, page)),
                false => self.access.insert((domain.0, page), access),
            };
        }
    }

    pub(super) fn remove_domain(&mut self, domain: DomainIndex) {
        self.access.retain(|(other, _), _| *other != domain.0);
    }

    /// Whether `domain` may do this with all these bytes.
    fn reaches(&self, domain: DomainIndex, address: u64, length: u64, access: Rights) -> bool {
        let first = address & !(PAGE - 1);
        (first..address + length).step_by(PAGE as usize).all(|page| {
            self.access.get(&(domain.0, page)).is_some_and(|held| held.contains(access))
        })
    }

    fn find(&mut self, address: u64, length: u64) -> Option<&mut [u8]> {
        let (start, bytes) = self.regions.range_mut(..=address).next_back()?;
        let offset = (address - start) as usize;
        bytes.get_mut(offset..offset + length as usize)
    }

    /// What a domain reads there; `None` where it would fault.
    pub(super) fn read(
        &mut self,
        domain: DomainIndex,
        address: u64,
        length: u64,
    ) -> Option<Vec<u8>> {
        let reaches = self.reaches(domain, address, length, Rights::READ);
        self.find(address, length).filter(|_| reaches).map(|bytes| bytes.to_vec())
    }

    /// Lets a domain write there; `None` where it would fault.
    pub(super) fn write(&mut self, domain: DomainIndex, address: u64, bytes: &[u8]) -> Option<()> {
        let length = bytes.len() as u64;
        let reaches = self.reaches(domain, address, length, Rights::WRITE);
        let place = self.find(address, length).filter(|_| reaches)?;
        place.copy_from_slice(bytes);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_reached_by_who_maps_it() {
        let (one, other) = (DomainIndex(1), DomainIndex(2));
        let span = Span { address: 16 * PAGE, length: 2 * PAGE };
        let mut memory = Memory::default();
        memory.create(RegionIndex(3), span);
        assert_eq!(memory.write(one, span.address, &[1]), None);
        memory.set_access(one, span, Rights::READ | Rights::WRITE);
        assert_eq!(memory.write(one, span.address + PAGE - 1, &[1, 2]), Some(()));
        assert_eq!(memory.read(other, span.address, 1), None);
        let first = Span { length: PAGE, ..span };
        memory.set_access(other, first, Rights::READ);
        assert_eq!(memory.read(other, span.address + PAGE - 1, 1), Some(vec![1]));
        assert_eq!(memory.read(other, span.address + PAGE - 1, 2), None);
        assert_eq!(memory.write(other, span.address, &[1]), None);
        memory.remove_domain(one);
        assert_eq!(memory.read(one, span.address, 1), None);
        memory.destroy(RegionIndex(3));
        assert_eq!(memory.read(other, span.address, 1), None);
    }
}
