//! The reference model: what `docs/syscalls.md` says, in the plainest form that can be run.
//!
//! - Capabilities are a tree: each names the one by whose revocation it ends. Revoking walks the tree.
//!   Nothing is ever removed from the tree, so a parent that was dropped still shows the way up.
//! - Mailboxes are queues of messages that hold their capabilities.
//! - Quotas are counted afresh each time.
//!
//! Where a call could fail for several reasons, the model names them all, since no order is promised.
//! It knows no handles: whoever compares binds each capability to the handle that ΦCore gave out.

mod calls;
mod capability;
mod device;
mod domain;
mod grant;
mod mailbox;
mod region;
mod signal;
mod wait;

use phi_abi::{DomainState, Error, FaultKind, Grant, Kind, Message, Mode, Rights};
use phi_manifest::plan::{Plan, Quota, ServicePlan};
use std::collections::{BTreeMap, VecDeque};

/// Why a call does not do what it was asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// An error.
    Error(Error),
    /// The end of the caller's domain, with the fault's address.
    Fault(FaultKind, u64),
}

/// What a call that succeeds returns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Value {
    /// This number.
    Number(u64),
    /// The handle of this capability.
    Handle(usize),
}

/// What a call writes into the caller's message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Payload {
    /// Nothing.
    Nothing,
    /// A message.
    Message(Delivered),
    /// The description of a capability.
    Capability(usize),
    /// The description of a domain, by topic.
    Domain(usize, u64),
}

/// A message as its receiver finds it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Delivered {
    /// The label.
    pub label: u64,
    /// The badge of the capability that it was sent through.
    pub badge: u64,
    /// The rights of that capability.
    pub rights: u32,
    /// The bytes in use.
    pub bytes: Vec<u8>,
    /// The reply capability.
    pub reply: Option<usize>,
    /// What each grant became: the capability, if it arrived, and the mode.
    pub grants: Vec<Arrived>,
}

/// A grant as its receiver finds it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arrived {
    /// The capability; `None` for one that did not arrive.
    pub capability: Option<usize>,
    /// The mode, as it was sent.
    pub mode: u32,
    /// Regions: address, of a loan the one that was sent.
    pub address: u64,
    /// Regions: bytes, of a loan as many as were sent.
    pub length: u64,
}

/// How a call ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finish {
    /// What it returned.
    pub result: Result<Value, Error>,
    /// What it wrote.
    pub payload: Payload,
}

/// How a call that is not refused goes on.
enum Done {
    Value(Value),
    Payload(u64, Payload),
    /// The thread waits, or is gone.
    Left,
}

type Answer = Result<Done, Vec<Stop>>;

/// Where a capability is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// In the table of a domain.
    Table(usize),
    /// In a message that a mailbox stores.
    Message,
    /// It was dropped.
    Nowhere,
}

/// Whether a capability still stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Life {
    /// It does.
    Held,
    /// It was taken back.
    Revoked,
    /// What it refers to has ended.
    Dead,
}

/// Pages that are lent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Loan {
    /// The domain that lends.
    pub payer: usize,
    /// Address of the first page.
    pub address: u64,
    /// Bytes of whole pages.
    pub length: u64,
    /// Whether its call was answered.
    pub over: bool,
}

/// A capability.
#[derive(Clone, Debug)]
pub struct Capability {
    /// What it refers to.
    pub kind: Kind,
    /// What its holder may do.
    pub rights: Rights,
    /// Number of what it refers to, among those of its kind.
    pub object: usize,
    /// Badge, or stream of a console.
    pub badge: u64,
    /// The capability by whose revocation this one ends.
    pub parent: Option<usize>,
    /// Where it is.
    pub place: Place,
    /// Whether it still stands.
    pub life: Life,
    /// The domain that pays for revocable copies of it.
    pub charged: Option<usize>,
    /// Of a loan, what is lent.
    pub loan: Option<Loan>,
    /// Of a reply, the loans of its call.
    pub loans: Vec<usize>,
    /// Of a region, the access that it maps.
    pub mapped: Rights,
}

/// A message on its way.
#[derive(Clone, Debug)]
struct Stored {
    message: Message,
    badge: u64,
    rights: Rights,
    /// What travels, if it still could be sent.
    carried: Vec<Option<usize>>,
}

