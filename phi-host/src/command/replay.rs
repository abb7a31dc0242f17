//! `phi-host sim --replay`, of a recording.

use super::sim::{CRASH, VIOLATION, digits, quietly, write};
use super::{print, print_json};
use crate::failure::{Failure, Kind};
use crate::progress::Progress;
use phi_sim::chart::Chart;
use phi_sim::event::Event;
use phi_sim::recording::{self, End, Recording, RecordingError, Replayed};
use serde_json::json;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// The exit status when something came out that is not in the recording.
const DIFFERS: u8 = 74;

/// Steps between two words about how far it is.
const WORD: u64 = 1 << 16;

/// The file of a recording.
pub struct Source {
    path: PathBuf,
    input: BufReader<File>,
}

/// A file that is meant to be a recording; none if it cannot be read, or is something else.
pub fn open(path: &Path) -> Option<Source> {
    let mut input = BufReader::with_capacity(1 << 16, File::open(path).ok()?);
    let is_recording = recording::is_recording(input.fill_buf().ok()?);
    is_recording.then(|| Source { path: path.to_path_buf(), input })
}

/// Executes a recording again; returns the exit status.
///
/// # Errors
/// The file cannot be used, or the output cannot be written.
pub fn perform(source: Source, chart: Option<&Path>, json: bool) -> Result<u8, Failure> {
    let Source { path, input } = source;
    let unusable = |error: RecordingError| {
        Failure::new(Kind::Input, error.to_string())
            .in_file(&path)
            .help("name a file that this version's `phi-host run --record FILE` wrote")
    };
    let mut recording = Recording::open(input).map_err(unusable)?;
    let name = recording.plan().name.clone();
    let names = recording.plan().services.iter().map(|service| service.name.clone()).collect();
    let mut drawn = chart.map(|file| (file, Chart::new(names)));
    let progress = Progress::new(format!("replaying {name} …"));
    let mut steps = 0_u64;
    let mut watcher = |event: &Event| {
        if let Some((_, chart)) = &mut drawn {
            chart.add(event);
        }
        if let Event::Settled(_) = event {
            steps += 1;
            if steps.is_multiple_of(WORD) {
                progress.show(format!("replaying {name}: {steps} steps …"));
            }
        }
    };
    let run = AssertUnwindSafe(|| recording::replay(&mut recording, &mut watcher));
    let replayed = quietly(|| catch_unwind(run));
    drop(progress);
    let Ok(replayed) = replayed else {
        eprintln!("ΦCore crashed after {steps} steps");
        return Ok(CRASH);
    };
    let replayed = replayed.map_err(unusable)?;
    if let Some((file, chart)) = drawn {
        write(file, chart.svg().as_bytes())?;
    }
    if json {
        print_object(&name, &replayed)?
    } else {
        print_replay(&name, &replayed)?
    }
    Ok(match replayed.end {
        End::Complete | End::Cut => 0,
        End::Differs(_) => DIFFERS,
        End::Violation(_) => VIOLATION,
    })
}

/// How it ended: a word for programs, and a sentence where there is something to say.
fn told(end: &End) -> (&'static str, Option<String>) {
    match end {
        End::Complete => ("same", None),
        End::Cut => {
            ("cut", Some("the recording ends before the run did; so far all is the same".into()))
        }
        End::Differs(difference) => ("differs", Some(difference.to_string())),
        End::Violation(violation) => ("safety", Some(violation.to_string())),
    }
}

fn print_object(name: &str, replayed: &Replayed) -> Result<(), Failure> {
    let (outcome, what) = told(&replayed.end);
    print_json(&json!({
        "name": name, "steps": replayed.steps, "hash": digits(&replayed.hash),
        "outcome": outcome, "what": what, "status": replayed.status,
        "transcript": String::from_utf8_lossy(&replayed.transcript),
    }))
}

fn print_replay(name: &str, replayed: &Replayed) -> Result<(), Failure> {
    io::stderr().write_all(&replayed.log).map_err(|error| Failure::output(&error))?;
    let (outcome, what) = told(&replayed.end);
    let status = replayed.status.map_or("no status".into(), |status| format!("status {status}"));
    let (steps, hash) = (replayed.steps, digits(&replayed.hash));
    print(&format!("{name}: {outcome} after {steps} steps, {status}, {hash}\n"))?;
    what.iter().for_each(|what| eprintln!("{name}: {what}"));
    Ok(())
}
