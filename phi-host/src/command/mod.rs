//! The command line: what each word means, and what comes out.
//!
//! Results go to standard output, everything else to standard error.

mod bench;
mod boot;
mod caps;
mod chaos;
mod check;
mod debug;
mod devices;
mod doctor;
mod image;
mod new;
mod ps;
mod replace;
mod replay;
mod report;
mod run;
mod running;
pub(crate) mod session;
mod sim;
mod top;
mod trace;
mod twin;

use crate::failure::Failure;
use crate::linux;
use crate::system::{self, InputFile, Loaded, Replacement};
use clap::{Parser, Subcommand, ValueEnum};
use std::io::{self, Write};
use std::path::PathBuf;

/// The exit statuses, as `--help` tells them.
const STATUSES: &str = "\
Exit statuses:
  run and boot end with the status of the system. Otherwise:
  0    all is well
  1    twin: the machines differ; chaos: something was left, or went wrong
  2    a mistake in the command line, the manifest, or the sources of an image
  3    a bundle or an input that cannot be used
  4    something is missing on this computer: cargo, QEMU, a Rust target, room for the output
  5    ps, caps, top, trace, debug: no such system runs, or it ended meanwhile
  70   a mistake in ΦOS, or a machine that was lost
  71   sim: ΦCore crashed; 72: a checker found a violation; 73: a run did not end
  74   sim: the replay of a recording differs from it
  130  ended by Ctrl-C

Example:
  phi-host run examples/wordcount --input text=README.md";

/// Checks, builds and runs ΦOS systems: on Linux, and on bare metal in QEMU.
#[derive(Parser, Debug)]
#[command(name = "phi-host", version, after_help = STATUSES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Check(check::Check),
    Report(report::Report),
    Image(image::Image),
    Run(run::Run),
    Ps(ps::Ps),
    Replace(replace::Replace),
    Caps(caps::Caps),
    Top(top::Top),
    Trace(trace::Trace),
    Debug(debug::Debug),
    New(new::New),
    Boot(boot::Boot),
    Sim(sim::Sim),
    Twin(twin::Twin),
    Bench(bench::Bench),
    Chaos(chaos::Chaos),
    Doctor(doctor::Doctor),
}

/// What a system is found by.
#[derive(clap::Args, Debug)]
struct SystemArgument {
    /// A folder with a phi.toml, or a manifest
    #[arg(default_value = ".")]
    system: PathBuf,
}

/// What a system is found by, if it may be a bundle, and the files for its inputs.
#[derive(clap::Args, Debug)]
struct SourceArguments {
    /// A folder with a phi.toml, a manifest, or a bundle
    #[arg(default_value = ".")]
    system: PathBuf,
    /// The file for an input of the manifest
    #[arg(long = "input", value_name = "NAME=FILE")]
    inputs: Vec<InputFile>,
    /// Another image for a service, by which it is replaced so many milliseconds after the start (100
    /// if that is not said)
    #[arg(long = "replace", value_name = "SERVICE=IMAGE[@MILLISECONDS]")]
    replacements: Vec<Replacement>,
}

impl SourceArguments {
    /// Loads it.
    fn load(&self) -> Result<Loaded, Failure> {
        system::load_replacing(&self.system, &self.inputs, &self.replacements)
    }
}

/// Where the services run on Linux.
#[derive(ValueEnum, Clone, Copy, Debug)]
enum Mode {
    /// Each in a process of its own
    Processes,
    /// All in one process, to debug them: nothing isolates them
    Threads,
}

impl From<Mode> for linux::Mode {
    fn from(mode: Mode) -> linux::Mode {
        match mode {
            Mode::Processes => linux::Mode::Processes,
            Mode::Threads => linux::Mode::Threads,
        }
    }
}

/// How far the services are isolated on Linux.
#[derive(ValueEnum, Clone, Copy, Debug)]
enum Isolation {
    /// By namespaces, an empty root, Landlock, limits, and a filter of system calls
    Full,
    /// Without namespaces and the empty root, where Linux does not allow them
    Reduced,
}

impl From<Isolation> for linux::Isolation {
    fn from(isolation: Isolation) -> linux::Isolation {
        match isolation {
            Isolation::Full => linux::Isolation::Full,
            Isolation::Reduced => linux::Isolation::Reduced,
        }
    }
}

/// Does what the command line says; returns the exit status.
pub fn main() -> u8 {
    let arguments = Arguments::parse();
    let result = match &arguments.command {
        Command::Check(check) => check.perform(),
        Command::Report(report) => report.perform(),
        Command::Image(image) => image.perform(),
        Command::Run(run) => run.perform(),
        Command::Ps(ps) => ps.perform(),
        Command::Replace(replace) => replace.perform(),
        Command::Caps(caps) => caps.perform(),
        Command::Top(top) => top.perform(),
        Command::Trace(trace) => trace.perform(),
        Command::Debug(debug) => debug.perform(),
        Command::New(new) => new.perform(),
        Command::Boot(boot) => boot.perform(),
        Command::Sim(sim) => sim.perform(),
        Command::Twin(twin) => twin.perform(),
        Command::Bench(bench) => bench.perform(),
        Command::Chaos(chaos) => chaos.perform(),
        Command::Doctor(doctor) => doctor.perform(),
    };
    result.unwrap_or_else(|failure| {
        // Without standard error, the status still says what kind it was.
        let _ = writeln!(anstream::stderr(), "{failure}");
        failure.kind.status()
    })
}

/// Prints `text` to standard output.
fn print(text: &str) -> Result<(), Failure> {
    let mut output = io::stdout().lock();
    output
        .write_all(text.as_bytes())
        .and_then(|()| output.flush())
        .map_err(|error| Failure::output(&error))
}

/// Prints `value` to standard output, as JSON and a line end.
fn print_json(value: &serde_json::Value) -> Result<(), Failure> {
    print(&format!("{value:#}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_does_not_contradict_itself() {
        Arguments::command().debug_assert();
    }
}
