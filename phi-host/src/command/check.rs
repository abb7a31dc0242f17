//! `phi-host check`.

use super::{SystemArgument, print, print_json};
use crate::failure::{Failure, Kind};
use crate::system::{self, System};
use serde_json::json;

const EXAMPLES: &str = "\
Ends with status 2 when there are mistakes.

Examples:
  phi-host check examples/wordcount
  phi-host check --json examples/wordcount";

/// Check a manifest, and report every mistake in it
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Check {
    #[command(flatten)]
    source: SystemArgument,
    /// Print the result, mistakes included, as JSON
    #[arg(long)]
    json: bool,
}

impl Check {
    /// Does it; returns the exit status.
    ///
    /// # Errors
    /// Any [`Failure`].
    pub fn perform(&self) -> Result<u8, Failure> {
        if self.json {
            return self.perform_json();
        }
        let plan = without_inputs(&System::open(&self.source.system)?)?;
        let services = count(plan.services.len(), "service");
        let capabilities = plan.services.iter().map(|service| service.capabilities.len()).sum();
        let capabilities = count(capabilities, "capability");
        print(&format!("{}: {services}, {capabilities}, no mistakes\n", plan.name))?;
        Ok(0)
    }

    fn perform_json(&self) -> Result<u8, Failure> {
        let (file, result) = system::check(&self.source.system)?;
        let shown = file.display().to_string();
        match result {
            Ok(manifest) => {
                let plan = without_inputs(&System { file: file.clone(), manifest })?;
                let capabilities: usize =
                    plan.services.iter().map(|service| service.capabilities.len()).sum();
                print_json(&json!({
                    "file": shown,
                    "name": plan.name,
                    "services": plan.services.len(),
                    "capabilities": capabilities,
                    "mistakes": [],
                }))?;
                Ok(0)
            }
            Err(diagnostics) => {
                let mistakes: Vec<_> = diagnostics
                    .iter()
                    .map(|diagnostic| {
                        json!({
                            "line": diagnostic.line,
                            "column": diagnostic.column,
                            "cause": diagnostic.cause,
                            "cure": diagnostic.cure,
                        })
                    })
                    .collect();
                print_json(&json!({ "file": shown, "mistakes": mistakes }))?;
                Ok(Kind::Mistake.status())
            }
        }
    }
}

/// The plan of a system whose inputs are empty.
pub fn without_inputs(system: &System) -> Result<phi_manifest::plan::Plan, Failure> {
    system.plan(&vec![0; system.manifest.inputs().len()])
}

fn count(number: usize, singular: &str) -> String {
    match (number, singular.strip_suffix('y')) {
        (1, _) => format!("1 {singular}"),
        (_, Some(stem)) => format!("{number} {stem}ies"),
        (_, None) => format!("{number} {singular}s"),
    }
}
