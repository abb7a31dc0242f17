//! What every driver of a block device does: it checks what is asked, and keeps who waits for what.

use crate::{BlockError, BlockRequest, Device, Durability};
use alloc::boxed::Box;
use alloc::vec::Vec;
use phi_idl::{Caller, answer, not_understood};
use phi_rt::{Incoming, Outgoing};

/// What the device is to do. Everything is checked: bytes lie within the device and within what is
/// lent, which stays lent until the answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Work {
    /// Read `length` bytes at `offset` of the device to `address`.
    Read {
        /// First byte of the device.
        offset: u64,
        /// Where they go.
        address: u64,
        /// Bytes.
        length: u32,
    },
    /// Write `length` bytes at `offset` of the device from `address`.
    Write {
        /// First byte of the device.
        offset: u64,
        /// Where they are.
        address: u64,
        /// Bytes.
        length: u32,
        /// Whether it must survive a loss of power before it is answered.
        durability: Durability,
    },
    /// Have everything survive a loss of power.
    Flush,
    /// Forget `length` bytes at `offset` of the device.
    Discard {
        /// First byte of the device.
        offset: u64,
        /// Bytes.
        length: u64,
    },
}

/// A call and its answer.
#[derive(Debug)]
pub struct Finished {
    /// The call.
    pub call: Incoming,
    /// The answer to it.
    pub answer: Outgoing<'static>,
}

impl Finished {
    /// Answers. A caller that is gone misses it.
    pub fn answer(self) {
        let _ = self.call.reply(self.answer);
    }
}

/// What came of a message.
// Most become work, which is small; the others are answered at once.
#[allow(clippy::large_enum_variant)]
#[derive(Debug)]
pub enum Accepted {
    /// The device is to do this; [`Desk::finish`] wants the number back.
    Work(usize, Work),
    /// It can be answered now.
    Answer(Finished),
    /// Nothing is to be done: it waits, or it was no call.
    Nothing,
}

/// A call that waits.
struct Waiting {
    call: Incoming,
    /// Which client's it is.
    client: u64,
    /// Whether it waits for the end of the client's others, and not for the device.
    opens: bool,
}

/// A driver's calls.
pub struct Desk {
    device: Device,
    places: Box<[Option<Waiting>]>,
}

impl Desk {
    /// Of `device`, with nothing under way.
    pub fn new(device: Device) -> Desk {
        let places = (0..device.depth.max(1)).map(|_| None).collect();
        Desk { device, places }
    }

    /// Begins the session with this number, before anything is accepted.
    pub fn begin(&mut self, session: u64) {
        self.device.session = session;
    }

    /// The device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Whether another message can be taken.
    pub fn has_room(&self) -> bool {
        self.places.iter().any(Option::is_none)
    }

    /// The call that waits for the device to do what has this number.
    pub fn call(&self, number: usize) -> Option<&Incoming> {
        let waiting = self.places.get(number)?.as_ref();
        waiting.filter(|waiting| !waiting.opens).map(|waiting| &waiting.call)
    }

    /// Whether no call waits.
    pub fn is_idle(&self) -> bool {
        self.places.iter().all(Option::is_none)
    }

    /// Takes a message, for which there is room. What cannot be kept for lack of it is dropped, and its
    /// caller gets `Dead`.
    pub fn accept(&mut self, call: Incoming) -> Accepted {
        if !call.is_call() {
            return Accepted::Nothing;
        }
        let Some(request) = BlockRequest::of(&call) else {
            return Accepted::Answer(Finished { call, answer: not_understood() });
        };
        let client = Caller::of(&call).badge;
        let Some(place) = self.places.iter().position(Option::is_none) else {
            return Accepted::Nothing;
        };
        if request == (BlockRequest::Open {}) {
            if self.is_busy(client) {
                self.places[place] = Some(Waiting { call, client, opens: true });
                return Accepted::Nothing;
            }
            return Accepted::Answer(self.opened(call));
        }
        match self.work(request, &call) {
            Ok(work) => {
                self.places[place] = Some(Waiting { call, client, opens: false });
                Accepted::Work(place, work)
            }
            Err(error) => {
                Accepted::Answer(Finished { call, answer: answer::<(), BlockError>(Err(error)) })
            }
        }
    }

