//! One state of a world.

use crate::book::{Entry, enter_planned};
use crate::check::Check;
use crate::ledger::{End, Ledger, Revoker};
use crate::sight::Look;
use crate::{Action, BookMachine, Finding, Rule, Verb, World};
use phi_abi::{Fault, FaultKind, Outcome};
use phi_core::{Activity, DomainIndex, Holding, Kernel};
use std::collections::BTreeMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// ΦCore on the book-keeping machine, the model's own books, and what was found wrong on the way here.
#[derive(Clone)]
pub struct State {
    /// ΦCore; left out of states at the world's depth, which are not followed further.
    kernel: Option<Box<Kernel<BookMachine>>>,
    ledger: Ledger,
    /// Actions up to here; no part of the state's identity.
    depth: usize,
    findings: Vec<Finding>,
    key: u64,
}

impl PartialEq for State {
    fn eq(&self, other: &State) -> bool {
        self.key == other.key
    }
}

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.key.hash(hasher);
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "after {} actions", self.depth)?;
        let mut findings = self.findings.iter();
        findings.try_for_each(|finding| write!(f, "; {:?}: {}", finding.rule, finding.text))
    }
}

/// Everything held, by id.
fn held(kernel: &Kernel<BookMachine>) -> BTreeMap<u64, Holding> {
    kernel.holdings().map(|holding| (holding.capability.id, holding)).collect()
}

impl State {
    /// The state in which a world begins: booted, and the services that it names started by `init`.
    ///
    /// # Panics
    /// If the world's plan does not boot, or a service does not start: then there is no world.
    pub fn first(world: &World) -> State {
        let booted = Kernel::boot(BookMachine::default(), &world.plan);
        let kernel = booted.unwrap_or_else(|error| panic!("world {}: {error}", world.name));
        let mut ledger = Ledger::default();
        enter_planned(&world.plan, &kernel, DomainIndex(0), &mut ledger);
        let mut state = State {
            kernel: Some(Box::new(kernel)),
            ledger,
            depth: 0,
            findings: Vec::new(),
            key: 0,
        };
        state.settle();
        for service in 1..=world.started {
            let next = state.started(world, u32::from(service));
            let next =
                next.unwrap_or_else(|| panic!("world {}: {service} is not started", world.name));
            state = State { depth: 0, ..next };
        }
        state.key = state.identity(world);
        state
    }

    /// After `init` has started a service.
    fn started(&self, world: &World, service: u32) -> Option<State> {
        let mut actions = Vec::new();
        crate::action::of_domain(self.kernel(), DomainIndex(0), &[Verb::Start], &mut actions);
        let starts = |action: &&Action| match action {
            Action::Step { through: Some(through), .. } => through.capability.object == service,
            _ => false,
        };
        self.after(world, actions.iter().find(starts)?)
    }

    fn kernel(&self) -> &Kernel<BookMachine> {
        self.kernel.as_ref().expect("a state that is followed further keeps its kernel")
    }

    /// Dispatches every ready thread, as a machine with a processor for each does.
    fn settle(&mut self) {
        if let Some(kernel) = &mut self.kernel {
            while kernel.dispatch().is_some() {}
        }
    }

    /// What is wrong here.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// The state's identity: equal states go on in the same way.
    pub fn key(&self) -> u64 {
        self.key
    }

