//! Memory that the device reaches always: queues, and the few bytes of each request's own.
#![allow(unsafe_code, reason = "hands memory to a device")]

use core::ptr::NonNull;
use phi_rt::{DmaSpace, Mapping, Mutex, Region};
use virtio_drivers::{BufferDirection, Hal, PAGE_SIZE, PhysAddr};

/// Bytes of it.
pub const LENGTH: u64 = 64 << 10;

/// What is left of it, and the region that it is: mapped for as long as the service lives.
struct Arena {
    mapping: Mapping,
    used: usize,
}

static ARENA: Mutex<Option<Arena>> = Mutex::new(None);

/// Makes the memory, and has the device reach it. Nothing is left of an earlier one: a service has one device.
/// `None` when the machine refuses, or the device would have another address for it than this service.
pub fn set_up(space: &DmaSpace) -> Option<()> {
    let mut arena = ARENA.lock();
    if arena.is_none() {
        let mapping = Region::pinned(LENGTH).ok()?.map(true).ok()?;
        *arena = Some(Arena { mapping, used: 0 });
    }
    let arena = arena.as_mut()?;
    arena.used = 0;
    let address = space.map(arena.mapping.capability(), true).ok()?;
    (address == arena.mapping.address()).then_some(())
}

/// `pages` pages of zeros; `None` when they are used up.
pub fn take(pages: usize) -> Option<NonNull<u8>> {
    let mut arena = ARENA.lock();
    let arena = arena.as_mut()?;
    let (start, length) = (arena.used, pages.checked_mul(PAGE_SIZE)?);
    arena.used = start.checked_add(length).filter(|end| *end as u64 <= LENGTH)?;
    let place = NonNull::new((arena.mapping.address() as usize + start) as *mut u8)?;
    // SAFETY: mapped for writing as long as the service lives, and handed out to nobody else.
    unsafe { place.as_ptr().write_bytes(0, length) };
    Some(place)
}

/// The driver's memory, as virtio's queues want it. A device has the addresses that everybody has.
pub struct Memory;

// SAFETY: what `dma_alloc` gives is a page's own, of zeros, mapped for ever and given out once. Shared buffers
// are reached at their own address: the arena's are mapped for the device, and so is what is lent as long as its
// request lasts.
unsafe impl Hal for Memory {
    fn dma_alloc(pages: usize, _: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        match take(pages) {
            Some(place) => (place.as_ptr() as PhysAddr, place),
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
        buffer.cast::<u8>().as_ptr() as PhysAddr
    }

    unsafe fn unshare(_: PhysAddr, _: NonNull<[u8]>, _: BufferDirection) {}
}
