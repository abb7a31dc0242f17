//! What is tried, and what to do when it fails.

use super::{Missing, Row};
use crate::ebpf;
use crate::linux::attempt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

type Found = Result<String, Missing>;

/// Everything, in the order of the table.
pub fn all() -> Vec<Row> {
    let row = |name, purpose, found| Row { name, purpose, needed: false, found };
    let need = |name, purpose, found| Row { name, purpose, needed: true, found };
    let mut rows = vec![
        need("memfd and seals", "memory of services", tried(attempt::sealed_memory(), KERNEL)),
        need("pidfd", "ends of services", tried(attempt::process_descriptor(), KERNEL)),
        need("cargo", "building images", program("cargo", "install Rust: https://rustup.rs")),
        need("cc", "building images", program("cc", "apt-get install gcc")),
        row("namespaces", "isolation", tried(attempt::namespaces(), NAMESPACES)),
        row("Landlock", "isolation", landlock()),
        row("seccomp", "isolation", tried(attempt::seccomp(), KERNEL)),
        row("cgroup v2", "limits of services", cgroup()),
        row("io_uring, restricted", "disks", tried(attempt::driver_ring(), IO_URING)),
        row("io_uring, deferred", "waiting, or by epoll", tried(attempt::waiting_ring(), WAITING)),
        row("KVM", "fast virtual machines", tried(attempt::kvm(), KVM)),
        row("QEMU", "boot", program("qemu-system-x86_64", "apt-get install qemu-system-x86")),
        row("bare target", "boot", target("x86_64-unknown-none")),
        row("gdb", "debugging", program("gdb", "apt-get install gdb")),
        row("perf", "profiling", program("perf", "apt-get install linux-perf")),
        row("perf events", "profiling", tried(attempt::perf_event(), PERF)),
        row("tracefs", "tracing", file_system("/sys/kernel/tracing", TRACEFS, "tracefs")),
        row("bpffs", "pinned eBPF", file_system("/sys/fs/bpf", BPFFS, "bpf")),
        row("BTF", "CPU time with eBPF", btf()),
        row("eBPF programs", "run --edges", tried(attempt::bpf_program(), BPF)),
    ];
    let (usdt, processor) = ebpf::attempt();
    rows.push(row("eBPF at USDT sites", "run --edges", off(usdt)));
    rows.push(row("eBPF, tp_btf", "CPU time in --edges", off(processor)));
    rows.push(row("eBPF, fentry", "tracing the kernel", off(ebpf::attempt_program("entry"))));
    rows.push(row("eBPF, lsm", "vetoes", off(ebpf::attempt_program("veto"))));
    rows
}

const KERNEL: &str = "use Linux 5.15 or newer, outside a container that forbids it";
const NAMESPACES: &str = "sysctl -w user.max_user_namespaces=15000, and on Ubuntu \
    kernel.apparmor_restrict_unprivileged_userns=0; or give them up: run --isolation reduced";
const LANDLOCK: &str = "boot with landlock in the kernel's lsm= list; Linux 5.13 or newer";
const IO_URING: &str = "sysctl -w kernel.io_uring_disabled=0; Linux 5.15 or newer, outside a container \
    that forbids it";
const WAITING: &str = "nothing is lost: the supervisor waits by epoll; sysctl -w kernel.io_uring_disabled=0, Linux 6.1";
const KVM: &str = "enable virtualization in the firmware, and join the group kvm";
const PERF: &str = "sysctl -w kernel.perf_event_paranoid=1";
const BPF: &str = "run as root, or with the capabilities CAP_BPF and CAP_PERFMON";

/// Numbers by which file systems know their kinds.
const TRACEFS: i64 = 0x7472_6163;
const BPFFS: i64 = 0xcafe_4a11;

fn tried<T, E: std::fmt::Display>(result: Result<T, E>, how: &str) -> Found {
    match result {
        Ok(_) => Ok("tried".into()),
        Err(error) => Err(Missing { why: error.to_string(), how: how.into() }),
    }
}

fn off(result: Result<(), ebpf::Off>) -> Found {
    result.map(|()| "tried".to_string()).map_err(|ebpf::Off { why, how, .. }| Missing { why, how })
}

