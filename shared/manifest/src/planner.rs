//! From a checked manifest to a plan: every choice that the manifest leaves open is made here.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use phi_abi::layout::{PAGE, WINDOW_SIZE, WINDOWS_BASE, pages, window};
use phi_abi::{CONSOLE_LOG, PRIORITIES, Rights};

use crate::entries::{DOMAIN, EVENTS, HAND_OVER, HARDWARE, ImageName, Manifest, STATE, Service};
use crate::plan::{
    AfterRestarts, CapabilityPlan, ImagePlan, InputPlan, MailboxPlan, Mode, Plan, Quota,
    RestartPlan, RestartPolicy, ServicePlan, Target,
};
use crate::units::size_text;

/// Capabilities of `init` besides the domains: the plan, its events, the log.
pub(crate) const INIT_CAPABILITIES: usize = 3;

/// Threads of `init`.
pub(crate) const INIT_THREADS: u32 = 4;

/// Where the inputs and the plan lie: the lower half of window 0.
pub(crate) const INPUT_PLACES: Range<u64> = WINDOWS_BASE..WINDOWS_BASE + WINDOW_SIZE / 2;

/// Bytes of memory that `init` may have.
pub(crate) struct InitSizes {
    stack: u64,
    heap: u64,
    image: u64,
}

impl InitSizes {
    pub(crate) fn of(manifest: &Manifest) -> InitSizes {
        let (fixed, image) = match manifest.mode {
            Mode::Embedded => (64 << 10, 256 << 10),
            Mode::Full | Mode::Unikernel => (1 << 20, 1 << 20),
        };
        let heap = fixed + INIT_HEAP * manifest.services.len() as u64;
        InitSizes { stack: 64 << 10, heap, image }
    }

    pub(crate) fn total(&self) -> u64 {
        self.stack + self.heap + self.image
    }
}

/// Bytes of `init`'s heap for each service of the plan that it decodes.
const INIT_HEAP: u64 = 16 << 10;

/// Why there is no plan for these inputs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum InputError {
    /// Not as many lengths as the manifest has inputs.
    Count {
        /// Inputs of the manifest.
        wanted: usize,
        /// Lengths that were given.
        given: usize,
    },
    /// An input is longer than its `maximum`.
    TooLong {
        /// Its name.
        name: String,
        /// Its bytes.
        length: u64,
        /// The most it may have.
        maximum: u64,
    },
    /// The inputs together are more than a system has room for.
    NoRoom,
}

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InputError::Count { wanted, given } => {
                write!(f, "the system has {wanted} inputs, and {given} were given")
            }
            InputError::TooLong { name, length, maximum } => write!(
                f,
                "the input `{name}` has {length} bytes, and its `maximum` is {}",
                size_text(*maximum)
            ),
            InputError::NoRoom => write!(
                f,
                "the inputs have more bytes in all than a system has room for, {}",
                size_text(INPUT_PLACES.end - INPUT_PLACES.start)
            ),
        }
    }
}

impl std::error::Error for InputError {}

/// The first place after an input at `address` with room for `length` bytes, which keeps a page of
/// its own and a gap of a page; `None` when it, and a page for the plan, do not fit.
pub(crate) fn input_place(address: u64, length: u64) -> Option<u64> {
    let end = address.checked_add(pages(length)?.max(PAGE))?.checked_add(PAGE)?;
    (end < INPUT_PLACES.end).then_some(end)
}

