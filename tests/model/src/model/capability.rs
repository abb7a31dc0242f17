//! Capabilities: the tree, and how they end.

use super::{Activity, Capability, Life, MailboxLife, Model, Place, Region, Stop};
use phi_abi::{Error, FaultKind, Kind, Rights};

impl Capability {
    /// A capability of the plan or of a create call.
    pub(super) fn new(kind: Kind, rights: Rights, object: usize, place: Place) -> Capability {
        Capability {
            kind,
            rights,
            object,
            badge: 0,
            parent: None,
            place,
            life: Life::Held,
            charged: None,
            loan: None,
            loans: Vec::new(),
            mapped: Rights::empty(),
        }
    }

    /// Whether somebody has it, and it stands.
    pub fn is_held(&self) -> bool {
        self.life == Life::Held && self.place != Place::Nowhere
    }
}

impl Model {
    pub(super) fn add(&mut self, capability: Capability) -> usize {
        self.capabilities.push(capability);
        self.capabilities.len() - 1
    }

    /// Those by whose revocation what comes from `parent` ends, `parent` first.
    fn ancestors(&self, parent: Option<usize>) -> impl Iterator<Item = usize> + '_ {
        std::iter::successors(parent, |capability| self.capabilities[*capability].parent)
    }

    pub(super) fn comes_from(&self, parent: Option<usize>, ancestor: usize) -> bool {
        self.ancestors(parent).any(|other| other == ancestor)
    }

    /// How many revocations could end a capability.
    pub fn depth(&self, capability: usize) -> usize {
        let stands = |capability: &usize| {
            let held = &self.capabilities[*capability];
            held.loan.map_or(held.charged.is_some(), |loan| !loan.over)
        };
        let own = usize::from(self.capabilities[capability].loan.is_some());
        own + self.ancestors(self.capabilities[capability].parent).filter(stands).count()
    }

    /// How many revocable sources and loans a domain pays for.
    pub(super) fn lineages_left(&self, domain: usize) -> u32 {
        let used = |held: &&Capability| {
            let lends = held.loan.is_some_and(|loan| loan.payer == domain && !loan.over);
            lends || held.charged == Some(domain)
        };
        let used = self.capabilities.iter().filter(used).count() as u32;
        self.domains[domain].quota.lineages - used
    }

    /// What a handle names, for a call that takes one of `kinds` and needs `rights`. What is wrong
    /// with it is added to `stops`.
    pub(super) fn check(
        &self,
        domain: usize,
        handle: u64,
        kinds: &[Kind],
        rights: Rights,
        stops: &mut Vec<Stop>,
    ) -> Option<usize> {
        let named = self.domains[domain].table.get(&handle).copied();
        let fits = named.filter(|named| kinds.contains(&self.capabilities[*named].kind));
        let Some(found) = fits else {
            stops.push(Stop::Fault(FaultKind::BadHandle, handle));
            return None;
        };
        let held = &self.capabilities[found];
        match held.life {
            Life::Revoked => stops.push(Stop::Error(Error::Revoked)),
            Life::Dead => stops.push(Stop::Error(Error::Dead)),
            Life::Held if !held.rights.contains(rights) => stops.push(Stop::Error(Error::Denied)),
            Life::Held => {}
        }
        Some(found)
    }

    /// Takes a capability out of wherever it is.
    pub(super) fn detach(&mut self, capability: usize) {
        self.capabilities[capability].place = Place::Nowhere;
        self.capabilities[capability].mapped = Rights::empty();
        for domain in &mut self.domains {
            domain.table.retain(|_, other| *other != capability);
        }
    }

    /// Drops a capability: what was derived from it stays.
    pub(super) fn release(&mut self, capability: usize) {
        self.detach(capability);
        let held = &mut self.capabilities[capability];
        let (kind, life, object) = (held.kind, held.life, held.object);
        held.charged = None;
        if kind == Kind::Reply {
            self.end_loans(capability);
            if life == Life::Held {
                self.fail(object, Error::Dead);
            }
        }
    }

    /// Leaves `life` of a capability for its holder to find.
    pub(super) fn bury(&mut self, capability: usize, life: Life) {
        let held = &mut self.capabilities[capability];
        if held.is_held() {
            held.life = life;
            held.mapped = Rights::empty();
            held.charged = None;
        }
    }

    /// Buries what comes from `source`, but not `source`; ends waits and bindings through it.
    pub(super) fn revoke_below(&mut self, source: usize) {
        for other in 0..self.capabilities.len() {
            if self.comes_from(self.capabilities[other].parent, source) {
                self.bury(other, Life::Revoked);
            }
        }
        self.capabilities[source].charged = None;
        for thread in 0..self.threads.len() {
            let held = &self.threads[thread];
            let waits =
                !matches!(held.activity, Activity::Running | Activity::Sleeping | Activity::Gone);
            if !waits || !self.comes_from(held.through, source) {
                continue;
            }
            if let Activity::Served(reply) = held.activity {
                self.end_loans(reply);
                self.bury(reply, Life::Dead);
            }
            self.fail(thread, Error::Revoked);
        }
        for signal in 0..self.signals.len() {
            let Some((_, parents)) = self.signals[signal].binding else { continue };
            if parents.iter().any(|parent| self.comes_from(*parent, source)) {
                self.unbind(signal);
            }
        }
    }

    /// Ends the loans of a call; nobody but the lender has their pages afterwards.
    pub(super) fn end_loans(&mut self, reply: usize) {
        for loan in std::mem::take(&mut self.capabilities[reply].loans) {
            if let Some(pages) = &mut self.capabilities[loan].loan {
                pages.over = true;
            }
            self.bury(loan, Life::Revoked);
            for other in 0..self.capabilities.len() {
                if self.comes_from(self.capabilities[other].parent, loan) {
                    self.bury(other, Life::Revoked);
                }
            }
        }
    }

    /// Buries every capability to an object, but for loans.
    pub(super) fn bury_object(&mut self, kinds: &[Kind], object: usize) {
        for capability in 0..self.capabilities.len() {
            let held = &self.capabilities[capability];
            if kinds.contains(&held.kind) && held.object == object && held.loan.is_none() {
                self.bury(capability, Life::Dead);
            }
        }
    }

    fn is_referred_to(&self, kinds: &[Kind], object: usize) -> bool {
        let refers = |held: &Capability| {
            held.is_held() && kinds.contains(&held.kind) && held.object == object
        };
        self.capabilities.iter().any(refers)
    }

    /// Ends objects without capabilities, and what that leaves without any, until there are none.
    pub(super) fn collect(&mut self) {
        loop {
            let region = (0..self.regions.len()).find(|region| {
                let Region { alive, owner, .. } = &self.regions[*region];
                *alive && owner.is_some() && !self.is_referred_to(&[Kind::Region], *region)
            });
            let mailbox = (0..self.mailboxes.len()).find(|mailbox| {
                let held = &self.mailboxes[*mailbox];
                !held.planned
                    && held.life != MailboxLife::Ended
                    && !self.is_referred_to(&[Kind::Mailbox, Kind::Object], *mailbox)
            });
            let signal = (0..self.signals.len()).find(|signal| {
                let held = &self.signals[*signal];
                held.alive && !held.planned && !self.is_referred_to(&[Kind::Signal], *signal)
            });
            match (region, mailbox, signal) {
                (Some(region), _, _) => self.regions[region].alive = false,
                (_, Some(mailbox), _) => self.end_mailbox(mailbox),
                (_, _, Some(signal)) => self.end_signal(signal),
                (None, None, None) => return,
            }
        }
    }
}