    /// Everything that can happen next; nothing at the world's depth, or once something is wrong.
    pub fn actions(&self, world: &World) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.depth >= world.depth || !self.findings.is_empty() {
            return actions;
        }
        let kernel = self.kernel();
        for (domain, alphabet) in (0..).map(DomainIndex).zip(&world.alphabets) {
            crate::action::of_domain(kernel, domain, alphabet, &mut actions);
        }
        if kernel.next_deadline().is_some() {
            actions.push(Action::Time);
        }
        actions
    }

    /// The state after `action`, which is one of [`State::actions`]; `None` when nothing has changed. A
    /// panic of ΦCore is a finding, where panics unwind; elsewhere it ends the exploration.
    pub fn after(&self, world: &World, action: &Action) -> Option<State> {
        let done = catch_unwind(AssertUnwindSafe(|| self.after_unguarded(world, action)));
        done.unwrap_or_else(|_| {
            let text = "ΦCore has panicked";
            let mut next = State { depth: self.depth + 1, ..self.clone() };
            next.findings.push(Finding { rule: Rule::Survival, text });
            next.key ^= u64::MAX;
            Some(next)
        })
    }

    fn after_unguarded(&self, world: &World, action: &Action) -> Option<State> {
        let mut next = self.clone();
        next.depth += 1;
        let outcome = next.perform(action);
        next.settle();
        let outcome = next.outcome(action, outcome);
        let State { kernel, ledger, findings, .. } = &mut next;
        let kernel = kernel.as_deref()?;
        let held = held(kernel);
        let before = self.kernel();
        let plan = &world.plan;
        let mut entry = Entry { plan, before, after: kernel, ledger, findings, held };
        entry.enter(action, outcome);
        let held = entry.held;
        Check { plan, kernel, ledger, held: &held, findings }.run();
        let (was, now) = (&self.ledger, &*ledger);
        Look { plan, kernel, was, now, action, outcome }.run(&world.seen);
        findings.sort_unstable();
        findings.dedup();
        next.key = next.identity(world);
        if next.depth >= world.depth {
            next.kernel = None;
        }
        (next.key != self.key).then_some(next)
    }

    /// Has ΦCore do it. Whether it was a call.
    fn perform(&mut self, action: &Action) -> bool {
        let Some(kernel) = &mut self.kernel else { return false };
        match *action {
            Action::Time => {
                let due = kernel.next_deadline().unwrap_or_default();
                kernel.machine_mut().clock = due;
                kernel.expire();
                false
            }
            Action::Step { thread, verb, through, passed, .. } => {
                match crate::action::frame(kernel, verb, through, passed) {
                    Some(frame) => {
                        *kernel.frame_mut(thread) = frame;
                        kernel.system_call(thread);
                        true
                    }
                    None => {
                        let (kind, address, instruction) = (FaultKind::Read, 0, 0);
                        kernel.fault(thread, Fault { kind, address, instruction });
                        false
                    }
                }
            }
        }
    }

    /// How a call has ended; `None` while it waits, and when its thread is gone.
    fn outcome(&self, action: &Action, call: bool) -> Option<Outcome> {
        let Action::Step { thread, .. } = *action else { return None };
        let runs = self.kernel().activity(thread) == Activity::Dispatched;
        (call && runs).then(|| self.kernel().frame(thread).outcome)
    }

    /// A number for the state in its canonical form, the least over the world's symmetries.
    fn identity(&self, world: &World) -> u64 {
        let kernel = self.kernel();
        let now = kernel.machine().clock;
        let least = world.orders.iter().map(|order| {
            let mut words = kernel.canonical(order, now);
            self.write_books(order, &mut words);
            words
        });
        let mut hasher = DefaultHasher::new();
        least.min().hash(&mut hasher);
        self.findings.hash(&mut hasher);
        hasher.finish()
    }

    /// The books in canonical form. With a sound ΦCore they follow from its own state; with one that is
    /// not, two states that only it takes for equal must stay apart.
    fn write_books(&self, order: &[DomainIndex], words: &mut Vec<u64>) {
        let kernel = self.kernel();
        let holdings = order.iter().flat_map(|domain| kernel.holdings_of(*domain));
        let travelling = kernel.holdings().filter(|holding| holding.domain.is_none());
        let ids: Vec<u64> = holdings.chain(travelling).map(|held| held.capability.id).collect();
        let name = |id: &u64| ids.iter().position(|other| other == id).unwrap_or(ids.len()) as u64;
        for id in &ids {
            let Some(record) = self.ledger.records.get(id) else { continue };
            let end = match record.end {
                None => 0,
                Some(End::Revoked) => 1,
                Some(End::Dead) => 2,
            };
            words.extend([u64::from(record.rights.bits()), end]);
            words.push(u64::from(self.ledger.lineages.contains_key(id)));
            words.push(record.mapped.map_or(0, |(_, access)| u64::from(access.bits())));
            if record.end.is_none() {
                words.extend(record.under.iter().map(|revoker| match revoker {
                    Revoker::Capability(id) => name(id),
                    Revoker::Call(id) => name(id) + (1 << 32),
                }));
            }
            words.push(u64::MAX);
        }
    }
}
