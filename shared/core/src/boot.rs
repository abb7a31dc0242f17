//! From a plan to a running `init`.

use crate::anchor::Anchors;
use crate::device::{DMA_SPACES, DmaSpace, IRQS, Irq};
use crate::object::{Activity, Counts, Domain, Thread, Way};
use crate::ports::{PORTS, Ports};
use crate::{Content, Frame, Image, Kernel, Machine, RegionIndex, Span};
use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;
use phi_abi::{DomainState, DomainStatistics, MESSAGE_GRANTS, StartBlock, layout};
use phi_cap::{Capabilities, Origin, Slots, SpaceSize};
use phi_ipc::{Mailbox, MessagePool, Signal};
use phi_manifest::plan::{Plan, Quota, ServicePlan};
use phi_mem::{Links, List, NONE, Place, Region, RegionState};
use phi_sched::{Budget, Deadlines, ReadyQueues};

/// Members of one pool, at most: what the plan's quotas may add up to.
const POOL: u64 = 1 << 24;

/// Threads, at most: their indexes have 16 bits.
const THREADS: u64 = 1 << 16;

/// Why a system does not boot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BootError {
    /// The quotas for this add up to more than ΦCore can have.
    TooMany(&'static str),
    /// The machine has no memory for input number `n`.
    Input(usize),
    /// The machine has no memory for the plan.
    Plan,
    /// The machine has no memory for the state of service number `n`.
    State(usize),
    /// The machine cannot start `init`.
    Init,
}

impl fmt::Display for BootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BootError::TooMany(what) => write!(f, "the quotas add up to too many {what}"),
            BootError::Input(number) => write!(f, "there is no memory for input {number}"),
            BootError::Plan => f.write_str("there is no memory for the plan"),
            BootError::State(number) => {
                write!(f, "there is no memory for the state of service {number}")
            }
            BootError::Init => f.write_str("init cannot be started"),
        }
    }
}

impl core::error::Error for BootError {}

/// The sizes of the pools.
struct Sizes {
    regions: u32,
    mailboxes: u32,
    messages: u32,
    signals: u32,
    threads: u32,
    /// Sources of interrupts, DMA spaces, and ranges of ports.
    devices: [u32; 3],
}

impl Sizes {
    fn of(plan: &Plan) -> Result<Sizes, BootError> {
        let sum = |what, limit, planned: usize, quota: fn(&Quota) -> u32| {
            let quotas = plan.services.iter().map(|service| u64::from(quota(&service.quota)));
            let sum = quotas.fold(planned as u64, u64::saturating_add);
            if sum > limit { Err(BootError::TooMany(what)) } else { Ok(sum as u32) }
        };
        let capacities = plan.mailboxes.iter().map(|mailbox| mailbox.capacity as usize);
        sum("handles", POOL, 0, |quota| quota.handles)?;
        sum("lineages", POOL, 0, |quota| quota.lineages)?;
        Ok(Sizes {
            regions: sum("regions", POOL, planned_regions(plan), |quota| quota.regions)?,
            mailboxes: sum("mailboxes", POOL, plan.mailboxes.len(), |quota| quota.mailboxes)?,
            messages: sum("messages", POOL, capacities.sum(), |quota| quota.messages)?,
            signals: sum("signals", POOL, 2 * plan.services.len(), |quota| quota.signals)?,
            threads: sum("threads", THREADS, 0, |quota| quota.threads)?,
            devices: if plan.has_hardware() { [IRQS, DMA_SPACES, PORTS] } else { [0; 3] },
        })
    }
}

/// The regions of the plan: inputs, the plan itself, and the states of services that have one.
fn planned_regions(plan: &Plan) -> usize {
    let states = plan.services.iter().filter(|service| service.state > 0).count();
    plan.inputs.len() + 1 + states
}

/// Hands out consecutive parts of the pools.
struct Parts {
    regions: u32,
    mailboxes: u32,
    signals: u32,
    threads: u32,
}

fn part(next: &mut u32, count: u32) -> Range<u32> {
    let start = *next;
    *next += count;
    start..*next
}

fn domain(service: &ServicePlan, parts: &mut Parts) -> Domain {
    Domain {
        name: service.name.as_str().into(),
        arguments: service.arguments.as_str().into(),
        window: service.window,
        heap: service.heap,
        fixed_memory: service.stack + service.heap + service.state,
        replacement: service.replacement.as_ref().map(|one| Image::of_plan(1, &one.image)),
        quota: service.quota,
        priority: service.priority,
        supervisor: service.supervisor,
        capabilities: service.capabilities.clone().into(),
        unprotected_dma: service.unprotected_dma,
        threads: part(&mut parts.threads, service.quota.threads),
        regions: part(&mut parts.regions, service.quota.regions),
        mailboxes: part(&mut parts.mailboxes, service.quota.mailboxes),
        signals: part(&mut parts.signals, service.quota.signals),
        image: Image::of_plan(0, &service.image),
        offered: None,
        generation: 0,
        state: DomainState::Created,
        live_threads: 0,
        region_memory: 0,
        messages: 0,
        budget: service.budget.map(|budget| Budget::new(budget.time, budget.period)),
        throttled: false,
        parked: List::EMPTY,
        statistics: DomainStatistics::default(),
    }
}

