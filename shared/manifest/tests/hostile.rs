//! Whatever is in a manifest: there are diagnostics that name a place in it, or there is a plan that
//! both machines accept.

mod sample;

use phi_abi::layout::PAGE;
use phi_manifest::bundle::Bundle;
use phi_manifest::image::RelocatedImage;
use phi_manifest::{builder, check};
use proptest::prelude::*;

/// Checks `text`. A good manifest must have a bundle that is good, with images that have a page of
/// data at most, as the checks promise.
fn is_good(text: &str) -> Result<bool, TestCaseError> {
    let manifest = match check("phi.toml", text) {
        Ok(manifest) => manifest,
        Err(mistakes) => {
            prop_assert!(mistakes.iter().next().is_some());
            let lines = text.split('\n').count();
            for mistake in &mistakes {
                prop_assert!((1..=lines).contains(&mistake.line), "{mistake:?}");
                prop_assert!(mistake.column >= 1 && !mistake.cause.is_empty());
                prop_assert!(!mistake.cure.is_empty());
            }
            let shown = mistakes.to_string();
            let unprintable =
                |found| matches!(found, '\0'..='\u{9}' | '\r' | '\u{1b}' | '\u{202e}');
            prop_assert!(!shown.contains(unprintable), "{shown:?}");
            return Ok(false);
        }
    };
    let inputs: Vec<&[u8]> = manifest.inputs().iter().map(|_| &b""[..]).collect();
    let mut plan = manifest.plan(&vec![0; inputs.len()]).expect("empty inputs fit");
    let image = |window| {
        let mut image = sample::image(window);
        image.parts[2].memory_length = PAGE;
        image
    };
    let images: Vec<RelocatedImage> =
        plan.services.iter().map(|service| image(service.window)).collect();
    let bytes = builder::build(&mut plan, &images, &[], &inputs);
    let bundle = Bundle::open(&bytes);
    prop_assert!(bundle.is_ok(), "{:?} for {text}", bundle.err());
    Ok(true)
}

/// What manifests are made of, and what they should not be made of.
const PIECES: &[&str] = &[
    "[system]",
    "[service.a]",
    "[service.b]",
    "[input.a]",
    "[[service]]",
    "[service]",
    "[",
    "]",
    "{",
    "}",
    "=",
    ",",
    "\n",
    "\n\n",
    " ",
    "\"",
    "'",
    "\"\"\"",
    "#",
    ".",
    "name",
    "until",
    "image",
    "priority",
    "memory",
    "stack",
    "heap",
    "handles",
    "threads",
    "budget",
    "arguments",
    "restart",
    "policy",
    "serves",
    "uses",
    "from",
    "interface",
    "rights",
    "inputs",
    "controls",
    "consoles",
    "capacity",
    "\"a\"",
    "\"b\"",
    "\"p:b\"",
    "\"call\"",
    "\"always\"",
    "\"4 MiB\"",
    "\"log\"",
    "0",
    "10",
    "-1",
    "1e9",
    "true",
    "0x",
    "1979-05-27",
    "\\u0000",
    "\0",
    "\u{1b}",
    "\r",
    "\u{feff}",
    "é",
    "\u{202e}",
    "🦀",
];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_checked(text in any::<String>()) {
        is_good(&text)?;
    }

    #[test]
    fn any_pieces_are_checked(pieces in proptest::collection::vec(0..PIECES.len(), 0..80)) {
        let text: String = pieces.into_iter().map(|piece| PIECES[piece]).collect();
        is_good(&text)?;
    }

    /// A good manifest with some of its lines gone, doubled or mixed.
    #[test]
    fn mixed_lines_are_checked(
        picks in proptest::collection::vec((any::<usize>(), any::<usize>(), 0u8..3), 0..4),
    ) {
        let mut lines: Vec<&str> = sample::TEXT.lines().collect();
        for (one, other, change) in picks {
            let (one, other) = (one % lines.len(), other % lines.len());
            match change {
                0 => { lines.remove(one); }
                1 => lines.insert(other, lines[one]),
                _ => lines.swap(one, other),
            }
        }
        is_good(&lines.join("\n"))?;
    }

    /// A good manifest with some of its words replaced by others of it, or by numbers.
    #[test]
    fn mixed_words_are_checked(
        picks in proptest::collection::vec((any::<usize>(), any::<usize>(), 0u64..70_000), 0..4),
    ) {
        let is_word = |one: char| one.is_ascii_alphanumeric();
        let mut words: Vec<String> =
            sample::TEXT.split_inclusive(|one| !is_word(one)).map(String::from).collect();
        for (one, other, number) in picks {
            let (one, other) = (one % words.len(), other % words.len());
            let end = words[one].trim_start_matches(is_word).to_string();
            let word = words[other].trim_end_matches(|one| !is_word(one)).to_string();
            let is_number = words[one].starts_with(|one: char| one.is_ascii_digit());
            words[one] = if is_number { number.to_string() } else { word } + &end;
        }
        is_good(&words.concat())?;
    }
}

