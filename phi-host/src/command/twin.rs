//! `phi-host twin`.

use super::session::{Machine, without_host_drivers};
use super::{SourceArguments, print};
use crate::failure::Failure;
use crate::symbols::Symbols;
use crate::{linux, qemu};
use phi_manifest::bundle::Bundle;
use similar::{Algorithm, TextDiff};
use std::io::{self, Write};
use std::time::Duration;

const EXAMPLES: &str = "\
Ends with status 0 when both machines print the same bytes and end with the same status, which may
be any. Otherwise it prints what differs, and ends with status 1.

Examples:
  phi-host twin examples/wordcount --input text=README.md
  phi-host twin wordcount.bundle";

/// Time that may be spent on finding the shortest difference.
const PATIENCE: Duration = Duration::from_secs(5);

/// Run a system on both machines, and compare what it prints
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Twin {
    #[command(flatten)]
    source: SourceArguments,
}

/// What a system printed, and the status that it ended with.
type Run = (Vec<u8>, u8);

impl Twin {
    /// Does it; returns the exit status.
    ///
    /// # Errors
    /// Any [`Failure`].
    pub fn perform(&self) -> Result<u8, Failure> {
        let loaded = self.source.load()?;
        let bundle = loaded.bundle()?;
        without_host_drivers(&bundle)?;
        let kernel = qemu::kernel(&loaded.project()?)?;
        let symbols = loaded.symbols(&bundle, Some(&kernel));
        let linux = match run(
            &bundle,
            &symbols,
            &Machine::Linux(linux::Options::new(linux::Mode::Processes)),
        )? {
            Ok(run) => run,
            Err(status) => return Ok(status),
        };
        let metal =
            match run(&bundle, &symbols, &Machine::Metal(&kernel, qemu::Options::default()))? {
                Ok(run) => run,
                Err(status) => return Ok(status),
            };
        compare(&bundle.plan().name, &linux, &metal)
    }
}

/// Runs the system of `bundle`. An inner error is the exit status after Ctrl-C: then there is nothing
/// to compare.
fn run(
    bundle: &Bundle<'_>,
    symbols: &Symbols,
    machine: &Machine<'_>,
) -> Result<Result<Run, u8>, Failure> {
    let mut transcript = Vec::new();
    let report = machine.run(bundle, symbols, None, &mut transcript)?;
    Ok(if report.interrupted() { Err(report.status) } else { Ok((transcript, report.status)) })
}

/// Prints whether a run on Linux and one on bare metal agree, and otherwise what differs; returns the
/// exit status.
fn compare(name: &str, linux: &Run, metal: &Run) -> Result<u8, Failure> {
    if linux == metal {
        let (bytes, status) = (linux.0.len(), linux.1);
        print(&format!("{name}: both machines agree: {bytes} bytes, status {status}\n"))?;
        return Ok(0);
    }
    let mut output = io::stdout().lock();
    differ(linux, metal, &mut output).map_err(|error| Failure::output(&error))?;
    Ok(1)
}

/// Writes what differs between a run on Linux and one on bare metal.
fn differ(linux: &Run, metal: &Run, output: &mut dyn Write) -> io::Result<()> {
    TextDiff::configure()
        .algorithm(Algorithm::Myers)
        .timeout(PATIENCE)
        .diff_lines(linux.0.as_slice(), metal.0.as_slice())
        .unified_diff()
        .header("Linux", "bare metal")
        .to_writer(&mut *output)?;
    if linux.1 != metal.1 {
        writeln!(output, "status {} on Linux, {} on bare metal", linux.1, metal.1)?;
    }
    output.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn difference(linux: (&[u8], u8), metal: (&[u8], u8)) -> String {
        let mut output = Vec::new();
        differ(&(linux.0.into(), linux.1), &(metal.0.into(), metal.1), &mut output).unwrap();
        String::from_utf8_lossy(&output).into_owned()
    }

    #[test]
    fn a_difference_shows_the_lines_and_the_status() {
        assert_eq!(
            difference((b"a\nb\n", 0), (b"a\nc\n", 70)),
            "--- Linux\n+++ bare metal\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n\
             status 0 on Linux, 70 on bare metal\n"
        );
        assert_eq!(difference((b"a", 1), (b"a", 2)), "status 1 on Linux, 2 on bare metal\n");
    }

    #[test]
    fn bytes_that_are_no_text_are_compared_as_well() {
        let text = difference((b"\xFF\n", 0), (b"\xFE\n", 0));
        assert_eq!(text.lines().count(), 5, "{text}");
    }
}
