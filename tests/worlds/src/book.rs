//! How the books follow one action. What must have happened is read off the action, its outcome and the
//! rules of `docs/syscalls.md`; ΦCore's state is only looked at for new ids and for who holds what.

use crate::ledger::{Carried, Ledger, Record, Revoker, Wait};
use crate::{Action, BookMachine, Finding, Rule, Verb};
use phi_abi::layout::PAGE;
use phi_abi::{Handle, Kind, Mode, Outcome, Rights};
use phi_core::{Activity, DomainIndex, Holding, Kernel, Span, ThreadIndex};
use phi_manifest::plan::{Plan, Target};
use std::collections::BTreeMap;

/// One action, as it is entered into the books.
pub(crate) struct Entry<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) before: &'a Kernel<BookMachine>,
    pub(crate) after: &'a Kernel<BookMachine>,
    pub(crate) ledger: &'a mut Ledger,
    pub(crate) findings: &'a mut Vec<Finding>,
    /// What is held now, by id.
    pub(crate) held: BTreeMap<u64, Holding>,
}

/// Whether a call succeeded; `None` when its thread waits or is gone.
pub(crate) fn succeeded(outcome: Option<Outcome>) -> bool {
    outcome.is_some_and(|outcome| outcome.status == 0)
}

impl Entry<'_> {
    fn find(&mut self, holds: bool, rule: Rule, text: &'static str) {
        if !holds {
            self.findings.push(Finding { rule, text });
        }
    }

    fn holder(&self, id: u64) -> Option<u16> {
        self.held.get(&id).and_then(|holding| holding.domain).map(|domain| domain.0)
    }

    fn record(&self, id: u64) -> Option<&Record> {
        self.ledger.records.get(&id)
    }

    fn has(&self, id: u64, rights: Rights) -> bool {
        self.record(id).is_some_and(|record| record.rights.contains(rights))
    }

    /// Enters everything that the action did.
    pub(crate) fn enter(&mut self, action: &Action, outcome: Option<Outcome>) {
        let mut gone = None;
        let mut moved = None;
        if let Action::Step { domain, thread, verb, through, passed } = *action {
            let through = through.map(|through| through.capability.id);
            let passed = passed.map(|passed| passed.capability.id);
            self.refuse_what_ended(verb, through, thread, outcome);
            if succeeded(outcome) {
                self.enter_success(domain, verb, through, outcome.map_or(0, |done| done.value));
                moved = self.enter_passed(verb, passed);
            } else if outcome.is_none() {
                self.enter_wait(thread, verb, through, passed);
            }
            let uses_up = matches!(verb, Verb::Drop(_) | Verb::Reply(_));
            gone = through.filter(|_| uses_up);
        }
        moved = moved.or_else(|| self.enter_delivery());
        self.enter_ends();
        self.enter_gone(gone);
        self.enter_holders(moved);
        let unknown = self.held.keys().any(|id| !self.ledger.records.contains_key(id));
        self.find(!unknown, Rule::Custody, "a capability comes from nowhere");
        let after = self.after;
        self.ledger.waits.retain(|thread, _| waits(after.activity(ThreadIndex(*thread))));
    }

    /// Whatever has ended is refused, in every call but a drop.
    fn refuse_what_ended(
        &mut self,
        verb: Verb,
        through: Option<u64>,
        thread: ThreadIndex,
        outcome: Option<Outcome>,
    ) {
        let Some(record) = through.and_then(|id| self.record(id)) else { return };
        let accepted = succeeded(outcome) || waits(self.after.activity(thread));
        if record.end.is_some() && accepted && !matches!(verb, Verb::Drop(_)) {
            self.find(false, Rule::Revocation, "a call through what has ended was accepted");
        }
    }

    fn enter_success(&mut self, domain: DomainIndex, verb: Verb, through: Option<u64>, value: u64) {
        let made = self.after.holdings_of(domain).find(|held| held.handle == Handle(value));
        let source = through.unwrap_or(0);
        match (verb, made) {
            (Verb::Derive(_, rights, revocable), Some(made)) => {
                let id = made.capability.id;
                let allowed = self.ledger.enter_copy(id, source, rights, Some(domain.0));
                self.find(allowed, Rule::Rights, "a copy has more than its source may give");
                if revocable {
                    self.ledger.make_revocable(id, source, domain.0);
                }
            }
            (Verb::Mint(rights), Some(made)) => {
                let allowed = self.has(source, Rights::RECEIVE);
                self.find(allowed, Rule::Rights, "an object is minted without RECEIVE");
                if let Some(source) = self.record(source).cloned() {
                    let (kind, holder) = (Kind::Object, Some(domain.0));
                    let minted = Record { kind, rights, holder, ..source };
                    self.ledger.records.insert(made.capability.id, minted);
                }
            }
            (Verb::CreateRegion | Verb::CreateMailbox, Some(made)) => {
                let kind = made.capability.kind;
                let root = (kind, made.capability.object, kind.rights());
                let owner = Some(domain.0);
                self.ledger.enter_root(made.capability.id, root, domain.0, owner);
            }
            (Verb::Map(access), _) => {
                let allowed = self.has(source, access);
                self.find(allowed, Rule::Rights, "pages are mapped with more than the rights");
                let object = self.record(source).map_or(0, |record| record.object);
                let place = self.after.regions()[object as usize].place;
                let pages = Span { address: place.address, length: place.page_length() };
                self.set_mapped(source, Some((pages, access)));
            }
            (Verb::Unmap, _) => self.set_mapped(source, None),
            (Verb::Revoke(_), _) => {
                let allowed = self.has(source, Rights::DERIVE);
                self.find(allowed, Rule::Rights, "a revocation without DERIVE");
                self.ledger.revoke(Revoker::Capability(source));
            }
            (Verb::Send(_), _) => {
                let allowed = self.has(source, Rights::SEND);
                self.find(allowed, Rule::Rights, "a message is sent without SEND");
            }
            (Verb::Reply(_), _) => {
                let used_up = !self.held.contains_key(&source);
                self.find(used_up, Rule::Replies, "an answer leaves its reply behind");
            }
            (Verb::Start, _) => self.enter_start(source),
            _ => {}
        }
    }

    fn set_mapped(&mut self, id: u64, mapped: Option<(Span, Rights)>) {
        if let Some(record) = self.ledger.records.get_mut(&id) {
            record.mapped = mapped;
        }
    }

    /// A started domain holds what the plan says.
    fn enter_start(&mut self, source: u64) {
        let Some(started) = self.record(source).map(|record| record.object) else { return };
        let domain = DomainIndex(started as u16);
        enter_planned(self.plan, self.after, domain, self.ledger);
    }

    /// What a send or an answer passes on: it has gone when the call returns. The one that moved.
    fn enter_passed(&mut self, verb: Verb, passed: Option<u64>) -> Option<u64> {
        if !matches!(verb, Verb::Send(_) | Verb::Reply(_)) {
            return None;
        }
        let (passing, id) = (crate::action::passing(verb)?, passed?);
        let pages = None;
        self.enter_grant(Carried { id, passing, pages }, None)
    }

    /// One capability that is passed on, by a loan until the end of the call of `reply`. The id of the
    /// one that moved.
    fn enter_grant(&mut self, carried: Carried, reply: Option<(u64, u16)>) -> Option<u64> {
        let Carried { id, passing, .. } = carried;
        let rights = passing.rights;
        match passing.mode {
            Mode::Move => {
                if self.held.get(&id).map(|held| held.domain.map(|domain| domain.0))
                    == self.record(id).map(|record| record.holder)
                {
                    return None;
                }
                let allowed = self.has(id, rights | Rights::TRANSFER)
                    && self.record(id).is_some_and(|record| !record.loan && record.end.is_none());
                self.find(allowed, Rule::Rights, "a capability moved that may not");
                if let Some(record) = self.ledger.records.get_mut(&id) {
                    record.rights = rights;
                    record.mapped = None;
                }
                Some(id)
            }
            Mode::Copy => {
                let new = self.unknown()?;
                let holder = self.holder(new);
                let allowed = self.ledger.enter_copy(new, id, rights, holder)
                    && self.has(id, Rights::TRANSFER);
                self.find(allowed, Rule::Rights, "a capability was copied that may not");
                None
            }
            Mode::Loan => {
                let new = self.unknown()?;
                let (reply, payer) = reply?;
                let holder = self.holder(new)?;
                let allowed = self.ledger.enter_loan(new, carried, reply, holder, payer);
                self.find(allowed, Rule::Rights, "pages are lent with more than the rights");
                None
            }
        }
    }

    /// A capability that is not in the books yet, and no reply.
    fn unknown(&self) -> Option<u64> {
        let new = |(id, held): &(&u64, &Holding)| {
            held.capability.kind != Kind::Reply && !self.ledger.records.contains_key(id)
        };
        self.held.iter().find(new).map(|(id, _)| *id)
    }

    /// A thread waits, or its domain has ended.
    fn enter_wait(
        &mut self,
        thread: ThreadIndex,
        verb: Verb,
        through: Option<u64>,
        passed: Option<u64>,
    ) {
        let Some(source) = through.filter(|_| waits(self.after.activity(thread))) else { return };
        let needed = match verb {
            Verb::Call(..) => Rights::CALL,
            _ => Rights::RECEIVE,
        };
        let allowed = self.has(source, needed);
        self.find(allowed, Rule::Rights, "a call or a receive without the right to it");
        let under = self.record(source).map(|record| record.under.clone()).unwrap_or_default();
        let carried = crate::action::passing(verb).zip(passed).map(|(passing, id)| {
            let object = self.record(id).filter(|record| record.kind == Kind::Region);
            let place = object.map(|record| self.before.regions()[record.object as usize].place);
            let pages = place.map(|place| Span { address: place.address, length: PAGE });
            Carried { id, passing, pages }
        });
        self.ledger.waits.insert(thread.0, Wait { under, carried, reply: None });
    }

    /// A call that was delivered in this action, and what it carried. The capability that moved.
    fn enter_delivery(&mut self) -> Option<u64> {
        let new = |held: &&Holding| {
            let Holding { capability, .. } = held;
            capability.kind == Kind::Reply && !self.ledger.records.contains_key(&capability.id)
        };
        let reply = *self.held.values().find(new)?;
        let (id, caller) = (reply.capability.id, reply.capability.object as u16);
        let holder = reply.domain.map_or(0, |domain| domain.0);
        let root = (Kind::Reply, u32::from(caller), Kind::Reply.rights());
        self.ledger.enter_root(id, root, holder, None);
        let Some(wait) = self.ledger.waits.get_mut(&caller) else {
            self.find(false, Rule::Replies, "a reply to a thread that did not call");
            return None;
        };
        let twice = wait.reply.replace(id).is_some();
        let carried = wait.carried.take();
        self.find(!twice, Rule::Replies, "a call is delivered twice");
        let payer = self.after.domain_of(ThreadIndex(caller)).0;
        self.enter_grant(carried?, Some((id, payer)))
    }

    /// Domains that have ended in this action.
    fn enter_ends(&mut self) {
        for domain in 0..self.plan.services.len() as u16 {
            let index = DomainIndex(domain);
            let [was, is] = [self.before, self.after].map(|kernel| kernel.account(index).threads);
            if was == 0 || is > 0 {
                continue;
            }
            let records = self.ledger.records.iter();
            let held = records.filter(|(_, record)| record.holder == Some(domain));
            let held: Vec<u64> = held.map(|(id, _)| *id).collect();
            for thread in self.after.threads_of(index) {
                self.ledger.waits.remove(&thread.0);
            }
            for id in held {
                let gone = !self.held.contains_key(&id);
                self.find(gone, Rule::Custody, "an ended domain holds something");
                self.ledger.drop_record(id);
            }
            self.ledger.end_owner(domain);
        }
    }

    /// What is gone from the table. `expected` was used up by the call.
    fn enter_gone(&mut self, expected: Option<u64>) {
        let gone: Vec<u64> =
            self.ledger.records.keys().filter(|id| !self.held.contains_key(id)).copied().collect();
        for id in gone {
            let travelled = self.record(id).is_some_and(|record| record.holder.is_none());
            let explained = travelled || expected == Some(id);
            self.find(explained, Rule::Custody, "a capability is lost");
            self.ledger.drop_record(id);
        }
    }

    /// Who holds what now. Only what moved, or travelled, has a new holder.
    fn enter_holders(&mut self, moved: Option<u64>) {
        for (id, record) in &mut self.ledger.records {
            let Some(held) = self.held.get(id) else { continue };
            let holder = held.domain.map(|domain| domain.0);
            if holder != record.holder {
                let explained = record.holder.is_none() || moved == Some(*id);
                if !explained {
                    let text = "a capability has a new holder though nobody gave it away";
                    self.findings.push(Finding { rule: Rule::Custody, text });
                }
                record.holder = holder;
            }
        }
    }
}

/// Whether a thread waits for another.
pub(crate) fn waits(activity: Activity) -> bool {
    matches!(
        activity,
        Activity::Calling(_) | Activity::Served | Activity::Receiving(_) | Activity::Waiting(..)
    )
}

/// Enters what a domain begins with. What it holds that is not in its plan stays out of the books, and
/// is found there.
pub(crate) fn enter_planned(
    plan: &Plan,
    kernel: &Kernel<BookMachine>,
    domain: DomainIndex,
    ledger: &mut Ledger,
) {
    for held in kernel.holdings_of(domain) {
        let (kind, object) = (held.capability.kind, held.capability.object);
        let target = match kind {
            Kind::Mailbox => Target::Mailbox(object as u16),
            Kind::Domain => Target::Domain(object as u16),
            Kind::Signal => Target::Events,
            _ => continue,
        };
        let service = &plan.services[usize::from(domain.0)];
        if let Some(planned) = service.capabilities.iter().find(|other| other.target == target) {
            let rights = Rights::from_bits_retain(planned.rights);
            ledger.enter_root(held.capability.id, (kind, object, rights), domain.0, None);
        }
    }
}
