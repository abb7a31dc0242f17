use super::*;
use crate::LineageError;
use phi_abi::LINEAGE_DEPTH;

const SIZE: SpaceSize = SpaceSize { handles: 4, lineages: 9 };

fn table() -> Capabilities {
    Capabilities::new(&[SIZE, SpaceSize { handles: 16, ..SIZE }], 4, 2, 2)
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
fn every_end_of_a_capability_is_a_change() {
    let mut table = table();
    let mut before = table.changes();
    assert_ne!(before, 0);
    let mut changed = |table: &Capabilities| {
        let changed = table.changes() > before;
        before = table.changes();
        changed
    };
    let lineage = table.lineages_mut().make(Origin::ROOT, 0, 0).unwrap();
    let origin = table.lineages().origin(lineage);
    let derived = table.insert(1, Capability { origin, ..signal() }, 0).unwrap().0;
    let [buried, removed] = [0, 1].map(|_| table.insert(1, signal(), 0).unwrap().0);
    assert!(!changed(&table), "new ones change nothing about others");
    table.bury(buried, State::Dead);
    assert!(changed(&table));
    table.remove(buried);
    assert!(!changed(&table), "it had ended before");
    table.remove(removed);
    assert!(changed(&table));
    table.end_lineage(lineage);
    assert!(changed(&table));
    assert_eq!(table.state(derived), State::Revoked);
}

#[test]
fn replies_come_and_go_as_the_general_functions_would_have_them() {
    let (mut general, mut short) = (table(), table());
    let reply = Capability::new(Kind::Reply, Kind::Reply.rights(), 1, 0);
    let anchor = 2 + 1;
    let mut before = Handle::NULL;
    for round in 0..3 {
        let (entry, handle) = general.insert(0, reply, anchor).unwrap();
        assert_eq!(short.replies().next(0), Some((handle, entry)), "round {round}");
        short.replies().insert(0, entry, 1);
        assert_eq!(short.get(entry), general.get(entry));
        assert_eq!(short.state(entry), State::Held);
        for table in [&general, &short] {
            assert_eq!((table.first_of(anchor), table.after(entry)), (Some(entry), None));
            assert_eq!((table.anchor(entry), table.free_slots(0)), (anchor, 3));
        }
        let slots = short.slots(0);
        assert_eq!(short.replies().find(&slots, handle).map(|(found, _)| found), Some(entry));
        assert_eq!(short.replies().find(&slots, before), None, "the slot's last reply is gone");
        before = handle;
        general.remove(entry);
        short.replies().remove(entry, 1);
        assert_eq!(short.replies().find(&slots, handle), None, "it is gone");
        for table in [&general, &short] {
            assert_eq!((table.first_of(anchor), table.free_slots(0)), (None, 4));
            assert!(table.is_blank(entry));
        }
        assert!(general.free_entries(0).eq(short.free_entries(0)));
    }
    let other = short.insert(0, signal(), 0).unwrap().1;
    let slots = short.slots(0);
    assert_eq!(short.replies().find(&slots, other), None, "it is no reply");
    let (theirs, entry) = short.replies().next(1).unwrap();
    short.replies().insert(1, entry, 1);
    let beyond = Handle::new(4, theirs.generation());
    assert_eq!(entry, short.entries_of(0).end, "it would be the next of these slots");
    assert_eq!(short.replies().find(&slots, beyond), None, "another domain's slot");
}

#[test]
fn replies_find_room_and_retire_slots() {
    let mut table = table();
    for _ in 0..4 {
        assert!(table.replies().next(0).is_some());
        table.insert(0, signal(), 0);
    }
    assert_eq!(table.replies().next(0), None);
    let entry = table.entries_of(0).start;
    table.remove(entry);
    table.entries[entry as usize].generation = u32::MAX;
    assert_eq!(table.replies().next(0), Some((Handle::new(0, u32::MAX), entry)));
    table.replies().insert(0, entry, 0);
    table.replies().remove(entry, 0);
    assert_eq!((table.replies().next(0), table.free_slots(0)), (None, 0));
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
