//! No service knows which machine it runs on: what an image is made of names neither.

use std::path::{Path, PathBuf};
use std::process::Command;

use phi_end_to_end::{expect, project};

/// Crates that belong to one machine.
const MACHINES: [&str; 4] = ["phi-host", "phi-kernel", "phi-core", "phi-sim"];

/// Words that would tell machines apart, or step around ΦCore.
const TELLTALES: [&str; 8] = [
    "target_os",
    "target_env",
    "target_vendor",
    "std::",
    "libc::",
    "syscall",
    "feature = \"metal\"",
    "feature = \"linux\"",
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a source folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The packages whose binaries are images: those under services/ and examples/, the conformance
/// suite and the benchmark; and what all of them link.
fn image_packages() -> Vec<PathBuf> {
    let others = ["tests/conformance", "tests/benchmark", "shared/rt"];
    let mut packages = others.map(|folder| project().join(folder)).to_vec();
    for group in ["services", "examples"] {
        for entry in std::fs::read_dir(project().join(group)).expect("a group of packages") {
            let path = entry.expect("an entry").path();
            if path.join("Cargo.toml").exists() {
                packages.push(path);
            }
        }
    }
    assert!(packages.len() >= 6, "found only {packages:?}");
    packages
}

#[test]
fn images_depend_on_no_machine() {
    let output = expect(
        Command::new(env!("CARGO"))
            .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
            .current_dir(project()),
        0,
    );
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let folders = image_packages();
    let mut seen = 0;
    for package in metadata["packages"].as_array().expect("packages") {
        let manifest = PathBuf::from(package["manifest_path"].as_str().expect("a path"));
        if !folders.iter().any(|folder| manifest.parent() == Some(folder)) {
            continue;
        }
        seen += 1;
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let name = dependency["name"].as_str().expect("a name");
            let development = dependency["kind"] == "dev";
            assert!(
                development || !MACHINES.contains(&name),
                "{} depends on {name}",
                manifest.display()
            );
        }
    }
    assert_eq!(seen, folders.len(), "every image package is a member of the workspace");
}

#[test]
fn images_ask_for_no_machine() {
    for folder in image_packages() {
        let mut files = Vec::new();
        sources(&folder.join("src"), &mut files);
        for file in files {
            let text = std::fs::read_to_string(&file).expect("UTF-8");
            // Tests at a file's end run natively and may use std.
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            for (number, line) in code.lines().enumerate() {
                let line = line.split("//").next().unwrap_or_default();
                for word in TELLTALES {
                    assert!(!line.contains(word), "{}:{}: {word}", file.display(), number + 1);
                }
            }
        }
    }
}
