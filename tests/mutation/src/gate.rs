//! Running mutants through the stages.

use crate::{Mutant, Outcome, Stage, WorkingCopy};
use serde::Serialize;
use std::io::Error;
use std::path::Path;
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

/// What became of a mutant.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// A test failed.
    Failed,
    /// Tests did not end in time.
    TimedOut,
    /// All tests passed: one is missing.
    Survived,
    /// It does not compile, so it is no mutant; the end of what the compiler said.
    NotBuilt(String),
}

/// The result for one mutant.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The mutant's name.
    pub name: String,
    /// Its file.
    pub file: String,
    /// What the bug is.
    pub bug: String,
    /// What became of it.
    pub verdict: Verdict,
    /// The stage that decided; of a survivor, the last one.
    pub stage: String,
    /// Seconds for it, with building.
    pub seconds: f64,
}

impl Report {
    /// Whether a test found the bug.
    pub fn is_found(&self) -> bool {
        matches!(self.verdict, Verdict::Failed | Verdict::TimedOut)
    }
}

/// A way to try mutants.
pub struct Gate<'a> {
    root: &'a Path,
    stages: fn(&str) -> Vec<Stage>,
}

impl<'a> Gate<'a> {
    /// For the repository at `root`, with all stages.
    pub fn new(root: &'a Path) -> Gate<'a> {
        Gate { root, stages: Stage::of }
    }

    /// With only those stages that `stages` names for a package.
    pub fn with_stages(self, stages: fn(&str) -> Vec<Stage>) -> Gate<'a> {
        Gate { stages, ..self }
    }

    /// Tries `mutants` in `jobs` working copies at once; `progress` learns of each result as it comes.
    /// The results are in the order of the mutants.
    ///
    /// # Errors
    /// A stage fails without any mutant, a mutant does not fit the sources, or a command cannot be
    /// run.
    pub fn run(
        &self,
        mutants: &[Mutant],
        jobs: usize,
        progress: &(dyn Fn(&Report) + Sync),
    ) -> Result<Vec<Report>, Error> {
        let queue = Mutex::new(mutants.iter().enumerate());
        let work = || -> Result<Vec<(usize, Report)>, Error> {
            let copy = WorkingCopy::new(self.root)?;
            self.check_unchanged(&copy, mutants)?;
            let mut reports = Vec::new();
            loop {
                let next = queue.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).next();
                let Some((number, mutant)) = next else { return Ok(reports) };
                let report = self.try_mutant(&copy, mutant)?;
                progress(&report);
                reports.push((number, report));
            }
        };
        let mut reports = thread::scope(|scope| {
            let workers: Vec<_> = (0..jobs.max(1)).map(|_| scope.spawn(work)).collect();
            let mut all = Vec::new();
            for worker in workers {
                all.extend(worker.join().map_err(|_| Error::other("a worker panicked"))??);
            }
            Ok::<_, Error>(all)
        })?;
        reports.sort_by_key(|(number, _)| *number);
        Ok(reports.into_iter().map(|(_, report)| report).collect())
    }

    fn stages_of(&self, copy: &WorkingCopy, mutant: &Mutant) -> Result<Vec<Stage>, Error> {
        let package = mutant.package().ok_or_else(|| {
            Error::other(format!(
                "mutant {}: {} is no source of a package",
                mutant.name, mutant.file
            ))
        })?;
        let mut stages = (self.stages)(&package);
        stages.retain(|stage| stage.exists_in(copy));
        Ok(stages)
    }

    /// Runs every stage that the mutants may need on the sources as they are.
    fn check_unchanged(&self, copy: &WorkingCopy, mutants: &[Mutant]) -> Result<(), Error> {
        let mut done: Vec<Stage> = Vec::new();
        for mutant in mutants {
            for stage in self.stages_of(copy, mutant)? {
                if done.contains(&stage) {
                    continue;
                }
                let outcome = stage.run(copy)?;
                if outcome != Outcome::Passed {
                    let why = match outcome {
                        Outcome::Failed(output) | Outcome::NotBuilt(output) => output,
                        _ => String::from("it did not end in time"),
                    };
                    let name = stage.name();
                    return Err(Error::other(format!("{name} fails without any mutant:\n{why}")));
                }
                done.push(stage);
            }
        }
        Ok(())
    }

    fn try_mutant(&self, copy: &WorkingCopy, mutant: &Mutant) -> Result<Report, Error> {
        let start = Instant::now();
        let stages = self.stages_of(copy, mutant)?;
        let apply = |source: &str| mutant.apply(source).map_err(Error::other);
        let (verdict, stage) = copy.with_change(&mutant.file, apply, || judge(copy, &stages))??;
        Ok(Report {
            name: mutant.name.clone(),
            file: mutant.file.clone(),
            bug: mutant.bug.clone(),
            verdict,
            stage,
            seconds: start.elapsed().as_secs_f64(),
        })
    }
}

/// Runs stages until one decides.
fn judge(copy: &WorkingCopy, stages: &[Stage]) -> Result<(Verdict, String), Error> {
    let mut last = "";
    for stage in stages {
        last = stage.name();
        let verdict = match stage.run(copy)? {
            Outcome::Passed => continue,
            Outcome::Failed(_) => Verdict::Failed,
            Outcome::TimedOut => Verdict::TimedOut,
            Outcome::NotBuilt(output) => Verdict::NotBuilt(output),
        };
        return Ok((verdict, last.into()));
    }
    Ok((Verdict::Survived, last.into()))
}
