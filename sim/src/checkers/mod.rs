//! What must hold in every run, whatever happens in it.
//!
//! A [`Checkers`] is fed with every [`Event`] of a run. It keeps a [`ledger::Ledger`], a model of who
//! holds what, made from the calls and their answers alone, and says at once what contradicts it.

pub mod authority;
pub mod delivery;
pub mod fairness;
pub mod ledger;
pub mod memory;
pub mod reach;
#[cfg(test)]
mod tests;

use crate::event::Event;
use ledger::Ledger;
use phi_core::DomainIndex;
use phi_manifest::plan::Plan;
use std::fmt;

/// What must hold.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Property {
    /// Rights never grow, and no call succeeds without the rights that it needs.
    Rights,
    /// No use succeeds once a revocation has returned.
    Revocation,
    /// A message arrives at most once, unchanged, and in order; an answer answers its call.
    Delivery,
    /// Pages are mapped only for who holds them; quotas and counts add up.
    Memory,
    /// The most urgent ready thread runs, and none of equal urgency waits without end.
    Fairness,
    /// The short way of a call does what the long one does.
    Equivalence,
    /// What a device has acknowledged is there.
    Storage,
}

impl Property {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Property::Rights => "rights",
            Property::Revocation => "revocation",
            Property::Delivery => "delivery",
            Property::Memory => "memory",
            Property::Fairness => "fairness",
            Property::Equivalence => "equivalence",
            Property::Storage => "storage",
        }
    }
}

/// Something that must not have happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// What does not hold.
    pub property: Property,
    /// What happened.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.property.name(), self.what)
    }
}

/// A violation of `property`.
pub(crate) fn violates<T>(property: Property, what: impl Into<String>) -> Result<T, Violation> {
    Err(Violation { property, what: what.into() })
}

/// All checkers of a run.
pub struct Checkers {
    ledger: Ledger,
    memory: memory::Memory,
    reach: reach::Reach,
    fairness: fairness::Fairness,
}

impl Checkers {
    /// Checkers for a run of `plan` in the simulator that has not begun.
    pub fn new(plan: &Plan) -> Checkers {
        Checkers::of_machine(plan, true)
    }

    /// Checkers for what was recorded of a run of `plan`. When a thread that was let go on came to
    /// do something was up to Linux, and is not checked.
    pub fn of_recording(plan: &Plan) -> Checkers {
        Checkers::of_machine(plan, false)
    }

    fn of_machine(plan: &Plan, prompt: bool) -> Checkers {
        Checkers {
            ledger: Ledger::new(plan),
            memory: memory::Memory::new(plan),
            reach: reach::Reach::default(),
            fairness: fairness::Fairness::new(plan, prompt),
        }
    }

    /// Who holds what, as the calls and their answers say.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The domains that run, in order.
    pub fn running(&self) -> Vec<DomainIndex> {
        self.ledger.running()
    }

    /// Takes note of an event.
    ///
    /// # Errors
    /// The [`Violation`] that it shows.
    pub fn observe(&mut self, event: &Event) -> Result<(), Violation> {
        self.memory.observe(event, &self.ledger)?;
        self.reach.observe(event)?;
        self.fairness.observe(event, &self.ledger)?;
        self.ledger.observe(event)?;
        if let Event::Settled(_) = event {
            self.memory.settled(&mut self.ledger)?;
            self.reach.settled(&self.ledger)?;
        }
        Ok(())
    }
}
