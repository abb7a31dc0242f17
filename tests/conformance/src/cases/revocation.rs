//! Revocation: what was handed out is taken back at once, whatever is being done with it.

use super::{BOTH, CLIENT, PASS, cases, copied, mailbox, mapped, region, serving, signal, word};
use crate::expect::{Step, equal};
use crate::play::{PARTNER, Play, SUBJECT, WITNESS, all};
use phi_abi::{
    DERIVE_REVOCABLE, Error, FOREVER, FaultKind, Handle, Kind, LINEAGE_DEPTH, Number, Rights,
};

cases!("revocation":
    what_was_handed_out_is_taken_back,
    what_is_revoked_can_be_looked_at_and_dropped,
    every_call_says_that_it_is_revoked,
    revoking_nothing_succeeds,
    revoking_needs_the_right_to_derive,
    the_source_and_its_plain_copies_stay,
    copies_of_what_is_revoked_are_revoked,
    what_is_moved_on_is_revoked,
    revoking_in_the_middle_of_a_chain,
    new_copies_after_a_revocation_are_good,
    lineages_have_a_depth,
    a_queued_call_is_revoked,
    a_served_call_is_revoked,
    a_receive_is_revoked,
    a_wait_is_revoked,
    a_binding_is_revoked,
    mapped_pages_are_taken_away,
    pages_mapped_twice_keep_what_is_left,
    capabilities_in_stored_messages_are_revoked,
    capabilities_in_queued_calls_are_revoked,
    objects_are_revoked_with_the_mailbox,
    messages_sent_before_arrive,
    a_dropped_source_leaves_its_copies,
    an_ended_grantor_leaves_its_copies,
);

/// The partner makes a mailbox; the subject gets a capability to it that the partner can revoke.
fn revocable(play: &Play) -> Step<(u64, u64)> {
    let server = mailbox(play, PARTNER, 4)?;
    Ok((server, play.lend_out(PARTNER, server, CLIENT, SUBJECT)?))
}

fn revoke(play: &Play, handle: u64) -> Step {
    let value = play.value(PARTNER, Number::CapabilityRevoke, &[handle])?;
    equal("value of a revocation", value, 0)
}

fn what_was_handed_out_is_taken_back(play: &Play) -> Step {
    let (server, client) = revocable(play)?;
    play.draft_label(SUBJECT, 1)?;
    play.value(SUBJECT, Number::Send, &[client])?;
    revoke(play, server)?;
    play.refused(SUBJECT, Number::Send, &[client], Error::Revoked)?;
    play.refused(SUBJECT, Number::Call, &[client, 0], Error::Revoked)
}

fn what_is_revoked_can_be_looked_at_and_dropped(play: &Play) -> Step {
    let source = region(play, PARTNER, 4096)?;
    let copy = play.lend_out(PARTNER, source, BOTH, SUBJECT)?;
    let before = play.capability(SUBJECT, copy)?;
    equal("depth", before.depth, 1)?;
    revoke(play, source)?;
    let after = play.capability(SUBJECT, copy)?;
    equal("id and kind", (after.id, after.kind), (before.id, Kind::Region))?;
    equal("address, length and depth", (after.address, after.length, after.depth), (0, 0, 0))?;
    play.value(SUBJECT, Number::CapabilityDrop, &[copy])?;
    play.faults(SUBJECT, Number::CapabilityInspect, &[copy], FaultKind::BadHandle, copy)
}

fn every_call_says_that_it_is_revoked(play: &Play) -> Step {
    let mailbox = mailbox(play, PARTNER, 1)?;
    let region = region(play, PARTNER, 4096)?;
    let bits = signal(play, PARTNER)?;
    let (_, thread) = play.thread_with_handle(PARTNER)?;
    let kinds = [
        (mailbox, all(Kind::Mailbox)),
        (region, all(Kind::Region)),
        (bits, all(Kind::Signal)),
        (thread, all(Kind::Thread)),
    ];
    let mut revoked = [0; 4];
    for (place, (handle, rights)) in revoked.iter_mut().zip(kinds) {
        *place = play.lend_out(PARTNER, handle, rights, SUBJECT)?;
        revoke(play, handle)?;
    }
    let own = super::mailbox(play, SUBJECT, 1)?;
    let [mailbox, region, bits, thread] = revoked;
    let calls: [(Number, &[u64]); 15] = [
        (Number::CapabilityDerive, &[mailbox, word(Rights::SEND), 0]),
        (Number::CapabilityRevoke, &[region]),
        (Number::ObjectMint, &[mailbox, 0, 0]),
        (Number::RegionMap, &[region, word(Rights::READ)]),
        (Number::RegionUnmap, &[region]),
        (Number::Send, &[mailbox]),
        (Number::Call, &[mailbox, 0]),
        (Number::Receive, &[mailbox, 0]),
        (Number::SignalNotify, &[bits, 1]),
        (Number::SignalWait, &[bits, 1, 0]),
        (Number::SignalBind, &[bits, own]),
        (Number::SignalBind, &[signal(play, SUBJECT)?, mailbox]),
        (Number::ThreadPriority, &[thread, 1]),
        // What a call lacks besides does not matter.
        (Number::CapabilityDerive, &[thread, word(all(Kind::Thread)), DERIVE_REVOCABLE]),
        (Number::Receive, &[mailbox, FOREVER]),
    ];
    play.draft_label(SUBJECT, 1)?;
    for (number, words) in calls {
        play.refused(SUBJECT, number, words, Error::Revoked)?;
    }
    play.draft_grants(SUBJECT, &[copied(bits, Rights::WAIT)])?;
    play.refused(SUBJECT, Number::Send, &[own], Error::Revoked)
}

