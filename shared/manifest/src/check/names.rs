//! Names: what they refer to, and that a service has each once.

use std::collections::{BTreeMap, BTreeSet};

use super::Names;
use crate::diagnostic::{Findings, Rule, nearest};
use crate::entries::{EVENTS, HAND_OVER, Reference, STATE, Service, Use, device_of};
use crate::read::listed;

pub(super) fn check(names: &Names<'_>, findings: &Findings) {
    if let Some(until) = &names.manifest.until {
        known_service(names, until, "`until` of the system", findings);
    }
    for service in &names.manifest.services {
        let title = format!("service `{}`", service.name);
        for usage in &service.uses {
            let what = format!("`uses.{}` of {title}", usage.name);
            used(names, service, usage, &what, findings);
        }
        for input in &service.inputs {
            known_input(names, input, &title, findings);
        }
        for controlled in &service.controls {
            known_service(names, controlled, &format!("`controls` of {title}"), findings);
        }
        repeated(service, findings);
    }
    unused_inputs(names, findings);
    shared_devices(names, findings);
}

/// Reports devices that two services drive: what they do would go past each other.
fn shared_devices(names: &Names<'_>, findings: &Findings) {
    let mut drivers: BTreeMap<(&str, &str), &str> = BTreeMap::new();
    for service in &names.manifest.services {
        let Some(driver) = &service.driver else { continue };
        let device = driver.plan.device.as_str();
        let kind = device_of(&driver.plan.name).unwrap_or("device");
        let first = *drivers.entry((kind, device)).or_insert(&service.name);
        if first != service.name {
            let cause =
                format!("`{first}` and `{}` drive the same {kind} `{device}`", service.name);
            let cure = format!("name another {kind}, or let the clients of one use the other");
            findings.add(Rule::SharedDevice, driver.place, cause, cure);
        }
    }
}

fn suggestion<'a>(
    word: &str,
    candidates: impl Iterator<Item = &'a str>,
    otherwise: &str,
) -> String {
    match nearest(word, candidates) {
        Some(name) => format!("did you mean `{name}`?"),
        None => otherwise.into(),
    }
}

/// Reports `reference` if there is no such service.
fn known_service(names: &Names<'_>, reference: &Reference, what: &str, findings: &Findings) {
    let Reference { name, place } = reference;
    if names.index(name).is_some() {
        return;
    }
    let cause = format!("{what} names a service that is not there: `{name}`");
    let otherwise = match name.as_str() {
        "init" => "name another one: `init` belongs to the system".into(),
        _ => format!("add `[service.{name}]`, or name another one"),
    };
    let cure = suggestion(name, names.service_names(), &otherwise);
    findings.add(Rule::UnknownService, *place, cause, cure);
}

/// Reports what is wrong with whom `usage` is from.
fn used(names: &Names<'_>, service: &Service, usage: &Use, what: &str, findings: &Findings) {
    let Use { from, interface, .. } = usage;
    if from.name == service.name {
        let cause = format!("{what} is from the service itself");
        let cure = "a service reaches its own mailbox without `uses`; remove it, or change `from`";
        findings.add(Rule::OwnInterface, from.place, cause, cure);
        return;
    }
    known_service(names, from, what, findings);
    let Some(server) = names.service(&from.name).filter(|server| server.is_read("serves")) else {
        return;
    };
    if names.serves(&server.name, &interface.name) {
        return;
    }
    let (name, server_name) = (&interface.name, &from.name);
    let cause = format!("{what} names an interface that `{server_name}` does not serve: `{name}`");
    let mut others = names
        .manifest
        .services
        .iter()
        .filter(|other| other.name != service.name && names.serves(&other.name, name));
    if let Some(other) = others.next() {
        let cure = format!("`{}` serves it: `from = \"{}\"`", other.name, other.name);
        findings.add(Rule::UnknownInterface, interface.place, cause, cure);
        return;
    }
    let all = || server.serves.iter().map(|one| one.name.as_str());
    if let Some(near) = nearest(name, all()) {
        let cure = format!("did you mean `interface = \"{near}\"`?");
        findings.add(Rule::UnknownInterface, interface.place, cause, cure);
        return;
    }
    let cause = format!("{what} names an interface that nobody serves: `{name}`");
    let cure = match server.serves.is_empty() {
        true => format!("add `serves = {{ {name} = {{}} }}` to service `{server_name}`"),
        false => {
            format!("`{server_name}` serves {}; add `{name}`, or name one of them", listed(all()))
        }
    };
    findings.add(Rule::NotServed, interface.place, cause, cure);
}

