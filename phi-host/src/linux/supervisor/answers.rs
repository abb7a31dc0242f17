//! What the supervisor answers on its control socket.

use super::Supervisor;
use crate::control::protocol::{
    Activity, Answer, CapabilityState, CapabilityView, MailboxName, Part, Refusal, RefusalKind,
    Request, ServiceState, ServiceView, SystemView, ThreadView,
};
use crate::linux::control_socket::Question;
use crate::linux::direct;
use crate::linux::machine::LinuxMachine;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use phi_abi::layout::PAGE;
use phi_abi::{CONSOLE_LOG, CONSOLE_TRANSCRIPT, DomainState, Kind, Rights};
use phi_cap::State;
use phi_core::{DomainIndex, Holding, Kernel, ThreadIndex};
use phi_manifest::plan::{CapabilityPlan, Plan, Target};
use phi_mem::NONE;
use phi_sim::recording::Traced;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

/// ΦCore on Linux.
type LinuxKernel<'a> = Kernel<Traced<LinuxMachine<'a>>>;

/// Entries of one part of a list, at most. One takes some hundred bytes.
const SERVICES: usize = 32;
const THREADS: usize = 32;
const CAPABILITIES: usize = 512;

/// Places of the table of capabilities that are looked at for one part.
const PLACES: u32 = 16_384;

