//! The list of mutants fits the sources and the document, and the gate works.

use phi_mutation::{Gate, Mutant, Stage, Verdict, WorkingCopy};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Files of `shared/core/src` that only declare things or only show what others decided.
const WITHOUT_DECISIONS: [&str; 5] =
    ["canonical.rs", "frame.rs", "lib.rs", "machine.rs", "view.rs"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn mutant(replace: &str, with: &str) -> Mutant {
    Mutant {
        name: "test".into(),
        file: "shared/mem/src/list.rs".into(),
        bug: "A test.".into(),
        replace: replace.into(),
        with: with.into(),
    }
}

#[test]
fn every_mutant_applies() {
    for mutant in phi_mutation::all().unwrap() {
        let source = read(&mutant.file);
        let changed = mutant.apply(&source).unwrap_or_else(|error| panic!("{error}"));
        assert_ne!(changed, source, "{} changes nothing", mutant.name);
    }
}

#[test]
fn names_are_unique_and_every_mutant_is_described() {
    let mutants = phi_mutation::all().unwrap();
    let names: BTreeSet<&str> = mutants.iter().map(|mutant| mutant.name.as_str()).collect();
    assert_eq!(names.len(), mutants.len());
    let bugs: BTreeSet<&str> = mutants.iter().map(|mutant| mutant.bug.as_str()).collect();
    assert_eq!(bugs.len(), mutants.len());
    let document = read("docs/mutation.md");
    for Mutant { name, bug, .. } in &mutants {
        assert!(bug.ends_with('.'), "{name}: the bug is not a sentence");
        let row = format!("| {name} | {bug} | ");
        assert!(document.contains(&row), "docs/mutation.md lacks a row that starts `{row}`");
    }
    let (_, results) = document.split_once("## Results").expect("a chapter with the results");
    let rows = results.lines().filter(|line| line.starts_with("| ") && line.ends_with(" s |"));
    assert_eq!(rows.count(), mutants.len(), "docs/mutation.md has a row of no mutant");
}

#[test]
fn there_are_enough_in_every_crate_and_every_file_of_the_core() {
    let mutants = phi_mutation::all().unwrap();
    let packages: BTreeSet<_> = mutants.iter().filter_map(Mutant::package).collect();
    let expected = ["phi-cap", "phi-core", "phi-ipc", "phi-mem", "phi-sched", "phi-tables"];
    assert!(packages.iter().eq(expected), "{packages:?}");
    assert!(mutants.len() >= 44);
    for entry in fs::read_dir(root().join("shared/core/src")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".rs") && !WITHOUT_DECISIONS.contains(&name.as_str()) {
            let file = format!("shared/core/src/{name}");
            assert!(mutants.iter().any(|mutant| mutant.file == file), "no mutant in {file}");
        }
    }
}

#[test]
fn a_text_that_is_not_there_once_is_an_error() {
    let source = "one two two";
    assert_eq!(mutant("one", "1").apply(source).unwrap(), "1 two two");
    let error = mutant("two", "2").apply(source).unwrap_err().to_string();
    assert!(error.contains("mutant test replaces occurs 2 times in shared/mem/src/list.rs"));
    assert!(mutant("three", "3").apply(source).is_err());
}

#[test]
fn a_changed_file_is_restored() {
    let copy = WorkingCopy::new(&root()).unwrap();
    let name = "shared/mem/src/list.rs";
    let read_copy = || fs::read_to_string(copy.path(name)).unwrap();
    let before = read_copy();
    let within =
        copy.with_change(name, |source| Ok(format!("{source}// end\n")), read_copy).unwrap();
    assert_eq!(within, format!("{before}// end\n"));
    assert_eq!(read_copy(), before);
    assert_eq!(read(name), before, "the sources themselves never change");
}

/// Only the unit tests of the package with the bug: a few seconds.
fn cheap(package: &str) -> Vec<Stage> {
    vec![Stage::Unit(package.into())]
}

#[test]
fn three_cheap_mutants_are_found_and_a_change_of_nothing_survives() {
    let names = ["list-tail-kept", "frames-freed-twice", "region-touches-the-next"];
    let mut mutants = phi_mutation::all().unwrap();
    mutants.retain(|mutant| names.contains(&mutant.name.as_str()));
    assert_eq!(mutants.len(), names.len());
    let line = "//! Doubly linked lists whose links lie in one array, by index.\n";
    mutants.push(mutant(line, "//! Doubly linked lists.\n"));
    mutants.push(mutant(line, "not Rust\n"));
    let root = root();
    let reports = Gate::new(&root).with_stages(cheap).run(&mutants, 1, &|_| {}).unwrap();
    let verdicts: Vec<&Verdict> = reports.iter().map(|report| &report.verdict).collect();
    assert_eq!(verdicts[..3], [&Verdict::Failed; 3]);
    assert_eq!(verdicts[3], &Verdict::Survived);
    assert!(matches!(verdicts[4], Verdict::NotBuilt(output) if output.contains("error")));
    assert!(reports.iter().all(|report| report.stage == "phi-mem"));
}
