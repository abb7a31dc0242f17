//! The table of all capabilities.

use crate::{Capability, Lineages, Mapping, Origin, State};
use alloc::boxed::Box;
use alloc::vec;
use phi_abi::{Handle, Kind, Rights};
use phi_mem::{Links, List, NONE};

/// How large one domain's part of the table is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SpaceSize {
    /// Slots of its capability table.
    pub handles: u32,
    /// Lineages that it may pay for at one time.
    pub lineages: u32,
}

#[derive(Clone, Copy)]
struct Entry {
    capability: Capability,
    state: State,
    /// The slot's generation, from 1.
    generation: u32,
    /// The domain that the slot belongs to, or [`NONE`].
    space: u32,
    anchor: u32,
    /// The global epoch at which the capability was last found valid.
    epoch: u64,
}

#[derive(Clone, Copy)]
struct Space {
    base: u32,
    size: u32,
    free: List,
    free_count: u32,
}

/// All capabilities of the system. An entry's index names it for as long as it is held.
#[derive(Clone)]
pub struct Capabilities {
    entries: Box<[Entry]>,
    spaces: Box<[Space]>,
    /// Links of the lists at the anchors, and of each space's free slots.
    links: Links,
    anchors: Box<[List]>,
    lineages: Lineages,
    transit: u32,
    epoch: u64,
    next_id: u64,
}

