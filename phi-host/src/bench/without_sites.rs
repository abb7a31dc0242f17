//! Messages with sites that no tracer looks at, beside a build that has no sites.

use super::side_by_side::Spread;
use super::{BenchError, Times, parsed, pinned, said_by, system};
use crate::cargo;
use crate::failure::{Failure, Kind};
use std::path::{Path, PathBuf};
use std::process::Command;

/// How much slower messages may be with sites: the promise.
pub const LIMIT: f64 = 1.02;

/// Two programs that differ in their sites alone.
pub struct Builds {
    with: PathBuf,
    without: PathBuf,
    manifest: PathBuf,
}

/// One comparison.
pub struct Row {
    /// What was measured.
    pub what: &'static str,
    /// Processors that both services ran on.
    pub processors: usize,
    /// Nanoseconds with sites.
    pub with: Spread,
    /// Nanoseconds without.
    pub without: Spread,
    /// Time with sites by time without, of one round each.
    pub ratio: Spread,
}

impl Row {
    /// Whether the promise holds.
    pub fn holds(&self) -> bool {
        self.ratio.median <= LIMIT
    }
}

impl Builds {
    /// Builds both, in a folder of their own below the project's `target`: minutes the first time.
    ///
    /// # Errors
    /// Cargo's; or the folder cannot be written.
    pub fn make(project: &Path) -> Result<Builds, Failure> {
        let folder = project.join("target/sites");
        let build = |features: &[&str], name: &str| {
            let folder = folder.display().to_string();
            let fixed =
                ["--release", "--package", "phi-host", "--no-default-features", "--target-dir"];
            let arguments =
                fixed.iter().copied().chain([folder.as_str()]).chain(features.iter().copied());
            let arguments: Vec<String> = arguments.map(String::from).collect();
            let built = cargo::build(project, &arguments, name)?.remove("phi-host");
            built.ok_or_else(|| Failure::new(Kind::Bug, "cargo built no program phi-host"))
        };
        let built = build(&["--features", "sites"], "phi-host with sites")?;
        // The next build takes its name.
        let with = folder.join("with-sites");
        std::fs::copy(built, &with).map_err(|error| {
            Failure::new(Kind::Computer, format!("the program cannot be copied: {error}"))
                .in_file(&with)
                .help("make room there")
        })?;
        let without = build(&[], "phi-host without sites")?;
        Ok(Builds { with, without, manifest: system(project, "messages.toml") })
    }

    /// Measures both by turns, in `rounds` rounds, each on one processor and on two. `progress` hears which
    /// round it is.
    ///
    /// # Errors
    /// A program does not measure.
    pub fn measure(
        &self,
        rounds: usize,
        mut progress: impl FnMut(usize),
    ) -> Result<Vec<Row>, BenchError> {
        // A round's figures of one program: round trip and one way.
        let mut figures = [1, 2].map(|processors| (processors, Vec::new()));
        for round in 0..rounds {
            progress(round);
            for (processors, figures) in &mut figures {
                // Who is first changes, since the computer's mood may change within a round.
                let both = pinned(*processors, || match round % 2 {
                    0 => Ok((self.times(&self.with)?, self.times(&self.without)?)),
                    _ => {
                        let without = self.times(&self.without)?;
                        Ok((self.times(&self.with)?, without))
                    }
                })?;
                figures.extend(both);
            }
        }
        let rows = figures.iter().flat_map(|(processors, figures)| {
            [("round trip", 0), ("one way", 1)].into_iter().filter_map(|(what, index)| {
                let of = |pick: fn(f64, f64) -> f64| {
                    let values =
                        figures.iter().map(|(with, without)| pick(with[index], without[index]));
                    Spread::of(&values.collect::<Vec<f64>>())
                };
                (!figures.is_empty()).then(|| Row {
                    what,
                    processors: *processors,
                    with: of(|with, _| with),
                    without: of(|_, without| without),
                    ratio: of(|with, without| with / without.max(f64::MIN_POSITIVE)),
                })
            })
        });
        Ok(rows.collect())
    }

    /// Nanoseconds of a round trip's median, and of a message one way.
    fn times(&self, program: &Path) -> Result<[f64; 2], BenchError> {
        let said = said_by(Command::new(program).arg("run").arg(&self.manifest));
        let lost = |what| BenchError::System(format!("{}: {what}", program.display()));
        let value = parsed(&said.map_err(lost)?)?;
        let times = Times::new(&value)?;
        Ok([times.distribution("round_trip")?.p50, times.number("one_way")?])
    }
}
