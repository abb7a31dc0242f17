//! Capabilities in messages: moved and copied.

use super::{
    BOTH, CLIENT, PASS, cases, copied, lent, mailbox, mapped, moved, region, served, serving,
    signal, word,
};
use crate::expect::{Step, equal, holds};
use crate::play::{GLUTTON, PARTNER, Play, SUBJECT, WITNESS, all};
use phi_abi::{Error, FOREVER, FaultKind, Grant, Handle, Kind, Message, Number, Rights};

cases!("transfer":
    moving_takes_the_handle_away,
    copying_keeps_the_handle,
    rights_shrink_on_the_way,
    rights_never_grow_on_the_way,
    moving_needs_the_right_to_transfer,
    copying_needs_the_right_to_derive,
    unknown_rights_in_a_grant_fault,
    unknown_modes_fault,
    null_and_forged_grants_fault,
    what_moves_goes_only_once,
    a_refused_message_moves_nothing,
    four_capabilities_in_one_message,
    capabilities_come_with_the_answer,
    an_answer_cannot_carry_its_own_reply,
    an_answer_cannot_lend,
    a_refused_answer_leaves_the_call_waiting,
    capabilities_travel_in_stored_messages,
    capabilities_of_a_queued_call_are_resolved_late,
    a_moved_region_is_unmapped,
    a_dropped_region_is_unmapped,
    a_capability_may_go_round_and_come_back,
    signals_can_be_passed_on,
    threads_can_be_passed_on,
    consoles_cannot_be_passed_on,
);

/// What one message that carries these grants of the subject's becomes at the partner.
fn sent(play: &Play, grants: &[Grant]) -> Step<Message> {
    let (server, client) = served(play)?;
    play.draft_grants(SUBJECT, grants)?;
    play.value(SUBJECT, Number::Send, &[client])?;
    play.receive(PARTNER, server)
}

fn moving_takes_the_handle_away(play: &Play) -> Step {
    let handle = signal(play, SUBJECT)?;
    let id = play.capability(SUBJECT, handle)?.id;
    let message = sent(play, &[moved(handle, all(Kind::Signal))])?;
    let arrived = message.grants()[0];
    equal("rights", arrived.rights, all(Kind::Signal).bits())?;
    let info = play.capability(PARTNER, arrived.handle.0)?;
    equal("id: it is the same capability", info.id, id)?;
    play.faults(SUBJECT, Number::SignalNotify, &[handle, 1], FaultKind::BadHandle, handle)
}

fn copying_keeps_the_handle(play: &Play) -> Step {
    let handle = signal(play, SUBJECT)?;
    let id = play.capability(SUBJECT, handle)?.id;
    let copy = sent(play, &[copied(handle, Rights::WAIT)])?.grants()[0].handle.0;
    holds("a copy has an id of its own", play.capability(PARTNER, copy)?.id > id)?;
    play.value(SUBJECT, Number::SignalNotify, &[handle, 6])?;
    equal("bits", play.value(PARTNER, Number::SignalWait, &[copy, u64::MAX, 0])?, 6)
}

fn rights_shrink_on_the_way(play: &Play) -> Step {
    let handle = region(play, SUBJECT, 4096)?;
    let address = play.capability(SUBJECT, handle)?.address;
    let message = sent(play, &[copied(handle, Rights::READ)])?;
    let Grant { handle, rights, address: arrived, length, .. } = message.grants()[0];
    equal("rights", rights, Rights::READ.bits())?;
    equal("address and length", (arrived, length), (address, 4096))?;
    equal("rights", play.capability(PARTNER, handle.0)?.rights, Rights::READ)?;
    play.refused(PARTNER, Number::RegionMap, &[handle.0, word(BOTH)], Error::Denied)?;
    play.value(PARTNER, Number::RegionMap, &[handle.0, word(Rights::READ)])?;
    play.write_faults(PARTNER, address)
}

fn rights_never_grow_on_the_way(play: &Play) -> Step {
    let (_, client) = served(play)?;
    let weak = play.derive(SUBJECT, signal(play, SUBJECT)?, Rights::WAIT | PASS)?;
    for grant in [copied(weak, all(Kind::Signal)), moved(weak, Rights::NOTIFY)] {
        play.draft_grants(SUBJECT, &[grant])?;
        play.refused(SUBJECT, Number::Send, &[client], Error::Denied)?;
        play.refused(SUBJECT, Number::Call, &[client, 0], Error::Denied)?;
    }
    Ok(())
}

