//! The program that Coq made of the model.

use crate::{Operation, Outcome};
use phi_abi::{Error, Handle, Rights};
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// What a slot in use holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// A capability that is valid.
    Held,
    /// What is left of one that was revoked.
    Revoked,
    /// What is left of one whose object has ended.
    Dead,
}

/// A slot in use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The domain.
    pub domain: u16,
    /// What names the slot in its domain.
    pub handle: Handle,
    /// What it holds.
    pub standing: Standing,
    /// Of what is held: its rights.
    pub rights: Rights,
    /// Of what is held: lineages up its chain.
    pub depth: u64,
    /// Of what is held: the number of its object.
    pub object: u32,
}

/// A run of the model.
pub struct Model {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Model {
    /// Starts the program, and boots a plan in it.
    ///
    /// # Errors
    /// Those of starting it and of writing to it.
    pub fn start(program: &Path, planning: &[String]) -> io::Result<Model> {
        let mut child =
            Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = child.stdin.take();
        let output = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let mut model = Model { child, input, output: BufReader::new(output) };
        for line in planning {
            model.write(line)?;
        }
        Ok(model)
    }

    /// Makes one operation.
    ///
    /// # Errors
    /// When the program has ended, or answers with what is no outcome; a fault is none.
    pub fn perform(&mut self, operation: &Operation) -> io::Result<Outcome> {
        self.write(&operation.line())?;
        let answer = self.read()?;
        outcome(&answer).ok_or_else(|| unexpected(&answer))
    }

    /// Every slot in use, by domain and slot.
    ///
    /// # Errors
    /// When the program has ended, or answers with what is no state.
    pub fn entries(&mut self) -> io::Result<Vec<Entry>> {
        self.write("state")?;
        let answer = self.read()?;
        let words = answer.split_whitespace();
        words.map(|word| entry(word).ok_or_else(|| unexpected(word))).collect()
    }

    fn write(&mut self, line: &str) -> io::Result<()> {
        let input = self.input.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        input.write_all(format!("{line}\n").as_bytes())
    }

    fn read(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match self.output.read_line(&mut line)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(line.trim_end().to_string()),
        }
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        // The end of its input ends the program; there is nothing to do about a failure.
        self.input = None;
        let _ = self.child.wait();
    }
}

fn unexpected(answer: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the model answers `{answer}`"))
}

fn handle(slot: &str, generation: &str) -> Option<Handle> {
    Some(Handle::new(slot.parse().ok()?, generation.parse().ok()?))
}

fn outcome(answer: &str) -> Option<Outcome> {
    let (first, others) = answer.split_once(' ').unwrap_or((answer, ""));
    match (first, others) {
        ("done", "") => Some(Outcome::Done),
        ("failed", "Revoked") => Some(Outcome::Failed(Error::Revoked)),
        ("failed", "Dead") => Some(Outcome::Failed(Error::Dead)),
        ("failed", "Denied") => Some(Outcome::Failed(Error::Denied)),
        ("failed", "QuotaExceeded") => Some(Outcome::Failed(Error::QuotaExceeded)),
        ("failed", "TooDeep") => Some(Outcome::Failed(Error::TooDeep)),
        ("handles", words) => {
            let words = words.split_whitespace();
            let handles = words.map(|word| {
                let (slot, generation) = word.split_once(':')?;
                handle(slot, generation)
            });
            handles.collect::<Option<_>>().map(Outcome::Handles)
        }
        _ => None,
    }
}

fn entry(word: &str) -> Option<Entry> {
    let fields: Vec<&str> = word.split(':').collect();
    let [domain, slot, generation, standing, rights, depth, object] = fields[..] else {
        return None;
    };
    let standing = match standing {
        "held" => Standing::Held,
        "revoked" => Standing::Revoked,
        "dead" => Standing::Dead,
        _ => return None,
    };
    Some(Entry {
        domain: domain.parse().ok()?,
        handle: handle(slot, generation)?,
        standing,
        rights: Rights::from_bits(rights.parse().ok()?)?,
        depth: depth.parse().ok()?,
        object: object.parse().ok()?,
    })
}
