//! Reading a manifest: from TOML to entries, each value by itself. What concerns several entries is
//! checked afterwards.

mod service;
mod table;

use phi_abi::NAME_BYTES;
use phi_abi::layout::{SERVICES, WINDOW_SIZE};
use toml::de::{DeTable, Error};

use crate::diagnostic::{Findings, Rule};
use crate::entries::{DOMAIN, Input, Manifest, Reference};
use crate::plan::Mode;
pub(crate) use table::listed;
use table::{Entry, Key, Table};

/// Bytes in a manifest, at most. So small that no list in it outgrows the plan's 16-bit indices.
pub const LENGTH: usize = 256 << 10;

/// Bytes in the name of a service, at most: the capability to its domain has a longer one.
pub(crate) const SERVICE_NAME_BYTES: usize = NAME_BYTES - DOMAIN.len();

/// The most that an input may have: half a window, less a page for the plan and two gaps.
pub(crate) const INPUT_SIZE: u64 = WINDOW_SIZE / 2 - (1 << 20);

const TABLES: &[Key] = &[
    Key { name: "system", example: "[system]" },
    Key { name: "input", example: "[input.text]" },
    Key { name: "service", example: "[service.reader]" },
];

const SYSTEM: &[Key] = &[
    Key { name: "name", example: "name = \"wordcount\"" },
    Key { name: "until", example: "until = \"reader\"" },
    Key { name: "mode", example: "mode = \"embedded\"" },
];

const INPUT: &[Key] = &[Key { name: "maximum", example: "maximum = \"1 GiB\"" }];

/// Reads `text`. What is wrong goes to `findings`, and what is missing is filled in.
pub(crate) fn read(text: &str, findings: &Findings) -> Manifest {
    let nothing = Manifest::default();
    if text.len() > LENGTH {
        let cause = format!("the manifest has {} bytes, and {LENGTH} are allowed", text.len());
        let cure = "describe a smaller system, or leave out comments";
        findings.add(Rule::TooLong, 0, cause, cure);
        return nothing;
    }
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        syntax(text, error, findings);
    }
    let root = Table::new("the manifest".into(), 0, document.get_ref(), TABLES, findings);
    let system = system(&root).unwrap_or_default();
    let inputs = root.named("input").iter().map(|entry| input(entry, findings)).collect();
    let entries = root.named("service");
    if entries.len() >= SERVICES {
        let cause = format!("there are {} services besides `init`", entries.len());
        let cure = format!("describe at most {}", SERVICES - 1);
        findings.add(Rule::TooManyServices, entries[SERVICES - 1].place, cause, cure);
        return nothing;
    }
    let services = entries.iter().map(|entry| service::service(entry, findings)).collect();
    Manifest { inputs, services, ..system }
}

/// Reports an error of the TOML reader.
fn syntax(text: &str, error: &Error, findings: &Findings) {
    let span = error.span().unwrap_or(0..0);
    let there = text.get(span.clone()).unwrap_or_default();
    let message = error.message();
    if message == "duplicate key" {
        let cause = format!("`{there}` is there twice");
        findings.add(Rule::Repeated, span.start, cause, "join the two, or remove one");
        return;
    }
    let unquoted = message.starts_with("string values must be quoted");
    let cure = if unquoted && there.is_empty() {
        "write a value behind the `=`".into()
    } else if unquoted {
        format!("put texts in quotes: `\"{there}\"`")
    } else {
        "write it as https://toml.io says".into()
    };
    findings.add(Rule::Syntax, span.start, format!("this is not TOML: {message}"), cure);
}

/// What the table `[system]` says.
fn system(root: &Table<'_>) -> Option<Manifest> {
    let Some(entry) = root.entry("system") else {
        let cause = "the manifest has no table `[system]`".into();
        let cure = "begin it with `[system]` and a `name`".into();
        root.mistake(Rule::Missing, "system", 0, cause, cure);
        return None;
    };
    let table = Table::of("the system".into(), &entry, "[system]", SYSTEM, root.findings)?;
    let name = table.required("name").map(|(name, place)| {
        check_name("a system", name, place, NAME_BYTES, root.findings);
        name.to_string()
    });
    let until = table.text("until").map(|(name, place)| Reference { name: name.into(), place });
    let modes =
        [("full", Mode::Full), ("unikernel", Mode::Unikernel), ("embedded", Mode::Embedded)];
    let mode = table.choice("mode", Rule::UnknownMode, &modes).unwrap_or_default();
    let mode_place = table.entry("mode").map_or(0, |entry| entry.value.span().start);
    let name = name.unwrap_or_default();
    Some(Manifest { name, until, mode, mode_place, ..Manifest::default() })
}

fn input(entry: &Entry<'_>, findings: &Findings) -> Input {
    check_name("an input", entry.name, entry.place, NAME_BYTES, findings);
    let title = format!("input `{}`", entry.name);
    let table = Table::of(title, entry, "[input.text]", INPUT, findings);
    let maximum = table.and_then(|table| table.bytes("maximum", 1..=INPUT_SIZE));
    Input { name: entry.name.into(), maximum, place: entry.place }
}

/// Reports `name` if it is no name of `what`.
fn check_name(what: &str, name: &str, place: usize, maximum: usize, findings: &Findings) {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !name.is_empty() && name.len() <= maximum && name.bytes().all(fits) {
        return;
    }
    let cause = format!("`{name}` is no name of {what}");
    let changed: String = name
        .chars()
        .map(|character| match character.to_ascii_lowercase() {
            '_' | ' ' | '.' => '-',
            lower => lower,
        })
        .collect();
    let rule = format!("names have 1 to {maximum} lower-case letters, digits and `-`");
    let valid = !changed.is_empty() && changed.len() <= maximum && changed.bytes().all(fits);
    let cure = if valid { format!("{rule}, as in `{changed}`") } else { rule };
    findings.add(Rule::BadName, place, cause, cure);
}
