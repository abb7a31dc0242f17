//! Memory that the device reaches always: queues, the few bytes of each request's own, and, where no IOMMU
//! stands before it, what data is copied through.
#![allow(unsafe_code, reason = "hands memory to a device")]

use crate::ACCESS_PLATFORM;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};
use phi_rt::{DmaSpace, Mapping, Mutex, Region};
use virtio_drivers::{BufferDirection, Hal, PAGE_SIZE, PhysAddr};

/// What is left of it, and the region that it is: mapped for as long as the service lives.
struct Arena {
    mapping: Mapping,
    /// Bytes for queues and requests; behind them is what data is copied through.
    own: u64,
    used: usize,
}

static ARENA: Mutex<Option<Arena>> = Mutex::new(None);

/// What is added to an address of the memory to get the device's: 0 where an IOMMU stands before it.
static SHIFT: AtomicU64 = AtomicU64::new(0);

/// Makes the memory, and has the device reach it: `own` bytes to [`take`], and `bounce` bytes for [`bounce`], both
/// whole pages. Nothing is left of an earlier one: a service has one device, and always wants as much.
///
/// Gives whether the device, with which `features` were agreed on, has everybody's addresses; otherwise it reaches
/// nothing but this memory, and data is copied through it. `None` when the machine refuses, or the device would go
/// past its IOMMU.
pub fn set_up(space: &DmaSpace, features: u64, own: u64, bounce: u64) -> Option<bool> {
    let mut arena = ARENA.lock();
    if arena.is_none() {
        let mapping = Region::pinned(own + bounce).ok()?.map(true).ok()?;
        *arena = Some(Arena { mapping, own, used: 0 });
    }
    let arena = arena.as_mut()?;
    arena.used = 0;
    let address = space.map(arena.mapping.capability(), true).ok()?;
    let shift = address.wrapping_sub(arena.mapping.address());
    SHIFT.store(shift, Ordering::Relaxed);
    has_everybodys(shift, features)
}

/// Whether a device has everybody's addresses, which are `shift` less than its own. `None` for one that takes them
/// for physical ones, though an IOMMU gives it others.
fn has_everybodys(shift: u64, features: u64) -> Option<bool> {
    match shift {
        0 => (features & ACCESS_PLATFORM != 0).then_some(true),
        _ => Some(false),
    }
}

/// The address of the part of what data is copied through that is number `number` of `count`, and its bytes.
pub fn bounce(number: usize, count: usize) -> Option<(u64, u64)> {
    let arena = ARENA.lock();
    let Arena { mapping, own, .. } = arena.as_ref()?;
    let length = (mapping.length() - own) / count as u64;
    Some((mapping.address() + own + number as u64 * length, length))
}

/// Copies to or from that part, which begins at `address`.
pub fn with_bounce<T>(address: u64, act: impl FnOnce(&Mapping, usize) -> T) -> Option<T> {
    let arena = ARENA.lock();
    let mapping = &arena.as_ref()?.mapping;
    Some(act(mapping, address.checked_sub(mapping.address())? as usize))
}

/// `pages` pages of zeros; `None` when they are used up.
pub fn take(pages: usize) -> Option<NonNull<u8>> {
    let mut arena = ARENA.lock();
    let arena = arena.as_mut()?;
    let (start, length) = (arena.used, pages.checked_mul(PAGE_SIZE)?);
    arena.used = start.checked_add(length).filter(|end| *end as u64 <= arena.own)?;
    let place = NonNull::new((arena.mapping.address() as usize + start) as *mut u8)?;
    // SAFETY: mapped for writing as long as the service lives, and handed out to nobody else.
    unsafe { place.as_ptr().write_bytes(0, length) };
    Some(place)
}

/// The driver's memory, as virtio's queues want it.
pub struct Memory;

/// The device's address of memory that it reaches.
fn shifted(place: *const u8) -> PhysAddr {
    (place as PhysAddr).wrapping_add(SHIFT.load(Ordering::Relaxed))
}

// SAFETY: what `dma_alloc` gives is a page's own, of zeros, mapped for ever and given out once. Shared buffers
// are the arena's, which are mapped for the device; or, where the device has everybody's addresses, what is lent,
// which is mapped for it as long as its request lasts.
unsafe impl Hal for Memory {
    fn dma_alloc(pages: usize, _: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        match take(pages) {
            Some(place) => (shifted(place.as_ptr()), place),
            None => (0, NonNull::dangling()),
        }
    }

    unsafe fn dma_dealloc(_: PhysAddr, _: NonNull<u8>, _: usize) -> i32 {
        // A device that is given up takes the arena with it; see `set_up`.
        0
    }

    unsafe fn mmio_phys_to_virt(_: PhysAddr, _: usize) -> NonNull<u8> {
        NonNull::dangling()
    }

    unsafe fn share(buffer: NonNull<[u8]>, _: BufferDirection) -> PhysAddr {
        shifted(buffer.cast::<u8>().as_ptr())
    }

    unsafe fn unshare(_: PhysAddr, _: NonNull<[u8]>, _: BufferDirection) {}
}

#[cfg(test)]
mod tests {
    use super::{ACCESS_PLATFORM, has_everybodys};

    #[test]
    fn a_device_that_an_iommu_does_not_hold_back_is_refused_behind_one() {
        assert_eq!(has_everybodys(0, ACCESS_PLATFORM), Some(true));
        assert_eq!(has_everybodys(0, !ACCESS_PLATFORM), None);
        assert_eq!(has_everybodys(4096, 0), Some(false));
        assert_eq!(has_everybodys(4096, ACCESS_PLATFORM), Some(false));
    }
}
