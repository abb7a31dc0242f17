//! Failures of the tool: what happened, where, and what to do about it.

use std::fmt;
use std::io;
use std::path::Path;

/// Which kind of failure it is: the tool's exit status.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A mistake in the command line, the manifest, or the sources of an image.
    Mistake,
    /// A bundle or an input that cannot be used.
    Input,
    /// Something that this computer lacks.
    Computer,
    /// The system that is asked for does not run, or ended meanwhile.
    Ended,
    /// A mistake in ΦOS itself, or a machine that was lost.
    Bug,
}

impl Kind {
    /// The exit status.
    pub fn status(self) -> u8 {
        match self {
            Kind::Mistake => 2,
            Kind::Input => 3,
            Kind::Computer => 4,
            Kind::Ended => 5,
            Kind::Bug => 70,
        }
    }
}

/// Why the tool could not do what it was asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// Its kind.
    pub kind: Kind,
    /// What happened.
    pub what: String,
    /// Where: a file, a service, a program.
    pub place: Option<String>,
    /// What to do about it.
    pub help: Option<String>,
    /// Lines that come before it: what a compiler or a machine said, or each mistake of a manifest.
    pub details: String,
}

impl Failure {
    /// A failure of `kind`.
    pub fn new(kind: Kind, what: impl Into<String>) -> Failure {
        Failure { kind, what: what.into(), place: None, help: None, details: String::new() }
    }

    /// The failure, at `place`.
    pub fn at(self, place: impl Into<String>) -> Failure {
        Failure { place: Some(place.into()), ..self }
    }

    /// The failure, in the file `file`.
    pub fn in_file(self, file: &Path) -> Failure {
        self.at(file.display().to_string())
    }

    /// The failure, with advice.
    pub fn help(self, help: impl Into<String>) -> Failure {
        Failure { help: Some(help.into()), ..self }
    }

    /// The failure, with lines that come before it.
    pub fn details(self, details: impl Into<String>) -> Failure {
        Failure { details: details.into(), ..self }
    }

    /// The failure to write to standard output or standard error.
    pub fn output(error: &io::Error) -> Failure {
        Failure::new(Kind::Computer, format!("the output cannot be written: {error}"))
            .help("the reader of a pipe must stay until the end, and a file needs room")
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.details.is_empty() {
            writeln!(f, "{}", self.details.trim_end())?;
        }
        let (style, help) =
            (anstyle::AnsiColor::Red.on_default().bold(), anstyle::Style::new().bold());
        write!(f, "{style}phi-host:{style:#} {}", self.what)?;
        if let Some(place) = &self.place {
            write!(f, ": {place}")?;
        }
        if let Some(text) = &self.help {
            write!(f, "\n  {help}help:{help:#} {text}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_what_where_and_what_to_do() {
        let failure = Failure::new(Kind::Input, "the file cannot be read")
            .in_file(Path::new("a/b"))
            .help("look at it")
            .details("first\n");
        let plain = anstream::adapter::strip_str(&failure.to_string()).to_string();
        let expected = "first\nphi-host: the file cannot be read: a/b\n  help: look at it";
        assert_eq!(plain, expected);
    }

    #[test]
    fn each_kind_has_a_status_of_its_own() {
        let kinds = [Kind::Mistake, Kind::Input, Kind::Computer, Kind::Ended, Kind::Bug];
        assert_eq!(kinds.map(Kind::status), [2, 3, 4, 5, 70]);
    }
}
