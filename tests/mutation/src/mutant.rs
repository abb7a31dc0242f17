//! The list of mutants.

use serde::Deserialize;
use std::fmt;

/// One bug.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mutant {
    /// What it is called: lower case, with hyphens.
    pub name: String,
    /// The source file, from the root of the repository.
    pub file: String,
    /// What the bug is, in one sentence.
    pub bug: String,
    /// The text of the file that goes. It occurs there exactly once.
    pub replace: String,
    /// The text that stands in its place.
    pub with: String,
}

/// A mutant does not fit the sources.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ApplyError {
    mutant: String,
    file: String,
    count: usize,
}

impl fmt::Display for ApplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ApplyError { mutant, file, count } = self;
        write!(
            f,
            "the text that mutant {mutant} replaces occurs {count} times in {file}, not once: \
             adapt it in tests/mutation/mutants.toml"
        )
    }
}

impl std::error::Error for ApplyError {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    mutant: Vec<Mutant>,
}

/// All mutants, in the order of the list.
///
/// # Errors
/// The list is not what it should be; where.
pub fn all() -> Result<Vec<Mutant>, toml::de::Error> {
    let table: Table = toml::from_str(include_str!("../mutants.toml"))?;
    Ok(table.mutant)
}

impl Mutant {
    /// `source` with the bug in it.
    ///
    /// # Errors
    /// [`ApplyError`] when the text to replace does not occur exactly once.
    pub fn apply(&self, source: &str) -> Result<String, ApplyError> {
        match source.matches(&self.replace).count() {
            1 => Ok(source.replacen(&self.replace, &self.with, 1)),
            count => {
                let (mutant, file) = (self.name.clone(), self.file.clone());
                Err(ApplyError { mutant, file, count })
            }
        }
    }

    /// The name of the package that the bug is in: `phi-cap` for a file of `shared/cap`.
    pub fn package(&self) -> Option<String> {
        let (package, _) = self.file.split_once("/src/")?;
        let folder = package.rsplit('/').next()?;
        Some(format!("phi-{folder}"))
    }
}
