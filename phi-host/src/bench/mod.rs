//! `phi-host bench ipc`: what a call and a message cost, here and beside what people use instead.
//!
//! The images of `tests/benchmark` measure themselves on every machine; the peers are measured in
//! the same run, pinned alike. On bare metal QEMU counts instructions (`-icount shift=0`), which two
//! runs repeat exactly.

mod peers;

use std::path::Path;

pub use peers::{PEER_WORD, peer_main};

use crate::table::{Align, Table};
use serde_json::{Value, json};

/// Why a measurement failed.
#[derive(Debug)]
pub enum BenchError {
    /// A peer's process could not be used.
    Peer(String),
    /// The system that measures could not be run.
    System(String),
    /// The system printed something else than its measurement.
    Output(String),
    /// The processors to run on could not be chosen.
    Affinity(nix::Error),
}

impl std::fmt::Display for BenchError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            BenchError::Peer(what) => write!(f, "a peer could not be measured: {what}"),
            BenchError::System(what) => write!(f, "the benchmark system did not run: {what}"),
            BenchError::Output(what) => {
                write!(f, "the benchmark system printed no measurement but: {what}")
            }
            BenchError::Affinity(error) => write!(f, "cannot choose a processor: {error}"),
        }
    }
}

impl std::error::Error for BenchError {}

/// Least, median and 99th percentile of some samples.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Distribution {
    /// The least.
    pub min: f64,
    /// The median.
    pub p50: f64,
    /// The 99th percentile.
    pub p99: f64,
}

impl Distribution {
    /// Of `samples`, in any order; all zero without samples.
    pub fn of(mut samples: Vec<u64>) -> Distribution {
        samples.sort_unstable();
        let at = |percent: usize| {
            let index = samples.len().saturating_sub(1) * percent / 100;
            samples.get(index).copied().unwrap_or_default() as f64
        };
        Distribution { min: at(0), p50: at(50), p99: at(99) }
    }

    fn from_json(value: &Value, scale: f64) -> Option<Distribution> {
        let field = |name: &str| Some(value.get(name)?.as_f64()? * scale);
        Some(Distribution { min: field("min")?, p50: field("p50")?, p99: field("p99")? })
    }

    fn json(&self) -> Value {
        json!({ "min": self.min, "p50": self.p50, "p99": self.p99 })
    }
}

/// One line of the result.
#[derive(Clone, PartialEq, Debug)]
pub struct Row {
    /// What was measured.
    pub name: String,
    /// Processors that both sides ran on.
    pub processors: usize,
    /// 64 bytes there and 64 back.
    pub round_trip: Distribution,
    /// From the caller's call to the server's return from its receive, where it can be told apart.
    pub call: Option<Distribution>,
    /// From the server's reply to the caller's return, where it can be told apart.
    pub reply: Option<Distribution>,
    /// Per message of 64 bytes, one way, where it was measured.
    pub one_way: Option<f64>,
    /// What the numbers count.
    pub unit: Unit,
}

/// What the numbers of a row count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// Time.
    Nanoseconds,
    /// Instructions of the guest.
    Instructions,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Unit::Nanoseconds => "ns",
            Unit::Instructions => "instructions",
        }
    }
}

impl Row {
    /// Of what the benchmark system printed.
    pub fn from_output(
        name: &str,
        processors: usize,
        unit: Unit,
        output: &[u8],
    ) -> Result<Row, BenchError> {
        let broken = || BenchError::Output(String::from_utf8_lossy(output).into_owned());
        let value: Value = serde_json::from_slice(output).map_err(|_| broken())?;
        let number = |name: &str| value.get(name).and_then(Value::as_f64).ok_or_else(broken);
        let scale = match unit {
            Unit::Nanoseconds => number("nanoseconds")? / number("ticks")?.max(1.0),
            Unit::Instructions => 1.0,
        };
        let distribution = |name: &str| {
            let field = value.get(name).and_then(|value| Distribution::from_json(value, scale));
            field.ok_or_else(broken)
        };
        Ok(Row {
            name: name.into(),
            processors,
            round_trip: distribution("round_trip")?,
            call: Some(distribution("call")?),
            reply: Some(distribution("reply")?),
            one_way: Some(number("one_way")? * scale),
            unit,
        })
    }