#[test]
fn the_sample_is_good() {
    assert!(is_good(sample::TEXT).expect("no failure"));
}

/// Manifests of the greatest length that make the checks look at much.
#[test]
fn the_longest_manifests_are_checked_to_the_end() {
    let head = "[system]\nname = \"a\"\n[service.a]\nimage = \"p:b\"\n";
    let fill = |before: &str, piece: &dyn Fn(usize) -> String, after: &str| {
        let mut text = before.to_string();
        let mut number = 0;
        while text.len() < (255 << 10) {
            text += &piece(number);
            number += 1;
        }
        text + after
    };
    let services = |piece: &dyn Fn(usize) -> String| {
        let mut text = "[system]\nname = \"a\"\n[service]\n".to_string();
        for number in 0..1023 {
            text += &format!("s{number} = {{ image = \"p:b\", {} }}\n", piece(number));
        }
        assert!(text.len() < 256 << 10, "{}", text.len());
        text
    };
    let nested =
        |open: &str, close: &str| format!("a = {}{}", open.repeat(60_000), close.repeat(60_000));
    let all_call_all = |number: usize| {
        let uses: Vec<String> = (1..5)
            .map(|n| format!("u{n} = {{ from = \"s{}\" }}", (number * n + n) % 1023))
            .collect();
        format!(
            "serves = {{ u1 = {{}}, u2 = {{}}, u3 = {{}}, u4 = {{}} }}, uses = {{ {} }}",
            uses.join(", ")
        )
    };
    let name = "n".repeat(32);
    let long = format!("[system]\nname = \"a\"\n[service.{}]\n", "n".repeat(120 << 10));
    let texts = [
        nested("[", "]"),
        nested("{a=", "}"),
        format!("{}=1", vec!["a"; 120_000].join(".")),
        fill(&format!("{head}inputs = ["), &|_| "1,".into(), "]\n"),
        fill(&format!("{head}inputs = ["), &|n| format!("\"i{n}\","), "]\n"),
        fill("", &|_| "=\n".into(), ""),
        fill("", &|_| "\"\n".into(), ""),
        fill(head, &|n| format!("k{n} = 1\n"), ""),
        fill(&long, &|n| format!("k{n} = 1\n"), ""),
        fill("[input]\n", &|n| format!("i{n} = 1\n"), ""),
        fill(&format!("{head}serves = {{"), &|n| format!("i{n} = {{}},"), "}\n"),
        fill(&format!("{head}controls = ["), &|_| format!("\"{name}\","), "]\n"),
        fill(&format!("{head}uses = {{"), &|n| format!("u{n} = {{ from = \"a\" }},"), "}\n"),
        services(&|_| format!("until = \"{name}\", controls = [\"{name}\", \"{name}\"]")),
        services(&|n| format!("controls = [\"s{}\"]", (n + 1) % 1023)),
        services(&all_call_all),
    ];
    for (number, text) in texts.iter().enumerate() {
        let mistakes = check("phi.toml", text).expect_err("hostile");
        assert!(mistakes.iter().count() > 0, "number {number}");
    }
}
