//! The reference of the calls, `docs/syscalls.md`, says what the code says.

use phi_abi::{CALLS, CallDescription, Error, FaultKind, Kind, Mode};

const REFERENCE: &str = include_str!("../../../docs/syscalls.md");

/// What each call's section tells, in this order.
const PARTS: [&str; 7] =
    ["Arguments", "Message", "Rights needed", "Result", "Errors", "Faults", "Machines"];

/// The headings of calls, and the text below each.
fn sections() -> Vec<(&'static str, &'static str)> {
    let sections = REFERENCE.split("\n### ").skip(1);
    let headed = sections.map(|section| section.split_once('\n').expect("a heading has a text"));
    // A section ends where the next chapter begins.
    headed.map(|(heading, text)| (heading, text.split("\n## ").next().unwrap_or(text))).collect()
}

/// The part of a section under a label, up to the next label.
fn part(text: &'static str, index: usize) -> &'static str {
    let label = format!("\n**{}**", PARTS[index]);
    let start = text.find(&label).unwrap_or_else(|| panic!("{label} is missing in {text}"));
    let rest = &text[start + label.len()..];
    assert!(!rest.contains(&label), "{label} is there twice in {text}");
    match PARTS.get(index + 1) {
        Some(next) => {
            let next = format!("\n**{next}**");
            &rest[..rest.find(&next).unwrap_or_else(|| panic!("{next} is not after {label}"))]
        }
        None => rest,
    }
}

/// What a list's items name between their first backticks.
fn named(list: &'static str) -> Vec<&'static str> {
    let items = list.lines().filter_map(|line| line.strip_prefix("- `"));
    items.map(|item| item.split('`').next().unwrap_or(item)).collect()
}

/// The cells of the rows of the table whose heading begins with `first`.
fn table(first: &str) -> Vec<Vec<&'static str>> {
    let heading = format!("| {first} |");
    let start = REFERENCE.find(&heading).unwrap_or_else(|| panic!("no table {heading}"));
    let rows = REFERENCE[start..].lines().take_while(|line| line.starts_with('|')).skip(2);
    rows.map(|row| row.trim_matches('|').split(" |").map(str::trim).collect()).collect()
}

/// The first cells of a table's rows are these names in backticks, the second their numbers.
fn assert_lists(first: &str, expected: Vec<(String, String)>) {
    let rows = table(first);
    let listed: Vec<(String, String)> =
        rows.iter().map(|row| (row[0].trim_matches('`').into(), row[1].into())).collect();
    assert_eq!(listed, expected);
    assert!(rows.iter().all(|row| row[2..].iter().any(|cell| cell.len() > 8)), "{first}: no text");
}

#[test]
fn calls_stand_in_the_order_of_their_numbers() {
    let headings: Vec<&str> = sections().iter().map(|(heading, _)| *heading).collect();
    let expected: Vec<String> =
        CALLS.iter().enumerate().map(|(number, call)| format!("{number} {}", call.name)).collect();
    assert_eq!(headings, expected);
}

#[test]
fn every_call_is_described_by_one_template() {
    for (heading, text) in sections() {
        let summary = text.split("\n**").next().unwrap_or_default().trim();
        assert!(summary.ends_with('.'), "{heading} begins with what it does");
        for (index, label) in PARTS.iter().enumerate() {
            assert!(!part(text, index).trim().is_empty(), "{heading}: nothing about its {label}");
        }
    }
}

#[test]
fn arguments_are_those_of_the_code() {
    for ((heading, text), CallDescription { arguments, .. }) in sections().iter().zip(CALLS) {
        let list = part(text, 0);
        assert_eq!(named(list), *arguments, "{heading}");
        assert_eq!(arguments.is_empty(), list.trim() == "none.", "{heading}");
    }
}

#[test]
fn messages_go_where_the_code_says() {
    for ((heading, text), call) in sections().iter().zip(CALLS) {
        let expected = match (call.message_in, call.message_out) {
            (false, false) => "none.",
            (true, false) => "in: ",
            (false, true) => "out: ",
            (true, true) => "in and out: ",
        };
        assert!(part(text, 1).trim_start().starts_with(expected), "{heading}: {expected:?}");
    }
}

#[test]
fn errors_and_faults_of_calls_exist_and_come_in_order() {
    let errors: Vec<String> = Error::ALL.iter().map(|error| format!("{error:?}")).collect();
    let faults: Vec<String> = FaultKind::ALL.iter().map(|kind| format!("{kind:?}")).collect();
    let mut used = Vec::new();
    for (heading, text) in sections() {
        let listed = named(part(text, 4));
        let numbers: Vec<usize> = listed
            .iter()
            .map(|name| errors.iter().position(|error| error == name))
            .map(|number| number.unwrap_or_else(|| panic!("{heading} has an unknown error")))
            .collect();
        assert!(numbers.is_sorted_by(|one, next| one < next), "{heading}: {listed:?}");
        used.extend(numbers);
        for name in named(part(text, 5)) {
            assert!(faults.iter().any(|fault| fault == name), "{heading}: fault {name}");
        }
    }
    assert!((0..errors.len()).all(|error| used.contains(&error)), "an error that no call has");
}

#[test]
fn every_error_is_described_with_its_blame() {
    let numbered = |error: &Error| (format!("{error:?}"), (*error as u8).to_string());
    assert_lists("error", Error::ALL.iter().map(numbered).collect());
    for (row, error) in table("error").iter().zip(Error::ALL) {
        assert_eq!(row[2], format!("{:?}", error.blame()), "{error:?}");
    }
}

#[test]
fn every_fault_is_described() {
    let numbered = |kind: &FaultKind| (format!("{kind:?}"), (*kind as u32).to_string());
    assert_lists("fault", FaultKind::ALL.iter().map(numbered).collect());
}

#[test]
fn every_kind_is_described_with_its_rights() {
    let numbered = |kind: &Kind| (kind.name().into(), (*kind as u8).to_string());
    assert_lists("kind", Kind::ALL.iter().map(numbered).collect());
    for (row, kind) in table("kind").iter().zip(Kind::ALL) {
        let named: Vec<&str> = row[3].split(", ").filter(|name| !name.is_empty()).collect();
        let all = phi_abi::Rights::all().iter_names();
        let common = phi_abi::Rights::DERIVE | phi_abi::Rights::TRANSFER;
        let own = kind.rights() - common - phi_abi::Rights::OBJECT_ALL;
        let expected: Vec<&str> =
            all.filter(|(_, right)| own.contains(*right)).map(|(name, _)| name).collect();
        let listed: Vec<&str> =
            named.iter().filter(|name| !name.starts_with("16")).copied().collect();
        assert_eq!(listed, expected, "{kind:?}");
        assert_eq!(named.len() > listed.len(), kind == Kind::Object, "{kind:?}");
    }
}

#[test]
fn every_mode_is_described() {
    let modes = [Mode::Move, Mode::Copy, Mode::Loan];
    let numbered = |mode: &Mode| (format!("{mode:?}"), (*mode as u32).to_string());
    assert_lists("mode", modes.iter().map(numbered).collect());
    assert_eq!(Mode::from_number(modes.len() as u32 + 1), None);
}
