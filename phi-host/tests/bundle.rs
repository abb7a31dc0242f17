//! Bundles that are not as they were built are refused, on both machines.

use phi_abi::ABI_VERSION;
use phi_manifest::bundle::MAGIC;
use std::path::Path;
use std::process::Command;

/// A bundle's header, of `size` bytes as it says, with a checksum that is wrong.
fn header(version: u32, size: u64) -> Vec<u8> {
    let mut bytes = vec![0; 4096];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[40..44].copy_from_slice(&version.to_le_bytes());
    bytes[48..56].copy_from_slice(&size.to_le_bytes());
    bytes
}

/// The exit status and what was printed, for a file of `content`.
fn perform(word: &str, content: &[u8], more: &[&str]) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("bundle");
    std::fs::write(&file, content).expect("room for a file");
    let mut command = Command::new(env!("CARGO_BIN_EXE_phi-host"));
    command.arg(word).arg(&file).args(more).current_dir(Path::new(env!("CARGO_MANIFEST_DIR")));
    let output = command.output().expect("the command runs");
    assert!(output.stdout.is_empty(), "a transcript of nothing");
    let printed = String::from_utf8(output.stderr).expect("UTF-8");
    (output.status.code(), printed.replace(&file.display().to_string(), "BUNDLE"))
}

#[test]
fn damaged_bundles_are_refused() {
    let newer = ABI_VERSION + 1;
    for (content, what) in [
        (
            header(ABI_VERSION, 4096),
            "the bundle is damaged: its checksum does not match its content".to_string(),
        ),
        (
            header(ABI_VERSION, 9000),
            "the bundle is cut off: it says 9000 bytes, and 4096 are there".to_string(),
        ),
        (
            header(newer, 4096),
            format!(
                "the bundle was built for ABI version {newer}, and this is version {ABI_VERSION}"
            ),
        ),
        (MAGIC.to_vec(), "this is no ΦOS bundle".to_string()),
    ] {
        for word in ["run", "boot", "twin"] {
            let (status, printed) = perform(word, &content, &[]);
            assert_eq!(status, Some(3), "{word}: {printed}");
            let help = "help: build it again: phi-host image SYSTEM --output BUNDLE";
            assert_eq!(printed, format!("phi-host: {what}: BUNDLE\n  {help}\n"));
        }
    }
}

#[test]
fn a_bundle_takes_no_inputs() {
    let (status, printed) = perform("run", &header(ABI_VERSION, 4096), &["--input", "text=x"]);
    assert_eq!(status, Some(2), "{printed}");
    assert!(printed.contains("a bundle has its inputs in it already: `text`"), "{printed}");
}
