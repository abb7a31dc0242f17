//! The conformance suite where every plain message is to go past the supervisor as soon as it can.

use phi_host::linux::{self, Mode};
use phi_host::system;
use std::path::{Path, PathBuf};

/// Plays the suite in `mode`, with channels from the first message on.
fn conforms(mode: Mode) {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/conformance");
    let loaded = system::load(&manifest, &[]).expect("the suite's bundle");
    let options = linux::Options {
        program: PathBuf::from(env!("CARGO_BIN_EXE_phi-host")),
        channel_after: Some(1),
        ..linux::Options::new(mode)
    };
    let (mut transcript, mut log) = (Vec::new(), Vec::new());
    let bundle = loaded.bundle().expect("a whole bundle");
    let report = linux::run(&bundle, &options, None, &mut transcript, &mut log);
    let transcript = String::from_utf8_lossy(&transcript);
    let failures: Vec<&str> = transcript.lines().filter(|line| !line.starts_with("ok")).collect();
    let status = report.expect("a system that runs").status;
    assert_eq!(
        (status, failures.len()),
        (0, 1),
        "{failures:#?}\n{}",
        String::from_utf8_lossy(&log)
    );
}

#[test]
fn the_suite_passes_with_channels_between_processes() {
    conforms(Mode::Processes);
}

#[test]
fn the_suite_passes_with_channels_between_threads() {
    conforms(Mode::Threads);
}