fn moving_needs_the_right_to_transfer(play: &Play) -> Step {
    let (_, client) = served(play)?;
    let fixed = play.derive(SUBJECT, signal(play, SUBJECT)?, Rights::WAIT | Rights::DERIVE)?;
    for grant in [moved(fixed, Rights::WAIT), copied(fixed, Rights::WAIT)] {
        play.draft_grants(SUBJECT, &[grant])?;
        play.refused(SUBJECT, Number::Send, &[client], Error::Denied)?;
    }
    Ok(())
}

fn copying_needs_the_right_to_derive(play: &Play) -> Step {
    let (_, client) = served(play)?;
    let single = play.derive(SUBJECT, signal(play, SUBJECT)?, Rights::WAIT | Rights::TRANSFER)?;
    play.draft_grants(SUBJECT, &[copied(single, Rights::WAIT)])?;
    play.refused(SUBJECT, Number::Send, &[client], Error::Denied)?;
    play.draft_grants(SUBJECT, &[moved(single, Rights::WAIT)])?;
    play.value(SUBJECT, Number::Send, &[client]).map(drop)
}

/// A send and a call with this grant are a fault at `address`.
fn bad_grant_faults(
    play: &Play,
    grant: impl Fn(u64) -> Grant,
    kind: FaultKind,
    address: impl Fn(u64) -> u64,
) -> Step {
    for number in [Number::Send, Number::Call] {
        let own = mailbox(play, SUBJECT, 1)?;
        let handle = signal(play, SUBJECT)?;
        play.draft_grants(SUBJECT, &[grant(handle)])?;
        play.faults(SUBJECT, number, &[own, 0], kind, address(handle))?;
    }
    Ok(())
}

fn unknown_rights_in_a_grant_fault(play: &Play) -> Step {
    for rights in [1 << 13, Rights::READ.bits(), u32::MAX] {
        let grant = |handle| Grant { rights, ..copied(handle, Rights::WAIT) };
        bad_grant_faults(play, grant, FaultKind::BadArgument, |_| u64::from(rights))?;
    }
    Ok(())
}

fn unknown_modes_fault(play: &Play) -> Step {
    for mode in [0, 4, u32::MAX] {
        let grant = |handle| Grant { mode, ..copied(handle, Rights::WAIT) };
        bad_grant_faults(play, grant, FaultKind::BadArgument, |_| u64::from(mode))?;
    }
    // A loan needs an answer to end with.
    let own = mailbox(play, SUBJECT, 1)?;
    let (handle, address) = mapped(play, SUBJECT, 4096)?;
    play.draft_grants(SUBJECT, &[lent(handle, Rights::READ, address, 4096)])?;
    play.faults(SUBJECT, Number::Send, &[own], FaultKind::BadArgument, 3)
}

fn null_and_forged_grants_fault(play: &Play) -> Step {
    for forged in [0, Handle::new(39, 1).0, u64::MAX] {
        let grant = |_| copied(forged, Rights::TRANSFER);
        bad_grant_faults(play, grant, FaultKind::BadHandle, |_| forged)?;
    }
    Ok(())
}

fn what_moves_goes_only_once(play: &Play) -> Step {
    for second in [moved, copied] {
        let own = mailbox(play, SUBJECT, 1)?;
        let handle = signal(play, SUBJECT)?;
        let grants = [moved(handle, Rights::WAIT), second(handle, Rights::WAIT)];
        play.draft_grants(SUBJECT, &grants)?;
        play.faults(SUBJECT, Number::Send, &[own], FaultKind::BadArgument, handle)?;
    }
    Ok(())
}

fn a_refused_message_moves_nothing(play: &Play) -> Step {
    let server = mailbox(play, PARTNER, 1)?;
    let client = play.copy(PARTNER, server, CLIENT, SUBJECT)?;
    play.draft_label(SUBJECT, 1)?;
    play.value(SUBJECT, Number::Send, &[client])?;
    let handle = signal(play, SUBJECT)?;
    play.draft_grants(SUBJECT, &[moved(handle, Rights::WAIT)])?;
    play.refused(SUBJECT, Number::Send, &[client], Error::Full)?;
    play.refused(SUBJECT, Number::Call, &[client, 0], Error::TimedOut)?;
    play.value(SUBJECT, Number::SignalNotify, &[handle, 1]).map(drop)
}

