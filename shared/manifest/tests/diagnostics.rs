//! Every mistake that a manifest can have, with the exact text of its diagnostics: each
//! `tests/bad/NAME.toml` has a `NAME.stderr` beside it. Manifests that must be huge are made here.
//!
//! `BLESS=1 cargo test -p phi-manifest --test diagnostics` writes the texts as they are now; read them
//! before they are committed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use phi_manifest::{Diagnostics, Rule, check};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/bad")
}

/// The names of the files in the folder with this extension, without it.
fn names(extension: &str) -> BTreeSet<String> {
    let files = fs::read_dir(folder()).expect("the folder is there");
    let paths = files.map(|file| file.expect("a file").path());
    let named = paths.filter(|path| path.extension().is_some_and(|found| found == extension));
    named.map(|path| path.file_stem().expect("a name").to_string_lossy().into_owned()).collect()
}

/// Manifests that are too long for a file.
fn made() -> BTreeMap<String, String> {
    let long = format!("[system]\nname = \"test\"\n# {}\n", "x".repeat(256 << 10));
    let mut many = "[system]\nname = \"test\"\n\n[service]\n".to_string();
    for number in 0..1024 {
        many += &format!("s{number} = {{ image = \"p:b\" }}\n");
    }
    [("too-long", long), ("too-many-services", many)]
        .map(|(name, text)| (name.to_string(), text))
        .into()
}

/// Every bad manifest, by name.
fn manifests() -> BTreeMap<String, String> {
    let mut all = made();
    for name in names("toml") {
        let text = fs::read_to_string(folder().join(format!("{name}.toml"))).expect("text");
        assert_eq!(all.insert(name, text), None, "a file has the name of one that is made");
    }
    all
}

fn mistakes(name: &str, text: &str) -> Diagnostics {
    check(&format!("{name}.toml"), text).expect_err("a bad manifest")
}

#[test]
fn diagnostics_are_as_written_beside_each_manifest() {
    let manifests = manifests();
    let mut wrong = Vec::new();
    for (name, text) in &manifests {
        let found = format!("{}\n", mistakes(name, text));
        let file = folder().join(format!("{name}.stderr"));
        if std::env::var_os("BLESS").is_some() {
            fs::write(&file, &found).expect("the folder can be written");
        }
        if fs::read_to_string(&file).ok().as_ref() != Some(&found) {
            wrong.push(format!("--- {name}.stderr should be:\n{found}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let texts: BTreeSet<String> = manifests.into_keys().collect();
    assert_eq!(names("stderr"), texts, "a manifest for each text, and a text for each manifest");
}

#[test]
fn every_rule_is_broken_by_some_manifest() {
    let broken: BTreeSet<Rule> = manifests()
        .iter()
        .flat_map(|(name, text)| {
            mistakes(name, text).iter().map(|one| one.rule).collect::<Vec<_>>()
        })
        .collect();
    let missing: Vec<&Rule> = Rule::ALL.iter().filter(|rule| !broken.contains(rule)).collect();
    assert!(missing.is_empty(), "no manifest in tests/bad breaks {missing:?}");
}

#[test]
fn every_mistake_is_reported_at_once() {
    let manifests = manifests();
    let found = mistakes("five-mistakes", &manifests["five-mistakes"]);
    let places: Vec<_> = found.iter().map(|one| (one.rule, one.line)).collect();
    assert_eq!(
        places,
        [
            (Rule::UnknownService, 3),
            (Rule::BadImage, 6),
            (Rule::BadSize, 7),
            (Rule::UnknownKey, 8),
            (Rule::OutOfRange, 9)
        ]
    );
}

#[test]
fn columns_count_characters_and_lines_may_end_as_on_windows() {
    let text = "[system]\r\nname = \"x\"\r\n[service.a]\r\nimage = \"p:b\"\r\n\"µµ\" = 1 \r\n\
                consoles = { \"µ\" = \"nirgends\" }\r\n";
    let found = mistakes("text", text);
    let places: Vec<_> = found.iter().map(|one| (one.rule, one.line, one.column)).collect();
    let wanted = [(Rule::UnknownKey, 5, 1), (Rule::BadName, 6, 14), (Rule::UnknownStream, 6, 20)];
    assert_eq!(places, wanted);
}
