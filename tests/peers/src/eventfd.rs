//! A slot in shared memory each way, and an eventfd that says that something is in it.

use crate::PeerError;
use crate::link::{BYTES, Bytes, FanIn, Link, Pair, Server};
use crate::memory::{Zeroed, shared};
use nix::sys::eventfd::EventFd;
use std::sync::atomic::{AtomicU64, Ordering};

/// One message.
#[repr(C, align(64))]
struct Slot([AtomicU64; 8]);

impl Slot {
    fn write(&self, message: &Bytes) {
        for (word, bytes) in self.0.iter().zip(message.chunks(8)) {
            word.store(u64::from_ne_bytes(bytes.try_into().unwrap_or_default()), Ordering::Release);
        }
    }

    fn read(&self) -> Bytes {
        let mut message = [0; BYTES];
        for (word, bytes) in self.0.iter().zip(message.chunks_mut(8)) {
            bytes.copy_from_slice(&word.load(Ordering::Acquire).to_ne_bytes());
        }
        message
    }
}

/// A client's slots.
#[repr(C, align(64))]
struct Place {
    there: Slot,
    back: Slot,
    /// Messages ever sent.
    sent: AtomicU64,
}

#[repr(C)]
struct Places([Place; crate::fan_in::CLIENTS]);

// SAFETY: atomics alone.
unsafe impl Zeroed for Places {}

/// Two slots and two eventfds.
pub struct Slots(Star);

/// The end of a client, or of who measures.
pub struct End {
    place: &'static Place,
    there: EventFd,
    back: EventFd,
}

impl Link for End {
    fn send(&mut self, message: &Bytes) -> Result<(), PeerError> {
        self.place.there.write(message);
        self.place.sent.fetch_add(1, Ordering::Release);
        self.there.write(1)?;
        Ok(())
    }

    fn receive(&mut self) -> Result<Bytes, PeerError> {
        self.back.read()?;
        Ok(self.place.back.read())
    }
}

/// The end of who answers one.
pub struct FarEnd(End);

impl Link for FarEnd {
    fn send(&mut self, message: &Bytes) -> Result<(), PeerError> {
        self.0.place.back.write(message);
        self.0.back.write(1)?;
        Ok(())
    }

    fn receive(&mut self) -> Result<Bytes, PeerError> {
        self.0.there.read()?;
        Ok(self.0.place.there.read())
    }
}

impl Pair for Slots {
    type Near = End;
    type Far = FarEnd;

    fn prepare() -> Result<Slots, PeerError> {
        Star::prepare(1).map(Slots)
    }

    fn near(self) -> Result<End, PeerError> {
        self.0.client(0)
    }

    fn far(self) -> Result<FarEnd, PeerError> {
        self.0.client(0).map(FarEnd)
    }
}

/// Slots for each client, one eventfd for the server, and one for each client.
pub struct Star {
    places: &'static Places,
    there: EventFd,
    back: Vec<EventFd>,
}

/// The server's end.
pub struct StarServer {
    star: Star,
    answered: Vec<u64>,
}

impl FanIn for Star {
    type Client = End;
    type Server = StarServer;

    fn prepare(clients: usize) -> Result<Star, PeerError> {
        let back = (0..clients).map(|_| EventFd::new()).collect::<Result<_, _>>()?;
        Ok(Star { places: shared()?, there: EventFd::new()?, back })
    }

    fn client(mut self, number: usize) -> Result<End, PeerError> {
        let place = &self.places.0[number];
        Ok(End { place, there: self.there, back: self.back.swap_remove(number) })
    }

    fn server(self) -> Result<StarServer, PeerError> {
        let answered = vec![0; self.back.len()];
        Ok(StarServer { star: self, answered })
    }
}

impl Server for StarServer {
    fn answer(&mut self) -> Result<usize, PeerError> {
        self.star.there.read()?;
        let mut count = 0;
        for ((place, back), answered) in
            self.star.places.0.iter().zip(&self.star.back).zip(&mut self.answered)
        {
            if place.sent.load(Ordering::Acquire) > *answered {
                *answered += 1;
                place.back.write(&place.there.read());
                back.write(1)?;
                count += 1;
            }
        }
        Ok(count)
    }
}
