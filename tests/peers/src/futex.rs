//! Rings in shared memory with a futex: the least that two processes can do. Spinning it makes no system
//! call at all; blocking it makes one to sleep and one to wake, and only when somebody sleeps.

use crate::PeerError;
use crate::hand_over::{Give, HandOver, SIZES};
use crate::link::{Bytes, CAPACITY, FanIn, Link, Pair, Server};
use crate::memory::{Zeroed, shared};
use std::hint::spin_loop;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// What a side does while it waits.
pub trait Waiting {
    /// Waits until `done`, which `bell` announces.
    fn wait<T>(bell: &Bell, done: impl FnMut() -> Option<T>) -> T;

    /// Wakes who waits.
    fn wake(bell: &Bell);
}

/// It looks again.
pub struct Spinning;

impl Waiting for Spinning {
    fn wait<T>(_: &Bell, mut done: impl FnMut() -> Option<T>) -> T {
        loop {
            if let Some(value) = done() {
                return value;
            }
            spin_loop();
        }
    }

    fn wake(_: &Bell) {}
}

/// It sleeps.
pub struct Blocking;

impl Waiting for Blocking {
    fn wait<T>(bell: &Bell, mut done: impl FnMut() -> Option<T>) -> T {
        loop {
            if let Some(value) = done() {
                return value;
            }
            let word = bell.word.load(Ordering::Acquire);
            bell.sleeps.store(1, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            if let Some(value) = done() {
                bell.sleeps.store(0, Ordering::Relaxed);
                return value;
            }
            futex(&bell.word, libc::FUTEX_WAIT, word);
        }
    }

    fn wake(bell: &Bell) {
        fence(Ordering::SeqCst);
        if bell.sleeps.load(Ordering::Relaxed) != 0 && bell.sleeps.swap(0, Ordering::Relaxed) != 0 {
            bell.word.fetch_add(1, Ordering::Release);
            futex(&bell.word, libc::FUTEX_WAKE, 1);
        }
    }
}

/// A futex call. What it returns says nothing that the caller does not look at again.
fn futex(word: &AtomicU32, operation: libc::c_int, value: u32) {
    let no_timeout = std::ptr::null::<libc::timespec>();
    // SAFETY: the word lives in memory that is never unmapped; the rest are numbers and no pointer.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), operation, value, no_timeout) };
}

/// What one side sleeps on.
#[repr(C, align(64))]
pub struct Bell {
    word: AtomicU32,
    sleeps: AtomicU32,
}

#[repr(C, align(64))]
struct Index(AtomicU32);

/// One way, from one process to another.
#[repr(C, align(64))]
struct Ring {
    /// Messages ever written.
    tail: Index,
    /// Messages ever read.
    head: Index,
    /// The writer sleeps on it, for room.
    room: Bell,
    slots: [[AtomicU64; 8]; CAPACITY],
}

impl Ring {
    fn push<W: Waiting>(&self, message: &Bytes, reader: &Bell) {
        let tail = self.tail.0.load(Ordering::Relaxed);
        if tail.wrapping_sub(self.head.0.load(Ordering::Acquire)) as usize == CAPACITY {
            W::wait(&self.room, || {
                let used = tail.wrapping_sub(self.head.0.load(Ordering::Acquire));
                ((used as usize) < CAPACITY).then_some(())
            });
        }
        for (word, bytes) in self.slots[tail as usize % CAPACITY].iter().zip(message.chunks(8)) {
            let bytes = bytes.try_into().unwrap_or_default();
            word.store(u64::from_ne_bytes(bytes), Ordering::Relaxed);
        }
        self.tail.0.store(tail.wrapping_add(1), Ordering::Release);
        W::wake(reader);
    }

    fn pop<W: Waiting>(&self) -> Option<Bytes> {
        let head = self.head.0.load(Ordering::Relaxed);
        if head == self.tail.0.load(Ordering::Acquire) {
            return None;
        }
        let mut message = Bytes::from([0; 64]);
        for (word, bytes) in self.slots[head as usize % CAPACITY].iter().zip(message.chunks_mut(8))
        {
            bytes.copy_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes());
        }
        self.head.0.store(head.wrapping_add(1), Ordering::Release);
        W::wake(&self.room);
        Some(message)
    }
}

#[repr(C)]
struct Both {
    there: Ring,
    there_bell: Bell,
    back: Ring,
    back_bell: Bell,
}

// SAFETY: atomics alone.
unsafe impl Zeroed for Both {}

