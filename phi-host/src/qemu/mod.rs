//! The bare-metal machine: the kernel and a bundle in QEMU.
//!
//! Principles:
//! - **Everything streams**: the transcript and the log are pipes, written on as they come and read
//!   to their end, whatever ends the machine.
//! - **Nothing stays behind**: QEMU ends with this process, even if that is killed, and the bundle
//!   lies in a file without a name.
//!
//! Limits: QEMU's own words come with the failure, and are not shown when the machine ends well.

mod log;
mod output;

use crate::cargo;
use crate::failure::{Failure, Kind};
use crate::statistics::{MachineReport, interruption};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getpid, getppid};
use output::{End, Outputs};
use phi_manifest::bundle::Bundle;
use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

/// The emulator.
const PROGRAM: &str = "qemu-system-x86_64";

/// The kernel's compilation target.
const TARGET: &str = "x86_64-unknown-none";

/// QEMU's exit status after the kernel has ended the system.
const CLEAN: i32 = 33;

/// QEMU's exit status after the kernel has found a mistake in itself.
const KERNEL_BUG: i32 = 35;

/// How a system is booted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// MiB of memory; without it, as much as the bundle and the quotas need.
    pub memory: Option<u32>,
    /// Whether the guest's clock counts its instructions, which two runs repeat exactly.
    pub count_instructions: bool,
}

/// Builds the kernel of `project`; gives its file.
///
/// # Errors
/// Cargo or the target is missing, or the kernel does not build.
pub fn kernel(project: &Path) -> Result<PathBuf, Failure> {
    if !cargo::has_target(TARGET) {
        return Err(Failure::new(Kind::Computer, "a Rust target is not installed")
            .at(TARGET)
            .help(format!("rustup target add {TARGET}")));
    }
    let arguments = ["--profile=kernel", "--package=phi-kernel", &format!("--target={TARGET}")];
    let mut programs = cargo::build(project, &arguments.map(String::from), "the kernel")?;
    programs.remove("phi-kernel").ok_or_else(|| {
        Failure::new(Kind::Bug, "cargo has built no kernel").in_file(&project.join("phi-kernel"))
    })
}

/// Boots `kernel` with `bundle` and runs the system to its end. The transcript and the log are
/// written as they come.
///
/// SIGINT and SIGTERM end the machine; the status is then 128 and the signal's number, and there are
/// no services in the report.
///
/// # Errors
/// QEMU is missing or does not start, the output cannot be written, or the machine was lost.
pub fn boot(
    kernel: &Path,
    bundle: &Bundle<'_>,
    options: &Options,
    transcript: &mut dyn Write,
    log: &mut dyn Write,
) -> Result<MachineReport, Failure> {
    let image = unnamed_file(bundle.bytes()).map_err(|error| {
        Failure::new(Kind::Computer, format!("there is no room for the bundle: {error}"))
            .in_file(&std::env::temp_dir())
            .help("free some room, or name another folder in $TMPDIR")
    })?;
    let memory = options.memory.map_or_else(|| memory(bundle), u64::from);
    let (log_reader, log_writer) = io::pipe().map_err(lost)?;
    let mut command = command(kernel, memory, options, image.as_raw_fd(), log_writer.as_raw_fd());
    let signals = output::Signals::block().map_err(|error| lost(error.into()))?;
    let mut machine = Machine(command.spawn().map_err(|error| missing(&error))?);
    drop((command, log_writer));
    let (Some(output), Some(errors)) = (machine.0.stdout.take(), machine.0.stderr.take()) else {
        return Err(lost(io::ErrorKind::BrokenPipe.into()));
    };
    let outputs = Outputs { transcript: output, log: log_reader, errors };
    let end = outputs.follow(&signals, transcript, log)?;
    let end = match end {
        End::Signal(signal) => {
            let status = interruption(signal);
            return Ok(MachineReport { status, start_microseconds: 0, services: Vec::new() });
        }
        End::Closed(said) => said,
    };
    let status = machine.0.wait().map_err(lost)?;
    end_of(status, &end)
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
    let quotas = bundle.plan().services.iter().map(|service| service.quota.memory);
    let quotas = quotas.fold(0u64, u64::saturating_add);
    256 + (2 * bundle.bytes().len() as u64).div_ceil(MIB) + quotas.div_ceil(MIB)
}

fn unnamed_file(content: &[u8]) -> io::Result<File> {
    let mut file = tempfile::tempfile()?;
    file.write_all(content)?;
    file.rewind()?;
    Ok(file)
}

/// The command that starts QEMU. It inherits the descriptors `bundle` and `log`, which must stay
/// open until it is spawned.
fn command(kernel: &Path, memory: u64, options: &Options, bundle: RawFd, log: RawFd) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(["-M", "q35", "-accel", "tcg", "-cpu", "max", "-m", &format!("{memory}M")]);
    command.args(["-nodefaults", "-display", "none", "-no-reboot", "-bios", "qboot.rom"]);
    command.arg("-kernel").arg(kernel);
    command.args(["-initrd", &format!("/dev/fd/{bundle}")]);
    command.args([
        "-chardev",
        "file,id=transcript,path=/dev/fd/1",
        "-serial",
        "chardev:transcript",
    ]);
    command.args([
        "-chardev",
        &format!("file,id=log,path=/dev/fd/{log}"),
        "-serial",
        "chardev:log",
    ]);
    command.args(["-device", "isa-debug-exit,iobase=0xf4,iosize=4"]);
    if options.count_instructions {
        command.args(["-icount", "shift=0,sleep=off"]);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // A group of its own, so that Ctrl-C reaches this process alone, which then ends it.
    command.process_group(0);
    inherit(&mut command, [bundle, log], getpid());
    command
}

/// Has the process of `command` inherit `descriptors`, and end when its parent does.
#[expect(unsafe_code, reason = "prepares a process between fork and exec")]
fn inherit(command: &mut Command, descriptors: [RawFd; 2], parent: Pid) {
    let prepare = move || {
        set_pdeathsig(Signal::SIGKILL)?;
        if getppid() != parent {
            // It ended before the wish to end with it was made.
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        for descriptor in descriptors {
            // SAFETY: the caller keeps it open until the process was started, and the copy of it
            // that this process has is closed by nobody else.
            let descriptor = unsafe { BorrowedFd::borrow_raw(descriptor) };
            fcntl(descriptor, FcntlArg::F_SETFD(FdFlag::empty()))?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec, the closure makes only system calls that are async-signal-safe,
    // allocates nothing, and touches nothing but its own captured numbers.
    unsafe { command.pre_exec(prepare) };
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
