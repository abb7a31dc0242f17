//! What one revocation costs, by the number of descendants that it ends.

use super::side_by_side::Spread;
use super::{BenchError, Times, Unit};
use crate::table::{Align, Table};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The medians of one machine's rounds, by the number of descendants.
pub struct Costs {
    /// The machine.
    pub name: String,
    /// What the numbers count.
    pub unit: Unit,
    rounds: BTreeMap<u64, Vec<f64>>,
}

impl Costs {
    /// Nothing yet.
    pub fn new(name: &str, unit: Unit) -> Costs {
        Costs { name: name.into(), unit, rounds: BTreeMap::new() }
    }

    /// Takes what the system printed in one round.
    ///
    /// # Errors
    /// It is no measurement.
    pub fn add(&mut self, output: &[u8]) -> Result<(), BenchError> {
        let value = super::parsed(output)?;
        let times = match self.unit {
            Unit::Nanoseconds => Times::new(&value)?,
            Unit::Instructions => Times::as_they_are(&value),
        };
        for (descendants, cost) in times.by_number("revocation")? {
            self.rounds.entry(descendants).or_default().push(cost.p50);
        }
        Ok(())
    }

    /// The number of descendants and what revoking them costs.
    pub fn spreads(&self) -> impl Iterator<Item = (u64, Spread)> + '_ {
        self.rounds.iter().map(|(descendants, values)| (*descendants, Spread::of(values)))
    }

    /// How much more the dearest number of descendants costs than the cheapest, as a ratio.
    pub fn ratio(&self) -> f64 {
        let medians = || self.spreads().map(|(_, spread)| spread.median);
        let least = medians().fold(f64::INFINITY, f64::min);
        medians().fold(0.0, f64::max) / least.max(f64::MIN_POSITIVE)
    }

    /// As a JSON object.
    pub fn json(&self) -> Value {
        let costs: Vec<Value> = self
            .spreads()
            .map(|(descendants, cost)| json!({ "descendants": descendants, "cost": cost.json() }))
            .collect();
        let (name, unit) = (&self.name, self.unit.name());
        json!({ "name": name, "unit": unit, "costs": costs, "ratio": self.ratio() })
    }
}

/// All machines' as a table, and their ratios.
pub fn table(machines: &[Costs]) -> String {
    let mut table = Table::new([
        ("machine", Align::Left),
        ("descendants", Align::Right),
        ("revocation", Align::Right),
        ("least", Align::Right),
        ("most", Align::Right),
        ("unit", Align::Left),
    ]);
    for costs in machines {
        for (descendants, cost) in costs.spreads() {
            let number = |value: f64| format!("{value:.0}");
            table.push([
                costs.name.clone(),
                descendants.to_string(),
                number(cost.median),
                number(cost.least),
                number(cost.most),
                costs.unit.name().into(),
            ]);
        }
    }
    let mut text = table.to_string();
    for costs in machines {
        text +=
            &format!("\n{}: the dearest is {:.2} times the cheapest", costs.name, costs.ratio());
    }
    text + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_is_of_medians() {
        let mut costs = Costs::new("x", Unit::Instructions);
        for (one, many) in [(100, 110), (100, 500), (90, 120)] {
            let line = json!({ "revocation": {
                "1": { "min": 1, "p50": one, "p99": 1 }, "1000": { "min": 1, "p50": many, "p99": 1 },
            } });
            costs.add(line.to_string().as_bytes()).unwrap();
        }
        assert_eq!(costs.ratio(), 1.2);
        assert!(table(&[costs]).contains("1.20 times"));
        assert!(Costs::new("x", Unit::Nanoseconds).add(b"{}").is_err());
    }
}
