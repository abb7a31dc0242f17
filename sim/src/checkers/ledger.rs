//! Who holds what: a model of capabilities, lineages and calls, made from calls and their answers.
//!
//! It is simpler than ΦCore's own: lineages are a growing forest whose nodes only ever die, and objects
//! have numbers that are never used again.

use super::{Property, Violation, authority, violates};
use crate::event::{Call, Event, Named};
use phi_abi::{Grant, Handle, Kind, Message, Number, Outcome, Rights};
use phi_core::{DomainIndex, Span, ThreadIndex};
use phi_manifest::plan::{Plan, Target};
use std::collections::VecDeque;

/// No node, no object.
pub(crate) const NONE: u32 = u32::MAX;

/// A capability, as the model knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Held {
    /// What it refers to.
    pub kind: Kind,
    /// What its holder may do.
    pub rights: Rights,
    /// The object's number.
    pub object: u32,
    /// The badge on its messages.
    pub badge: u64,
    /// The node of the lineage that it belongs to.
    pub(crate) origin: u32,
    /// The node of what was derived revocably from it.
    pub(crate) child: u32,
    /// What it maps, empty for nothing.
    pub(crate) mapped: Rights,
    /// The pages that it maps or lends on: address and length; length 0 for the whole region.
    pub(crate) range: (u64, u64),
    /// The object of the DMA space that it is mapped in for a device, and how; nothing for none.
    pub(crate) dma: (u32, Rights),
    /// Whether it is a loan.
    pub loan: bool,
}

impl Held {
    pub(crate) fn new(kind: Kind, rights: Rights, object: u32, badge: u64) -> Held {
        let (mapped, range, dma) = (Rights::empty(), (0, 0), Held::NO_DMA);
        let (origin, child) = (NONE, NONE);
        Held { kind, rights, object, badge, origin, child, mapped, range, dma, loan: false }
    }

    /// Mapped for no device.
    pub(crate) const NO_DMA: (u32, Rights) = (NONE, Rights::empty());
}

/// A node of the forest of lineages.
#[derive(Clone, Copy)]
struct Node {
    parent: u32,
    dead: bool,
}

/// What an object's number stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Object {
    /// The domain that ends it with itself: of mailboxes.
    pub(crate) owner: u16,
    /// The machine's index: of regions and threads.
    pub(crate) index: u32,
}

/// A message on its way to a receiver.
pub(crate) struct Sent {
    pub(crate) sender: ThreadIndex,
    pub(crate) call: bool,
    /// Not known yet whether the send succeeds.
    pub(crate) provisional: bool,
    pub(crate) badge: u64,
    pub(crate) rights: Rights,
    pub(crate) message: Message,
    pub(crate) grants: [Option<Held>; 4],
}

/// A call that has not ended.
#[derive(Clone, Copy)]
pub(crate) struct Pending {
    pub(crate) call: Call,
    pub(crate) number: Option<Number>,
    /// The capability that it was made through.
    pub(crate) through: Option<Held>,
    /// For a call that waits for an answer: its own number.
    pub(crate) serial: u32,
    /// Whether it was received.
    pub(crate) served: bool,
}

/// The model.
pub struct Ledger {
    plan_targets: Vec<Vec<(Target, u64)>>,
    mailboxes_of_plan: Vec<u16>,
    /// The machine's index of the region that holds the plan: it comes after the inputs.
    plan_region: usize,
    /// The places behind it of the domains' states: services that have one, up to each.
    states: Vec<usize>,
    tables: Vec<Vec<(u32, Option<Held>)>>,
    /// Slots in use, and whether that number is known.
    counts: Vec<(u64, bool)>,
    running: Vec<bool>,
    /// Domains that have made room for another image, which has not started yet.
    kept: Vec<bool>,
    nodes: Vec<Node>,
    pub(crate) objects: Vec<Object>,
    /// By the object's number, for mailboxes; others stay empty.
    pub(crate) queues: Vec<VecDeque<Sent>>,
    pub(crate) threads: Vec<Option<u16>>,
    pub(crate) pending: Vec<Option<Pending>>,
    /// The loans of calls that are being served, by thread.
    pub(crate) loans: Vec<Vec<u32>>,
    /// The objects of regions that have memory, by the machine's index.
    pub(crate) regions: Vec<u32>,
    /// The objects of DMA spaces, by the machine's index.
    pub(crate) spaces: Vec<u32>,
    spans: Vec<Span>,
    pub(crate) step: Step,
    serials: u32,
}

