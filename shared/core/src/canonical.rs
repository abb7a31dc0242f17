//! A canonical form of ΦCore's state: equal for two states exactly when whatever happens next goes the
//! same way in both, but for numbers that nobody can act on.
//!
//! Left out are what only grows (ids, generations, versions, epochs, orders, statistics) and what the
//! next use overwrites (frames of threads that have no call under way, free pools, the start block).
//! Lineages and stored messages are numbered by their first appearance. A handle in a queued message
//! counts as the slot that it names, or as none: a handle that names nothing now never will. Times
//! count from now. The order of the lists at the anchors is left out too: every walk along one does
//! the same in any order.
//!
//! Domains are written in an order of the caller's choice, and everything that is theirs is named by
//! it. So two states that differ only by which of two equal domains is which have one canonical
//! form, if the caller takes the least over both orders.

use crate::object::{Activity, Domain, Thread};
use crate::{DomainIndex, Kernel, Machine};
use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;
use phi_abi::{DomainState, Grant, Handle, Kind, MESSAGE_BYTES, Message, PRIORITIES};
use phi_cap::{Capability, Origin, State};
use phi_ipc::{Mailbox, MailboxState, Signal};
use phi_mem::{List, NONE, Region, RegionState};

/// Stands for "none" where a name is expected.
const NOTHING: u64 = u64::MAX;

/// New names, by index.
struct Names {
    domains: Vec<u64>,
    threads: Vec<u64>,
    regions: Vec<u64>,
    mailboxes: Vec<u64>,
    signals: Vec<u64>,
}

struct Writer<'a, M: Machine> {
    kernel: &'a Kernel<M>,
    order: &'a [DomainIndex],
    names: Names,
    lineages: BTreeMap<u32, u64>,
    words: Vec<u64>,
}

impl<M: Machine> Kernel<M> {
    /// The canonical form at the time `now` (nanoseconds since the system's start), with the domains in
    /// this order. Domains that are not in `order` are not written, and must neither run nor hold
    /// anything.
    pub fn canonical(&self, order: &[DomainIndex], now: u64) -> Vec<u64> {
        let names = self.names(order);
        let words = Vec::with_capacity(1024);
        let mut writer = Writer { kernel: self, order, names, lineages: BTreeMap::new(), words };
        order.iter().for_each(|domain| writer.domain(u32::from(domain.0)));
        let mut mailboxes: Vec<usize> = (0..self.mailboxes.len()).collect();
        mailboxes.sort_by_key(|mailbox| writer.names.mailboxes[*mailbox]);
        mailboxes.into_iter().for_each(|mailbox| writer.mailbox(mailbox));
        writer.objects();
        writer.queues(now);
        writer.accounts();
        writer.words
    }

    fn names(&self, order: &[DomainIndex]) -> Names {
        let mut names = Names {
            domains: vec![NOTHING; self.domains.len()],
            threads: vec![NOTHING; self.threads.len()],
            regions: vec![NOTHING; self.regions.len()],
            mailboxes: vec![NOTHING; self.mailboxes.len()],
            signals: vec![NOTHING; self.signals.len()],
        };
        let mut counts = [0; 4];
        let mut give = |names: &mut [u64], count: usize, members: core::ops::Range<u32>| {
            for member in members {
                names[member as usize] = counts[count];
                counts[count] += 1;
            }
        };
        // What is the plan's comes first: regions and mailboxes as they are, events by domain.
        let planned = self.mailboxes.iter().take_while(|mailbox| mailbox.planned).count();
        let regions = self.regions.iter().take_while(|region| region.planned).count();
        give(&mut names.regions, 1, 0..regions as u32);
        give(&mut names.mailboxes, 2, 0..planned as u32);
        for (position, domain) in (0..).zip(order) {
            names.domains[usize::from(domain.0)] = position;
            let (events, domains) = (u32::from(domain.0), self.domains.len() as u32);
            give(&mut names.signals, 3, events..events + 1);
            give(&mut names.signals, 3, domains + events..domains + events + 1);
        }
        for domain in order {
            let Domain { threads, regions, mailboxes, signals, .. } =
                &self.domains[usize::from(domain.0)];
            give(&mut names.threads, 0, threads.clone());
            give(&mut names.regions, 1, regions.clone());
            give(&mut names.mailboxes, 2, mailboxes.clone());
            give(&mut names.signals, 3, signals.clone());
        }
        names
    }
}

