//! The file, as it is read. Whoever wrote it may be hostile.
//!
//! | offset | what |
//! |---|---|
//! | 0 | magic `PHIRECRD` |
//! | 8 | version of this form, 4 bytes |
//! | 12 | [`phi_abi::ABI_VERSION`], 4 bytes |
//! | 16 | bytes of the bundle that ran |
//! | 24 | bytes of its plan |
//! | 32 | BLAKE3 of the plan, 32 bytes |
//! | 64 | the plan, encoded as in the bundle |
//!
//! The steps follow, each with its length in bytes before it (4 bytes). Numbers are little-endian.

use super::input::{Entry, Step};
use phi_abi::ABI_VERSION;
use phi_manifest::bundle::{BundleError, decode_plan};
use phi_manifest::plan::Plan;
use std::fmt;
use std::io::{self, Read};

pub(super) const MAGIC: [u8; 8] = *b"PHIRECRD";
pub(super) const VERSION: u32 = 2;

/// Bytes before the plan.
const HEADER: usize = 64;

/// Bytes of a plan, at most.
const PLAN: u64 = 1 << 24;

/// Bytes of a step, at most. One with a message and a few answers has some hundred.
pub(super) const STEP: u32 = 1 << 20;

/// Whether a file that begins so is meant to be a recording.
pub fn is_recording(beginning: &[u8]) -> bool {
    beginning.starts_with(&MAGIC)
}

/// Why a recording cannot be replayed.
#[derive(Debug)]
pub enum RecordingError {
    /// It cannot be read.
    Read(io::Error),
    /// It is no recording, or cut off before its first step.
    NoRecording,
    /// It has another form: its version, and that of its ABI.
    Version(u32, u32),
    /// The plan in it is damaged: it has another hash.
    Damaged,
    /// The plan in it cannot be used.
    Plan(BundleError),
    /// A step cannot be read.
    Step {
        /// Where it stops making sense: bytes from the file's beginning.
        offset: u64,
    },
    /// The file goes on after the end of the run.
    Rest {
        /// Where: bytes from the file's beginning.
        offset: u64,
    },
}

impl fmt::Display for RecordingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecordingError::Read(error) => write!(f, "the recording cannot be read: {error}"),
            RecordingError::NoRecording => f.write_str("this is no recording of a run"),
            RecordingError::Version(form, abi) => write!(
                f,
                "the recording has form {form} and ABI version {abi}, and this is form {VERSION} \
                 and ABI version {ABI_VERSION}"
            ),
            RecordingError::Damaged => {
                f.write_str("the plan in the recording is damaged: its hash does not match it")
            }
            RecordingError::Plan(error) => write!(f, "{error}"),
            RecordingError::Step { offset } => {
                write!(f, "at byte {offset} of the recording, there is no step of a run")
            }
            RecordingError::Rest { offset } => {
                write!(f, "at byte {offset} of the recording, it goes on after the run's end")
            }
        }
    }
}

impl std::error::Error for RecordingError {}

/// A recording, read step by step.
pub struct Recording<R> {
    input: R,
    /// Where the next step begins.
    offset: u64,
    plan: Plan,
    plan_hash: [u8; 32],
    bytes: Vec<u8>,
    ended: bool,
}

/// Reads up to `count` bytes, fewer only at the input's end.
fn read(input: &mut impl Read, count: u64, bytes: &mut Vec<u8>) -> Result<(), RecordingError> {
    bytes.clear();
    input.take(count).read_to_end(bytes).map(drop).map_err(RecordingError::Read)
}

impl<R: Read> Recording<R> {
    /// Opens a recording; `input` is best buffered.
    ///
    /// # Errors
    /// [`RecordingError`].
    pub fn open(mut input: R) -> Result<Recording<R>, RecordingError> {
        let mut bytes = Vec::new();
        read(&mut input, HEADER as u64, &mut bytes)?;
        if bytes.len() < HEADER || !is_recording(&bytes) {
            return Err(RecordingError::NoRecording);
        }
        let (words, _) = bytes.as_chunks::<8>();
        let word = |index: usize| words.get(index).map_or(0, |word| u64::from_le_bytes(*word));
        let (form, abi) = (word(1) as u32, (word(1) >> 32) as u32);
        if (form, abi) != (VERSION, ABI_VERSION) {
            return Err(RecordingError::Version(form, abi));
        }
        let (size, length) = (word(2), word(3));
        let mut plan_hash = [0; 32];
        plan_hash.copy_from_slice(&bytes[32..HEADER]);
        if length > PLAN {
            return Err(RecordingError::Damaged);
        }
        read(&mut input, length, &mut bytes)?;
        if (bytes.len() as u64) < length {
            return Err(RecordingError::NoRecording);
        }
        if *blake3::hash(&bytes).as_bytes() != plan_hash {
            return Err(RecordingError::Damaged);
        }
        let plan = decode_plan(&bytes, size).map_err(RecordingError::Plan)?;
        let offset = HEADER as u64 + length;
        Ok(Recording { input, offset, plan, plan_hash, bytes, ended: false })
    }

    /// The plan of the system that ran.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    pub(super) fn plan_hash(&self) -> [u8; 32] {
        self.plan_hash
    }

    /// The next step, and the offset where it begins; none where the file ends.
    ///
    /// # Errors
    /// [`RecordingError`].
    pub fn next_step(&mut self) -> Result<Option<(u64, Step)>, RecordingError> {
        let offset = self.offset;
        read(&mut self.input, size_of::<u32>() as u64, &mut self.bytes)?;
        if self.ended && !self.bytes.is_empty() {
            return Err(RecordingError::Rest { offset });
        }
        let Ok(length) = self.bytes.as_slice().try_into().map(u32::from_le_bytes) else {
            return Ok(None);
        };
        if length > STEP {
            return Err(RecordingError::Step { offset });
        }
        read(&mut self.input, u64::from(length), &mut self.bytes)?;
        if (self.bytes.len() as u64) < u64::from(length) {
            return Ok(None);
        }
        let begin = offset + size_of::<u32>() as u64;
        let step = Step::read(&self.bytes)
            .map_err(|place| RecordingError::Step { offset: begin + place as u64 })?;
        self.ended = step.entry == Entry::End;
        self.offset = begin + u64::from(length);
        Ok(Some((offset, step)))
    }
}