/// What happens in the current step.
#[derive(Default)]
pub(crate) struct Step {
    pub(crate) actor: Option<ThreadIndex>,
    /// The answer that the actor gives: the call's thread, and what is granted.
    pub(crate) answer: Option<(ThreadIndex, Message, [Option<Held>; 4])>,
    pub(crate) answered: bool,
    pub(crate) revoked: bool,
    /// Whether something happened that can change what may be mapped.
    pub(crate) memory: bool,
    pub(crate) region: Option<u32>,
    /// The object of what was opened of the machine's devices.
    pub(crate) device: Option<u32>,
    pub(crate) thread: Option<ThreadIndex>,
}

impl Ledger {
    /// A model of `plan` before its start.
    pub fn new(plan: &Plan) -> Ledger {
        let targets = |service: &phi_manifest::plan::ServicePlan| {
            service.capabilities.iter().map(|held| (held.target, held.badge)).collect()
        };
        let domains = plan.services.len();
        let states = plan.services.iter().scan(0, |count, service| {
            *count += usize::from(service.state > 0);
            Some(*count)
        });
        let mut ledger = Ledger {
            plan_targets: plan.services.iter().map(targets).collect(),
            mailboxes_of_plan: plan.mailboxes.iter().map(|mailbox| mailbox.server).collect(),
            plan_region: plan.inputs.len(),
            states: states.collect(),
            tables: vec![Vec::new(); domains],
            counts: vec![(0, true); domains],
            running: vec![false; domains],
            kept: vec![false; domains],
            nodes: Vec::new(),
            objects: Vec::new(),
            queues: Vec::new(),
            threads: Vec::new(),
            pending: Vec::new(),
            loans: Vec::new(),
            regions: Vec::new(),
            spaces: Vec::new(),
            spans: Vec::new(),
            step: Step::default(),
            serials: 0,
        };
        for mailbox in &plan.mailboxes {
            ledger.object(Object { owner: mailbox.server, index: NONE });
        }
        ledger
    }

    /// A new object's number.
    pub(crate) fn object(&mut self, object: Object) -> u32 {
        self.objects.push(object);
        self.queues.push(VecDeque::new());
        self.objects.len() as u32 - 1
    }

    /// What `domain` holds, with the handles.
    pub fn held(&self, domain: DomainIndex) -> impl Iterator<Item = (Handle, &Held)> + Clone {
        let table = self.tables.get(usize::from(domain.0)).into_iter().flatten().enumerate();
        table.filter_map(|(slot, (generation, held))| {
            held.as_ref().map(|held| (Handle::new(slot as u32, *generation), held))
        })
    }

    /// What a handle of `domain` names.
    pub fn find(&self, domain: DomainIndex, handle: Handle) -> Option<&Held> {
        let table = self.tables.get(usize::from(domain.0))?;
        let (generation, held) = table.get(handle.slot() as usize)?;
        held.as_ref().filter(|_| *generation == handle.generation())
    }

    pub(crate) fn find_mut(&mut self, domain: u16, handle: u64) -> Option<&mut Held> {
        let handle = Handle(handle);
        let table = self.tables.get_mut(usize::from(domain))?;
        let (generation, held) = table.get_mut(handle.slot() as usize)?;
        held.as_mut().filter(|_| *generation == handle.generation())
    }

    /// The pages that a capability of a region reaches, while the region has memory.
    pub fn pages(&self, held: &Held) -> Option<Span> {
        let object =
            self.objects.get(held.object as usize).filter(|_| held.kind == Kind::Region)?;
        let place = object.index as usize;
        let current = self.regions.get(place).is_some_and(|region| *region == held.object);
        let whole = self.spans.get(place).filter(|_| current)?;
        let (address, length) = held.range;
        Some(if held.loan { Span { address, length } } else { *whole })
    }

    /// The domain of a thread.
    pub fn domain_of(&self, thread: ThreadIndex) -> Option<DomainIndex> {
        self.threads.get(usize::from(thread.0)).copied().flatten().map(DomainIndex)
    }

    /// The domains that run, in order.
    pub(crate) fn running(&self) -> Vec<DomainIndex> {
        let running = (0u16..).zip(&self.running).filter(|(_, running)| **running);
        running.map(|(domain, _)| DomainIndex(domain)).collect()
    }

