//! One run of a system on one machine, and what `run` and `boot` print about it.

use super::print_json;
use crate::failure::{Failure, Kind};
use crate::linux::{self, LinuxError};
use crate::qemu;
use crate::statistics::MachineReport;
use phi_manifest::bundle::Bundle;
use serde_json::json;
use std::io::{self, Write};
use std::path::Path;

/// What is printed besides the transcript and the log.
#[derive(clap::Args, Debug)]
pub struct Style {
    /// Print what each service has used, as a table, to standard error
    #[arg(long)]
    pub stats: bool,
    /// Print one JSON object: status, transcript, and what each service has used
    #[arg(long)]
    pub json: bool,
}

/// Something that runs systems.
pub enum Machine<'a> {
    /// Linux.
    Linux(linux::Mode),
    /// The kernel of this file, in QEMU.
    Metal(&'a Path, qemu::Options),
}

impl Machine<'_> {
    /// Its name, for people.
    pub fn name(&self) -> &'static str {
        match self {
            Machine::Linux(linux::Mode::Processes) => "Linux processes",
            Machine::Linux(linux::Mode::Threads) => "Linux threads",
            Machine::Metal(..) => "bare metal",
        }
    }

    /// Runs the system of `bundle`; its log goes to standard error.
    ///
    /// # Errors
    /// The machine's.
    pub fn run(
        &self,
        bundle: &Bundle<'_>,
        transcript: &mut dyn Write,
    ) -> Result<MachineReport, Failure> {
        let log = &mut io::stderr();
        match self {
            Machine::Linux(mode) => {
                linux::run(bundle, &linux::Options::new(*mode), transcript, log)
                    .map(MachineReport::from)
                    .map_err(|error| linux_failure(&error))
            }
            Machine::Metal(kernel, options) => qemu::boot(kernel, bundle, options, transcript, log),
        }
    }

    /// Runs the system of `bundle` and prints all that `style` asks for; returns its status.
    ///
    /// # Errors
    /// The machine's, or the output cannot be written.
    pub fn present(&self, bundle: &Bundle<'_>, style: &Style) -> Result<u8, Failure> {
        let report = if style.json {
            let mut transcript = Vec::new();
            let report = self.run(bundle, &mut transcript)?;
            print_json(&json!({
                "name": bundle.plan().name,
                "machine": self.name(),
                "status": report.status,
                "start_microseconds": report.start_microseconds,
                "transcript": String::from_utf8_lossy(&transcript),
                "services": report.services,
            }))?;
            report
        } else {
            self.run(bundle, &mut io::stdout())?
        };
        if style.stats {
            let table = report.table();
            io::stderr().write_all(table.as_bytes()).map_err(|error| Failure::output(&error))?;
        }
        Ok(report.status)
    }
}

fn linux_failure(error: &LinuxError) -> Failure {
    match error {
        LinuxError::Machine(_) | LinuxError::Wait(_) => {
            Failure::new(Kind::Computer, error.to_string())
                .help("see the limits on processes, open files and memory: ulimit -a")
        }
        LinuxError::Boot(_) => Failure::new(Kind::Input, error.to_string())
            .help("the bundle asks for more than this machine gives; lower its quotas"),
        LinuxError::Stuck => Failure::new(Kind::Bug, error.to_string())
            .help("look for services that call each other, or wait for a signal that nobody sets"),
        LinuxError::Console(error) => Failure::output(error),
    }
}
