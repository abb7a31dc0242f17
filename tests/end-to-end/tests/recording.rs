//! Runs on Linux are recorded, and executed again in the simulator.

use phi_end_to_end::{expect, phi_host};
use serde_json::Value;
use std::path::{Path, PathBuf};

const WORDCOUNT: &[&str] = &["examples/wordcount", "--input", "text=README.md"];

/// Records a run of `system`; what it printed.
fn record(system: &[&str], mode: &str, file: &Path) -> Vec<u8> {
    let mut command = phi_host();
    command.arg("run").args(system).args(["--mode", mode, "--record"]).arg(file);
    expect(&mut command, 0).stdout
}

/// Replays a recording that ends with this exit status; what it printed.
fn replay(file: &Path, status: i32) -> Value {
    let mut command = phi_host();
    command.args(["sim", "--json", "--replay"]).arg(file);
    serde_json::from_slice(&expect(&mut command, status).stdout).expect("JSON")
}

/// A file with other content.
fn with(file: &Path, bytes: &[u8]) -> PathBuf {
    let changed = file.with_extension("changed");
    std::fs::write(&changed, bytes).expect("a file");
    changed
}

#[test]
fn a_run_on_linux_reaches_the_same_states_in_the_simulator() {
    let folder = tempfile::tempdir().expect("a folder");
    for system in [WORDCOUNT, &["tests/conformance"]] {
        for mode in ["processes", "threads"] {
            let file = folder.path().join("recording");
            let printed = record(system, mode, &file);
            let replayed = replay(&file, 0);
            assert_eq!(replayed["outcome"], "same", "{replayed}");
            assert_eq!(replayed["status"], 0);
            assert!(replayed["steps"].as_u64() > Some(100));
            assert_eq!(replayed["transcript"], *String::from_utf8_lossy(&printed));
        }
    }
}

#[test]
fn a_changed_byte_is_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("recording");
    record(WORDCOUNT, "processes", &file);
    let whole = std::fs::read(&file).expect("a recording");
    // The last bytes are the hash of the last state.
    let mut bytes = whole.clone();
    bytes[whole.len() - 1] ^= 1;
    let replayed = replay(&with(&file, &bytes), 74);
    assert_eq!(replayed["outcome"], "differs");
    let what = replayed["what"].as_str().expect("a text");
    assert!(what.contains("the end: the recording has hash"), "{what}");
    // Anywhere else it is found, too: as a difference, as no step, or as a step that is cut off.
    for place in (8..whole.len()).step_by(whole.len() / 40) {
        let mut bytes = whole.clone();
        bytes[place] ^= 0x10;
        let mut command = phi_host();
        command.args(["sim", "--replay"]).arg(with(&file, &bytes));
        let output = command.output().expect("it runs");
        let text = String::from_utf8_lossy(&output.stdout);
        let found = match output.status.code() {
            Some(0) => text.contains(": cut after "),
            Some(status) => status == 74 || status == 3,
            None => false,
        };
        assert!(found, "byte {place}: {} {text}", output.status);
    }
}

#[test]
fn a_recording_that_is_cut_off_is_replayed_up_to_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("recording");
    record(WORDCOUNT, "threads", &file);
    let whole = std::fs::read(&file).expect("a recording");
    let all = replay(&file, 0)["steps"].as_u64();
    let cut = replay(&with(&file, &whole[..whole.len() - 100]), 0);
    assert_eq!((&cut["outcome"], &cut["status"]), (&"cut".into(), &Value::Null));
    let steps = cut["steps"].as_u64();
    assert!(steps > Some(0) && steps < all, "{cut}");
}

#[test]
fn what_a_recording_decides_itself_is_not_asked_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("recording");
    record(WORDCOUNT, "processes", &file);
    for other in [&["--faults", "none"][..], &["--input", "text=README.md"], &["tests/conformance"]]
    {
        let mut command = phi_host();
        command.arg("sim").args(other).arg("--replay").arg(&file);
        let said = String::from_utf8(expect(&mut command, 2).stderr).expect("UTF-8");
        assert!(said.contains("has no meaning beside it"), "{other:?}: {said}");
    }
}

#[test]
fn a_replay_is_drawn() {
    let folder = tempfile::tempdir().expect("a folder");
    let (file, chart) = (folder.path().join("recording"), folder.path().join("chart.svg"));
    record(WORDCOUNT, "processes", &file);
    let mut command = phi_host();
    command.args(["sim", "--replay"]).arg(&file).arg("--chart").arg(&chart);
    expect(&mut command, 0);
    let chart = std::fs::read_to_string(chart).expect("a chart");
    for expected in [">reader</text>", ">console</text>", "call 0x", "answer 0x"] {
        assert!(chart.contains(expected), "there is no `{expected}`");
    }
}
