//! One run of a system on one machine, and what `run` and `boot` print about it.

use super::print_json;
use crate::ebpf::{Edges, Off, TraceOptions, Tracer};
use crate::failure::{Failure, Kind};
use crate::linux::device::DeviceError;
use crate::linux::{self, LinuxError, Watcher};
use crate::qemu;
use crate::statistics::MachineReport;
use crate::symbols::{SymbolizedLog, Symbols};
use phi_manifest::bundle::Bundle;
use serde_json::{Value, json};
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
    Linux(linux::Options),
    /// The kernel of this file, in QEMU.
    Metal(&'a Path, qemu::Options),
}

impl Machine<'_> {
    /// Its name, for people.
    pub fn name(&self) -> &'static str {
        match self {
            Machine::Linux(options) => match options.mode {
                linux::Mode::Processes => "Linux processes",
                linux::Mode::Threads => "Linux threads",
            },
            Machine::Metal(..) => "bare metal",
        }
    }

    /// Runs the system of `bundle`; its log goes to standard error, with what `symbols` know of the
    /// addresses of faults. On Linux, `watcher` is told of each process.
    ///
    /// # Errors
    /// The machine's.
    pub fn run(
        &self,
        bundle: &Bundle<'_>,
        symbols: &Symbols,
        watcher: Option<&mut dyn Watcher>,
        transcript: &mut dyn Write,
    ) -> Result<MachineReport, Failure> {
        let log = &mut io::stderr();
        match self {
            Machine::Linux(options) => {
                let log = &mut SymbolizedLog::new(log, symbols);
                linux::run(bundle, options, watcher, transcript, log)
                    .map(MachineReport::from)
                    .map_err(|error| linux_failure(&error))
            }
            Machine::Metal(kernel, options) => {
                qemu::boot(kernel, bundle, options, symbols, transcript, log)
            }
        }
    }

    /// Runs the system of `bundle` and prints all that `style` asks for; returns its status.
    ///
    /// # Errors
    /// The machine's, or the output cannot be written.
    pub fn present(
        &self,
        bundle: &Bundle<'_>,
        symbols: &Symbols,
        style: &Style,
    ) -> Result<u8, Failure> {
        self.present_traced(bundle, symbols, style, &mut Tracing::Not)
    }

    /// As [`Machine::present`], with what `tracing` has seen.
    ///
    /// # Errors
    /// As there.
    pub fn present_traced(
        &self,
        bundle: &Bundle<'_>,
        symbols: &Symbols,
        style: &Style,
        tracing: &mut Tracing,
    ) -> Result<u8, Failure> {
        let mut transcript = Vec::new();
        let output: &mut dyn Write = if style.json { &mut transcript } else { &mut io::stdout() };
        let report = self.run(bundle, symbols, tracing.watcher(), output)?;
        let edges = tracing.edges(bundle);
        style.print(&bundle.plan().name, self.name(), &report, &transcript, edges)
    }
}

impl Style {
    /// Prints how the system `name` ran on `machine`, and what was seen of it; returns its status.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn print(
        &self,
        name: &str,
        machine: &str,
        report: &MachineReport,
        transcript: &[u8],
        edges: Option<(Option<Edges>, Vec<Off>)>,
    ) -> Result<u8, Failure> {
        if self.json {
            let mut object = json!({
                "name": name,
                "machine": machine,
                "status": report.status,
                "start_microseconds": report.start_microseconds,
                "transcript": String::from_utf8_lossy(transcript),
                "services": report.services,
            });
            if let Some((edges, off)) = &edges {
                object["edges"] = edges.as_ref().map_or(Value::Null, Edges::json);
                object["off"] = off.iter().map(Off::json).collect();
            }
            print_json(&object)?;
        }
        let mut text = String::new();
        if self.stats {
            text += &report.table();
        }
        if let Some((edges, off)) = &edges {
            text += &edges.as_ref().map_or(String::new(), Edges::table);
            off.iter().for_each(|off| text += &format!("{off}\n"));
        }
        io::stderr().write_all(text.as_bytes()).map_err(|error| Failure::output(&error))?;
        Ok(report.status)
    }
}

