//! The README is true: each command in it runs.

use std::process::Command;

use phi_end_to_end::{expect, firmware, metal, project, with_ebpf};

/// The commands of the README: the indented lines that begin with `./phi`, and those that make a file
/// for them.
fn commands() -> Vec<String> {
    let text = std::fs::read_to_string(project().join("README.md")).expect("a README");
    let lines = text.lines().filter_map(|line| line.strip_prefix("    "));
    let runs = |line: &&str| line.starts_with("./phi") || line.starts_with("truncate ");
    lines.filter(runs).map(str::to_owned).collect()
}

#[test]
fn every_command_runs() {
    let commands = commands();
    assert!(commands.len() >= 8, "found only {commands:?}");
    for command in commands {
        // The tests run this test; running them again from here would never end.
        if command == "./phi test" {
            continue;
        }
        let needs_metal = ["boot", "twin", "bench"].iter().any(|word| command.contains(word));
        if needs_metal && !metal() {
            continue;
        }
        let needs_firmware = ["--uefi", "--disk"].iter().any(|word| command.contains(word));
        if needs_firmware && !firmware() {
            continue;
        }
        // `./phi` would install what it is built with.
        if command.contains("--edges") && !with_ebpf() {
            continue;
        }
        let output = expect(
            Command::new("sh").args(["-c", &command]).current_dir(project()).env("CI", "true"),
            0,
        );
        let quiet = command.starts_with("truncate ");
        assert!(quiet || !output.stdout.is_empty(), "{command} printed nothing");
    }
}

#[test]
fn continuous_integration_runs_the_readmes_test_command() {
    let text = std::fs::read_to_string(project().join(".ci/run")).expect("a CI script");
    assert!(text.contains("./phi test"));
}
