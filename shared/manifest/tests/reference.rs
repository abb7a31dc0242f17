//! What `docs/manifest.md` says is so: its example is a good manifest, it names every key, and its
//! defaults are those of the checks.

use phi_manifest::plan::Target;
use phi_manifest::{Manifest, Rule, check};

const REFERENCE: &str = include_str!("../../../docs/manifest.md");

fn example() -> &'static str {
    let (_, after) = REFERENCE.split_once("```toml\n").expect("an example");
    after.split_once("```").expect("its end").0
}

fn good(text: &str) -> Manifest {
    check("phi.toml", text).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

/// The rows of the reference's tables whose first cell is a key: the key and its other cells.
fn rows() -> impl Iterator<Item = (&'static str, Vec<&'static str>)> {
    REFERENCE.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split('|').map(str::trim);
        let key = cells.next()?.strip_suffix('`')?;
        Some((key, cells.collect()))
    })
}

#[test]
fn the_example_is_a_good_manifest() {
    let manifest = good(example());
    let plan = manifest.plan(&[0]).expect("a plan");
    let names: Vec<&str> = plan.services.iter().map(|service| service.name.as_str()).collect();
    assert_eq!(names, ["init", "reader", "counter-a", "counter-b", "keeper", "console"]);
    assert_eq!(plan.until, Some(1));
    assert_eq!(
        [0, 0, 4, 4, 0, 0],
        [0, 1, 2, 3, 4, 5].map(|index: usize| plan.services[index].supervisor)
    );
    let keeper: Vec<(&str, Target)> = plan.services[4]
        .capabilities
        .iter()
        .map(|capability| (capability.name.as_str(), capability.target))
        .collect();
    assert_eq!(
        keeper,
        [
            ("events", Target::Events),
            ("domain:counter-a", Target::Domain(2)),
            ("domain:counter-b", Target::Domain(3)),
            ("log", Target::Console(1))
        ]
    );
}

#[test]
fn every_key_has_a_row_or_a_paragraph() {
    // A key that is like none makes the diagnostics list those that there are.
    let wrong = "\
        zzzzzzzz = 1\n\
        system = { zzzzzzzz = 1 }\n\
        input = { text = { zzzzzzzz = 1 } }\n\
        [service.a]\n\
        zzzzzzzz = 1\n\
        restart = { zzzzzzzz = 1 }\n\
        serves = { count = { zzzzzzzz = 1 } }\n\
        uses = { count = { zzzzzzzz = 1 } }\n";
    let mistakes = check("phi.toml", wrong).expect_err("unknown keys");
    let unknown = mistakes.iter().filter(|mistake| mistake.rule == Rule::UnknownKey);
    let mut count = 0;
    for mistake in unknown {
        let known = mistake.cure.split('`').skip(1).step_by(2);
        for key in known {
            count += 1;
            let row = rows().any(|(name, _)| name == key);
            let paragraph = REFERENCE.contains(&format!("**`{key}`**"));
            let heading = REFERENCE.contains(&format!("`[{key}"));
            assert!(row || paragraph || heading, "the reference does not explain `{key}`");
        }
    }
    assert_eq!(count, 3 + 3 + 1 + 24 + 5 + 1 + 3);
}

#[test]
fn defaults_are_as_documented() {
    let smallest = "[system]\nname = \"a\"\n[service.a]\nimage = \"p:b\"\n";
    let default = &good(smallest).services[0];
    let always = format!("{smallest}restart = {{ policy = \"always\" }}\n");
    let mut written = smallest.to_string();
    let mut compared = 0;
    for (key, cells) in rows() {
        let Some(value) = cells.get(1).map(|cell| cell.trim_matches('`')) else { continue };
        let own = ["priority", "memory", "stack", "heap", "handles", "regions", "mailboxes"];
        let counts = ["messages", "signals", "threads", "lineages"];
        if own.contains(&key) || counts.contains(&key) {
            written += &format!("{key} = {value}\n");
            compared += 1;
        }
        if ["backoff", "longest", "maximum", "then"].contains(&key) && cells[0].contains("restart")
        {
            let spelled =
                format!("{smallest}restart = {{ policy = \"always\", {key} = {value} }}\n");
            assert_eq!(good(&spelled).services[0].restart, good(&always).services[0].restart);
            compared += 1;
        }
    }
    assert_eq!(compared, 11 + 3, "the reference has these rows");
    let written = &good(&written).services[0];
    assert_eq!(
        (written.priority, written.quota, written.stack, written.heap),
        (default.priority, default.quota, default.stack, default.heap)
    );
}
