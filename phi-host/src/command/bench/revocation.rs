//! `phi-host bench revocation`.

use super::super::session::Machine;
use super::super::{print, print_json};
use super::transcript;
use crate::bench::revocation::{Costs, table};
use crate::bench::{self, FirstInFirstOut, Unit};
use crate::failure::Failure;
use crate::progress::Progress;
use crate::{cargo, linux, qemu, system};
use serde_json::{Value, json};
use std::path::Path;

const EXAMPLES: &str = "\
A service derives so many capabilities from one, gives half of them to another service, and revokes
them all by one call, whose cost must not depend on how many they are. Bare metal counts instructions,
the same in each run; Linux measures nanoseconds.

Examples:
  phi-host bench revocation
  phi-host bench revocation --quick --json";

/// MiB of memory that the kernel needs for that many capabilities.
const MEMORY: u32 = 256;

/// One revocation of 1 to 100,000 descendants
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Revocation {
    /// How often Linux measures everything
    #[arg(long, value_name = "COUNT", default_value_t = 5,
        value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// Only 1 to 1,000 descendants
    #[arg(long)]
    quick: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl Revocation {
    /// Does it; returns the exit status.
    ///
    /// # Errors
    /// Any [`Failure`].
    pub fn perform(&self) -> Result<u8, Failure> {
        let project = cargo::project(Path::new("."))?;
        let manifest = if self.quick { "revocation-quick.toml" } else { "revocation.toml" };
        let loaded = system::load(&bench::system(&project, manifest), &[])?;
        let bundle = loaded.bundle()?;
        let kernel = qemu::kernel(&project)?;
        let linux = Machine::Linux(linux::Options::new(linux::Mode::Processes));
        let mut time = Costs::new("ΦOS, Linux processes", Unit::Nanoseconds);
        let progress = Progress::of("revoking on Linux …");
        let class = FirstInFirstOut::begin();
        for round in 0..self.rounds {
            progress.advance(f64::from(round) / f64::from(self.rounds), || {
                format!("revoking on Linux, round {} of {}", round + 1, self.rounds)
            });
            if let Some(output) = bench::pinned(1, || transcript(&bundle, &linux))? {
                time.add(&output)?;
            }
        }
        drop((progress, class));
        let progress = Progress::new("counting instructions on bare metal …");
        let options = qemu::Options {
            memory: Some(MEMORY),
            count_instructions: true,
            ..qemu::Options::default()
        };
        let mut instructions = Costs::new("ΦOS, bare metal", Unit::Instructions);
        instructions.add(&transcript(&bundle, &Machine::Metal(&kernel, options))?)?;
        drop(progress);
        let machines = [time, instructions];
        match self.json {
            true => {
                let machines: Vec<Value> = machines.iter().map(Costs::json).collect();
                print_json(&json!({ "rounds": self.rounds, "machines": machines }))?;
            }
            false => print(&table(&machines))?,
        }
        Ok(0)
    }
}
