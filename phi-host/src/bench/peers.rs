//! What people use instead, measured by the program of `tests/peers`, in processes of its own.

use super::{BenchError, said_by};
use crate::cargo;
use crate::failure::{Failure, Kind};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The program that measures peers.
pub struct Program(PathBuf);

impl Program {
    /// Builds it, if `libraries` with the peers that are libraries, which takes a minute the first time.
    ///
    /// # Errors
    /// Cargo's.
    pub fn build(project: &Path, libraries: bool) -> Result<Program, Failure> {
        let mut arguments = vec!["--release", "--package", "phi-peers"];
        if libraries {
            arguments.extend(["--features", "libraries"]);
        }
        let arguments: Vec<String> = arguments.into_iter().map(String::from).collect();
        let mut programs = cargo::build(project, &arguments, "the peers")?;
        let missing = || Failure::new(Kind::Bug, "cargo built no program phi-peers");
        programs.remove("phi-peers").map(Program).ok_or_else(missing)
    }

    /// What the program says of one measurement of a peer.
    ///
    /// # Errors
    /// The peer cannot be measured here.
    pub fn measure(
        &self,
        peer: &str,
        measurement: &str,
        count: usize,
    ) -> Result<Value, BenchError> {
        let lost = |what: String| BenchError::Peer(format!("{peer}, {measurement}: {what}"));
        let mut command = Command::new(&self.0);
        command.args([peer, measurement, &count.to_string()]);
        let said = said_by(&mut command).map_err(lost)?;
        serde_json::from_slice(&said).map_err(|error| lost(error.to_string()))
    }
}