    /// Slots that a domain uses; `None` where the answers left that open.
    pub(crate) fn slots(&self, domain: DomainIndex) -> Option<u64> {
        let (count, known) = *self.counts.get(usize::from(domain.0))?;
        known.then_some(count)
    }

    pub(crate) fn slots_unknown(&mut self, domain: u16) {
        self.counts[usize::from(domain)].1 = false;
    }

    /// Whether nothing that a capability comes from was revoked.
    pub fn stands(&self, held: &Held) -> bool {
        self.alive(held.origin)
    }

    pub(crate) fn alive(&self, mut node: u32) -> bool {
        while node != NONE {
            let Node { parent, dead } = self.nodes[node as usize];
            if dead {
                return false;
            }
            node = parent;
        }
        true
    }

    pub(crate) fn node(&mut self, parent: u32) -> u32 {
        self.nodes.push(Node { parent, dead: false });
        self.nodes.len() as u32 - 1
    }

    pub(crate) fn kill(&mut self, node: u32) {
        if let Some(node) = self.nodes.get_mut(node as usize) {
            node.dead = true;
        }
    }

    /// Puts a capability under a handle that ΦCore gave out.
    pub(crate) fn insert(&mut self, domain: u16, handle: u64, held: Held) -> Result<(), Violation> {
        let handle = Handle(handle);
        let table = &mut self.tables[usize::from(domain)];
        let slot = handle.slot() as usize;
        if slot > 1 << 24 || handle.is_null() {
            return violates(Property::Rights, format!("{handle:?} is no handle to give out"));
        }
        if table.len() <= slot {
            table.resize(slot + 1, (0, None));
        }
        // Where an answer left open whether a slot is free, it may turn out to be.
        let known = self.counts[usize::from(domain)].1;
        let taken = known && table[slot].1.is_some();
        if taken || table[slot].0 >= handle.generation() {
            let what = format!("domain {domain} was given {handle:?}, which it had before");
            return violates(Property::Rights, what);
        }
        table[slot] = (handle.generation(), Some(held));
        self.counts[usize::from(domain)].0 += 1;
        Ok(())
    }

    /// Takes away what a handle names.
    pub(crate) fn remove(&mut self, domain: u16, handle: u64) -> Option<Held> {
        let handle = Handle(handle);
        let table = self.tables.get_mut(usize::from(domain))?;
        let (generation, held) = table.get_mut(handle.slot() as usize)?;
        if *generation != handle.generation() {
            return None;
        }
        let taken = held.take();
        if taken.is_some() {
            self.counts[usize::from(domain)].0 -= 1;
            self.step.memory = true;
        }
        taken
    }

    /// The call that a thread waits in.
    pub(crate) fn waiting(&self, thread: ThreadIndex) -> Option<&Pending> {
        self.pending.get(usize::from(thread.0))?.as_ref()
    }

    /// The thread that waits for the answer which a reply capability gives.
    pub(crate) fn caller(&self, reply: &Held) -> Option<ThreadIndex> {
        // The badge of a reply is the caller's thread.
        let thread = ThreadIndex(reply.badge as u16);
        let waits = |pending: &&Pending| pending.serial == reply.object && pending.served;
        self.waiting(thread).filter(waits).map(|_| thread)
    }

