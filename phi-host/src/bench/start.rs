//! What many services cost to start, and while they wait.
//!
//! The system has as many services that wait as one asks for, one that starts each hundred of them, one
//! that prints when all wait, and `init`. It is run as a user runs it: by `phi-host run`, from the start
//! of that command to the line that it prints, every process with full isolation.

use super::BenchError;
use crate::failure::Failure;
use crate::progress::Progress;
use crate::system::System;
use nix::poll::{PollFd, PollFlags, poll};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Services that wait, at most: with those that start them, a system has no room for more.
pub const SERVICES: usize = 1000;

/// Services that one other starts.
const TEAM: usize = 100;

/// Milliseconds in which one peer at least says that it is there.
const PATIENCE: u16 = 60_000;

/// Time between two looks at whether the last threads have come to rest, and looks at most: on a busy
/// computer, who has just said that it waits may have to wait for a processor first.
const SETTLING: Duration = Duration::from_millis(250);
const LOOKS: usize = 80;

/// What was measured of one system, or of one peer.
#[derive(Clone, PartialEq, Debug)]
pub struct Start {
    /// What was started.
    pub name: String,
    /// How many of them.
    pub services: usize,
    /// From the first to the moment in which all are there.
    pub total: Duration,
    /// CPU time that all of its processes had used by then, in nanoseconds, where that was measured: unlike
    /// the total, it says the same on a busy computer.
    pub cpu_nanoseconds: Option<u64>,
    /// What they used afterwards, where that was measured.
    pub idle: Option<Idle>,
}

/// What a system used while all its services waited, its supervisor included.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Idle {
    /// For how long.
    pub time: Duration,
    /// The processes, which were there all the time.
    pub processes: Vec<u32>,
    /// Their CPU time in nanoseconds.
    pub cpu_nanoseconds: u64,
    /// How often one of their threads gave up a processor: at least as often as one woke up.
    pub switches: u64,
}

/// The manifest of a system with so many services that wait, at most [`SERVICES`].
pub fn manifest(services: usize) -> String {
    let handles = services + 16;
    let mut text = format!(
        "[system]\nname = \"start\"\nuntil = \"keeper\"\n\n\
         [service.keeper]\nimage = \"phi-benchmark:keeper\"\nheap = \"1 MiB\"\nmemory = \"2 MiB\"\n\
         handles = {handles}\narguments = \"{services}\"\nserves = {{ keeper = {{}} }}\n\
         consoles = {{ output = \"transcript\" }}\n"
    );
    for first in (0..services).step_by(TEAM) {
        let names = (first..services.min(first + TEAM)).map(|one| format!("\"waiter-{one}\""));
        let names = names.collect::<Vec<_>>().join(", ");
        // A string takes everything.
        let _ = write!(
            text,
            "\n[service.leader-{first}]\nimage = \"phi-benchmark:leader\"\nmemory = \"128 KiB\"\n\
             stack = \"16 KiB\"\nheap = \"16 KiB\"\nhandles = 128\nthreads = 1\n\
             controls = [{names}]\n"
        );
    }
    for one in 0..services {
        let _ = write!(
            text,
            "\n[service.waiter-{one}]\nimage = \"phi-benchmark:waiter\"\nmemory = \"64 KiB\"\n\
             stack = \"16 KiB\"\nheap = \"16 KiB\"\nhandles = 4\nthreads = 1\nregions = 0\n\
             mailboxes = 0\nmessages = 0\nsignals = 0\nlineages = 0\n\
             uses = {{ keeper = {{ from = \"keeper\" }} }}\n"
        );
    }
    text
}

/// A bundle of that system.
///
/// # Errors
/// An image cannot be built.
pub fn bundle(project: &Path, services: usize) -> Result<Vec<u8>, Failure> {
    let text = manifest(services);
    let manifest = phi_manifest::check("the system that starts", &text)
        .map_err(|mistakes| BenchError::System(format!("its manifest has mistakes\n{mistakes}")))?;
    // Its images lie in the project.
    let system = System { file: super::system(project, crate::system::MANIFEST), manifest };
    let inputs = system.inputs(&[])?;
    system.bundle(&system.images()?, &inputs, &[])
}

