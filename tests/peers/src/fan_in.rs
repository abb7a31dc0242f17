//! Many clients of one server, all at once.

use crate::PeerError;
use crate::clock::{Watch, counter, distribution};
use crate::link::{BYTES, FanIn, Link, Server};
use crate::memory::{Child, Zeroed, shared};
use std::sync::atomic::{AtomicU64, Ordering};

/// Clients.
pub const CLIENTS: usize = 16;

/// Round trips of each client, at most.
const ROUNDS: usize = 10_000;

/// What the processes tell each other besides the messages that are measured.
#[repr(C)]
struct Board {
    ready: AtomicU64,
    start: AtomicU64,
    end: AtomicU64,
    samples: [[AtomicU64; ROUNDS]; CLIENTS],
}

// SAFETY: atomics alone.
unsafe impl Zeroed for Board {}

/// Round trips of 16 clients with one server, `count` in all, after a tenth as many to warm up: their
/// times, and the time of all of them by their number.
pub fn measure<F: FanIn>(count: usize) -> Result<String, PeerError> {
    let rounds = (count / CLIENTS).clamp(1, ROUNDS);
    let warm_up = rounds / 10;
    let board: &Board = shared()?;
    let mut star = Some(F::prepare(CLIENTS)?);
    let watch = Watch::start();
    let mut children = Vec::new();
    children.push(Child::run(|| {
        let Some(star) = star.take() else { return Ok(()) };
        let mut server = star.server()?;
        board.ready.fetch_add(1, Ordering::SeqCst);
        let mut left = CLIENTS * (rounds + warm_up);
        while left > 0 {
            left = left.saturating_sub(server.answer()?);
        }
        Ok(())
    })?);
    for number in 0..CLIENTS {
        children.push(Child::run(|| {
            let Some(star) = star.take() else { return Ok(()) };
            client(&mut star.client(number)?, number, (warm_up, rounds), board)
        })?);
    }
    while board.ready.load(Ordering::SeqCst) <= CLIENTS as u64 {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    board.start.store(counter(), Ordering::SeqCst);
    for child in children {
        child.finish()?;
    }
    let elapsed =
        board.end.load(Ordering::SeqCst).saturating_sub(board.start.load(Ordering::SeqCst));
    let each = elapsed / (CLIENTS * (rounds + warm_up)) as u64;
    let samples = board.samples.iter().flat_map(|samples| &samples[..rounds]);
    let samples = samples.map(|sample| sample.load(Ordering::Relaxed)).collect();
    let (watch, samples) = (watch.json(), distribution(samples));
    Ok(format!("{{{watch},\"fan_in\":{samples},\"fan_in_each\":{each}}}"))
}

fn client(
    link: &mut impl Link,
    number: usize,
    (warm_up, rounds): (usize, usize),
    board: &Board,
) -> Result<(), PeerError> {
    board.ready.fetch_add(1, Ordering::SeqCst);
    while board.start.load(Ordering::SeqCst) == 0 {
        std::thread::sleep(std::time::Duration::from_micros(100));
    }
    let mut message = [7; BYTES];
    message[0] = number as u8;
    for round in 0..rounds + warm_up {
        let start = counter();
        link.send(&message)?;
        link.receive()?;
        if round >= warm_up {
            board.samples[number][round - warm_up].store(counter() - start, Ordering::Relaxed);
        }
    }
    board.end.fetch_max(counter(), Ordering::SeqCst);
    Ok(())
}
