//! `phi-host run --edges`: real programs in the kernel, against what the supervisor itself counts.

use phi_end_to_end::{ebpf, expect, phi_host};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// Runs the example with its edges counted; what it prints as JSON.
fn traced(mode: &str, file: &Path) -> Value {
    let mut command = phi_host();
    command.args(["run", "examples/wordcount", "--json", "--edges", "--mode", mode]);
    command.arg("--input").arg(format!("text={}", file.display()));
    serde_json::from_slice(&expect(&mut command, 0).stdout).expect("JSON")
}

fn number(value: &Value, key: &str) -> u64 {
    value[key].as_u64().unwrap_or_else(|| panic!("{key} is a number in {value}"))
}

fn list<'a>(value: &'a Value, key: &str) -> &'a Vec<Value> {
    value[key].as_array().unwrap_or_else(|| panic!("{key} is a list in {value}"))
}

/// Of the edges for which `side` is `name`, the sum of `keys`.
fn sum(edges: &[Value], side: &str, name: &str, keys: &[&str]) -> u64 {
    let edges = edges.iter().filter(|edge| edge[side] == name);
    edges.map(|edge| keys.iter().map(|key| number(edge, key)).sum::<u64>()).sum()
}

fn counts_agree(mode: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("text");
    std::fs::write(&file, "so many words, so few of them new\n".repeat(200_000)).expect("room");
    let report = traced(mode, &file);
    assert_eq!(list(&report, "off").len(), 0, "{report}");
    let edges = list(&report["edges"], "edges");
    let seen = list(&report["edges"], "services");
    assert!(edges.len() >= 5, "{report}");
    for (service, seen) in list(&report, "services").iter().zip(seen) {
        let name = service["name"].as_str().expect("a name");
        assert_eq!(seen["name"], name);
        // What a service sends: its calls and sends, and its answers to those of others.
        let messages = sum(edges, "client", name, &["calls", "sends"])
            + sum(edges, "server", name, &["answers"]);
        let bytes =
            sum(edges, "client", name, &["bytes"]) + sum(edges, "server", name, &["answer_bytes"]);
        assert_eq!(messages, number(service, "messages"), "{mode}: {name} in {report}");
        assert_eq!(bytes, number(service, "bytes_copied"), "{mode}: {name} in {report}");
        assert_eq!(number(seen, "starts"), number(service, "generation"), "{mode}: {name}");
        assert_eq!(number(seen, "faults"), 0);
        assert!(number(seen, "processor_nanoseconds") > 0, "{mode}: {name} in {report}");
    }
    for edge in edges {
        let histogram =
            list(edge, "histogram").iter().map(|count| count.as_u64().expect("a number"));
        assert_eq!(histogram.sum::<u64>(), number(edge, "answers"));
        assert_eq!(number(edge, "answers"), number(edge, "calls"));
        assert!(number(edge, "p50_below_nanoseconds") <= number(edge, "p99_below_nanoseconds"));
        assert!(edge["interface"].is_string(), "{edge}");
    }
    assert_eq!(number(&report["edges"]["lost"], "messages"), 0);
}

#[test]
fn counts_of_processes_are_the_supervisors() {
    if ebpf() {
        counts_agree("processes");
    }
}

#[test]
fn counts_of_threads_are_the_supervisors() {
    if ebpf() {
        counts_agree("threads");
    }
}

#[test]
fn two_runs_at_once_count_their_own() {
    if ebpf() {
        std::thread::scope(|scope| {
            scope.spawn(|| counts_agree("processes"));
            scope.spawn(|| counts_agree("processes"));
        });
    }
}

/// Somebody who may do nothing special: `nobody` where this is root, or ourselves.
fn ordinary(program: &Path) -> Command {
    if !std::fs::read_to_string("/proc/self/status").expect("Linux").contains("\nUid:\t0\t") {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    command.args(["--bounding-set", "-all"]).arg(program);
    command
}

#[test]
fn an_ordinary_users_run_goes_on_and_says_what_is_off() {
    let folder = tempfile::tempdir().expect("a folder");
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(folder.path(), open).expect("it is ours");
    // Where the project lies, others may not look.
    let program = folder.path().join("phi-host");
    std::fs::copy(phi_host().get_program(), &program).expect("room for the program");
    let bundle = folder.path().join("bundle");
    let mut build = phi_host();
    build.args(["image", "examples/wordcount", "--input", "text=README.md", "--output"]);
    expect(build.arg(&bundle), 0);
    let run = |edges: &[&str]| {
        let mut command = ordinary(&program);
        command.current_dir(folder.path()).arg("run").arg(&bundle).args(edges);
        expect(&mut command, 0)
    };
    let (plain, traced) = (run(&[]), run(&["--edges"]));
    assert_eq!(plain.stdout, traced.stdout);
    assert_eq!(plain.stderr, b"");
    let said = String::from_utf8(traced.stderr).expect("UTF-8");
    assert!(said.contains("eBPF is off: "), "{said}");
    assert!(said.contains("\n  help: "), "{said}");
}

#[test]
fn the_doctor_says_what_it_tried() {
    let mut command = phi_host();
    let output = expect(command.args(["doctor", "--json"]), 0);
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["runs"], true);
    let rows = list(&report, "rows");
    let works = |name: &str| {
        let row = rows.iter().find(|row| row["what"] == name);
        row.unwrap_or_else(|| panic!("no row {name}"))["works"] == true
    };
    assert!(works("memfd and seals") && works("cargo"));
    for row in rows {
        let (found, how) = (row["found"].is_string(), row["how"].is_string());
        assert!(found != how && found == (row["works"] == true), "{row}");
    }
    if ebpf() {
        assert!(works("eBPF programs") && works("eBPF at USDT sites"), "{report}");
    }
}

#[test]
fn the_price_of_a_site_is_measured() {
    let mut command = phi_host();
    let output = expect(command.args(["bench", "probes", "--json"]), 0);
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let time = |key: &str| report[key].as_f64();
    assert!(time("empty_nanoseconds") > Some(0.0), "{report}");
    assert!(time("detached_nanoseconds") > Some(0.0), "{report}");
    if ebpf() {
        assert!(time("attached_nanoseconds") > Some(0.0), "{report}");
    }
}