    /// Takes note of an event.
    ///
    /// # Errors
    /// What contradicts the model.
    pub fn observe(&mut self, event: &Event) -> Result<(), Violation> {
        match event {
            Event::Loaded(domain, named) => self.loaded(*domain, named)?,
            Event::Kept(domain) => self.kept[usize::from(domain.0)] = true,
            Event::Unloaded(domain) => self.unloaded(domain.0),
            Event::ThreadStarted(thread, domain) => {
                let place = usize::from(thread.0);
                if self.threads.len() <= place {
                    self.threads.resize(place + 1, None);
                    self.pending.resize(place + 1, None);
                    self.loans.resize(place + 1, Vec::new());
                }
                self.threads[place] = Some(domain.0);
                self.running[usize::from(domain.0)] = true;
                self.kept[usize::from(domain.0)] = false;
                self.step.thread = Some(*thread);
            }
            Event::ThreadStopped(thread) => self.gone(*thread),
            Event::RegionCreated(region, span) => {
                let place = region.0 as usize;
                if self.regions.len() <= place {
                    self.regions.resize(place + 1, NONE);
                    self.spans.resize(place + 1, *span);
                }
                self.regions[place] = self.object(Object { owner: 0, index: region.0 });
                self.spans[place] = *span;
                self.step.region = Some(self.regions[place]);
            }
            Event::RegionDestroyed(region) => self.regions[region.0 as usize] = NONE,
            Event::IrqOpened(irq) => {
                let index = u32::from(irq.0);
                self.step.device = Some(self.object(Object { owner: 0, index }));
            }
            Event::DmaOpened(space) => {
                let place = usize::from(space.0);
                if self.spaces.len() <= place {
                    self.spaces.resize(place + 1, NONE);
                }
                self.spaces[place] = self.object(Object { owner: 0, index: space.0.into() });
                self.step.device = Some(self.spaces[place]);
            }
            Event::DmaClosed(space) => self.spaces[usize::from(space.0)] = NONE,
            Event::DmaFaulted(space) => {
                self.empty(self.spaces.get(usize::from(space.0)).copied().unwrap_or(NONE));
            }
            Event::Called(thread, call) => self.called(*thread, call),
            Event::Ended(thread, outcome, message) => {
                self.ended(*thread, *outcome, message.as_ref())?;
            }
            Event::Settled(_) => {
                authority::settled(self)?;
                let memory = self.step.memory;
                self.step = Step { memory, ..Step::default() };
            }
            Event::Mapped(..) | Event::Unmapped(..) => self.step.memory = true,
            _ => {}
        }
        Ok(())
    }

    fn loaded(&mut self, domain: DomainIndex, named: &[Named]) -> Result<(), Violation> {
        let targets = self.plan_targets[usize::from(domain.0)].clone();
        for (Named { handle, kind, rights }, (target, badge)) in named.iter().zip(targets) {
            let object = match target {
                Target::Mailbox(mailbox) => u32::from(mailbox),
                Target::Input(input) => self.regions[usize::from(input)],
                Target::Plan => self.regions.get(self.plan_region).copied().unwrap_or(NONE),
                Target::State => {
                    let place = self.plan_region + self.states[usize::from(domain.0)];
                    self.regions.get(place).copied().unwrap_or(NONE)
                }
                _ => NONE,
            };
            self.insert(domain.0, handle.0, Held::new(*kind, *rights, object, badge))?;
        }
        Ok(())
    }

    fn unloaded(&mut self, domain: u16) {
        self.tables[usize::from(domain)].iter_mut().for_each(|(_, held)| *held = None);
        self.counts[usize::from(domain)] = (0, true);
        self.step.memory = true;
        for thread in 0..self.threads.len() {
            if self.threads[thread] == Some(domain) {
                self.gone(ThreadIndex(thread as u16));
            }
        }
        // A first start that failed leaves what waits in its mailboxes, and so does who makes room for
        // another image; but a start of that image which fails does not.
        let ran = std::mem::take(&mut self.running[usize::from(domain)]);
        if ran == self.kept[usize::from(domain)] {
            return;
        }
        self.kept[usize::from(domain)] = false;
        let planned = self.mailboxes_of_plan.len();
        for (object, queue) in self.queues.iter_mut().enumerate() {
            let own = match self.mailboxes_of_plan.get(object) {
                Some(server) => *server == domain,
                None => object >= planned && self.objects[object].owner == domain,
            };
            if own && !queue.is_empty() {
                queue.clear();
            }
        }
    }

    /// Nothing is mapped any more in the DMA space that is this object.
    pub(crate) fn empty(&mut self, space: u32) {
        let tables = self.tables.iter_mut().flatten();
        for held in tables.filter_map(|(_, held)| held.as_mut()) {
            if held.dma.0 == space {
                held.dma = Held::NO_DMA;
            }
        }
    }

    /// How many domains there are.
    pub(crate) fn domains(&self) -> u16 {
        self.tables.len() as u16
    }

    /// A thread is gone, and with it its call.
    fn gone(&mut self, thread: ThreadIndex) {
        let place = usize::from(thread.0);
        if let Some(pending) = self.pending[place].take()
            && matches!(pending.number, Some(Number::Call | Number::Send))
        {
            self.withdraw(thread, &pending);
        }
        self.threads[place] = None;
        // Pages that are lent stay until the answer that nobody gets.
        self.loans[place].clear();
    }

