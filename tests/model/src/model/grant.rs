//! Capabilities in messages.

use super::{Arrived, Capability, Life, Loan, Model, Place, Stop};
use phi_abi::layout::PAGE;
use phi_abi::{Error, FaultKind, Grant, Kind, LINEAGE_DEPTH, Message, Mode, Rights};

/// What a loan may carry.
const LOAN_RIGHTS: Rights = Rights::READ.union(Rights::WRITE).union(Rights::TRANSFER);

/// Rights that mean something on `kind`.
pub(super) fn known_rights(kind: Kind, given: u64, stops: &mut Vec<Stop>) -> Rights {
    let rights = u32::try_from(given).ok().and_then(Rights::from_bits);
    let known = rights.filter(|rights| kind.rights().contains(*rights));
    if known.is_none() {
        stops.push(Stop::Fault(FaultKind::BadArgument, given));
    }
    known.unwrap_or_default()
}

impl Model {
    /// What is wrong with the capabilities of a message; `consumed` is a handle that the call uses up.
    pub(super) fn grant_stops(
        &self,
        domain: usize,
        message: &Message,
        loans: bool,
        consumed: Option<u64>,
    ) -> Vec<Stop> {
        let mut stops = Vec::new();
        let grants = message.grants();
        let moves = |grant: &Grant| Model::mode(grant) == Some(Mode::Move);
        for (number, grant) in grants.iter().enumerate() {
            let twice = grants[..number]
                .iter()
                .any(|other| other.handle == grant.handle && (moves(other) || moves(grant)));
            if twice || consumed == Some(grant.handle.0) {
                stops.push(Stop::Fault(FaultKind::BadArgument, grant.handle.0));
            }
            match Model::mode(grant) {
                Some(Mode::Loan) if loans => self.loan_stops(domain, grant, &mut stops),
                Some(mode @ (Mode::Move | Mode::Copy)) => {
                    self.pass_stops(domain, grant, mode, &mut stops);
                }
                _ => stops.push(Stop::Fault(FaultKind::BadArgument, u64::from(grant.mode))),
            }
        }
        let lent = grants.iter().filter(|grant| Model::mode(grant) == Some(Mode::Loan)).count();
        if lent as u32 > self.lineages_left(domain) {
            stops.push(Stop::Error(Error::QuotaExceeded));
        }
        stops
    }

    fn pass_stops(&self, domain: usize, grant: &Grant, mode: Mode, stops: &mut Vec<Stop>) {
        let Some(found) = self.domains[domain].table.get(&grant.handle.0).copied() else {
            stops.push(Stop::Fault(FaultKind::BadHandle, grant.handle.0));
            return;
        };
        let held = &self.capabilities[found];
        let rights = known_rights(held.kind, u64::from(grant.rights), stops);
        let needed = match mode {
            Mode::Copy => Rights::TRANSFER | Rights::DERIVE,
            _ => Rights::TRANSFER,
        };
        self.check(domain, grant.handle.0, &[held.kind], needed | rights, stops);
        if held.life == Life::Held && held.loan.is_some() {
            stops.push(Stop::Error(Error::Denied));
        }
    }

    fn loan_stops(&self, domain: usize, grant: &Grant, stops: &mut Vec<Stop>) {
        let rights = known_rights(Kind::Region, u64::from(grant.rights), stops);
        if !rights.contains(Rights::READ) {
            stops.push(Stop::Fault(FaultKind::BadArgument, u64::from(grant.rights)));
        }
        let needed = Rights::TRANSFER | (rights & LOAN_RIGHTS);
        let found = self.check(domain, grant.handle.0, &[Kind::Region], needed, stops);
        let Some(found) = found.filter(|found| self.capabilities[*found].life == Life::Held) else {
            return;
        };
        if self.lent_pages(&self.capabilities[found], grant).is_none() {
            stops.push(Stop::Fault(FaultKind::BadArgument, grant.address));
        }
        if self.depth(found) >= LINEAGE_DEPTH {
            stops.push(Stop::Error(Error::TooDeep));
        }
    }

    /// Address and bytes of the pages under a loan, if they are the holder's to lend.
    fn lent_pages(&self, held: &Capability, grant: &Grant) -> Option<(u64, u64)> {
        let region = &self.regions[held.object];
        let (start, end) = (u128::from(grant.address), u128::from(grant.address));
        let end = end + u128::from(grant.length);
        let (first, last) = (u128::from(region.address), u128::from(region.address));
        if grant.length == 0 || start < first || end > last + u128::from(region.length) {
            return None;
        }
        let page = u128::from(PAGE);
        let (start, end) = (start / page * page, end.div_ceil(page) * page);
        if let Some(lent) = held.loan {
            let (first, length) = (u128::from(lent.address), u128::from(lent.length));
            if start < first || end > first + length {
                return None;
            }
        }
        Some((start as u64, (end - start) as u64))
    }

    /// Passes the capability that a grant names on to a domain.
    pub(super) fn pass(
        &mut self,
        from: usize,
        grant: &Grant,
        to: usize,
        loans: &mut Vec<usize>,
    ) -> Arrived {
        let found = self.domains[from].table.get(&grant.handle.0).copied();
        let held = found.filter(|found| self.capabilities[*found].life == Life::Held);
        let passed = match held.filter(|_| self.slots_left(to) > 0) {
            None => None,
            Some(found) if Model::mode(grant) == Some(Mode::Loan) => {
                let lent = self.lend(from, found, grant, to);
                loans.extend(lent);
                lent
            }
            Some(found) => Some(self.take(found, grant, Place::Table(to))),
        };
        self.arrived(grant, passed)
    }

    /// How the receiver finds a grant.
    pub(super) fn arrived(&self, grant: &Grant, capability: Option<usize>) -> Arrived {
        let (mut address, mut length) = (0, 0);
        if let Some(held) = capability.map(|capability| &self.capabilities[capability]) {
            if held.loan.is_some() {
                (address, length) = (grant.address, grant.length);
            } else if held.kind == Kind::Region {
                let region = &self.regions[held.object];
                (address, length) = (region.address, region.length);
            }
        }
        Arrived { capability, mode: grant.mode, address, length }
    }

    /// Moves or copies a capability to another place.
    pub(super) fn take(&mut self, found: usize, grant: &Grant, place: Place) -> usize {
        let rights = Rights::from_bits_retain(grant.rights);
        let held = &self.capabilities[found];
        if Model::mode(grant) == Some(Mode::Copy) {
            let made = Capability::new(held.kind, rights, held.object, place);
            let (badge, parent) = (held.badge, held.parent);
            return self.add(Capability { badge, parent, ..made });
        }
        self.detach(found);
        let held = &mut self.capabilities[found];
        (held.place, held.rights) = (place, rights);
        found
    }

    fn lend(&mut self, from: usize, found: usize, grant: &Grant, to: usize) -> Option<usize> {
        let held = &self.capabilities[found];
        let (address, length) = self.lent_pages(held, grant)?;
        if self.lineages_left(from) == 0 {
            return None;
        }
        let rights = Rights::from_bits_retain(grant.rights) & LOAN_RIGHTS;
        let made = Capability::new(Kind::Region, rights, held.object, Place::Table(to));
        // Of what was lent, the loan lasts no longer; of anything else, no longer than that.
        let parent = if held.loan.is_some() { Some(found) } else { held.parent };
        let loan = Some(Loan { payer: from, address, length, over: false });
        let mapped = rights & (Rights::READ | Rights::WRITE);
        self.domains[from].usage.loans += 1;
        Some(self.add(Capability { parent, loan, mapped, ..made }))
    }
}
