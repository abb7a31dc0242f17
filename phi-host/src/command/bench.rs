//! `phi-host bench`.

use super::session::Machine;
use super::{print, print_json};
use crate::bench::{self, BenchError, Row, Unit};
use crate::failure::{Failure, Kind};
use crate::progress::Progress;
use crate::{cargo, linux, qemu, system};
use phi_manifest::bundle::Bundle;
use phi_sim::run::Speed;
use phi_sim::world::World;
use serde_json::{Value, json};
use std::path::Path;

const EXAMPLES: &str = "\
Linux is measured in nanoseconds beside a pipe and a Unix socket, all on one processor and all on
two; compare figures of one run only. Bare metal is measured in instructions, the same in each run.

Examples:
  phi-host bench ipc
  phi-host bench ipc --json
  phi-host bench sim";

/// Round trips of a peer.
const ROUNDS: usize = 10_000;

/// Measure what ΦOS does, beside what people use instead
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Bench {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand, Debug)]
enum What {
    /// Calls and messages of 64 bytes between two services
    Ipc {
        /// Print the result as JSON
        #[arg(long)]
        json: bool,
    },
    /// Steps of the simulator per second
    Sim {
        /// Print the result as JSON
        #[arg(long)]
        json: bool,
    },
}

/// Steps of each world that `bench sim` measures.
const STEPS: u64 = 2_000_000;

impl From<BenchError> for Failure {
    fn from(error: BenchError) -> Failure {
        let kind = match error {
            BenchError::Peer(_) | BenchError::Affinity(_) => Kind::Computer,
            BenchError::System(_) | BenchError::Output(_) => Kind::Bug,
        };
        Failure::new(kind, error.to_string()).help("close other programs and try again")
    }
}

impl Bench {
    /// Does it; returns the exit status.
    ///
    /// # Errors
    /// Any [`Failure`].
    pub fn perform(&self) -> Result<u8, Failure> {
        match self.what {
            What::Ipc { json } => messages(json),
            What::Sim { json } => simulator(json),
        }
    }
}

fn messages(json: bool) -> Result<u8, Failure> {
    let project = cargo::project(Path::new("."))?;
    let loaded = system::load(&bench::system(&project), &[])?;
    let bundle = loaded.bundle()?;
    let kernel = qemu::kernel(&project)?;
    let mut rows = Vec::new();
    for processors in [1, 2] {
        let _progress = Progress::new(format!("measuring on {processors} processors …"));
        rows.extend(bench::pinned(processors, || on_linux(&bundle, processors))?);
    }
    let mut rows: Vec<Row> = rows.into_iter().flatten().collect();
    rows.push(on_metal(&bundle, &kernel)?);
    if json {
        let rows: Vec<Value> = rows.iter().map(Row::json).collect();
        print_json(&json!({ "bytes": 64, "rows": rows }))?;
    } else {
        print(&bench::table(&rows))?;
    }
    Ok(0)
}

/// Measures the worlds of actors, checkers and hash included.
fn simulator(json: bool) -> Result<u8, Failure> {
    let mut rows = Vec::new();
    for (name, world) in [("a client and a server", World::Pair), ("a crowd", World::Crowd)] {
        let speed = phi_sim::run::measure(world, 1, STEPS).map_err(|outcome| {
            Failure::new(Kind::Bug, format!("the simulated world ended in a {}", outcome.name()))
        })?;
        rows.push((name, speed));
    }
    if json {
        let row = |(name, speed): &(&str, Speed)| {
            let Speed { steps, seconds } = *speed;
            json!({ "name": name, "steps": steps, "seconds": seconds })
        };
        print_json(&json!({ "rows": rows.iter().map(row).collect::<Vec<Value>>() }))?;
        return Ok(0);
    }
    for (name, Speed { steps, seconds }) in rows {
        let rate = steps as f64 / seconds.max(f64::MIN_POSITIVE);
        print(&format!("{name:<24}{steps:>10} steps{rate:>12.0} steps/s\n"))?;
    }
    Ok(0)
}

fn on_linux(bundle: &Bundle<'_>, processors: usize) -> Result<Vec<Row>, BenchError> {
    let mut rows = Vec::new();
    for mode in [linux::Mode::Processes, linux::Mode::Threads] {
        let machine = Machine::Linux(mode);
        let output = transcript(bundle, &machine)?;
        let name = format!("ΦOS, {}", machine.name());
        rows.push(Row::from_output(&name, processors, Unit::Nanoseconds, &output)?);
    }
    rows.extend(bench::peer_rows(processors, ROUNDS)?);
    Ok(rows)
}

fn on_metal(bundle: &Bundle<'_>, kernel: &Path) -> Result<Row, Failure> {
    let _progress = Progress::new("counting instructions on bare metal …");
    let options = qemu::Options { memory: None, count_instructions: true };
    let machine = Machine::Metal(kernel, options);
    let output = transcript(bundle, &machine)?;
    Ok(Row::from_output("ΦOS, bare metal", 1, Unit::Instructions, &output)?)
}

/// What the system that measures prints on `machine`.
fn transcript(bundle: &Bundle<'_>, machine: &Machine<'_>) -> Result<Vec<u8>, BenchError> {
    let mut transcript = Vec::new();
    let report = machine.run(bundle, &mut transcript);
    let status = report.map_err(|failure| BenchError::System(failure.to_string()))?.status;
    match status {
        0 => Ok(transcript),
        _ => Err(BenchError::Output(String::from_utf8_lossy(&transcript).into_owned())),
    }
}
