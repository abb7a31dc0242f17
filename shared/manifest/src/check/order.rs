//! The order of calls: a server is at least as urgent as its clients, and nobody waits in a circle.

use std::collections::BTreeMap;

use super::Names;
use super::cycle::{Cycle, cycles, text};
use crate::diagnostic::{Findings, Rule};
use phi_abi::Rights;

pub(super) fn check(names: &Names<'_>, findings: &Findings) {
    let services = &names.manifest.services;
    let mut calls = BTreeMap::new();
    for (client_index, server_index, usage) in names.uses() {
        if !usage.rights.contains(Rights::CALL) {
            continue;
        }
        calls.entry((client_index, server_index)).or_insert(usage.place);
        let (client, server) = (&services[client_index], &services[server_index]);
        let known = client.is_read("priority") && server.is_read("priority");
        if known && client.priority > server.priority {
            let cause = format!(
                "`{}` has priority {} and calls `{}`, which has only {}",
                client.name, client.priority, server.name, server.priority
            );
            let cure = format!(
                "give `{}` at least `priority = {}`: a server is as urgent as its clients",
                server.name, client.priority
            );
            findings.add(Rule::PriorityInversion, usage.place, cause, cure);
        }
    }
    for Cycle { nodes, place } in cycles(services.len(), &calls) {
        let cause = format!("calls in a circle: {}", text(&nodes, |index| names.name(index)));
        let cure =
            "let one of them send instead, with `rights = [\"send\"]`; now each waits for the next";
        findings.add(Rule::CallCycle, place, cause, cure);
    }
}
