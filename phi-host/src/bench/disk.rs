//! `phi-host bench disk`: blocks at random places of a file, by way of `host-disk` and by fio with
//! io_uring, one after the other in the same run.

use super::BenchError;
use crate::command::session::Machine;
use crate::failure::Failure;
use crate::linux::device::AllGiven;
use crate::linux::disk::DiskFile;
use crate::linux::{self, Mode};
use crate::symbols::Symbols;
use crate::system::System;
use crate::table::{Align, Table};
use phi_manifest::bundle::Bundle;
use serde_json::{Value, json};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Bytes of the file that is measured on.
const FILE: usize = 256 << 20;

/// Bytes that are written to it at a time.
const PART: usize = 4 << 20;

/// What is measured of each: bytes of a request, and requests at a time.
const SHAPES: [(u32, u32); 4] = [(4 << 10, 1), (4 << 10, 32), (64 << 10, 1), (64 << 10, 32)];

/// One measurement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Task {
    /// Whether blocks are written, and not read.
    pub writes: bool,
    /// Bytes of a request.
    pub bytes: u32,
    /// Requests at a time.
    pub depth: u32,
}

impl Task {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Task> {
        let shapes = |writes| SHAPES.map(|(bytes, depth)| Task { writes, bytes, depth });
        [false, true].into_iter().flat_map(shapes)
    }

    fn name(self) -> &'static str {
        if self.writes { "write" } else { "read" }
    }
}

/// How one side did.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Speed {
    /// Requests per second.
    pub rate: f64,
    /// Median of the nanoseconds that a request took.
    pub p50: f64,
    /// 99th percentile of them.
    pub p99: f64,
}

/// A measurement of both sides.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Row {
    /// What was measured.
    pub task: Task,
    /// By fio.
    pub fio: Speed,
    /// By ΦOS.
    pub phi: Speed,
}

impl Row {
    /// As JSON.
    pub fn json(&self) -> Value {
        let Row { task, fio, phi } = self;
        let speed = |speed: &Speed| json!({ "per_second": speed.rate, "p50_nanoseconds": speed.p50, "p99_nanoseconds": speed.p99 });
        json!({
            "what": task.name(), "bytes": task.bytes, "depth": task.depth,
            "fio": speed(fio), "phi": speed(phi), "rate_ratio": phi.rate / fio.rate,
        })
    }
}

/// The rows as a table.
pub fn table(rows: &[Row]) -> String {
    let mut table = Table::new([
        ("random", Align::Left),
        ("KiB", Align::Right),
        ("depth", Align::Right),
        ("fio/s", Align::Right),
        ("p50 µs", Align::Right),
        ("p99 µs", Align::Right),
        ("ΦOS/s", Align::Right),
        ("p50 µs", Align::Right),
        ("p99 µs", Align::Right),
        ("ΦOS : fio", Align::Right),
    ]);
    for Row { task, fio, phi } in rows {
        let rate = |speed: &Speed| format!("{:.0}", speed.rate);
        let time = |nanoseconds: f64| format!("{:.0}", nanoseconds / 1000.0);
        table.push([
            task.name().into(),
            (task.bytes >> 10).to_string(),
            task.depth.to_string(),
            rate(fio),
            time(fio.p50),
            time(fio.p99),
            rate(phi),
            time(phi.p50),
            time(phi.p99),
            format!("{:.2}", phi.rate / fio.rate),
        ]);
    }
    table.to_string()
}

/// The file that is measured on. Dropped, it is gone.
pub struct Ground(PathBuf);