fn four_capabilities_in_one_message(play: &Play) -> Step {
    let signal = signal(play, SUBJECT)?;
    let region = region(play, SUBJECT, 4096)?;
    let mailbox = mailbox(play, SUBJECT, 1)?;
    let grants = [
        copied(signal, Rights::WAIT),
        moved(region, Rights::READ | Rights::TRANSFER),
        copied(mailbox, Rights::SEND),
        copied(signal, Rights::NOTIFY),
    ];
    let message = sent(play, &grants)?;
    equal("capabilities", message.grant_count, 4)?;
    let kinds = [Kind::Signal, Kind::Region, Kind::Mailbox, Kind::Signal];
    for ((arrived, kind), grant) in message.grants().iter().zip(kinds).zip(grants) {
        let info = play.capability(PARTNER, arrived.handle.0)?;
        equal("kind and rights", (info.kind, info.rights.bits()), (kind, grant.rights))?;
        equal("rights in the message", arrived.rights, grant.rights)?;
        equal("mode", arrived.mode, grant.mode)?;
    }
    let [waits, .., notifies] = message.grants;
    play.value(PARTNER, Number::SignalNotify, &[notifies.handle.0, 8])?;
    equal("bits", play.value(PARTNER, Number::SignalWait, &[waits.handle.0, 8, 0])?, 8)
}

fn capabilities_come_with_the_answer(play: &Play) -> Step {
    let (server, client) = served(play)?;
    let call = serving(play, server, client)?;
    let handle = signal(play, PARTNER)?;
    play.draft_grants(PARTNER, &[copied(handle, Rights::NOTIFY)])?;
    play.value(PARTNER, Number::Reply, &[call.reply.0])?;
    play.finishes(SUBJECT, Ok(0))?;
    let arrived = play.letter(SUBJECT)?.grants()[0];
    play.value(SUBJECT, Number::SignalNotify, &[arrived.handle.0, 2])?;
    equal("bits", play.value(PARTNER, Number::SignalWait, &[handle, 2, 0])?, 2)
}

fn an_answer_cannot_carry_its_own_reply(play: &Play) -> Step {
    let (server, client) = served(play)?;
    let call = serving(play, server, client)?;
    let reply = call.reply.0;
    play.draft_grants(PARTNER, &[moved(reply, Rights::TRANSFER)])?;
    play.faults(PARTNER, Number::Reply, &[reply], FaultKind::BadArgument, reply)
}

fn an_answer_cannot_lend(play: &Play) -> Step {
    let (server, client) = served(play)?;
    let (handle, address) = mapped(play, PARTNER, 4096)?;
    let call = serving(play, server, client)?;
    play.draft_grants(PARTNER, &[lent(handle, Rights::READ, address, 4096)])?;
    play.faults(PARTNER, Number::Reply, &[call.reply.0], FaultKind::BadArgument, 3)
}

fn a_refused_answer_leaves_the_call_waiting(play: &Play) -> Step {
    let (server, client) = served(play)?;
    let source = signal(play, PARTNER)?;
    let fixed = play.derive(PARTNER, source, Rights::WAIT)?;
    let revoked = play.derive_revocable(PARTNER, source, Rights::WAIT | PASS)?;
    play.value(PARTNER, Number::CapabilityRevoke, &[source])?;
    let ended = play.copy(WITNESS, signal(play, WITNESS)?, Rights::WAIT | PASS, PARTNER)?;
    play.stop(WITNESS)?;
    let call = serving(play, server, client)?;
    let refused = [(fixed, Error::Denied), (revoked, Error::Revoked), (ended, Error::Dead)];
    for (handle, error) in refused {
        play.draft_grants(PARTNER, &[copied(handle, Rights::WAIT)])?;
        play.refused(PARTNER, Number::Reply, &[call.reply.0], error)?;
    }
    play.reply(PARTNER, call.reply, 1)?;
    play.finishes(SUBJECT, Ok(0))
}

