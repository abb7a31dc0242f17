//! `phi-host bench peers`.

use super::super::session::Machine;
use super::super::{print, print_json};
use super::transcript;
use crate::bench::peers::Program;
use crate::bench::side_by_side::{CONTESTANTS, Comparison, Contestant, Measurement, Rounds};
use crate::bench::{self, BenchError, FirstInFirstOut, plot};
use crate::failure::{Failure, Kind};
use crate::progress::Progress;
use crate::system::Loaded;
use crate::{cargo, linux, system};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "\
The peers are pipe, seqpacket, eventfd (with shared memory), futex-spinning and futex-blocking (a ring in
shared memory), iceoryx2 (polling), iceoryx2-event, and shmem-ipc. The last three are libraries, which
are built for this command: that takes minutes the first time.

Each round measures everything once, by turns, all processes on one processor or on two, and before
all others of the computer where Linux allows it. Compare figures of one run only.

Examples:
  phi-host bench peers
  phi-host bench peers --rounds 9 --plot peers.svg
  phi-host bench peers --only pipe,futex-spinning,futex-blocking --json";

/// ΦOS beside what people use instead: round trip, one way, many to one, and much at once
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Peers {
    /// How often everything is measured
    #[arg(long, value_name = "COUNT", default_value_t = 5,
        value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// The peers to measure, by name; without it, all of them
    #[arg(long, value_name = "PEERS", value_delimiter = ',')]
    only: Vec<String>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    /// Write the result as a picture as well, in SVG
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

/// One measurement of one contestant.
struct Turn {
    contestant: usize,
    measurement: Measurement,
    processors: usize,
}

impl Peers {
    /// Does it; returns the exit status.
    ///
    /// # Errors
    /// Any [`Failure`].
    pub fn perform(&self) -> Result<u8, Failure> {
        let chosen = self.chosen()?;
        // Before minutes of measuring, so that a file that cannot be written shows at once.
        let mut picture = self.plot.as_deref().map(create).transpose()?;
        let project = cargo::project(Path::new("."))?;
        let libraries = chosen.iter().any(|index| CONTESTANTS[*index].library);
        let program = Program::build(&project, libraries)?;
        let systems = Systems::load(&project)?;
        let comparison = self.measure(&chosen, &program, &systems)?;
        if let Some(file) = &mut picture {
            file.write_all(plot::svg(&comparison).as_bytes())
                .map_err(|error| Failure::output(&error))?;
        }
        match self.json {
            true => print_json(&comparison.json())?,
            false => print(&comparison.table())?,
        }
        Ok(0)
    }

    /// The contestants to measure, by index: ΦOS is always one.
    fn chosen(&self) -> Result<Vec<usize>, Failure> {
        let words: Vec<&str> = CONTESTANTS.iter().filter_map(|held| held.word).collect();
        if let Some(unknown) = self.only.iter().find(|name| !words.contains(&name.as_str())) {
            return Err(Failure::new(Kind::Mistake, format!("there is no peer `{unknown}`"))
                .help(format!("the peers are {}", words.join(", "))));
        }
        let wanted = |held: &Contestant| match held.word {
            None => true,
            Some(word) => self.only.is_empty() || self.only.iter().any(|name| name == word),
        };
        Ok((0..CONTESTANTS.len()).filter(|index| wanted(&CONTESTANTS[*index])).collect())
    }

    fn measure(
        &self,
        chosen: &[usize],
        program: &Program,
        systems: &Systems,
    ) -> Result<Comparison, Failure> {
        let turns = turns(chosen);
        let rounds = usize::from(self.rounds);
        let progress = Progress::of("measuring …");
        let class = FirstInFirstOut::begin();
        let mut measured = Rounds::default();
        for round in 0..rounds {
            for (number, turn) in turns.iter().enumerate() {
                let Turn { contestant, measurement, processors } = *turn;
                let held = &CONTESTANTS[contestant];
                let share = (round * turns.len() + number) as f64 / (rounds * turns.len()) as f64;
                progress
                    .advance(share, || format!("round {} of {rounds}: {}", round + 1, held.name));
                let said = bench::pinned(processors, || match held.word {
                    None => systems.measure(measurement),
                    Some(word) => {
                        let (name, count) = measurement.word();
                        program.measure(word, name, count)
                    }
                })?;
                // A computer with one processor has no figures for two.
                if let Some(said) = said {
                    measured.add(contestant, processors, measurement, &said)?;
                }
            }
        }
        Ok(Comparison { rounds, unscheduled: class.refusal(), rows: measured.rows() })
    }
}

/// What one round measures: all on one processor, then all on two.
fn turns(chosen: &[usize]) -> Vec<Turn> {
    let mut turns = Vec::new();
    for processors in [1, 2] {
        for contestant in chosen {
            for (measurement, on) in CONTESTANTS[*contestant].measurements {
                if on.contains(&processors) {
                    let (contestant, measurement) = (*contestant, *measurement);
                    turns.push(Turn { contestant, measurement, processors });
                }
            }
        }
    }
    turns
}

fn create(file: &Path) -> Result<File, Failure> {
    File::create(file).map_err(|error| {
        Failure::new(Kind::Computer, format!("the picture cannot be written: {error}"))
            .in_file(file)
            .help("name a file in a folder that is there and has room")
    })
}

/// The systems that measure ΦOS.
struct Systems(Vec<(&'static str, Loaded)>);

impl Systems {
    fn load(project: &Path) -> Result<Systems, Failure> {
        let mut systems: Vec<(&'static str, Loaded)> = Vec::new();
        for (measurement, _) in CONTESTANTS[0].measurements {
            let manifest = measurement.manifest();
            systems.push((manifest, system::load(&bench::system(project, manifest), &[])?));
        }
        Ok(Systems(systems))
    }

    fn measure(&self, measurement: Measurement) -> Result<serde_json::Value, BenchError> {
        let manifest = measurement.manifest();
        let loaded = self.0.iter().find(|(name, _)| *name == manifest);
        let (_, loaded) = loaded.ok_or_else(|| BenchError::System(manifest.into()))?;
        let bundle = loaded.bundle().map_err(|failure| BenchError::System(failure.to_string()))?;
        let machine = Machine::Linux(linux::Options::new(linux::Mode::Processes));
        bench::parsed(&transcript(&bundle, &machine)?)
    }
}
