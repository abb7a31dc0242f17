//! `phi-host caps`.

use super::running::{self, RunningArgument};
use super::{print, print_json};
use crate::control::protocol::{CapabilityState, CapabilityView};
use crate::failure::{Failure, Kind};
use crate::table::{Align, Table, bytes};
use phi_abi::Handle;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

const EXAMPLES: &str = "\
A capability that was derived revocably names the one that it comes from: revoking that one ends it.

Examples:
  phi-host caps
  phi-host caps wordcount --service reader
  phi-host caps wordcount --json
  phi-host caps wordcount --dot | dot -Tsvg > capabilities.svg";

/// Print who holds which capability in a system that runs, and what it comes from
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Caps {
    #[command(flatten)]
    running: RunningArgument,
    /// Only what this service holds
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
    /// Print a graph for Graphviz: services, objects, and what was derived from what
    #[arg(long, conflicts_with = "json")]
    dot: bool,
}

impl Caps {
    /// Does it; returns the exit status.
    ///
    /// # Errors
    /// Any [`Failure`].
    pub fn perform(&self) -> Result<u8, Failure> {
        let mut running = self.running.one()?;
        let failed = |error| running::failure(&running.name, &error);
        if let Some(service) = &self.service {
            let (_, services) = running.client.services().map_err(failed)?;
            if !services.iter().any(|found| found.name == *service) {
                let names: Vec<&str> = services.iter().map(|found| found.name.as_str()).collect();
                return Err(Failure::new(Kind::Mistake, "the system has no such service")
                    .at(service.as_str())
                    .help(format!("its services are {}", names.join(", "))));
            }
        }
        let all = running.client.capabilities().map_err(failed)?;
        let sources = sources(&all);
        let wanted = |capability: &&CapabilityView| {
            self.service.is_none() || capability.service == self.service
        };
        let shown: Vec<&CapabilityView> = all.iter().filter(wanted).collect();
        if self.json {
            let source = |capability: &CapabilityView| {
                capability.lineage.and_then(|lineage| sources.get(&lineage)).map(|source| source.id)
            };
            let entries: Vec<_> = shown
                .iter()
                .map(|capability| {
                    let mut value = json!(capability);
                    value["source"] = json!(source(capability));
                    value
                })
                .collect();
            print_json(&json!({ "system": running.system.name, "capabilities": entries }))?;
        } else if self.dot {
            print(&graph(&running.system.name, &shown, &sources))?;
        } else {
            print(&table(&shown, &sources))?;
        }
        Ok(0)
    }
}

/// By lineage: the capability that it was derived from.
type Sources<'a> = BTreeMap<u32, &'a CapabilityView>;

fn sources(all: &[CapabilityView]) -> Sources<'_> {
    let with_child = all.iter().filter_map(|capability| Some((capability.child?, capability)));
    with_child.collect()
}

/// Who holds a capability.
fn holder(capability: &CapabilityView) -> &str {
    capability.service.as_deref().unwrap_or("(in a message)")
}

/// What a capability comes from.
fn source(capability: &CapabilityView, sources: &Sources<'_>) -> String {
    let Some(lineage) = capability.lineage else { return "–".into() };
    if capability.loan {
        let lender = capability.derived_by.as_deref().unwrap_or("?");
        return format!("loan of {lender}");
    }
    match sources.get(&lineage) {
        Some(source) => format!("{} {:?}", holder(source), Handle(source.handle)),
        None => capability.derived_by.clone().unwrap_or("?".into()),
    }
}

fn state(capability: &CapabilityView) -> String {
    match capability.state {
        CapabilityState::Held if capability.mapped > 0 => {
            format!("held, {} mapped", bytes(capability.mapped))
        }
        state => state.to_string(),
    }
}

fn table(shown: &[&CapabilityView], sources: &Sources<'_>) -> String {
    let mut table = Table::new([
        ("service", Align::Left),
        ("handle", Align::Right),
        ("name", Align::Left),
        ("kind", Align::Left),
        ("object", Align::Left),
        ("rights", Align::Left),
        ("badge", Align::Right),
        ("state", Align::Left),
        ("depth", Align::Right),
        ("comes from", Align::Left),
    ]);
    for capability in shown {
        table.push([
            holder(capability).into(),
            format!("{:?}", Handle(capability.handle)),
            capability.name.clone().unwrap_or("–".into()),
            capability.kind.clone(),
            capability.object.clone(),
            capability.rights.join(" "),
            if capability.badge == 0 { "–".into() } else { capability.badge.to_string() },
            state(capability),
            capability.depth.to_string(),
            source(capability, sources),
        ]);
    }
    table.to_string()
}

