//! What holds of ΦCore's private state after every step.

use super::machine::FakeMachine;
use crate::object::{Activity, Thread, Way};
use crate::{DomainIndex, Kernel};
use phi_abi::layout::PAGE;
use phi_abi::{DomainState, Handle, Kind, LINEAGE_DEPTH, MESSAGE_GRANTS, Rights};
use phi_cap::{Capability, State};
use phi_ipc::MailboxState;
use phi_mem::{NONE, RegionState};
use phi_sched::ReadyQueues;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::vec::Vec;

/// What a checker remembers from step to step.
pub(crate) struct Invariants {
    /// The rights that each capability's id was last seen with.
    rights: BTreeMap<u64, Rights>,
}

impl Invariants {
    pub(crate) fn new() -> Invariants {
        Invariants { rights: BTreeMap::new() }
    }

    /// Panics if one of the invariants does not hold.
    pub(crate) fn check(&mut self, kernel: &mut Kernel<FakeMachine>) {
        kernel.machine.take_device_memory();
        threads_are_where_their_activity_says(kernel);
        deadlines_belong_to_waits(kernel);
        domains_own_what_they_account_for(kernel);
        mailboxes_and_signals_agree(kernel);
        self.capabilities_stand(kernel);
        lineages_are_owned_once(kernel);
        replies_belong_to_served_threads(kernel);
        known_ways_are_as_they_were(kernel);
        pages_are_mapped_as_held(kernel);
        devices_reach_what_is_held(kernel);
        interrupts_come_where_they_are_bound(kernel);
        budgets_hold(kernel);
    }

    fn capabilities_stand(&mut self, kernel: &mut Kernel<FakeMachine>) {
        assert!(kernel.unreferenced.is_empty(), "an object without capabilities was not ended");
        for domain in 0..kernel.domains.len() as u32 {
            let size = kernel.capabilities.entries_of(domain).len() as u32;
            let (free, used) =
                (kernel.capabilities.free_slots(domain), kernel.capabilities.used_slots(domain));
            assert_eq!(free + used, size, "slots of domain {domain}");
            let blank = kernel.capabilities.free_entries(domain);
            let blank = blank.filter(|entry| kernel.capabilities.is_blank(*entry));
            assert_eq!(blank.count(), free as usize, "free slots of domain {domain}");
        }
        let mut seen = BTreeSet::new();
        for entry in occupied(kernel) {
            let Capability { id, kind, rights, object, origin, mapping, child, .. } =
                *kernel.capabilities.get(entry);
            assert!(seen.insert(id), "the id {id} is used twice");
            let before = self.rights.insert(id, rights).unwrap_or(kind.rights());
            assert!(before.contains(rights), "{kind:?} {id} grew from {before:?} to {rights:?}");
            let anchor = kernel.capabilities.anchor(entry);
            if kernel.capabilities.state(entry) == State::Held {
                assert_eq!(anchor, kernel.anchors.of(kind, object), "{kind:?} {object}");
                assert!(kernel.capabilities.lineages().is_valid(origin));
                assert!(kernel.capabilities.lineages().depth(origin) <= LINEAGE_DEPTH);
                assert!(listed(kernel, anchor).contains(&entry), "{kind:?} is not in its list");
                planned_rights(kernel, kind, object, rights);
                assert!(exists(kernel, kind, object), "a capability to no {kind:?}");
            } else {
                assert!(mapping.access.is_empty(), "what is left of a {kind:?} is mapped");
                let buried = !listed(kernel, anchor).contains(&entry);
                assert!(kind == Kind::Reply || child == NONE || !buried);
            }
        }
        for anchor in 0..(kernel.anchors.shared() + kernel.threads.len()) as u32 {
            // What was revoked waits to be buried only while a sweep is under way.
            let swept = kernel.capabilities.is_swept();
            let all = listed(kernel, anchor).len();
            assert!(!swept || all == holders(kernel, anchor).len(), "forgotten by the sweep");
        }
    }
}

