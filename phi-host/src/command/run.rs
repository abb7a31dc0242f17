//! `phi-host run`.

use super::session::{Machine, Style};
use super::{Mode, SourceArguments};
use crate::failure::Failure;
use crate::system;

const EXAMPLES: &str = "\
The transcript goes to standard output, the log to standard error.

Examples:
  phi-host run examples/wordcount --input text=README.md
  phi-host run examples/wordcount --input text=README.md --stats
  phi-host run --mode threads wordcount.bundle";

/// Run a system on Linux
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Run {
    #[command(flatten)]
    source: SourceArguments,
    /// Where the services run
    #[arg(long, value_enum, default_value = "processes")]
    mode: Mode,
    #[command(flatten)]
    style: Style,
}

impl Run {
    /// Does it; returns the exit status.
    ///
    /// # Errors
    /// Any [`Failure`].
    pub fn perform(&self) -> Result<u8, Failure> {
        let loaded = system::load(&self.source.system, &self.source.inputs)?;
        Machine::Linux(self.mode.into()).present(&loaded.bundle()?, &self.style)
    }
}
