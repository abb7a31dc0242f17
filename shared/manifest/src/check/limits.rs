//! Sums and their limits.

use phi_abi::START_CAPABILITIES;
use phi_abi::layout::PAGE;

use super::Names;
use crate::diagnostic::{Findings, Rule};
use crate::entries::Service;
use crate::plan::{EMBEDDED_MEMORY, Mode};
use crate::planner::{INIT_CAPABILITIES, INIT_THREADS, INPUT_PLACES, InitSizes, input_place};
use crate::units::size_text;

/// Threads in all, at most: their numbers have 16 bits.
const THREADS: u64 = 65_536;

pub(super) fn check(names: &Names<'_>, findings: &Findings) {
    let services = &names.manifest.services;
    if services.is_empty() {
        let cause = "the system has no service";
        findings.add(Rule::NoServices, 0, cause, "add one, as in `[service.reader]`");
    }
    for service in services {
        memory(service, findings);
        capabilities(service, findings);
    }
    supervised(names, findings);
    embedded(names, findings);
    threads(names, findings);
    inputs(names, findings);
}

/// The stack, the heap, and a page at least for the image's data are paid for by the memory.
fn memory(service: &Service, findings: &Findings) {
    let known = ["memory", "stack", "heap", "state"].iter().all(|key| service.is_read(key));
    let least = service.stack + service.heap + service.state + PAGE;
    if !known || service.quota.memory >= least {
        return;
    }
    let cause = format!(
        "service `{}` has {} of memory, less than its stack of {}, its heap of {}{} and a page for its \
         image's data",
        service.name,
        size_text(service.quota.memory),
        size_text(service.stack),
        size_text(service.heap),
        match service.state {
            0 => String::new(),
            state => format!(", its state of {}", size_text(state)),
        }
    );
    let cure = format!("write at least `memory = \"{}\"`", size_text(least));
    findings.add(Rule::MemoryTooSmall, service.places.memory, cause, cure);
}

/// What an embedded system's services, `init` among them, may have of its memory: the rest is the firmware's, the
/// kernel's, and the bundle's.
const EMBEDDED_SERVICES: u64 = EMBEDDED_MEMORY / 2;

fn embedded(names: &Names<'_>, findings: &Findings) {
    let manifest = names.manifest;
    let known = manifest.services.iter().all(|service| service.is_read("memory"));
    if manifest.mode != Mode::Embedded || !known {
        return;
    }
    let memory = manifest.services.iter().map(|service| service.quota.memory);
    let sum = memory.fold(InitSizes::of(manifest).total(), u64::saturating_add);
    if sum > EMBEDDED_SERVICES {
        let cause = format!(
            "the services of an embedded system have {} of memory in all, `init` included, and may have {}",
            size_text(sum),
            size_text(EMBEDDED_SERVICES)
        );
        let cure = "give them less `memory`, or remove `mode`";
        findings.add(Rule::EmbeddedTooLarge, manifest.mode_place, cause, cure);
    }
}

fn capabilities(service: &Service, findings: &Findings) {
    let events = usize::from(!service.controls.is_empty());
    let lists = [
        service.serves.len(),
        service.uses.len(),
        service.inputs.len(),
        service.controls.len(),
        service.consoles.len(),
    ];
    let state = if service.state > 0 { 2 } else { 0 };
    let count = lists.iter().sum::<usize>() + events + state;
    let name = &service.name;
    if count > START_CAPABILITIES {
        let cause = format!("service `{name}` begins with {count} capabilities");
        let cure = format!("give it at most {START_CAPABILITIES}; `send` it others in messages");
        findings.add(Rule::TooManyCapabilities, service.places.name, cause, cure);
    }
    if service.is_read("handles") && count > service.quota.handles as usize {
        let handles = service.quota.handles;
        let cause = format!("service `{name}` has {handles} handles, and begins with {count}");
        let cure =
            format!("write at least `handles = {count}`, and more for those that it will get");
        findings.add(Rule::TooFewHandles, service.places.handles, cause, cure);
    }
}

/// `init` holds a domain for each service that nobody else controls.
fn supervised(names: &Names<'_>, findings: &Findings) {
    let services = &names.manifest.services;
    let controlled: std::collections::BTreeSet<&str> = services
        .iter()
        .flat_map(|service| &service.controls)
        .map(|controlled| controlled.name.as_str())
        .collect();
    let mut own = services.iter().filter(|service| !controlled.contains(service.name.as_str()));
    let most = START_CAPABILITIES - INIT_CAPABILITIES;
    if let Some(first) = own.nth(most) {
        let cause = format!("`init` would supervise more than {most} services");
        let cure = "let some services supervise others, with `controls`";
        findings.add(Rule::TooManySupervised, first.places.name, cause, cure);
    }
}

fn threads(names: &Names<'_>, findings: &Findings) {
    let mut sum = u64::from(INIT_THREADS);
    for service in &names.manifest.services {
        sum += u64::from(service.quota.threads);
        if sum > THREADS {
            let cause = format!("the services may have more than {THREADS} threads in all");
            let cure = "lower the `threads` of some";
            findings.add(Rule::TooManyThreads, service.places.threads, cause, cure);
            return;
        }
    }
}

/// The inputs with limits must fit, whatever they turn out to hold.
fn inputs(names: &Names<'_>, findings: &Findings) {
    let mut free = INPUT_PLACES.start;
    for input in &names.manifest.inputs {
        match input_place(free, input.maximum.unwrap_or(0)) {
            Some(next) => free = next,
            None => {
                let cause = "the inputs may have more bytes in all than a system has room for";
                let room = size_text(INPUT_PLACES.end - INPUT_PLACES.start);
                let cure = format!("lower the `maximum` of some, to less than {room} in all");
                findings.add(Rule::InputsTooLarge, input.place, cause, cure);
                return;
            }
        }
    }
}