fn revoking_nothing_succeeds(play: &Play) -> Step {
    let (server, client) = revocable(play)?;
    revoke(play, server)?;
    revoke(play, server)?;
    revoke(play, signal(play, PARTNER)?)?;
    play.refused(SUBJECT, Number::Send, &[client], Error::Revoked)
}

fn revoking_needs_the_right_to_derive(play: &Play) -> Step {
    let handle = signal(play, PARTNER)?;
    let copy = play.copy(PARTNER, handle, Rights::WAIT, SUBJECT)?;
    play.refused(SUBJECT, Number::CapabilityRevoke, &[copy], Error::Denied)
}

fn the_source_and_its_plain_copies_stay(play: &Play) -> Step {
    let source = signal(play, PARTNER)?;
    let plain = play.copy(PARTNER, source, Rights::WAIT, SUBJECT)?;
    let copy = play.lend_out(PARTNER, source, Rights::WAIT, WITNESS)?;
    revoke(play, source)?;
    play.value(PARTNER, Number::SignalNotify, &[source, 1])?;
    equal("bits", play.value(SUBJECT, Number::SignalWait, &[plain, 1, 0])?, 1)?;
    play.refused(WITNESS, Number::SignalWait, &[copy, 1, 0], Error::Revoked)
}

fn copies_of_what_is_revoked_are_revoked(play: &Play) -> Step {
    let source = signal(play, PARTNER)?;
    let rights = Rights::WAIT | PASS;
    let first = play.lend_out(PARTNER, source, rights, SUBJECT)?;
    let second = play.derive(SUBJECT, first, rights)?;
    let third = play.copy(SUBJECT, second, Rights::WAIT, WITNESS)?;
    revoke(play, source)?;
    play.refused(SUBJECT, Number::SignalWait, &[second, 1, 0], Error::Revoked)?;
    play.refused(WITNESS, Number::SignalWait, &[third, 1, 0], Error::Revoked)
}

fn what_is_moved_on_is_revoked(play: &Play) -> Step {
    let source = signal(play, PARTNER)?;
    let first = play.lend_out(PARTNER, source, Rights::WAIT | Rights::TRANSFER, SUBJECT)?;
    let there = play.pass(SUBJECT, super::moved(first, Rights::WAIT), WITNESS)?;
    revoke(play, source)?;
    play.refused(WITNESS, Number::SignalWait, &[there, 1, 0], Error::Revoked)
}

fn revoking_in_the_middle_of_a_chain(play: &Play) -> Step {
    let source = signal(play, PARTNER)?;
    let rights = Rights::WAIT | PASS;
    let first = play.lend_out(PARTNER, source, rights, SUBJECT)?;
    let second = play.lend_out(SUBJECT, first, rights, WITNESS)?;
    let third = play.derive_revocable(WITNESS, second, Rights::WAIT)?;
    equal("depth", play.capability(WITNESS, third)?.depth, 3)?;
    play.value(SUBJECT, Number::CapabilityRevoke, &[first])?;
    for handle in [second, third] {
        play.refused(WITNESS, Number::SignalWait, &[handle, 1, 0], Error::Revoked)?;
    }
    play.value(PARTNER, Number::SignalNotify, &[source, 1])?;
    equal("bits", play.value(SUBJECT, Number::SignalWait, &[first, 1, 0])?, 1)
}