impl<M: Machine> Kernel<M> {
    /// Makes all pools as the plan says, gives the plan's regions their memory, and starts `init`.
    /// `plan` is one that [`phi_manifest::bundle::Bundle::open`] has checked.
    ///
    /// # Errors
    /// [`BootError`].
    pub fn boot(machine: M, plan: &Plan) -> Result<Kernel<M>, BootError> {
        let sizes = Sizes::of(plan)?;
        let plan_region = plan.inputs.len() as u32;
        let mut parts = Parts {
            regions: planned_regions(plan) as u32,
            mailboxes: plan.mailboxes.len() as u32,
            signals: 2 * plan.services.len() as u32,
            threads: 0,
        };
        let domains: Box<[Domain]> =
            plan.services.iter().map(|service| domain(service, &mut parts)).collect();
        let Sizes { regions, mailboxes, messages, signals, threads, devices } = sizes;
        let counts = [regions, mailboxes, signals];
        let anchors = Anchors::new(counts, devices, domains.len() as u32, threads);
        let spaces: Vec<SpaceSize> = domains
            .iter()
            .map(|domain| SpaceSize {
                handles: domain.quota.handles,
                lineages: domain.quota.lineages,
            })
            .collect();
        let transit = messages as usize * MESSAGE_GRANTS;
        let mut kernel = Kernel {
            machine,
            capabilities: Capabilities::new(&spaces, transit, anchors.shared(), threads as usize),
            links: Links::new((threads + messages) as usize),
            threads: (0..threads).map(|_| no_thread()).collect(),
            messages: MessagePool::new(messages as usize),
            mailboxes: vec![Mailbox::FREE; mailboxes as usize].into_boxed_slice(),
            signals: vec![Signal::FREE; signals as usize].into_boxed_slice(),
            regions: vec![Region::FREE; regions as usize].into_boxed_slice(),
            irqs: vec![Irq::FREE; devices[0] as usize].into_boxed_slice(),
            dma_spaces: vec![DmaSpace::FREE; devices[1] as usize].into_boxed_slice(),
            ports: vec![Ports::FREE; devices[2] as usize].into_boxed_slice(),
            ready: ReadyQueues::EMPTY,
            deadlines: Deadlines::new(threads as usize + 2 * domains.len()),
            unreferenced: List::EMPTY,
            unreferenced_links: Links::new(anchors.counted()),
            anchors,
            domains,
            start: Box::new(StartBlock::EMPTY),
            plan_region,
            last_dispatched: NONE,
            halted: None,
        };
        kernel.plan_objects(plan)?;
        kernel.plan_replacements(plan);
        kernel.start_domain(0).map_err(|_| BootError::Init)?;
        Ok(kernel)
    }

    /// Makes the plan's mailboxes, the supervisors' signals, and the inputs' regions.
    fn plan_objects(&mut self, plan: &Plan) -> Result<(), BootError> {
        for (place, mailbox) in self.mailboxes.iter_mut().zip(&plan.mailboxes) {
            *place = Mailbox::new(mailbox.server, true, mailbox.capacity);
        }
        let domains = 0..plan.services.len();
        let owners = domains.clone().chain(domains);
        for (index, signal) in owners.zip(self.signals.iter_mut()) {
            *signal = Signal::new(index as u16, true);
        }
        for (index, input) in plan.inputs.iter().enumerate() {
            let place = Place { address: input.address, length: input.length };
            self.plan_region(index as u32, place, Content::Input(index as u16))
                .ok_or(BootError::Input(index))?;
        }
        let length = plan.encoded_length();
        let place = Place { address: plan.plan_address, length };
        self.plan_region(self.plan_region, place, Content::Plan).ok_or(BootError::Plan)?;
        let mut region = self.plan_region;
        for (index, service) in plan.services.iter().enumerate().filter(|(_, one)| one.state > 0) {
            region += 1;
            let address = service.window + layout::STATE_OFFSET;
            let place = Place { address, length: service.state };
            self.plan_region(region, place, Content::Zero).ok_or(BootError::State(index))?;
            self.regions[region as usize].owner = index as u16;
        }
        Ok(())
    }

    /// Has the plan's replacements be offered when they are due.
    fn plan_replacements(&mut self, plan: &Plan) {
        let first = (self.threads.len() + self.domains.len()) as u32;
        for (member, service) in (first..).zip(&plan.services) {
            if let Some(replacement) = &service.replacement {
                let due = self.machine.now().saturating_add(replacement.after);
                self.deadlines.set(member, due);
            }
        }
    }

    fn plan_region(&mut self, region: u32, place: Place, content: Content) -> Option<()> {
        // Even an empty input has a page in the bundle.
        let length = layout::pages(place.length.max(1))?;
        let span = Span { address: place.address, length };
        self.machine.region_create(RegionIndex(region), span, content).ok()?;
        let state = RegionState::Alive;
        let planned = Region { state, place, owner: 0, planned: true, device: false };
        self.regions[region as usize] = planned;
        Some(())
    }
}

fn no_thread() -> Thread {
    Thread {
        frame: Frame::EMPTY,
        activity: Activity::Free,
        origin: Origin::ROOT,
        domain: 0,
        priority: 0,
        budgeted: false,
        timed: false,
        yields_to: 0,
        lends: false,
        slots: Slots::default(),
        calls: Way::NONE,
        receives: Way::NONE,
        counts: Counts::default(),
        name: 0,
    }
}
