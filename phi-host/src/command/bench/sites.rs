//! `phi-host bench probes`.

use super::super::{print, print_json};
use crate::bench::probes::{self, Costs};
use crate::bench::without_sites::{Builds, LIMIT, Row};
use crate::bench::{self, FirstInFirstOut};
use crate::cargo;
use crate::failure::Failure;
use crate::progress::Progress;
use crate::table::{Align, Table};
use serde_json::{Value, json};
use std::path::Path;

/// A site for tracers: without one, and with eBPF, which needs root
#[derive(clap::Args, Debug)]
pub struct Probes {
    /// Measure messages instead, beside a build without sites, which is made for it: minutes the first time
    #[arg(long)]
    throughput: bool,
    /// How often the messages are measured
    #[arg(long, value_name = "COUNT", default_value_t = 15, requires = "throughput",
        value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
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
        match self.throughput {
            true => throughput(self.rounds.into(), self.json),
            false => self.sites(),
        }
    }

    fn sites(&self) -> Result<u8, Failure> {
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

fn throughput(rounds: usize, json: bool) -> Result<u8, Failure> {
    let builds = Builds::make(&cargo::project(Path::new("."))?)?;
    let progress = Progress::of("measuring …");
    let class = FirstInFirstOut::begin();
    let rows = builds.measure(rounds, |round| {
        let share = round as f64 / rounds as f64;
        progress.advance(share, || format!("round {} of {rounds}", round + 1));
    })?;
    let refusal = class.refusal();
    drop((class, progress));
    if json {
        let row = |row: &Row| {
            json!({
                "what": row.what,
                "processors": row.processors,
                "with_sites": row.with.json(),
                "without_sites": row.without.json(),
                "ratio": row.ratio.json(),
                "at_most": LIMIT,
                "holds": row.holds(),
            })
        };
        print_json(&json!({
            "rounds": rounds,
            "first_in_first_out": refusal.is_none(),
            "rows": rows.iter().map(row).collect::<Vec<Value>>(),
        }))?;
        return Ok(0);
    }
    let mut table = Table::new([
        ("64 bytes, in ns", Align::Left),
        ("cpus", Align::Right),
        ("with sites", Align::Right),
        ("without", Align::Right),
        ("ratio", Align::Right),
        ("least", Align::Right),
        ("most", Align::Right),
        ("limit", Align::Right),
        ("holds", Align::Left),
    ]);
    for row in &rows {
        let ratio = |value: f64| format!("{value:.3}");
        table.push([
            row.what.into(),
            row.processors.to_string(),
            format!("{:.1}", row.with.median),
            format!("{:.1}", row.without.median),
            ratio(row.ratio.median),
            ratio(row.ratio.least),
            ratio(row.ratio.most),
            format!("≤ {LIMIT}"),
            if row.holds() { "yes" } else { "no" }.into(),
        ]);
    }
    let scheduling = bench::scheduling(refusal.as_deref());
    print(&format!("Medians of {rounds} rounds; {scheduling}.\n\n{table}"))?;
    Ok(0)
}
