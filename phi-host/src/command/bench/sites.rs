//! `phi-host bench probes`.

use super::super::{print, print_json};
use crate::bench::probes::{self, Costs};
use crate::failure::Failure;
use crate::table::{Align, Table};
use serde_json::json;

/// A site for tracers: without one, and with eBPF, which needs root
#[derive(clap::Args, Debug)]
pub struct Probes {
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl Probes {
    /// Does it; returns the exit status.
    ///
    /// # Errors
    /// Any [`Failure`].
    pub fn perform(&self) -> Result<u8, Failure> {
        let Costs { empty, detached, attached } = probes::measure();
        if self.json {
            print_json(&json!({
                "empty_nanoseconds": empty,
                "detached_nanoseconds": detached,
                "attached_nanoseconds": attached.as_ref().ok(),
                "off": attached.as_ref().err().map(|off| off.json()),
            }))?;
            return Ok(0);
        }
        let mut table = Table::new([("one turn of a loop", Align::Left), ("ns", Align::Right)]);
        let mut row = |name: &str, time: String| table.push([name.into(), time]);
        row("empty", format!("{empty:.2}"));
        row("with a site", format!("{detached:.2}"));
        match &attached {
            Ok(time) => row("with a site and an event told", format!("{time:.0}")),
            Err(_) => row("with a site and an event told", "–".into()),
        }
        let off = attached.as_ref().err().map_or(String::new(), |off| format!("{off}\n"));
        print(&format!("{table}{off}"))?;
        Ok(0)
    }
}
