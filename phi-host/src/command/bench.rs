//! `phi-host bench`.

mod peers;
mod revocation;
mod sites;
mod start;

use super::session::Machine;
use super::{print, print_json};
use crate::bench::disk::{self, Ground, Task};
use crate::bench::peers::Program;
use crate::bench::{self, BenchError, Row, Unit, one_way as sizes};
use crate::failure::{Failure, Kind};
use crate::progress::Progress;
use crate::symbols::Symbols;
use crate::system::System;
use crate::{cargo, linux, qemu, system};
use phi_manifest::bundle::Bundle;
use phi_sim::run::Speed;
use phi_sim::world::World;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "\
Linux is measured in nanoseconds, on one processor and on two; compare figures of one run only. Bare
metal is measured in instructions, the same in each run.

Examples:
  phi-host bench ipc
  phi-host bench ipc --json
  phi-host bench ipc --metal
  phi-host bench disk --file disk.img
  phi-host bench peers --plot peers.svg
  phi-host bench revocation
  phi-host bench sim
  phi-host bench start --services 200
  phi-host bench probes";

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
        /// Only bare metal: a call and its answer, each alone, by size, beside seL4's
        #[arg(long)]
        metal: bool,
        /// Print the result as JSON
        #[arg(long)]
        json: bool,
    },
    /// Blocks of a disk at random places, beside fio with io_uring
    Disk {
        /// The file to measure on, which is made, and removed afterwards: 256 MiB
        #[arg(long, value_name = "FILE")]
        file: PathBuf,
        /// Seconds of each of the 16 measurements
        #[arg(long, default_value = "2", value_parser = clap::value_parser!(u32).range(1..=60))]
        seconds: u32,
        /// Print the result as JSON
        #[arg(long)]
        json: bool,
    },
    Peers(peers::Peers),
    Probes(sites::Probes),
    Revocation(revocation::Revocation),
    /// Many services: how long they take to start, and what they cost while they wait
    Start(start::Arguments),
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
        match &self.what {
            What::Ipc { metal: true, json } => one_way(*json),
            What::Ipc { metal: false, json } => messages(*json),
            What::Disk { file, seconds, json } => disks(file, *seconds, *json),
            What::Peers(peers) => peers.perform(),
            What::Probes(probes) => probes.perform(),
            What::Revocation(revocation) => revocation.perform(),
            What::Sim { json } => simulator(*json),
            What::Start(arguments) => arguments.perform(),
        }
    }
}

fn messages(json: bool) -> Result<u8, Failure> {
    let project = cargo::project(Path::new("."))?;
    let loaded = system::load(&bench::system(&project, system::MANIFEST), &[])?;
    let bundle = loaded.bundle()?;
    let kernel = qemu::kernel(&project)?;
    let program = Program::build(&project, false)?;
    let mut rows = Vec::new();
    for processors in [1, 2] {
        let _progress = Progress::new(format!("measuring on {processors} processors …"));
        rows.extend(bench::pinned(processors, || on_linux(&bundle, &program, processors))?);
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

/// Measures a disk on the file `path`.
fn disks(path: &Path, seconds: u32, json: bool) -> Result<u8, Failure> {
    let project = cargo::project(Path::new("."))?;
    let mut system = System::open(&disk::manifest(&project))?;
    let images = system.images()?;
    let ground = Ground::create(path).map_err(|error| {
        let what = format!("the file to measure on cannot be made: {error}");
        Failure::new(Kind::Input, what)
            .in_file(path)
            .help("name a file that is not there yet, where 256 MiB have room")
    })?;
    let mut rows = Vec::new();
    for task in disk::Task::all() {
        let Task { bytes, depth, .. } = task;
        let _progress = Progress::new(format!("measuring {bytes} bytes, {depth} at a time …"));
        let bundle = disk::bundle(&mut system, &images, task, seconds)?;
        let fio = disk::fio(&ground, task, seconds)?;
        rows.push(disk::Row { task, fio, phi: disk::phi(&ground, &bundle)? });
    }
    match json {
        true => {
            let rows: Vec<Value> = rows.iter().map(disk::Row::json).collect();
            print_json(&json!({ "seconds": seconds, "rows": rows }))?;
        }
        false => print(&disk::table(&rows))?,
    }
    Ok(0)
}

/// Counts what a call and its answer take on bare metal.
fn one_way(json: bool) -> Result<u8, Failure> {
    let project = cargo::project(Path::new("."))?;
    let kernel = qemu::kernel(&project)?;
    let measure = |manifest: &Path| {
        let loaded = system::load(manifest, &[])?;
        Ok::<_, Failure>(sizes::sizes(&count(&loaded.bundle()?, &kernel)?)?)
    };
    let [isolated, unikernel] = sizes::systems(&project);
    let (isolated, unikernel) = (measure(&isolated)?, measure(&unikernel)?);
    let measured = sizes::Measured { isolated, unikernel };
    if json {
        print_json(&json!({ "unit": "instructions", "rows": sizes::json(&measured) }))?;
    } else {
        print(&sizes::table(&measured))?;
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

fn on_linux(
    bundle: &Bundle<'_>,
    program: &Program,
    processors: usize,
) -> Result<Vec<Row>, BenchError> {
    let mut rows = Vec::new();
    for mode in [linux::Mode::Processes, linux::Mode::Threads] {
        let machine = Machine::Linux(linux::Options::new(mode));
        let output = transcript(bundle, &machine)?;
        let name = format!("ΦOS, {}", machine.name());
        rows.push(Row::from_output(&name, processors, Unit::Nanoseconds, &output)?);
    }
    rows.extend(bench::peer_rows(program, processors, ROUNDS)?);
    Ok(rows)
}

fn on_metal(bundle: &Bundle<'_>, kernel: &Path) -> Result<Row, Failure> {
    let output = count(bundle, kernel)?;
    Ok(Row::from_output("ΦOS, bare metal", 1, Unit::Instructions, &output)?)
}

/// What the system prints on bare metal, where the counter counts instructions.
fn count(bundle: &Bundle<'_>, kernel: &Path) -> Result<Vec<u8>, BenchError> {
    let _progress = Progress::new("counting instructions on bare metal …");
    let options = qemu::Options { count_instructions: true, ..qemu::Options::default() };
    transcript(bundle, &Machine::Metal(kernel, options))
}

/// What the system that measures prints on `machine`.
fn transcript(bundle: &Bundle<'_>, machine: &Machine<'_>) -> Result<Vec<u8>, BenchError> {
    let mut transcript = Vec::new();
    let report = machine.run(bundle, &Symbols::default(), None, &mut transcript);
    let status = report.map_err(|failure| BenchError::System(failure.to_string()))?.status;
    match status {
        0 => Ok(transcript),
        _ => Err(BenchError::Output(String::from_utf8_lossy(&transcript).into_owned())),
    }
}
