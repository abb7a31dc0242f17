//! Who supervises whom: every service has one supervisor, and all begin with `init`.

use std::collections::BTreeMap;

use super::Names;
use super::cycle::{Cycle, cycles, text};
use crate::diagnostic::{Findings, Rule};

pub(super) fn check(names: &Names<'_>, findings: &Findings) {
    let services = &names.manifest.services;
    let mut controlled = BTreeMap::new();
    let mut controllers: BTreeMap<&str, &str> = BTreeMap::new();
    for (index, service) in services.iter().enumerate() {
        for reference in &service.controls {
            let name = reference.name.as_str();
            if name == service.name {
                let cause = format!("service `{name}` controls itself");
                let cure = "remove it; who controls no other service has no need of `controls`";
                findings.add(Rule::ControlsItself, reference.place, cause, cure);
                continue;
            }
            let Some(other) = names.index(name) else { continue };
            controlled.entry((index, other)).or_insert(reference.place);
            let first = *controllers.entry(name).or_insert(&service.name);
            if first != service.name {
                let cause =
                    format!("`{name}` is controlled by `{first}` and by `{}`", service.name);
                let cure = "a service has one supervisor: remove it from one of them";
                findings.add(Rule::TwoControllers, reference.place, cause, cure);
            }
        }
    }
    for Cycle { nodes, place } in cycles(services.len(), &controlled) {
        let circle = text(&nodes, |index| names.name(index));
        let cause = format!("services control each other: {circle}");
        let cure = "remove one of these: nobody would start any of them";
        findings.add(Rule::ControlCycle, place, cause, cure);
    }
    until(names, &controllers, findings);
}

fn until(names: &Names<'_>, controllers: &BTreeMap<&str, &str>, findings: &Findings) {
    let Some(until) = &names.manifest.until else { return };
    if let Some(controller) = controllers.get(until.name.as_str()) {
        let name = &until.name;
        let cause = format!("`until` names `{name}`, which `{controller}` controls");
        let cure =
            format!("name `{controller}`, which can end with it: `init` does not watch `{name}`");
        findings.add(Rule::UntilControlled, until.place, cause, cure);
    }
}
