//! The word-counting example against the tools that every Unix has, on every machine.

use phi_end_to_end::{expect, metal, phi_host};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How a system is run: the arguments before the system's folder.
const PROCESSES: &[&str] = &["run"];
const THREADS: &[&str] = &["run", "--mode", "threads"];
const METAL: &[&str] = &["boot"];

/// Bytes of the large file.
const LARGE: usize = 64 << 20;

/// What the example prints for a file.
fn counted(machine: &[&str], file: &Path) -> String {
    let mut command = phi_host();
    command.args(machine).arg("examples/wordcount");
    command.arg("--input").arg(format!("text={}", file.display()));
    String::from_utf8(expect(&mut command, 0).stdout).expect("the report is ASCII")
}

/// What the independent pipeline says, in the example's format.
fn expected(file: &Path) -> String {
    let script = r#"tr -cs 'A-Za-z' '\n' < "$1" | tr A-Z a-z | grep . | sort | uniq -c"#;
    let output =
        expect(Command::new("sh").args(["-c", script, "sh"]).arg(file).env("LC_ALL", "C"), 0);
    let listed = String::from_utf8(output.stdout).expect("letters");
    let mut words: Vec<(u64, &str)> = listed
        .lines()
        .map(|line| {
            let (count, word) = line.trim_start().split_once(' ').expect("count and word");
            (count.parse().expect("a count"), word)
        })
        .collect();
    words.sort_by(|left, right| right.0.cmp(&left.0).then(left.1.cmp(right.1)));
    let mut report = String::new();
    for (count, word) in words.iter().take(20) {
        let shown = match word.len() {
            0..=60 => (*word).to_string(),
            length => format!("{}... ({length} letters)", &word[..60]),
        };
        writeln!(report, "{count:>10} {shown}").expect("a string takes everything");
    }
    let total: u64 = words.iter().map(|word| word.0).sum();
    let bytes = std::fs::metadata(file).expect("the file is there").len();
    writeln!(report, "{total} words, {} different, in {bytes} bytes", words.len())
        .expect("a string takes everything");
    report
}

fn agree(machine: &[&str], file: &Path) {
    assert_eq!(counted(machine, file), expected(file), "{machine:?} on {}", file.display());
}

/// A generator of numbers that look random, the same at every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mixed = (self.0 ^ (self.0 >> 33)).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
        mixed ^ (mixed >> 33)
    }
}

/// Prose of `size` bytes: words of which few are frequent, in both cases, with punctuation.
fn prose(size: usize) -> Vec<u8> {
    let mut numbers = Numbers(1);
    let vocabulary: Vec<Vec<u8>> = (0..50_000)
        .map(|_| {
            let length = 1 + numbers.next() % 11;
            (0..length).map(|_| b"etaoinshrdlucmfwypvbgk"[(numbers.next() % 22) as usize]).collect()
        })
        .collect();
    let mut text = Vec::with_capacity(size + 16);
    while text.len() < size {
        // The product of two even distributions: the first words come far more often.
        let (first, second) = (numbers.next() % 50_000, numbers.next() % 50_000);
        let mut word = vocabulary[(first * second / 50_000) as usize].clone();
        if numbers.next().is_multiple_of(9) {
            word[0] = word[0].to_ascii_uppercase();
        }
        text.extend_from_slice(&word);
        text.extend_from_slice(
            [" ", " ", " ", ", ", ". ", "\n", "'s "][(numbers.next() % 7) as usize].as_bytes(),
        );
    }
    text.truncate(size);
    text
}

fn noise(size: usize) -> Vec<u8> {
    let mut numbers = Numbers(2);
    (0..size.div_ceil(8)).flat_map(|_| numbers.next().to_le_bytes()).take(size).collect()
}

/// Files that try the edges: their names and contents.
fn edges() -> Vec<(&'static str, Vec<u8>)> {
    let huge = vec![b'x'; 5 << 20];
    let two = [&huge[..3 << 20], b" ", &huge[..3 << 20], b"Y b B"].concat();
    vec![
        ("empty", Vec::new()),
        ("one-letter", b"A".to_vec()),
        ("no-words", b"12 34\n\0\xFF".to_vec()),
        ("one-huge-word", huge),
        ("two-huge-words", two),
        ("not-utf-8", noise(3 << 20)),
        ("one-page", prose(4096)),
        ("prose", prose(2 << 20)),
    ]
}

fn write(folder: &tempfile::TempDir, name: &str, content: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, content).expect("room for a file");
    path
}

fn edges_agree(machine: &[&str]) {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, content) in edges() {
        agree(machine, &write(&folder, name, &content));
    }
}

#[test]
fn edges_in_processes() {
    edges_agree(PROCESSES);
}

#[test]
fn edges_in_threads() {
    edges_agree(THREADS);
}

#[test]
fn edges_on_bare_metal() {
    if metal() {
        edges_agree(METAL);
    }
}

#[test]
fn a_large_file_on_linux() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = write(&folder, "large", &prose(LARGE));
    agree(PROCESSES, &file);
    agree(THREADS, &file);
}

#[test]
fn a_large_file_on_bare_metal() {
    if metal() {
        let folder = tempfile::tempdir().expect("a folder");
        agree(METAL, &write(&folder, "large", &prose(LARGE)));
    }
}

/// Bytes that ΦCore copies while the example counts a file.
fn copied(file: &Path) -> u64 {
    let mut command = phi_host();
    command.args(PROCESSES).args(["examples/wordcount", "--json"]);
    command.arg("--input").arg(format!("text={}", file.display()));
    let report: serde_json::Value =
        serde_json::from_slice(&expect(&mut command, 0).stdout).expect("JSON");
    let services = report["services"].as_array().expect("services");
    services.iter().map(|service| service["bytes_copied"].as_u64().expect("a number")).sum()
}

#[test]
fn what_is_copied_does_not_grow_with_the_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = prose(16 << 20);
    let small = copied(&write(&folder, "small", &text[..1 << 20]));
    let large = copied(&write(&folder, "large", &text));
    // Numbers in messages may take a few bytes more.
    assert!((1..small + 256).contains(&large), "{small} bytes, then {large}");
}

#[test]
fn too_many_different_words_are_an_error_that_says_so() {
    // Every word differs: a number in letters.
    let mut text = Vec::new();
    for number in 0..4_000_000u32 {
        text.extend((0..6).map(|place| b'a' + (number >> (4 * place) & 15) as u8));
        text.push(b'\n');
    }
    let folder = tempfile::tempdir().expect("a folder");
    let file = write(&folder, "different", &text);
    let mut command = phi_host();
    command.args(PROCESSES).arg("examples/wordcount");
    command.arg("--input").arg(format!("text={}", file.display()));
    let output = expect(&mut command, 1);
    let transcript = String::from_utf8_lossy(&output.stdout);
    assert_eq!(
        transcript,
        "wordcount: a counter's memory has no room for so many different words\n"
    );
}
