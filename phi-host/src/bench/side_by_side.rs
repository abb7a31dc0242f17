//! ΦOS and what people use instead, in one run: everything by turns, for several rounds, so that what else
//! the computer does in that time concerns all alike.

use super::promises::Promise;
use super::{BenchError, Times};
use crate::table::{Align, Table};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What ΦOS is called here.
pub const OURS: &str = "ΦOS";

/// The names of the peers that others are compared with.
pub const FUTEX_SPINNING: &str = "futex ring, spinning";
/// As above.
pub const PIPE: &str = "pipe";
/// As above.
pub const ICEORYX2: &str = "iceoryx2, polling";
/// As above.
pub const SHMEM_IPC: &str = "shmem-ipc";

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Quantity {
    /// 64 bytes there and 64 back.
    RoundTrip,
    /// 64 bytes there, per message.
    OneWay,
    /// 64 bytes there and back, as each of 16 clients of one server finds it.
    FanIn,
    /// The same, the time of all by their number.
    FanInEach,
    /// So many bytes handed over unread, and acknowledged; they stay where both sides have them mapped.
    HandOver(u64),
    /// The same, lent: the receiver has them until it answers and not a moment longer.
    Lend(u64),
}

impl Quantity {
    /// In words.
    pub fn name(self) -> String {
        match self {
            Quantity::RoundTrip => "round trip".into(),
            Quantity::OneWay => "one way".into(),
            Quantity::FanIn => "16 to 1, round trip".into(),
            Quantity::FanInEach => "16 to 1, per call".into(),
            Quantity::HandOver(bytes) => format!("hand over {}", size(bytes)),
            Quantity::Lend(bytes) => format!("lend {}", size(bytes)),
        }
    }
}

/// Bytes, in the largest unit that gives a whole number.
fn size(bytes: u64) -> String {
    match bytes >> 20 {
        0 => format!("{} KiB", bytes >> 10),
        mebibytes => format!("{mebibytes} MiB"),
    }
}

/// One measurement, as the program of the peers names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Measurement {
    /// Round trips; of ΦOS also one way.
    RoundTrip,
    /// One way, of a peer.
    OneWay,
    /// Many to one.
    FanIn,
    /// Much at once.
    HandOver,
}

impl Measurement {
    /// The word for it, and how many messages there are.
    pub fn word(self) -> (&'static str, usize) {
        match self {
            Measurement::RoundTrip => ("round-trip", 10_000),
            Measurement::OneWay => ("one-way", 10_000),
            Measurement::FanIn => ("fan-in", 9_600),
            Measurement::HandOver => ("hand-over", 1000),
        }
    }

    /// The manifest that measures it of ΦOS.
    pub fn manifest(self) -> &'static str {
        match self {
            Measurement::RoundTrip | Measurement::OneWay => "messages.toml",
            Measurement::FanIn => "fan-in.toml",
            Measurement::HandOver => "lending.toml",
        }
    }
}

/// One peer, or ΦOS itself.
pub struct Contestant {
    /// For people.
    pub name: &'static str,
    /// Its word for the program of the peers, which is what it is chosen by; ΦOS has none.
    pub word: Option<&'static str>,
    /// Whether it is a library, which is built for this alone.
    pub library: bool,
    /// What of it is measured, and on how many processors.
    pub measurements: &'static [(Measurement, &'static [usize])],
}

use Measurement::{FanIn, HandOver, OneWay, RoundTrip};

