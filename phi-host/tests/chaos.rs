//! Services that are killed at any moment lose nothing but what is theirs, and leave nothing.

use phi_host::linux::chaos::{Storms, run};
use phi_host::linux::{Mode, Options};
use phi_host::system;
use std::path::{Path, PathBuf};

#[test]
fn whoever_is_killed_leaves_nothing_and_nobody_else_loses_anything() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/chaos");
    let loaded = system::load(&manifest, &[]).expect("the system's bundle");
    let bundle = loaded.bundle().expect("a whole bundle");
    let program = PathBuf::from(env!("CARGO_BIN_EXE_phi-host"));
    let options = Options { program, ..Options::new(Mode::Processes) };
    // Other kills each time, and the same again for who gives the seed.
    let seed = std::env::var("PHI_CHAOS_SEED").ok().and_then(|seed| seed.parse().ok());
    let storms = Storms {
        kills: 300,
        seed: seed.unwrap_or_else(|| std::process::id().into()),
        spared: ["keeper", "witness"].map(String::from).to_vec(),
        bell: Some("bell".into()),
    };
    println!("PHI_CHAOS_SEED={}", storms.seed);
    let (mut transcript, mut log) = (Vec::new(), Vec::new());
    let outcome = run(&bundle, &options, &storms, &mut transcript, &mut log);
    let outcome = outcome.expect("a system that runs");
    let (transcript, log) = (String::from_utf8_lossy(&transcript), String::from_utf8_lossy(&log));
    assert_eq!(outcome.findings, Vec::<String>::new(), "{transcript}\n{log}");
    assert_eq!((outcome.kills, outcome.report.status), (300, 0), "{transcript}\n{log}");
}
