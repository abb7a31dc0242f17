//! What a manifest's `mode` makes of a system on bare metal.

use phi_end_to_end::{expect, metal, phi_host, project, target};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Output;

const INPUT: [&str; 2] = ["--input", "text=README.md"];

fn wordcount(machine: &str, manifest: &str, status: i32, more: &[&str]) -> Output {
    let system = format!("examples/wordcount/{manifest}");
    expect(phi_host().args([machine, &system]).args(INPUT).args(more), status)
}

fn log(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn an_embedded_system_runs_in_four_mebibytes() {
    if !metal() {
        return;
    }
    let output = wordcount("boot", "embedded.toml", 0, &[]);
    assert_eq!(output.stdout, wordcount("run", "phi.toml", 0, &[]).stdout);
    let said = log(&output);
    let line = said.lines().find_map(|line| line.strip_prefix("mode: embedded: "));
    let line = line.unwrap_or_else(|| panic!("{said}"));
    let numbers: Vec<u64> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
    let [memory, kernel] = numbers[..] else { panic!("{line}") };
    assert!((2048..=4096).contains(&memory) && (64..=256).contains(&kernel), "{line}");
    // More than that is no embedded system.
    let said = log(&wordcount("boot", "embedded.toml", 70, &["--memory", "16"]));
    assert!(said.contains("an embedded system has at most 4096 KiB of memory"), "{said}");
}

#[test]
fn a_unikernel_says_the_same() {
    let threads = wordcount("run", "unikernel.toml", 0, &["--stats"]);
    if metal() {
        let output = wordcount("boot", "unikernel.toml", 0, &[]);
        assert_eq!(output.stdout, threads.stdout);
        assert!(log(&output).contains("mode: unikernel: "), "{}", log(&output));
    }
}

/// The cases of the conformance suite that fail where one service reaches what is another's.
const ISOLATION: [&str; 21] = [
    "faults::calls_that_wait_for_memory_taken_away",
    "faults::messages_in_read_only_memory",
    "faults::messages_that_wait_for_memory_taken_away",
    "faults::others_go_on",
    "faults::privileged_instructions",
    "loans::a_dropped_loan_is_unmapped",
    "loans::a_lending_call_times_out_in_the_queue",
    "loans::four_loans_in_one_call",
    "loans::lent_pages_go_back_with_the_answer",
    "loans::loans_may_be_lent_on",
    "loans::loans_reach_whole_pages",
    "loans::only_the_pages_in_question_are_lent",
    "loans::read_only_loans_cannot_be_written",
    "loans::revoking_takes_lent_pages_away",
    "regions::access_is_what_all_capabilities_give",
    "regions::read_only_pages_cannot_be_written",
    "regions::unmapped_pages_cannot_be_read",
    "revocation::mapped_pages_are_taken_away",
    "revocation::pages_mapped_twice_keep_what_is_left",
    "transfer::a_moved_region_is_unmapped",
    "transfer::rights_shrink_on_the_way",
];

#[test]
fn a_unikernel_conforms_but_for_isolation() {
    if !metal() {
        return;
    }
    let output = expect(phi_host().arg("boot").arg(unikernel("tests/conformance")), 1);
    let text = String::from_utf8_lossy(&output.stdout);
    let failed = text.lines().filter_map(|line| line.strip_prefix("FAIL "));
    let failed = failed.map(|line| line.split(": ").next().unwrap_or(line));
    assert_eq!(failed.collect::<BTreeSet<_>>(), BTreeSet::from(ISOLATION), "{text}");
    assert!(text.lines().filter(|line| line.starts_with("ok ")).count() > 240, "{text}");
}

/// A system of the project with another mode, below the project's folder.
fn unikernel(system: &str) -> PathBuf {
    let manifest = project().join(system).join("phi.toml");
    let text = std::fs::read_to_string(manifest).expect("a manifest");
    let text = text.replacen("[system]\n", "[system]\nmode = \"unikernel\"\n", 1);
    let folder = target().join("tmp/unikernel").join(system);
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join("phi.toml"), text).expect("a manifest");
    folder
}

/// seL4's instructions for no words, call and answer, and what a call of 64 bytes may take.
const LIMITS: [(u64, &str, f64); 3] =
    [(0, "call", 188.0), (0, "answer", 215.0), (64, "call", 250.0)];

#[test]
fn a_call_takes_no_more_instructions_than_sel4s() {
    if !metal() {
        return;
    }
    let output = expect(phi_host().args(["bench", "ipc", "--metal", "--json"]), 0);
    let measured: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let rows = measured["rows"].as_array().expect("rows");
    for (bytes, way, limit) in LIMITS {
        let row = rows.iter().find(|row| row["bytes"] == bytes).expect("the size");
        let count = row[way]["p99"].as_f64().expect("a count");
        assert!((50.0..=limit).contains(&count), "{way} of {bytes} bytes: {count}");
        assert!(row["unikernel"][way]["p50"].as_f64().is_some_and(|count| count > 50.0), "{row}");
    }
}
