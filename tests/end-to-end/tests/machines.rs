//! What holds of the machines themselves.

use phi_end_to_end::{expect, metal, phi_host, project};
use std::process::Command;

/// Bytes of text that the kernel may have.
const KERNEL_TEXT: u64 = 200 << 10;

#[test]
fn a_system_that_can_never_go_on_ends_with_the_reason() {
    let mut machines: Vec<&[&str]> = vec![&["run"], &["run", "--mode", "threads"]];
    if metal() {
        machines.push(&["boot"]);
    }
    for machine in machines {
        let mut command = phi_host();
        command.args(machine).arg("tests/end-to-end/systems/stuck");
        let output = expect(&mut command, 70);
        let said = String::from_utf8_lossy(&output.stderr);
        let reason = "every service waits, and nothing is due that could wake one";
        assert!(said.contains(reason), "{machine:?} says: {said}");
    }
}

#[test]
fn the_kernel_is_small() {
    if !metal() {
        return;
    }
    let build = "build --quiet --profile kernel --package phi-kernel --target x86_64-unknown-none \
                 --message-format json";
    let output = expect(
        Command::new(env!("CARGO")).args(build.split_whitespace()).current_dir(project()),
        0,
    );
    let lines = String::from_utf8(output.stdout).expect("JSON");
    let kernel = lines
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .find_map(|message| message["executable"].as_str().map(str::to_owned))
        .expect("a kernel");
    let output = expect(Command::new("size").args(["-A", "-d", &kernel]), 0);
    let listed = String::from_utf8(output.stdout).expect("text");
    let text: u64 = listed
        .lines()
        .filter_map(|line| line.split_whitespace().collect::<Vec<_>>().try_into().ok())
        .filter(|[name, _, _]: &[&str; 3]| name.ends_with(".text"))
        .map(|[_, size, _]| size.parse::<u64>().expect("a size"))
        .sum();
    assert!((1..KERNEL_TEXT).contains(&text), "the kernel's text has {text} bytes");
}

#[test]
fn both_machines_run_the_same_images() {
    let mut command = phi_host();
    command.args(["image", "examples/wordcount", "--input", "text=README.md", "--json"]);
    let described = String::from_utf8(expect(&mut command, 0).stdout).expect("JSON");
    let described: serde_json::Value = serde_json::from_str(&described).expect("JSON");
    let images = described["images"].as_array().expect("images");
    assert_eq!(images.len(), 4, "init, reader, counter and console");
    // There is one bundle, and the machines run what is in it; each image's hash is in its plan.
    let hash = |index: usize| images[index]["blake3"].as_str().map(str::len);
    assert!((0..images.len()).all(|index| hash(index) == Some(64)));
    assert_eq!(described["bundle"]["blake3"].as_str().map(str::len), Some(64));
}
