//! `phi-host boot`.

use super::SourceArguments;
use super::session::{Machine, Style};
use crate::failure::Failure;
use crate::{qemu, system};

const EXAMPLES: &str = "\
The transcript goes to standard output, the log to standard error.

Examples:
  phi-host boot examples/wordcount --input text=README.md
  phi-host boot --memory 512 --stats wordcount.bundle";

/// Run a system on the bare-metal kernel, in QEMU
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Boot {
    #[command(flatten)]
    source: SourceArguments,
    /// MiB of memory; by default as much as the bundle and the quotas need
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(16..))]
    memory: Option<u32>,
    #[command(flatten)]
    style: Style,
}

impl Boot {
    /// Does it; returns the exit status.
    ///
    /// # Errors
    /// Any [`Failure`].
    pub fn perform(&self) -> Result<u8, Failure> {
        let loaded = system::load(&self.source.system, &self.source.inputs)?;
        let bundle = loaded.bundle()?;
        let kernel = qemu::kernel(&loaded.project()?)?;
        let options = qemu::Options { memory: self.memory, count_instructions: false };
        Machine::Metal(&kernel, options).present(&bundle, &self.style)
    }
}