/// Starts a system of so many services from `bundle` with `program`, lets it wait for `time`, and ends
/// it.
///
/// # Errors
/// It does not run, or not to the end.
pub fn system(
    program: &Path,
    bundle: &[u8],
    services: usize,
    time: Duration,
) -> Result<Start, BenchError> {
    let failed = |what: String| BenchError::System(what);
    let broken = |error: std::io::Error| BenchError::System(error.to_string());
    let mut file = tempfile::NamedTempFile::new().map_err(broken)?;
    file.write_all(bundle).map_err(broken)?;
    let mut log = tempfile::tempfile().map_err(broken)?;
    let begun = Instant::now();
    let mut running = Running(
        Command::new(program)
            .arg("run")
            .arg(file.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log.try_clone().map_err(broken)?)
            .spawn()
            .map_err(broken)?,
    );
    let output = running.0.stdout.take().ok_or_else(|| failed("it has no output".into()))?;
    let line = BufReader::new(output).lines().next();
    let total = begun.elapsed();
    if !matches!(&line, Some(Ok(line)) if line == "ready") {
        running.end();
        let mut said = String::new();
        std::io::Seek::rewind(&mut log).map_err(broken)?;
        log.read_to_string(&mut said).map_err(broken)?;
        return Err(failed(format!("not all of {services} services came to wait\n{said}")));
    }
    let before = Usage::at_rest(running.0.id()).map_err(broken)?;
    std::thread::sleep(time);
    let after = Usage::of(running.0.id()).map_err(broken)?;
    running.end();
    if before.processes != after.processes {
        return Err(failed("a process ended while all should have waited".into()));
    }
    let cpu_nanoseconds = Some(before.cpu_nanoseconds);
    let idle = Idle {
        time,
        processes: after.processes,
        cpu_nanoseconds: after.cpu_nanoseconds.saturating_sub(before.cpu_nanoseconds),
        switches: after.switches.saturating_sub(before.switches),
    };
    let (name, idle) = ("ΦOS, Linux processes".into(), Some(idle));
    Ok(Start { name, services, total, cpu_nanoseconds, idle })
}

/// A program that was started, and is ended with this at the latest.
struct Running(Child);

impl Running {
    /// Ends it as a user does, and waits for that.
    fn end(&mut self) {
        let id = nix::unistd::Pid::from_raw(self.0.id() as i32);
        // It is not waited for yet, so the id is its own.
        let _ = nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGTERM);
        let _ = self.0.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a process and its children have used up to now.
#[derive(PartialEq, Eq)]
struct Usage {
    processes: Vec<u32>,
    cpu_nanoseconds: u64,
    switches: u64,
}

impl Usage {
    /// Once it changes no more, or has changed for long enough.
    fn at_rest(supervisor: u32) -> std::io::Result<Usage> {
        let mut usage = Usage::of(supervisor)?;
        for _ in 0..LOOKS {
            std::thread::sleep(SETTLING);
            let next = Usage::of(supervisor)?;
            if next == usage {
                break;
            }
            usage = next;
        }
        Ok(usage)
    }

