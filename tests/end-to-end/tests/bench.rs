//! `phi-host bench` measures and says what it measured. How fast anything is, no test knows.

use phi_end_to_end::{expect, metal, phi_host};
use serde_json::Value;

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().unwrap_or_else(|| panic!("no list {key} in {value}"))
}

#[test]
fn peers_are_measured_beside_it() {
    let picture = std::env::temp_dir().join(format!("phi-peers-{}.svg", std::process::id()));
    let mut command = phi_host();
    command.args(["bench", "peers", "--rounds", "1", "--json", "--plot"]).arg(&picture);
    command.args(["--only", "pipe,seqpacket,eventfd,futex-spinning,futex-blocking"]);
    let output = expect(&mut command, 0);
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let rows = list(&report, "rows");
    let row = |what: &str, cpus: usize, name: &str| {
        let is =
            |row: &&Value| row["what"] == what && row["processors"] == cpus && row["name"] == name;
        rows.iter().find(is).unwrap_or_else(|| panic!("no {what} of {name} on {cpus}: {report}"))
    };
    for cpus in [1, 2].into_iter().filter(|cpus| *cpus <= processors) {
        for what in ["round trip", "one way", "16 to 1, round trip", "16 to 1, per call"] {
            for name in ["ΦOS", "pipe", "Unix seqpacket"] {
                let time = &row(what, cpus, name)["p50"];
                let median = time["median"].as_f64().expect("a time");
                assert!(median > 0.0 && time["least"] == time["most"], "one round: {time}");
            }
        }
        for what in ["hand over 4 KiB", "hand over 64 MiB", "lend 4 KiB", "lend 64 MiB"] {
            row(what, cpus, "ΦOS");
        }
        row("round trip", cpus, "eventfd + memory");
    }
    row("one way", 1, "futex ring, blocking");
    let promises = list(&report, "promises");
    assert_eq!(promises.len(), 10);
    // Those of libraries were not measured, the others were.
    let pipe = promises.iter().find(|promise| promise["what"] == "round trip on 1 cpu: ΦOS / pipe");
    let pipe = pipe.expect("a promise about pipes");
    let holds = pipe["ratio"].as_f64().expect("a ratio") <= 1.0;
    assert_eq!(pipe["holds"], holds, "{pipe}");
    assert!(promises.iter().any(|promise| promise["holds"].is_null()));
    let drawn = std::fs::read_to_string(&picture).expect("a picture");
    std::fs::remove_file(&picture).expect("a picture to remove");
    assert!(drawn.starts_with("<svg") && drawn.trim_end().ends_with("</svg>"));
    assert_eq!(drawn.matches("fill=\"#").count(), rows.len(), "a bar for each row");
}

#[test]
fn an_unknown_peer_is_a_mistake() {
    let output = expect(phi_host().args(["bench", "peers", "--only", "pigeon"]), 2);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("`pigeon`") && said.contains("futex-spinning"), "{said}");
}

#[test]
fn every_system_that_measures_runs_on_bare_metal() {
    if !metal() {
        return;
    }
    for (manifest, field) in
        [("messages.toml", "one_way"), ("fan-in.toml", "fan_in"), ("lending.toml", "hand_over")]
    {
        let output = expect(phi_host().args(["boot", &format!("tests/benchmark/{manifest}")]), 0);
        let line: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert!(!line[field].is_null(), "{manifest}: {line}");
    }
}

#[test]
fn a_revocation_costs_the_same_however_much_it_ends() {
    if !metal() {
        return;
    }
    let output =
        expect(phi_host().args(["bench", "revocation", "--quick", "--rounds", "1", "--json"]), 0);
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let [linux, metal] = list(&report, "machines") else { panic!("{report}") };
    assert_eq!(list(linux, "costs").len(), 3);
    // Instructions, which every run counts alike.
    let costs: Vec<(u64, f64)> = list(metal, "costs")
        .iter()
        .map(|cost| {
            let instructions = cost["cost"]["median"].as_f64().expect("a count");
            (cost["descendants"].as_u64().expect("a number"), instructions)
        })
        .collect();
    let [(1, one), (100, some), (1000, many)] = costs[..] else { panic!("{report}") };
    assert!(one > 0.0 && some == one && many == one, "{costs:?}");
}
