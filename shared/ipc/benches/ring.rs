//! What a message costs between two spinning threads: `cargo bench --package phi-ipc --bench ring`.
//! The ring, a pair of rings, and std's bounded channel for comparison, in one run.
#![allow(unsafe_code)]

use phi_abi::Message;
use phi_ipc::ring::{AtomicU32, Consumer, Futex, Producer, RING_ALIGNMENT, RingMemory};
use std::alloc::{Layout, alloc_zeroed};
use std::ptr::NonNull;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// Messages or round trips in one measurement.
const COUNT: u64 = 4_000;

/// Measurements of each kind: many short ones, so that some run without another program's turn.
const ROUNDS: usize = 501;

/// When a kind gets no further measurement, on a machine that is busy otherwise.
const PATIENCE: Duration = Duration::from_secs(4);

/// Looks before a waiting thread lets others run, should there be no processor for both.
const LOOKS: u32 = 1_000;

/// Slots of a ring, and messages of a channel.
const CAPACITY: usize = 64;

/// Both threads spin here: nobody sleeps, so nobody is woken.
struct Spinning;

impl Futex for Spinning {
    fn wait<'w>(&self, _words: impl Iterator<Item = &'w AtomicU32>, _expected: u32) {}
    fn wake(&self, _word: &AtomicU32) {}
}

/// A ring that lives as long as the program.
fn ring() -> RingMemory<'static> {
    let size = RingMemory::size(CAPACITY).expect("the capacity is a power of two");
    let layout = Layout::from_size_align(size, RING_ALIGNMENT).expect("the size is small");
    // SAFETY: the size is not zero.
    let start = NonNull::new(unsafe { alloc_zeroed(layout) }).expect("there is memory");
    // SAFETY: the memory is of the ring's size, never freed, and used by this ring only.
    unsafe { RingMemory::new(start, CAPACITY) }.expect("size and alignment are the ring's own")
}

/// Tries until `attempt` gives something.
fn spin<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
    loop {
        for _ in 0..LOOKS {
            if let Some(value) = attempt() {
                return value;
            }
            std::hint::spin_loop();
        }
        thread::yield_now();
    }
}

fn send(producer: &mut Producer<'_>, message: &Message) {
    spin(|| producer.send(message, &Spinning).ok());
}

fn receive(consumer: &mut Consumer<'_>, message: &mut Message) {
    spin(|| consumer.receive(message, &Spinning).ok());
}

fn message(bytes: usize) -> Message {
    Message::new(1, &[7; 64][..bytes]).expect("at most 64 bytes")
}

/// The time of `COUNT` rounds of `run`, after one that waits for the other thread's start.
fn timed(mut run: impl FnMut()) -> Duration {
    run();
    let start = Instant::now();
    (0..COUNT).for_each(|_| run());
    start.elapsed()
}

/// Messages one way through a ring, each with its own look at the doorbell.
fn ring_stream(bytes: usize) -> Duration {
    let memory = ring();
    thread::scope(|scope| {
        scope.spawn(|| {
            let (mut producer, message) = (Producer::new(&memory), message(bytes));
            (0..=COUNT).for_each(|_| send(&mut producer, &message));
        });
        let (mut consumer, mut received) = (Consumer::new(&memory), Message::EMPTY);
        timed(|| receive(&mut consumer, &mut received))
    })
}

/// Messages one way through a ring, without any look at a doorbell: what batches approach.
fn ring_batch(bytes: usize) -> Duration {
    let memory = ring();
    thread::scope(|scope| {
        scope.spawn(|| {
            let (mut producer, message) = (Producer::new(&memory), message(bytes));
            (0..=COUNT).for_each(|_| spin(|| producer.push(&message).ok()));
        });
        let (mut consumer, mut received) = (Consumer::new(&memory), Message::EMPTY);
        timed(|| spin(|| consumer.pop(&mut received).ok()))
    })
}

/// A question and its answer at a time through a pair of rings.
fn ring_round_trips(bytes: usize) -> Duration {
    let (questions, answers) = (ring(), ring());
    thread::scope(|scope| {
        scope.spawn(|| {
            let (mut consumer, mut producer) = (Consumer::new(&questions), Producer::new(&answers));
            let mut received = Message::EMPTY;
            for _ in 0..=COUNT {
                receive(&mut consumer, &mut received);
                send(&mut producer, &received);
            }
        });
        let (mut producer, mut consumer) = (Producer::new(&questions), Consumer::new(&answers));
        let (sent, mut received) = (message(bytes), Message::EMPTY);
        timed(|| {
            send(&mut producer, &sent);
            receive(&mut consumer, &mut received);
        })
    })
}

/// What the channel carries: as much as a message in a ring.
type Item = (u64, u64, [u8; 64]);

fn channel_send(sender: &mpsc::SyncSender<Item>, item: Item) {
    spin(|| sender.try_send(item).ok());
}

fn channel_receive(receiver: &mpsc::Receiver<Item>) -> Item {
    spin(|| receiver.try_recv().ok())
}

fn channel_stream(_bytes: usize) -> Duration {
    let (sender, receiver) = mpsc::sync_channel(CAPACITY);
    thread::scope(|scope| {
        scope.spawn(|| (0..=COUNT).for_each(|_| channel_send(&sender, (1, 64, [7; 64]))));
        timed(|| {
            std::hint::black_box(channel_receive(&receiver));
        })
    })
}

fn channel_round_trips(_bytes: usize) -> Duration {
    let (question_sender, questions) = mpsc::sync_channel(CAPACITY);
    let (answer_sender, answers) = mpsc::sync_channel(CAPACITY);
    thread::scope(|scope| {
        scope.spawn(move || {
            for _ in 0..=COUNT {
                let question = channel_receive(&questions);
                channel_send(&answer_sender, question);
            }
        });
        timed(|| {
            channel_send(&question_sender, (1, 64, [7; 64]));
            std::hint::black_box(channel_receive(&answers));
        })
    })
}

/// Prints the median and the shortest time of `run`, in nanoseconds for each message or round trip.
fn measure(name: &str, bytes: usize, run: fn(usize) -> Duration) {
    let start = Instant::now();
    let mut times = Vec::new();
    while times.len() < ROUNDS && (times.is_empty() || start.elapsed() < PATIENCE) {
        times.push(run(bytes).as_nanos() as f64 / COUNT as f64);
    }
    times.sort_by(f64::total_cmp);
    println!("{name:<38} {bytes:>5} {:>9.1} {:>9.1}", times[times.len() / 2], times[0]);
}

fn main() {
    // Also run as a test, by `cargo test --benches`: then there is nothing to measure.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    println!("{:<38} {:>5} {:>9} {:>9}", "what", "bytes", "median ns", "least ns");
    for bytes in [8, 64] {
        measure("ring, one way", bytes, ring_stream);
        measure("ring, one way, without doorbells", bytes, ring_batch);
        measure("pair of rings, round trip", bytes, ring_round_trips);
    }
    measure("std sync_channel, one way", 64, channel_stream);
    measure("pair of std sync_channels, round trip", 64, channel_round_trips);
}
