//! What a user leaves behind who interrupts a system, or whose supervisor is killed: nothing.

use phi_end_to_end::phi_host;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// Time that anything here may take.
const LIMIT: Duration = Duration::from_secs(120);

/// Waits until `condition` holds.
fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + LIMIT;
    while !condition() {
        assert!(Instant::now() < end, "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The processes whose parent is `parent`.
fn children(parent: u32) -> Vec<u32> {
    let tasks = format!("/proc/{parent}/task/{parent}/children");
    let listed = fs::read_to_string(tasks).unwrap_or_default();
    listed.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

/// Whether a process is there and has not ended.
fn lives(process: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // The state follows the name, which is in parentheses.
    status.rsplit(')').next().is_some_and(|rest| {
        let state = rest.split_whitespace().next();
        state.is_some_and(|state| state != "Z" && state != "X")
    })
}

/// Whether a process runs a service, rather than cargo.
fn is_service(process: u32) -> bool {
    let words = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
    words.starts_with(b"phi-service\0")
}

/// A system that goes on for ever, and its services' processes.
struct Endless {
    supervisor: Child,
    services: Vec<u32>,
}

impl Endless {
    /// Starts it with `files` as the folder of temporary files; it is built before.
    fn start(mode: &str, files: &Path) -> Endless {
        let mut supervisor = phi_host()
            .args(["run", "tests/end-to-end/systems/endless", "--mode", mode])
            .env("TMPDIR", files)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("phi-host starts");
        let id = supervisor.id();
        let mut services = Vec::new();
        until("the services run", || {
            if let Ok(Some(status)) = supervisor.try_wait() {
                panic!("the system ended by itself: {status}");
            }
            match mode {
                "threads" => threads(id) >= 3,
                _ => {
                    services = children(id);
                    services.retain(|process| is_service(*process));
                    // init and the two consoles.
                    services.len() == 3
                }
            }
        });
        Endless { supervisor, services }
    }

    fn signal(&self, signal: &str) {
        let id = self.supervisor.id().to_string();
        let status = std::process::Command::new("kill").args([signal, &id]).status();
        assert!(status.expect("kill runs").success());
    }

    fn leaves_nothing(&self, files: &Path) {
        for service in &self.services {
            until("the services have ended", || !lives(*service));
        }
        let left: Vec<_> = fs::read_dir(files).expect("the folder").collect();
        assert!(left.is_empty(), "files are left: {left:?}");
    }
}

fn threads(process: u32) -> usize {
    let names = |task: fs::DirEntry| fs::read_to_string(task.path().join("comm")).ok();
    let Ok(tasks) = fs::read_dir(format!("/proc/{process}/task")) else { return 0 };
    tasks.flatten().filter_map(names).filter(|name| name.starts_with("phi-0")).count()
}

/// Shared memory with a name, which outlives processes.
fn shared_memory() -> usize {
    fs::read_dir("/dev/shm").map_or(0, Iterator::count)
}

#[test]
fn an_interrupted_system_leaves_nothing() {
    for mode in ["processes", "threads"] {
        let files = tempfile::tempdir().expect("a folder");
        let before = shared_memory();
        let mut endless = Endless::start(mode, files.path());
        endless.signal("-INT");
        let status = endless.supervisor.wait().expect("it ends");
        assert_eq!(status.code(), Some(130), "{mode}: {status}");
        endless.leaves_nothing(files.path());
        assert_eq!(shared_memory(), before);
    }
}

#[test]
fn a_killed_supervisor_leaves_nothing() {
    let files = tempfile::tempdir().expect("a folder");
    let before = shared_memory();
    let mut endless = Endless::start("processes", files.path());
    endless.signal("-KILL");
    let status = endless.supervisor.wait().expect("it ends");
    assert_eq!(status.signal(), Some(9));
    endless.leaves_nothing(files.path());
    assert_eq!(shared_memory(), before);
}

#[test]
fn a_killed_service_is_a_fault_that_ends_the_system_as_planned() {
    let files = tempfile::tempdir().expect("a folder");
    let mut endless = Endless::start("processes", files.path());
    // `init` started first, then `first`, whose end is the system's.
    let first = endless.services[1];
    let status = std::process::Command::new("kill").args(["-KILL", &first.to_string()]).status();
    assert!(status.expect("kill runs").success());
    let status = endless.supervisor.wait().expect("it ends");
    assert_eq!(status.code(), Some(70), "{status}");
    endless.leaves_nothing(files.path());
}
