//! The two ends of a ring as coroutines: each runs until it does something that others see, or would
//! block.

#![expect(unsafe_code, reason = "shares memory between the ends, and abandons one that crashes")]

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};
use phi_abi::{MESSAGE_BYTES, Message};
use phi_ipc::ring::{AtomicU32, Consumer, Futex, PopError, Producer, PushError, RingMemory};
use phi_random::Random;
use std::alloc::Layout;
use std::ptr::NonNull;
use std::sync::atomic::Ordering;

/// Rings of the consumer, each with a producer of its own.
pub(super) const RINGS: usize = 2;

/// Bytes of a side's stack.
const STACK: usize = 64 << 10;

/// Looks that a side takes before it sleeps.
const SPINS: u32 = 2;

/// The memory of one ring, and both ends on it.
pub(super) struct Shared {
    start: NonNull<u8>,
    layout: Layout,
    ring: RingMemory<'static>,
}

impl Shared {
    /// An empty ring; `None` where there is no memory, or none with so many slots.
    pub(super) fn new(capacity: usize) -> Option<Shared> {
        let size = RingMemory::size(capacity)?;
        let layout = Layout::from_size_align(size, phi_ipc::ring::RING_ALIGNMENT).ok()?;
        // SAFETY: the size is not zero: a ring has a header.
        let start = NonNull::new(unsafe { std::alloc::alloc_zeroed(layout) })?;
        // SAFETY: the memory is that large and aligned, and this program uses it through the ring alone.
        // It lives as long as `self`: who gets the ring, in `Side`, borrows from it for that long.
        let ring = unsafe { RingMemory::new(start, capacity) }.ok()?;
        Some(Shared { start, layout, ring })
    }

    /// Closes the producer's end on its behalf.
    pub(super) fn close_producer(&self, futex: &impl Futex) {
        Producer::new(&self.ring).close(futex);
    }

    /// Closes the consumer's end on its behalf.
    pub(super) fn close_consumer(&self, futex: &impl Futex) {
        Consumer::new(&self.ring).close(futex);
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: it was allocated so, and every side that has the ring is gone: see `Side`.
        unsafe { std::alloc::dealloc(self.start.as_ptr(), self.layout) };
    }
}

/// What a side is told as it goes on.
#[derive(Clone, Copy)]
pub(super) struct Turn {
    /// What is random in what it does next.
    pub(super) word: u64,
    /// Whether it is to come to its end.
    pub(super) ends: bool,
}

/// The doorbells that a side sleeps on, by address; zeros where there are fewer.
pub(super) type Bells = [usize; RINGS];

/// What a side did, or wants.
#[derive(Clone, Copy)]
pub(super) enum Did {
    /// Nothing that others see.
    Nothing,
    /// It has put a message into its ring.
    Pushed(Message),
    /// It has taken a message from a ring.
    Popped(u16, Message),
    /// A ring has ended, and it has everything of it.
    Finished(u16),
    /// It sleeps.
    Sleeps(Bells),
    /// It wakes who sleeps on a doorbell.
    Wakes(usize),
    /// It has ended.
    Ended(End),
}

/// How a side ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    /// It was told to, or everything has come to its end.
    Done,
    /// The other side has closed.
    Closed,
    /// The ring says what cannot be.
    Corrupt,
}

type Scheduler = Yielder<Turn, Did>;

/// An address as a number, which names a doorbell.
fn address(word: &AtomicU32) -> usize {
    std::ptr::from_ref(word).addr()
}

/// The futex of a side: it lets the others go on before a sleep, and with each wake.
struct SideFutex<'s>(&'s Scheduler);

impl Futex for SideFutex<'_> {
    fn wait<'w>(&self, words: impl Iterator<Item = &'w AtomicU32>, expected: u32) {
        let mut list: [Option<&AtomicU32>; RINGS] = [None; RINGS];
        list.iter_mut().zip(words).for_each(|(place, word)| *place = Some(word));
        // Others may ring between the announcement and the sleep.
        self.0.suspend(Did::Nothing);
        // From here to the sleep nobody else runs: comparing and blocking are one step.
        if list.iter().flatten().all(|word| word.load(Ordering::SeqCst) == expected) {
            self.0.suspend(Did::Sleeps(list.map(|word| word.map_or(0, address))));
        }
    }

    fn wake(&self, word: &AtomicU32) {
        self.0.suspend(Did::Wakes(address(word)));
    }
}