#[derive(Clone, Debug)]
enum Queued {
    Call(usize),
    Stored(Box<Stored>),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum MailboxLife {
    Open,
    Closed,
    Ended,
}

#[derive(Clone, Debug)]
struct Mailbox {
    life: MailboxLife,
    owner: usize,
    planned: bool,
    capacity: u32,
    queue: VecDeque<Queued>,
    receivers: VecDeque<usize>,
    signal: Option<usize>,
}

#[derive(Clone, Debug)]
struct Signal {
    alive: bool,
    owner: usize,
    planned: bool,
    bits: u64,
    waiters: VecDeque<usize>,
    /// The mailbox, and by whose revocation the binding ends.
    binding: Option<(usize, [Option<usize>; 2])>,
}

/// Memory.
#[derive(Clone, Debug)]
pub struct Region {
    /// Whether it has not ended.
    pub alive: bool,
    owner: Option<usize>,
    /// Address of the first byte.
    pub address: u64,
    /// Bytes in use.
    pub length: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Activity {
    Running,
    Calling(usize),
    Served(usize),
    Receiving(usize),
    Waiting(usize, u64),
    Sleeping,
    Gone,
}

#[derive(Clone, Debug)]
struct Thread {
    domain: usize,
    activity: Activity,
    /// By whose revocation its wait ends.
    through: Option<usize>,
    deadline: Option<u64>,
    /// Of a call, what it sends.
    message: Message,
    badge: u64,
    rights: Rights,
    finish: Option<Finish>,
}

/// What a domain has used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    /// Messages that it sent.
    pub messages: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Loans that it made.
    pub loans: u64,
}

/// A domain.
#[derive(Clone, Debug)]
pub struct Domain {
    plan: ServicePlan,
    /// Its quotas.
    pub quota: Quota,
    /// What it is doing.
    pub state: DomainState,
    /// How often it was started.
    pub generation: u32,
    /// Its capabilities by their handles.
    pub table: BTreeMap<u64, usize>,
    /// What it has used.
    pub usage: Usage,
}

/// A call: number, words and message.
#[derive(Clone, Debug)]
pub struct Call {
    /// The number, which may be of no call.
    pub number: u32,
    /// The words.
    pub words: [u64; 4],
    /// The message.
    pub message: Message,
}

/// The whole system.
#[derive(Clone, Debug)]
pub struct Model {
    /// The domains; number 0 is `init`.
    pub domains: Vec<Domain>,
    /// All capabilities that there ever were.
    pub capabilities: Vec<Capability>,
    /// All regions that there ever were.
    pub regions: Vec<Region>,
    /// What was written to the transcript.
    pub transcript: Vec<u8>,
    /// The time, in nanoseconds.
    pub clock: u64,
    threads: Vec<Thread>,
    mailboxes: Vec<Mailbox>,
    signals: Vec<Signal>,
}

impl Model {
    /// A system before `init` starts.
    pub fn new(plan: &Plan) -> Model {
        let domain = |service: &ServicePlan| Domain {
            plan: service.clone(),
            quota: service.quota,
            state: DomainState::Created,
            generation: 0,
            table: BTreeMap::new(),
            usage: Usage::default(),
        };
        let mut regions: Vec<Region> = plan
            .inputs
            .iter()
            .map(|input| Region {
                alive: true,
                owner: None,
                address: input.address,
                length: input.length,
            })
            .collect();
        let (address, length) = (plan.plan_address, plan.encoded_length());
        regions.push(Region { alive: true, owner: None, address, length });
        let mailboxes = plan.mailboxes.iter();
        let mut model = Model {
            domains: plan.services.iter().map(domain).collect(),
            capabilities: Vec::new(),
            regions,
            transcript: Vec::new(),
            clock: 0,
            threads: Vec::new(),
            mailboxes: mailboxes
                .map(|planned| Mailbox::new(usize::from(planned.server), true, planned.capacity))
                .collect(),
            signals: (0..plan.services.len()).map(|domain| Signal::new(domain, true)).collect(),
        };
        model.start(0);
        model
    }

    /// The thread with this number, and its domain, while it has not ended.
    pub fn domain_of(&self, thread: usize) -> Option<usize> {
        let thread = self.threads.get(thread)?;
        (thread.activity != Activity::Gone).then_some(thread.domain)
    }

    /// How many threads there ever were.
    pub fn thread_count(&self) -> usize {
        self.threads.len()
    }

    /// Whether a thread runs.
    pub fn is_running(&self, thread: usize) -> bool {
        self.threads.get(thread).is_some_and(|thread| thread.activity == Activity::Running)
    }

    /// How the last call of a thread ended, once.
    pub fn take_finish(&mut self, thread: usize) -> Option<Finish> {
        self.threads.get_mut(thread)?.finish.take()
    }

    /// Binds a capability to the handle that names it in its holder's table.
    pub fn bind(&mut self, handle: u64, capability: usize) {
        if let Place::Table(domain) = self.capabilities[capability].place {
            self.domains[domain].table.insert(handle, capability);
        }
    }

    /// Capabilities in the table of a domain, and what is left of some.
    pub fn slots_used(&self, domain: usize) -> u32 {
        let held = |held: &&Capability| held.place == Place::Table(domain);
        self.capabilities.iter().filter(held).count() as u32
    }

    fn slots_left(&self, domain: usize) -> u32 {
        self.domains[domain].quota.handles - self.slots_used(domain)
    }

    /// Bytes that are charged to a domain.
    pub fn memory(&self, domain: usize) -> u64 {
        let running = self.domains[domain].state == DomainState::Running;
        let image = if running { self.image_memory(domain) } else { 0 };
        image + self.region_memory(domain)
    }

    /// What a mode is, where it is one.
    fn mode(grant: &Grant) -> Option<Mode> {
        Mode::from_number(grant.mode)
    }
}
