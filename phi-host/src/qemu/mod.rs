//! The bare-metal machine: the kernel and a bundle in QEMU, booted by PVH, or by UEFI from a disk.
//!
//! Principles:
//! - **Everything streams**: the transcript and the log are pipes, written on as they come and read
//!   to their end, whatever ends the machine.
//! - **Nothing stays behind**: QEMU ends with this process, even if that is killed, and bundle and disk
//!   lie in files without names.
//!
//! Limits: QEMU's own words come with the failure, and are not shown when the machine ends well.

mod command;
mod debugger;
mod firmware;
mod log;
mod monitor;
mod output;
mod program;

pub use command::Options;
pub use program::{kernel, loader};

use crate::disk;
use crate::dump::Dump;
use crate::failure::{Failure, Kind};
use crate::statistics::{MachineReport, interruption};
use crate::symbols::Symbols;
use command::{PROGRAM, Source};
use debugger::Debugger;
use monitor::Monitor;
use output::{End, Firmware, Outputs, Sinks};
use phi_manifest::bundle::Bundle;
use phi_manifest::plan::{EMBEDDED_MEMORY, Mode};
use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ExitStatus};

/// QEMU's exit status after the kernel has ended the system.
const CLEAN: i32 = 33;

/// QEMU's exit status after the kernel has found a mistake in itself, or the loader cannot enter it.
const KERNEL_BUG: i32 = 35;

/// MiB of memory for a disk, of which it is not known what it asks for.
const DISK_MEMORY: u64 = 1024;

/// Boots `kernel` with `bundle` and runs the system to its end. The transcript and the log are
/// written as they come, the log with what `symbols` know of addresses in it.
///
/// SIGINT and SIGTERM end the machine; the status is then 128 and the signal's number, and there are
/// no services in the report. SIGUSR1 asks the kernel for a dump.
///
/// # Errors
/// QEMU is missing or does not start, the output cannot be written, or the machine was lost.
pub fn boot(
    kernel: &Path,
    bundle: &Bundle<'_>,
    options: &Options,
    symbols: &Symbols,
    transcript: &mut dyn Write,
    log: &mut dyn Write,
) -> Result<MachineReport, Failure> {
    let memory = memory(bundle);
    let Some(loader) = &options.loader else {
        let image = unnamed_file(|file| file.write_all(bundle.bytes()))?;
        let source = Source::Direct { kernel, bundle: image.as_raw_fd() };
        return run(&source, memory, options, symbols, transcript, log);
    };
    let (loader, kernel) = (read(loader)?, read(kernel)?);
    let (bundle, command_line) = (bundle.bytes(), &*options.command_line());
    let content = disk::Content { loader: &loader, kernel: &kernel, bundle, command_line };
    let image = unnamed_file(|file| disk::write(file, &content))?;
    run(&Source::Disk(image.as_raw_fd()), memory, options, symbols, transcript, log)
}

/// Boots the disk `file` by UEFI; otherwise as [`boot`].
///
/// # Errors
/// As there.
pub fn boot_disk(
    file: &File,
    options: &Options,
    symbols: &Symbols,
    transcript: &mut dyn Write,
    log: &mut dyn Write,
) -> Result<MachineReport, Failure> {
    run(&Source::Disk(file.as_raw_fd()), DISK_MEMORY, options, symbols, transcript, log)
}

