//! `phi-host doctor`.

use super::{print, print_json};
use crate::doctor::Report;
use crate::failure::{Failure, Kind};

const EXAMPLES: &str = "\
Each row is a real try, made now. Ends with status 0 when all that `run` needs works, and with 4
otherwise.

Examples:
  phi-host doctor
  phi-host doctor --json";

/// Try what this computer can do for ΦOS, and say how to turn on what is off
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Doctor {
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl Doctor {
    /// Does it; returns the exit status.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn perform(&self) -> Result<u8, Failure> {
        let report = Report::new();
        match self.json {
            true => print_json(&report.json())?,
            false => print(&report.table())?,
        }
        Ok(if report.runs() { 0 } else { Kind::Computer.status() })
    }
}
