//! `phi-host chaos`.

use super::session::linux_failure;
use super::{Isolation, SourceArguments, print, print_json};
use crate::failure::{Failure, Kind};
use crate::linux;
use crate::linux::chaos::{Outcome, Storms, run};
use serde_json::json;
use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

const EXAMPLES: &str = "\
Ends with status 0 when nothing was left of who was killed, and the system itself ended with status 0;
otherwise it says what was found, and ends with status 1. docs/chaos.md says what a system has to do.

Examples:
  phi-host chaos tests/chaos --spare keeper --spare witness --bell bell
  phi-host chaos tests/chaos --spare keeper --spare witness --bell bell --kills 10000 --seed 7";

/// Kill services at any moment, and look what is left of them
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Chaos {
    #[command(flatten)]
    source: SourceArguments,
    /// How many processes are killed
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(10..))]
    kills: u32,
    /// Where order and times of the kills come from; by default another one each time
    #[arg(long)]
    seed: Option<u64>,
    /// A service that nobody kills; `init` never is
    #[arg(long = "spare", value_name = "SERVICE")]
    spared: Vec<String>,
    /// A service that is killed when a storm of kills is over, and only then
    #[arg(long, value_name = "SERVICE")]
    bell: Option<String>,
    /// How far processes are isolated from Linux and from each other
    #[arg(long, value_enum, default_value = "full")]
    isolation: Isolation,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Chaos {
    /// Does it; returns the exit status.
    ///
    /// # Errors
    /// Any [`Failure`].
    pub fn perform(&self) -> Result<u8, Failure> {
        let loaded = self.source.load()?;
        let bundle = loaded.bundle()?;
        let names: Vec<&str> =
            bundle.plan().services.iter().map(|service| service.name.as_str()).collect();
        if let Some(unknown) =
            self.spared.iter().chain(&self.bell).find(|name| !names.contains(&name.as_str()))
        {
            return Err(Failure::new(Kind::Mistake, format!("there is no service `{unknown}`"))
                .help(format!("the services are {}", names.join(", "))));
        }
        let storms = Storms {
            kills: self.kills,
            seed: self.seed.unwrap_or_else(any_seed),
            spared: self.spared.clone(),
            bell: self.bell.clone(),
        };
        let options = linux::Options {
            isolation: self.isolation.into(),
            ..linux::Options::new(linux::Mode::Processes)
        };
        let log = &mut io::stderr();
        let outcome = match self.json {
            true => run(&bundle, &options, &storms, &mut Vec::new(), log),
            false => run(&bundle, &options, &storms, &mut io::stdout(), log),
        };
        let outcome = outcome.map_err(|error| linux_failure(&error))?;
        self.present(&storms, &outcome)
    }

    fn present(&self, storms: &Storms, outcome: &Outcome) -> Result<u8, Failure> {
        let Outcome { report, kills, findings } = outcome;
        let seed = storms.seed;
        if self.json {
            print_json(&json!({
                "seed": seed,
                "kills": kills,
                "status": report.status,
                "findings": findings,
            }))?;
        } else {
            let mut text: String = findings.iter().map(|what| format!("found: {what}\n")).collect();
            let status = report.status;
            text += &format!(
                "seed {seed}: {kills} kills, {} findings, status {status}\n",
                findings.len()
            );
            print(&text)?;
        }
        let interrupted = report.status > 128;
        let well = findings.is_empty() && report.status == 0;
        Ok(if interrupted { report.status } else { u8::from(!well) })
    }
}

/// A seed that is another one each time.
fn any_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_micros() as u64 % 1_000_000)
}
