//! `phi-host ps`.

use super::running::{self, Found, Running, RunningArgument};
use super::{print, print_json};
use crate::control::protocol::ServiceView;
use crate::dump::{self, Dump};
use crate::failure::{Failure, Kind};
use crate::table::{Align, Table, bytes, time};
use serde_json::{Value, json};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "\
Without SYSTEM, the only system that runs; several are listed. Ends with status 5 when none runs.

Examples:
  phi-host ps
  phi-host ps wordcount
  phi-host ps --json wordcount
  phi-host ps --dump wordcount.dump";

/// Print the services of a system that runs, or of a dump, and what each waits for
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Ps {
    #[command(flatten)]
    running: RunningArgument,
    /// Print what a dump of the bare-metal kernel says; see `boot --dump`
    #[arg(long, value_name = "FILE", conflicts_with = "system")]
    dump: Option<PathBuf>,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

impl Ps {
    /// Does it; returns the exit status.
    ///
    /// # Errors
    /// Any [`Failure`].
    pub fn perform(&self) -> Result<u8, Failure> {
        if let Some(file) = &self.dump {
            let dump = read(file)?;
            let (state, services) = (dump.state(), dump.services());
            match self.json {
                true => print_json(&json!({
                    "dump": { "name": state.name, "reason": state.reason, "time": state.time },
                    "services": services,
                }))?,
                false => print(&table(&services))?,
            }
            return Ok(0);
        }
        match self.running.find()? {
            Found::Several(all) => {
                match self.json {
                    true => print_json(
                        &json!({ "systems": all.iter().map(system).collect::<Value>() }),
                    )?,
                    false if all.is_empty() => eprintln!("phi-host: no system of this user runs"),
                    false => print(&systems(&all))?,
                }
                Ok(if all.is_empty() { Kind::Ended.status() } else { 0 })
            }
            Found::One(mut running) => {
                let services = running.client.services();
                let (_, services) =
                    services.map_err(|error| running::failure(&running.name, &error))?;
                match self.json {
                    true => print_json(&json!({ "system": running.system, "services": services }))?,
                    false => print(&table(&services))?,
                }
                Ok(0)
            }
        }
    }
}

/// The dump in a file.
fn read(file: &Path) -> Result<Dump, Failure> {
    let mut bytes = Vec::new();
    let opened = File::open(file);
    // One byte more shows that there are more.
    let read = opened.and_then(|opened| opened.take(dump::SIZE as u64 + 1).read_to_end(&mut bytes));
    read.map_err(|error| {
        Failure::new(Kind::Input, format!("the dump cannot be read: {error}"))
            .in_file(file)
            .help("name a file that `phi-host boot --dump FILE` wrote")
    })?;
    Dump::open(&bytes).map_err(|error| {
        Failure::new(Kind::Input, error.to_string())
            .in_file(file)
            .help("write it again: phi-host boot SYSTEM --dump FILE")
    })
}

fn system(running: &Running) -> Value {
    json!({ "run": running.name, "system": running.system })
}

/// The systems that run.
fn systems(all: &[Running]) -> String {
    let mut table = Table::new([
        ("run", Align::Left),
        ("system", Align::Left),
        ("supervisor", Align::Right),
        ("services", Align::Right),
        ("mode", Align::Left),
        ("runs for", Align::Right),
        ("source", Align::Left),
    ]);
    for Running { name, system, .. } in all {
        table.push([
            name.clone(),
            system.name.clone(),
            system.supervisor.to_string(),
            system.services.to_string(),
            system.mode.clone(),
            time(system.time),
            system.source.clone().unwrap_or("–".into()),
        ]);
    }
    table.to_string()
}

/// The services, with a line for each thread.
fn table(services: &[ServiceView]) -> String {
    let mut table = Table::new([
        ("service", Align::Left),
        ("generation", Align::Right),
        ("state", Align::Left),
        ("process", Align::Right),
        ("CPU time", Align::Right),
        ("memory", Align::Right),
        ("of", Align::Right),
        ("messages", Align::Right),
        ("waits for", Align::Left),
    ]);
    for service in services {
        let mut waits = service.waits().into_iter();
        table.push([
            service.name.clone(),
            service.generation.to_string(),
            service.state.to_string(),
            service.process.map_or("–".into(), |process| process.to_string()),
            time(service.processor_nanoseconds),
            bytes(service.memory),
            bytes(service.memory_quota),
            service.messages.to_string(),
            waits.next().unwrap_or_default(),
        ]);
        for wait in waits {
            let mut row = [const { String::new() }; 9];
            row[8] = wait;
            table.push(row);
        }
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::protocol::{Activity, ServiceState, ThreadView};

    #[test]
    fn each_thread_has_a_line() {
        let thread = |slot| ThreadView { slot, activity: Activity::Sleeping, remaining: None };
        let service = ServiceView {
            name: "one".into(),
            generation: 2,
            state: ServiceState::Running,
            process: Some(17),
            memory: 4096,
            memory_quota: 1 << 20,
            messages: 3,
            threads: vec![thread(0), thread(1)],
            thread_count: 5,
            ..ServiceView::default()
        };
        let expected = "\
service  generation  state    process  CPU time  memory     of  messages  waits for
one               2  running       17      0 ns   4 KiB  1 MiB         3  time
                                                                          time
                                                                          and 3 threads more
";
        assert_eq!(table(&[service]), expected);
    }
}
