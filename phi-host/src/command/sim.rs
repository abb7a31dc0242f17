//! `phi-host sim`.

mod images;
mod worlds;

use super::{SourceArguments, replay};
use crate::failure::{Failure, Kind};
use clap::ValueEnum;
use clap::builder::PossibleValue;
use phi_sim::run::Outcome;
use phi_sim::schedule::{Schedule, Subject};
use phi_sim::world::World;
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "\
Who runs, how time passes and what fails is drawn from the seed: the same seed gives the same run, and
the same hash. After the steps with faults there are none, and the run must come to its end: a system
whose manifest says `until` ends, in any other all calls end that were open. One run of a system prints
its transcript; several print one line each.

A world is a system of actors instead of images, which makes many more steps. Its runs stop at the
first that fails.

Exit statuses, besides the others:
  71   the kernel crashed
  72   something happened that must not
  73   something did not happen that must: a call, or the system, did not end
  74   the replay of a recording differs from it

Examples:
  phi-host sim examples/wordcount --input text=README.md --faults none
  phi-host sim examples/wordcount --input text=README.md --seeds 20 --json
  phi-host sim --world crowd --minutes 60 --record failure.txt
  phi-host sim --replay failure.txt --chart failure.svg
  phi-host sim --replay wordcount.recording --chart wordcount.svg";

/// Run a system in the deterministic simulator
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Sim {
    #[command(flatten)]
    source: SourceArguments,
    /// Run a world of actors instead of a system
    #[arg(long, value_enum, value_name = "NAME", conflicts_with_all = ["inputs", "system"])]
    world: Option<Name>,
    /// The first run's seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many runs, with one seed after another [default: 1, or what the minutes allow]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: Option<u64>,
    /// How long runs of a world go on to be made
    #[arg(long, requires = "world", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    minutes: Option<u64>,
    /// Steps of a run with faults, at most; how many is drawn, but for worlds
    /// [default: 1000000, or 10000]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    steps: Option<u64>,
    /// Which faults of the machine there are [default: all]
    #[arg(long, value_enum, conflicts_with = "world")]
    faults: Option<Faults>,
    /// Make a run that fails as short as it gets, and write its choices to a file
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Make one run with the choices of such a file, or execute again what `phi-host run --record`
    /// wrote: it says itself which system ran
    #[arg(long, value_name = "FILE", conflicts_with_all = ["world", "seed", "seeds", "steps"])]
    replay: Option<PathBuf>,
    /// Draw the last run, as an SVG file: its domains, and the messages between them
    #[arg(long, value_name = "FILE")]
    chart: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum Faults {
    /// Lost and stalled services, a machine that refuses, jumps of the clock, late and lost doorbells:
    /// as often as the seed says
    All,
    /// None: only the order of the threads and the time that passes are drawn
    None,
}

/// A world, as a word of the command line.
#[derive(Clone, Copy, Debug)]
struct Name(World);

impl ValueEnum for Name {
    fn value_variants<'a>() -> &'a [Name] {
        const NAMES: [Name; World::ALL.len()] = {
            let mut names = [Name(World::Crowd); World::ALL.len()];
            let mut place = 0;
            while place < names.len() {
                names[place] = Name(World::ALL[place]);
                place += 1;
            }
            names
        };
        &NAMES
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.0.name()).help(self.0.description()))
    }
}

/// Runs that are made to shorten one that fails, at most.
const ATTEMPTS: u64 = 2_000;

/// The exit status after a crash of ΦCore.
pub(super) const CRASH: u8 = 71;

/// The exit status after a violation.
pub(super) const VIOLATION: u8 = 72;

impl Sim {
    /// Does it; returns the exit status.
    ///
    /// # Errors
    /// Any [`Failure`].
    pub fn perform(&self) -> Result<u8, Failure> {
        if let Some(recording) = self.replay.as_deref().and_then(replay::open) {
            self.says_nothing_else()?;
            return replay::perform(recording, self.chart.as_deref(), self.json);
        }
        let replay = self.replay.as_deref().map(choices).transpose()?;
        match (self.world, replay) {
            (Some(Name(world)), _) => worlds::explore(self, world),
            (None, Some((Subject::World(world), schedule))) => {
                worlds::replay(self, world, &schedule)
            }
            (None, Some((Subject::Images, schedule))) => images::run(self, Some(&schedule)),
            (None, None) => images::run(self, None),
        }
    }

    /// That nothing is asked for which a recording decides itself, or cannot do.
    fn says_nothing_else(&self) -> Result<(), Failure> {
        let other = [
            ("a system", self.source.system != Path::new(".")),
            ("--input", !self.source.inputs.is_empty()),
            ("--faults", self.faults.is_some()),
            ("--record", self.record.is_some()),
        ];
        let Some((what, _)) = other.into_iter().find(|(_, asked)| *asked) else { return Ok(()) };
        let message =
            format!("a recording is replayed as it ran, and {what} has no meaning beside it");
        Err(Failure::new(Kind::Mistake, message).help("leave it out"))
    }

    /// Which faults of the machine there are.
    fn faults(&self) -> Faults {
        self.faults.unwrap_or(Faults::All)
    }
}

/// What runs, and the choices of its run, from a file.
fn choices(file: &Path) -> Result<(Subject, Schedule), Failure> {
    let unusable = |what: String| {
        Failure::new(Kind::Input, what)
            .in_file(file)
            .help("name a file that `phi-host sim --record FILE` of this version wrote")
    };
    let text = std::fs::read_to_string(file)
        .map_err(|error| unusable(format!("the choices cannot be read: {error}")))?;
    Schedule::decode(&text).ok_or_else(|| unusable("these are no choices of a run".into()))
}

/// Does something that makes runs that may panic, and says nothing of the panics.
pub(super) fn quietly<T>(run: impl FnOnce() -> T) -> T {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let result = run();
    std::panic::set_hook(before);
    result
}

/// Writes a file that was asked for.
pub(super) fn write(file: &Path, bytes: &[u8]) -> Result<(), Failure> {
    std::fs::write(file, bytes).map_err(|error| {
        Failure::new(Kind::Computer, format!("the file cannot be written: {error}"))
            .in_file(file)
            .help("name a file in a folder that is there and has room")
    })
}

/// The exit status that an outcome asks for.
fn status(outcome: &Outcome) -> u8 {
    match outcome {
        Outcome::Ok => 0,
        Outcome::Crash(_) => CRASH,
        Outcome::Safety(_) => VIOLATION,
        Outcome::Liveness(_) => 73,
    }
}

/// What went wrong, if something did.
fn what(outcome: &Outcome) -> Option<String> {
    match outcome {
        Outcome::Ok => None,
        Outcome::Crash(what) | Outcome::Liveness(what) => Some(what.clone()),
        Outcome::Safety(violation) => Some(violation.to_string()),
    }
}

/// A hash as hexadecimal digits.
pub(super) fn digits(hash: &[u8; 32]) -> String {
    blake3::Hash::from_bytes(*hash).to_string()
}
