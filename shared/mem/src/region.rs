//! Regions: memory with one place in the address space that all domains share.

use phi_abi::layout;

/// What a region's slot holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RegionState {
    /// Nothing.
    Free,
    /// A region.
    Alive,
    /// A region whose owner has ended, kept while pages of it are still lent.
    Orphan,
}

/// Where a region lies: the same address in every domain that maps it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Address of the first byte, a multiple of the page size.
    pub address: u64,
    /// Bytes in use; the memory reaches to the end of the last page.
    pub length: u64,
}

impl Place {
    /// The place of region `slot` of `length` bytes of a service whose window is `window` and which
    /// may create `regions` regions. `None` when the length is 0, or too long for the place.
    pub fn of_service(window: u64, regions: u32, slot: u32, length: u64) -> Option<Place> {
        let stride = layout::region_stride(regions);
        let length = layout::pages(length)?;
        if length == 0 || length > stride.checked_sub(layout::PAGE)? {
            return None;
        }
        let address = window + layout::REGIONS_OFFSET + u64::from(slot) * stride;
        Some(Place { address, length })
    }

    /// Bytes of whole pages.
    pub fn page_length(&self) -> u64 {
        layout::pages(self.length).unwrap_or(self.length)
    }

    /// The whole pages under `length` bytes from `address`, as address and length; `None` when the
    /// range is empty or not within the bytes in use.
    pub fn pages_under(&self, address: u64, length: u64) -> Option<(u64, u64)> {
        let offset = address.checked_sub(self.address)?;
        let end = offset.checked_add(length)?;
        if length == 0 || end > self.length {
            return None;
        }
        let start = offset & !(layout::PAGE - 1);
        Some((self.address + start, layout::pages(end)? - start))
    }
}

/// One region. Who holds it is counted by its capabilities.
#[derive(Clone, Copy, Debug)]
pub struct Region {
    /// What the slot holds.
    pub state: RegionState,
    /// Where it lies.
    pub place: Place,
    /// The domain that pays for it; of no meaning for the plan's.
    pub owner: u16,
    /// Whether it belongs to the plan and stays for ever.
    pub planned: bool,
    /// Whether it is a device's memory: nobody pays for it, and it cannot be lent.
    pub device: bool,
}

impl Region {
    /// A slot without a region.
    pub const FREE: Region = Region {
        state: RegionState::Free,
        place: Place { address: 0, length: 0 },
        owner: 0,
        planned: false,
        device: false,
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use phi_abi::layout::{PAGE, REGIONS_OFFSET, WINDOW_SIZE, region_stride, window};

    #[test]
    fn places_never_touch_and_stay_in_the_window() {
        let longest = region_stride(3) - PAGE;
        for slot in 0..3 {
            let place = Place::of_service(window(4), 3, slot, longest).unwrap();
            assert!(place.address >= window(4) + REGIONS_OFFSET);
            assert!(place.address + place.length < window(4) + WINDOW_SIZE);
            let next = Place::of_service(window(4), 3, slot + 1, 1).unwrap();
            assert_eq!(next.address - (place.address + place.length), PAGE);
        }
        assert_eq!(Place::of_service(window(4), 3, 0, longest + 1), None);
        assert_eq!(Place::of_service(window(4), 3, 0, 0), None);
        assert_eq!(Place::of_service(window(4), 3, 0, u64::MAX), None);
    }

    #[test]
    fn lent_ranges_round_to_pages_within_the_region() {
        let place = Place { address: 0x10_0000, length: 2 * PAGE + 5 };
        assert_eq!(place.pages_under(0x10_0000 + PAGE - 1, 2), Some((0x10_0000, 2 * PAGE)));
        assert_eq!(place.pages_under(0x10_0000 + 2 * PAGE, 5), Some((0x10_0000 + 2 * PAGE, PAGE)));
        assert_eq!(place.pages_under(0x10_0000 + 2 * PAGE, 6), None);
        assert_eq!(place.pages_under(0x10_0000 - 1, 2), None);
        assert_eq!(place.pages_under(0x10_0000, 0), None);
        assert_eq!(place.pages_under(0x10_0001, u64::MAX), None);
    }
}
