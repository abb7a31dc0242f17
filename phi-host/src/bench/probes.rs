//! What a site costs: without a tracer, and with one that takes every event.

use crate::ebpf::{Off, TraceOptions, Tracer};
use crate::linux::attempt::pass_site;
use std::hint::black_box;
use std::time::Instant;

/// Turns of a loop.
const TURNS: u64 = 1_000_000;

/// Turns of a loop with a tracer: as many events as the ring has room for.
const TRACED_TURNS: u64 = 10_000;

/// Loops of each kind, by turns: the median counts.
const LOOPS: usize = 15;

/// Nanoseconds of one turn of a loop.
#[derive(Clone, PartialEq, Debug)]
pub struct Costs {
    /// With nothing in it but a word that changes.
    pub empty: f64,
    /// The same, and a site that no tracer looks at.
    pub detached: f64,
    /// The same, and a site whose program puts an event into the ring; or why there is none.
    pub attached: Result<f64, Off>,
}

/// Measures all three in turns, on this thread.
pub fn measure() -> Costs {
    let mut empty = Vec::new();
    let mut detached = Vec::new();
    for _ in 0..LOOPS {
        empty.push(turns(TURNS, |turn| {
            black_box(turn);
        }));
        detached.push(turns(TURNS, |turn| pass_site(black_box(turn))));
    }
    let options = TraceOptions {
        program: "/proc/self/exe".into(),
        threads: true,
        stream: true,
        supervisor: None,
    };
    let attached = Tracer::new(&options).and_then(|tracer| {
        let mut events = tracer.events()?;
        let loops = (0..LOOPS).map(|_| {
            let time = turns(TRACED_TURNS, |turn| pass_site(black_box(turn)));
            match events.by_ref().count() as u64 {
                TRACED_TURNS => Ok(time),
                count => Err(lost(count)),
            }
        });
        loops.collect::<Result<Vec<f64>, Off>>().map(median)
    });
    Costs { empty: median(empty), detached: median(detached), attached }
}

fn lost(count: u64) -> Off {
    Off {
        what: "the cost of an attached site".into(),
        why: format!("{count} events came of {TRACED_TURNS}"),
        how: "try again without another tracer".into(),
    }
}

/// Nanoseconds of one turn.
fn turns(count: u64, mut turn: impl FnMut(u64)) -> f64 {
    let start = Instant::now();
    for number in 0..count {
        turn(number);
    }
    start.elapsed().as_nanos() as f64 / count as f64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
