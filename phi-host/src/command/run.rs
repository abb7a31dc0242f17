//! `phi-host run`.

use super::devices::DeviceArguments;
use super::session::{Machine, Style, Tracing};
use super::{Isolation, Mode, SourceArguments};
use crate::control::Place;
use crate::failure::Failure;
use crate::linux;
use std::path::PathBuf;

const EXAMPLES: &str = "\
The transcript goes to standard output, the log to standard error. A recording is for
`phi-host sim --replay`.

Examples:
  phi-host run examples/wordcount --input text=README.md
  phi-host run examples/wordcount --input text=README.md --stats
  phi-host run examples/wordcount --input text=README.md --record wordcount.recording
  phi-host run examples/wordcount --input text=README.md --edges
  phi-host run tests/disk --disk data=disk.img
  phi-host run tests/nic --nic net=phi0
  phi-host run tests/tty --tty line=/dev/pts/3
  phi-host run --mode threads wordcount.bundle";

/// Run a system on Linux
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Run {
    #[command(flatten)]
    source: SourceArguments,
    #[command(flatten)]
    given: DeviceArguments,
    /// Where the services run: in processes, but for a system whose manifest makes it a unikernel
    #[arg(long, value_enum)]
    mode: Option<Mode>,
    /// Write down all that the services ask of ΦCore and that Linux answers, to a file
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// How far processes are isolated from Linux and from each other
    #[arg(long, value_enum, default_value = "full")]
    isolation: Isolation,
    /// Count with eBPF who talks to whom, and print it as a table to standard error
    #[arg(long)]
    edges: bool,
    /// The name by which `phi-host ps` and others find the run; the system's, if it is not given
    #[arg(long, value_name = "NAME", conflicts_with = "control")]
    name: Option<String>,
    /// The path of the run's control socket, in place of one in the user's own folder
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,
    #[command(flatten)]
    style: Style,
}

impl Run {
    /// Does it; returns the exit status.
    ///
    /// # Errors
    /// Any [`Failure`].
    pub fn perform(&self) -> Result<u8, Failure> {
        let loaded = self.source.load()?;
        let bundle = loaded.bundle()?;
        let shape = match bundle.plan().mode {
            phi_manifest::plan::Mode::Unikernel => Mode::Threads,
            _ => Mode::Processes,
        };
        let options = linux::Options {
            recording: self.record.clone(),
            isolation: self.isolation.into(),
            control: Some(self.place(&bundle.plan().name)),
            source: std::fs::canonicalize(&self.source.system).ok(),
            devices: self.given.given(),
            ..linux::Options::new(self.mode.unwrap_or(shape).into())
        };
        let mut tracing = if self.edges { Tracing::begin(&options) } else { Tracing::Not };
        let symbols = loaded.symbols(&bundle, None);
        Machine::Linux(options).present_traced(&bundle, &symbols, &self.style, &mut tracing)
    }

    /// Where the run listens for those who look at it.
    fn place(&self, system: &str) -> Place {
        match (&self.control, &self.name) {
            (Some(path), _) => Place::Path(path.clone()),
            (None, Some(name)) => Place::Name(name.clone()),
            (None, None) => Place::Default(system.into()),
        }
    }
}