/// All of them. Who spins is measured on two processors, who sleeps on one, and who does neither by
/// choice on both.
pub const CONTESTANTS: [Contestant; 9] = [
    Contestant {
        name: OURS,
        word: None,
        library: false,
        measurements: &[(RoundTrip, &[1, 2]), (FanIn, &[1, 2]), (HandOver, &[1, 2])],
    },
    Contestant {
        name: FUTEX_SPINNING,
        word: Some("futex-spinning"),
        library: false,
        measurements: &[(RoundTrip, &[2]), (OneWay, &[2]), (HandOver, &[2])],
    },
    Contestant {
        name: "futex ring, blocking",
        word: Some("futex-blocking"),
        library: false,
        measurements: &[(RoundTrip, &[1]), (OneWay, &[1]), (FanIn, &[1, 2]), (HandOver, &[1])],
    },
    Contestant {
        name: "eventfd + memory",
        word: Some("eventfd"),
        library: false,
        measurements: &[(RoundTrip, &[1, 2]), (FanIn, &[1, 2])],
    },
    Contestant {
        name: PIPE,
        word: Some("pipe"),
        library: false,
        measurements: &[
            (RoundTrip, &[1, 2]),
            (OneWay, &[1, 2]),
            (FanIn, &[1, 2]),
            (HandOver, &[2]),
        ],
    },
    Contestant {
        name: "Unix seqpacket",
        word: Some("seqpacket"),
        library: false,
        measurements: &[(RoundTrip, &[1, 2]), (OneWay, &[1, 2]), (FanIn, &[1, 2])],
    },
    Contestant {
        name: ICEORYX2,
        word: Some("iceoryx2"),
        library: true,
        measurements: &[(RoundTrip, &[2]), (OneWay, &[2]), (FanIn, &[2]), (HandOver, &[2])],
    },
    Contestant {
        name: "iceoryx2, event",
        word: Some("iceoryx2-event"),
        library: true,
        measurements: &[(RoundTrip, &[1])],
    },
    Contestant {
        name: SHMEM_IPC,
        word: Some("shmem-ipc"),
        library: true,
        measurements: &[(RoundTrip, &[1, 2]), (OneWay, &[1, 2])],
    },
];

/// Median of the rounds, the least and the most, in nanoseconds.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Spread {
    /// The median.
    pub median: f64,
    /// The least.
    pub least: f64,
    /// The most.
    pub most: f64,
}

impl Spread {
    /// Of one value of each round; all zero without rounds.
    pub fn of(values: &[f64]) -> Spread {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or_default();
        let last = sorted.len().saturating_sub(1);
        Spread { median: at(last / 2), least: at(0), most: at(last) }
    }

    /// As a JSON object.
    pub fn json(&self) -> Value {
        json!({ "median": self.median, "least": self.least, "most": self.most })
    }
}

/// One line of the result.
#[derive(Clone, PartialEq, Debug)]
pub struct Row {
    /// What was measured.
    pub quantity: Quantity,
    /// Processors that all its processes ran on.
    pub processors: usize,
    /// Whose it is.
    pub name: &'static str,
    /// The median of one round, or its only value.
    pub p50: Spread,
    /// The 99th percentile of one round.
    pub p99: Option<Spread>,
}

impl Row {
    fn json(&self) -> Value {
        json!({
            "what": self.quantity.name(),
            "processors": self.processors,
            "name": self.name,
            "unit": "ns",
            "p50": self.p50.json(),
            "p99": self.p99.map(|p99| p99.json()),
        })
    }
}

/// Where a figure stands in the result: what, on how many processors, and whose (index among
/// [`CONTESTANTS`]).
type Key = (Quantity, usize, usize);

/// What has been measured so far.
#[derive(Default)]
pub struct Rounds(BTreeMap<Key, (Vec<f64>, Vec<f64>)>);

impl Rounds {
    /// Takes what one measurement of the contestant with this index said.
    ///
    /// # Errors
    /// It says something else.
    pub fn add(
        &mut self,
        contestant: usize,
        processors: usize,
        measurement: Measurement,
        said: &Value,
    ) -> Result<(), BenchError> {
        let times = Times::new(said)?;
        let ours = CONTESTANTS.get(contestant).is_some_and(|held| held.word.is_none());
        let mut add = |quantity, p50, p99: Option<f64>| {
            let held = self.0.entry((quantity, processors, contestant)).or_default();
            held.0.push(p50);
            held.1.extend(p99);
        };
        match measurement {
            RoundTrip => {
                let trip = times.distribution("round_trip")?;
                add(Quantity::RoundTrip, trip.p50, Some(trip.p99));
                if ours {
                    add(Quantity::OneWay, times.number("one_way")?, None);
                }
            }
            OneWay => add(Quantity::OneWay, times.number("one_way")?, None),
            FanIn => {
                let trip = times.distribution("fan_in")?;
                add(Quantity::FanIn, trip.p50, Some(trip.p99));
                add(Quantity::FanInEach, times.number("fan_in_each")?, None);
            }
            HandOver => {
                for (bytes, time) in times.by_number("hand_over")? {
                    add(Quantity::HandOver(bytes), time.p50, Some(time.p99));
                }
                if ours {
                    for (bytes, time) in times.by_number("lend")? {
                        add(Quantity::Lend(bytes), time.p50, Some(time.p99));
                    }
                }
            }
        }
        Ok(())
    }

