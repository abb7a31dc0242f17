//! A run: the scheduler, which draws each step from the schedule, and the verdict.

use crate::actors::Actors;
use crate::checkers::{Checkers, Property, Violation};
use crate::event::Event;
use crate::images::Images;
use crate::machine::{Services, SimMachine};
use crate::random::Random;
use crate::schedule::{Schedule, Swarm};
use crate::simulation::Simulation;
use crate::world::World;
use phi_core::Kernel;
use phi_manifest::bundle::Bundle;
use phi_manifest::plan::Plan;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// How a run ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// As it should.
    Ok,
    /// ΦCore panicked, or did not boot.
    Crash(String),
    /// Something happened that must not.
    Safety(Violation),
    /// Something did not happen that must: a call never ended.
    Liveness(String),
}

impl Outcome {
    /// Its name.
    pub const fn name(&self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::Crash(_) => "crash",
            Outcome::Safety(_) => "safety",
            Outcome::Liveness(_) => "liveness",
        }
    }
}

/// A run in short.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// Steps of the schedule that were made.
    pub steps: u64,
    /// BLAKE3 of everything that happened.
    pub hash: [u8; 32],
    /// How it ended.
    pub outcome: Outcome,
}

/// Steps in which everything must have come to rest once the faults have stopped.
pub const REST: u64 = 100_000;

/// Runs `world` with the schedule of `seed`, `steps` long, and lets it come to rest. Where the run
/// takes ΦCore's short way of calls, it is made a second time without, and both must be the same.
pub fn explore(world: World, seed: u64, steps: u64) -> Verdict {
    let schedule = Schedule::of(seed, steps);
    let verdict = replay(world, &schedule);
    let mut random = Random::new(schedule.swarm);
    let swarm = Swarm::draw(&mut random);
    if swarm.short && !swarm.concurrent && verdict.outcome == Outcome::Ok {
        let (plan, actors) = world.build(&mut random);
        let long = Swarm { short: false, ..swarm };
        let (other, _) = drive(&plan, actors, long, &schedule, Rest::Required, |_| {});
        if other != verdict {
            let what = "the short way of a call does something else than the long one".into();
            let violation = Violation { property: Property::Equivalence, what };
            return Verdict { outcome: Outcome::Safety(violation), ..verdict };
        }
    }
    verdict
}

/// Runs `world` with a schedule, and lets it come to rest.
pub fn replay(world: World, schedule: &Schedule) -> Verdict {
    watch(world, schedule, |_| {})
}

/// As [`replay`]; `watcher` is shown every event.
pub fn watch(world: World, schedule: &Schedule, watcher: impl FnMut(&Event)) -> Verdict {
    let mut random = Random::new(schedule.swarm);
    let swarm = Swarm::draw(&mut random);
    let (plan, actors) = world.build(&mut random);
    drive(&plan, actors, swarm, schedule, Rest::Required, watcher).0
}

/// Whether a run ends with a phase of rest, in which every call must end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Rest {
    /// It does.
    Required,
    /// Its services know nothing of such a phase.
    None,
}

/// Runs a plan and its services with a schedule; also returns what became of the machine, if ΦCore
/// booted.
pub(crate) fn drive<S: Services>(
    plan: &Plan,
    services: S,
    swarm: Swarm,
    schedule: &Schedule,
    rest: Rest,
    mut watcher: impl FnMut(&Event),
) -> (Verdict, Option<Kernel<SimMachine<S>>>) {
    let mut made = 0;
    let run = catch_unwind(AssertUnwindSafe(|| {
        let kernel = match Kernel::boot(SimMachine::new(services), plan) {
            Ok(kernel) => kernel,
            Err(error) => return (Outcome::Crash(error.to_string()), [0; 32], None),
        };
        let checkers = Checkers::new(plan);
        let mut simulation = Simulation::new(kernel, checkers, swarm, &mut watcher);
        for word in &schedule.steps {
            if simulation.is_over() {
                break;
            }
            made += 1;
            simulation.step(&mut Random::new(*word));
        }
        let resting = Random::new(schedule.swarm.rotate_left(32));
        let outcome = match rest {
            Rest::Required => simulation.rest(resting),
            Rest::None => simulation.stop(),
        };
        let (hash, kernel) = simulation.finish();
        (outcome, hash, Some(kernel))
    }));
    let (outcome, hash, kernel) = run.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or(panic.downcast_ref::<&str>().copied());
        (Outcome::Crash(text.unwrap_or("a panic without a text").into()), [0; 32], None)
    });
    (Verdict { steps: made, hash, outcome }, kernel)
}

/// How fast a world runs.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Speed {
    /// Steps that were made.
    pub steps: u64,
    /// Seconds that they took.
    pub seconds: f64,
}

/// Measures `steps` steps of a world without faults, checkers and hash included.
///
/// # Errors
/// How the run ended, if not well.
pub fn measure(world: World, seed: u64, steps: u64) -> Result<Speed, Outcome> {
    let schedule = Schedule::of(seed, steps);
    let mut random = Random::new(schedule.swarm);
    let swarm = Swarm::draw(&mut random).without_faults();
    let (plan, actors): (Plan, Actors) = world.build(&mut random);
    let start = std::time::Instant::now();
    let (verdict, _) = drive(&plan, actors, swarm, &schedule, Rest::Required, |_| {});
    let seconds = start.elapsed().as_secs_f64();
    match verdict.outcome {
        Outcome::Ok => Ok(Speed { steps: verdict.steps, seconds }),
        outcome => Err(outcome),
    }
}

/// What a run of images has left.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ImageRun {
    /// How it went.
    pub verdict: Verdict,
    /// The system's own status, if it ended.
    pub status: Option<u8>,
    /// What it wrote to its transcript.
    pub transcript: Vec<u8>,
    /// What it wrote to its log, the first MiB.
    pub log: Vec<u8>,
}

/// Runs the images of `bundle` with a schedule, with faults or without, until the system ends or the
/// schedule does; `watcher` is shown every event. Its services need not come to rest: only safety is
/// checked.
///
/// # Errors
/// Linux's, where this process cannot run images.
pub fn run_images(
    bundle: &Bundle<'_>,
    schedule: &Schedule,
    faults: bool,
    watcher: impl FnMut(&Event),
) -> std::io::Result<ImageRun> {
    let drawn = Swarm::draw(&mut Random::new(schedule.swarm));
    let swarm = if faults { drawn } else { drawn.without_faults() };
    let images = Images::new(bundle)?;
    let (verdict, kernel) = drive(bundle.plan(), images, swarm, schedule, Rest::None, watcher);
    let machine = kernel.as_ref().map(Kernel::machine);
    Ok(ImageRun {
        verdict,
        status: kernel.as_ref().and_then(Kernel::halted),
        transcript: machine.map_or(Vec::new(), |machine| machine.transcript().to_vec()),
        log: machine.map_or(Vec::new(), |machine| machine.log().to_vec()),
    })
}
