//! Runs of a system of images.

use super::{ATTEMPTS, Faults, Sim, digits, quietly, status, what, write};
use crate::command::session::without_host_drivers;
use crate::command::{print, print_json};
use crate::failure::{Failure, Kind};
use phi_manifest::bundle::Bundle;
use phi_sim::chart::Chart;
use phi_sim::run::{ImageRun, Outcome, Verdict, run_images};
use phi_sim::schedule::{Schedule, Subject};
use phi_sim::shrink::shrink;
use serde_json::{Value, json};
use std::io::{self, Write as _};

/// Steps with faults, at most, unless others are asked for.
const STEPS: u64 = 1_000_000;

/// Makes the runs of the system that `arguments` names, or one with the choices to `replay`; returns
/// the exit status.
pub(super) fn run(arguments: &Sim, replay: Option<&Schedule>) -> Result<u8, Failure> {
    let loaded = arguments.source.load()?;
    let bundle = loaded.bundle()?;
    without_host_drivers(&bundle)?;
    let mut rows: Vec<Value> = Vec::new();
    let mut worst = 0;
    let seeds = arguments.seeds.unwrap_or(1);
    for seed in arguments.seed..arguments.seed.saturating_add(seeds) {
        let drawn;
        let schedule = match replay {
            Some(schedule) => schedule,
            None => {
                drawn = Schedule::drawn(seed, arguments.steps.unwrap_or(STEPS));
                &drawn
            }
        };
        let run = one(arguments, &bundle, schedule)?;
        if let Some(file) = arguments.record.as_ref().filter(|_| run.verdict.outcome != Outcome::Ok)
        {
            let shortest = shortest(arguments, &bundle, schedule)?;
            write(file, shortest.encode(Subject::Images).as_bytes())?;
        }
        worst = worst.max(exit_status(arguments, &run));
        if arguments.json {
            rows.push(row(seed, &run));
        } else {
            show(seed, seeds, &run)?;
        }
        if let Some(what) = what(&run.verdict.outcome) {
            eprintln!("seed {seed}: {what}");
        }
    }
    if arguments.json {
        print_json(&json!({ "name": bundle.plan().name, "runs": rows }))?;
    }
    Ok(worst)
}

fn row(seed: u64, run: &ImageRun) -> Value {
    let verdict = &run.verdict;
    json!({
        "seed": seed, "steps": verdict.steps, "rest": verdict.rest, "hash": digits(&verdict.hash),
        "outcome": verdict.outcome.name(), "what": what(&verdict.outcome), "status": run.status,
        "transcript": String::from_utf8_lossy(&run.transcript),
    })
}

/// Prints what came out of one run of `seeds`.
fn show(seed: u64, seeds: u64, run: &ImageRun) -> Result<(), Failure> {
    let Verdict { steps, rest, hash, outcome } = &run.verdict;
    let (outcome, steps, hash) = (outcome.name(), steps + rest, digits(hash));
    let line = format!("seed {seed}: {outcome} after {steps} steps, {hash}\n");
    if seeds > 1 {
        return print(&line);
    }
    let mut output = io::stdout().lock();
    let written = output.write_all(&run.transcript).and_then(|()| output.flush());
    let log = io::stderr().write_all(&run.log);
    written.and(log).map_err(|error| Failure::output(&error))?;
    eprint!("{line}");
    Ok(())
}

/// The shortest choices found that fail as these do.
fn shortest(
    arguments: &Sim,
    bundle: &Bundle<'_>,
    schedule: &Schedule,
) -> Result<Schedule, Failure> {
    let mut failure = None;
    let kept = std::cell::RefCell::new(&mut failure);
    let shortest = quietly(|| {
        shrink(schedule, ATTEMPTS, |shorter| match one(arguments, bundle, shorter) {
            Ok(run) => run.verdict,
            Err(error) => {
                **kept.borrow_mut() = Some(error);
                Verdict::none()
            }
        })
    });
    failure.map_or(Ok(shortest), Err)
}

/// One run, which is drawn if that is asked for.
fn one(arguments: &Sim, bundle: &Bundle<'_>, schedule: &Schedule) -> Result<ImageRun, Failure> {
    let names = bundle.plan().services.iter().map(|service| service.name.clone());
    let mut chart = arguments.chart.as_ref().map(|file| (file, Chart::new(names.collect())));
    let faults = arguments.faults() == Faults::All;
    let run = run_images(bundle, schedule, faults, |event| {
        if let Some((_, chart)) = &mut chart {
            chart.add(event);
        }
    });
    if let Some((file, chart)) = chart {
        write(file, chart.svg().as_bytes())?;
    }
    run.map_err(|error| {
        Failure::new(Kind::Computer, format!("this process cannot run images: {error}"))
            .help("see the limits on memory: ulimit -a")
    })
}

/// The exit status that a run asks for.
fn exit_status(arguments: &Sim, run: &ImageRun) -> u8 {
    match &run.verdict.outcome {
        // What a system says after faults of its machine is its own affair.
        Outcome::Ok if arguments.faults() == Faults::None => run.status.unwrap_or(0),
        outcome => status(outcome),
    }
}
