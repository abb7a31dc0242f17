//! A run: the scheduler, which draws each step from the schedule, and the verdict.

use crate::actors::Actors;
use crate::checkers::{Checkers, Property, Violation};
use crate::devices::Board;
use crate::disk::DiskFaults;
use crate::event::Event;
use crate::images::Images;
use crate::machine::{Services, SimMachine};
use crate::rings;
use crate::schedule::{Schedule, Swarm};
use crate::simulation::Simulation;
use crate::storage::Storage;
use crate::world::World;
use phi_core::Kernel;
use phi_manifest::bundle::Bundle;
use phi_manifest::plan::Plan;
use phi_random::Random;
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
    /// Something did not happen that must: a call, or a system, did not end.
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
    /// Steps after them, without faults.
    pub rest: u64,
    /// BLAKE3 of everything that happened.
    pub hash: [u8; 32],
    /// How it ended.
    pub outcome: Outcome,
}

impl Verdict {
    /// A run that was not made.
    pub fn none() -> Verdict {
        Verdict { steps: 0, rest: 0, hash: [0; 32], outcome: Outcome::Ok }
    }
}

/// Runs `world` with the schedule of `seed`, `steps` long: see [`check`].
pub fn explore(world: World, seed: u64, steps: u64) -> Verdict {
    check(world, &Schedule::of(seed, steps))
}

/// Runs `world` with a schedule, and lets it come to rest. Where the run takes ΦCore's short way of
/// calls, it is made a second time without, and both must be the same.
pub fn check(world: World, schedule: &Schedule) -> Verdict {
    let verdict = watch(world, schedule, |_| {});
    let swarm = Swarm::draw(&mut Random::new(schedule.swarm));
    if swarm.short && !swarm.concurrent && verdict.outcome == Outcome::Ok {
        let long = |swarm| Swarm { short: false, ..swarm };
        if perform(world, schedule, long, &mut |_| {}) != verdict {
            let what = "the short way of a call does something else than the long one".into();
            let violation = Violation { property: Property::Equivalence, what };
            return Verdict { outcome: Outcome::Safety(violation), ..verdict };
        }
    }
    verdict
}

/// One run of `world` with a schedule; `watcher` is shown every event.
pub fn watch(world: World, schedule: &Schedule, mut watcher: impl FnMut(&Event)) -> Verdict {
    perform(world, schedule, |swarm| swarm, &mut watcher)
}

fn perform(
    world: World,
    schedule: &Schedule,
    change: impl Fn(Swarm) -> Swarm,
    watcher: &mut dyn FnMut(&Event),
) -> Verdict {
    let mut random = Random::new(schedule.swarm);
    let swarm = change(Swarm::draw(&mut random));
    if world == World::Rings {
        return rings::run(swarm, random, schedule, watcher);
    }
    let (plan, roles) = world.plan(&mut random);
    if world == World::Storage {
        let storage = Storage::new(roles, DiskFaults::draw(&mut random), false);
        return drive(&plan, storage, swarm, schedule, Rest::Calls, watcher).0;
    }
    drive(&plan, Actors::new(roles), swarm, schedule, Rest::Calls, watcher).0
}

/// What must happen once the faults have stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Rest {
    /// Every call ends; the services know that they are to come to rest.
    Calls,
    /// Every call ends that was open.
    OldCalls,
    /// The system ends.
    End,
}

/// Does something that may panic; the panic's text if it does.
pub(crate) fn caught<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or(panic.downcast_ref::<&str>().copied());
        text.unwrap_or("a panic without a text").into()
    })
}

/// Runs a plan and its services with a schedule; also returns what became of the machine, if ΦCore
/// booted.
pub(crate) fn drive<S: Services>(
    plan: &Plan,
    services: S,
    swarm: Swarm,
    schedule: &Schedule,
    rest: Rest,
    watcher: &mut dyn FnMut(&Event),
) -> (Verdict, Option<Kernel<SimMachine<S>>>) {
    let (mut made, mut rested) = (0, 0);
    let run = caught(|| {
        let mut machine = SimMachine::new(services);
        machine.board = plan.has_hardware().then(Board::default);
        let kernel = match Kernel::boot(machine, plan) {
            Ok(kernel) => kernel,
            Err(error) => return (Outcome::Crash(error.to_string()), [0; 32], None),
        };
        let checkers = Checkers::new(plan);
        let mut simulation = Simulation::new(kernel, checkers, swarm, watcher);
        for word in &schedule.steps {
            if simulation.is_over() {
                break;
            }
            made += 1;
            simulation.step(&mut Random::new(*word));
        }
        let resting = Random::new(schedule.swarm.rotate_left(32));
        let outcome = simulation.rest(rest, resting, &mut rested);
        let (hash, kernel) = simulation.finish();
        (outcome, hash, Some(kernel))
    });
    let (outcome, hash, kernel) = run.unwrap_or_else(|what| (Outcome::Crash(what), [0; 32], None));
    (Verdict { steps: made, rest: rested, hash, outcome }, kernel)
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
    let start = std::time::Instant::now();
    let verdict = perform(world, &schedule, Swarm::without_faults, &mut |_| {});
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

/// Runs the images of `bundle`: as long as the schedule, with faults or without, and then without
/// faults, until the system has ended, if its manifest says when it does, else until every call has that
/// was open. `watcher` is shown every event.
///
/// # Errors
/// Linux's, where this process cannot run images.
pub fn run_images(
    bundle: &Bundle<'_>,
    schedule: &Schedule,
    faults: bool,
    mut watcher: impl FnMut(&Event),
) -> std::io::Result<ImageRun> {
    let drawn = Swarm::draw(&mut Random::new(schedule.swarm));
    let swarm = if faults { drawn } else { drawn.without_faults() };
    let images = Images::new(bundle)?;
    let rest = if bundle.plan().until.is_some() { Rest::End } else { Rest::OldCalls };
    let (verdict, kernel) = drive(bundle.plan(), images, swarm, schedule, rest, &mut watcher);
    let machine = kernel.as_ref().map(Kernel::machine);
    Ok(ImageRun {
        verdict,
        status: kernel.as_ref().and_then(Kernel::halted),
        transcript: machine.map_or(Vec::new(), |machine| machine.transcript().to_vec()),
        log: machine.map_or(Vec::new(), |machine| machine.log().to_vec()),
    })
}