fn known_input(names: &Names<'_>, input: &Reference, title: &str, findings: &Findings) {
    let inputs = &names.manifest.inputs;
    if names.inputs.contains(input.name.as_str()) {
        return;
    }
    let cause = format!("`inputs` of {title} names an input that is not there: `{}`", input.name);
    let otherwise = format!("add `[input.{}]`", input.name);
    let cure = suggestion(&input.name, inputs.iter().map(|one| one.name.as_str()), &otherwise);
    findings.add(Rule::UnknownInput, input.place, cause, cure);
}

/// Reports the capabilities of a service whose names are there before. Those to domains have names
/// that others cannot have.
fn repeated(service: &Service, findings: &Findings) {
    let events = service.controls.first().map(|first| (EVENTS, first.place));
    let state = (service.state > 0).then_some([STATE, HAND_OVER]);
    let state = state.into_iter().flatten().map(|name| (name, service.places.state));
    let own: Vec<_> = events.into_iter().chain(state).collect();
    let serves = service.serves.iter().map(|one| (one.name.as_str(), one.place));
    let uses = service.uses.iter().map(|one| (one.name.as_str(), one.place));
    let inputs = service.inputs.iter().map(|one| (one.name.as_str(), one.place));
    let consoles = service.consoles.iter().map(|one| (one.name.as_str(), one.place));
    let mut seen = BTreeSet::new();
    let given = serves.chain(uses).chain(inputs).chain(consoles);
    for (name, place) in own.iter().copied().chain(given) {
        if seen.insert(name) {
            continue;
        }
        let cause = format!("service `{}` has two capabilities named `{name}`", service.name);
        let cure = match events {
            Some((EVENTS, _)) if name == EVENTS => {
                "rename it: with `controls`, `events` is the signal of the services' ends"
            }
            _ if own.iter().any(|(own, _)| *own == name) => {
                "rename it: with `state`, the service has a region `state` and a signal `hand-over`"
            }
            _ => "rename one; a use's `interface` says what it is called at its server",
        };
        findings.add(Rule::RepeatedName, place, cause, cure);
    }
    let mut seen = BTreeSet::new();
    for Reference { name, place } in &service.controls {
        if !seen.insert(name) {
            let cause = format!("service `{}` controls `{name}` twice", service.name);
            findings.add(Rule::RepeatedName, *place, cause, "remove one");
        }
    }
}

/// Reports inputs that no service gets, unless some service names one that is not there.
fn unused_inputs(names: &Names<'_>, findings: &Findings) {
    let services = &names.manifest.services;
    let unread = services.iter().any(|service| !service.is_read("inputs"));
    if unread || findings.has(Rule::UnknownInput) || services.is_empty() {
        return;
    }
    let used: BTreeSet<&str> =
        services.iter().flat_map(|service| &service.inputs).map(|one| one.name.as_str()).collect();
    for input in &names.manifest.inputs {
        if !used.contains(input.name.as_str()) {
            let cause = format!("no service gets the input `{}`", input.name);
            let cure = format!("add `inputs = [\"{}\"]` to one, or remove it", input.name);
            findings.add(Rule::UnusedInput, input.place, cause, cure);
        }
    }
}
