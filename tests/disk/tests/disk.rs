//! The driver of disks on Linux: what it refuses, and that nothing flushed is lost, whatever is killed.

use phi_disk_tests::keeper::LOGS;
use phi_disk_tests::record::{self, BYTES, PART};
use phi_end_to_end::{expect, metal, phi_host};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Bytes of a disk that holds all logs.
const DISK: u64 = LOGS * PART * BYTES as u64;

/// Records of each log, as the manifest says.
const RECORDS: u64 = 1000;

/// Time for a process to come or to go.
const PATIENCE: Duration = Duration::from_secs(60);

fn disk(file: &Path) -> File {
    let disk = File::create_new(file).expect("a new file");
    disk.set_len(DISK).expect("room");
    disk
}

fn run(system: &str, disk: &str) -> Command {
    let mut command = phi_host();
    command.args(["run", system, "--disk", disk]);
    command
}

#[test]
fn what_is_wrong_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("disk");
    disk(&file);
    let name = format!("data={}", file.display());
    let probe = |command: &mut Command| {
        let output = expect(command, 0);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.lines().count() > 15 && !said.contains("WRONG"), "{said}");
    };
    probe(&mut run("tests/disk/prober.toml", &name));
    probe(run("tests/disk/prober.toml", &name).args(["--isolation", "reduced"]));
    probe(&mut run("tests/disk/prober-ro.toml", &format!("{name},ro")));
}

#[test]
fn what_is_no_disk_is_refused_before_anything_runs() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("disk");
    disk(&file);
    let name = format!("data={}", file.display());
    let said = |command: &mut Command, status| {
        String::from_utf8_lossy(&expect(command, status).stderr).into_owned()
    };
    let missing = said(phi_host().args(["run", "tests/disk"]), 2);
    assert!(missing.contains("--disk data=FILE"), "{missing}");
    assert!(said(&mut run("tests/disk", "date=x"), 2).contains("its disks are `data`"));
    assert!(said(run("tests/disk", &name).args(["--disk", &name]), 2).contains("given twice"));
    assert!(said(&mut run("tests/disk", "data=/dev/null"), 3).contains("neither"));
    assert!(said(run("tests/disk", &name).args(["--mode", "threads"]), 2).contains("processes"));
    let boot = |arguments: &[&str]| said(phi_host().arg("boot").args(arguments), 2);
    let metal = boot(&["tests/disk/prober.toml", "--disk", &name]);
    assert!(metal.contains("`host-disk`"), "{metal}");
    assert!(boot(&["tests/disk"]).contains("--disk data=FILE"));
    assert!(boot(&["tests/disk", "--disk", "date=x"]).contains("its disks are `data`"));
    let lost = said(phi_host().args(["boot", "tests/disk", "--disk", "data=lost"]), 3);
    assert!(lost.contains("lost cannot be a disk"), "{lost}");
}

#[test]
fn a_disk_on_bare_metal_is_one_on_linux() {
    if !metal() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let runs: [&[&str]; 3] = [
        &["run", "tests/disk"],
        &["boot", "tests/disk"],
        &["boot", "tests/disk/unprotected.toml", "--no-iommu"],
    ];
    let [linux, bare_metal, unprotected] = [0, 1, 2].map(|run: usize| {
        let file = folder.path().join(run.to_string());
        disk(&file);
        let name = format!("data={}", file.display());
        let output = expect(phi_host().args(runs[run]).args(["--disk", &name]), 0);
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        let warning = "disk/1 is unprotected: its device can reach all memory";
        assert_eq!(log.contains(warning), run == 2, "{log}");
        let transcript = String::from_utf8(output.stdout).expect("text");
        // Three threads write it, each its own lines in order.
        let mut lines: Vec<String> = transcript.lines().map(str::to_owned).collect();
        lines.sort_by_key(|line| line.split(' ').nth(1).map(str::to_owned));
        (lines, std::fs::read(&file).expect("a disk"))
    });
    for other in [bare_metal, unprotected] {
        assert_eq!(other.0, linux.0);
        assert!(other.1 == linux.1, "the disks differ");
    }
    let name = format!("data={}", folder.path().join("0").display());
    let mut refused = phi_host();
    refused.args(["boot", "tests/disk", "--no-iommu", "--disk", &name]);
    let log = String::from_utf8_lossy(&expect(&mut refused, 70).stderr).into_owned();
    assert!(log.contains("has to say `dma = \"unprotected\"`"), "{log}");
}

/// The filter of a container that has no io_uring: `ENOSYS` for the call that makes a ring.
const WITHOUT_RINGS: &str = "import ctypes,os,struct,sys
step=lambda *words:struct.pack('HBBI',*words)
code=ctypes.create_string_buffer(b''.join([step(32,0,0,0),step(21,0,1,425),step(6,0,0,0x50026),step(6,0,0,0x7fff0000)]))
program=ctypes.create_string_buffer(struct.pack('HxxxxxxQ',4,ctypes.addressof(code)))
libc=ctypes.CDLL(None)
assert libc.prctl(38,1,0,0,0)==0 and libc.prctl(22,2,ctypes.byref(program),0,0)==0
os.execv(sys.argv[1],sys.argv[1:])";