/// Runs a machine to its end; `memory` in MiB is what it has if nothing else is asked for.
fn run(
    source: &Source<'_>,
    memory: u64,
    options: &Options,
    symbols: &Symbols,
    transcript: &mut dyn Write,
    log: &mut dyn Write,
) -> Result<MachineReport, Failure> {
    let memory = options.memory.map_or(memory, u64::from);
    if matches!(source, Source::Disk(_)) && !Path::new(firmware::FILE).exists() {
        return Err(Failure::new(Kind::Computer, "UEFI firmware is not installed")
            .at(firmware::FILE)
            .help("apt-get install ovmf"));
    }
    let (log_reader, log_writer) = io::pipe().map_err(lost)?;
    let (monitor, monitor_end) = Monitor::new().map_err(lost)?;
    let debugger = match options.debugger {
        true => Some(Debugger::new(symbols).map_err(lost)?),
        false => None,
    };
    let descriptors = [log_writer.as_raw_fd(), monitor_end.as_raw_fd()];
    let mut command = command::command(source, memory, options, descriptors, debugger.as_ref());
    let signals = output::Signals::block().map_err(|error| lost(error.into()))?;
    let mut machine = Machine(command.spawn().map_err(|error| missing(&error))?);
    drop((command, log_writer, monitor_end));
    let (Some(output), Some(errors)) = (machine.0.stdout.take(), machine.0.stderr.take()) else {
        return Err(lost(io::ErrorKind::BrokenPipe.into()));
    };
    if let Some(debugger) = &debugger {
        write!(log, "{debugger}").map_err(|error| Failure::output(&error))?;
    }
    let firmware = matches!(source, Source::Disk(_));
    // Nobody knows how long somebody looks around.
    let patient = debugger.is_some();
    let firmware = firmware.then(|| Firmware::new(patient));
    let outputs = Outputs { transcript: output, log: log_reader, errors, firmware };
    let take_dump = &mut |dump: &Dump| keep(dump, options.dump.as_deref());
    let sinks = Sinks { transcript, log, take_dump };
    let said = match outputs.follow(&signals, monitor, symbols, sinks)? {
        End::Signal(signal) => {
            let status = interruption(signal);
            return Ok(MachineReport { status, start_microseconds: 0, services: Vec::new() });
        }
        End::Closed(said) => said,
    };
    let status = machine.0.wait().map_err(lost)?;
    end_of(status, &said)
}

/// Keeps a dump in `file`; says what became of it.
fn keep(dump: &Dump, file: Option<&Path>) -> Result<String, Failure> {
    let reason = &dump.state().reason;
    let Some(file) = file else {
        return Ok(format!("phi-host: the kernel wrote a dump ({reason}); --dump FILE keeps it\n"));
    };
    std::fs::write(file, dump.bytes()).map_err(|error| {
        Failure::new(Kind::Computer, format!("the dump cannot be written: {error}"))
            .in_file(file)
            .help("name a file in a folder that is there and has room")
    })?;
    Ok(format!("phi-host: the kernel's dump ({reason}) is in {}\n", file.display()))
}

/// QEMU's process: it ends when this is dropped.
struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        // It has ended already, or nothing more can be done about it.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What the machine's end means.
fn end_of(status: ExitStatus, said: &output::Said) -> Result<MachineReport, Failure> {
    let words = format!("{}{}", said.errors, said.log_end);
    match status.code() {
        Some(CLEAN) => {
            let record = said.record.as_deref().unwrap_or_default();
            serde_json::from_slice(record).map_err(|error| {
                Failure::new(Kind::Bug, format!("the kernel's last record is missing: {error}"))
                    .help("this is a mistake in phi-kernel, please report it")
                    .details(String::from_utf8_lossy(record))
            })
        }
        Some(KERNEL_BUG) => Err(Failure::new(Kind::Bug, "the kernel could not go on").help(
            "what it says is in the log above; please report it if it is a mistake of its own",
        )),
        // QEMU's own: it could not begin.
        Some(1) if said.log_end.is_empty() => {
            Err(Failure::new(Kind::Computer, "QEMU could not start the machine")
                .at(PROGRAM)
                .help("see what QEMU says above; --memory changes how much memory it asks for")
                .details(words))
        }
        _ => {
            let how = match status.signal() {
                Some(signal) => format!("signal {signal} ended it"),
                None => status.to_string(),
            };
            Err(Failure::new(Kind::Bug, format!("the machine was lost ({how})"))
                .at(PROGRAM)
                .help("a reset, or somebody ended QEMU; its last words are in the log above")
                .details(said.errors.clone()))
        }
    }
}

