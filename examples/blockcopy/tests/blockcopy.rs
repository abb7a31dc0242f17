//! The example does the same on both machines, whether its drivers live or not.

use phi_end_to_end::{expect, metal, phi_host};
use std::fs;
use std::path::Path;

/// Bytes of the first disk.
const LENGTH: usize = 48 << 20;

/// A disk, its sum as `b3sum` writes it, and a larger empty disk for each run.
struct Disks {
    folder: tempfile::TempDir,
    content: Vec<u8>,
}

impl Disks {
    fn new() -> Disks {
        let folder = tempfile::tempdir().expect("a folder");
        let mut seed = 1u64;
        let content: Vec<u8> = std::iter::repeat_with(|| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            seed.to_be_bytes()
        })
        .take(LENGTH / 8)
        .flatten()
        .collect();
        fs::write(folder.path().join("from.img"), &content).expect("a disk");
        let sum = format!("{}  from.img\n", blake3::hash(&content).to_hex());
        fs::write(folder.path().join("from.sum"), sum).expect("a sum");
        Disks { folder, content }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// Copies with `command`, to a disk of its own; transcript and log.
    fn copy(&self, command: &str, system: &str, status: i32) -> (String, String) {
        let to = self.path(&format!("{command}.img"));
        let file = fs::File::create(&to).expect("a disk");
        file.set_len(LENGTH as u64 + (1 << 20)).expect("room");
        let option =
            |name: &str, file: &Path, more: &str| format!("{name}={}{more}", file.display());
        let output = expect(
            phi_host()
                .args([command, system, "--stats", "--input"])
                .arg(option("sum", &self.path("from.sum"), ""))
                .arg("--disk")
                .arg(option("from", &self.path("from.img"), ",ro"))
                .arg("--disk")
                .arg(option("to", &to, "")),
            status,
        );
        let text = |bytes| String::from_utf8(bytes).expect("text");
        let (transcript, log) = (text(output.stdout), text(output.stderr));
        if status == 0 {
            let copy = fs::read(&to).expect("a disk");
            assert!(copy[..LENGTH] == self.content[..], "{command}: the copy differs");
            assert!(copy[LENGTH..].iter().all(|byte| *byte == 0), "{command}: more was written");
        }
        (transcript, log)
    }
}

/// How often a service was started, as the statistics say.
fn starts(log: &str, service: &str) -> u64 {
    let row = log.lines().find_map(|line| line.strip_prefix(service)?.strip_prefix(' '));
    let row = row.unwrap_or_else(|| panic!("no row of {service}: {log}"));
    let number = row.split_whitespace().find_map(|word| word.parse().ok());
    number.expect("a number of starts")
}

#[test]
fn both_machines_copy_alike() {
    let disks = Disks::new();
    let (linux, _) = disks.copy("run", "examples/blockcopy", 0);
    assert!(linux.ends_with("the copy has the same hash\n"), "{linux}");
    if metal() {
        let (bare_metal, _) = disks.copy("boot", "examples/blockcopy", 0);
        assert_eq!(bare_metal, linux);
    }
}

#[test]
fn drivers_that_are_stopped_each_100_milliseconds_cost_nothing_but_time() {
    let disks = Disks::new();
    let machines: &[&str] = if metal() { &["run", "boot"] } else { &["run"] };
    for machine in machines {
        let (transcript, log) = disks.copy(machine, "examples/blockcopy/chaos.toml", 0);
        assert!(transcript.ends_with("the copy has the same hash\n"), "{machine}: {transcript}");
        let restarts = starts(&log, "source") + starts(&log, "target") - 2;
        assert!(restarts >= 2, "{machine}: only {restarts} restarts: {log}");
    }
}

#[test]
fn another_disk_than_the_one_of_the_sum_is_not_copied() {
    let disks = Disks::new();
    let mut content = disks.content.clone();
    content[LENGTH - 1] ^= 1;
    fs::write(disks.path("from.img"), &content).expect("a disk");
    let (transcript, _) = disks.copy("run", "examples/blockcopy", 1);
    assert!(transcript.starts_with("blockcopy: check: the hash is "), "{transcript}");
    fs::write(disks.path("from.sum"), "no sum").expect("a sum");
    let (transcript, _) = disks.copy("run", "examples/blockcopy", 1);
    assert!(transcript.contains("begins with no hash"), "{transcript}");
}
