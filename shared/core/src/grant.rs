//! Capabilities that travel in messages: checked when the message is sent, and passed on when it
//! arrives.

use crate::call::{Stop, bad_argument};
use crate::{Kernel, Machine};
use phi_abi::{Error, FaultKind, Grant, Handle, Kind, Mode, Rights};
use phi_cap::{Capability, Mapping, State};
use phi_mem::NONE;

/// What a loan may carry. It has no DERIVE: a copy would outreach the pages that are lent.
const LOAN_RIGHTS: Rights = Rights::READ.union(Rights::WRITE).union(Rights::TRANSFER);

/// The capabilities of a message that arrives.
#[derive(Clone, Copy)]
pub(crate) enum Origins {
    /// Those that the grants in this thread's frame name.
    Thread(u32),
    /// Those that a stored message carries.
    Stored(u32),
}

impl<M: Machine> Kernel<M> {
    /// Checks the first `count` grants of the caller's message; returns for how many of them the machine
    /// will have something to do. `consumed` is a handle that the call itself uses up.
    pub(crate) fn check_grants(
        &mut self,
        thread: u32,
        count: usize,
        loans: bool,
        consumed: u64,
    ) -> Result<u32, Stop> {
        let (mut lent, mut unmapped) = (0, 0);
        for number in 0..count {
            let grants = &self.thread(thread).frame.message.grants;
            let grant = grants[number];
            // What moves can be in a message only once.
            let moves = |grant: &Grant| grant.mode == Mode::Move as u32;
            let moved =
                |other: &Grant| other.handle == grant.handle && (moves(other) || moves(&grant));
            let used_up = grant.handle.0 == consumed && !grant.handle.is_null();
            if used_up || grants[..number].iter().any(moved) {
                return bad_argument(grant.handle.0);
            }
            match Mode::from_number(grant.mode) {
                Some(Mode::Loan) if loans => {
                    self.check_loan(thread, grant)?;
                    lent += 1;
                }
                Some(mode @ (Mode::Move | Mode::Copy)) => {
                    let mapped = self.check_grant(thread, grant, mode)?;
                    unmapped += u32::from(mapped && mode == Mode::Move);
                }
                _ => return bad_argument(u64::from(grant.mode)),
            }
        }
        if lent > self.lineages_left(self.space_of(thread), lent) {
            return Err(Error::QuotaExceeded.into());
        }
        Ok(lent + unmapped)
    }

    /// Whether something is mapped through what is granted.
    fn check_grant(&mut self, thread: u32, grant: Grant, mode: Mode) -> Result<bool, Stop> {
        let entry = self.entry(thread, grant.handle.0)?;
        let rights = grant_rights(self.capabilities.get(entry).kind, grant.rights)?;
        let needed = match mode {
            Mode::Copy => Rights::TRANSFER | Rights::DERIVE,
            _ => Rights::TRANSFER,
        };
        self.usable(entry, needed | rights)?;
        let mapping = self.capabilities.get(entry).mapping;
        if mapping.loan {
            return Err(Error::Denied.into());
        }
        Ok(mapping != Mapping::NONE)
    }

    fn check_loan(&mut self, thread: u32, grant: Grant) -> Result<(), Stop> {
        let entry = self.entry(thread, grant.handle.0)?;
        if self.capabilities.get(entry).kind != Kind::Region {
            return Err(Stop::Fault(FaultKind::BadHandle, grant.handle.0));
        }
        let region = self.regions[self.capabilities.get(entry).object as usize];
        if region.device {
            return bad_argument(grant.handle.0);
        }
        let rights = grant_rights(Kind::Region, grant.rights)?;
        if !rights.contains(Rights::READ) {
            return bad_argument(u64::from(grant.rights));
        }
        self.usable(entry, Rights::TRANSFER | (rights & LOAN_RIGHTS))?;
        if self.lent_pages(entry, grant).is_none() {
            return bad_argument(grant.address);
        }
        let origin = self.capabilities.get(entry).origin;
        if self.capabilities.lineages().depth(origin) >= phi_abi::LINEAGE_DEPTH {
            return Err(Error::TooDeep.into());
        }
        Ok(())
    }

    /// The pages that a loan through `entry` reaches: address and length. `None` if they are not the
    /// holder's to lend.
    fn lent_pages(&self, entry: u32, grant: Grant) -> Option<(u64, u64)> {
        let Capability { object, mapping, .. } = *self.capabilities.get(entry);
        let place = self.regions[object as usize].place;
        let (address, length) = place.pages_under(grant.address, grant.length)?;
        // Of what is lent to oneself, no more than that.
        let within = address >= mapping.address
            && address - mapping.address <= mapping.length
            && length <= mapping.length - (address - mapping.address);
        (within || !mapping.loan).then_some((address, length))
    }

    /// Passes the capabilities of the message in the frame of `receiver` on to its domain, which has
    /// room for them or gets those that fit. What was revoked or dropped meanwhile does not arrive:
    /// its handle is null. Returns the first of the loans, or [`NONE`].
    pub(crate) fn pass_grants(&mut self, origins: Origins, receiver: u32) -> u32 {
        let count = self.thread(receiver).frame.message.grants().len();
        let space = self.space_of(receiver);
        let mut loans = NONE;
        for number in 0..count {
            let (grant, entry) = match origins {
                Origins::Thread(sender) => {
                    let grant = self.thread(sender).frame.message.grants[number];
                    (grant, self.pass(sender, grant, space, &mut loans))
                }
                Origins::Stored(message) => {
                    let grant = self.messages.get(message).grants[number];
                    let transit = self.transit_entry(message, number as u32);
                    (grant, self.arrive(transit, space))
                }
            };
            let arrived = self.arrived(grant, entry);
            self.thread_mut(receiver).frame.message.grants[number] = arrived;
        }
        loans
    }

