//! Reply capabilities, which come and go with every call: as few steps as there can be.
//!
//! What they do, the table's general functions would do. They rely on what is particular: nobody can
//! revoke one, there is one to a thread at most, and what is in a free slot is one to nobody already.

use crate::table::{Entry, Slots, Space};
use crate::{Capability, State};
use phi_abi::{Handle, Kind};
use phi_mem::NONE;

/// The parts of the table that have to do with reply capabilities.
pub struct Replies<'a> {
    pub(crate) entries: &'a mut [Entry],
    pub(crate) spaces: &'a mut [Space],
    pub(crate) of_threads: &'a mut [u32],
    pub(crate) next_id: &'a mut u64,
}

impl Replies<'_> {
    /// The entry that `handle` names among `slots`, all of one space, and what it holds, if that is a
    /// reply capability.
    #[inline(always)]
    pub fn find(&self, slots: &Slots, handle: Handle) -> Option<(u32, &Capability)> {
        if handle.slot() >= slots.size {
            return None;
        }
        let index = slots.base + handle.slot();
        let entry = self.entries.get(index as usize)?;
        let named = entry.generation == handle.generation() && entry.state == State::Held;
        (named && entry.capability.kind == Kind::Reply).then_some((index, &entry.capability))
    }

    /// The handle of the capability that is put into `space` next, and its entry; `None` without a free
    /// slot.
    #[inline(always)]
    pub fn next(&self, space: u32) -> Option<(Handle, u32)> {
        let owner = self.spaces.get(space as usize)?;
        let entry = self.entries.get(owner.free as usize)?;
        Some((Handle::new(owner.free - owner.base, entry.generation), owner.free))
    }

    /// Puts a reply capability to `thread`, to which there is none, into `space`, in the free `entry`
    /// that is its next.
    #[inline(always)]
    pub fn insert(&mut self, space: u32, entry: u32, thread: u32) {
        let Some(owner) = self.spaces.get_mut(space as usize) else { return };
        let Some(place) = self.entries.get_mut(entry as usize) else { return };
        owner.free = place.anchor;
        owner.free_count -= 1;
        place.capability.id = *self.next_id;
        *self.next_id += 1;
        place.capability.rights = Kind::Reply.rights();
        place.capability.object = thread;
        place.state = State::Held;
        if let Some(reply) = self.of_threads.get_mut(thread as usize) {
            *reply = entry;
        }
    }

    /// Takes the reply capability to `thread` out of `entry`, where it is held, without loans: its
    /// handle names nothing from now on.
    #[inline(always)]
    pub fn remove(&mut self, entry: u32, thread: u32) {
        let Some(place) = self.entries.get_mut(entry as usize) else { return };
        let Some(space) = self.spaces.get_mut(place.space as usize) else { return };
        if let Some(reply) = self.of_threads.get_mut(thread as usize) {
            *reply = NONE;
        }
        match place.generation.checked_add(1) {
            Some(generation) => {
                place.state = State::Free;
                place.generation = generation;
                place.anchor = space.free;
                space.free = entry;
                space.free_count += 1;
            }
            None => place.state = State::Retired,
        }
    }
}