impl Supervisor<'_> {
    /// Does what clients of the control socket can have done now.
    pub(super) fn attend_clients(&mut self) {
        let mut questions = Vec::new();
        if let Some(control) = &mut self.control {
            control.serve(&mut questions);
        }
        for Question { client, request, descriptor } in questions {
            let answer = match &request {
                Request::Replace { service } => self.replace(service, descriptor),
                // No other request takes one.
                _ => self.answer(&request),
            };
            if let Some(control) = &mut self.control {
                control.answer(client, answer);
            }
        }
    }

    fn answer(&mut self, request: &Request) -> Result<Answer, Refusal> {
        Ok(match request {
            Request::System => Answer::System(self.system_view()),
            Request::Services { from } => Answer::Services(self.service_views(*from)),
            Request::Capabilities { from } => Answer::Capabilities(self.capability_views(*from)),
            Request::Replace { service } => return self.replace(service, None),
        })
    }

    /// Offers a service the image that `descriptor` is.
    fn replace(&mut self, service: &str, descriptor: Option<OwnedFd>) -> Result<Answer, Refusal> {
        let refused = |message: String| Refusal { kind: RefusalKind::Image, message };
        let plan = self.system.machine().plan();
        let place = plan.services.iter().position(|one| one.name == service);
        let Some(index) = place.filter(|index| *index > 0) else {
            return Err(refused(format!("no service `{service}` can be replaced here")));
        };
        let domain = DomainIndex(index as u16);
        let file = descriptor.ok_or_else(|| refused("no image came along".into()))?;
        let file = read_sealed(file).map_err(|error| {
            refused(format!("the image cannot be read as sealed memory: {error}"))
        })?;
        let generation = self.system.kernel().info(domain).generation;
        self.offer(domain, &file).map_err(|problem| refused(problem.to_string()))?;
        Ok(Answer::Offered { generation })
    }

    /// The time of ΦCore, without asking the machine on its behalf: a recording has no such question.
    fn time(&self) -> u64 {
        self.system.machine().time()
    }

    fn system_view(&mut self) -> SystemView {
        let machine = self.system.machine();
        let plan = machine.plan();
        let (name, services) = (plan.name.clone(), plan.services.len() as u32);
        let mailboxes = plan.mailboxes.iter().map(|mailbox| mailbox.name.clone()).collect();
        let mode = if machine.has_processes() { "processes" } else { "threads" };
        SystemView {
            name,
            supervisor: std::process::id() as i32,
            mode: mode.into(),
            time: self.time(),
            services,
            source: self.source.as_ref().map(|source| source.display().to_string()),
            mailboxes,
            recorded: self.system.unrecorded().is_none(),
        }
    }

    fn service_views(&mut self, from: u32) -> Part<ServiceView> {
        if let Some(kernel) = self.system.unrecorded() {
            direct::count(kernel);
        }
        let count = self.system.machine().plan().services.len();
        let end = (from as usize).saturating_add(SERVICES).min(count);
        let views = (from as usize..end).map(|index| self.service_view(DomainIndex(index as u16)));
        let entries = views.collect();
        Part { time: self.time(), entries, next: (end < count).then_some(end as u32) }
    }

    fn service_view(&self, index: DomainIndex) -> ServiceView {
        let kernel = self.system.kernel();
        let machine = self.system.machine();
        let plan = &machine.plan().services[usize::from(index.0)];
        let (info, used) = (kernel.info(index), kernel.statistics(index));
        let account = kernel.account(index);
        let alive = |thread: &ThreadIndex| {
            kernel.activity(*thread) != phi_core::Activity::Free && machine.seat(*thread).is_some()
        };
        let threads = kernel.threads_of(index).filter(alive).take(THREADS);
        ServiceView {
            name: plan.name.clone(),
            index: u32::from(index.0),
            generation: info.generation,
            state: service_state(info.state),
            process: machine.process(index).map(nix::unistd::Pid::as_raw),
            window: plan.window,
            image: plan.image.name.clone(),
            image_hash: blake3::Hash::from_bytes(plan.image.hash).to_string(),
            throttled: kernel.is_throttled(index),
            processor_nanoseconds: machine.cpu_time(index),
            memory: used.memory,
            memory_quota: account.quota.memory,
            messages: used.messages,
            bytes_copied: used.bytes_copied,
            loans: used.loans,
            switches: used.switches,
            calls: used.calls,
            handles: used.handles,
            handles_quota: account.quota.handles,
            threads: threads.map(|thread| self.thread_view(thread)).collect(),
            thread_count: account.threads,
        }
    }

    fn thread_view(&self, thread: ThreadIndex) -> ThreadView {
        let kernel = self.system.kernel();
        let slot = self.system.machine().slot(thread) as u32;
        let deadline = kernel.deadline(thread);
        let remaining = deadline.map(|deadline| deadline.saturating_sub(self.time()));
        let activity = match kernel.activity(thread) {
            phi_core::Activity::Free | phi_core::Activity::Dispatched => self.outside(thread),
            phi_core::Activity::Ready => Activity::Ready,
            phi_core::Activity::Parked => Activity::Parked,
            phi_core::Activity::Calling(mailbox) => {
                Activity::Calling(mailbox_name(kernel, mailbox))
            }
            phi_core::Activity::Served => {
                let server = kernel.answerer(thread);
                Activity::AwaitingAnswer(server.map(|server| service_name(kernel, server.0)))
            }
            phi_core::Activity::Receiving(mailbox) => {
                Activity::Receiving(mailbox_name(kernel, mailbox))
            }
            phi_core::Activity::Waiting(signal, bits) => {
                Activity::Waiting { signal: signal_name(kernel, signal), bits }
            }
            phi_core::Activity::Sleeping => Activity::Sleeping,
        };
        ThreadView { slot, activity, remaining }
    }

    /// What a thread is doing of which ΦCore only knows that it was let go: it may have a call or a
    /// receive under way on a channel, as far as it says so itself.
    fn outside(&self, thread: ThreadIndex) -> Activity {
        let kernel = self.system.kernel();
        let machine = self.system.machine();
        if let (Some(call), Some(seat)) = (machine.carried(thread), machine.seat(thread))
            && let Some(server) = self.switchboard.receiver_of(seat, call.channel)
        {
            return Activity::AwaitingAnswer(Some(service_name(kernel, server.0)));
        }
        match self.switchboard.received_by(thread) {
            Some(mailbox) if machine.page(thread).is_some_and(|page| page.waits()) => {
                Activity::Receiving(mailbox_name(kernel, mailbox))
            }
            _ => Activity::Running,
        }
    }

    fn capability_views(&mut self, from: u32) -> Part<CapabilityView> {
        let kernel = self.system.kernel();
        let end = from.saturating_add(PLACES).min(kernel.entry_count());
        let mut holdings = kernel.holdings_in(from..end);
        let views = holdings.by_ref().take(CAPABILITIES);
        let entries = views.map(|holding| capability_view(kernel, &holding)).collect();
        let rest = (end < kernel.entry_count()).then_some(end);
        let next = holdings.next().map(|holding| holding.entry).or(rest);
        Part { time: self.time(), entries, next }
    }
}

