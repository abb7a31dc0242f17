//! `phi-host bench start`.

use crate::bench::start::{self, Idle, Start};
use crate::cargo;
use crate::command::{print, print_json};
use crate::failure::Failure;
use crate::progress::Progress;
use crate::table::{Align, Table};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

/// How many services are started, and for how long they wait.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Services that are started and wait; may be given several times
    #[arg(long, value_name = "NUMBER", default_values_t = [1, 100, start::SERVICES as u64],
        value_parser = clap::value_parser!(u64).range(1..=start::SERVICES as u64))]
    services: Vec<u64>,
    /// Seconds for which they are watched while they wait
    #[arg(long, value_name = "NUMBER", default_value_t = 5,
        value_parser = clap::value_parser!(u64).range(1..=3000))]
    seconds: u64,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl Arguments {
    /// Measures; returns the exit status.
    ///
    /// # Errors
    /// Any [`Failure`].
    pub fn perform(&self) -> Result<u8, Failure> {
        let project = cargo::project(Path::new("."))?;
        let time = Duration::from_secs(self.seconds);
        let mut rows = Vec::new();
        for services in &self.services {
            let services = *services as usize;
            let bundle = start::bundle(&project, services)?;
            let progress = Progress::new(format!("starting {services} services …"));
            rows.push(start::system(Path::new("/proc/self/exe"), &bundle, services, time)?);
            rows.extend(start::peers(services, &progress)?);
        }
        if self.json {
            print_json(&json!({ "rows": rows.iter().map(json).collect::<Vec<Value>>() }))?;
        } else {
            print(&table(&rows))?;
        }
        Ok(0)
    }
}

fn json(row: &Start) -> Value {
    let idle = |idle: &Idle| {
        json!({
            "seconds": idle.time.as_secs_f64(),
            "processes": idle.processes.len(),
            "cpu_nanoseconds": idle.cpu_nanoseconds,
            "switches": idle.switches,
        })
    };
    json!({
        "name": row.name,
        "services": row.services,
        "total_seconds": row.total.as_secs_f64(),
        "cpu_nanoseconds": row.cpu_nanoseconds,
        "idle": row.idle.as_ref().map(idle),
    })
}

fn table(rows: &[Start]) -> String {
    let mut table = Table::new([
        ("what", Align::Left),
        ("services", Align::Right),
        ("all wait after ms", Align::Right),
        ("each ms", Align::Right),
        ("CPU ms of all", Align::Right),
        ("then in s", Align::Right),
        ("CPU ns", Align::Right),
        ("switches", Align::Right),
    ]);
    for row in rows {
        let total = row.total.as_secs_f64() * 1e3;
        let idle = |text: fn(&Idle) -> String| row.idle.as_ref().map_or("–".into(), text);
        table.push([
            row.name.clone(),
            row.services.to_string(),
            format!("{total:.0}"),
            format!("{:.2}", total / row.services as f64),
            row.cpu_nanoseconds.map_or("–".into(), |time| (time / 1_000_000).to_string()),
            idle(|idle| idle.time.as_secs().to_string()),
            idle(|idle| idle.cpu_nanoseconds.to_string()),
            idle(|idle| idle.switches.to_string()),
        ]);
    }
    table.to_string()
}