    /// How the receiver finds a grant whose capability is now in `entry`.
    fn arrived(&self, grant: Grant, entry: Option<u32>) -> Grant {
        let Some(entry) = entry else {
            let (handle, rights, address, length) = (Handle::NULL, 0, 0, 0);
            return Grant { handle, rights, mode: grant.mode, address, length };
        };
        let Capability { kind, rights, object, mapping, .. } = *self.capabilities.get(entry);
        let (address, length) = match kind {
            Kind::Region if mapping.loan => (grant.address, grant.length),
            Kind::Region => {
                let place = self.regions[object as usize].place;
                (place.address, place.length)
            }
            _ => (0, 0),
        };
        let (handle, rights) = (self.capabilities.handle(entry), rights.bits());
        Grant { handle, rights, mode: grant.mode, address, length }
    }

    /// Passes one capability of the sender's on; where it is now.
    fn pass(&mut self, sender: u32, grant: Grant, space: u32, loans: &mut u32) -> Option<u32> {
        let entry = self.capabilities.find(self.space_of(sender), grant.handle)?;
        if self.capabilities.free_slots(space) == 0 {
            return None;
        }
        if grant.mode == Mode::Loan as u32 {
            return self.lend(sender, entry, grant, space, loans);
        }
        let capability = self.take(entry, grant)?;
        let anchor = self.anchors.of(capability.kind, capability.object);
        self.capabilities.insert(space, capability, anchor).map(|(entry, _)| entry)
    }

    /// Puts the capabilities of a message that is stored into the message's own entries.
    pub(crate) fn store_grants(&mut self, sender: u32, message: u32, count: usize) {
        for number in 0..count {
            let grant = self.thread(sender).frame.message.grants[number];
            self.messages.get_mut(message).grants[number] = grant;
            let entry = self.capabilities.find(self.space_of(sender), grant.handle);
            let Some(capability) = entry.and_then(|entry| self.take(entry, grant)) else {
                continue;
            };
            let anchor = self.anchors.of(capability.kind, capability.object);
            let transit = self.transit_entry(message, number as u32);
            self.capabilities.insert_in_transit(transit, capability, anchor);
        }
    }

    /// Takes a capability out of a stored message.
    fn arrive(&mut self, transit: u32, space: u32) -> Option<u32> {
        if !self.capabilities.is_occupied(transit) {
            return None;
        }
        if self.capabilities.state(transit) != State::Held
            || self.capabilities.free_slots(space) == 0
        {
            self.release(transit);
            return None;
        }
        let (capability, anchor) =
            (*self.capabilities.get(transit), self.capabilities.anchor(transit));
        self.capabilities.remove(transit);
        self.capabilities.insert(space, capability, anchor).map(|(entry, _)| entry)
    }

    /// The capability that `grant` makes of the one in `entry`, which is gone from there if it moves.
    fn take(&mut self, entry: u32, grant: Grant) -> Option<Capability> {
        if self.capabilities.state(entry) != State::Held {
            return None;
        }
        let rights = Rights::from_bits_retain(grant.rights);
        if grant.mode == Mode::Copy as u32 {
            let source = *self.capabilities.get(entry);
            let (id, child, mapping) = (0, NONE, Mapping::NONE);
            return Some(Capability { id, rights, child, mapping, ..source });
        }
        self.unmap_entry(entry);
        let capability = Capability { rights, ..*self.capabilities.get(entry) };
        self.capabilities.remove(entry);
        Some(capability)
    }

    /// Lends pages for the length of a call, and puts the loan before the others of the call.
    fn lend(
        &mut self,
        sender: u32,
        entry: u32,
        grant: Grant,
        space: u32,
        loans: &mut u32,
    ) -> Option<u32> {
        if self.capabilities.state(entry) != State::Held {
            return None;
        }
        let (address, length) = self.lent_pages(entry, grant)?;
        let source = *self.capabilities.get(entry);
        let rights = Rights::from_bits_retain(grant.rights) & LOAN_RIGHTS;
        let anchor = self.capabilities.anchor(entry);
        let payer = self.space_of(sender);
        let lineage = self.make_lineage(source.origin, anchor, payer).ok()?;
        self.capabilities.lineages_mut().set_next_loan(lineage, *loans);
        *loans = lineage;
        let origin = self.capabilities.lineages().origin(lineage);
        let mapping = Mapping { loan: true, address, length, ..Mapping::NONE };
        let (id, child) = (0, NONE);
        let lent = Capability { id, rights, origin, child, mapping, ..source };
        let (loan, _) = self.capabilities.insert(space, lent, anchor)?;
        let access = rights & (Rights::READ | Rights::WRITE);
        if self.map_entry(loan, access).is_err() {
            // The receiver has no room for the pages on this machine: the loan does not arrive.
            self.release(loan);
            return None;
        }
        self.domain_mut(payer).statistics.loans += 1;
        Some(loan)
    }

    /// The entry of a stored message's capability with this number.
    pub(crate) fn transit_entry(&self, message: u32, number: u32) -> u32 {
        self.capabilities.transit_entry(message * phi_abi::MESSAGE_GRANTS as u32 + number)
    }
}

fn grant_rights(kind: Kind, rights: u32) -> Result<Rights, Stop> {
    crate::call::rights_argument(kind, u64::from(rights))
}