    /// A peer's, which measures round trips alone.
    fn of_peer(name: &str, processors: usize, round_trip: Distribution) -> Row {
        let unit = Unit::Nanoseconds;
        Row {
            name: name.into(),
            processors,
            round_trip,
            call: None,
            reply: None,
            one_way: None,
            unit,
        }
    }

    /// As a JSON object.
    pub fn json(&self) -> Value {
        json!({
            "name": self.name,
            "processors": self.processors,
            "unit": self.unit.name(),
            "round_trip": self.round_trip.json(),
            "call": self.call.map(|call| call.json()),
            "reply": self.reply.map(|reply| reply.json()),
            "one_way": self.one_way,
        })
    }
}

/// Runs `measure` with this process, and those that it starts, on the first `processors`
/// processors that it may use; `None` when there are not so many.
pub fn pinned<T>(
    processors: usize,
    measure: impl FnOnce() -> Result<T, BenchError>,
) -> Result<Option<T>, BenchError> {
    use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
    use nix::unistd::Pid;
    let own = Pid::from_raw(0);
    let all = sched_getaffinity(own).map_err(BenchError::Affinity)?;
    let mut some = CpuSet::new();
    let mut count = 0;
    for processor in 0..CpuSet::count() {
        if count < processors && all.is_set(processor).unwrap_or(false) {
            some.set(processor).map_err(BenchError::Affinity)?;
            count += 1;
        }
    }
    if count < processors {
        return Ok(None);
    }
    sched_setaffinity(own, &some).map_err(BenchError::Affinity)?;
    let result = measure();
    sched_setaffinity(own, &all).map_err(BenchError::Affinity)?;
    result.map(Some)
}

/// The peers' rows, on `processors` processors.
pub fn peer_rows(processors: usize, rounds: usize) -> Result<Vec<Row>, BenchError> {
    Ok(vec![
        Row::of_peer("pipe", processors, peers::pipe(rounds)?),
        Row::of_peer("Unix seqpacket", processors, peers::seqpacket(rounds)?),
    ])
}

/// The manifest of the system that measures, below the project's folder.
pub fn system(project: &Path) -> std::path::PathBuf {
    project.join("tests/benchmark/phi.toml")
}

/// The rows as a table.
pub fn table(rows: &[Row]) -> String {
    let number = |value: Option<f64>| value.map_or("–".into(), |value| format!("{value:.0}"));
    let mut table = Table::new([
        ("machine", Align::Left),
        ("cpus", Align::Right),
        ("round trip p50", Align::Right),
        ("p99", Align::Right),
        ("call p50", Align::Right),
        ("reply p50", Align::Right),
        ("one way", Align::Right),
        ("unit", Align::Left),
    ]);
    for row in rows {
        table.push([
            row.name.clone(),
            row.processors.to_string(),
            number(Some(row.round_trip.p50)),
            number(Some(row.round_trip.p99)),
            number(row.call.map(|call| call.p50)),
            number(row.reply.map(|reply| reply.p50)),
            number(row.one_way),
            row.unit.name().into(),
        ]);
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measurement_is_read_in_its_unit() {
        let output = br#"{"rounds":2,"nanoseconds":100,"ticks":200,
            "round_trip":{"min":20,"p50":30,"p99":40},"call":{"min":1,"p50":2,"p99":3},
            "reply":{"min":1,"p50":2,"p99":3},"one_way":8}"#;
        let time = Row::from_output("x", 1, Unit::Nanoseconds, output).unwrap();
        assert_eq!(time.round_trip, Distribution { min: 10.0, p50: 15.0, p99: 20.0 });
        assert_eq!(time.one_way, Some(4.0));
        let counted = Row::from_output("x", 1, Unit::Instructions, output).unwrap();
        assert_eq!(counted.round_trip.p50, 30.0);
        assert!(Row::from_output("x", 1, Unit::Nanoseconds, b"panic").is_err());
        assert!(Row::from_output("x", 1, Unit::Nanoseconds, b"{}").is_err());
    }

    #[test]
    fn percentiles_are_samples() {
        let distribution = Distribution::of((1..=100).rev().collect());
        assert_eq!((distribution.min, distribution.p50, distribution.p99), (1.0, 50.0, 99.0));
        assert_eq!(Distribution::of(Vec::new()).p99, 0.0);
    }
}
