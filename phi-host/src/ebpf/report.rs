//! What a run's edges and services looked like, for people and for programs.

use super::Snapshot;
use super::layout::{Edge, EdgeKey, Lost, ServiceCounts};
use crate::table::{Align, Table, bytes, time};
use phi_manifest::plan::Plan;
use serde_json::{Value, json};

/// A snapshot, with names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Edges {
    services: Vec<String>,
    mailboxes: Vec<String>,
    snapshot: Snapshot,
}

impl Edges {
    /// The snapshot of a system with this plan.
    pub fn new(plan: &Plan, snapshot: Snapshot) -> Edges {
        let services = plan.services.iter().map(|service| service.name.clone()).collect();
        let mailboxes = plan.mailboxes.iter().map(|mailbox| mailbox.name.clone()).collect();
        Edges::named(services, mailboxes, snapshot)
    }

    /// The snapshot of a system with these services and mailboxes of its plan.
    pub fn named(services: Vec<String>, mailboxes: Vec<String>, snapshot: Snapshot) -> Edges {
        Edges { services, mailboxes, snapshot }
    }

    /// The edges.
    pub fn edges(&self) -> &[(EdgeKey, Edge)] {
        &self.snapshot.edges
    }

    /// A service's name.
    pub fn service(&self, domain: Option<u16>) -> String {
        match domain {
            None => "?".into(),
            Some(domain) => match self.services.get(usize::from(domain)) {
                Some(name) => name.clone(),
                None => format!("domain {domain}"),
            },
        }
    }

    /// The mailbox's name, for one of the plan.
    pub fn interface(&self, key: &EdgeKey) -> Option<&str> {
        key.server?;
        self.mailboxes.get(key.mailbox as usize).map(String::as_str)
    }

    /// The services, with what was counted of them.
    fn counts(&self) -> impl Iterator<Item = (&String, &ServiceCounts)> {
        self.services.iter().zip(&self.snapshot.services)
    }

    /// Both as tables, and below them what was lost.
    pub fn table(&self) -> String {
        let mut edges = Table::new([
            ("client", Align::Left),
            ("server", Align::Left),
            ("interface", Align::Left),
            ("label", Align::Right),
            ("calls", Align::Right),
            ("sends", Align::Right),
            ("failed", Align::Right),
            ("bytes", Align::Right),
            ("answered", Align::Right),
            ("p50 <", Align::Right),
            ("p99 <", Align::Right),
        ]);
        for (key, edge) in &self.snapshot.edges {
            let percentile = |share| edge.percentile(share).map_or("–".into(), time);
            edges.push([
                self.service(Some(key.client)),
                self.service(key.server),
                self.interface(key).unwrap_or("–").to_string(),
                label(key.label),
                edge.calls.to_string(),
                edge.sends.to_string(),
                edge.failures.to_string(),
                bytes(edge.bytes),
                bytes(edge.answer_bytes),
                percentile(0.5),
                percentile(0.99),
            ]);
        }
        let mut services = Table::new([
            ("service", Align::Left),
            ("starts", Align::Right),
            ("exits", Align::Right),
            ("faults", Align::Right),
            ("stops", Align::Right),
            ("CPU time", Align::Right),
        ]);
        for (name, counts) in self.counts() {
            services.push([
                name.clone(),
                counts.starts.to_string(),
                counts.exits.to_string(),
                counts.faults.to_string(),
                counts.stops.to_string(),
                time(counts.processor),
            ]);
        }
        let lost = match self.snapshot.lost {
            Lost { events: 0, messages: 0 } => String::new(),
            Lost { events, messages } => {
                format!("not counted for want of room: {messages} messages, {events} events\n")
            }
        };
        format!("{edges}{services}{lost}")
    }

    /// Both as JSON.
    pub fn json(&self) -> Value {
        let edge = |(key, edge): &(EdgeKey, Edge)| {
            json!({
                "client": self.service(Some(key.client)),
                "server": key.server.map(|server| self.service(Some(server))),
                "interface": self.interface(key),
                "label": key.label,
                "calls": edge.calls,
                "answers": edge.answers,
                "sends": edge.sends,
                "failures": edge.failures,
                "bytes": edge.bytes,
                "answer_bytes": edge.answer_bytes,
                "nanoseconds": edge.nanoseconds,
                "p50_below_nanoseconds": edge.percentile(0.5),
                "p99_below_nanoseconds": edge.percentile(0.99),
                "histogram": &edge.histogram[..],
            })
        };
        let service = |(name, counts): (&String, &ServiceCounts)| {
            json!({
                "name": name,
                "starts": counts.starts,
                "exits": counts.exits,
                "faults": counts.faults,
                "stops": counts.stops,
                "processor_nanoseconds": counts.processor,
            })
        };
        let Lost { events, messages } = self.snapshot.lost;
        json!({
            "edges": self.snapshot.edges.iter().map(edge).collect::<Vec<Value>>(),
            "services": self.counts().map(service).collect::<Vec<Value>>(),
            "lost": { "events": events, "messages": messages },
        })
    }
}

/// A label: methods of an interface are small numbers.
pub fn label(label: u64) -> String {
    if label < 1 << 16 { label.to_string() } else { format!("{label:#x}") }
}