#[test]
fn without_io_uring_a_disk_is_refused_and_all_else_runs() {
    if Command::new("python3").arg("--version").output().is_err() {
        eprintln!("skipped: python3 puts the filter on");
        return;
    }
    let without_rings = |arguments: &[&str]| {
        let mut command = Command::new("python3");
        command.args(["-c", WITHOUT_RINGS]).arg(phi_host().get_program()).args(arguments);
        command.current_dir(phi_end_to_end::project());
        command
    };
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("disk");
    disk(&file);
    let name = format!("data={}", file.display());
    let refused = expect(&mut without_rings(&["run", "tests/disk", "--disk", &name]), 4);
    let refused = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.contains("io_uring") && refused.contains("doctor"), "{refused}");
    // The supervisor waits by epoll then.
    expect(&mut without_rings(&["run", "examples/wordcount", "--input", "text=README.md"]), 0);
}

/// A run of the keeper, and the processes of its services.
struct Keeping {
    supervisor: Child,
    keeper: u32,
    driver: u32,
}

impl Keeping {
    fn children(&self) -> Vec<u32> {
        let id = self.supervisor.id();
        let text = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
        text.unwrap_or_default().split_whitespace().map(|id| id.parse().expect("an id")).collect()
    }

    /// Kills `process`, and waits for the one that is started in its place.
    fn replace(&self, process: u32) -> u32 {
        let before = self.children();
        let status = Command::new("kill").args(["-KILL", &process.to_string()]).status();
        assert!(status.expect("kill runs").success());
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if let Some(new) = self.children().into_iter().find(|id| !before.contains(id)) {
                return new;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("no process was started in place of {process}");
    }
}

#[test]
fn nothing_flushed_is_lost_whatever_is_killed() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("disk");
    disk(&file);
    let name = format!("data={}", file.display());
    let mut command = run("tests/disk", &name);
    let mut supervisor =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("phi-host starts");
    let mut log = supervisor.stderr.take().expect("a pipe");
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        log.read_to_string(&mut text).map(|_| text)
    });
    let mut lines = BufReader::new(supervisor.stdout.take().expect("a pipe")).lines();
    let mut said = Vec::new();
    let mut next = || lines.next().map(|line| line.expect("text"));
    said.extend(next());
    let mut keeping = Keeping { supervisor, keeper: 0, driver: 0 };
    // The one from which all come, and as `init` has started them: itself, keeper, driver and platform.
    let children = keeping.children();
    let [_, _, keeper, driver, _] = children[..] else { panic!("{children:?} run") };
    (keeping.keeper, keeping.driver) = (keeper, driver);
    let other =
        String::from_utf8_lossy(&expect(&mut run("tests/disk", &name), 3).stderr).into_owned();
    assert!(other.contains("locked"), "{other}");
    let (mut drivers, mut keepers) = (0, 0);
    while let Some(line) = next() {
        said.push(line);
        // Both are in the midst of something, whenever that is.
        match said.len() {
            count if count % 60 == 0 && drivers < 6 => {
                keeping.driver = keeping.replace(keeping.driver);
                drivers += 1;
            }
            count if count % 150 == 75 && keepers < 2 => {
                keeping.keeper = keeping.replace(keeping.keeper);
                keepers += 1;
            }
            _ => {}
        }
    }
    let status = keeping.supervisor.wait().expect("it ends");
    let log = reader.join().expect("no panic").expect("text");
    assert_eq!(status.code(), Some(0), "{}\n{log}", said.join("\n"));
    assert!(drivers == 6 && keepers == 2, "only {drivers} and {keepers} were killed");
    // What a log has when somebody looks is at least what was flushed before.
    let mut flushed: BTreeMap<u64, u64> = BTreeMap::new();
    for line in &said {
        let words: Vec<&str> = line.split(' ').collect();
        let ["log", number, what, count] = words[..] else { panic!("{line}") };
        let (number, count) = (number.parse().expect(line), count.parse::<u64>().expect(line));
        let before = flushed.entry(number).or_default();
        assert!(count >= *before, "{line}, after {before} were flushed");
        if what == "flushed" {
            *before = count;
        }
    }
    assert_eq!(flushed.into_values().collect::<Vec<u64>>(), [RECORDS; LOGS as usize]);
    // The file itself, as others see it.
    let bytes = std::fs::read(&file).expect("the disk");
    assert_eq!(bytes.len() as u64, DISK);
    for (place, bytes) in (0..).zip(bytes.chunks_exact(BYTES)) {
        let (log, number) = (place / PART, place % PART);
        if number < RECORDS {
            assert!(record::is(bytes, log, number), "record {number} of log {log}");
        } else {
            assert!(bytes.iter().all(|byte| *byte == 0), "behind log {log}");
        }
    }
}

/// Restarts that `restarts.toml` asks for, and the microseconds that each may take from the driver's stop to the
/// next one's first answer.
const RESTARTS: u64 = 10_000;
const LIMIT: u64 = 50_000;

#[test]
fn ten_thousand_restarts_of_a_driver_leave_nothing_and_are_quick() {
    if !metal() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("disk");
    disk(&file);
    let name = format!("data={}", file.display());
    let mut command = phi_host();
    command.args(["boot", "tests/disk/restarts.toml", "--disk", &name]);
    // One page that is left each time is more than there is. The clock counts instructions, so that the time is the
    // code's.
    let output = expect(command.args(["--memory", "32", "--count-instructions"]), 0);
    let said = String::from_utf8_lossy(&output.stdout);
    let numbers: Vec<u64> = said.split(' ').filter_map(|word| word.parse().ok()).collect();
    let [restarts, longest] = numbers[..] else { panic!("{said}") };
    assert_eq!(restarts, RESTARTS);
    assert!((1..=LIMIT).contains(&longest), "{said}");
}
