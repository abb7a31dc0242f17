//! `phi-host report`.

use super::check::without_inputs;
use super::{SystemArgument, print, print_json};
use crate::failure::Failure;
use crate::system::System;
use crate::table::{Align, Table, bytes, duration};
use phi_abi::{CONSOLE_LOG, CONSOLE_TRANSCRIPT, Kind, Rights};
use phi_manifest::plan::{
    AfterRestarts, CapabilityPlan, Plan, RestartPlan, RestartPolicy, ServicePlan, Target,
};
use serde_json::{Value, json};

const EXAMPLES: &str = "\
Examples:
  phi-host report examples/wordcount
  phi-host report --json examples/wordcount";

/// Print every capability that every service will hold, and the quotas
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Report {
    #[command(flatten)]
    source: SystemArgument,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

impl Report {
    /// Does it; returns the exit status.
    ///
    /// # Errors
    /// Any [`Failure`].
    pub fn perform(&self) -> Result<u8, Failure> {
        let system = System::open(&self.source.system)?;
        let images: Vec<String> =
            system.manifest.images().iter().map(ToString::to_string).collect();
        let plan = without_inputs(&system)?;
        match self.json {
            true => print_json(&as_json(&plan, &images))?,
            false => print(&format!("{}\n{}", capabilities(&plan), quotas(&plan, &images)))?,
        }
        Ok(0)
    }
}

/// The kind of object that `target` is.
fn kind(target: Target) -> Kind {
    match target {
        Target::Mailbox(_) => Kind::Mailbox,
        Target::Domain(_) => Kind::Domain,
        Target::Input(_) | Target::Plan | Target::State => Kind::Region,
        Target::Events | Target::HandOver => Kind::Signal,
        Target::Console(_) => Kind::Console,
        Target::Hardware => Kind::Hardware,
    }
}

/// What `target` is, in words.
fn target(plan: &Plan, target: Target) -> String {
    match target {
        Target::Mailbox(index) => match plan.mailboxes.get(usize::from(index)) {
            Some(mailbox) => {
                format!("mailbox {} of {}", mailbox.name, service_name(plan, mailbox.server))
            }
            None => format!("mailbox number {index}"),
        },
        Target::Domain(index) => format!("domain {}", service_name(plan, index)),
        Target::Input(index) => match plan.inputs.get(usize::from(index)) {
            Some(input) => format!("input {}", input.name),
            None => format!("input number {index}"),
        },
        Target::Plan => "the plan".into(),
        Target::Events => "ends of its services".into(),
        Target::State => "its state".into(),
        Target::HandOver => "its request to hand over".into(),
        Target::Hardware => "the machine's devices".into(),
        Target::Console(CONSOLE_TRANSCRIPT) => "transcript".into(),
        Target::Console(CONSOLE_LOG) => "log".into(),
        Target::Console(stream) => format!("stream number {stream}"),
    }
}

fn service_name(plan: &Plan, index: u16) -> &str {
    plan.services.get(usize::from(index)).map_or("?", |service| &service.name)
}

fn rights(capability: &CapabilityPlan) -> Vec<String> {
    let rights = Rights::from_bits_retain(capability.rights);
    rights.iter_names().map(|(name, _)| name.to_lowercase()).collect()
}

/// Every capability that every service begins with.
fn capabilities(plan: &Plan) -> Table<6> {
    let mut table = Table::new([
        ("service", Align::Left),
        ("name", Align::Left),
        ("kind", Align::Left),
        ("target", Align::Left),
        ("rights", Align::Left),
        ("badge", Align::Right),
    ]);
    for service in &plan.services {
        for capability in &service.capabilities {
            let badge = match capability.badge {
                0 => "-".into(),
                badge => badge.to_string(),
            };
            table.push([
                service.name.clone(),
                capability.name.clone(),
                kind(capability.target).name().into(),
                target(plan, capability.target),
                rights(capability).join(" "),
                badge,
            ]);
        }
    }
    table
}

/// What every service may use, and what happens when it ends.
fn quotas(plan: &Plan, images: &[String]) -> Table<15> {
    let mut table = Table::new([
        ("service", Align::Left),
        ("image", Align::Left),
        ("priority", Align::Right),
        ("memory", Align::Right),
        ("stack", Align::Right),
        ("heap", Align::Right),
        ("handles", Align::Right),
        ("regions", Align::Right),
        ("mailboxes", Align::Right),
        ("messages", Align::Right),
        ("signals", Align::Right),
        ("threads", Align::Right),
        ("lineages", Align::Right),
        ("budget", Align::Left),
        ("restart", Align::Left),
    ]);
    for (service, image) in plan.services.iter().zip(images) {
        let quota = &service.quota;
        table.push([
            service.name.clone(),
            image.clone(),
            service.priority.to_string(),
            bytes(quota.memory),
            bytes(service.stack),
            bytes(service.heap),
            quota.handles.to_string(),
            quota.regions.to_string(),
            quota.mailboxes.to_string(),
            quota.messages.to_string(),
            quota.signals.to_string(),
            quota.threads.to_string(),
            quota.lineages.to_string(),
            budget(service),
            restart(&service.restart),
        ]);
    }
    table
}

fn budget(service: &ServicePlan) -> String {
    service.budget.map_or("-".into(), |budget| {
        format!("{} / {}", duration(budget.time), duration(budget.period))
    })
}

fn restart(plan: &RestartPlan) -> String {
    let then = match plan.then {
        AfterRestarts::Hold => "hold",
        AfterRestarts::Stop => "stop",
    };
    match plan.policy {
        RestartPolicy::Never => format!("never, then {then}"),
        RestartPolicy::Always => {
            format!("{} times after {}, then {then}", plan.maximum, duration(plan.backoff))
        }
    }
}

fn as_json(plan: &Plan, images: &[String]) -> Value {
    let services: Vec<Value> = plan
        .services
        .iter()
        .zip(images)
        .map(|(service, image)| service_json(plan, service, image))
        .collect();
    json!({
        "name": plan.name,
        "until": plan.until.map(|index| service_name(plan, index)),
        "services": services,
    })
}

fn service_json(plan: &Plan, service: &ServicePlan, image: &str) -> Value {
    let capabilities: Vec<Value> = service
        .capabilities
        .iter()
        .map(|capability| {
            json!({
                "name": capability.name,
                "kind": kind(capability.target).name(),
                "target": target(plan, capability.target),
                "rights": rights(capability),
                "badge": capability.badge,
            })
        })
        .collect();
    json!({
        "name": service.name,
        "image": image,
        "supervisor": service_name(plan, service.supervisor),
        "arguments": service.arguments,
        "priority": service.priority,
        "stack": service.stack,
        "heap": service.heap,
        "quota": service.quota,
        "budget": service.budget,
        "restart": service.restart,
        "capabilities": capabilities,
    })
}