fn new_copies_after_a_revocation_are_good(play: &Play) -> Step {
    let (server, old) = revocable(play)?;
    revoke(play, server)?;
    let new = play.lend_out(PARTNER, server, CLIENT, SUBJECT)?;
    play.draft_label(SUBJECT, 2)?;
    play.value(SUBJECT, Number::Send, &[new])?;
    play.refused(SUBJECT, Number::Send, &[old], Error::Revoked)?;
    revoke(play, server)?;
    play.refused(SUBJECT, Number::Send, &[new], Error::Revoked)
}

fn lineages_have_a_depth(play: &Play) -> Step {
    let source = signal(play, PARTNER)?;
    let rights = Rights::WAIT | PASS;
    let mut handles = [source; LINEAGE_DEPTH + 1];
    for depth in 1..=LINEAGE_DEPTH {
        handles[depth] = play.derive_revocable(PARTNER, handles[depth - 1], rights)?;
        let info = play.capability(PARTNER, handles[depth])?;
        equal("depth", info.depth, depth as u64)?;
    }
    let deepest = handles[LINEAGE_DEPTH];
    let words = [deepest, word(rights), DERIVE_REVOCABLE];
    play.refused(PARTNER, Number::CapabilityDerive, &words, Error::TooDeep)?;
    // Plain copies are no deeper.
    play.derive(PARTNER, deepest, Rights::WAIT)?;
    revoke(play, source)?;
    play.refused(PARTNER, Number::SignalWait, &[deepest, 1, 0], Error::Revoked)
}

fn a_queued_call_is_revoked(play: &Play) -> Step {
    let (server, client) = revocable(play)?;
    play.begin(SUBJECT, Number::Call, &[client, FOREVER])?;
    revoke(play, server)?;
    play.finishes(SUBJECT, Err(Error::Revoked))?;
    play.refused(PARTNER, Number::Receive, &[server, 0], Error::TimedOut)
}

fn a_served_call_is_revoked(play: &Play) -> Step {
    let (server, client) = revocable(play)?;
    let call = serving(play, server, client)?;
    revoke(play, server)?;
    play.finishes(SUBJECT, Err(Error::Revoked))?;
    play.refused(PARTNER, Number::Reply, &[call.reply.0], Error::Dead)
}

fn a_receive_is_revoked(play: &Play) -> Step {
    let server = mailbox(play, PARTNER, 4)?;
    let there = play.lend_out(PARTNER, server, Rights::RECEIVE, SUBJECT)?;
    play.begin(SUBJECT, Number::Receive, &[there, FOREVER])?;
    revoke(play, server)?;
    play.finishes(SUBJECT, Err(Error::Revoked))?;
    // It does not take a message away from the others.
    play.draft_label(PARTNER, 3)?;
    play.value(PARTNER, Number::Send, &[server])?;
    equal("label", play.receive(PARTNER, server)?.label, 3)
}

fn a_wait_is_revoked(play: &Play) -> Step {
    let source = signal(play, PARTNER)?;
    let there = play.lend_out(PARTNER, source, Rights::WAIT, SUBJECT)?;
    play.begin(SUBJECT, Number::SignalWait, &[there, 1, FOREVER])?;
    revoke(play, source)?;
    play.finishes(SUBJECT, Err(Error::Revoked))?;
    play.value(PARTNER, Number::SignalNotify, &[source, 1])?;
    equal("bits", play.value(PARTNER, Number::SignalWait, &[source, 1, 0])?, 1)
}

fn a_binding_is_revoked(play: &Play) -> Step {
    let source = signal(play, PARTNER)?;
    let there = play.lend_out(PARTNER, source, Rights::WAIT, SUBJECT)?;
    let own = mailbox(play, SUBJECT, 1)?;
    play.value(SUBJECT, Number::SignalBind, &[there, own])?;
    play.value(PARTNER, Number::SignalNotify, &[source, 1])?;
    equal("value", play.value(SUBJECT, Number::Receive, &[own, 0])?, 1)?;
    revoke(play, source)?;
    play.value(PARTNER, Number::SignalNotify, &[source, 2])?;
    play.refused(SUBJECT, Number::Receive, &[own, 0], Error::TimedOut)?;
    equal("bits", play.value(PARTNER, Number::SignalWait, &[source, 2, 0])?, 2)
}

fn mapped_pages_are_taken_away(play: &Play) -> Step {
    let (source, address) = mapped(play, PARTNER, 4096)?;
    let there = play.lend_out(PARTNER, source, BOTH, SUBJECT)?;
    play.value(SUBJECT, Number::RegionMap, &[there, word(BOTH)])?;
    play.write(SUBJECT, address, 4)?;
    revoke(play, source)?;
    equal("content", play.read(PARTNER, address)?, 4)?;
    play.value(PARTNER, Number::RegionUnmap, &[source])?;
    play.read_faults(SUBJECT, address)
}

