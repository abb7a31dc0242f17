//! `phi-host bench`: what a call and a message cost, here and beside what people use instead, and what
//! the sites for tracers cost.
//!
//! The images of `tests/benchmark` measure themselves on every machine; the peers are measured in
//! the same run, pinned alike. On bare metal QEMU counts instructions (`-icount shift=0`), which two
//! runs repeat exactly.

pub mod disk;
pub mod one_way;
pub mod peers;
pub mod plot;
pub mod probes;
pub mod promises;
pub mod revocation;
pub mod side_by_side;
pub mod start;
pub mod without_sites;

use std::path::Path;
use std::process::{Command, Stdio};

use peers::Program;

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
    fn from_json(value: &Value, scale: f64) -> Option<Distribution> {
        let field = |name: &str| Some(value.get(name)?.as_f64()? * scale);
        Some(Distribution { min: field("min")?, p50: field("p50")?, p99: field("p99")? })
    }

    fn json(&self) -> Value {
        json!({ "min": self.min, "p50": self.p50, "p99": self.p99 })
    }
}

/// What a system that measures printed.
///
/// # Errors
/// It is no JSON.
pub fn parsed(output: &[u8]) -> Result<Value, BenchError> {
    let broken = |_| BenchError::Output(String::from_utf8_lossy(output).into_owned());
    serde_json::from_slice(output).map_err(broken)
}

/// The fields of one measurement, in one unit.
pub struct Times<'a> {
    value: &'a Value,
    scale: f64,
}

impl<'a> Times<'a> {
    /// In nanoseconds: the measurement says how many ticks of the counter took how long.
    ///
    /// # Errors
    /// It does not.
    pub fn new(value: &'a Value) -> Result<Times<'a>, BenchError> {
        let ticks = Times::as_they_are(value);
        let scale = ticks.number("nanoseconds")? / ticks.number("ticks")?.max(1.0);
        Ok(Times { value, scale })
    }

    /// In ticks of the counter, which are instructions where QEMU counts them.
    pub fn as_they_are(value: &'a Value) -> Times<'a> {
        Times { value, scale: 1.0 }
    }

    fn broken(&self) -> BenchError {
        BenchError::Output(self.value.to_string())
    }

    /// One field that is a number.
    ///
    /// # Errors
    /// There is none.
    pub fn number(&self, name: &str) -> Result<f64, BenchError> {
        let number = self.value.get(name).and_then(Value::as_f64);
        number.map(|number| number * self.scale).ok_or_else(|| self.broken())
    }

    /// One field that is a distribution.
    ///
    /// # Errors
    /// There is none.
    pub fn distribution(&self, name: &str) -> Result<Distribution, BenchError> {
        let field = self.value.get(name);
        let distribution = field.and_then(|field| Distribution::from_json(field, self.scale));
        distribution.ok_or_else(|| self.broken())
    }

    /// A field of fields that are distributions, each under a number, in the order of those.
    ///
    /// # Errors
    /// There is none.
    pub fn by_number(&self, name: &str) -> Result<Vec<(u64, Distribution)>, BenchError> {
        let fields = self.value.get(name).and_then(Value::as_object);
        let fields = fields.ok_or_else(|| self.broken())?.iter().map(|(number, field)| {
            Some((number.parse().ok()?, Distribution::from_json(field, self.scale)?))
        });
        let mut fields: Vec<(u64, Distribution)> =
            fields.collect::<Option<_>>().ok_or_else(|| self.broken())?;
        fields.sort_by_key(|(number, _)| *number);
        Ok(fields)
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
    ///
    /// # Errors
    /// It is no measurement.
    pub fn from_output(
        name: &str,
        processors: usize,
        unit: Unit,
        output: &[u8],
    ) -> Result<Row, BenchError> {
        let value = parsed(output)?;
        let times = match unit {
            Unit::Nanoseconds => Times::new(&value)?,
            Unit::Instructions => Times::as_they_are(&value),
        };
        Ok(Row {
            name: name.into(),
            processors,
            round_trip: times.distribution("round_trip")?,
            call: Some(times.distribution("call")?),
            reply: Some(times.distribution("reply")?),
            one_way: Some(times.number("one_way")?),
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

/// For as long as it lasts, this process and those that it starts run before all others of the computer,
/// first in, first out, if Linux allows that.
pub struct FirstInFirstOut(nix::Result<()>);

impl FirstInFirstOut {
    /// Begins.
    pub fn begin() -> FirstInFirstOut {
        FirstInFirstOut(crate::linux::scheduling::set_first_in_first_out(true))
    }

    /// Why Linux does not allow it, if so.
    pub fn refusal(&self) -> Option<String> {
        self.0.err().map(|error| error.desc().to_string())
    }
}

/// How what was measured was scheduled, in words; `refusal` as [`FirstInFirstOut::refusal`] says.
pub fn scheduling(refusal: Option<&str>) -> String {
    match refusal {
        None => "all of them SCHED_FIFO".into(),
        Some(why) => format!("not SCHED_FIFO ({why}): others may have come between"),
    }
}

/// What a program that measures printed; or why it did not.
fn said_by(command: &mut Command) -> Result<Vec<u8>, String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{} ({})", said.trim(), output.status));
    }
    Ok(output.stdout)
}

impl Drop for FirstInFirstOut {
    fn drop(&mut self) {
        if self.0.is_ok() {
            // Who may ask for more may ask for less.
            let _ = crate::linux::scheduling::set_first_in_first_out(false);
        }
    }
}

/// The peers' rows, on `processors` processors.
///
/// # Errors
/// A peer cannot be measured.
pub fn peer_rows(
    program: &Program,
    processors: usize,
    rounds: usize,
) -> Result<Vec<Row>, BenchError> {
    let row = |name: &str, peer: &str| {
        let value = program.measure(peer, "round-trip", rounds)?;
        let times = Times::new(&value)?;
        Ok(Row::of_peer(name, processors, times.distribution("round_trip")?))
    };
    Ok(vec![row("pipe", "pipe")?, row("Unix seqpacket", "seqpacket")?])
}

/// The manifest of a system that measures, below the project's folder.
pub fn system(project: &Path, manifest: &str) -> std::path::PathBuf {
    project.join("tests/benchmark").join(manifest)
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
    fn fields_under_numbers_come_in_order() {
        let value = json!({ "nanoseconds": 10, "ticks": 20, "sizes": {
            "100": { "min": 2, "p50": 4, "p99": 6 }, "20": { "min": 1, "p50": 2, "p99": 3 },
        } });
        let sizes = Times::new(&value).unwrap().by_number("sizes").unwrap();
        assert_eq!(sizes[0], (20, Distribution { min: 0.5, p50: 1.0, p99: 1.5 }));
        assert_eq!(sizes[1].0, 100);
        assert!(Times::new(&value).unwrap().by_number("ticks").is_err());
    }
}
