//! The tests that may find a mutant, in the order of their cost.

use crate::WorkingCopy;
use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Error;
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long a build may take.
const BUILD_LIMIT: Duration = Duration::from_secs(900);

/// How often a running command is looked at.
const PAUSE: Duration = Duration::from_millis(20);

/// Runs a command whose processes have at most 4 GiB of data (counted in KiB), files of at most 1 GiB
/// (counted in blocks of 512 bytes), and 20 minutes of processor time: a mutant that loops may also
/// allocate or print, and goes on when the gate itself is interrupted.
const LIMITED: &str =
    "ulimit -d 4194304 && ulimit -f 2097152 && ulimit -t 1200 && exec \"$0\" \"$@\"";

/// Some tests.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Stage {
    /// The unit and random tests in one package: the one that the bug is in, or ΦCore.
    Unit(String),
    /// The comparison of ΦCore with the reference model.
    Model,
    /// The conformance suite, on Linux processes.
    Conformance,
}

/// What became of a stage.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// All its tests passed.
    Passed,
    /// A test failed, with the end of what was printed.
    Failed(String),
    /// The tests did not end in time.
    TimedOut,
    /// The code does not compile, with the end of what was printed.
    NotBuilt(String),
}

impl Stage {
    /// The stages for a bug in `package`, cheapest first.
    pub fn of(package: &str) -> Vec<Stage> {
        let mut packages = vec![package, "phi-core"];
        packages.dedup();
        let units = packages.into_iter().map(|package| Stage::Unit(package.into()));
        units.chain([Stage::Model, Stage::Conformance]).collect()
    }

    /// Whether the sources have it: the reference model is not part of every version.
    pub fn exists_in(&self, copy: &WorkingCopy) -> bool {
        match self {
            Stage::Model => copy.path("tests/model/Cargo.toml").is_file(),
            Stage::Unit(_) | Stage::Conformance => true,
        }
    }

    /// How reports call it.
    pub fn name(&self) -> &str {
        match self {
            Stage::Unit(package) => package,
            Stage::Model => "phi-model",
            Stage::Conformance => "conformance",
        }
    }

    /// How long its tests may run.
    pub fn limit(&self) -> Duration {
        Duration::from_secs(match self {
            Stage::Unit(package) if package == "phi-core" => 120,
            Stage::Unit(_) => 30,
            Stage::Model | Stage::Conformance => 300,
        })
    }

    /// Builds and runs its tests.
    ///
    /// # Errors
    /// A command cannot be started or waited for.
    pub fn run(&self, copy: &WorkingCopy) -> Result<Outcome, Error> {
        let cargo = OsStr::new("cargo");
        let (build, test): (&[&str], &[&str]) = match self {
            // Each has the name of its package.
            Stage::Unit(_) | Stage::Model => (
                &["test", "--lib", "--tests", "-p", self.name(), "--no-run"],
                // More threads than processors: the first to fail ends the stage, so that short
                // tests shall not wait for long ones.
                &["test", "--lib", "--tests", "-p", self.name(), "--", "--test-threads=32"],
            ),
            Stage::Conformance => (&["build", "-p", "phi-host"], &["run", "tests/conformance"]),
        };
        match execute(copy, cargo, build, BUILD_LIMIT)? {
            Outcome::Passed => {}
            Outcome::Failed(output) => return Ok(Outcome::NotBuilt(output)),
            other => return Ok(other),
        }
        let tool = copy.target().join("debug/phi-host");
        let program = if *self == Stage::Conformance { tool.as_os_str() } else { cargo };
        execute(copy, program, test, self.limit())
    }
}

/// The start of a line that a Rust test prints, and its end when the test has failed.
const FAILED_TEST: (&str, &str) = ("test ", " ... FAILED");

/// Runs a command at the root of the copy; when it is over, no process of its group is left.
fn execute(
    copy: &WorkingCopy,
    program: &OsStr,
    arguments: &[&str],
    limit: Duration,
) -> Result<Outcome, Error> {
    let output = tempfile::tempfile()?;
    let mut command = Command::new("sh");
    command.args(["-c", LIMITED]).arg(program).args(arguments);
    command.current_dir(copy.root()).process_group(0);
    command.env("CARGO_TARGET_DIR", copy.target());
    // Nobody debugs a mutant, and without it linking is faster.
    command.env("CARGO_PROFILE_DEV_DEBUG", "0").env("CARGO_TERM_COLOR", "never");
    command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output.try_clone()?);
    let mut child = command.spawn()?;
    let group = Pid::from_raw(child.id().cast_signed());
    let start = Instant::now();
    // The process is not reaped yet, so that its group cannot be somebody else's.
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    let in_time = loop {
        match waitid(Id::Pid(group), flags) {
            Ok(WaitStatus::StillAlive) if start.elapsed() >= limit => break false,
            Ok(WaitStatus::StillAlive) => {
                let text = read(&output)?;
                let failed =
                    |line: &str| line.starts_with(FAILED_TEST.0) && line.ends_with(FAILED_TEST.1);
                if text.lines().any(failed) {
                    break true; // One is enough.
                }
                thread::sleep(PAUSE);
            }
            Ok(_) => break true,
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    };
    killpg(group, Signal::SIGKILL)?;
    let status = child.wait()?;
    if !in_time {
        return Ok(Outcome::TimedOut);
    }
    if status.success() {
        return Ok(Outcome::Passed);
    }
    let text = read(&output)?;
    let lines: Vec<&str> = text.lines().collect();
    Ok(Outcome::Failed(lines[lines.len().saturating_sub(20)..].join("\n")))
}

/// What was printed so far.
fn read(output: &File) -> Result<String, Error> {
    let mut text = vec![0; output.metadata()?.len() as usize];
    output.read_exact_at(&mut text, 0)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}