    /// The device has done what has this number, or has not. Puts what can be answered now into
    /// `finished`: that call, and whoever waited for its end.
    pub fn finish(
        &mut self,
        number: usize,
        result: Result<(), BlockError>,
        finished: &mut Vec<Finished>,
    ) {
        let Some(place) = self.places.get_mut(number) else { return };
        let Some(Waiting { call, client, .. }) = place.take_if(|waiting| !waiting.opens) else {
            return;
        };
        finished.push(Finished { call, answer: answer(result) });
        if self.is_busy(client) {
            return;
        }
        for place in 0..self.places.len() {
            let waits = |waiting: &mut Waiting| waiting.opens && waiting.client == client;
            if let Some(waiting) = self.places[place].take_if(waits) {
                finished.push(self.opened(waiting.call));
            }
        }
    }

    /// Whether the device does something for this client.
    fn is_busy(&self, client: u64) -> bool {
        self.places.iter().flatten().any(|waiting| !waiting.opens && waiting.client == client)
    }

    fn opened(&self, call: Incoming) -> Finished {
        Finished { call, answer: answer::<Device, BlockError>(Ok(self.device)) }
    }

    fn work(&self, request: BlockRequest, call: &Incoming) -> Result<Work, BlockError> {
        match request {
            BlockRequest::Open {} => Err(BlockError::Unsupported),
            BlockRequest::Read { session, first, count } => {
                self.current(session)?;
                let (offset, length) = self.span(first, count)?;
                let lent = call.lent_mut(0).ok_or(BlockError::TooShort)?;
                let address = self.memory(lent.address(), lent.length(), length)?;
                Ok(Work::Read { offset, address, length })
            }
            BlockRequest::Write { session, first, count, durability } => {
                self.current(session)?;
                self.writable()?;
                let (offset, length) = self.span(first, count)?;
                let lent = call.lent(0).ok_or(BlockError::TooShort)?;
                let address = self.memory(lent.address(), lent.length(), length)?;
                Ok(Work::Write { offset, address, length, durability })
            }
            BlockRequest::Flush { session } => {
                self.current(session)?;
                Ok(Work::Flush)
            }
            BlockRequest::Discard { session, first, count } => {
                self.current(session)?;
                self.writable()?;
                if !self.device.discards {
                    return Err(BlockError::Unsupported);
                }
                self.within(first, count)?;
                let size = u64::from(self.device.block_size);
                Ok(Work::Discard { offset: first * size, length: count * size })
            }
        }
    }

    fn current(&self, session: u64) -> Result<(), BlockError> {
        if session == self.device.session { Ok(()) } else { Err(BlockError::Stale) }
    }

    fn writable(&self) -> Result<(), BlockError> {
        if self.device.read_only { Err(BlockError::ReadOnly) } else { Ok(()) }
    }

    fn within(&self, first: u64, count: u64) -> Result<(), BlockError> {
        match first.checked_add(count) {
            Some(end) if count > 0 && end <= self.device.blocks => Ok(()),
            _ => Err(BlockError::Range),
        }
    }

    /// The first byte and the bytes of `count` blocks from `first` on.
    fn span(&self, first: u64, count: u32) -> Result<(u64, u32), BlockError> {
        self.within(first, u64::from(count))?;
        let size = self.device.block_size;
        let length = count.checked_mul(size).filter(|length| *length <= self.device.max_bytes);
        Ok((first * u64::from(size), length.ok_or(BlockError::Range)?))
    }

    /// The address of `length` bytes of the `lent` bytes at `address`.
    fn memory(&self, address: u64, lent: usize, length: u32) -> Result<u64, BlockError> {
        if lent < length as usize {
            return Err(BlockError::TooShort);
        }
        match address.is_multiple_of(u64::from(self.device.alignment)) {
            true => Ok(address),
            false => Err(BlockError::Unaligned),
        }
    }
}
