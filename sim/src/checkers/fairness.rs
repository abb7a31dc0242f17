//! The most urgent ready thread runs, and none of equal urgency waits without end. Who is let go on
//! does something, unless the machine does not run it.

use super::ledger::Ledger;
use super::{Property, Violation, violates};
use crate::event::Event;
use phi_abi::{Handle, Number, PRIORITIES};
use phi_core::{DomainIndex, ThreadIndex};
use phi_manifest::plan::Plan;

/// How often others of its priority may be let go on before a ready thread is.
pub const BOUND: u64 = 20_000;

/// Steps in which a thread that was let go on must have done something, where the simulator decides.
pub const STEPS: u64 = 5_000;

/// Steps from one look for such a thread to the next.
const LOOK: u64 = 512;

/// A ready thread.
#[derive(Clone, Copy)]
struct Ready {
    thread: ThreadIndex,
    /// How often its priority had been served when it became ready.
    since: u64,
}

/// A thread that was let go on, and has not done anything yet.
#[derive(Clone, Copy)]
struct Goes {
    thread: ThreadIndex,
    /// The step in which it was, or was so again.
    since: u64,
}

/// Who is ready, and since when.
pub struct Fairness {
    ready: Vec<Ready>,
    go: Vec<Goes>,
    /// Whether who was let go on does something within [`STEPS`]. Linux promises no such thing.
    prompt: bool,
    step: u64,
    stalled: Vec<bool>,
    served: [u64; PRIORITIES as usize],
    priorities: Vec<u8>,
    throttled: Vec<bool>,
    of_domains: Vec<u8>,
}

impl Fairness {
    /// Nobody is ready. A `prompt` machine runs whom ΦCore lets go on within [`STEPS`].
    pub fn new(plan: &Plan, prompt: bool) -> Fairness {
        Fairness {
            ready: Vec::new(),
            go: Vec::new(),
            prompt,
            step: 0,
            stalled: vec![false; plan.services.len()],
            served: [0; PRIORITIES as usize],
            priorities: Vec::new(),
            throttled: vec![false; plan.services.len()],
            of_domains: plan.services.iter().map(|service| service.priority).collect(),
        }
    }

    /// Follows who is ready.
    ///
    /// # Errors
    /// A thread that was let go on before a more urgent one, one that waits without end, or one that was
    /// let go on and never does.
    pub fn observe(&mut self, event: &Event, ledger: &Ledger) -> Result<(), Violation> {
        match event {
            Event::ThreadStarted(thread, domain) => {
                let place = usize::from(thread.0);
                if self.priorities.len() <= place {
                    self.priorities.resize(place + 1, 0);
                }
                let made = ledger.step.actor.and_then(|actor| ledger.waiting(actor));
                let made = made.filter(|made| made.number == Some(Number::ThreadCreate));
                self.priorities[place] = match made {
                    Some(made) => made.call.arguments[3] as u8,
                    None => self.of_domains[usize::from(domain.0)],
                };
                self.add(*thread);
            }
            Event::Ended(thread, outcome, _) => {
                let ended = ledger.waiting(*thread);
                let changed = ended.filter(|ended| ended.number == Some(Number::ThreadPriority));
                if let (Some(changed), 0) = (changed, outcome.status) {
                    self.change(*thread, changed.call.arguments, ledger);
                }
                self.add(*thread);
            }
            Event::Preempted(thread) => {
                self.acted(*thread);
                self.add(*thread);
            }
            Event::Posted(thread) | Event::Called(thread, _) => self.acted(*thread),
            Event::Stalled(domain, stalled) => self.stalled(*domain, *stalled, ledger),
            Event::Settled(_) => {
                self.step += 1;
                if self.prompt && self.step.is_multiple_of(LOOK) {
                    return self.all_go(ledger);
                }
            }
            Event::ThreadStopped(thread) => {
                self.acted(*thread);
                self.ready.retain(|ready| ready.thread != *thread);
            }
            Event::Unloaded(domain) => {
                self.go.retain(|go| ledger.domain_of(go.thread) != Some(*domain));
                self.throttled[usize::from(domain.0)] = false;
                self.ready.retain(|ready| ledger.domain_of(ready.thread) != Some(*domain));
            }
            Event::Throttled(domain, stopped) => {
                self.throttled[usize::from(domain.0)] = *stopped;
                for ready in &mut self.ready {
                    if ledger.domain_of(ready.thread) == Some(*domain) {
                        let priority = self.priorities[usize::from(ready.thread.0)];
                        ready.since = self.served[usize::from(priority)];
                    }
                }
            }
            Event::Dispatched(thread) => return self.dispatched(*thread, ledger),
            _ => {}
        }
        Ok(())
    }