/// A ring each way.
pub struct Rings<W>(&'static Both, PhantomData<W>);

/// One process's side.
pub struct Side<W> {
    to: (&'static Ring, &'static Bell),
    from: (&'static Ring, &'static Bell),
    waiting: PhantomData<W>,
}

impl<W: Waiting> Link for Side<W> {
    fn send(&mut self, message: &Bytes) -> Result<(), PeerError> {
        self.to.0.push::<W>(message, self.to.1);
        Ok(())
    }

    fn receive(&mut self) -> Result<Bytes, PeerError> {
        Ok(W::wait(self.from.1, || self.from.0.pop::<W>()))
    }
}

impl<W: Waiting> Pair for Rings<W> {
    type Near = Side<W>;
    type Far = Side<W>;

    fn prepare() -> Result<Rings<W>, PeerError> {
        Ok(Rings(shared()?, PhantomData))
    }

    fn near(self) -> Result<Side<W>, PeerError> {
        let Both { there, there_bell, back, back_bell } = self.0;
        Ok(Side { to: (there, there_bell), from: (back, back_bell), waiting: PhantomData })
    }

    fn far(self) -> Result<Side<W>, PeerError> {
        let Side { to, from, waiting } = self.near()?;
        Ok(Side { to: from, from: to, waiting })
    }
}

#[repr(C)]
struct Rays {
    /// The server's, for all rings that lead to it.
    bell: Bell,
    clients: [(Ring, Ring, Bell); crate::fan_in::CLIENTS],
}

// SAFETY: atomics alone.
unsafe impl Zeroed for Rays {}

/// A ring each way for each client, and one futex for the server.
pub struct Star(&'static Rays);

/// The server's end.
pub struct StarServer(&'static Rays);

impl FanIn for Star {
    type Client = Side<Blocking>;
    type Server = StarServer;

    fn prepare(_: usize) -> Result<Star, PeerError> {
        shared().map(Star)
    }

    fn client(self, number: usize) -> Result<Side<Blocking>, PeerError> {
        let (there, back, bell) = &self.0.clients[number];
        Ok(Side { to: (there, &self.0.bell), from: (back, bell), waiting: PhantomData })
    }

    fn server(self) -> Result<StarServer, PeerError> {
        Ok(StarServer(self.0))
    }
}

impl Server for StarServer {
    fn answer(&mut self) -> Result<usize, PeerError> {
        let answered = Blocking::wait(&self.0.bell, || {
            let mut answered = 0;
            for (there, back, bell) in &self.0.clients {
                if let Some(message) = there.pop::<Blocking>() {
                    back.push::<Blocking>(&message, bell);
                    answered += 1;
                }
            }
            (answered > 0).then_some(answered)
        });
        Ok(answered)
    }
}

/// Pages that both processes keep mapped.
#[repr(C)]
struct Pages([AtomicU64; SIZES[2] / 8]);

// SAFETY: atomics alone.
unsafe impl Zeroed for Pages {}

/// Memory that both keep mapped; a message says which part of it is the other's now.
pub struct Kept<W> {
    rings: Rings<W>,
    pages: &'static Pages,
}

/// Who has it first.
pub struct KeptGiver<W> {
    side: Side<W>,
    pages: &'static Pages,
}

fn token(start: usize, length: usize) -> Bytes {
    let mut token = [0; 64];
    token[..8].copy_from_slice(&start.to_ne_bytes());
    token[8..16].copy_from_slice(&length.to_ne_bytes());
    token
}

impl<W: Waiting> HandOver for Kept<W> {
    type Giver = KeptGiver<W>;

    fn times(_: usize, count: usize) -> usize {
        count
    }

    fn prepare() -> Result<Kept<W>, PeerError> {
        Ok(Kept { rings: Rings::prepare()?, pages: shared()? })
    }

    fn giver(self) -> Result<KeptGiver<W>, PeerError> {
        Ok(KeptGiver { side: self.rings.near()?, pages: self.pages })
    }

    fn take_all(self) -> Result<(), PeerError> {
        let mut side = self.rings.far()?;
        loop {
            let token = side.receive()?;
            let word = |at: usize| token[at..at + 8].try_into().map(usize::from_ne_bytes);
            let (Ok(start), Ok(length)) = (word(0), word(8)) else {
                return Err(PeerError("no token".into()));
            };
            if length == 0 {
                return Ok(());
            }
            // What is taken is checked, as one would, and not read.
            if start + length > size_of_val(self.pages) {
                return Err(PeerError("a token for other memory".into()));
            }
            side.send(&token)?;
        }
    }
}

impl<W: Waiting> Give for KeptGiver<W> {
    fn give(&mut self, size: usize) -> Result<(), PeerError> {
        self.pages.0[0].store(7, Ordering::Relaxed);
        self.side.send(&token(0, size))?;
        self.side.receive().map(drop)
    }

    fn end(mut self) -> Result<(), PeerError> {
        self.side.send(&token(0, 0))
    }
}
