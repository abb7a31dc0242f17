//! The memory of one channel: a ring for messages, and after it the slot for answers.

use super::super::memory;
use super::notices::CHANNELS;
use memmap2::{MmapOptions, MmapRaw};
use phi_abi::layout::{MACHINE_OFFSET, PAGE, STACK_OFFSET, STACK_SIZE};
use phi_ipc::ring::{AnswerMemory, RING_ALIGNMENT, RingMemory};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr::NonNull;

/// Slots of a ring, at least and at most.
const SLOTS: (usize, usize) = (4, 1024);

/// Bytes from one channel's place in a window to the next.
const STRIDE: u64 = 256 << 10;

const _: () = assert!(MACHINE_OFFSET + CHANNELS as u64 * STRIDE <= STACK_OFFSET - STACK_SIZE);

/// A channel's memory, as the supervisor has it mapped.
pub struct ChannelMemory {
    mapping: MmapRaw,
    slots: usize,
}

impl ChannelMemory {
    /// Makes memory for a channel that stores `capacity` sent messages if that is not too many; the
    /// descriptor is for both sides.
    ///
    /// # Errors
    /// What Linux says.
    pub fn create(capacity: u32) -> io::Result<(ChannelMemory, OwnedFd)> {
        // Besides what was sent, a call, and one that was given up.
        let slots = (capacity as usize).saturating_add(2).min(SLOTS.1).next_power_of_two();
        let slots = slots.max(SLOTS.0);
        let memory = memory::create("phi-channel", length(slots))?;
        let mapping = MmapOptions::new().len(length(slots) as usize).map_raw(memory.as_raw_fd())?;
        Ok((ChannelMemory { mapping, slots }, memory))
    }

    /// Slots of its ring.
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// Its ring and its answer.
    pub fn parts(&self) -> (RingMemory<'_>, AnswerMemory<'_>) {
        // SAFETY: the mapping has this length, lives as long as `self`, which the parts borrow, and cannot
        // shrink since the memory is sealed.
        unsafe { parts(self.mapping.as_mut_ptr() as u64, self.slots) }
            .unwrap_or_else(|| unreachable!("a mapping is aligned, and its slots were chosen here"))
    }
}

/// Bytes of the memory of a channel with so many slots.
pub fn length(slots: usize) -> u64 {
    let ring = RingMemory::size(slots).unwrap_or_default().next_multiple_of(RING_ALIGNMENT);
    ((ring + AnswerMemory::SIZE) as u64).next_multiple_of(PAGE)
}

/// Where a channel lies in the window that begins at `window`.
pub fn address(window: u64, index: usize) -> u64 {
    window + MACHINE_OFFSET + index as u64 * STRIDE
}

/// Ring and answer of the channel of `slots` slots at `address`; `None` for slots or an address that no
/// channel has.
///
/// # Safety
/// [`length`] bytes of shared memory from there on stay mapped for `'a`, readable and writable, or are
/// replaced by others at once; this program uses them through rings and answers only.
pub unsafe fn parts<'a>(address: u64, slots: usize) -> Option<(RingMemory<'a>, AnswerMemory<'a>)> {
    if !(SLOTS.0..=SLOTS.1).contains(&slots) {
        return None;
    }
    let start = NonNull::new(address as *mut u8)?;
    // SAFETY: as this function; the answer lies within the length, behind the ring.
    unsafe {
        let ring = RingMemory::new(start, slots).ok()?;
        let answer = RingMemory::size(slots)?.next_multiple_of(RING_ALIGNMENT);
        Some((ring, AnswerMemory::new(start.add(answer))?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_has_room_for_what_its_mailbox_stores() {
        for (capacity, slots) in [(1, 4), (3, 8), (64, 128), (1 << 20, 1024)] {
            let (memory, _) = ChannelMemory::create(capacity).unwrap();
            assert_eq!((memory.slots(), memory.parts().0.capacity()), (slots, slots));
            assert!(length(slots) <= STRIDE);
        }
        for slots in [0, 2, 3, 2048, usize::MAX] {
            // SAFETY: no memory is touched for slots that no channel has.
            assert!(unsafe { parts(address(0, 1), slots) }.is_none());
        }
    }
}
