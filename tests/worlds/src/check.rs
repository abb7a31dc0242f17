//! Compares a state of ΦCore with the books.

use crate::book::waits;
use crate::ledger::{End, Ledger, Record};
use crate::{BookMachine, Finding, Rule};
use phi_abi::layout::PAGE;
use phi_abi::{DomainState, Fault, FaultKind, Kind, Rights};
use phi_cap::{Capability, State};
use phi_core::{Account, Activity, DomainIndex, Holding, Kernel, ThreadIndex};
use phi_ipc::MailboxState;
use phi_manifest::plan::Plan;
use phi_mem::RegionState;
use std::collections::BTreeMap;

/// One state, to be compared.
pub(crate) struct Check<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) kernel: &'a Kernel<BookMachine>,
    pub(crate) ledger: &'a Ledger,
    pub(crate) held: &'a BTreeMap<u64, Holding>,
    pub(crate) findings: &'a mut Vec<Finding>,
}

impl Check<'_> {
    /// Checks everything.
    pub(crate) fn run(&mut self) {
        self.holdings();
        self.pages();
        self.replies();
        self.quotas();
        self.waits();
        self.endings();
        if let Some(text) = self.kernel.machine().breach {
            self.findings.push(Finding { rule: Rule::Contract, text });
        }
    }

    fn find(&mut self, holds: bool, rule: Rule, text: &'static str) {
        if !holds {
            self.findings.push(Finding { rule, text });
        }
    }

    fn domains(&self) -> impl Iterator<Item = DomainIndex> + use<> {
        (0..self.plan.services.len() as u16).map(DomainIndex)
    }

    fn threads(&self) -> Vec<ThreadIndex> {
        self.domains().flat_map(|domain| self.kernel.threads_of(domain)).collect()
    }

    /// Each capability stands, or not, and has the rights, as the books say.
    fn holdings(&mut self) {
        for (id, holding) in self.held {
            let Some(record) = self.ledger.records.get(id) else { continue };
            let Capability { kind, object, rights, .. } = holding.capability;
            let Record { end, rights: expected, .. } = *record;
            self.find(
                record.kind == kind && record.object == object,
                Rule::Custody,
                "a capability refers to something else",
            );
            if kind == Kind::Reply {
                continue;
            }
            let revoked = end == Some(End::Revoked);
            self.find(
                !revoked || holding.state == State::Revoked,
                Rule::Revocation,
                "what was revoked still stands",
            );
            let stands = end.is_none();
            self.find(
                !stands || holding.state == State::Held,
                Rule::Revocation,
                "what nobody took back does not stand",
            );
            let dead = end == Some(End::Dead);
            self.find(
                !dead || holding.state == State::Dead,
                Rule::Custody,
                "what has ended with its maker is not dead",
            );
            self.find(
                !stands || expected.contains(rights),
                Rule::Rights,
                "a capability has more rights than its source gave",
            );
            self.find(
                !stands || rights.contains(expected),
                Rule::Rights,
                "a capability has fewer rights than its source gave",
            );
        }
    }

    /// Exactly those pages are mapped that the capabilities in the books are used for.
    fn pages(&mut self) {
        let mut expected: BTreeMap<(u16, u32, u64), Rights> = BTreeMap::new();
        for record in self.ledger.records.values().filter(|record| record.end.is_none()) {
            let (Some(holder), Some((pages, access))) = (record.holder, record.mapped) else {
                continue;
            };
            for page in (pages.address..pages.address + pages.length).step_by(PAGE as usize) {
                *expected.entry((holder, record.object, page)).or_default() |= access;
            }
        }
        let mapped = &self.kernel.machine().pages;
        let within = mapped.iter().all(|(page, access)| {
            expected.get(page).is_some_and(|allowed| allowed.contains(*access))
        });
        let complete = expected
            .iter()
            .all(|(page, access)| mapped.get(page).is_some_and(|mapped| mapped.contains(*access)));
        self.find(within, Rule::Pages, "pages are mapped that nothing allows");
        self.find(complete, Rule::Pages, "pages are not mapped that should be");
    }

    /// A delivered call has exactly one reply that stands, and no other thread has any.
    fn replies(&mut self) {
        for thread in self.threads() {
            let to = |held: &&Holding| {
                let Capability { kind, object, .. } = held.capability;
                kind == Kind::Reply && object == u32::from(thread.0) && held.state == State::Held
            };
            let count = self.held.values().filter(to).count();
            let served = self.kernel.activity(thread) == Activity::Served;
            self.find(
                count == usize::from(served),
                Rule::Replies,
                "a delivered call has not exactly one reply",
            );
            let booked = self.ledger.waits.get(&thread.0).is_some_and(|wait| wait.reply.is_some());
            self.find(!served || booked, Rule::Replies, "a thread is served that did not call");
        }
    }

    /// What is used and what is free add up to the quotas.
    fn quotas(&mut self) {
        for domain in self.domains() {
            let Account { quota, region_memory, messages, free_handles, threads } =
                self.kernel.account(domain);
            let lineages = self.kernel.lineages_of(domain);
            let used = self.kernel.holdings_of(domain).count() as u32;
            self.find(used + free_handles == quota.handles, Rule::Quotas, "handles get lost");
            self.find(
                lineages == self.ledger.lineages_of(domain.0) && lineages <= quota.lineages,
                Rule::Quotas,
                "lineages are not charged as they are used",
            );
            let owned =
                |state: bool, owner: u16, planned: bool| state && owner == domain.0 && !planned;
            let regions = self.kernel.regions().iter();
            let memory: u64 = regions
                .filter(|held| owned(held.state != RegionState::Free, held.owner, held.planned))
                .map(|held| held.place.page_length())
                .sum();
            self.find(memory == region_memory, Rule::Quotas, "memory is not charged as it is used");
            let mailboxes = self.kernel.mailboxes().iter();
            let capacity: u32 = mailboxes
                .filter(|held| owned(held.state != MailboxState::Free, held.owner, held.planned))
                .map(|held| held.capacity)
                .sum();
            self.find(
                capacity == messages && messages <= quota.messages && threads <= quota.threads,
                Rule::Quotas,
                "messages or threads are not charged as they are used",
            );
        }
        let stored: usize =
            self.kernel.mailboxes().iter().map(|mailbox| mailbox.stored as usize).sum();
        let quotas = self.plan.services.iter().map(|service| service.quota.messages as usize);
        let planned = self.plan.mailboxes.iter().map(|mailbox| mailbox.capacity as usize);
        let places: usize = quotas.chain(planned).sum();
        self.find(
            stored + self.kernel.free_message_places() == places,
            Rule::Quotas,
            "places of messages get lost",
        );
        for (number, region) in (0u32..).zip(self.kernel.regions()) {
            let held = self.held.values().any(|held| {
                let Capability { kind, object, .. } = held.capability;
                kind == Kind::Region && object == number && held.state == State::Held
            });
            let leaked = region.state != RegionState::Free && !region.planned && !held;
            self.find(!leaked, Rule::Quotas, "a region that nobody holds is still there");
        }
    }

    /// Nobody waits for what is there, for what is gone, or through what was revoked.
    fn waits(&mut self) {
        for mailbox in self.kernel.mailboxes() {
            let both = !mailbox.queue.is_empty() && !mailbox.receivers.is_empty();
            self.find(!both, Rule::Waits, "a message and a receiver wait for each other");
            let open = mailbox.state == MailboxState::Open;
            let waited = !mailbox.queue.is_empty() || !mailbox.receivers.is_empty();
            self.find(open || !waited, Rule::Waits, "somebody waits at a mailbox that is gone");
        }
        for thread in self.threads() {
            let waits = waits(self.kernel.activity(thread));
            let booked = self.ledger.waits.contains_key(&thread.0);
            self.find(!waits || booked, Rule::Waits, "a wait outlives what it goes through");
        }
        let now = self.kernel.machine().clock;
        let overdue = self.kernel.next_deadline().is_some_and(|due| due <= now);
        self.find(!overdue, Rule::Waits, "a timeout has passed without effect");
    }

    /// A call ends at the latest when everybody else has. Only its own domain may keep it, and a server
    /// that has not been started yet: what comes before its first start waits for it.
    fn endings(&mut self) {
        for caller in self.threads() {
            let calls =
                matches!(self.kernel.activity(caller), Activity::Calling(_) | Activity::Served);
            if !calls || self.keeps_itself(caller) {
                continue;
            }
            let mut alone = self.kernel.clone();
            let own = self.kernel.domain_of(caller);
            let others = self.domains().filter(|domain| *domain != own && domain.0 != 0);
            let init = Some(DomainIndex(0)).filter(|init| *init != own);
            for domain in others.chain(init) {
                let (kind, address, instruction) = (FaultKind::Killed, 0, 0);
                alone.domain_lost(domain, Fault { kind, address, instruction });
            }
            let ended = !waits(alone.activity(caller));
            self.find(ended, Rule::Endings, "a call outlives everybody who could answer");
        }
    }

    /// Whether a caller waits for its own domain: at a mailbox that its domain serves or made, or for
    /// a reply that is stored there; or for a server's first start.
    fn keeps_itself(&self, caller: ThreadIndex) -> bool {
        let own = self.kernel.domain_of(caller).0;
        match self.kernel.activity(caller) {
            Activity::Calling(mailbox) => {
                let owner = self.kernel.mailboxes()[mailbox as usize].owner;
                let server = self.kernel.info(DomainIndex(owner));
                owner == own || server.state == DomainState::Created
            }
            _ => self.held.values().any(|held| {
                let Capability { kind, object, .. } = held.capability;
                kind == Kind::Reply && object == u32::from(caller.0) && held.domain.is_none()
            }),
        }
    }
}
