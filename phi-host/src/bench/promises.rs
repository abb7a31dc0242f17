//! What the design promises of messages, as ratios of figures of one run.

use super::side_by_side::{FUTEX_SPINNING, ICEORYX2, OURS, PIPE, Quantity, Row, SHMEM_IPC};
use crate::table::{Align, Table};
use serde_json::{Value, json};

/// One promise.
#[derive(Clone, PartialEq, Debug)]
pub struct Promise {
    /// What is compared.
    pub what: String,
    /// The ratio that was measured; `None` where one of both was not.
    pub ratio: Option<f64>,
    /// Its limit.
    pub limit: Limit,
}

/// What a ratio must be.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Limit {
    /// Not more.
    AtMost(f64),
    /// Not less.
    AtLeast(f64),
}

impl Promise {
    /// Whether it holds; `None` where that was not measured.
    pub fn holds(&self) -> Option<bool> {
        let ratio = self.ratio?;
        Some(match self.limit {
            Limit::AtMost(limit) => ratio <= limit,
            Limit::AtLeast(limit) => ratio >= limit,
        })
    }

    /// As a JSON object.
    pub fn json(&self) -> Value {
        let (at_most, at_least) = match self.limit {
            Limit::AtMost(limit) => (Some(limit), None),
            Limit::AtLeast(limit) => (None, Some(limit)),
        };
        json!({
            "what": self.what,
            "ratio": self.ratio,
            "at_most": at_most,
            "at_least": at_least,
            "holds": self.holds(),
        })
    }
}

/// All promises, by these figures.
pub fn all(rows: &[Row]) -> Vec<Promise> {
    let row = |quantity: Quantity, processors: usize, name: &str| {
        rows.iter().find(|row| {
            row.quantity == quantity && row.processors == processors && row.name == name
        })
    };
    let time = |quantity, processors, name: &str| {
        row(quantity, processors, name).map(|row| row.p50.median)
    };
    let ours = |quantity, processors| time(quantity, processors, OURS);
    let of = |one: Option<f64>, other: Option<f64>| Some(one? / other?.max(f64::MIN_POSITIVE));
    let high = row(Quantity::RoundTrip, 2, OURS).and_then(|row| row.p99).map(|p99| p99.median);
    let (trip, one_way) = (Quantity::RoundTrip, Quantity::OneWay);
    let (small, large) = (Quantity::HandOver(4 << 10), Quantity::HandOver(64 << 20));
    let (lend_small, lend_large) = (Quantity::Lend(4 << 10), Quantity::Lend(64 << 20));
    use Limit::{AtLeast, AtMost};
    [
        (
            format!("round trip on 2 cpus: {OURS} / {FUTEX_SPINNING}"),
            of(ours(trip, 2), time(trip, 2, FUTEX_SPINNING)),
            AtMost(1.2),
        ),
        (
            format!("round trip on 2 cpus: {ICEORYX2} / {OURS}"),
            of(time(trip, 2, ICEORYX2), ours(trip, 2)),
            AtLeast(4.0),
        ),
        (
            format!("round trip on 2 cpus: p99 / p50 of {OURS}"),
            of(high, ours(trip, 2)),
            AtMost(3.0),
        ),
        (
            format!("round trip on 1 cpu: {OURS} / {PIPE}"),
            of(ours(trip, 1), time(trip, 1, PIPE)),
            AtMost(1.0),
        ),
        (
            format!("one way on 1 cpu: {OURS} / {SHMEM_IPC}"),
            of(ours(one_way, 1), time(one_way, 1, SHMEM_IPC)),
            AtMost(1.0),
        ),
        (
            format!("one way on 2 cpus: {OURS} / {SHMEM_IPC}"),
            of(ours(one_way, 2), time(one_way, 2, SHMEM_IPC)),
            AtMost(1.0),
        ),
        (
            format!("one way on 2 cpus: {ICEORYX2} / {OURS}"),
            of(time(one_way, 2, ICEORYX2), ours(one_way, 2)),
            AtLeast(5.0),
        ),
        (
            format!("hand over on 2 cpus: 64 MiB / 4 KiB of {OURS}"),
            of(ours(large, 2), ours(small, 2)),
            AtMost(1.5),
        ),
        (
            format!("lend on 2 cpus: 64 MiB / 4 KiB of {OURS}"),
            of(ours(lend_large, 2), ours(lend_small, 2)),
            AtMost(1.5),
        ),
        (
            format!("hand over 64 MiB on 2 cpus: {OURS} / {ICEORYX2}"),
            of(ours(large, 2), time(large, 2, ICEORYX2)),
            AtMost(1.0),
        ),
    ]
    .into_iter()
    .map(|(what, ratio, limit)| Promise { what, ratio, limit })
    .collect()
}

/// The promises as a table.
pub fn table(promises: &[Promise]) -> String {
    let mut table = Table::new([
        ("promise", Align::Left),
        ("ratio", Align::Right),
        ("limit", Align::Right),
        ("holds", Align::Left),
    ]);
    for promise in promises {
        let limit = match promise.limit {
            Limit::AtMost(limit) => format!("≤ {limit}"),
            Limit::AtLeast(limit) => format!("≥ {limit}"),
        };
        let holds = match promise.holds() {
            Some(true) => "yes",
            Some(false) => "no",
            None => "not measured",
        };
        let ratio = promise.ratio.map_or("–".into(), |ratio| format!("{ratio:.2}"));
        table.push([promise.what.clone(), ratio, limit, holds.into()]);
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::super::side_by_side::Spread;
    use super::*;

    fn row(quantity: Quantity, processors: usize, name: &'static str, time: f64) -> Row {
        let p50 = Spread { median: time, least: time, most: time };
        let p99 = Some(Spread { median: time * 2.0, least: time, most: time * 3.0 });
        Row { quantity, processors, name, p50, p99 }
    }

    #[test]
    fn promises_compare_what_was_measured() {
        let rows = [
            row(Quantity::RoundTrip, 2, OURS, 120.0),
            row(Quantity::RoundTrip, 2, FUTEX_SPINNING, 100.0),
            row(Quantity::RoundTrip, 2, ICEORYX2, 400.0),
            row(Quantity::RoundTrip, 1, PIPE, 100.0),
        ];
        let promises = all(&rows);
        let holds: Vec<Option<bool>> = promises.iter().map(Promise::holds).collect();
        assert_eq!(holds[..4], [Some(true), Some(false), Some(true), None]);
        assert!(table(&promises).contains("not measured"));
    }
}