/// MiB of memory for `bundle`: for the kernel, the bundle and a copy, and what the services may use.
fn memory(bundle: &Bundle<'_>) -> u64 {
    const MIB: u64 = 1 << 20;
    if bundle.plan().mode == Mode::Embedded {
        return EMBEDDED_MEMORY / MIB;
    }
    let quotas = bundle.plan().services.iter().map(|service| service.quota.memory);
    let quotas = quotas.fold(0u64, u64::saturating_add);
    256 + (2 * bundle.bytes().len() as u64).div_ceil(MIB) + quotas.div_ceil(MIB)
}

/// A file without a name, with what `fill` writes, and read from its beginning.
fn unnamed_file(fill: impl FnOnce(&mut File) -> io::Result<()>) -> Result<File, Failure> {
    let written = || {
        let mut file = tempfile::tempfile()?;
        fill(&mut file)?;
        file.rewind()?;
        Ok(file)
    };
    written().map_err(|error: io::Error| {
        Failure::new(Kind::Computer, format!("there is no room for the bundle: {error}"))
            .in_file(&std::env::temp_dir())
            .help("free some room, or name another folder in $TMPDIR")
    })
}

fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(file).map_err(|error| {
        Failure::new(Kind::Computer, format!("what was built cannot be read: {error}"))
            .in_file(file)
            .help("build it again")
    })
}

fn missing(error: &io::Error) -> Failure {
    let what = match error.kind() {
        io::ErrorKind::NotFound => "QEMU is not installed".into(),
        _ => format!("QEMU cannot be run: {error}"),
    };
    Failure::new(Kind::Computer, what).at(PROGRAM).help("apt-get install qemu-system-x86")
}

fn lost(error: io::Error) -> Failure {
    Failure::new(Kind::Computer, format!("QEMU cannot be watched: {error}"))
        .help("try again with fewer programs and files open")
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::signal::Signal;
    use output::Said;

    /// What an end means when QEMU's exit status is `code`.
    fn ended(code: i32, record: Option<&str>, log_end: &str) -> Result<MachineReport, Failure> {
        let record = record.map(|record| record.as_bytes().to_vec());
        let said = Said { record, log_end: log_end.into(), errors: "QEMU's words\n".into() };
        end_of(ExitStatus::from_raw(code << 8), &said)
    }

    #[test]
    fn a_clean_end_has_the_kernels_record() {
        let record = r#"{"status":7,"boot_microseconds":5,"services":[]}"#;
        assert_eq!(ended(CLEAN, Some(record), "").unwrap().status, 7);
        for record in [None, Some(""), Some("{}"), Some(r#"{"status":256}"#)] {
            assert_eq!(ended(CLEAN, record, "").unwrap_err().kind, Kind::Bug, "{record:?}");
        }
    }

    #[test]
    fn every_other_end_is_a_failure() {
        let record = Some(r#"{"status":7,"boot_microseconds":5,"services":[]}"#);
        assert_eq!(ended(KERNEL_BUG, record, "panic").unwrap_err().kind, Kind::Bug);
        assert_eq!(ended(0, record, "booted").unwrap_err().kind, Kind::Bug);
        assert_eq!(ended(1, record, "booted").unwrap_err().kind, Kind::Bug);
        let failure = ended(1, None, "").unwrap_err();
        assert_eq!((failure.kind, failure.details.as_str()), (Kind::Computer, "QEMU's words\n"));
    }

    #[test]
    fn a_killed_machine_is_lost() {
        let said = Said { record: None, log_end: String::new(), errors: String::new() };
        let failure = end_of(ExitStatus::from_raw(Signal::SIGKILL as i32), &said).unwrap_err();
        assert_eq!(failure.kind, Kind::Bug);
        assert!(failure.what.contains("signal 9"), "{failure}");
    }
}
