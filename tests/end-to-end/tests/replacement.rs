//! A service's image is replaced while its clients call it: alike on all machines, and from outside.

use phi_end_to_end::{expect, metal, phi_host};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const SYSTEM: &str = "tests/replacement";

const SECOND: &str = "phi-replacement:second";

const TRANSCRIPT: &str = "both counters were replaced; one has kept its count\n";

/// A command that replaces both counters, after so many milliseconds.
fn with_replacements(words: &[&str], after: [u32; 2]) -> Command {
    let mut command = phi_host();
    command.args(words).arg(SYSTEM);
    for (service, after) in ["keeps", "forgets"].iter().zip(after) {
        command.arg("--replace").arg(format!("{service}={SECOND}@{after}"));
    }
    command
}

#[test]
fn a_bundle_replaces_its_services_alike_on_all_machines() {
    let mut ways: Vec<&[&str]> =
        vec![&["run"], &["run", "--mode", "threads"], &["sim", "--faults", "none", "--seed", "3"]];
    if metal() {
        ways.push(&["boot"]);
    }
    for way in ways {
        let output = expect(&mut with_replacements(way, [60, 90]), 0);
        let transcript = String::from_utf8_lossy(&output.stdout);
        assert_eq!(transcript, TRANSCRIPT, "{way:?}");
        let log = String::from_utf8_lossy(&output.stderr);
        for name in ["keeps", "forgets"] {
            assert!(log.contains(&format!("init: {name} runs its new image")), "{way:?}: {log}");
        }
    }
}

#[test]
fn a_replacement_at_any_time_loses_no_count() {
    for after in [0, 1, 7, 33] {
        let output = expect(&mut with_replacements(&["run"], [after, after]), 0);
        assert_eq!(String::from_utf8_lossy(&output.stdout), TRANSCRIPT, "after {after} ms");
    }
    let seeds = ["sim", "--faults", "none", "--seeds", "10"];
    expect(&mut with_replacements(&seeds, [5, 5]), 0);
}

#[test]
fn an_image_of_another_abi_version_is_refused() {
    expect(phi_host().args(["image", SYSTEM]), 0);
    let image = phi_end_to_end::target().join("image/second");
    let mut image = std::fs::read(image).expect("an image");
    let note = [4u32, 4, 1, u32::from_le_bytes(*b"phi\0")].map(u32::to_le_bytes);
    let note = note.as_flattened();
    let place = image.windows(note.len()).position(|part| part == note).expect("the note");
    image[place + note.len()] += 1;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("newer");
    std::fs::write(&file, image).expect("a file");
    let replacement = format!("keeps={}", file.display());
    let output = expect(phi_host().args(["run", SYSTEM, "--replace", &replacement]), 2);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("it was built for ABI version 5, and this is version 4"), "{error}");
}

#[test]
fn a_replacement_that_cannot_be_is_refused() {
    for (replacement, what) in [
        ("nobody=phi-replacement:second", "there is no service `nobody`"),
        ("keeps=README.md", "the image cannot be used"),
        ("keeps=phi-replacement:second@soon", "SERVICE=IMAGE@MILLISECONDS"),
    ] {
        let mut command = phi_host();
        let output = command.args(["run", SYSTEM, "--replace", replacement]).output();
        let output = output.expect("the command runs");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code().is_some_and(|code| code > 0), "{replacement}");
        assert!(error.contains(what), "{replacement}: {error}");
    }
}

/// Asks for a replacement of a running system's service; its status and what it printed.
fn replace(socket: &str, service: &str, image: &str) -> (Option<i32>, String) {
    let output = phi_host().args(["replace", socket, service, image]).output();
    let output = output.expect("the command runs");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn a_running_system_gets_another_image_or_a_reason() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("control");
    let socket = socket.to_str().expect("a path");
    // Built before, so that the system is not over when the image is.
    expect(&mut with_replacements(&["run"], [1, 1]), 0);
    let mut supervisor = phi_host();
    supervisor.args(["run", SYSTEM, "--control", socket]).stdin(Stdio::null());
    let supervisor =
        supervisor.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
    let end = Instant::now() + Duration::from_secs(60);
    while !std::path::Path::new(socket).exists() {
        assert!(Instant::now() < end, "no control socket");
        std::thread::sleep(Duration::from_millis(10));
    }
    for (service, image, what) in [
        ("nobody", SECOND, "no service `nobody`"),
        ("init", SECOND, "no service `init`"),
        ("keeps", "README.md", "the image cannot be used"),
    ] {
        let (status, text) = replace(socket, service, image);
        assert_eq!(status, Some(3), "{service}, {image}: {text}");
        assert!(text.contains(what), "{service}, {image}: {text}");
    }
    for service in ["keeps", "forgets"] {
        let (status, text) = replace(socket, service, SECOND);
        assert_eq!(status, Some(0), "{text}");
        assert!(text.contains("generation 2 runs"), "{text}");
    }
    let output = supervisor.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stdout), TRANSCRIPT);
}