/// Whether there is what a capability refers to.
fn exists(kernel: &Kernel<FakeMachine>, kind: Kind, object: u32) -> bool {
    let object = object as usize;
    match kind {
        Kind::Region => kernel.regions[object].state != RegionState::Free,
        Kind::Mailbox | Kind::Object => kernel.mailboxes[object].state != MailboxState::Free,
        Kind::Signal => kernel.signals[object].alive,
        Kind::Thread => kernel.threads[object].activity != Activity::Free,
        Kind::Reply => kernel.threads[object].activity == Activity::Served,
        Kind::Domain => object < kernel.domains.len(),
        Kind::Console | Kind::Hardware => true,
        Kind::Irq => kernel.irqs[object].alive,
        Kind::DmaSpace => kernel.dma_spaces[object].alive,
        Kind::Ports => kernel.ports[object].alive,
    }
}

/// No capability to what the plan made has a right that the plan gave nobody.
fn planned_rights(kernel: &Kernel<FakeMachine>, kind: Kind, object: u32, rights: Rights) {
    if kind == Kind::Region && kernel.regions[object as usize].planned {
        assert!(!rights.contains(Rights::WRITE), "an input can be written");
    }
    if kind == Kind::Signal && kernel.signals[object as usize].planned {
        assert!(!rights.contains(Rights::NOTIFY), "events can be forged");
    }
}

fn listed(kernel: &Kernel<FakeMachine>, anchor: u32) -> Vec<u32> {
    let first = kernel.capabilities.first_of(anchor);
    std::iter::successors(first, |entry| kernel.capabilities.after(*entry)).collect()
}

/// The capabilities at `anchor` that stand.
fn holders(kernel: &Kernel<FakeMachine>, anchor: u32) -> Vec<u32> {
    let stands = |entry: &u32| kernel.capabilities.standing(*entry) == State::Held;
    listed(kernel, anchor).into_iter().filter(stands).collect()
}

/// Every entry that holds something, those of stored messages included.
fn occupied(kernel: &Kernel<FakeMachine>) -> Vec<u32> {
    let end = kernel.capabilities.transit_entry((message_count(kernel) * MESSAGE_GRANTS) as u32);
    (0..end).filter(|entry| kernel.capabilities.is_occupied(*entry)).collect()
}

fn message_count(kernel: &Kernel<FakeMachine>) -> usize {
    let planned = kernel.mailboxes.iter().filter(|mailbox| mailbox.planned);
    let capacities: u32 = planned.map(|mailbox| mailbox.capacity).sum();
    let quotas: u32 = kernel.domains.iter().map(|domain| domain.quota.messages).sum();
    (capacities + quotas) as usize
}

fn threads_are_where_their_activity_says(kernel: &Kernel<FakeMachine>) {
    let mut places: BTreeMap<u32, Activity> = BTreeMap::new();
    let mut note = |thread: u32, activity| match places.entry(thread) {
        Entry::Vacant(place) => {
            place.insert(activity);
        }
        Entry::Occupied(_) => panic!("thread {thread} is in two lists"),
    };
    for priority in 0..phi_abi::PRIORITIES {
        for thread in kernel.ready.iter(&kernel.links, priority) {
            assert_eq!(kernel.thread(thread).priority, priority);
            note(thread, Activity::Ready);
        }
    }
    for (index, domain) in kernel.domains.iter().enumerate() {
        for thread in kernel.links.iter(&domain.parked) {
            assert_eq!(usize::from(kernel.thread(thread).domain), index);
            note(thread, Activity::Parked);
        }
    }
    for (index, mailbox) in (0u32..).zip(&kernel.mailboxes) {
        for member in kernel.links.iter(&mailbox.queue) {
            if kernel.stored_message(member).is_none() {
                note(member, Activity::Calling(index));
            }
        }
        for thread in kernel.links.iter(&mailbox.receivers) {
            note(thread, Activity::Receiving(index));
        }
    }
    for (index, signal) in (0u32..).zip(&kernel.signals) {
        for thread in kernel.links.iter(&signal.waiters) {
            let Activity::Waiting(_, mask) = kernel.thread(thread).activity else {
                panic!("thread {thread} is a waiter and does not wait");
            };
            assert_eq!(mask & signal.bits, 0, "a waiter's bits are set");
            note(thread, Activity::Waiting(index, mask));
        }
    }
    for (thread, held) in (0u32..).zip(&kernel.threads) {
        let listed = match held.activity {
            Activity::Free | Activity::Dispatched | Activity::Served | Activity::Sleeping => None,
            activity => Some(activity),
        };
        assert_eq!(places.remove(&thread), listed, "thread {thread}");
    }
    assert!(places.is_empty(), "unknown threads in lists: {places:?}");
}