fn pages_mapped_twice_keep_what_is_left(play: &Play) -> Step {
    let source = region(play, PARTNER, 4096)?;
    let plain = play.copy(PARTNER, source, Rights::READ, SUBJECT)?;
    let there = play.lend_out(PARTNER, source, BOTH, SUBJECT)?;
    play.value(SUBJECT, Number::RegionMap, &[plain, word(Rights::READ)])?;
    let address = play.value(SUBJECT, Number::RegionMap, &[there, word(BOTH)])?;
    play.write(SUBJECT, address, 4)?;
    revoke(play, source)?;
    equal("content", play.read(SUBJECT, address)?, 4)?;
    play.write_faults(SUBJECT, address)
}

fn capabilities_in_stored_messages_are_revoked(play: &Play) -> Step {
    let source = signal(play, PARTNER)?;
    let rights = Rights::WAIT | PASS;
    let there = play.lend_out(PARTNER, source, rights, SUBJECT)?;
    let own = mailbox(play, SUBJECT, 1)?;
    play.draft_grants(SUBJECT, &[copied(there, Rights::WAIT)])?;
    play.value(SUBJECT, Number::Send, &[own])?;
    revoke(play, source)?;
    let message = play.receive(SUBJECT, own)?;
    equal("capabilities", message.grant_count, 1)?;
    equal("handle", message.grants()[0].handle, Handle::NULL)
}

fn capabilities_in_queued_calls_are_revoked(play: &Play) -> Step {
    let source = signal(play, PARTNER)?;
    let there = play.lend_out(PARTNER, source, Rights::WAIT | PASS, SUBJECT)?;
    let server = mailbox(play, WITNESS, 1)?;
    let client = play.copy(WITNESS, server, CLIENT, SUBJECT)?;
    play.draft_grants(SUBJECT, &[copied(there, Rights::WAIT)])?;
    play.begin(SUBJECT, Number::Call, &[client, FOREVER])?;
    revoke(play, source)?;
    let call = play.receive(WITNESS, server)?;
    equal("handle", call.grants()[0].handle, Handle::NULL)?;
    play.reply(WITNESS, call.reply, 0)?;
    play.finishes(SUBJECT, Ok(0))
}

fn objects_are_revoked_with_the_mailbox(play: &Play) -> Step {
    let source = mailbox(play, PARTNER, 1)?;
    let there = play.lend_out(PARTNER, source, Rights::RECEIVE, SUBJECT)?;
    let object = play.value(SUBJECT, Number::ObjectMint, &[there, 4, word(CLIENT)])?;
    revoke(play, source)?;
    play.draft_label(SUBJECT, 1)?;
    play.refused(SUBJECT, Number::Send, &[object], Error::Revoked)
}

fn messages_sent_before_arrive(play: &Play) -> Step {
    let (server, client) = revocable(play)?;
    play.draft_label(SUBJECT, 8)?;
    play.value(SUBJECT, Number::Send, &[client])?;
    revoke(play, server)?;
    equal("label", play.receive(PARTNER, server)?.label, 8)
}

fn a_dropped_source_leaves_its_copies(play: &Play) -> Step {
    let root = signal(play, PARTNER)?;
    let rights = Rights::WAIT | PASS;
    let source = play.derive_revocable(PARTNER, root, rights)?;
    let there = play.lend_out(PARTNER, source, Rights::WAIT, SUBJECT)?;
    play.value(PARTNER, Number::CapabilityDrop, &[source])?;
    play.value(PARTNER, Number::SignalNotify, &[root, 1])?;
    equal("bits", play.value(SUBJECT, Number::SignalWait, &[there, 1, 0])?, 1)?;
    equal("depth", play.capability(SUBJECT, there)?.depth, 1)?;
    // It belongs to what the source belonged to.
    revoke(play, root)?;
    play.refused(SUBJECT, Number::SignalWait, &[there, 1, 0], Error::Revoked)
}

fn an_ended_grantor_leaves_its_copies(play: &Play) -> Step {
    let root = signal(play, PARTNER)?;
    let rights = Rights::WAIT | PASS;
    let middle = play.lend_out(PARTNER, root, rights, WITNESS)?;
    let there = play.lend_out(WITNESS, middle, Rights::WAIT, SUBJECT)?;
    play.stop(WITNESS)?;
    play.value(PARTNER, Number::SignalNotify, &[root, 1])?;
    equal("bits", play.value(SUBJECT, Number::SignalWait, &[there, 1, 0])?, 1)?;
    revoke(play, root)?;
    play.refused(SUBJECT, Number::SignalWait, &[there, 1, 0], Error::Revoked)
}