    /// A thread that was let go on has done something.
    fn acted(&mut self, thread: ThreadIndex) {
        if let Some(place) = self.go.iter().position(|go| go.thread == thread) {
            self.go.swap_remove(place);
        }
    }

    /// The machine does not run a domain, or does again: its time counts from then.
    fn stalled(&mut self, domain: DomainIndex, stalled: bool, ledger: &Ledger) {
        self.stalled[usize::from(domain.0)] = stalled;
        let own = |go: &&mut Goes| ledger.domain_of(go.thread) == Some(domain);
        let step = self.step;
        self.go.iter_mut().filter(own).for_each(|go| go.since = step);
    }

    /// Everybody who was let go on has done something in time, but for those that are not run.
    fn all_go(&self, ledger: &Ledger) -> Result<(), Violation> {
        for Goes { thread, since } in &self.go {
            let stands = |domain: DomainIndex| self.stalled[usize::from(domain.0)];
            if self.step - since > STEPS && !ledger.domain_of(*thread).is_some_and(stands) {
                let what = format!("{thread:?} was let go on, and did nothing for {STEPS} steps");
                return violates(Property::Fairness, what);
            }
        }
        Ok(())
    }

    fn add(&mut self, thread: ThreadIndex) {
        let priority = usize::from(self.priorities[usize::from(thread.0)]);
        let since = self.served[priority.min(usize::from(PRIORITIES) - 1)];
        self.ready.push(Ready { thread, since });
    }

    fn change(&mut self, actor: ThreadIndex, words: [u64; 4], ledger: &Ledger) {
        let domain = ledger.domain_of(actor);
        let held = domain.and_then(|domain| ledger.find(domain, Handle(words[0])));
        let Some(object) = held.and_then(|held| ledger.objects.get(held.object as usize)) else {
            return;
        };
        let priority = words[1] as u8;
        if let Some(place) = self.priorities.get_mut(object.index as usize) {
            *place = priority;
        }
        let since = self.served[usize::from(priority)];
        let own = |ready: &&mut Ready| u32::from(ready.thread.0) == object.index;
        self.ready.iter_mut().filter(own).for_each(|ready| ready.since = since);
    }

    fn dispatched(&mut self, thread: ThreadIndex, ledger: &Ledger) -> Result<(), Violation> {
        let own = self.priorities.get(usize::from(thread.0)).copied().unwrap_or(0);
        let Some(place) = self.ready.iter().position(|ready| ready.thread == thread) else {
            let what = format!("{thread:?} was let go on, and was not ready");
            return violates(Property::Fairness, what);
        };
        self.ready.swap_remove(place);
        self.served[usize::from(own)] += 1;
        self.go.push(Goes { thread, since: self.step });
        for Ready { thread: other, since } in &self.ready {
            let priority = self.priorities[usize::from(other.0)];
            let waits = self.served[usize::from(priority)] - since > BOUND;
            if priority <= own && !waits {
                continue;
            }
            let domain = ledger.domain_of(*other);
            if domain.is_some_and(|domain| !self.throttled[usize::from(domain.0)]) {
                let what = match waits {
                    true => format!("{other:?} is ready, and {BOUND} others went before it"),
                    false => {
                        format!("{thread:?} of priority {own} went before {other:?} of {priority}")
                    }
                };
                return violates(Property::Fairness, what);
            }
        }
        Ok(())
    }
}
