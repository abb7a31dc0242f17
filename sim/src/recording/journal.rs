//! The file, as it is written.

use super::file::{MAGIC, STEP, VERSION};
use super::input::Step;
use phi_abi::ABI_VERSION;
use phi_manifest::bundle::Bundle;
use std::io::{self, BufWriter, Write};

/// Bytes that are gathered before they are written: what a crash loses at most.
const BUFFER: usize = 1 << 16;

/// Where a run is written down.
pub struct Journal {
    output: BufWriter<Box<dyn Write>>,
    plan_hash: [u8; 32],
    /// The step that is written, while it is.
    bytes: Vec<u8>,
    failure: Option<io::Error>,
    /// Whether writing has failed.
    failed: bool,
}

impl Journal {
    /// A journal of a run of `bundle`.
    ///
    /// # Errors
    /// What writing gives.
    pub fn new(output: Box<dyn Write>, bundle: &Bundle<'_>) -> io::Result<Journal> {
        Journal::of_plan(output, bundle.plan_bytes(), bundle.bytes().len() as u64)
    }

    /// A journal of a run of an encoded plan, whose bundle has `size` bytes.
    pub(super) fn of_plan(output: Box<dyn Write>, plan: &[u8], size: u64) -> io::Result<Journal> {
        let plan_hash = *blake3::hash(plan).as_bytes();
        let mut output = BufWriter::with_capacity(BUFFER, output);
        output.write_all(&MAGIC)?;
        output.write_all(&VERSION.to_le_bytes())?;
        output.write_all(&ABI_VERSION.to_le_bytes())?;
        output.write_all(&size.to_le_bytes())?;
        output.write_all(&(plan.len() as u64).to_le_bytes())?;
        output.write_all(&plan_hash)?;
        output.write_all(plan)?;
        Ok(Journal { output, plan_hash, bytes: Vec::new(), failure: None, failed: false })
    }

    pub(super) fn plan_hash(&self) -> [u8; 32] {
        self.plan_hash
    }

    /// Writes a step; an error is kept until it is taken.
    pub(super) fn write(&mut self, step: &Step) {
        if self.failed {
            return;
        }
        self.bytes.clear();
        self.bytes.extend_from_slice(&[0; size_of::<u32>()]);
        step.put(&mut self.bytes);
        let length = (self.bytes.len() - size_of::<u32>()) as u32;
        if length > STEP {
            let what = format!("a step has {length} bytes, and may have {STEP}");
            return self.fail(io::Error::other(what));
        }
        self.bytes[..size_of::<u32>()].copy_from_slice(&length.to_le_bytes());
        if let Err(error) = self.output.write_all(&self.bytes) {
            self.fail(error);
        }
    }

    fn fail(&mut self, error: io::Error) {
        self.failure = Some(error);
        self.failed = true;
    }

    pub(super) fn take_failure(&mut self) -> Option<io::Error> {
        self.failure.take()
    }

    /// Writes what is still gathered.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        if !self.failed
            && let Err(error) = self.output.flush()
        {
            self.fail(error);
        }
        self.failure.take().map_or(Ok(()), Err)
    }
}