impl Manifest {
    /// The plan for inputs of these lengths in bytes, in the order of [`Manifest::inputs`]. It lacks
    /// what only the images and the bundle can tell: segments, hashes and offsets.
    ///
    /// # Errors
    /// [`InputError`].
    pub fn plan(&self, inputs: &[u64]) -> Result<Plan, InputError> {
        let (inputs, plan_address) = self.place_inputs(inputs)?;
        let planner = Planner::new(self);
        let mut services = vec![planner.init()];
        let others = self.services.iter().enumerate();
        services.extend(others.map(|(index, service)| planner.service(index + 1, service)));
        let mailboxes = self.services.iter().enumerate().flat_map(|(index, service)| {
            service.serves.iter().map(move |interface| MailboxPlan {
                name: interface.name.clone(),
                server: index as u16 + 1,
                capacity: interface.capacity,
            })
        });
        let until = self.until.as_ref().map(|until| planner.index(&until.name));
        let mailboxes = mailboxes.collect();
        let (name, mode) = (self.name.clone(), self.mode);
        Ok(Plan { name, services, mailboxes, inputs, plan_address, until, mode })
    }

    /// The inputs with their addresses, and the plan's address behind them.
    fn place_inputs(&self, lengths: &[u64]) -> Result<(Vec<InputPlan>, u64), InputError> {
        if lengths.len() != self.inputs.len() {
            return Err(InputError::Count { wanted: self.inputs.len(), given: lengths.len() });
        }
        let mut free = INPUT_PLACES.start;
        let mut inputs = Vec::new();
        for (input, &length) in self.inputs.iter().zip(lengths) {
            let name = input.name.clone();
            if let Some(maximum) = input.maximum.filter(|maximum| length > *maximum) {
                return Err(InputError::TooLong { name, length, maximum });
            }
            // A limit keeps the addresses of what follows the same, whatever is handed in.
            let room = input.maximum.unwrap_or(length);
            let next = input_place(free, room).ok_or(InputError::NoRoom)?;
            inputs.push(InputPlan { name, address: free, length, offset: 0 });
            free = next;
        }
        Ok((inputs, free))
    }
}

/// The manifest with its names as indices of the plan.
struct Planner<'a> {
    manifest: &'a Manifest,
    services: BTreeMap<&'a str, u16>,
    inputs: BTreeMap<&'a str, u16>,
    /// By server and interface.
    mailboxes: BTreeMap<(&'a str, &'a str), u16>,
    /// The supervisors of those services that `init` does not supervise.
    controllers: BTreeMap<&'a str, u16>,
}

