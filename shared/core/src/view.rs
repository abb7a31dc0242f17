//! What can be read of ΦCore's state from outside: for simulators and model checkers, which compare
//! it with books of their own. Nothing here changes anything, and no machine needs it to run.

use crate::{Activity, DomainIndex, Kernel, Machine, ThreadIndex};
use core::ops::Range;
use phi_abi::{Handle, Kind};
use phi_cap::{Capability, Lineages, State};
use phi_ipc::{Mailbox, Signal};
use phi_manifest::plan::Quota;
use phi_mem::Region;

/// One occupied entry of the table of capabilities.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Holding {
    /// Index of the entry in the whole table.
    pub entry: u32,
    /// Who holds it; `None` for one that travels in a stored message.
    pub domain: Option<DomainIndex>,
    /// The holder's handle; [`Handle::NULL`] for one that travels.
    pub handle: Handle,
    /// What the next call through it would find: a capability that has been revoked is never `Held`.
    pub state: State,
    /// The capability, or what is left of it.
    pub capability: Capability,
}

/// What a domain has of what its quota counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Account {
    /// The plan's limits.
    pub quota: Quota,
    /// Bytes of the regions that it made.
    pub region_memory: u64,
    /// Messages that the mailboxes which it made may hold.
    pub messages: u32,
    /// Slots of its table that are free.
    pub free_handles: u32,
    /// Threads that have not ended.
    pub threads: u32,
}

impl<M: Machine> Kernel<M> {
    /// All occupied entries: first those of the domains, by domain and slot, then what travels.
    pub fn holdings(&self) -> impl Iterator<Item = Holding> + '_ {
        self.holdings_in(0..self.capabilities.count())
    }

    /// The occupied ones of these entries; those beyond the table's end are nothing.
    pub fn holdings_in(&self, entries: Range<u32>) -> impl Iterator<Item = Holding> + '_ {
        (entries.start..entries.end.min(self.capabilities.count()))
            .filter(|entry| self.capabilities.is_occupied(*entry))
            .map(|entry| self.holding(entry))
    }

    /// How many entries the table of capabilities has, occupied or not.
    pub fn entry_count(&self) -> u32 {
        self.capabilities.count()
    }

    fn holding(&self, entry: u32) -> Holding {
        Holding {
            entry,
            domain: self.capabilities.space(entry).map(|space| DomainIndex(space as u16)),
            handle: self.capabilities.handle(entry),
            state: self.capabilities.standing(entry),
            capability: *self.capabilities.get(entry),
        }
    }

    /// What `domain` holds, by slot.
    pub fn holdings_of(&self, domain: DomainIndex) -> impl Iterator<Item = Holding> + '_ {
        self.capabilities
            .entries_of(u32::from(domain.0))
            .filter(|entry| self.capabilities.is_occupied(*entry))
            .map(|entry| self.holding(entry))
    }

    /// What `domain` holds under `handle`.
    pub fn holding_under(&self, domain: DomainIndex, handle: Handle) -> Option<Holding> {
        let entry = self.capabilities.find(u32::from(domain.0), handle)?;
        Some(self.holding(entry))
    }

    /// What a thread is doing; `Free` for one that is not there.
    pub fn activity(&self, thread: ThreadIndex) -> Activity {
        self.threads.get(usize::from(thread.0)).map_or(Activity::Free, |held| held.activity)
    }

    /// Whether the call of a thread is delivered and pages are lent with it.
    pub fn lends(&self, thread: ThreadIndex) -> bool {
        self.threads.get(usize::from(thread.0)).is_some_and(|held| held.lends)
    }

    /// The domain that has to answer the delivered call of a thread; `None` if the thread waits for no
    /// answer, or while the reply capability travels.
    pub fn answerer(&self, thread: ThreadIndex) -> Option<DomainIndex> {
        if self.activity(thread) != Activity::Served {
            return None;
        }
        let anchor = self.anchors.of(Kind::Reply, u32::from(thread.0));
        let entry = self.capabilities.first_of(anchor)?;
        self.capabilities.space(entry).map(|space| DomainIndex(space as u16))
    }

    /// When the wait of a thread ends without anything else, in nanoseconds since the system's start.
    pub fn deadline(&self, thread: ThreadIndex) -> Option<u64> {
        let member = u32::from(thread.0);
        let there = self.activity(thread) != Activity::Free;
        there.then(|| self.deadlines.due(member).map(|(time, _)| time)).flatten()
    }

    /// Whether the budget of a domain is used up.
    pub fn is_throttled(&self, domain: DomainIndex) -> bool {
        self.domain(u32::from(domain.0)).throttled
    }

    /// What was derived revocably from what.
    pub fn lineages(&self) -> &Lineages {
        self.capabilities.lineages()
    }

    /// The places of a domain's threads.
    pub fn threads_of(&self, domain: DomainIndex) -> impl Iterator<Item = ThreadIndex> + '_ {
        self.domain(u32::from(domain.0)).threads.clone().map(|thread| ThreadIndex(thread as u16))
    }

    /// What a domain has of what its quota counts.
    pub fn account(&self, domain: DomainIndex) -> Account {
        let space = u32::from(domain.0);
        let held = self.domain(space);
        Account {
            quota: held.quota,
            region_memory: held.region_memory,
            messages: held.messages,
            free_handles: self.capabilities.free_slots(space),
            threads: held.live_threads,
        }
    }

    /// Lineages that a domain pays for. While a sweep is under way, this looks at all capabilities.
    pub fn lineages_of(&self, domain: DomainIndex) -> u32 {
        self.capabilities.lineages_used(u32::from(domain.0))
    }

    /// The regions, by index; those of the plan come first.
    pub fn regions(&self) -> &[Region] {
        &self.regions
    }

    /// The mailboxes, by index; those of the plan come first.
    pub fn mailboxes(&self) -> &[Mailbox] {
        &self.mailboxes
    }

    /// The signals, by index; the first are the domains' events.
    pub fn signals(&self) -> &[Signal] {
        &self.signals
    }

    /// Places of stored messages that are free.
    pub fn free_message_places(&self) -> usize {
        self.messages.free_places()
    }
}