fn landlock() -> Found {
    match attempt::landlock() {
        Ok(version) => Ok(format!("tried, version {version}")),
        Err(error) => Err(Missing { why: error.to_string(), how: LANDLOCK.into() }),
    }
}

/// Runs a program for its version.
fn program(name: &str, how: &str) -> Found {
    let missing = |why| Missing { why, how: how.into() };
    let output = Command::new(name).arg("--version").stdin(Stdio::null()).output();
    let output = output.map_err(|error| missing(error.to_string()))?;
    if !output.status.success() {
        return Err(missing(format!("it ended with {}", output.status)));
    }
    let said = String::from_utf8_lossy(&output.stdout);
    Ok(said.lines().next().unwrap_or_default().trim().to_string())
}

/// Compiles nothing for a target.
fn target(name: &str) -> Found {
    let how = format!("rustup target add {name}");
    let missing = |why: String| Missing { why, how: how.clone() };
    let folder = tempfile::tempdir().map_err(|error| missing(error.to_string()))?;
    let source = folder.path().join("empty.rs");
    fs::write(&source, "#![no_std]\n").map_err(|error| missing(error.to_string()))?;
    let mut command = Command::new("rustc");
    command.args(["--crate-type", "lib", "--emit", "metadata", "--target", name]);
    command.arg("--out-dir").arg(folder.path()).arg(&source);
    let output = command.output().map_err(|error| missing(error.to_string()))?;
    match output.status.success() {
        true => Ok("tried".into()),
        false => {
            let said = String::from_utf8_lossy(&output.stderr);
            let first = said.lines().next().unwrap_or("rustc failed");
            Err(missing(first.to_string()))
        }
    }
}

/// Makes a folder in the file system of this kind that is mounted at `place`.
fn file_system(place: &str, kind: i64, name: &str) -> Found {
    let how = format!("mount -t {name} {name} {place}, as root");
    let missing = |why: String| Missing { why, how: how.clone() };
    let found = nix::sys::statfs::statfs(place).map_err(|error| missing(error.to_string()))?;
    if found.filesystem_type().0 != kind {
        return Err(missing(format!("nothing is mounted at {place}")));
    }
    // In tracefs only its own instances can be made.
    let parent = if kind == TRACEFS { Path::new(place).join("instances") } else { place.into() };
    make_folder(&parent).map_err(|error| missing(format!("{place} is not writable: {error}")))?;
    Ok(format!("tried, {place}"))
}

fn make_folder(parent: &Path) -> std::io::Result<()> {
    let folder = parent.join(format!("phi-doctor-{}", std::process::id()));
    fs::create_dir(&folder)?;
    fs::remove_dir(&folder)
}

/// Makes a group below the one of this process.
fn cgroup() -> Found {
    const HOW: &str = "mount -t cgroup2 none /sys/fs/cgroup, as root; as a user, start phi-host with \
        systemd-run --user --scope -p Delegate=yes";
    let missing = |why: String| Missing { why, how: HOW.into() };
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mount = mounts.lines().find_map(|line| {
        let mut words = line.split(' ').skip(1);
        let place = words.next()?;
        (words.next()? == "cgroup2").then_some(place)
    });
    let mount = mount.ok_or_else(|| missing("no cgroup2 file system is mounted".into()))?;
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    let group = PathBuf::from(mount).join(own);
    make_folder(&group)
        .map_err(|error| missing(format!("{} is not writable: {error}", group.display())))?;
    let controllers = fs::read_to_string(group.join("cgroup.controllers")).unwrap_or_default();
    match controllers.trim() {
        "" => Ok(format!("tried, {}, without controllers", group.display())),
        controllers => Ok(format!("tried, {}: {controllers}", group.display())),
    }
}

/// Reads the kernel's own types.
fn btf() -> Found {
    const FILE: &str = "/sys/kernel/btf/vmlinux";
    const MAGIC: [u8; 2] = 0xeb9f_u16.to_ne_bytes();
    let missing =
        |why: String| Missing { why, how: "use a kernel built with CONFIG_DEBUG_INFO_BTF".into() };
    let bytes = fs::read(FILE).map_err(|error| missing(error.to_string()))?;
    match bytes.starts_with(&MAGIC) {
        true => Ok(format!("read, {} KiB", bytes.len() >> 10)),
        false => Err(missing(format!("{FILE} is something else"))),
    }
}