fn capabilities_travel_in_stored_messages(play: &Play) -> Step {
    let (server, client) = served(play)?;
    let handle = region(play, PARTNER, 4096)?;
    let there = play.pass(PARTNER, moved(handle, all(Kind::Region)), SUBJECT)?;
    play.draft_grants(SUBJECT, &[moved(there, all(Kind::Region))])?;
    play.value(SUBJECT, Number::Send, &[client])?;
    // On its way it is nobody's; then it is the receiver's.
    play.stop(SUBJECT)?;
    let back = play.receive(PARTNER, server)?.grants()[0];
    play.value(PARTNER, Number::RegionMap, &[back.handle.0, word(BOTH)])?;
    play.write(PARTNER, back.address, 3)
}

fn capabilities_of_a_queued_call_are_resolved_late(play: &Play) -> Step {
    let (server, client) = served(play)?;
    let second = play.thread(SUBJECT)?;
    let handle = signal(play, SUBJECT)?;
    let kept = signal(play, SUBJECT)?;
    play.draft_grants(SUBJECT, &[copied(handle, Rights::WAIT), copied(kept, Rights::WAIT)])?;
    play.begin(SUBJECT, Number::Call, &[client, FOREVER])?;
    play.value(second, Number::CapabilityDrop, &[handle])?;
    let call = play.receive(PARTNER, server)?;
    equal("capabilities", call.grant_count, 2)?;
    equal("what was dropped", call.grants()[0].handle, Handle::NULL)?;
    equal("what was kept", call.grants()[1].rights, Rights::WAIT.bits())
}

fn a_moved_region_is_unmapped(play: &Play) -> Step {
    let (handle, address) = mapped(play, SUBJECT, 4096)?;
    play.write(SUBJECT, address, 41)?;
    let arrived = play.pass(SUBJECT, moved(handle, all(Kind::Region)), PARTNER)?;
    play.value(PARTNER, Number::RegionMap, &[arrived, word(Rights::READ)])?;
    equal("what was written", play.read(PARTNER, address)?, 41)?;
    play.value(PARTNER, Number::RegionUnmap, &[arrived])?;
    play.read_faults(SUBJECT, address)
}

fn a_dropped_region_is_unmapped(play: &Play) -> Step {
    let (handle, address) = mapped(play, SUBJECT, 4096)?;
    play.value(SUBJECT, Number::CapabilityDrop, &[handle])?;
    play.read_faults(SUBJECT, address)
}

fn a_capability_may_go_round_and_come_back(play: &Play) -> Step {
    let rights = all(Kind::Region);
    let mut handle = region(play, SUBJECT, 4096)?;
    let id = play.capability(SUBJECT, handle)?.id;
    for (from, to) in [(SUBJECT, PARTNER), (PARTNER, WITNESS), (WITNESS, SUBJECT)] {
        handle = play.pass(from, moved(handle, rights), to)?;
    }
    let info = play.capability(SUBJECT, handle)?;
    equal("id and rights", (info.id, info.rights), (id, rights))
}

fn signals_can_be_passed_on(play: &Play) -> Step {
    let handle = signal(play, SUBJECT)?;
    let weak = play.copy(SUBJECT, handle, Rights::NOTIFY, PARTNER)?;
    play.refused(PARTNER, Number::SignalWait, &[weak, 1, 0], Error::Denied)?;
    play.value(PARTNER, Number::SignalNotify, &[weak, 1])?;
    equal("bits", play.value(SUBJECT, Number::SignalWait, &[handle, 1, 0])?, 1)
}

fn threads_can_be_passed_on(play: &Play) -> Step {
    let (_, thread) = play.thread_with_handle(SUBJECT)?;
    let there = play.copy(SUBJECT, thread, Rights::CONTROL, GLUTTON)?;
    play.value(GLUTTON, Number::ThreadPriority, &[there, 3])?;
    // Up to the priority of the thread's domain, not of the caller's.
    play.refused(GLUTTON, Number::ThreadPriority, &[there, 11], Error::Denied)
}

fn consoles_cannot_be_passed_on(play: &Play) -> Step {
    let log = play.named(SUBJECT, "log")?;
    let (_, client) = served(play)?;
    play.draft_grants(SUBJECT, &[moved(log, Rights::WRITE)])?;
    play.refused(SUBJECT, Number::Send, &[client], Error::Denied)
}
