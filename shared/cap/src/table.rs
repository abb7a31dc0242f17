//! The table of all capabilities.

use crate::sweep::Sweeps;
use crate::{Capability, Lineages, Mapping, Origin, Replies, State};
use alloc::boxed::Box;
use alloc::vec;
use phi_abi::{Handle, Kind, Rights};
use phi_mem::{Links, List, NONE};

/// The part of the table that is one domain's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Slots {
    pub(crate) base: u32,
    pub(crate) size: u32,
}

/// How large one domain's part of the table is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SpaceSize {
    /// Slots of its capability table.
    pub handles: u32,
    /// Lineages that it may pay for at one time.
    pub lineages: u32,
}

#[derive(Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) capability: Capability,
    pub(crate) state: State,
    /// The slot's generation, from 1.
    pub(crate) generation: u32,
    /// The domain that the slot belongs to, or [`NONE`].
    pub(crate) space: u32,
    /// The anchor of what it holds, if that is no reply capability; of a free slot the next free one of
    /// the space, or [`NONE`].
    pub(crate) anchor: u32,
    /// The global epoch at which the capability was last found valid.
    epoch: u64,
}

#[derive(Clone, Copy)]
pub(crate) struct Space {
    pub(crate) base: u32,
    size: u32,
    /// The first free slot, or [`NONE`]: the last that was freed.
    pub(crate) free: u32,
    pub(crate) free_count: u32,
}

/// All capabilities of the system. An entry's index names it for as long as it is held.
#[derive(Clone)]
pub struct Capabilities {
    entries: Box<[Entry]>,
    spaces: Box<[Space]>,
    /// Links of the lists at the anchors.
    links: Links,
    anchors: Box<[List]>,
    /// The one entry with a reply capability to each thread, or [`NONE`].
    replies: Box<[u32]>,
    /// Of each object, the capabilities through which something is mapped or lent, and their links.
    mapped: Box<[List]>,
    mapped_links: Links,
    lineages: Lineages,
    sweeps: Sweeps,
    transit: u32,
    epoch: u64,
    changes: u64,
    next_id: u64,
}

/// What is in a free slot: a reply capability to nothing. So one that is put there writes little.
const BLANK: Capability = Capability::new(Kind::Reply, Rights::empty(), NONE, 0);

impl Capabilities {
    /// A table for domains of these sizes, with `transit` entries outside any domain, for objects at
    /// `anchors` anchors and, behind these, an anchor for the reply to each of `threads` threads.
    /// Allocates here and never again.
    pub fn new(
        sizes: &[SpaceSize],
        transit: usize,
        anchors: usize,
        threads: usize,
    ) -> Capabilities {
        let handles: usize = sizes.iter().map(|size| size.handles as usize).sum();
        let empty = Entry {
            capability: BLANK,
            state: State::Free,
            generation: 1,
            space: NONE,
            anchor: NONE,
            epoch: 0,
        };
        let mut entries = vec![empty; handles + transit].into_boxed_slice();
        let links = Links::new(entries.len());
        let mapped_links = links.clone();
        let mut base = 0;
        let mut spaces = alloc::vec::Vec::with_capacity(sizes.len());
        for (index, size) in (0u32..).zip(sizes) {
            let mut free = NONE;
            for slot in (base..base + size.handles).rev() {
                let entry = &mut entries[slot as usize];
                entry.space = index;
                entry.anchor = free;
                free = slot;
            }
            spaces.push(Space { base, size: size.handles, free, free_count: size.handles });
            base += size.handles;
        }
        Capabilities {
            entries,
            spaces: spaces.into_boxed_slice(),
            links,
            anchors: vec![List::EMPTY; anchors].into_boxed_slice(),
            replies: vec![NONE; threads].into_boxed_slice(),
            mapped: vec![List::EMPTY; anchors].into_boxed_slice(),
            mapped_links,
            sweeps: Sweeps::new(anchors),
            lineages: Lineages::new(sizes.iter().map(|size| size.lineages), anchors),
            transit: base,
            epoch: 0,
            changes: 1,
            next_id: 1,
        }
    }

    /// A number that has gone up since any capability but a reply has been revoked, has ended, or has
    /// left its slot. Never 0.
    #[inline(always)]
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// The lineages.
    pub fn lineages(&self) -> &Lineages {
        &self.lineages
    }