impl Capabilities {
    /// A table for domains of these sizes, with `transit` entries outside any domain, for objects at
    /// `anchors` anchors. Allocates here and never again.
    pub fn new(sizes: &[SpaceSize], transit: usize, anchors: usize) -> Capabilities {
        let handles: usize = sizes.iter().map(|size| size.handles as usize).sum();
        let empty = Entry {
            capability: Capability::new(Kind::Reply, Rights::empty(), NONE, 0),
            state: State::Free,
            generation: 1,
            space: NONE,
            anchor: 0,
            epoch: 0,
        };
        let mut entries = vec![empty; handles + transit].into_boxed_slice();
        let mut links = Links::new(entries.len());
        let mut base = 0;
        let mut spaces = alloc::vec::Vec::with_capacity(sizes.len());
        for (index, size) in (0u32..).zip(sizes) {
            let mut free = List::EMPTY;
            for slot in base..base + size.handles {
                entries[slot as usize].space = index;
                links.push_back(&mut free, slot);
            }
            spaces.push(Space { base, size: size.handles, free, free_count: size.handles });
            base += size.handles;
        }
        Capabilities {
            entries,
            spaces: spaces.into_boxed_slice(),
            links,
            anchors: vec![List::EMPTY; anchors].into_boxed_slice(),
            lineages: Lineages::new(sizes.iter().map(|size| size.lineages), anchors),
            transit: base,
            epoch: 0,
            next_id: 1,
        }
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

    /// The entry that `handle` names in `space`, and the capability in it, if that is known to be valid
    /// without looking at its lineage: nobody can revoke it, or nothing has been revoked since its last
    /// check.
    #[inline(always)]
    pub fn current(&self, space: u32, handle: Handle) -> Option<(u32, &Capability)> {
        let Space { base, size, .. } = *self.spaces.get(space as usize)?;
        if handle.slot() >= size {
            return None;
        }
        let index = base + handle.slot();
        let entry = self.entries.get(index as usize)?;
        let named = entry.generation == handle.generation() && entry.state == State::Held;
        let checked = entry.epoch == self.epoch || entry.capability.origin.lineage == NONE;
        (named && checked).then_some((index, &entry.capability))
    }

    /// The capability in `entry`, or what is left of it.
    pub fn get(&self, entry: u32) -> &Capability {
        &self.entries[entry as usize].capability
    }

    /// The capability in `entry`, to change its child or its mapping.
    pub fn get_mut(&mut self, entry: u32) -> &mut Capability {
        &mut self.entries[entry as usize].capability
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
        self.links.iter(&self.spaces[space as usize].free)
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
    #[inline(always)]
    pub fn insert(
        &mut self,
        space: u32,
        capability: Capability,
        anchor: u32,
    ) -> Option<(u32, Handle)> {
        let owner = &mut self.spaces[space as usize];
        let entry = self.links.pop_front(&mut owner.free)?;
        owner.free_count -= 1;
        let slot = entry - owner.base;
        let generation = self.fill(entry, capability, anchor);
        Some((entry, Handle::new(slot, generation)))
    }

    /// Puts `capability` into `entry`, which is outside any domain and free.
    pub fn insert_in_transit(&mut self, entry: u32, capability: Capability, anchor: u32) {
        self.fill(entry, capability, anchor);
    }

    #[inline(always)]
    fn fill(&mut self, entry: u32, capability: Capability, anchor: u32) -> u32 {
        let id = if capability.id == 0 { self.fresh_id() } else { capability.id };
        let place = &mut self.entries[entry as usize];
        place.capability = capability;
        place.capability.id = id;
        place.state = State::Held;
        place.anchor = anchor;
        place.epoch = self.epoch;
        let generation = place.generation;
        self.links.push_back(&mut self.anchors[anchor as usize], entry);
        generation
    }

    /// Takes what is in `entry` out and frees the entry: its handle names nothing from now on.
    #[inline(always)]
    pub fn remove(&mut self, entry: u32) {
        let place = &mut self.entries[entry as usize];
        if place.state == State::Held {
            self.links.remove(&mut self.anchors[place.anchor as usize], entry);
        }
        place.state = State::Free;
        let Some(space) = self.spaces.get_mut(place.space as usize) else { return };
        match place.generation.checked_add(1) {
            Some(generation) => {
                place.generation = generation;
                self.links.push_front(&mut space.free, entry);
                space.free_count += 1;
            }
            None => place.state = State::Retired,
        }
    }

    /// Ends the capability in `entry` and leaves `state` (`Revoked` or `Dead`) for its holder to
    /// find.
    pub fn bury(&mut self, entry: u32, state: State) {
        let place = &mut self.entries[entry as usize];
        if place.state == State::Held {
            self.links.remove(&mut self.anchors[place.anchor as usize], entry);
            place.capability.mapping = Mapping::NONE;
            place.state = state;
        }
    }

    /// The first capability to the object at `anchor`.
    pub fn first_of(&self, anchor: u32) -> Option<u32> {
        self.anchors[anchor as usize].first()
    }

    /// The next capability to the same object.
    pub fn after(&self, entry: u32) -> Option<u32> {
        self.links.after(entry)
    }

    /// The anchor of the object of `entry`.
    pub fn anchor(&self, entry: u32) -> u32 {
        self.entries[entry as usize].anchor
    }

    /// Revokes `lineage` and gives it back. Everything that came from it is invalid at once; the
    /// caller buries it, walking the list of the anchor.
    pub fn end_lineage(&mut self, lineage: u32) {
        self.lineages.end(lineage);
        self.epoch += 1;
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
mod tests {
    use super::*;
    use crate::LineageError;
    use phi_abi::LINEAGE_DEPTH;

    const SIZE: SpaceSize = SpaceSize { handles: 4, lineages: 9 };

    fn table() -> Capabilities {
        Capabilities::new(&[SIZE, SpaceSize { handles: 16, ..SIZE }], 4, 2)
    }

    fn signal() -> Capability {
        Capability::new(Kind::Signal, Kind::Signal.rights(), 0, 0)
    }

    #[test]
    fn a_dropped_handle_never_names_anything_again() {
        let mut table = table();
        let entry = table.insert(0, signal(), 0).unwrap().0;
        let handle = table.handle(entry);
        assert_eq!(table.find(0, handle), Some(entry));
        assert_eq!(table.find(1, handle), None, "handles mean something to their holder only");
        table.remove(entry);
        assert_eq!(table.find(0, handle), None);
        let again = table.insert(0, signal(), 0).unwrap().0;
        assert_eq!(again, entry);
        assert_ne!(table.handle(again), handle);
        assert_eq!(table.find(0, handle), None);
        assert_eq!(table.find(0, Handle::new(4, 1)), None);
        assert_eq!(table.find(0, Handle::NULL), None);
        assert_eq!(table.find(0, Handle::new(1, 1)), None, "a free slot holds nothing");
    }

    #[test]
    fn ids_are_unique_and_slots_run_out() {
        let mut table = table();
        let entries: alloc::vec::Vec<u32> =
            core::iter::from_fn(|| table.insert(0, signal(), 0)).map(|(entry, _)| entry).collect();
        assert_eq!(entries.len(), 4);
        assert_eq!((table.free_slots(0), table.used_slots(0)), (0, 4));
        let ids: alloc::collections::BTreeSet<u64> =
            entries.iter().map(|entry| table.get(*entry).id).collect();
        assert_eq!(ids.len(), 4);
    }

    #[test]
    fn a_slot_whose_generation_would_wrap_is_retired() {
        let mut table = table();
        let entry = table.insert(0, signal(), 0).unwrap().0;
        table.entries[entry as usize].generation = u32::MAX;
        let last = table.handle(entry);
        assert_eq!(table.find(0, last), Some(entry));
        table.remove(entry);
        assert_eq!(table.find(0, last), None);
        assert_eq!(table.free_slots(0), 3);
        for _ in 0..3 {
            assert!(table.insert(0, signal(), 0).is_some_and(|(other, _)| other != entry));
        }
        assert_eq!(table.insert(0, signal(), 0), None);
    }

    #[test]
    fn revocation_reaches_the_whole_chain_and_nothing_else() {
        let mut table = table();
        let root = table.insert(0, signal(), 0).unwrap().0;
        let mut origin = Origin::ROOT;
        let mut chain = alloc::vec::Vec::new();
        for _ in 0..LINEAGE_DEPTH {
            let lineage = table.lineages_mut().make(origin, 0, 1).unwrap();
            origin = table.lineages().origin(lineage);
            let entry = table.insert(1, Capability { origin, ..signal() }, 0).unwrap().0;
            chain.push((lineage, entry));
        }
        assert_eq!(table.lineages().depth(origin), LINEAGE_DEPTH);
        assert_eq!(table.lineages_mut().make(origin, 0, 1), Err(LineageError::TooDeep));
        table.end_lineage(chain[3].0);
        assert_eq!(table.state(root), State::Held);
        for (place, (_, entry)) in chain.iter().enumerate() {
            let expected = if place < 3 { State::Held } else { State::Revoked };
            assert_eq!(table.state(*entry), expected);
        }
        // The freed lineage is used again, and what came from its former use stays revoked.
        let reused = table.lineages_mut().make(Origin::ROOT, 0, 1).unwrap();
        assert_eq!(reused, chain[3].0);
        assert_eq!(table.state(chain[3].1), State::Revoked);
    }

    #[test]
    fn current_is_what_nothing_was_revoked_since() {
        let mut table = table();
        let (_, root) = table.insert(0, signal(), 0).unwrap();
        let [(lineage, entry, handle), (_, other_entry, other)] = [0, 1].map(|_| {
            let lineage = table.lineages_mut().make(Origin::ROOT, 0, 0).unwrap();
            let origin = table.lineages().origin(lineage);
            let (entry, handle) = table.insert(1, Capability { origin, ..signal() }, 0).unwrap();
            (lineage, entry, handle)
        });
        assert_eq!(table.current(1, handle).map(|(found, _)| found), Some(entry));
        table.end_lineage(lineage);
        assert_eq!(table.current(1, handle), None);
        assert_eq!(table.current(1, other), None, "it was not checked since");
        assert_eq!(table.state(other_entry), State::Held);
        assert_eq!(table.current(1, other).map(|(found, _)| found), Some(other_entry));
        assert!(table.current(0, root).is_some(), "nobody can revoke it");
    }

    #[test]
    fn a_dissolved_lineage_leaves_its_members_to_its_parent() {
        let mut table = table();
        let upper = table.lineages_mut().make(Origin::ROOT, 0, 0).unwrap();
        let lower = {
            let parent = table.lineages().origin(upper);
            table.lineages_mut().make(parent, 0, 1).unwrap()
        };
        let origin = table.lineages().origin(lower);
        let entry = table.insert(1, Capability { origin, ..signal() }, 0).unwrap().0;
        table.dissolve(lower);
        assert_eq!(table.lineages().used(1), 0);
        assert_eq!(table.state(entry), State::Held);
        assert_eq!(table.get(entry).origin, table.lineages().origin(upper));
        table.end_lineage(upper);
        assert_eq!(table.state(entry), State::Revoked);
    }

    #[test]
    fn lineages_are_charged_to_their_payer() {
        let mut table = table();
        for left in (0..9).rev() {
            assert!(table.lineages_mut().make(Origin::ROOT, 1, 0).is_ok());
            assert_eq!(table.lineages().left(0), left);
        }
        let failure = table.lineages_mut().make(Origin::ROOT, 1, 0);
        assert_eq!(failure, Err(LineageError::QuotaExceeded));
        assert!(table.lineages_mut().make(Origin::ROOT, 1, 1).is_ok());
    }
}