    /// Takes a call out of the queue that it may be in.
    pub(crate) fn withdraw(&mut self, thread: ThreadIndex, pending: &Pending) {
        if let Some(through) = pending.through
            && let Some(queue) = self.queues.get_mut(through.object as usize)
        {
            let own = |sent: &Sent| sent.sender == thread && (sent.call || sent.provisional);
            if let Some(place) = queue.iter().position(own) {
                queue.remove(place);
            }
        }
    }

    /// What the grants of a message name now.
    pub(crate) fn granted(&self, domain: u16, message: &Message) -> [Option<Held>; 4] {
        let mut held = [None; 4];
        for (place, grant) in held.iter_mut().zip(message.grants()) {
            *place = self.find(DomainIndex(domain), grant.handle).copied();
        }
        held
    }

    fn called(&mut self, thread: ThreadIndex, call: &Call) {
        let Some(domain) = self.domain_of(thread) else { return };
        let number = Number::from_number(call.number);
        let [first, second, ..] = call.arguments;
        let through = match number {
            Some(Number::ReplyReceive) => self.find(domain, Handle(second)).copied(),
            _ => self.find(domain, Handle(first)).copied(),
        };
        self.step.actor = Some(thread);
        let mut pending = Pending { call: *call, number, through, serial: NONE, served: false };
        match number {
            Some(Number::Send | Number::Call) => {
                let is_call = number == Some(Number::Call);
                if is_call {
                    self.serials = self.serials.wrapping_add(1);
                    pending.serial = self.serials;
                }
                self.post(thread, domain, call, through, is_call);
            }
            Some(Number::Reply | Number::ReplyReceive) => {
                let reply = self.find(domain, Handle(first)).copied();
                let caller = reply.filter(|reply| reply.kind == Kind::Reply);
                if let Some(caller) = caller.and_then(|reply| self.caller(&reply)) {
                    let grants = self.granted(domain.0, &call.message);
                    self.step.answer = Some((caller, call.message, grants));
                }
            }
            _ => {}
        }
        self.pending[usize::from(thread.0)] = Some(pending);
    }

    fn post(
        &mut self,
        sender: ThreadIndex,
        domain: DomainIndex,
        call: &Call,
        through: Option<Held>,
        is_call: bool,
    ) {
        let Some(through) = through else { return };
        let grants = self.granted(domain.0, &call.message);
        let Some(queue) = self.queues.get_mut(through.object as usize) else { return };
        let Held { badge, rights, .. } = through;
        let (message, provisional) = (call.message, true);
        queue.push_back(Sent {
            sender,
            call: is_call,
            provisional,
            badge,
            rights,
            message,
            grants,
        });
    }

    fn ended(
        &mut self,
        thread: ThreadIndex,
        outcome: Outcome,
        message: Option<&Message>,
    ) -> Result<(), Violation> {
        let Some(domain) = self.domain_of(thread) else {
            return violates(
                Property::Delivery,
                format!("{thread:?} does not exist, and a call of it ended"),
            );
        };
        let Some(pending) = self.pending[usize::from(thread.0)].take() else {
            return violates(
                Property::Delivery,
                format!("{thread:?} is in no call, and one ended"),
            );
        };
        authority::ended(self, thread, domain.0, &pending, outcome, message)
    }

    /// A capability made anew under a handle.
    pub(crate) fn made(
        &mut self,
        domain: u16,
        handle: u64,
        kind: Kind,
        object: u32,
    ) -> Result<(), Violation> {
        self.insert(domain, handle, Held::new(kind, kind.rights(), object, 0))
    }

    /// A reply capability under a handle, for a call.
    pub(crate) fn made_reply(
        &mut self,
        domain: u16,
        handle: u64,
        serial: u32,
        caller: ThreadIndex,
    ) -> Result<(), Violation> {
        let caller = u64::from(caller.0);
        self.insert(domain, handle, Held::new(Kind::Reply, Kind::Reply.rights(), serial, caller))
    }

    /// What a grant of a sender becomes for its receiver.
    pub(crate) fn passed(source: &Held, grant: &Grant) -> Held {
        let rights = Rights::from_bits_retain(grant.rights) & source.rights;
        Held { rights, mapped: Rights::empty(), dma: Held::NO_DMA, ..*source }
    }
}
