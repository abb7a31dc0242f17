//! Requests as the device reads them: a head, data, and a status that it writes (virtio 1.2, 5.2.6).
#![allow(unsafe_code, reason = "hands memory to a device")]

use core::ptr::NonNull;
use core::slice;
use phi_block::BlockError;
use phi_virtio::memory::{self, Memory};
use virtio_drivers::queue::VirtQueue;

/// Descriptors of the queue: three for each request, and room.
pub const QUEUE: usize = 128;

/// Requests at a time.
pub const DEPTH: u16 = 32;

/// Kinds of requests.
const READ: u32 = 0;
const WRITE: u32 = 1;
const FLUSH: u32 = 4;
const NAME: u32 = 8;
const DISCARD: u32 = 11;

/// Bytes of a device's name.
pub const NAME_BYTES: usize = 20;

/// Bytes of a sector.
pub const SECTOR: u64 = 512;

/// Bytes that one request's own take: its head, what it discards, its status, each on their own.
const OWN: usize = 128;

const _: () = assert!(OWN * (DEPTH as usize + 1) <= PAGES * 4096);

/// Pages of them.
const PAGES: usize = 2;

/// What the device is to do with data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Data {
    /// Nothing.
    None,
    /// Write it: so many bytes from an address on.
    Into(u64, u32),
    /// Read it.
    From(u64, u32),
    /// Read the request's own, which say what is discarded.
    Own(usize),
}

/// A request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request {
    kind: u32,
    sector: u64,
    data: Data,
}

impl Request {
    /// Reads `length` bytes from sector `sector` on to `address`.
    pub fn read(sector: u64, address: u64, length: u32) -> Request {
        Request { kind: READ, sector, data: Data::Into(address, length) }
    }

    /// Writes.
    pub fn write(sector: u64, address: u64, length: u32) -> Request {
        Request { kind: WRITE, sector, data: Data::From(address, length) }
    }

    /// Has what was written before survive a loss of power.
    pub fn flush() -> Request {
        Request { kind: FLUSH, sector: 0, data: Data::None }
    }
}

/// The memory of requests' own, by their numbers; the last one is the driver's.
pub struct Requests {
    base: NonNull<u8>,
    /// The numbers of requests under way, by the queue's tokens.
    tokens: [Option<(usize, Data)>; QUEUE],
}

impl Requests {
    /// With none under way; `None` when there is no memory.
    pub fn new() -> Option<Requests> {
        Some(Requests { base: memory::take(PAGES)?, tokens: [None; QUEUE] })
    }

    /// The own memory of request `number` from `offset` on, `length` bytes.
    fn own(&self, number: usize, offset: usize, length: usize) -> &'static mut [u8] {
        assert!(number <= usize::from(DEPTH) && offset + length <= OWN);
        // SAFETY: inside the pages that are this value's alone, and mapped for ever. While a request is under
        // way its bytes are the device's, and nobody makes this again before it has ended.
        unsafe { slice::from_raw_parts_mut(self.base.as_ptr().add(number * OWN + offset), length) }
    }

    fn head(&self, number: usize) -> &'static mut [u8] {
        self.own(number, 0, 16)
    }

    fn status(&self, number: usize) -> &'static mut [u8] {
        self.own(number, 64, 1)
    }

    /// Puts request `number` into the queue; whether there was room.
    pub fn submit(
        &mut self,
        queue: &mut VirtQueue<Memory, QUEUE>,
        number: usize,
        request: Request,
    ) -> bool {
        let Request { kind, sector, data } = request;
        let (head, status) = (self.head(number), self.status(number));
        head[..4].copy_from_slice(&kind.to_le_bytes());
        head[4..8].fill(0);
        head[8..].copy_from_slice(&sector.to_le_bytes());
        status[0] = u8::MAX;
        let buffers = self.buffers(number, data);
        // SAFETY: head and status are this request's until it ends; what is lent is mapped until its answer,
        // which comes afterwards. The slices of what is lent are only looked at for their addresses.
        let token = unsafe {
            match buffers {
                (None, None) => queue.add(&[head], &mut [status]),
                (Some(from), _) => queue.add(&[head, from], &mut [status]),
                (None, Some(into)) => queue.add(&[head], &mut [into, status]),
            }
        };
        let Ok(token) = token else { return false };
        self.tokens[usize::from(token) % QUEUE] = Some((number, data));
        true
    }

    /// What the device reads and what it writes of `data`.
    fn buffers(
        &self,
        number: usize,
        data: Data,
    ) -> (Option<&'static [u8]>, Option<&'static mut [u8]>) {
        match data {
            Data::None => (None, None),
            Data::Own(length) => (Some(self.own(number, 32, length)), None),
            // SAFETY: mapped until the answer; see `submit`.
            Data::From(address, length) => unsafe {
                (Some(slice::from_raw_parts(address as *const u8, length as usize)), None)
            },
            // SAFETY: as above.
            Data::Into(address, length) => unsafe {
                (None, Some(slice::from_raw_parts_mut(address as *mut u8, length as usize)))
            },
        }
    }

    /// A request that has ended, and how; `None` for none.
    pub fn ended(
        &mut self,
        queue: &mut VirtQueue<Memory, QUEUE>,
    ) -> Option<(usize, Result<(), BlockError>)> {
        let token = queue.peek_used()?;
        let (number, data) = self.tokens.get_mut(usize::from(token))?.take()?;
        let (head, status) = (self.head(number), self.status(number));
        // SAFETY: the same buffers as when it was put there.
        let popped = unsafe {
            match self.buffers(number, data) {
                (None, None) => queue.pop_used(token, &[head], &mut [status]),
                (Some(from), _) => queue.pop_used(token, &[head, from], &mut [status]),
                (None, Some(into)) => queue.pop_used(token, &[head], &mut [into, status]),
            }
        };
        // SAFETY: inside this value's memory; the device has written it and does so no more.
        let status = unsafe { self.status(number).as_ptr().read_volatile() };
        let result = match (popped, status) {
            (Ok(_), 0) => Ok(()),
            (Ok(_), 2) => Err(BlockError::Unsupported),
            _ => Err(BlockError::Failed),
        };
        Some((number, result))
    }

    /// A request for the device's name, into the driver's own memory.
    pub fn name(&self) -> Request {
        let place = self.own(usize::from(DEPTH), 32, NAME_BYTES).as_ptr() as u64;
        Request { kind: NAME, sector: 0, data: Data::Into(place, NAME_BYTES as u32) }
    }

    /// The name that came.
    pub fn named(&self) -> [u8; NAME_BYTES] {
        let mut name = [0; NAME_BYTES];
        name.copy_from_slice(self.own(usize::from(DEPTH), 32, NAME_BYTES));
        name
    }

    /// A request that discards `count` sectors from `sector` on.
    pub fn discard(&self, number: usize, sector: u64, count: u32) -> Request {
        let own = self.own(number, 32, 16);
        own[..8].copy_from_slice(&sector.to_le_bytes());
        own[8..12].copy_from_slice(&count.to_le_bytes());
        own[12..].fill(0);
        Request { kind: DISCARD, sector: 0, data: Data::Own(16) }
    }
}
