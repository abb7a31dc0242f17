//! Checks of a manifest as a whole, after each value was read by itself.
//!
//! A check is silent where it could only repeat what another one says: where a name is unknown or a
//! value could not be read.

mod control;
mod cycle;
mod limits;
mod names;
mod order;

use std::collections::{BTreeMap, BTreeSet};

use crate::diagnostic::{Diagnostics, Findings, Rule};
use crate::entries::{Manifest, Service, Use};
use crate::read;

/// Reads and checks a whole manifest. `file` is the name that diagnostics give it.
///
/// # Errors
/// Every mistake at once. Only when the text is no TOML, mistakes that may follow from that are left
/// out until it is.
pub fn check(file: &str, text: &str) -> Result<Manifest, Diagnostics> {
    let findings = Findings::default();
    let manifest = read::read(text, &findings);
    let stops = [Rule::Syntax, Rule::TooLong, Rule::TooManyServices];
    if !stops.iter().any(|rule| findings.has(*rule)) {
        let names = Names::new(&manifest);
        names::check(&names, &findings);
        order::check(&names, &findings);
        control::check(&names, &findings);
        limits::check(&names, &findings);
    }
    match findings.diagnostics(file, text) {
        None => Ok(manifest),
        Some(diagnostics) => Err(diagnostics),
    }
}

/// A manifest with its names looked up.
struct Names<'a> {
    manifest: &'a Manifest,
    services: BTreeMap<&'a str, usize>,
    inputs: BTreeSet<&'a str>,
    /// By server and interface.
    interfaces: BTreeSet<(&'a str, &'a str)>,
}

impl<'a> Names<'a> {
    fn new(manifest: &'a Manifest) -> Names<'a> {
        let services = manifest.services.iter().map(|service| service.name.as_str()).zip(0..);
        let inputs = manifest.inputs.iter().map(|input| input.name.as_str());
        let interfaces = manifest.services.iter().flat_map(|service| {
            service.serves.iter().map(|one| (service.name.as_str(), one.name.as_str()))
        });
        Names {
            manifest,
            services: services.collect(),
            inputs: inputs.collect(),
            interfaces: interfaces.collect(),
        }
    }

    /// The index of the service `name` among those of the manifest.
    fn index(&self, name: &str) -> Option<usize> {
        self.services.get(name).copied()
    }

    /// The service `name`.
    fn service(&self, name: &str) -> Option<&'a Service> {
        self.manifest.services.get(self.index(name)?)
    }

    fn service_names(&self) -> impl Iterator<Item = &'a str> {
        self.manifest.services.iter().map(|service| service.name.as_str())
    }

    fn serves(&self, service: &str, interface: &str) -> bool {
        self.interfaces.contains(&(service, interface))
    }

    /// Every use, with the index of its service and that of the service it is from, where those are
    /// two that there are.
    fn uses(&self) -> impl Iterator<Item = (usize, usize, &'a Use)> {
        let services = self.manifest.services.iter().enumerate();
        services
            .flat_map(|(index, service)| service.uses.iter().map(move |usage| (index, usage)))
            .filter_map(|(index, usage)| Some((index, self.index(&usage.from.name)?, usage)))
            .filter(|(client, server, _)| client != server)
    }

    fn name(&self, index: usize) -> &'a str {
        self.manifest.services.get(index).map_or("", |service| &service.name)
    }
}