fn deadlines_belong_to_waits(kernel: &Kernel<FakeMachine>) {
    for (thread, held) in (0u32..).zip(&kernel.threads) {
        let may_end = match held.activity {
            Activity::Free | Activity::Dispatched | Activity::Ready | Activity::Parked => false,
            Activity::Served => !held.lends,
            _ => true,
        };
        assert!(may_end || !kernel.deadlines.is_set(thread), "thread {thread}: a stray deadline");
        assert_eq!(held.timed, kernel.deadlines.is_set(thread), "thread {thread} and its deadline");
        let usual = held.activity == Activity::Free || !held.timed && !held.budgeted;
        let above = held.yields_to == ReadyQueues::urgency_above(held.priority);
        assert!(if usual { above || held.yields_to == 0 } else { held.yields_to == 0 });
    }
}

fn domains_own_what_they_account_for(kernel: &mut Kernel<FakeMachine>) {
    for index in 0..kernel.domains.len() as u32 {
        let domain = kernel.domain(index);
        let running = domain.is_running();
        assert_eq!(running, kernel.machine.spaces.contains_key(&(index as u16)), "domain {index}");
        let alive = |thread: &u32| kernel.thread(*thread).activity != Activity::Free;
        let live = domain.threads.clone().filter(alive).collect::<Vec<u32>>();
        assert_eq!(domain.live_threads as usize, live.len(), "threads of domain {index}");
        assert_eq!(running, !live.is_empty(), "domain {index} and its threads");
        for thread in live {
            assert_eq!(u32::from(kernel.thread(thread).domain), index);
            assert!(kernel.thread(thread).priority <= domain.priority);
            let started = kernel.machine.threads.get(&(thread as u16));
            assert_eq!(started.map(|started| u32::from(started.domain)), Some(index));
        }
        let regions = domain.regions.clone().map(|region| kernel.regions[region as usize]);
        let paid = |region: &phi_mem::Region| region.state != RegionState::Free && !region.device;
        let used = regions.filter(paid);
        assert_eq!(
            domain.region_memory,
            used.map(|region| region.place.page_length()).sum::<u64>()
        );
        assert!(domain.image_memory() + domain.region_memory <= domain.quota.memory);
        let mailboxes = domain.mailboxes.clone().map(|slot| kernel.mailboxes[slot as usize]);
        assert_eq!(domain.messages, mailboxes.map(|mailbox| mailbox.capacity).sum::<u32>());
        assert!(domain.messages <= domain.quota.messages);
        if !running {
            assert_eq!(kernel.capabilities.used_slots(index), 0, "a dead domain holds something");
        }
    }
    for (index, region) in (0u32..).zip(&kernel.regions) {
        let memory = kernel.machine.regions.get(&index);
        assert_eq!(region.state != RegionState::Free, memory.is_some(), "region {index}");
        let holders = holders(kernel, kernel.anchors.of(Kind::Region, index));
        let loan = |entry: &u32| kernel.capabilities.get(*entry).mapping.loan;
        match region.state {
            RegionState::Free => assert!(holders.is_empty()),
            RegionState::Alive if region.planned => {}
            RegionState::Alive => {
                assert!(kernel.domains[usize::from(region.owner)].is_running());
                assert!(!holders.is_empty(), "region {index} is held by nobody");
            }
            RegionState::Orphan => {
                assert!(!holders.is_empty() && holders.iter().all(loan), "region {index}");
            }
        }
    }
}

