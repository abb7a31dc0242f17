//! Every attack ends as it must, as root and as an ordinary user, and nothing is left behind.

use phi_end_to_end::{ebpf, expect, phi_host};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// Attacks that are made at least.
const ATTACKS: usize = 40;

/// A user of Linux who is nobody.
const NOBODY: u32 = 65534;

/// Bytes by which the supervisor may grow from one round to the next: its heap's own habits.
const GROWTH: u64 = 4 << 20;

/// What the supervisor holds at one time.
#[derive(Debug)]
struct Holdings {
    descriptors: usize,
    processes: usize,
    memory: u64,
}

impl Holdings {
    fn of(process: u32) -> Holdings {
        let folder = format!("/proc/{process}");
        let read = |file: &str| fs::read_to_string(format!("{folder}/{file}")).expect(file);
        let descriptors = fs::read_dir(format!("{folder}/fd")).expect("descriptors").count();
        let processes = read(&format!("task/{process}/children")).split_whitespace().count();
        let status = read("status");
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes =
            resident.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        Holdings { descriptors, processes, memory: kilobytes.expect("VmRSS") << 10 }
    }
}

/// Has all attacks made by `supervisor`.
fn attack(supervisor: &mut Command) {
    let mut child = supervisor
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("phi-host starts");
    let mut log = child.stderr.take().expect("a pipe");
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        log.read_to_string(&mut text).map(|_| text)
    });
    let mut lines = Vec::new();
    let mut rounds = Vec::new();
    for line in BufReader::new(child.stdout.take().expect("a pipe")).lines() {
        let line = line.expect("text");
        if line.starts_with("round ") {
            rounds.push(Holdings::of(child.id()));
        }
        lines.push(line);
    }
    let status = child.wait().expect("it ends");
    let log = reader.join().expect("no panic").expect("text");
    let said = format!("{}\n{log}", lines.join("\n"));
    assert_eq!(status.code(), Some(0), "{said}");
    let passed = lines.iter().filter(|line| line.starts_with("ok ")).count();
    assert!(passed >= 2 * ATTACKS, "{said}");
    assert!(log.contains("the process of attacker made a system call that its filter forbids"));
    assert!(
        !log.contains("the process of victim") && !log.contains("the process of judge"),
        "{log}"
    );
    let [first, second] = &rounds[..] else { panic!("{said}") };
    assert_eq!(first.descriptors, second.descriptors, "descriptors leak");
    assert_eq!(first.processes, second.processes, "processes are left");
    assert!(second.memory < first.memory + GROWTH, "memory leaks: {first:?}, {second:?}");
}

/// The system as a bundle, and the tool, where everybody can read them.
fn prepare(folder: &Path) {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).expect("a folder");
    let bundle = folder.join("hostile.bundle");
    expect(phi_host().args(["image", "tests/hostile", "--output"]).arg(&bundle), 0);
    let tool = folder.join("phi-host");
    fs::copy(phi_host().get_program(), &tool).expect("the tool is copied");
    for (file, mode) in [(&bundle, 0o644), (&tool, 0o755)] {
        fs::set_permissions(file, fs::Permissions::from_mode(mode)).expect("it is ours");
    }
}

#[test]
fn no_attack_passes() {
    let folder = tempfile::tempdir().expect("a folder");
    prepare(folder.path());
    let command = |isolation: &str| {
        let mut command = Command::new(folder.path().join("phi-host"));
        command.current_dir(folder.path());
        command.args(["run", "hostile.bundle", "--isolation", isolation]);
        command
    };
    attack(&mut command("full"));
    // Only root can be somebody else.
    let root = fs::metadata("/proc/self").expect("this process");
    if std::os::unix::fs::MetadataExt::uid(&root) == 0 {
        attack(command("full").uid(NOBODY).gid(NOBODY));
        attack(command("reduced").uid(NOBODY).gid(NOBODY));
    }
}

/// What a tracer needs in a service's process must not look like an attack, nor help one.
#[test]
fn no_attack_passes_under_a_tracer() {
    if !ebpf() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    prepare(folder.path());
    let mut command = Command::new(folder.path().join("phi-host"));
    command.current_dir(folder.path());
    attack(command.args(["run", "hostile.bundle", "--edges"]));
}

#[test]
fn without_user_namespaces_the_run_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    prepare(folder.path());
    // A namespace of users in which there can be no more of them.
    let mut command = Command::new("unshare");
    let script =
        "echo 0 > /proc/sys/user/max_user_namespaces && exec ./phi-host run hostile.bundle";
    command.args(["--user", "--map-root-user", "sh", "-c", script]).current_dir(folder.path());
    let output = expect(&mut command, 4);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("this user may have no namespaces for services"), "{said}");
    assert!(said.contains("--isolation reduced"), "{said}");
}
