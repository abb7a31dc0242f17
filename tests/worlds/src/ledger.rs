//! The model's own books: what each capability may be, derived from the calls alone and by other means
//! than ΦCore's. There are no versions here: every capability lists who can take it back.

use phi_abi::{Kind, Rights};
use phi_core::Span;
use std::collections::{BTreeMap, BTreeSet};

/// What a loan may carry, whatever was asked for.
pub(crate) const LOAN_RIGHTS: Rights = Rights::READ.union(Rights::WRITE).union(Rights::TRANSFER);

/// Who can take a capability back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Revoker {
    /// The holder of the capability with this id.
    Capability(u64),
    /// The end of the call whose reply has this id.
    Call(u64),
}

/// How a capability came to its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    Revoked,
    Dead,
}

/// What the books say of one capability.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) kind: Kind,
    pub(crate) object: u32,
    /// The rights that it has.
    pub(crate) rights: Rights,
    /// Who can take it back.
    pub(crate) under: Vec<Revoker>,
    /// The domain with which its object ends.
    pub(crate) owner: Option<u16>,
    pub(crate) end: Option<End>,
    /// The domain that holds it; `None` while it travels.
    pub(crate) holder: Option<u16>,
    /// The pages that its holder uses through it.
    pub(crate) mapped: Option<(Span, Rights)>,
    pub(crate) loan: bool,
}

/// A capability that a call carries and that is not delivered yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Carried {
    pub(crate) id: u64,
    pub(crate) passing: crate::Passing,
    pub(crate) pages: Option<Span>,
}

/// A call under way.
#[derive(Clone, Debug)]
pub(crate) struct Wait {
    pub(crate) under: Vec<Revoker>,
    pub(crate) carried: Option<Carried>,
    /// The id of its reply, once it is delivered.
    pub(crate) reply: Option<u64>,
}

/// The books of one state.
#[derive(Clone, Default, Debug)]
pub(crate) struct Ledger {
    pub(crate) records: BTreeMap<u64, Record>,
    /// Calls, receives and waits that have not ended, by thread.
    pub(crate) waits: BTreeMap<u16, Wait>,
    /// Who pays for a lineage: of a capability's revocable copies, or of one loan.
    pub(crate) lineages: BTreeMap<u64, u16>,
    /// Loans by the reply that ends them.
    pub(crate) loans: BTreeMap<u64, BTreeSet<u64>>,
}

impl Ledger {
    /// Enters a capability that nobody can take back.
    pub(crate) fn enter_root(
        &mut self,
        id: u64,
        (kind, object, rights): (Kind, u32, Rights),
        holder: u16,
        owner: Option<u16>,
    ) {
        let (under, end, mapped, loan) = (Vec::new(), None, None, false);
        let holder = Some(holder);
        self.records
            .insert(id, Record { kind, object, rights, under, owner, end, holder, mapped, loan });
    }

    /// Enters a copy of `source`. False when the source cannot have one with these rights.
    pub(crate) fn enter_copy(
        &mut self,
        id: u64,
        source: u64,
        rights: Rights,
        holder: Option<u16>,
    ) -> bool {
        let Some(record) = self.records.get(&source).cloned() else { return false };
        let allowed =
            record.end.is_none() && !record.loan && record.rights.contains(rights | Rights::DERIVE);
        self.records.insert(id, Record { rights, holder, mapped: None, ..record });
        allowed
    }

    /// Makes `id` a revocable copy of `source`, whose first one `payer` pays for.
    pub(crate) fn make_revocable(&mut self, id: u64, source: u64, payer: u16) {
        self.lineages.entry(source).or_insert(payer);
        if let Some(record) = self.records.get_mut(&id) {
            record.under.insert(0, Revoker::Capability(source));
        }
    }

    /// Enters a loan of what `carried` names until the end of the call of `reply`. False when the
    /// source cannot be lent so.
    pub(crate) fn enter_loan(
        &mut self,
        id: u64,
        carried: Carried,
        reply: u64,
        holder: u16,
        payer: u16,
    ) -> bool {
        let Carried { id: source, passing, pages } = carried;
        let Some(record) = self.records.get(&source).cloned() else { return false };
        let rights = passing.rights & LOAN_RIGHTS;
        let allowed = record.end.is_none() && record.rights.contains(rights | Rights::TRANSFER);
        let mut under = record.under.clone();
        under.insert(0, Revoker::Call(reply));
        let access = rights & (Rights::READ | Rights::WRITE);
        let mapped = pages.map(|pages| (pages, access));
        let (holder, loan) = (Some(holder), true);
        self.records.insert(id, Record { rights, under, holder, mapped, loan, ..record });
        self.lineages.insert(id, payer);
        self.loans.entry(reply).or_default().insert(id);
        allowed
    }

    /// Everything that `revoker` can take back has ended.
    pub(crate) fn revoke(&mut self, revoker: Revoker) {
        if let Revoker::Capability(id) = revoker {
            self.lineages.remove(&id);
        }
        let mut ended = Vec::new();
        for (id, record) in &mut self.records {
            if record.end.is_none() && record.under.contains(&revoker) {
                record.end = Some(End::Revoked);
                record.mapped = None;
                ended.push((*id, record.loan));
            }
        }
        // Whoever had derived revocably from what is gone has nothing to revoke any more; the lineage
        // of a loan is its call's.
        for (id, loan) in ended {
            if !loan {
                self.lineages.remove(&id);
            }
        }
        let (over, waits) = std::mem::take(&mut self.waits)
            .into_iter()
            .partition(|(_, wait)| wait.under.contains(&revoker));
        self.waits = waits;
        let over: BTreeMap<u16, Wait> = over;
        over.values().filter_map(|wait| wait.reply).for_each(|reply| self.end_call(reply));
    }

    /// The call of `reply` is over, with its loans.
    pub(crate) fn end_call(&mut self, reply: u64) {
        for loan in self.loans.remove(&reply).unwrap_or_default() {
            self.lineages.remove(&loan);
        }
        self.revoke(Revoker::Call(reply));
    }

    /// The capability is gone. What was derived from it belongs to what it belonged to.
    pub(crate) fn drop_record(&mut self, id: u64) -> Option<Record> {
        let record = self.records.remove(&id)?;
        if record.kind == Kind::Reply {
            self.end_call(id);
        } else if !record.loan {
            self.dissolve(id);
        }
        Some(record)
    }

    fn dissolve(&mut self, id: u64) {
        self.lineages.remove(&id);
        let gone = Revoker::Capability(id);
        let records = self.records.values_mut().map(|record| &mut record.under);
        let waits = self.waits.values_mut().map(|wait| &mut wait.under);
        records.chain(waits).for_each(|under| under.retain(|revoker| *revoker != gone));
    }

    /// A domain has ended, and with it what it made. Lent pages stay until the answer.
    pub(crate) fn end_owner(&mut self, domain: u16) {
        let mut dead = Vec::new();
        for (id, record) in &mut self.records {
            if record.owner == Some(domain) && record.end.is_none() && !record.loan {
                record.end = Some(End::Dead);
                record.mapped = None;
                dead.push(*id);
            }
        }
        dead.into_iter().for_each(|id| self.dissolve(id));
    }

    /// Lineages that a domain pays for.
    pub(crate) fn lineages_of(&self, domain: u16) -> u32 {
        self.lineages.values().filter(|payer| **payer == domain).count() as u32
    }
}