impl<M: Machine> Writer<'_, M> {
    fn put(&mut self, words: &[u64]) {
        self.words.extend_from_slice(words);
    }

    fn domain(&mut self, domain: u32) {
        let held = &self.kernel.domains[domain as usize];
        let state = match held.state {
            DomainState::Created => 0,
            DomainState::Running => 1,
            DomainState::Exited(_) => 2,
            DomainState::Faulted { .. } => 3,
            DomainState::Stopped => 4,
        };
        let budget = held.budget.as_ref().map_or(NOTHING, |budget| budget.used());
        let (throttled, live) = (u64::from(held.throttled), u64::from(held.live_threads));
        let images = [held.image.number, held.offered.map_or(NOTHING, |image| image.number)];
        self.put(&images);
        self.put(&[state, throttled, budget, live, held.region_memory, u64::from(held.messages)]);
        let entries = self.kernel.capabilities.entries_of(domain);
        for entry in entries.clone() {
            self.entry(entry);
        }
        for entry in self.kernel.capabilities.free_entries(domain) {
            self.words.push(u64::from(entry - entries.start));
        }
        held.threads.clone().for_each(|thread| self.thread(thread));
    }

    /// A name of the object of a capability, among those of its kind.
    fn object(&self, kind: Kind, object: u32) -> u64 {
        let names = match kind {
            Kind::Region => &self.names.regions,
            Kind::Mailbox | Kind::Object => &self.names.mailboxes,
            Kind::Signal => &self.names.signals,
            Kind::Domain => &self.names.domains,
            Kind::Thread | Kind::Reply => &self.names.threads,
            // A system with devices has no canonical form: nothing explores one.
            Kind::Console | Kind::Irq | Kind::DmaSpace | Kind::Hardware | Kind::Ports => return 0,
        };
        names.get(object as usize).copied().unwrap_or(NOTHING)
    }

    fn entry(&mut self, entry: u32) {
        let capabilities = &self.kernel.capabilities;
        if !capabilities.is_occupied(entry) {
            self.words.push(0);
            return;
        }
        let state = capabilities.standing(entry);
        let Capability { kind, rights, object, badge, origin, child, mapping, .. } =
            *capabilities.get(entry);
        let state_number = match state {
            State::Free | State::Retired => 0,
            State::Held => 1,
            State::Revoked => 2,
            State::Dead => 3,
        };
        self.put(&[state_number, kind as u64]);
        // A reply that nobody waits for still has its loans; of everything else only a stone is left.
        if kind == Kind::Reply {
            let mut loan = child;
            while loan != NONE {
                self.lineage(loan);
                loan = self.kernel.capabilities.lineages().next_loan(loan);
            }
            self.words.push(NOTHING);
        }
        if state != State::Held {
            return;
        }
        self.put(&[u64::from(rights.bits()), self.object(kind, object), badge]);
        self.origin(origin);
        match child {
            NONE => self.words.push(NOTHING),
            child if kind != Kind::Reply => self.lineage(child),
            _ => {}
        }
        if kind == Kind::Region {
            let start = self.kernel.regions[object as usize].place.address;
            let offset = mapping.address.wrapping_sub(start);
            let access = u64::from(mapping.access.bits());
            self.put(&[access, u64::from(mapping.loan), offset, mapping.length]);
        }
    }

    fn origin(&mut self, origin: Origin) {
        if origin.lineage == NONE {
            self.words.push(NOTHING);
        } else if self.kernel.capabilities.lineages().is_valid(origin) {
            self.lineage(origin.lineage);
        } else {
            self.words.push(NOTHING - 1);
        }
    }

    /// A lineage by its name; at its first appearance, also where it comes from and who pays.
    fn lineage(&mut self, lineage: u32) {
        let count = self.lineages.len() as u64;
        let name = *self.lineages.entry(lineage).or_insert(count);
        self.words.push(name);
        if name == count {
            let lineages = self.kernel.capabilities.lineages();
            let payer = self.names.domains[lineages.payer(lineage) as usize];
            self.words.push(payer);
            self.origin(lineages.parent(lineage));
        }
    }

    fn thread(&mut self, thread: u32) {
        let held = self.kernel.thread(thread);
        let Thread { activity, origin, priority, lends, .. } = *held;
        let (number, object, bits) = match activity {
            Activity::Free => (0, 0, 0),
            Activity::Dispatched => (1, 0, 0),
            Activity::Ready => (2, 0, 0),
            Activity::Parked => (3, 0, 0),
            Activity::Calling(mailbox) => (4, self.object(Kind::Mailbox, mailbox), 0),
            Activity::Served => (5, 0, 0),
            Activity::Receiving(mailbox) => (6, self.object(Kind::Mailbox, mailbox), 0),
            Activity::Waiting(signal, mask) => {
                (7, self.object(Kind::Signal, signal), self.bits(signal, mask))
            }
            Activity::Sleeping => (8, 0, 0),
        };
        self.put(&[number, object, bits, u64::from(priority), u64::from(lends)]);
        if (4..8).contains(&number) {
            self.origin(origin);
        }
        if number == 4 {
            self.message(&held.frame.message);
            let count = held.frame.message.grants().len();
            for number in 0..count {
                self.queued_grant(held.domain, held.frame.message.grants[number]);
            }
        }
    }

    /// Bits of a signal; those of events by the domains' new names.
    fn bits(&self, signal: u32, bits: u64) -> u64 {
        if signal as usize >= self.kernel.domains.len() {
            return bits;
        }
        let bit = |(position, domain): (u32, &DomainIndex)| {
            ((bits >> (u32::from(domain.0) % u64::BITS)) & 1) << (position % u64::BITS)
        };
        (0..).zip(self.order).map(bit).fold(0, |all, bit| all | bit)
    }

    fn message(&mut self, message: &Message) {
        let Message { label, badge, rights, length, grant_count, .. } = *message;
        self.put(&[label, badge, u64::from(rights), u64::from(length), u64::from(grant_count)]);
        let bytes = &message.data[..usize::from(length).min(MESSAGE_BYTES)];
        self.words.extend(bytes.iter().map(|byte| u64::from(*byte)));
    }

    /// A grant of a call that waits in a queue: what it names is looked up when the call is received.
    fn queued_grant(&mut self, domain: u16, grant: Grant) {
        let Grant { handle, rights, mode, address, length } = grant;
        let space = u32::from(domain);
        let Some(entry) = self.kernel.capabilities.find(space, handle) else {
            self.words.push(NOTHING);
            return;
        };
        let slot = u64::from(Handle(handle.0).slot());
        let Capability { kind, object, .. } = *self.kernel.capabilities.get(entry);
        self.put(&[slot, u64::from(rights), u64::from(mode)]);
        if kind == Kind::Region {
            let start = self.kernel.regions[object as usize].place.address;
            self.put(&[address.wrapping_sub(start), length]);
        }
    }

    fn mailbox(&mut self, mailbox: usize) {
        let Mailbox { state, owner, capacity, stored, queue, receivers, .. } =
            self.kernel.mailboxes[mailbox];
        let state = match state {
            MailboxState::Free => return,
            MailboxState::Open => 1,
            MailboxState::Closed => 2,
        };
        let (name, owner) = (self.names.mailboxes[mailbox], self.names.domains[usize::from(owner)]);
        self.put(&[name, state, owner, u64::from(capacity), u64::from(stored)]);
        for member in self.kernel.links.iter(&queue) {
            match self.kernel.stored_message(member) {
                None => self.words.push(self.names.threads[member as usize]),
                Some(message) => {
                    self.words.push(NOTHING);
                    self.stored(message);
                }
            }
        }
        self.threads(&receivers);
    }

    fn stored(&mut self, place: u32) {
        let message = self.kernel.messages.get(place);
        self.message(message);
        for (number, grant) in (0..).zip(message.grants()) {
            self.words.push(u64::from(grant.mode));
            self.entry(self.kernel.transit_entry(place, number));
        }
    }

    /// The members of a list of threads, and its end.
    fn threads(&mut self, list: &List) {
        for thread in self.kernel.links.iter(list) {
            self.words.push(self.names.threads[thread as usize]);
        }
        self.words.push(NOTHING);
    }

    fn objects(&mut self) {
        let mut objects = Vec::new();
        for (index, signal) in self.kernel.signals.iter().enumerate().filter(|(_, held)| held.alive)
        {
            let Signal { owner, bits, .. } = *signal;
            let owner = self.names.domains[usize::from(owner)];
            objects.push((self.names.signals[index], owner, self.bits(index as u32, bits), index));
        }
        objects.sort_unstable();
        for (name, owner, bits, index) in objects {
            self.put(&[name, owner, bits]);
            let Signal { waiters, binding, .. } = self.kernel.signals[index];
            self.threads(&waiters);
            if let Some(binding) = binding {
                self.words.push(self.object(Kind::Mailbox, binding.mailbox));
                binding.origins.iter().for_each(|origin| self.origin(*origin));
            }
            self.words.push(NOTHING);
        }
        let mut regions = Vec::new();
        for (index, region) in self.kernel.regions.iter().enumerate() {
            let Region { state, place, owner, .. } = *region;
            if state != RegionState::Free {
                let orphan = u64::from(state == RegionState::Orphan);
                let owner = self.names.domains[usize::from(owner)];
                regions.push([self.names.regions[index], orphan, owner, place.length]);
            }
        }
        regions.sort_unstable();
        regions.iter().for_each(|region| self.put(region));
    }

    /// Ready and parked threads, deadlines, and the end of the system.
    fn queues(&mut self, now: u64) {
        for priority in 0..PRIORITIES {
            for thread in self.kernel.ready.iter(&self.kernel.links, priority) {
                self.words.push(self.names.threads[thread as usize]);
            }
        }
        for domain in self.order {
            self.threads(&self.kernel.domains[usize::from(domain.0)].parked);
        }
        let threads = self.kernel.threads.len();
        let domains = self.kernel.domains.len();
        let members = 0..(threads + 2 * domains) as u32;
        let due = |member| self.kernel.deadlines.due(member).map(|due| (due, member as usize));
        let mut dues: Vec<((u64, u64), usize)> = members.filter_map(due).collect();
        dues.sort_unstable();
        for ((time, _), member) in dues {
            let name = match member.checked_sub(threads) {
                None => self.names.threads[member],
                Some(budget) if budget < domains => NOTHING - 1 - self.names.domains[budget],
                Some(offer) => NOTHING - 1 - domains as u64 - self.names.domains[offer - domains],
            };
            self.put(&[name, time.saturating_sub(now)]);
        }
        let halted = self.kernel.halted.map_or(NOTHING, u64::from);
        let unreferenced = u64::from(!self.kernel.unreferenced.is_empty());
        self.put(&[halted, unreferenced, self.kernel.messages.free_places() as u64]);
    }

    /// Lineages that are paid for, whether anything names them or not.
    fn accounts(&mut self) {
        for domain in self.order {
            let used = self.kernel.capabilities.lineages_used(u32::from(domain.0));
            self.words.push(u64::from(used));
        }
    }
}