    /// The rows, by what was measured and on how many processors.
    pub fn rows(&self) -> Vec<Row> {
        let row = |(key, values): (&Key, &(Vec<f64>, Vec<f64>))| {
            let (quantity, processors, contestant) = *key;
            let name = CONTESTANTS.get(contestant)?.name;
            let p99 = (!values.1.is_empty()).then(|| Spread::of(&values.1));
            Some(Row { quantity, processors, name, p50: Spread::of(&values.0), p99 })
        };
        self.0.iter().filter_map(row).collect()
    }
}

/// What the whole run found.
pub struct Comparison {
    /// Rounds.
    pub rounds: usize,
    /// Why the processes did not run before all others, first in, first out; `None` if they did.
    pub unscheduled: Option<String>,
    /// The figures.
    pub rows: Vec<Row>,
}

impl Comparison {
    /// What the design promises, and what of it holds.
    pub fn promises(&self) -> Vec<Promise> {
        super::promises::all(&self.rows)
    }

    /// As a JSON object.
    pub fn json(&self) -> Value {
        let rows: Vec<Value> = self.rows.iter().map(Row::json).collect();
        let promises: Vec<Value> = self.promises().iter().map(Promise::json).collect();
        json!({
            "bytes": 64,
            "rounds": self.rounds,
            "first_in_first_out": self.unscheduled.is_none(),
            "rows": rows,
            "promises": promises,
        })
    }

    /// As tables.
    pub fn table(&self) -> String {
        let mut table = Table::new([
            ("what, in ns", Align::Left),
            ("cpus", Align::Right),
            ("who", Align::Left),
            ("p50", Align::Right),
            ("least", Align::Right),
            ("most", Align::Right),
            ("p99", Align::Right),
            ("least", Align::Right),
            ("most", Align::Right),
        ]);
        let number = |value: f64| format!("{value:.0}");
        for Row { quantity, processors, name, p50, p99 } in &self.rows {
            let [high, high_least, high_most] = match p99 {
                Some(p99) => [p99.median, p99.least, p99.most].map(number),
                None => ["–"; 3].map(String::from),
            };
            table.push([
                quantity.name(),
                processors.to_string(),
                (*name).into(),
                number(p50.median),
                number(p50.least),
                number(p50.most),
                high,
                high_least,
                high_most,
            ]);
        }
        let scheduling = super::scheduling(self.unscheduled.as_deref());
        let rounds = self.rounds;
        let promises = super::promises::table(&self.promises());
        format!("Median, least and most of {rounds} rounds; {scheduling}.\n\n{table}\n{promises}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_of_values_that_were_measured() {
        assert_eq!(Spread::of(&[3.0, 1.0, 2.0]), Spread { median: 2.0, least: 1.0, most: 3.0 });
        assert_eq!(Spread::of(&[4.0, 1.0]).median, 1.0);
        assert_eq!(Spread::of(&[]).most, 0.0);
    }

    #[test]
    fn rounds_become_rows() {
        let mut rounds = Rounds::default();
        let said = |p50: u64| {
            json!({ "nanoseconds": 1, "ticks": 2, "one_way": 8, "round_trip": {
                "min": 1, "p50": p50, "p99": 100 } })
        };
        for p50 in [20, 60, 40] {
            rounds.add(0, 2, RoundTrip, &said(p50)).unwrap();
            rounds.add(1, 2, RoundTrip, &said(p50 * 2)).unwrap();
        }
        let rows = rounds.rows();
        // What is ours says one way as well.
        assert_eq!(rows.len(), 3);
        assert_eq!((rows[0].name, rows[1].name), (OURS, FUTEX_SPINNING));
        assert_eq!(rows[0].p50, Spread { median: 20.0, least: 10.0, most: 30.0 });
        assert_eq!(rows[2].quantity, Quantity::OneWay);
        assert!(rows[2].p99.is_none());
        assert!(rounds.add(0, 1, FanIn, &said(1)).is_err());
    }
}