/// A side that runs, sleeps, or has ended.
pub(super) struct Side(Coroutine<Turn, Did, End, DefaultStack>);

impl Side {
    /// The producer of a ring. Drop it before the ring.
    ///
    /// # Errors
    /// Linux's, where there is no memory for its stack.
    pub(super) fn producer(number: u64, shared: &Shared) -> std::io::Result<Side> {
        let ring = shared.ring;
        let body = move |scheduler: &Scheduler, turn| produce(scheduler, turn, number, &ring);
        Ok(Side(Coroutine::with_stack(DefaultStack::new(STACK)?, body)))
    }

    /// The consumer of all rings. Drop it before the rings.
    ///
    /// # Errors
    /// As of [`Side::producer`].
    pub(super) fn consumer(shared: &[Shared; RINGS]) -> std::io::Result<Side> {
        let rings = [shared[0].ring, shared[1].ring];
        let body = move |scheduler: &Scheduler, _| consume(scheduler, &rings);
        Ok(Side(Coroutine::with_stack(DefaultStack::new(STACK)?, body)))
    }

    /// Lets it go on until it does something.
    pub(super) fn go_on(&mut self, turn: Turn) -> Did {
        match self.0.resume(turn) {
            CoroutineResult::Yield(did) => did,
            CoroutineResult::Return(end) => Did::Ended(end),
        }
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        // SAFETY: what lies on the coroutine's stack owns nothing: ends of rings, messages, numbers and
        // references. So a side that crashes leaves its ring as it is, as a process would.
        unsafe { self.0.force_reset() };
    }
}

/// The message with this number in a ring: another one each time.
fn message(producer: u64, number: u64, random: &mut Random) -> Message {
    let mut data = [0; MESSAGE_BYTES];
    for word in data.chunks_exact_mut(8) {
        word.copy_from_slice(&random.word().to_le_bytes());
    }
    let length = random.below(MESSAGE_BYTES as u64 + 1) as usize;
    let mut message = Message { label: producer << 32 | number, ..Message::EMPTY };
    message.data[..length].copy_from_slice(&data[..length]);
    message.length = length as u16;
    message
}

fn produce(scheduler: &Scheduler, mut turn: Turn, number: u64, ring: &RingMemory<'static>) -> End {
    let futex = SideFutex(scheduler);
    let mut producer = Producer::new(ring);
    let mut count = 0;
    while !turn.ends {
        let mut random = Random::new(turn.word);
        for _ in 0..1 + random.below(4) {
            let message = message(number, count, &mut random);
            loop {
                match producer.push(&message) {
                    Ok(()) => break,
                    // What is in the ring already must be known before anybody waits for room.
                    Err(PushError::Full) => {
                        producer.ring(&futex);
                        producer.wait(&futex, SPINS);
                    }
                    Err(PushError::Closed) => return End::Closed,
                    Err(_) => return End::Corrupt,
                }
            }
            count += 1;
            scheduler.suspend(Did::Pushed(message));
        }
        producer.ring(&futex);
        turn = scheduler.suspend(Did::Nothing);
    }
    producer.close(&futex);
    End::Done
}

fn consume(scheduler: &Scheduler, rings: &[RingMemory<'static>; RINGS]) -> End {
    let futex = SideFutex(scheduler);
    let mut consumers = [Some(Consumer::new(&rings[0])), Some(Consumer::new(&rings[1]))];
    while consumers.iter().any(Option::is_some) {
        let mut idle = true;
        for (number, place) in (0..).zip(&mut consumers) {
            let Some(consumer) = place else { continue };
            let mut message = Message::EMPTY;
            match consumer.pop(&mut message) {
                Ok(()) => {
                    scheduler.suspend(Did::Popped(number, message));
                    consumer.ring(&futex);
                    idle = false;
                }
                Err(PopError::Empty) => {}
                Err(PopError::Closed) => {
                    scheduler.suspend(Did::Finished(number));
                    *place = None;
                    idle = false;
                }
                Err(PopError::Corrupt) => return End::Corrupt,
            }
        }
        if idle {
            Consumer::wait_any(consumers.iter().flatten(), &futex, SPINS);
        }
    }
    End::Done
}
