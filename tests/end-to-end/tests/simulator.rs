//! The word-counting example in the simulator.

use phi_end_to_end::{expect, phi_host};

const SYSTEM: [&str; 3] = ["examples/wordcount", "--input", "text=README.md"];

/// What a command prints about the example.
fn printed(words: &[&str]) -> Vec<u8> {
    expect(phi_host().args(words).args(SYSTEM), 0).stdout
}

#[test]
fn the_simulator_prints_what_linux_does() {
    let linux = printed(&["run"]);
    for seed in ["1", "2", "3"] {
        assert_eq!(printed(&["sim", "--faults", "none", "--seed", seed]), linux, "seed {seed}");
    }
}

#[test]
fn a_seed_repeats_and_faults_are_safe() {
    let runs = printed(&["sim", "--seeds", "50"]);
    let text = String::from_utf8_lossy(&runs);
    assert_eq!(text.lines().filter(|line| line.contains(": ok after ")).count(), 50, "{text}");
    assert_eq!(printed(&["sim", "--seeds", "50"]), runs);
}
