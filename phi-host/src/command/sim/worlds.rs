//! Runs of the simulator's worlds.

use super::{ATTEMPTS, Sim, digits, quietly, status, what, write};
use crate::command::{print, print_json};
use crate::failure::Failure;
use crate::progress::Progress;
use phi_random::Random;
use phi_sim::chart::Chart;
use phi_sim::run::{Outcome, Verdict, check, watch};
use phi_sim::schedule::{Schedule, Subject, Swarm};
use phi_sim::shrink::shrink;
use phi_sim::world::World;
use serde_json::json;
use std::time::{Duration, Instant};

/// Steps of a run with faults, unless others are asked for.
const STEPS: u64 = 10_000;

/// What the runs were.
struct Explored {
    runs: u64,
    steps: u64,
    seconds: f64,
    /// The seed, the choices and the verdict of the last run.
    last: Option<(u64, Schedule, Verdict)>,
}

/// Makes runs of `world` until one fails, or all are made, or the time is over; returns the exit
/// status.
pub(super) fn explore(arguments: &Sim, world: World) -> Result<u8, Failure> {
    let start = Instant::now();
    let limit = arguments.minutes.map(|minutes| Duration::from_secs(60 * minutes));
    let count = arguments.seeds.unwrap_or(if limit.is_some() { u64::MAX } else { 1 });
    let steps = arguments.steps.unwrap_or(STEPS);
    let progress = Progress::of(format!("{}: starting", world.name()));
    let mut explored = Explored { runs: 0, steps: 0, seconds: 0.0, last: None };
    for seed in arguments.seed..arguments.seed.saturating_add(count) {
        let schedule = Schedule::of(seed, steps);
        let verdict = check(world, &schedule);
        explored.runs += 1;
        explored.steps += verdict.steps + verdict.rest;
        explored.seconds = start.elapsed().as_secs_f64();
        let failed = verdict.outcome != Outcome::Ok;
        explored.last = Some((seed, schedule, verdict));
        let share = limit.map_or(explored.runs as f64 / count as f64, |limit| {
            explored.seconds / limit.as_secs_f64()
        });
        progress.advance(share, || format!("{}: {}", world.name(), explored.figures()));
        if failed || limit.is_some_and(|limit| start.elapsed() >= limit) {
            break;
        }
    }
    drop(progress);
    report(arguments, world, &explored)
}

/// Makes one run with these choices; returns the exit status.
pub(super) fn replay(arguments: &Sim, world: World, schedule: &Schedule) -> Result<u8, Failure> {
    let start = Instant::now();
    let verdict = check(world, schedule);
    let steps = verdict.steps + verdict.rest;
    let last = Some((0, schedule.clone(), verdict));
    let seconds = start.elapsed().as_secs_f64();
    report(arguments, world, &Explored { runs: 1, steps, seconds, last })
}

impl Explored {
    fn rate(&self) -> f64 {
        self.steps as f64 / self.seconds.max(f64::MIN_POSITIVE)
    }

    /// The runs in short.
    fn figures(&self) -> String {
        let Explored { runs, steps, seconds, .. } = self;
        let rate = self.rate();
        format!("{runs} seeds, {steps} steps in {seconds:.1} s, {rate:.0} steps/s")
    }
}

/// Prints what came of the runs, and writes the files that are asked for.
fn report(arguments: &Sim, world: World, explored: &Explored) -> Result<u8, Failure> {
    let Some((seed, schedule, verdict)) = &explored.last else { return Ok(0) };
    let failed = verdict.outcome != Outcome::Ok;
    if let Some(file) = &arguments.chart {
        let mut chart = Chart::new(world.members(schedule));
        quietly(|| watch(world, schedule, |event| chart.add(event)));
        write(file, chart.svg().as_bytes())?;
    }
    if let Some(file) = arguments.record.as_ref().filter(|_| failed) {
        let _progress = Progress::new("making the run shorter …");
        let shortest = quietly(|| shrink(schedule, ATTEMPTS, |shorter| check(world, shorter)));
        write(file, shortest.encode(Subject::World(world)).as_bytes())?;
    }
    let name = verdict.outcome.name();
    // A replayed run has no seed.
    let seed = arguments.replay.is_none().then_some(seed);
    let swarm = failed.then(|| Swarm::draw(&mut Random::new(schedule.swarm)).to_string());
    if arguments.json {
        print_json(&json!({
            "world": world.name(), "seeds": explored.runs, "steps": explored.steps,
            "seconds": explored.seconds, "outcome": name, "what": what(&verdict.outcome),
            "seed": seed, "hash": digits(&verdict.hash), "swarm": swarm,
        }))?;
    } else {
        print(&format!("{}: {name}, {}\n", world.name(), explored.figures()))?;
    }
    if let (Some(what), Some(swarm)) = (what(&verdict.outcome), swarm) {
        let run = seed.map_or("the run".into(), |seed| format!("seed {seed}"));
        eprintln!("{run}: {what}\n{run}: {swarm}");
    }
    Ok(status(&verdict.outcome))
}