/// Bytes of an image's file, at most.
const IMAGE: u64 = 64 << 20;

/// The content of memory that nobody can change any more. Files of other kinds could keep the supervisor
/// waiting, and are refused.
fn read_sealed(memory: OwnedFd) -> io::Result<Vec<u8>> {
    let seals = SealFlag::from_bits_retain(fcntl(&memory, FcntlArg::F_GET_SEALS)?);
    if !seals.contains(SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SHRINK) {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let file = File::from(memory);
    let length = file.metadata()?.len();
    if length > IMAGE {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let mut content = vec![0; length as usize];
    file.read_exact_at(&mut content, 0)?;
    Ok(content)
}

fn service_state(state: DomainState) -> ServiceState {
    match state {
        DomainState::Created => ServiceState::Created,
        DomainState::Running => ServiceState::Running,
        DomainState::Exited(status) => ServiceState::Exited(status),
        DomainState::Faulted { kind, address, instruction } => {
            ServiceState::Faulted { fault: kind.description().into(), address, instruction }
        }
        DomainState::Stopped => ServiceState::Stopped,
    }
}

fn plan_of<'k>(kernel: &'k LinuxKernel<'_>) -> &'k Plan {
    kernel.machine().plan()
}

fn service_name(kernel: &LinuxKernel<'_>, index: u16) -> String {
    plan_of(kernel).services.get(usize::from(index)).map_or("?".into(), |plan| plan.name.clone())
}

fn mailbox_name(kernel: &LinuxKernel<'_>, index: u32) -> MailboxName {
    let held = kernel.mailboxes().get(index as usize);
    let planned = plan_of(kernel).mailboxes.get(index as usize);
    MailboxName {
        index,
        name: planned.map(|plan| plan.name.clone()),
        server: held.map_or("?".into(), |mailbox| service_name(kernel, mailbox.owner)),
    }
}

/// The first signals are the ends of the services that a supervisor of the plan watches.
fn signal_name(kernel: &LinuxKernel<'_>, index: u32) -> String {
    match kernel.signals().get(index as usize) {
        Some(signal) if signal.planned && index as usize >= plan_of(kernel).services.len() => {
            "request to hand over".into()
        }
        Some(signal) if signal.planned => "ends of its services".into(),
        Some(signal) => format!("signal {index} of {}", service_name(kernel, signal.owner)),
        None => format!("signal {index}"),
    }
}

fn capability_view(kernel: &LinuxKernel<'_>, holding: &Holding) -> CapabilityView {
    let capability = &holding.capability;
    let origin = capability.origin;
    let (object, owner) = described(kernel, capability.kind, capability.object, capability.badge);
    let state = match holding.state {
        State::Revoked => CapabilityState::Revoked,
        State::Dead => CapabilityState::Dead,
        _ => CapabilityState::Held,
    };
    // What was revoked has a lineage that may be another one's by now.
    let derived = origin.lineage != NONE && kernel.lineages().is_valid(origin);
    let payer = derived.then(|| kernel.lineages().payer(origin.lineage) as u16);
    CapabilityView {
        service: holding.domain.map(|domain| service_name(kernel, domain.0)),
        handle: holding.handle.0,
        id: capability.id,
        state,
        kind: capability.kind.name().into(),
        rights: rights(capability.rights),
        object,
        number: capability.object,
        owner,
        badge: capability.badge,
        name: holding.domain.and_then(|domain| planned_name(kernel, domain, holding)),
        depth: if derived { kernel.lineages().depth(origin) as u32 } else { 0 },
        lineage: derived.then_some(origin.lineage),
        derived_by: payer.map(|payer| service_name(kernel, payer)),
        child: (capability.child != NONE).then_some(capability.child),
        mapped: capability.mapping.length,
        loan: capability.mapping.loan,
    }
}

fn rights(rights: Rights) -> Vec<String> {
    rights.iter_names().map(|(name, _)| name.to_lowercase()).collect()
}

/// An object in words, and the service that made or serves it.
fn described(
    kernel: &LinuxKernel<'_>,
    kind: Kind,
    object: u32,
    badge: u64,
) -> (String, Option<String>) {
    let plan = plan_of(kernel);
    let named = |index: u16| Some(service_name(kernel, index));
    match kind {
        Kind::Mailbox | Kind::Object => {
            let mailbox = mailbox_name(kernel, object);
            let name = mailbox.name.unwrap_or_else(|| format!("number {object}"));
            let what = if kind == Kind::Object { "object of mailbox" } else { "mailbox" };
            (format!("{what} {name} of {}", mailbox.server), Some(mailbox.server))
        }
        Kind::Region => match kernel.regions().get(object as usize) {
            Some(region) if region.planned => match plan.inputs.get(object as usize) {
                Some(input) => (format!("input {}", input.name), None),
                None if object as usize == plan.inputs.len() => ("the plan".into(), None),
                None => {
                    let owner = service_name(kernel, region.owner);
                    (format!("state of {owner}"), Some(owner))
                }
            },
            Some(region) => {
                let pages = region.place.length / PAGE;
                let owner = service_name(kernel, region.owner);
                (format!("region {object} of {owner}, {pages} pages"), Some(owner))
            }
            None => (format!("region {object}"), None),
        },
        Kind::Signal => {
            let owner = kernel.signals().get(object as usize).map(|signal| signal.owner);
            (signal_name(kernel, object), owner.and_then(named))
        }
        Kind::Domain => (format!("domain {}", service_name(kernel, object as u16)), None),
        Kind::Thread | Kind::Reply => {
            let thread = ThreadIndex(object as u16);
            let owner = service_name(kernel, kernel.domain_of(thread).0);
            let slot = kernel.machine().slot(thread);
            let what = if kind == Kind::Reply { "reply to" } else { "thread" };
            (format!("{what} {owner}/{slot}"), Some(owner))
        }
        Kind::Console => match badge {
            CONSOLE_TRANSCRIPT => ("transcript".into(), None),
            CONSOLE_LOG => ("log".into(), None),
            stream => (format!("stream number {stream}"), None),
        },
        Kind::Hardware => ("the hardware".into(), None),
        Kind::Irq | Kind::DmaSpace | Kind::Ports => (format!("{} {object}", kind.name()), None),
    }
}

/// The region of the plan that is the state of `domain`, if it has one.
fn state_region(kernel: &LinuxKernel<'_>, domain: DomainIndex) -> u32 {
    let first = plan_of(kernel).inputs.len() + 1;
    let own = |region: &phi_mem::Region| region.planned && region.owner == domain.0;
    let place = kernel.regions().iter().skip(first).position(own);
    place.map_or(u32::MAX, |place| (first + place) as u32)
}

/// The name that the manifest gives a capability of `domain` to this object.
fn planned_name(
    kernel: &LinuxKernel<'_>,
    domain: DomainIndex,
    holding: &Holding,
) -> Option<String> {
    let plan = plan_of(kernel);
    let inputs = plan.inputs.len() as u32;
    let capability = &holding.capability;
    let same = |planned: &&CapabilityPlan| {
        let (kind, object, badge) = match planned.target {
            Target::Mailbox(mailbox) => (Kind::Mailbox, u32::from(mailbox), planned.badge),
            Target::Domain(other) => (Kind::Domain, u32::from(other), 0),
            Target::Input(input) => (Kind::Region, u32::from(input), 0),
            Target::Plan => (Kind::Region, inputs, 0),
            Target::Events => (Kind::Signal, u32::from(domain.0), 0),
            Target::State => (Kind::Region, state_region(kernel, domain), 0),
            Target::HandOver => (Kind::Signal, plan.services.len() as u32 + u32::from(domain.0), 0),
            Target::Console(stream) => (Kind::Console, 0, stream),
            Target::Hardware => (Kind::Hardware, 0, 0),
        };
        (kind, object, badge) == (capability.kind, capability.object, capability.badge)
    };
    let service = plan.services.get(usize::from(domain.0))?;
    service.capabilities.iter().find(same).map(|planned| planned.name.clone())
}