    fn of(supervisor: u32) -> std::io::Result<Usage> {
        let children =
            std::fs::read_to_string(format!("/proc/{supervisor}/task/{supervisor}/children"))?;
        let children = children.split_whitespace().filter_map(|word| word.parse().ok());
        let mut processes: Vec<u32> = std::iter::once(supervisor).chain(children).collect();
        processes.sort_unstable();
        let (mut cpu_nanoseconds, mut switches) = (0, 0);
        for process in &processes {
            for thread in std::fs::read_dir(format!("/proc/{process}/task"))? {
                let folder = thread?.path();
                // CPU time in nanoseconds, time that it waited for a processor, times that it had one.
                let used = std::fs::read_to_string(folder.join("schedstat"))?;
                let used = used.split_whitespace().next().and_then(|word| word.parse::<u64>().ok());
                cpu_nanoseconds += used.ok_or(std::io::ErrorKind::InvalidData)?;
                let status = std::fs::read_to_string(folder.join("status"))?;
                let counts = status.lines().filter(|line| line.contains("ctxt_switches:"));
                let counts =
                    counts.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
                switches += counts.sum::<u64>();
            }
        }
        Ok(Usage { processes, cpu_nanoseconds, switches })
    }
}

/// What people use instead: the program that isolates, and its arguments.
const PEERS: [(&str, &[&str]); 3] = [
    ("sleep, not isolated", &[]),
    (
        "sleep, by unshare(1)",
        &[
            "unshare",
            "--user",
            "--map-root-user",
            "--mount",
            "--pid",
            "--net",
            "--ipc",
            "--uts",
            "--cgroup",
            "--fork",
            "--kill-child",
        ],
    ),
    (
        "sleep, by bubblewrap",
        &["bwrap", "--unshare-all", "--die-with-parent", "--ro-bind", "/", "/", "--"],
    ),
];

/// Starts `services` processes that sleep, in each way that is there. Who says nothing of full isolation
/// has no filter of system calls, no Landlock and no limits.
///
/// # Errors
/// Linux does not let them start.
pub fn peers(services: usize, progress: &Progress) -> Result<Vec<Start>, BenchError> {
    let mut rows = Vec::new();
    for (name, words) in PEERS {
        if words.first().is_some_and(|program| !works(program)) {
            continue;
        }
        progress.show(format!("starting {services} times {name} …"));
        let total = peer(words, services)
            .map_err(|error| BenchError::Peer(format!("{services} times {name}: {error}")))?;
        let (name, cpu_nanoseconds, idle) = (name.into(), None, None);
        rows.push(Start { name, services, total, cpu_nanoseconds, idle });
    }
    Ok(rows)
}

/// Whether a program is there.
fn works(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Starts processes that say so and sleep; the time until all have said so.
fn peer(words: &[&str], services: usize) -> std::io::Result<Duration> {
    let (mut said, saying) = std::io::pipe()?;
    let shell = ["sh", "-c", "echo; exec sleep infinity"];
    let words: Vec<&str> = words.iter().copied().chain(shell).collect();
    let begun = Instant::now();
    let mut running = Vec::with_capacity(services);
    for _ in 0..services {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).stdin(Stdio::null()).stdout(saying.try_clone()?);
        // Ended with their group, whatever stands between.
        command.stderr(Stdio::null()).process_group(0);
        running.push(Group(command.spawn()?));
    }
    drop(saying);
    let mut count = 0;
    let mut some = [0; 1 << 10];
    // Those that live keep the pipe open, so one that has died would be waited for.
    while count < services
        && poll(&mut [PollFd::new(said.as_fd(), PollFlags::POLLIN)], PATIENCE)? > 0
    {
        match said.read(&mut some)? {
            0 => break,
            length => count += length,
        }
    }
    let total = begun.elapsed();
    match count == services {
        true => Ok(total),
        false => Err(std::io::Error::other(format!("only {count} came to sleep"))),
    }
}

/// A program and what it started, which end with this.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        let id = nix::unistd::Pid::from_raw(self.0.id() as i32);
        // It leads its group and is not waited for yet, so the id is its own.
        let _ = nix::sys::signal::killpg(id, nix::sys::signal::Signal::SIGKILL);
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_system_has_a_plan() {
        for services in [1, TEAM, TEAM + 1, SERVICES] {
            let manifest = phi_manifest::check("phi.toml", &manifest(services));
            let plan = manifest.expect("no mistakes").plan(&[]).expect("a plan");
            assert_eq!(plan.services.len(), services + services.div_ceil(TEAM) + 2);
        }
    }
}