fn mailboxes_and_signals_agree(kernel: &mut Kernel<FakeMachine>) {
    let mut stored = BTreeSet::new();
    for (index, mailbox) in (0u32..).zip(&kernel.mailboxes) {
        let held = holders(kernel, kernel.anchors.of(Kind::Mailbox, index));
        let server = kernel.domains[usize::from(mailbox.owner)].state;
        let runs = server == DomainState::Running;
        // What is sent before the server's first start waits for it, and for one with another image.
        let comes =
            server == DomainState::Created || kernel.keeps_mailboxes(DomainIndex(mailbox.owner));
        let expected = match mailbox.state {
            MailboxState::Free => held.is_empty() && !mailbox.planned,
            MailboxState::Open if mailbox.planned => runs || comes,
            MailboxState::Open => runs && !held.is_empty(),
            MailboxState::Closed => mailbox.planned && !runs,
        };
        assert!(expected, "mailbox {index} is {:?}", mailbox.state);
        let members: Vec<u32> = kernel.links.iter(&mailbox.queue).collect();
        let messages = members.iter().filter_map(|member| kernel.stored_message(*member));
        let before = stored.len();
        stored.extend(messages);
        assert_eq!(stored.len() - before, mailbox.stored as usize, "mailbox {index}");
        assert!(mailbox.stored <= mailbox.capacity);
        assert!(mailbox.queue.is_empty() || mailbox.receivers.is_empty());
        if mailbox.state != MailboxState::Open {
            assert!(members.is_empty() && mailbox.receivers.is_empty() && mailbox.signal == NONE);
        }
        if mailbox.signal != NONE {
            let signal = &kernel.signals[mailbox.signal as usize];
            assert_eq!(signal.mailbox(), index, "mailbox {index} and its signal");
            assert!(mailbox.receivers.is_empty() || signal.bits == 0);
        }
    }
    for (index, signal) in (0u32..).zip(&kernel.signals) {
        let held = holders(kernel, kernel.anchors.of(Kind::Signal, index));
        if !signal.planned {
            assert_eq!(signal.alive, !held.is_empty(), "signal {index}");
        }
        assert!(signal.alive || (signal.waiters.is_empty() && signal.binding.is_none()));
        if let Some(binding) = signal.binding {
            assert_eq!(kernel.mailboxes[binding.mailbox as usize].signal, index);
            let lineages = kernel.capabilities.lineages();
            assert!(binding.origins.iter().all(|origin| lineages.is_valid(*origin)));
        }
    }
    let count = message_count(kernel);
    assert_eq!(kernel.messages.free_places() + stored.len(), count, "places of messages");
    for message in (0..count as u32).filter(|message| !stored.contains(message)) {
        for number in 0..MESSAGE_GRANTS as u32 {
            let entry = kernel.transit_entry(message, number);
            assert!(!kernel.capabilities.is_occupied(entry), "a free message carries something");
        }
    }
}

/// The loans of the call that a reply capability answers.
fn loans(kernel: &Kernel<FakeMachine>, first: u32) -> Vec<u32> {
    let lineages = kernel.capabilities.lineages();
    let next = |loan: &u32| Some(lineages.next_loan(*loan)).filter(|next| *next != NONE);
    std::iter::successors(Some(first).filter(|first| *first != NONE), next).collect()
}

fn lineages_are_owned_once(kernel: &mut Kernel<FakeMachine>) {
    let (mut owned, mut lent) = (BTreeSet::new(), BTreeSet::new());
    for entry in occupied(kernel) {
        let Capability { kind, child, .. } = *kernel.capabilities.get(entry);
        let chain = if kind == Kind::Reply {
            let chain = loans(kernel, child);
            lent.extend(chain.iter().copied());
            chain
        } else {
            Vec::from_iter(Some(child).filter(|child| *child != NONE))
        };
        for lineage in chain {
            assert!(owned.insert(lineage), "the lineage {lineage} is owned twice");
        }
    }
    let domains = 0..kernel.domains.len() as u32;
    let used: u32 = domains.map(|domain| kernel.capabilities.lineages().used(domain)).sum();
    assert_eq!(used as usize, owned.len(), "lineages that are paid for and owned");
    for entry in occupied(kernel) {
        let Capability { mapping, origin, .. } = *kernel.capabilities.get(entry);
        if kernel.capabilities.state(entry) == State::Held && mapping.loan {
            assert!(lent.contains(&origin.lineage), "a loan outlives its call");
        }
    }
}