/// A text as Graphviz reads it.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            control if control.is_control() => quoted.push(' '),
            other => quoted.push(other),
        }
    }
    quoted + "\""
}

/// Services and objects are nodes; a capability is an edge from its holder to its object, and a dashed
/// edge goes from each holder to those to whom a capability was derived.
fn graph(system: &str, shown: &[&CapabilityView], sources: &Sources<'_>) -> String {
    let mut graph = format!("digraph {} {{\n  rankdir=LR;\n  node [shape=box];\n", quoted(system));
    let holders: BTreeSet<&str> = shown.iter().map(|capability| holder(capability)).collect();
    for service in holders {
        // Writing to a string does not fail.
        let _ = writeln!(graph, "  {} [label={}];", node("service", service), quoted(service));
    }
    let objects: BTreeMap<String, &CapabilityView> =
        shown.iter().map(|capability| (object_node(capability), *capability)).collect();
    for (node, CapabilityView { object, kind, .. }) in objects {
        let label = quoted(&format!("{object} ({kind})"));
        let _ = writeln!(graph, "  {node} [shape=ellipse, label={label}];");
    }
    for capability in shown {
        let mut label = format!("{:?} {}", Handle(capability.handle), capability.rights.join(" "));
        if capability.badge != 0 {
            let _ = write!(label, " #{}", capability.badge);
        }
        let style = match capability.state {
            CapabilityState::Held => "solid",
            _ => "dotted",
        };
        let (from, to) =
            (node("service", holder(capability)), node(&capability.kind, &capability.object));
        let _ = writeln!(graph, "  {from} -> {to} [label={}, style={style}];", quoted(&label));
        let Some(lineage) = capability.lineage else { continue };
        let by = sources.get(&lineage).map(|source| holder(source).to_owned());
        if let Some(by) = by.or(capability.derived_by.clone()) {
            let label = quoted(&format!("derived: {}", capability.object));
            let by = node("service", &by);
            let _ = writeln!(graph, "  {by} -> {from} [label={label}, style=dashed];");
        }
    }
    graph + "}\n"
}

/// The node of a capability's object. Streams of the console differ by their badges.
fn object_node(capability: &CapabilityView) -> String {
    let number = match capability.kind.as_str() {
        "console" => capability.badge,
        _ => u64::from(capability.number),
    };
    node(&capability.kind, &number.to_string())
}

/// The name of a node, which two different things never share.
fn node(kind: &str, name: &str) -> String {
    quoted(&format!("{kind}: {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capability(service: &str, id: u64) -> CapabilityView {
        CapabilityView {
            service: Some(service.into()),
            handle: Handle::new(id as u32, 1).0,
            id,
            kind: "region".into(),
            object: "region 3 of a, 1 pages".into(),
            rights: vec!["read".into()],
            ..CapabilityView::default()
        }
    }

    #[test]
    fn what_was_derived_names_its_source() {
        let source = CapabilityView { child: Some(9), ..capability("a", 1) };
        let derived = CapabilityView {
            lineage: Some(9),
            depth: 1,
            derived_by: Some("a".into()),
            ..capability("b", 2)
        };
        let orphan = CapabilityView { lineage: Some(8), ..derived.clone() };
        let loan = CapabilityView { loan: true, ..orphan.clone() };
        let all = [source, derived, orphan, loan];
        let sources = sources(&all);
        let named: Vec<String> = all.iter().map(|one| super::source(one, &sources)).collect();
        assert_eq!(named, ["–", "a 1:1", "a", "loan of a"]);
        let shown: Vec<&CapabilityView> = all.iter().collect();
        let text = graph("s", &shown, &sources);
        assert_eq!(text.matches("style=dashed").count(), 3, "{text}");
    }

    #[test]
    fn names_cannot_break_out_of_a_graph() {
        assert_eq!(quoted("a\"b\\c\nd"), r#""a\"b\\c d""#);
    }
}
