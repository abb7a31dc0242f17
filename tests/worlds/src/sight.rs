//! What a world is meant to reach. A world that never sees it has not tried what it is there for.

use crate::ledger::{End, Ledger, Revoker};
use crate::{Action, BookMachine, Verb};
use phi_abi::{Error, Outcome};
use phi_cap::State;
use phi_core::{Activity, DomainIndex, Kernel};
use phi_manifest::plan::Plan;
use phi_mem::RegionState;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Something that a world is meant to reach.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sight {
    /// A revocation ended a call that was delivered.
    CallRevoked,
    /// A loan was taken back before the answer.
    LoanRevoked,
    /// A capability was revoked while it travelled.
    RevokedInTransit,
    /// Lent pages outlive the domain that made them.
    Orphan,
    /// An answer finds nobody.
    LateAnswer,
    /// Time passed, and a wait ended by it.
    TimedOut,
    /// A domain runs in its second generation.
    Restarted,
    /// A chain of three capabilities, each revocable by the one before.
    Chain,
    /// Two calls are in one queue.
    Queue,
    /// Nobody but `init` can go on, and no time is due: two at least wait for each other.
    Standstill,
}

impl Sight {
    /// What it is called.
    pub const fn name(self) -> &'static str {
        match self {
            Sight::CallRevoked => "a delivered call is revoked",
            Sight::LoanRevoked => "a loan is revoked",
            Sight::RevokedInTransit => "a capability is revoked in transit",
            Sight::Orphan => "lent pages outlive their maker",
            Sight::LateAnswer => "an answer finds nobody",
            Sight::TimedOut => "a wait times out",
            Sight::Restarted => "a domain runs again",
            Sight::Chain => "a chain of revocable copies",
            Sight::Queue => "two calls in one queue",
            Sight::Standstill => "everybody waits",
        }
    }
}

/// Which sights have been seen.
#[derive(Clone, Default, Debug)]
pub struct Sightings(Arc<AtomicU32>);

impl Sightings {
    pub(crate) fn note(&self, sight: Sight) {
        self.0.fetch_or(1 << sight as u32, Ordering::Relaxed);
    }

    /// Whether a sight is among them.
    pub fn contains(&self, sight: Sight) -> bool {
        self.0.load(Ordering::Relaxed) & (1 << sight as u32) != 0
    }
}

/// One action, looked at.
pub(crate) struct Look<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) kernel: &'a Kernel<BookMachine>,
    pub(crate) was: &'a Ledger,
    pub(crate) now: &'a Ledger,
    pub(crate) action: &'a Action,
    pub(crate) outcome: Option<Outcome>,
}

impl Look<'_> {
    /// Notes what the action has shown.
    pub(crate) fn run(&self, seen: &Sightings) {
        let see = |happened: bool, sight: Sight| {
            if happened {
                seen.note(sight);
            }
        };
        let revokes = matches!(self.action, Action::Step { verb: Verb::Revoke(_), .. });
        see(revokes && self.delivered_call_ended(), Sight::CallRevoked);
        see(revokes && self.revoked(true, true), Sight::LoanRevoked);
        see(revokes && self.revoked(false, false), Sight::RevokedInTransit);
        let orphan = |state: RegionState| state == RegionState::Orphan;
        see(self.kernel.regions().iter().any(|region| orphan(region.state)), Sight::Orphan);
        see(self.late_answer(), Sight::LateAnswer);
        let ended = self.was.waits.len() > self.now.waits.len();
        see(*self.action == Action::Time && ended, Sight::TimedOut);
        let again = |domain| self.kernel.info(domain).generation > 1;
        see(self.domains().any(again), Sight::Restarted);
        let chain = |under: &[Revoker]| {
            under.iter().filter(|revoker| matches!(revoker, Revoker::Capability(_))).count() >= 2
        };
        see(self.now.records.values().any(|record| chain(&record.under)), Sight::Chain);
        see(self.queue(), Sight::Queue);
        see(self.standstill(), Sight::Standstill);
    }

    fn domains(&self) -> impl Iterator<Item = DomainIndex> + use<> {
        (0..self.plan.services.len() as u16).map(DomainIndex)
    }

    fn delivered_call_ended(&self) -> bool {
        let mut delivered = self.was.waits.iter().filter(|(_, wait)| wait.reply.is_some());
        delivered.any(|(thread, _)| !self.now.waits.contains_key(thread))
    }

    /// Whether a capability has just been revoked that is a loan or none, and is held or travels.
    fn revoked(&self, loan: bool, held: bool) -> bool {
        self.now.records.iter().any(|(id, record)| {
            let stood = self.was.records.get(id).is_some_and(|was| was.end.is_none());
            let ended = stood && record.end == Some(End::Revoked);
            ended && record.loan == loan && record.holder.is_some() == held
        })
    }

    fn late_answer(&self) -> bool {
        let Action::Step { verb: Verb::Reply(_), through: Some(reply), .. } = self.action else {
            return false;
        };
        let refused = self.outcome == Some(Outcome::failure(Error::Dead));
        refused && reply.state == State::Dead
    }

    fn activities(&self, domain: DomainIndex) -> impl Iterator<Item = Activity> + '_ {
        self.kernel.threads_of(domain).map(|thread| self.kernel.activity(thread))
    }

    fn queue(&self) -> bool {
        (0..self.kernel.mailboxes().len() as u32).any(|mailbox| {
            let calls = self.domains().flat_map(|domain| self.activities(domain));
            calls.filter(|activity| *activity == Activity::Calling(mailbox)).count() >= 2
        })
    }

    fn standstill(&self) -> bool {
        let services = self.domains().skip(1);
        let mut activities = services.flat_map(|domain| self.activities(domain));
        let runs = activities.any(|activity| activity == Activity::Dispatched);
        !runs && self.kernel.next_deadline().is_none() && self.now.waits.len() >= 2
    }
}