fn replies_belong_to_served_threads(kernel: &mut Kernel<FakeMachine>) {
    for thread in 0..kernel.threads.len() as u32 {
        let replies = listed(kernel, kernel.anchors.of(Kind::Reply, thread));
        let held = kernel.thread(thread);
        let served = held.activity == Activity::Served;
        assert_eq!(replies.len(), usize::from(served), "replies to thread {thread}");
        let lends = replies.iter().any(|entry| kernel.capabilities.get(*entry).child != NONE);
        assert_eq!(lends, served && held.lends, "thread {thread} lends");
        assert!(served || !held.lends, "thread {thread} lends and waits for no answer");
        let waits = matches!(
            held.activity,
            Activity::Calling(_)
                | Activity::Served
                | Activity::Receiving(_)
                | Activity::Waiting(..)
        );
        assert!(!waits || kernel.capabilities.lineages().is_valid(held.origin));
    }
}

/// What a thread knows of a capability, while its stamp says that it is so, is what the table says.
fn known_ways_are_as_they_were(kernel: &mut Kernel<FakeMachine>) {
    for thread in 0..kernel.threads.len() as u32 {
        let Thread { calls, receives, activity, origin, .. } = *kernel.thread(thread);
        assert!(calls == Way::NONE || receives == Way::NONE, "thread {thread} has two ways");
        for (way, right) in [(calls, Rights::CALL), (receives, Rights::RECEIVE)] {
            let Way { handle, stamp, mailbox, rights, badge } = way;
            if stamp != kernel.capabilities.changes() || activity == Activity::Free {
                continue;
            }
            let entry = kernel.capabilities.find(kernel.space_of(thread), Handle(handle));
            let entry = entry.expect("a handle that names something");
            assert_eq!(kernel.capabilities.state(entry), State::Held);
            let held = *kernel.capabilities.get(entry);
            assert!(held.rights.contains(right));
            assert!(held.kind == Kind::Mailbox || held.kind == Kind::Object && way == calls);
            assert_eq!((held.object, held.rights.bits(), held.badge), (mailbox, rights, badge));
            assert_eq!(held.origin, origin);
        }
    }
}

fn pages_are_mapped_as_held(kernel: &mut Kernel<FakeMachine>) {
    let mut expected: BTreeMap<u16, BTreeMap<(u32, u64), Rights>> = BTreeMap::new();
    for entry in occupied(kernel) {
        let Capability { kind, object, mapping, rights, .. } = *kernel.capabilities.get(entry);
        if mapping.access.is_empty() {
            continue;
        }
        assert_eq!(kind, Kind::Region);
        assert!(rights.contains(mapping.access), "{:?} through {rights:?}", mapping.access);
        let space = kernel.capabilities.space(entry).expect("nothing is mapped in a message");
        let pages = expected.entry(space as u16).or_default();
        let end = mapping.address + mapping.length;
        for page in (mapping.address..end).step_by(PAGE as usize) {
            *pages.entry((object, page)).or_default() |= mapping.access;
        }
    }
    for (domain, space) in &kernel.machine.spaces {
        let pages = expected.remove(domain).unwrap_or_default();
        for (page, access) in &space.pages {
            let held = pages.get(page).copied().unwrap_or_default();
            assert!(
                held.contains(*access),
                "domain {domain} has {access:?} of {held:?}: {page:x?}"
            );
        }
        for (page, held) in pages {
            let access = space.pages.get(&page).copied().unwrap_or_default();
            // Where the machine failed there may be less, and never more.
            let failed = kernel.machine.failed_maps.contains(&(*domain, page.0));
            assert!(failed || access == held, "domain {domain} lacks {held:?}: {page:x?}");
        }
    }
    assert!(expected.is_empty(), "mapped in domains that are not loaded: {expected:?}");
}