impl Ground {
    /// Makes it, and has all of it on the disk. What is there already is left alone.
    ///
    /// # Errors
    /// What Linux says.
    pub fn create(path: &Path) -> std::io::Result<Ground> {
        let mut file = File::create_new(path)?;
        let ground = Ground(path.to_path_buf());
        let part: Vec<u8> = (0..PART).map(|place| (place % 251) as u8 + 1).collect();
        for _ in 0..FILE / PART {
            file.write_all(&part)?;
        }
        file.sync_all()?;
        Ok(ground)
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        // One that somebody else has removed is gone as well.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Has fio do `task` for so many seconds.
///
/// # Errors
/// It is not there, or does something else.
pub fn fio(ground: &Ground, task: Task, seconds: u32) -> Result<Speed, BenchError> {
    let mut command = Command::new("fio");
    command.args(["--name=phi", "--ioengine=io_uring", "--direct=1", "--time_based"]);
    command.args(["--output-format=json", "--allow_file_create=0", "--group_reporting"]);
    command.arg(format!("--filename={}", ground.0.display()));
    command.arg(format!("--rw=rand{}", task.name()));
    command.arg(format!("--bs={}", task.bytes));
    command.arg(format!("--iodepth={}", task.depth));
    command.arg(format!("--runtime={seconds}"));
    let peer = |what: String| BenchError::Peer(format!("fio: {what}"));
    let output = command.stdin(Stdio::null()).output().map_err(|error| peer(error.to_string()))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let odd = || peer(format!("{said}{}", String::from_utf8_lossy(&output.stderr)));
    let value: Value = serde_json::from_str(&said).map_err(|_| odd())?;
    let side = &value["jobs"][0][task.name()];
    let percentile = |percent: &str| side["clat_ns"]["percentile"][percent].as_f64();
    let speed = || {
        let (p50, p99) = (percentile("50.000000")?, percentile("99.000000")?);
        Some(Speed { rate: side["iops"].as_f64()?, p50, p99 })
    };
    speed().ok_or_else(odd)
}

/// The manifest of the system that measures, below the project's folder.
pub fn manifest(project: &Path) -> PathBuf {
    project.join("tests/disk/measurer.toml")
}

/// The bundle of the system that does `task` for so many seconds.
///
/// # Errors
/// [`System`]'s.
pub fn bundle(
    system: &mut System,
    images: &[crate::images::Image],
    task: Task,
    seconds: u32,
) -> Result<Vec<u8>, Failure> {
    let Task { bytes, depth, .. } = task;
    let arguments = format!("{} {bytes} {depth} {}", task.name(), seconds * 1000);
    for service in system.manifest.services.iter_mut().filter(|one| one.driver.is_none()) {
        service.arguments.clone_from(&arguments);
    }
    system.bundle(images, &system.inputs(&[])?, &[])
}

/// Has ΦOS do what `bundle` says.
///
/// # Errors
/// The system does not run, or prints something else than its measurement.
pub fn phi(ground: &Ground, bundle: &[u8]) -> Result<Speed, BenchError> {
    let failed = |what: String| BenchError::System(what);
    let bundle = Bundle::open(bundle).map_err(|error| failed(error.to_string()))?;
    let disk = DiskFile { name: "data".into(), file: ground.0.clone(), read_only: false };
    let devices = AllGiven { disks: vec![disk], ..AllGiven::default() };
    let options = linux::Options { devices, ..linux::Options::new(Mode::Processes) };
    let mut output = Vec::new();
    let report = Machine::Linux(options).run(&bundle, &Symbols::default(), None, &mut output);
    report.map_err(|failure| failed(failure.to_string()))?;
    let broken = || BenchError::Output(String::from_utf8_lossy(&output).into_owned());
    let value: Value = serde_json::from_slice(&output).map_err(|_| broken())?;
    let number = |name: &str| value[name].as_f64().ok_or_else(broken);
    let seconds = number("nanoseconds")?.max(1.0) / 1e9;
    Ok(Speed { rate: number("requests")? / seconds, p50: number("p50")?, p99: number("p99")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ground_is_new_and_goes_away() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ground");
        std::fs::write(&file, "precious").unwrap();
        assert!(Ground::create(&file).is_err());
        assert_eq!(std::fs::read(&file).unwrap(), b"precious");
        std::fs::remove_file(&file).unwrap();
        let ground = Ground::create(&file).unwrap();
        assert_eq!(file.metadata().unwrap().len(), FILE as u64);
        drop(ground);
        assert!(!file.exists());
    }

    #[test]
    fn a_row_says_how_both_did() {
        let speed = |rate| Speed { rate, p50: 2000.0, p99: 9000.0 };
        let task = Task { writes: true, bytes: 4096, depth: 32 };
        let row = Row { task, fio: speed(200.0), phi: speed(50.0) };
        assert_eq!(row.json()["rate_ratio"], 0.25);
        assert!(table(&[row]).lines().last().unwrap().ends_with("0.25"));
    }
}
