//! One of a card's two queues, and the memory of its frames: each has a place, with the head that virtio puts
//! before a frame (virtio 1.2, 5.1.6).
#![allow(unsafe_code, reason = "hands memory to a device")]

use core::ptr::NonNull;
use core::slice;
use phi_nic::FRAME;
use phi_virtio::PciDevice;
use phi_virtio::memory::{self, Memory};
use virtio_drivers::queue::VirtQueue;
use virtio_drivers::transport::Transport;

/// Places of a queue, and its descriptors: one for each.
pub const PLACES: usize = 64;

/// Bytes before a frame. All zeros: nothing was left to the device.
const HEAD: usize = 12;

/// Bytes of a place.
const PLACE: usize = 2048;

/// Pages of a queue's places.
pub const PAGES: usize = PLACES * PLACE / 4096;

const _: () = assert!(HEAD + FRAME <= PLACE);

/// A queue and its places.
pub struct Buffers {
    index: u16,
    queue: VirtQueue<Memory, PLACES>,
    base: NonNull<u8>,
    /// The places of what the device has, by the queue's tokens.
    tokens: [Option<u8>; PLACES],
    /// The places that it does not have.
    free: [u8; PLACES],
    free_count: usize,
}

impl Buffers {
    /// Queue number `index`, with nothing in it; `None` when there is no memory, or no such queue.
    pub fn new(transport: &mut PciDevice, index: u16) -> Option<Buffers> {
        let queue = VirtQueue::new(transport, index, false, false).ok()?;
        let base = memory::take(PAGES)?;
        let free = core::array::from_fn(|place| place as u8);
        Some(Buffers { index, queue, base, tokens: [None; PLACES], free, free_count: PLACES })
    }

    /// The bytes of a place.
    fn bytes(&self, place: u8, length: usize) -> &'static mut [u8] {
        assert!(usize::from(place) < PLACES && length <= PLACE);
        // SAFETY: inside the pages that are this value's alone, and mapped for ever. While the device has the
        // place nobody looks at them, and there is one such slice at a time.
        unsafe {
            slice::from_raw_parts_mut(self.base.as_ptr().add(usize::from(place) * PLACE), length)
        }
    }

    /// Gives the device all free places to write to.
    pub fn give_all(&mut self) {
        while let Some(last) = self.free_count.checked_sub(1) {
            let place = self.free[last];
            let bytes = self.bytes(place, HEAD + FRAME);
            // SAFETY: the bytes are the device's until the queue gives them back.
            let Ok(token) = (unsafe { self.queue.add(&[], &mut [bytes]) }) else { return };
            self.hand_out(token, place);
        }
    }

    /// Gives the device a frame to read; whether there was a place.
    pub fn give(&mut self, frame: &[u8]) -> bool {
        let Some(last) = self.free_count.checked_sub(1) else { return false };
        let place = self.free[last];
        let bytes = self.bytes(place, HEAD + frame.len());
        bytes[..HEAD].fill(0);
        bytes[HEAD..].copy_from_slice(frame);
        // SAFETY: as above.
        let Ok(token) = (unsafe { self.queue.add(&[bytes], &mut []) }) else { return false };
        self.hand_out(token, place);
        true
    }

    fn hand_out(&mut self, token: u16, place: u8) {
        self.free_count -= 1;
        if let Some(held) = self.tokens.get_mut(usize::from(token)) {
            *held = Some(place);
        }
    }

    /// Takes back what the device has read.
    pub fn take_read(&mut self) {
        while let Some((token, place)) = self.used() {
            // What the device has written says nothing of a frame that it has read.
            if self.pop(token, place, false).is_none() {
                return;
            }
            self.put_back(place);
        }
    }

    /// Takes the next frame that the device has written, and copies it: how many bytes it has. What cannot be one
    /// is left out.
    pub fn take_written(&mut self, frame: &mut [u8; FRAME]) -> Option<usize> {
        while let Some((token, place)) = self.used() {
            let written = self.pop(token, place, true)?;
            let length = written.checked_sub(HEAD).filter(|length| *length <= FRAME);
            let length = length.filter(|length| *length >= phi_nic::HEAD);
            if let Some(length) = length {
                frame[..length].copy_from_slice(&self.bytes(place, HEAD + length)[HEAD..]);
            }
            self.put_back(place);
            self.give_all();
            if length.is_some() {
                return length;
            }
        }
        None
    }

    /// What the device has given back, and its place; `None` for nothing, and for what it does not have.
    fn used(&self) -> Option<(u16, u8)> {
        let token = self.queue.peek_used()?;
        let place = *self.tokens.get(usize::from(token))?;
        place.map(|place| (token, place))
    }

    /// Takes a place from the queue: how many bytes the device says it has written. `None` if it has changed its
    /// mind meanwhile; then the place stays its own.
    fn pop(&mut self, token: u16, place: u8, written: bool) -> Option<usize> {
        let bytes = self.bytes(place, HEAD + FRAME);
        // SAFETY: the place that was put there with this token; its length is no matter to this memory.
        let popped = unsafe {
            match written {
                true => self.queue.pop_used(token, &[], &mut [bytes]),
                false => self.queue.pop_used(token, &[bytes], &mut []),
            }
        };
        let count = popped.ok()?;
        if let Some(held) = self.tokens.get_mut(usize::from(token)) {
            *held = None;
        }
        Some(count as usize)
    }

    fn put_back(&mut self, place: u8) {
        if let Some(free) = self.free.get_mut(self.free_count) {
            *free = place;
            self.free_count += 1;
        }
    }

    /// Whether the device has given something back.
    pub fn has_used(&self) -> bool {
        self.queue.can_pop()
    }

    /// Tells the device that there is something for it, if it wants to know.
    pub fn notify(&self, transport: &mut PciDevice) {
        if self.queue.should_notify() {
            transport.notify(self.index);
        }
    }
}