fn devices_reach_what_is_held(kernel: &mut Kernel<FakeMachine>) {
    let mut expected: BTreeMap<u16, BTreeMap<(u32, u64), Rights>> = BTreeMap::new();
    let mut mappings: BTreeMap<u16, u32> = BTreeMap::new();
    for entry in occupied(kernel) {
        let Capability { object, mapping, rights, .. } = *kernel.capabilities.get(entry);
        assert_eq!(mapping.dma.is_empty(), mapping.space == NONE);
        if mapping.space == NONE {
            continue;
        }
        assert_eq!(kernel.capabilities.state(entry), State::Held);
        assert!(rights.contains(mapping.dma) && !kernel.regions[object as usize].device);
        *mappings.entry(mapping.space as u16).or_default() += 1;
        let pages = expected.entry(mapping.space as u16).or_default();
        let end = mapping.address + mapping.length;
        for page in (mapping.address..end).step_by(PAGE as usize) {
            *pages.entry((object, page)).or_default() |= mapping.dma;
        }
    }
    let hardware = &kernel.machine.hardware;
    for (space, reach) in &hardware.spaces {
        assert!(kernel.dma_spaces[usize::from(*space)].alive);
        let count = mappings.remove(space).unwrap_or_default();
        assert_eq!(kernel.dma_spaces[usize::from(*space)].mappings, count);
        assert_eq!(reach.enabled, count > 0, "the device of {space} transfers");
        let pages = expected.remove(space).unwrap_or_default();
        for (page, access) in &reach.pages {
            let held = pages.get(page).copied().unwrap_or_default();
            assert!(held.contains(*access), "{space} has {access:?} of {held:?}: {page:x?}");
        }
        for (page, held) in pages {
            let access = reach.pages.get(&page).copied().unwrap_or_default();
            let failed = hardware.failed.contains(&(*space, page.0));
            assert!(failed || access == held, "{space} lacks {held:?}: {page:x?}");
        }
    }
    assert!(expected.is_empty(), "mapped in spaces that are none: {expected:?}");
    let alive = kernel.dma_spaces.iter().filter(|space| space.alive).count();
    assert_eq!(alive, hardware.spaces.len());
}

fn interrupts_come_where_they_are_bound(kernel: &Kernel<FakeMachine>) {
    for (index, irq) in kernel.irqs.iter().enumerate() {
        let masked = kernel.machine.hardware.irqs.get(&(index as u16));
        assert_eq!(irq.alive, masked.is_some(), "irq {index}");
        if irq.signal != NONE {
            assert!(irq.alive && kernel.signals[irq.signal as usize].alive, "irq {index}");
            let lineages = kernel.capabilities.lineages();
            assert!(irq.origins.iter().all(|origin| lineages.is_valid(*origin)), "irq {index}");
        } else {
            assert_ne!(masked, Some(&false), "irq {index} comes, and nobody waits for it");
        }
    }
}

fn budgets_hold(kernel: &Kernel<FakeMachine>) {
    for (index, domain) in kernel.domains.iter().enumerate() {
        let throttled = kernel.machine.throttled.contains(&(index as u16));
        assert_eq!(domain.throttled && domain.is_running(), throttled, "domain {index}");
        if !domain.throttled {
            assert!(domain.parked.is_empty());
            continue;
        }
        assert!(domain.budget.as_ref().is_some_and(|budget| budget.is_used_up()));
        let period = (kernel.threads.len() + index) as u32;
        assert!(kernel.deadlines.is_set(period), "domain {index} is stopped for ever");
        let ready = |thread: &u32| kernel.thread(*thread).activity == Activity::Ready;
        assert_eq!(domain.threads.clone().find(ready), None, "domain {index} is stopped");
    }
}