/// Whether a run is looked at with eBPF.
pub enum Tracing {
    /// It is not.
    Not,
    /// It should be, and cannot.
    Off(Off),
    /// It is.
    On(Box<Tracer>),
}

impl Tracing {
    /// Looks at what runs on Linux with `options` from now on, as far as this computer lets it.
    pub fn begin(options: &linux::Options) -> Tracing {
        let threads = options.mode == linux::Mode::Threads;
        let program = options.program.clone();
        match Tracer::new(&TraceOptions { program, threads, stream: false, supervisor: None }) {
            Ok(tracer) => Tracing::On(Box::new(tracer)),
            Err(off) => Tracing::Off(off),
        }
    }

    fn watcher(&mut self) -> Option<&mut dyn Watcher> {
        match self {
            Tracing::On(tracer) => Some(&mut **tracer),
            Tracing::Not | Tracing::Off(_) => None,
        }
    }

    /// What was seen, if anything was to be, and what was off.
    fn edges(&self, bundle: &Bundle<'_>) -> Option<(Option<Edges>, Vec<Off>)> {
        match self {
            Tracing::Not => None,
            Tracing::Off(off) => Some((None, vec![off.clone()])),
            Tracing::On(tracer) => {
                let mut off = tracer.off().to_vec();
                let edges = match tracer.snapshot() {
                    Ok(snapshot) => Some(Edges::new(bundle.plan(), snapshot)),
                    Err(reason) => {
                        off.push(reason);
                        None
                    }
                };
                Some((edges, off))
            }
        }
    }
}

/// Refuses a system with a driver that only Linux has.
///
/// # Errors
/// A mistake, with the driver's name.
pub fn without_host_drivers(bundle: &Bundle<'_>) -> Result<(), Failure> {
    let services = &bundle.plan().services;
    let mut lacking = services.iter().filter(|service| service.image.segments.is_empty());
    let driver = lacking.find_map(|service| Some((service, service.driver.as_ref()?)));
    driver.map_or(Ok(()), |(service, driver)| {
        let what = format!("`{}` is a driver of the Linux machine alone", driver.name);
        Err(Failure::new(Kind::Mistake, what)
            .at(format!("service `{}`", service.name))
            .help("run it on Linux: phi-host run SYSTEM"))
    })
}

/// Why a system's devices cannot be had.
pub(super) fn device_failure(error: &DeviceError) -> Failure {
    Failure::new(error.kind(), error.to_string()).help(error.help())
}

pub(super) fn linux_failure(error: &LinuxError) -> Failure {
    match error {
        LinuxError::Machine(_) | LinuxError::Wait(_) => {
            Failure::new(Kind::Computer, error.to_string())
                .help("see the limits on processes, open files and memory: ulimit -a")
        }
        LinuxError::Isolation(_) => Failure::new(Kind::Computer, error.to_string()).help(
            "see the sysctls user.max_user_namespaces and kernel.unprivileged_userns_clone, or \
             give up namespaces: --isolation reduced",
        ),
        LinuxError::Device(error) => device_failure(error),
        LinuxError::Boot(_) => Failure::new(Kind::Input, error.to_string())
            .help("the bundle asks for more than this machine gives; lower its quotas"),
        LinuxError::Stuck => Failure::new(Kind::Bug, error.to_string())
            .help("look for services that call each other, or wait for a signal that nobody sets"),
        LinuxError::Console(error) => Failure::output(error),
        LinuxError::Control(_) => Failure::new(Kind::Computer, error.to_string()).help(
            "choose another name or path (--name, --control), or see who has it: phi-host ps",
        ),
        LinuxError::Recording(_) => Failure::new(Kind::Computer, error.to_string())
            .help("name a file in a folder that is there and has room"),
    }
}
