//! `phi-host sim`.

use super::{SourceArguments, print, print_json};
use crate::failure::{Failure, Kind};
use crate::system;
use clap::ValueEnum;
use phi_manifest::bundle::Bundle;
use phi_sim::chart::Chart;
use phi_sim::run::{ImageRun, Outcome, Verdict, run_images};
use phi_sim::schedule::Schedule;
use phi_sim::shrink::shrink;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "\
Who runs, how time passes and what fails is drawn from the seed: the same seed gives the same run, and
the same hash. One run prints the system's transcript; several print one line each.

Exit statuses, besides the others:
  71   the kernel crashed
  72   something happened that must not
  73   the system did not end within the steps, though nothing failed

Examples:
  phi-host sim examples/wordcount --input text=README.md --faults none
  phi-host sim examples/wordcount --input text=README.md --seeds 20 --json";

/// Run a system in the deterministic simulator
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Sim {
    #[command(flatten)]
    source: SourceArguments,
    /// The first run's seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many runs, with one seed after another
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// Steps of a run, at most
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    steps: u64,
    /// Which faults of the machine there are
    #[arg(long, value_enum, default_value = "all")]
    faults: Faults,
    /// Make a run that fails as short as it gets, and write its choices to a file
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Make one run with the choices of such a file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seed", "seeds", "steps"])]
    replay: Option<PathBuf>,
    /// Draw the last run, as an SVG file: its domains, and the messages between them
    #[arg(long, value_name = "FILE")]
    chart: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum Faults {
    /// Lost services, a machine that refuses, jumps of the clock: as often as the seed says
    All,
    /// None: only the order of the threads and the time that passes are drawn
    None,
}

/// Runs that are made to shorten one that fails, at most.
const ATTEMPTS: u64 = 2_000;

/// The exit status after a crash of the kernel.
const CRASH: u8 = 71;

impl Sim {
    /// Does it; returns the exit status.
    ///
    /// # Errors
    /// Any [`Failure`].
    pub fn perform(&self) -> Result<u8, Failure> {
        let loaded = system::load(&self.source.system, &self.source.inputs)?;
        let bundle = loaded.bundle()?;
        let mut rows: Vec<Value> = Vec::new();
        let mut worst = 0;
        for seed in self.seed..self.seed.saturating_add(self.seeds) {
            let schedule = self.schedule(seed)?;
            let mut chart = Chart::new(bundle.plan());
            let run = self.run(&bundle, seed, &schedule, &mut chart)?;
            if let Some(file) = &self.chart {
                write(file, chart.svg().as_bytes())?;
            }
            if let Some(file) = self.record.as_ref().filter(|_| run.verdict.outcome != Outcome::Ok)
            {
                let shortest = self.shortest(&bundle, seed, &schedule)?;
                write(file, shortest.encode().as_bytes())?;
            }
            let status = self.status(&run);
            worst = worst.max(status);
            let hash: String = run.verdict.hash.iter().fold(String::new(), |mut text, byte| {
                // A string takes everything.
                let _ = write!(text, "{byte:02x}");
                text
            });
            let (steps, outcome) = (run.verdict.steps, run.verdict.outcome.name());
            if self.json {
                rows.push(json!({
                    "seed": seed, "steps": steps, "hash": hash, "outcome": outcome,
                    "what": what(&run.verdict.outcome), "status": run.status,
                    "transcript": String::from_utf8_lossy(&run.transcript),
                }));
            } else if self.seeds == 1 {
                let mut output = io::stdout().lock();
                let written = output.write_all(&run.transcript).and_then(|()| output.flush());
                let log = io::stderr().write_all(&run.log);
                written.and(log).map_err(|error| Failure::output(&error))?;
                eprintln!("seed {seed}: {outcome} after {steps} steps, {hash}");
            } else {
                print(&format!("seed {seed}: {outcome} after {steps} steps, {hash}\n"))?;
            }
            if let Some(what) = what(&run.verdict.outcome) {
                eprintln!("seed {seed}: {what}");
            }
        }
        if self.json {
            print_json(&json!({ "name": bundle.plan().name, "runs": rows }))?;
        }
        Ok(worst)
    }

    /// The choices of a run: those of the file to replay, or of a seed.
    fn schedule(&self, seed: u64) -> Result<Schedule, Failure> {
        let Some(file) = &self.replay else { return Ok(Schedule::of(seed, self.steps)) };
        let unusable = |what: String| {
            Failure::new(Kind::Input, what)
                .in_file(file)
                .help("name a file that `phi-host sim --record FILE` wrote")
        };
        let text = std::fs::read_to_string(file)
            .map_err(|error| unusable(format!("the choices cannot be read: {error}")))?;
        Schedule::decode(&text).ok_or_else(|| unusable("these are no choices of a run".into()))
    }

    /// The shortest choices found that fail as these do.
    fn shortest(
        &self,
        bundle: &Bundle<'_>,
        seed: u64,
        schedule: &Schedule,
    ) -> Result<Schedule, Failure> {
        let failure = std::cell::Cell::new(None);
        let shortest = shrink(schedule, ATTEMPTS, |shorter| {
            let mut chart = Chart::new(bundle.plan());
            match self.run(bundle, seed, shorter, &mut chart) {
                Ok(run) => run.verdict,
                Err(error) => {
                    failure.set(Some(error));
                    Verdict { steps: 0, hash: [0; 32], outcome: Outcome::Ok }
                }
            }
        });
        failure.take().map_or(Ok(shortest), Err)
    }

    /// One run. A panic of the kernel ends this process with the status of a crash.
    fn run(
        &self,
        bundle: &Bundle<'_>,
        seed: u64,
        schedule: &Schedule,
        chart: &mut Chart,
    ) -> Result<ImageRun, Failure> {
        let drawn = self.chart.is_some();
        let before = std::panic::take_hook();
        // This program does not unwind, so this is where a panic ends.
        std::panic::set_hook(Box::new(move |panic| {
            eprintln!("seed {seed}: the kernel crashed: {panic}");
            std::process::exit(i32::from(CRASH));
        }));
        let run = run_images(bundle, schedule, self.faults == Faults::All, |event| {
            if drawn {
                chart.add(event);
            }
        });
        std::panic::set_hook(before);
        run.map_err(|error| {
            Failure::new(Kind::Computer, format!("this process cannot run images: {error}"))
                .help("see the limits on memory: ulimit -a")
        })
    }

    /// The exit status that a run asks for.
    fn status(&self, run: &ImageRun) -> u8 {
        match &run.verdict.outcome {
            Outcome::Crash(_) => CRASH,
            Outcome::Safety(_) => 72,
            Outcome::Liveness(_) => 73,
            Outcome::Ok if self.faults == Faults::None => run.status.unwrap_or(73),
            // What a system says after faults of its machine is its own affair.
            Outcome::Ok => 0,
        }
    }
}

fn write(file: &Path, bytes: &[u8]) -> Result<(), Failure> {
    std::fs::write(file, bytes).map_err(|error| {
        Failure::new(Kind::Computer, format!("the file cannot be written: {error}"))
            .in_file(file)
            .help("name a file in a folder that is there and has room")
    })
}

/// What went wrong, if something did.
fn what(outcome: &Outcome) -> Option<String> {
    match outcome {
        Outcome::Ok => None,
        Outcome::Crash(what) | Outcome::Liveness(what) => Some(what.clone()),
        Outcome::Safety(violation) => Some(violation.to_string()),
    }
}