    /// The lineages.
    pub fn lineages_mut(&mut self) -> &mut Lineages {
        &mut self.lineages
    }

    /// The entry that `handle` names in `space`, whatever is left in it; `None` for a handle that was
    /// never held or has been dropped.
    pub fn find(&self, space: u32, handle: Handle) -> Option<u32> {
        let Space { base, size, .. } = *self.spaces.get(space as usize)?;
        if handle.slot() >= size {
            return None;
        }
        let index = base + handle.slot();
        let entry = self.entries.get(index as usize)?;
        let present = !matches!(entry.state, State::Free | State::Retired);
        (entry.generation == handle.generation() && present).then_some(index)
    }

    /// The handle that names `entry` in its space.
    pub fn handle(&self, entry: u32) -> Handle {
        let held = &self.entries[entry as usize];
        match self.spaces.get(held.space as usize) {
            Some(space) => Handle::new(entry - space.base, held.generation),
            None => Handle::NULL,
        }
    }

    /// The reply capabilities.
    #[inline(always)]
    pub fn replies(&mut self) -> Replies<'_> {
        Replies {
            entries: &mut self.entries,
            spaces: &mut self.spaces,
            of_threads: &mut self.replies,
            next_id: &mut self.next_id,
        }
    }

    /// The slots of `space`.
    pub fn slots(&self, space: u32) -> Slots {
        let Space { base, size, .. } = self.spaces[space as usize];
        Slots { base, size }
    }

    /// The capability in `entry`, or what is left of it.
    pub fn get(&self, entry: u32) -> &Capability {
        &self.entries[entry as usize].capability
    }

    /// Sets the lineage of what was derived revocably from the capability in `entry`, or, of a reply
    /// capability, the first of its call's loans.
    pub fn set_child(&mut self, entry: u32, child: u32) {
        self.entries[entry as usize].capability.child = child;
    }

    /// Sets what is mapped through the capability in `entry`.
    pub fn set_mapping(&mut self, entry: u32, mapping: Mapping) {
        let held = &mut self.entries[entry as usize];
        if held.capability.mapping.is_listed() != mapping.is_listed() {
            let list = &mut self.mapped[held.anchor as usize];
            match mapping.is_listed() {
                true => self.mapped_links.push_back(list, entry),
                false => self.mapped_links.remove(list, entry),
            }
        }
        held.capability.mapping = mapping;
    }

    /// What `entry` holds, its lineage checked.
    pub fn state(&mut self, entry: u32) -> State {
        let epoch = self.epoch;
        let held = &mut self.entries[entry as usize];
        if held.epoch == epoch || held.state != State::Held {
            return held.state;
        }
        if !self.lineages.is_valid(held.capability.origin) {
            return State::Revoked;
        }
        held.epoch = epoch;
        State::Held
    }

    /// What [`Capabilities::state`] says, without noting that it was checked.
    pub fn standing(&self, entry: u32) -> State {
        let held = &self.entries[entry as usize];
        let checked = held.epoch == self.epoch || held.state != State::Held;
        if checked || self.lineages.is_valid(held.capability.origin) {
            held.state
        } else {
            State::Revoked
        }
    }

    /// Number of entries, of the domains and outside them.
    pub fn count(&self) -> u32 {
        self.entries.len() as u32
    }

    /// The free entries of `space`, in the order in which they will be used.
    pub fn free_entries(&self, space: u32) -> impl Iterator<Item = u32> + '_ {
        let some = |entry: u32| Some(entry).filter(|entry| *entry != NONE);
        let next = move |entry: &u32| some(self.entries[*entry as usize].anchor);
        core::iter::successors(some(self.spaces[space as usize].free), next)
    }

    /// Whether `entry` holds a capability, or what is left of one.
    pub fn is_occupied(&self, entry: u32) -> bool {
        !matches!(self.entries[entry as usize].state, State::Free | State::Retired)
    }

    /// The domain that holds `entry`; `None` for one in a queued message.
    pub fn space(&self, entry: u32) -> Option<u32> {
        Some(self.entries[entry as usize].space).filter(|space| *space != NONE)
    }

    /// Free slots of `space`.
    pub fn free_slots(&self, space: u32) -> u32 {
        self.spaces[space as usize].free_count
    }

    /// Slots of `space` in use: capabilities, and what is left of some.
    pub fn used_slots(&self, space: u32) -> u32 {
        let entries = self.entries_of(space);
        let used = |entry: &Entry| !matches!(entry.state, State::Free | State::Retired);
        self.entries[entries.start as usize..entries.end as usize]
            .iter()
            .filter(|entry| used(entry))
            .count() as u32
    }

    /// The entries of `space`.
    pub fn entries_of(&self, space: u32) -> core::ops::Range<u32> {
        let Space { base, size, .. } = self.spaces[space as usize];
        base..base + size
    }

    /// The entry outside any domain with this number.
    pub fn transit_entry(&self, number: u32) -> u32 {
        self.transit + number
    }

    /// An id that no capability had before.
    pub fn fresh_id(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        id
    }

    /// Puts `capability` to the object at `anchor` into a free slot of `space`; `None` when there is
    /// none. It keeps its id; one of 0 is replaced by a fresh one. Returns entry and handle.
    pub fn insert(
        &mut self,
        space: u32,
        capability: Capability,
        anchor: u32,
    ) -> Option<(u32, Handle)> {
        let owner = &mut self.spaces[space as usize];
        let entry = owner.free;
        let free = self.entries.get(entry as usize)?;
        owner.free = free.anchor;
        owner.free_count -= 1;
        let slot = entry - owner.base;
        let generation = self.fill(entry, capability, anchor);
        Some((entry, Handle::new(slot, generation)))
    }

    /// Whether what is in a free slot is as [`Replies::insert`] wants it.
    pub fn is_blank(&self, entry: u32) -> bool {
        let Entry { capability, state, .. } = self.entries[entry as usize];
        let Capability { id, rights, object, .. } = capability;
        state == State::Free && capability == Capability { id, rights, object, ..BLANK }
    }

    /// Puts `capability` into `entry`, which is outside any domain and free.
    pub fn insert_in_transit(&mut self, entry: u32, capability: Capability, anchor: u32) {
        self.fill(entry, capability, anchor);
    }

    fn fill(&mut self, entry: u32, capability: Capability, anchor: u32) -> u32 {
        let id = if capability.id == 0 { self.fresh_id() } else { capability.id };
        let place = &mut self.entries[entry as usize];
        place.capability = capability;
        place.capability.id = id;
        place.state = State::Held;
        place.anchor = anchor;
        place.epoch = self.epoch;
        let generation = place.generation;
        match self.anchors.get_mut(anchor as usize) {
            Some(list) => self.links.push_back(list, entry),
            None => self.replies[anchor as usize - self.anchors.len()] = entry,
        }
        if capability.mapping.is_listed() {
            self.mapped_links.push_back(&mut self.mapped[anchor as usize], entry);
        }
        generation
    }

    /// Takes a held entry off its anchor.
    fn unlink(&mut self, entry: u32) {
        let Entry { anchor, capability: Capability { kind, object, mapping, .. }, .. } =
            self.entries[entry as usize];
        if kind == Kind::Reply {
            self.replies[object as usize] = NONE;
        } else {
            if self.sweeps.next == entry {
                self.sweeps.next = self.links.after(entry).unwrap_or(NONE);
            }
            self.links.remove(&mut self.anchors[anchor as usize], entry);
            self.changes += 1;
            if mapping.is_listed() {
                self.mapped_links.remove(&mut self.mapped[anchor as usize], entry);
                self.entries[entry as usize].capability.mapping = Mapping::NONE;
            }
        }
    }

    /// Takes what is in `entry` out and frees the entry: its handle names nothing from now on.
    pub fn remove(&mut self, entry: u32) {
        if self.entries[entry as usize].state == State::Held {
            self.unlink(entry);
        }
        let place = &mut self.entries[entry as usize];
        place.state = State::Free;
        place.capability = BLANK;
        let Some(space) = self.spaces.get_mut(place.space as usize) else { return };
        match place.generation.checked_add(1) {
            Some(generation) => {
                place.generation = generation;
                place.anchor = space.free;
                space.free = entry;
                space.free_count += 1;
            }
            None => place.state = State::Retired,
        }
    }

    /// Ends the capability in `entry` and leaves `state` (`Revoked` or `Dead`) for its holder to
    /// find.
    pub fn bury(&mut self, entry: u32, state: State) {
        if self.entries[entry as usize].state == State::Held {
            self.unlink(entry);
            self.entries[entry as usize].state = state;
        }
    }

    /// The first capability to the object at `anchor`.
    pub fn first_of(&self, anchor: u32) -> Option<u32> {
        match self.anchors.get(anchor as usize) {
            Some(list) => list.first(),
            None => {
                let reply = self.replies[anchor as usize - self.anchors.len()];
                Some(reply).filter(|reply| *reply != NONE)
            }
        }
    }

    /// The next capability to the same object.
    pub fn after(&self, entry: u32) -> Option<u32> {
        match self.entries[entry as usize].capability.kind {
            Kind::Reply => None,
            _ => self.links.after(entry),
        }
    }

    /// The first capability through which something of the object at `anchor` is mapped or lent.
    pub fn first_mapped(&self, anchor: u32) -> Option<u32> {
        self.mapped[anchor as usize].first()
    }

    /// The next capability through which something of the same object is mapped or lent.
    pub fn after_mapped(&self, entry: u32) -> Option<u32> {
        self.mapped_links.after(entry)
    }

    /// The anchor of the object of `entry`.
    pub fn anchor(&self, entry: u32) -> u32 {
        let Entry { anchor, capability: Capability { kind, object, .. }, .. } =
            self.entries[entry as usize];
        if kind == Kind::Reply { self.anchors.len() as u32 + object } else { anchor }
    }

    /// Has [`Capabilities::next_revoked`] find what is no longer valid of the capabilities to the object at
    /// `anchor`.
    pub fn sweep_later(&mut self, anchor: u32) {
        self.sweeps.add(anchor, self.first_of(anchor));
    }

    /// Whether there is nothing to sweep.
    pub fn is_swept(&self) -> bool {
        self.sweeps.is_empty()
    }

    /// The next capability that is no longer valid and not buried yet. Looks at `looks` capabilities at
    /// most, and takes off those it has looked at.
    pub fn next_revoked(&mut self, looks: &mut u32) -> Option<u32> {
        while *looks > 0 && !self.sweeps.is_empty() {
            *looks -= 1;
            if self.sweeps.next == NONE {
                let first = self.sweeps.finish_first().and_then(|anchor| self.first_of(anchor));
                self.sweeps.next = first.unwrap_or(NONE);
                continue;
            }
            let entry = self.sweeps.next;
            self.sweeps.next = self.links.after(entry).unwrap_or(NONE);
            if self.state(entry) == State::Revoked {
                return Some(entry);
            }
        }
        None
    }

    /// How many lineages `payer` pays for, without those that a sweep will give back. While there is one,
    /// this looks at all capabilities.
    pub fn lineages_used(&self, payer: u32) -> u32 {
        let given_back = |entry: &u32| {
            let Entry { state, capability: Capability { kind, child, .. }, .. } =
                self.entries[*entry as usize];
            let owns = state == State::Held && kind != Kind::Reply && child != NONE;
            owns && self.lineages.payer(child) == payer && self.standing(*entry) == State::Revoked
        };
        let used = self.lineages.used(payer);
        if self.is_swept() {
            return used;
        }
        used - (0..self.count()).filter(given_back).count() as u32
    }

    /// Revokes `lineage` and gives it back. Everything that came from it is invalid at once; the
    /// caller has it buried, at once or by a sweep.
    pub fn end_lineage(&mut self, lineage: u32) {
        self.lineages.end(lineage);
        self.epoch += 1;
        self.changes += 1;
    }

    /// Gives `lineage` back without revoking: what came from it now comes from its parent. Returns
    /// both origins, for what else keeps one.
    pub fn dissolve(&mut self, lineage: u32) -> (Origin, Origin) {
        let from = self.lineages.origin(lineage);
        let to = self.lineages.adopt_children(lineage);
        let mut next = self.first_of(self.lineages.anchor(lineage));
        while let Some(entry) = next {
            let origin = &mut self.entries[entry as usize].capability.origin;
            if *origin == from {
                *origin = to;
            }
            next = self.links.after(entry);
        }
        self.end_lineage(lineage);
        (from, to)
    }
}

#[cfg(test)]
mod tests;
