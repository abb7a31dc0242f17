//! Executes a recording again, and compares.

use super::file::{Recording, RecordingError};
use super::input::{Entry, Input, Step};
use super::player::Player;
use super::system::System;
use super::trace::Trace;
use crate::checkers::{Checkers, Violation};
use crate::event::Event;
use crate::watch::Watch;
use phi_core::{BootError, ThreadIndex};
use std::fmt;
use std::io::Read;

/// Why a replay differs from what was recorded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reason {
    /// ΦCore does not boot.
    Boot(BootError),
    /// No run has such a step here.
    Impossible,
    /// ΦCore asked the machine something else.
    Request(String),
    /// Something else came out, or the state is another one.
    Hash {
        /// The first 64 bits of the recorded hash.
        expected: u64,
        /// Those of the replay's.
        came: u64,
    },
}

/// The first difference between a recording and its replay.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// The step's number, from 0.
    pub step: u64,
    /// Where it begins in the file, in bytes.
    pub offset: u64,
    /// What the step is.
    pub what: String,
    /// How it differs.
    pub reason: Reason,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Difference { step, offset, what, reason } = self;
        write!(f, "step {step} (byte {offset}), {what}: ")?;
        match reason {
            Reason::Boot(error) => write!(f, "{error}"),
            Reason::Impossible => f.write_str("no run has such a step here"),
            Reason::Request(request) => f.write_str(request),
            Reason::Hash { expected, came } => {
                write!(f, "the recording has hash {expected:016x}, and the replay {came:016x}")
            }
        }
    }
}

/// How a replay ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum End {
    /// With the run, in the same state.
    Complete,
    /// Where the file ends, before the run did; all states were the same.
    Cut,
    /// With a difference.
    Differs(Difference),
    /// With something that must not happen.
    Violation(Violation),
}

/// What a replay has left.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Replayed {
    /// Steps that came out the same.
    pub steps: u64,
    /// BLAKE3 of all that happened.
    pub hash: [u8; 32],
    /// How it ended.
    pub end: End,
    /// The system's own status, if it ended.
    pub status: Option<u8>,
    /// What it wrote to its transcript.
    pub transcript: Vec<u8>,
    /// What it wrote to its log, the first MiB.
    pub log: Vec<u8>,
}

/// Executes `recording`, and compares each step; `watcher` is shown every event.
///
/// # Errors
/// The [`RecordingError`] of the first step that cannot be read.
pub fn replay<R: Read>(
    recording: &mut Recording<R>,
    watcher: &mut dyn FnMut(&Event),
) -> Result<Replayed, RecordingError> {
    let Some((offset, first)) = recording.next_step()? else {
        return Err(RecordingError::NoRecording);
    };
    let plan = recording.plan();
    let mut watch = Watch::new(Checkers::of_recording(plan), watcher);
    let domains = plan.services.len();
    let differs = |step, offset, entry: &Entry, reason| {
        End::Differs(Difference { step, offset, what: entry.to_string(), reason })
    };
    if first.entry != Entry::Boot {
        let end = differs(0, offset, &first.entry, Reason::Impossible);
        return Ok(Replayed::nothing(end));
    }
    let trace = Trace::new(recording.plan_hash());
    let player = Player::new(first.answers.clone());
    let (mut system, made) = match System::boot(player, plan, Some(trace)) {
        Ok(booted) => booted,
        Err(error) => {
            let end = differs(0, offset, &first.entry, Reason::Boot(error));
            return Ok(Replayed::nothing(end));
        }
    };
    let (mut steps, mut offset, mut step) = (0, offset, first);
    settle(&mut system, &mut watch, None, None);
    let mut reason = compare(&mut system, &step, made.as_ref());
    let end = loop {
        if let Some(violation) = watch.violation() {
            break End::Violation(violation.clone());
        }
        if let Some(reason) = reason {
            break differs(steps, offset, &step.entry, reason);
        }
        steps += 1;
        if step.entry == Entry::End {
            // Nothing may follow.
            recording.next_step()?;
            watch.finish(&system.kernel);
            break watch.violation().cloned().map_or(End::Complete, End::Violation);
        }
        match recording.next_step()? {
            Some(next) => (offset, step) = next,
            None => break End::Cut,
        }
        reason = follow(&mut system, &mut watch, &step, domains);
    };
    let machine = system.kernel.machine();
    let simulated = machine.machine.machine();
    Ok(Replayed {
        steps,
        hash: machine.trace.as_ref().map_or([0; 32], |trace| trace.chain()),
        end,
        status: system.kernel.halted(),
        transcript: simulated.transcript().to_vec(),
        log: simulated.log().to_vec(),
    })
}

impl Replayed {
    /// A replay that did not begin.
    fn nothing(end: End) -> Replayed {
        let (transcript, log) = (Vec::new(), Vec::new());
        Replayed { steps: 0, hash: [0; 32], end, status: None, transcript, log }
    }
}

/// Shows what happened to those who watch.
fn settle(
    system: &mut System<Player>,
    watch: &mut Watch<'_>,
    input: Option<&Input>,
    thread: Option<ThreadIndex>,
) {
    let player = &mut system.kernel.machine_mut().machine;
    let (events, now) = (player.take_events(), player.machine().clock);
    watch.after(&system.kernel, input, &events, thread, now);
}

/// Makes one recorded step after the first; how it differs, if it does.
fn follow(
    system: &mut System<Player>,
    watch: &mut Watch<'_>,
    step: &Step,
    domains: usize,
) -> Option<Reason> {
    system.kernel.machine_mut().machine.prepare(step.answers.clone());
    let made = match &step.entry {
        Entry::Boot => return Some(Reason::Impossible),
        Entry::End => system.end(),
        Entry::Input(input) => {
            if !watch.permits(input, domains) {
                return Some(Reason::Impossible);
            }
            watch.before(&mut system.kernel, input);
            let (thread, made) = system.step(input);
            settle(system, watch, Some(input), thread);
            made
        }
    };
    compare(system, step, made.as_ref())
}

/// How a step that was made differs from the recorded one, if it does.
fn compare(system: &mut System<Player>, recorded: &Step, made: Option<&Step>) -> Option<Reason> {
    if let Some(request) = system.kernel.machine_mut().machine.difference() {
        return Some(Reason::Request(request));
    }
    let Some(made) = made else { return Some(Reason::Request("no thread is ready now".into())) };
    let (expected, came) = (recorded.hash, made.hash);
    (expected != came).then_some(Reason::Hash { expected, came })
}
