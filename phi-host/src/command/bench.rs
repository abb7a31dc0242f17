//! `phi-host bench`.

use super::session::Machine;
use super::{print, print_json};
use crate::bench::{self, BenchError, Row, Unit};
use crate::failure::{Failure, Kind};
use crate::progress::Progress;
use crate::{cargo, linux, qemu, system};
use phi_manifest::bundle::Bundle;
use serde_json::{Value, json};
use std::path::Path;

const EXAMPLES: &str = "\
Linux is measured in nanoseconds beside a pipe and a Unix socket, all on one processor and all on
two; compare figures of one run only. Bare metal is measured in instructions, the same in each run.

Examples:
  phi-host bench ipc
  phi-host bench ipc --json";

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
}

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
        let What::Ipc { json } = self.what;
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