impl<'a> Planner<'a> {
    fn new(manifest: &'a Manifest) -> Planner<'a> {
        let all = &manifest.services;
        let services: BTreeMap<&str, u16> =
            all.iter().map(|service| service.name.as_str()).zip(1..).collect();
        let inputs = manifest.inputs.iter().map(|input| input.name.as_str()).zip(0..).collect();
        let served = all.iter().flat_map(|service| {
            service.serves.iter().map(|one| (service.name.as_str(), one.name.as_str()))
        });
        let mailboxes = served.zip(0..).collect();
        let controlled = all.iter().zip(1..).flat_map(|(service, index)| {
            service.controls.iter().map(move |one| (one.name.as_str(), index))
        });
        let controllers = controlled.collect();
        Planner { manifest, services, inputs, mailboxes, controllers }
    }

    /// The index of a service. A checked manifest refers to none that is not there.
    fn index(&self, name: &str) -> u16 {
        self.services.get(name).copied().unwrap_or_default()
    }

    fn domain(&self, name: &str) -> CapabilityPlan {
        let rights = Rights::START | Rights::STOP | Rights::INSPECT;
        let target = Target::Domain(self.index(name));
        capability(&format!("{DOMAIN}{name}"), target, rights)
    }

    /// The first service, which no manifest describes.
    fn init(&self) -> ServicePlan {
        let mut capabilities = vec![
            capability("plan", Target::Plan, Rights::READ),
            capability(EVENTS, Target::Events, Rights::WAIT),
            capability("log", Target::Console(CONSOLE_LOG), Rights::WRITE),
        ];
        let own = |name: &&str| !self.controllers.contains_key(name);
        let names = self.manifest.services.iter().map(|service| service.name.as_str());
        capabilities.extend(names.filter(own).map(|name| self.domain(name)));
        let sizes = InitSizes::of(self.manifest);
        let InitSizes { stack, heap, .. } = sizes;
        let quota = Quota {
            memory: sizes.total(),
            handles: 2 * phi_abi::START_CAPABILITIES as u32,
            regions: 8,
            mailboxes: 4,
            messages: 64,
            signals: 8,
            threads: INIT_THREADS,
            lineages: 32,
        };
        let restart = RestartPlan {
            policy: RestartPolicy::Never,
            backoff: 0,
            longest: 0,
            maximum: 0,
            then: AfterRestarts::Stop,
        };
        ServicePlan {
            name: "init".into(),
            image: image_plan(&self.manifest.images()[0]),
            driver: None,
            window: window(0),
            stack,
            heap,
            state: 0,
            replacement: None,
            arguments: String::new(),
            unprotected_dma: false,
            quota,
            priority: PRIORITIES - 1,
            budget: None,
            restart,
            supervisor: 0,
            capabilities,
        }
    }

    fn service(&self, index: usize, service: &Service) -> ServicePlan {
        ServicePlan {
            name: service.name.clone(),
            image: image_plan(&service.image),
            driver: service.driver.as_ref().map(|driver| driver.plan.clone()),
            window: window(index),
            stack: service.stack,
            heap: service.heap,
            state: service.state,
            replacement: None,
            arguments: service.arguments.clone(),
            unprotected_dma: service.unprotected_dma,
            quota: service.quota,
            priority: service.priority,
            budget: service.budget,
            restart: service.restart,
            supervisor: self.controllers.get(service.name.as_str()).copied().unwrap_or(0),
            capabilities: self.capabilities(index, service),
        }
    }

    /// What a service begins with, in the order of a manifest's reference.
    fn capabilities(&self, index: usize, service: &Service) -> Vec<CapabilityPlan> {
        let shared = Rights::DERIVE | Rights::TRANSFER;
        let mailbox = |server: &str, interface: &str| {
            let found = self.mailboxes.get(&(server, interface)).copied();
            Target::Mailbox(found.unwrap_or_default())
        };
        let mut capabilities = Vec::new();
        for one in &service.serves {
            let target = mailbox(&service.name, &one.name);
            capabilities.push(capability(&one.name, target, Rights::RECEIVE | shared));
        }
        for one in &service.uses {
            let target = mailbox(&one.from.name, &one.interface.name);
            let badge = index as u64;
            capabilities
                .push(CapabilityPlan { badge, ..capability(&one.name, target, one.rights) });
        }
        for one in &service.inputs {
            let input = self.inputs.get(one.name.as_str()).copied().unwrap_or_default();
            capabilities.push(capability(&one.name, Target::Input(input), Rights::READ | shared));
        }
        if !service.controls.is_empty() {
            capabilities.push(capability(EVENTS, Target::Events, Rights::WAIT));
        }
        capabilities.extend(service.controls.iter().map(|one| self.domain(&one.name)));
        for one in &service.consoles {
            capabilities.push(capability(&one.name, Target::Console(one.stream), Rights::WRITE));
        }
        if service.hardware {
            let rights = Rights::CONTROL | shared;
            capabilities.push(capability(HARDWARE, Target::Hardware, rights));
        }
        if service.state > 0 {
            capabilities.push(capability(STATE, Target::State, Rights::READ | Rights::WRITE));
            capabilities.push(capability(HAND_OVER, Target::HandOver, Rights::WAIT));
        }
        capabilities
    }
}

fn capability(name: &str, target: Target, rights: Rights) -> CapabilityPlan {
    CapabilityPlan { name: name.into(), target, rights: rights.bits(), badge: 0 }
}

/// What is known of an image before it is built.
fn image_plan(name: &ImageName) -> ImagePlan {
    ImagePlan { name: name.to_string(), hash: [0; 32], entry: 0, segments: Vec::new() }
}
