//! Runs a system while its services are killed, and looks for what is left of them.
//!
//! A thread of its own kills one service's process after the other, at times from a seed, with SIGKILL:
//! so it comes at any instruction. The system says with each line of its transcript that it is ready for
//! a **storm** of kills, or that all is calm after one; what this process and the survivors have is
//! counted there, and must be the same after the last storm as after the first.
//!
//! Limits: the same seed kills the same services in the same order after the same times, but where each
//! of them is by then is Linux's matter. What becomes of the services' own data they must check
//! themselves.

mod killer;
mod residue;

use super::{LinuxError, Mode, Options, Report, run_examined};
use killer::{Killer, Targets};
use phi_manifest::bundle::Bundle;
use residue::Residue;
use std::io::{self, Write};

/// What is killed, and how often.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Storms {
    /// Kills in all. The first storm has a tenth of them: what follows is measured against it.
    pub kills: u32,
    /// Where order and times come from.
    pub seed: u64,
    /// Services that nobody kills, besides `init`.
    pub spared: Vec<String>,
    /// The service that is killed when a storm is over, and only then.
    pub bell: Option<String>,
}

/// How a system came through.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// How it ran.
    pub report: Report,
    /// Processes that were killed.
    pub kills: u32,
    /// What was left of those that were killed, or went wrong; nothing, if all is well.
    pub findings: Vec<String>,
}

/// Runs the system of `bundle` in processes, and kills its services.
///
/// # Errors
/// As [`super::run`].
pub fn run(
    bundle: &Bundle<'_>,
    options: &Options,
    storms: &Storms,
    transcript: &mut dyn Write,
    log: &mut dyn Write,
) -> Result<Outcome, LinuxError> {
    let options = Options { mode: Mode::Processes, ..options.clone() };
    let before = Residue::of_this_process();
    let targets = Targets::new(bundle.plan(), storms);
    let killer = Killer::start(targets.clone(), storms);
    let mut transcript =
        Transcript { output: transcript, killer: &killer, targets: &targets, residues: Vec::new() };
    let mut log = Log { output: log, line: Vec::new(), panics: Vec::new() };
    let mut watcher = targets.clone();
    let examined = run_examined(
        bundle,
        &options,
        Some(&mut watcher),
        &mut transcript,
        &mut log,
        |supervisor| residue::left_in_core(supervisor, bundle.plan()),
    );
    let residues = transcript.residues;
    let kills = killer.stop();
    targets.clear();
    drop(watcher);
    let (report, mut findings) = examined?;
    if let [_, first, .., last] = &residues[..] {
        findings.extend(last.more_than(first, bundle.plan().services.len()));
    }
    let after = Residue::of_this_process().more_than(&before, 0);
    findings.extend(after.iter().map(|what| format!("after the system's end: {what}")));
    findings.extend(log.panics);
    Ok(Outcome { report, kills, findings })
}

/// The transcript: each of its lines lets the next storm come.
struct Transcript<'a> {
    output: &'a mut dyn Write,
    killer: &'a Killer,
    targets: &'a Targets,
    residues: Vec<Residue>,
}

impl Write for Transcript<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.output.write(bytes)?;
        for _ in bytes[..count].iter().filter(|byte| **byte == b'\n') {
            self.residues.push(Residue::of_all(self.targets));
            self.killer.go_on();
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

/// The log, in which panics are looked for.
struct Log<'a> {
    output: &'a mut dyn Write,
    line: Vec<u8>,
    panics: Vec<String>,
}

impl Write for Log<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.output.write(bytes)?;
        for byte in &bytes[..count] {
            if *byte != b'\n' {
                self.line.push(*byte);
                continue;
            }
            let line = String::from_utf8_lossy(&self.line).into_owned();
            self.line.clear();
            if line.contains(" panicked: ") {
                self.panics.push(line);
            }
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}
