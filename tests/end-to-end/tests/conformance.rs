//! The conformance suite passes on every machine, and says the same on all of them.

use phi_end_to_end::{metal, phi_host};
use std::process::Output;
use std::sync::OnceLock;

/// Cases that the suite has at least: one that plays hardly any must not pass for one that passes.
const CASES: usize = 250;

/// A machine: the arguments of `phi-host` that play the suite on it.
type Machine = &'static [&'static str];

const PROCESSES: Machine = &["run", "tests/conformance"];
const THREADS: Machine = &["run", "--mode", "threads", "tests/conformance"];
const METAL: Machine = &["boot", "tests/conformance"];

/// Plays the suite on a machine.
fn play(machine: Machine) -> Output {
    let mut command = phi_host();
    command.args(machine);
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// The transcript of a machine; the suite is played once for all tests of this process.
fn transcript(machine: Machine, played: &'static OnceLock<Output>) -> &'static str {
    let output = played.get_or_init(|| play(machine));
    let text = std::str::from_utf8(&output.stdout).expect("a transcript is text");
    let failed: Vec<&str> = text.lines().filter(|line| line.starts_with("FAIL")).collect();
    assert!(failed.is_empty(), "{machine:?}:\n{}", failed.join("\n"));
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{machine:?} printed\n{text}\n{log}");
    let passed = text.lines().filter(|line| line.starts_with("ok ")).count();
    assert!(passed >= CASES, "{machine:?} played {passed} cases");
    // Below the line about a fault stands where that was.
    let place =
        |line: &str| line.starts_with("      ") && line.contains(" (tests/conformance/src/");
    assert!(log.lines().any(place), "{machine:?} names no place of a fault:\n{log}");
    assert!(
        text.ends_with(&format!("\n{passed} passed, 0 failed\n")),
        "{machine:?} ended with {:?}",
        text.lines().last()
    );
    text
}

fn on_processes() -> &'static str {
    static PLAYED: OnceLock<Output> = OnceLock::new();
    transcript(PROCESSES, &PLAYED)
}

fn on_threads() -> &'static str {
    static PLAYED: OnceLock<Output> = OnceLock::new();
    transcript(THREADS, &PLAYED)
}

/// Nothing where systems cannot be booted.
fn on_metal() -> Option<&'static str> {
    static PLAYED: OnceLock<Output> = OnceLock::new();
    metal().then(|| transcript(METAL, &PLAYED))
}

#[test]
fn linux_processes_conform() {
    on_processes();
}

#[test]
fn linux_threads_conform() {
    on_threads();
}

#[test]
fn bare_metal_conforms() {
    on_metal();
}

#[test]
fn all_machines_say_the_same() {
    let expected = on_processes();
    assert!(on_threads() == expected, "threads and processes differ");
    if let Some(booted) = on_metal() {
        assert!(booted == expected, "bare metal and Linux differ");
    }
}
