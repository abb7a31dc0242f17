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

#[test]
fn worlds_are_explored_and_replayed() {
    for world in ["crowd", "pair", "storage", "rings"] {
        let words = ["sim", "--world", world, "--seeds", "3", "--steps", "500"];
        let printed = expect(phi_host().args(words), 0).stdout;
        let text = String::from_utf8_lossy(&printed);
        assert!(text.starts_with(&format!("{world}: ok, 3 seeds, ")), "{text}");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("choices");
    // A file says for itself which world it is of.
    std::fs::write(&file, "phi-sim schedule 2\nstorage\n1\nff\n").expect("a file");
    let printed = expect(phi_host().args(["sim", "--replay"]).arg(&file), 0).stdout;
    assert!(String::from_utf8_lossy(&printed).starts_with("storage: ok, 1 seeds, "));
    std::fs::write(&file, "phi-sim schedule 2\nelsewhere\n1\n").expect("a file");
    expect(phi_host().args(["sim", "--replay"]).arg(&file), 3);
}
