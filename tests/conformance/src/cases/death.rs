//! The end of one side, at each step of what both do.

use super::{BOTH, CLIENT, cases, copied, mailbox, mapped, moved, served, serving, signal, word};
use crate::expect::{Step, equal, holds};
use crate::play::{PARTNER, Play, SUBJECT, WITNESS, all};
use crate::stunt::Stunt;
use phi_abi::{Error, FOREVER, FaultKind, Handle, Kind, Number, Rights};

cases!("death":
    a_server_that_ends_leaves_queued_calls,
    a_server_that_ends_leaves_served_calls,
    a_server_that_faults_leaves_its_calls,
    a_server_that_exits_leaves_its_calls,
    a_caller_that_ends_leaves_the_queue,
    a_caller_that_ends_leaves_the_server_alone,
    a_caller_that_ends_before_its_answer_arrives,
    a_planned_mailbox_outlives_its_server,
    a_planned_mailbox_is_closed_meanwhile,
    a_made_mailbox_ends_with_its_maker,
    a_mailbox_ends_with_its_last_capability,
    objects_keep_a_mailbox_alive,
    a_made_region_ends_with_its_maker,
    a_made_signal_ends_with_its_maker,
    a_signal_ends_with_its_last_capability,
    a_thread_ends_with_its_domain,
    what_an_ended_sender_made_does_not_arrive,
    capabilities_in_lost_messages_are_dropped,
    a_restarted_service_has_none_of_its_handles,
    dead_capabilities_can_be_dropped,
    the_supervisor_learns_of_every_end,
);

fn a_server_that_ends_leaves_queued_calls(play: &Play) -> Step {
    let (_, client) = served(play)?;
    play.begin(SUBJECT, Number::Call, &[client, FOREVER])?;
    play.stop(PARTNER)?;
    play.finishes(SUBJECT, Err(Error::Dead))?;
    play.refused(SUBJECT, Number::Call, &[client, FOREVER], Error::Dead)
}

fn a_server_that_ends_leaves_served_calls(play: &Play) -> Step {
    let (server, client) = served(play)?;
    serving(play, server, client)?;
    play.stop(PARTNER)?;
    play.finishes(SUBJECT, Err(Error::Dead))
}

fn a_server_that_faults_leaves_its_calls(play: &Play) -> Step {
    let (server, client) = served(play)?;
    serving(play, server, client)?;
    play.read_faults(PARTNER, 0)?;
    play.finishes(SUBJECT, Err(Error::Dead))
}

fn a_server_that_exits_leaves_its_calls(play: &Play) -> Step {
    let (server, client) = served(play)?;
    serving(play, server, client)?;
    play.begin_last(PARTNER, Number::DomainExit, &[0])?;
    play.ended(PARTNER)?;
    play.finishes(SUBJECT, Err(Error::Dead))
}

fn a_caller_that_ends_leaves_the_queue(play: &Play) -> Step {
    let (server, client) = served(play)?;
    play.begin(SUBJECT, Number::Call, &[client, FOREVER])?;
    play.stop(SUBJECT)?;
    play.refused(PARTNER, Number::Receive, &[server, 0], Error::TimedOut)
}

fn a_caller_that_ends_leaves_the_server_alone(play: &Play) -> Step {
    let (server, client) = served(play)?;
    let call = serving(play, server, client)?;
    play.stop(SUBJECT)?;
    let info = play.capability(PARTNER, call.reply.0)?;
    equal("kind of what is left", info.kind, Kind::Reply)?;
    play.draft_label(PARTNER, 1)?;
    play.refused(PARTNER, Number::Reply, &[call.reply.0], Error::Dead)
}

fn a_caller_that_ends_before_its_answer_arrives(play: &Play) -> Step {
    let (server, client) = served(play)?;
    let call = serving(play, server, client)?;
    play.stop(SUBJECT)?;
    // A new generation of the caller gets nothing of the old one's.
    play.start(SUBJECT)?;
    let own = signal(play, PARTNER)?;
    play.draft_grants(PARTNER, &[moved(own, Rights::WAIT)])?;
    play.refused(PARTNER, Number::Reply, &[call.reply.0], Error::Dead)?;
    play.value(PARTNER, Number::SignalNotify, &[own, 1]).map(drop)
}

fn a_planned_mailbox_outlives_its_server(play: &Play) -> Step {
    // The conductor's capability to a puppet's orders is of the plan.
    for generation in 0..3 {
        play.start(SUBJECT)?;
        let data = play.places(SUBJECT)?.data;
        equal("data", play.read(SUBJECT, data)?, 0x5EED)?;
        play.write(SUBJECT, data, generation)?;
        play.stop(SUBJECT)?;
    }
    Ok(())
}

fn a_planned_mailbox_is_closed_meanwhile(play: &Play) -> Step {
    play.start(PARTNER)?;
    let orders = play.named(PARTNER, "orders")?;
    let rights = Rights::RECEIVE | Rights::DERIVE;
    let there = play.copy(PARTNER, orders, rights, SUBJECT)?;
    let again = play.derive(SUBJECT, there, Rights::RECEIVE)?;
    let bits = signal(play, SUBJECT)?;
    let object = play.value(SUBJECT, Number::ObjectMint, &[there, 1, word(CLIENT)])?;
    play.stop(PARTNER)?;
    play.draft_label(SUBJECT, 1)?;
    play.refused(SUBJECT, Number::Send, &[object], Error::Dead)?;
    play.refused(SUBJECT, Number::Call, &[object, FOREVER], Error::Dead)?;
    play.refused(SUBJECT, Number::Receive, &[again, FOREVER], Error::Dead)?;
    play.refused(SUBJECT, Number::SignalBind, &[bits, there], Error::Dead)?;
    play.start(PARTNER)?;
    play.stop(PARTNER)
}

fn a_made_mailbox_ends_with_its_maker(play: &Play) -> Step {
    let (server, client) = served(play)?;
    let receiver = play.copy(PARTNER, server, Rights::RECEIVE, WITNESS)?;
    play.begin(WITNESS, Number::Receive, &[receiver, FOREVER])?;
    play.stop(PARTNER)?;
    play.finishes(WITNESS, Err(Error::Dead))?;
    play.draft_label(SUBJECT, 1)?;
    let weak = word(Rights::SEND);
    play.refused(SUBJECT, Number::Send, &[client], Error::Dead)?;
    play.refused(SUBJECT, Number::CapabilityDerive, &[client, weak, 0], Error::Dead)?;
    play.refused(SUBJECT, Number::CapabilityRevoke, &[client], Error::Dead)?;
    play.refused(WITNESS, Number::Receive, &[receiver, 0], Error::Dead)?;
    play.refused(WITNESS, Number::ObjectMint, &[receiver, 0, 0], Error::Dead)?;
    // A new generation makes new ones.
    play.start(PARTNER)?;
    mailbox(play, PARTNER, 1)?;
    play.refused(SUBJECT, Number::Send, &[client], Error::Dead)
}

fn a_mailbox_ends_with_its_last_capability(play: &Play) -> Step {
    let second = play.thread(SUBJECT)?;
    let own = mailbox(play, SUBJECT, 1)?;
    play.begin(second, Number::Receive, &[own, FOREVER])?;
    play.value(SUBJECT, Number::CapabilityDrop, &[own])?;
    play.finishes(second, Err(Error::Dead))
}

fn objects_keep_a_mailbox_alive(play: &Play) -> Step {
    let second = play.thread(SUBJECT)?;
    let own = mailbox(play, SUBJECT, 1)?;
    let object = play.value(SUBJECT, Number::ObjectMint, &[own, 1, word(CLIENT)])?;
    play.begin(second, Number::Receive, &[own, FOREVER])?;
    play.value(SUBJECT, Number::CapabilityDrop, &[own])?;
    play.draft_label(SUBJECT, 3)?;
    play.value(SUBJECT, Number::Send, &[object])?;
    play.finishes(second, Ok(0))
}

fn a_made_region_ends_with_its_maker(play: &Play) -> Step {
    let (handle, address) = mapped(play, PARTNER, 4096)?;
    let there = play.copy(PARTNER, handle, BOTH, SUBJECT)?;
    play.value(SUBJECT, Number::RegionMap, &[there, word(BOTH)])?;
    play.write(SUBJECT, address, 1)?;
    play.stop(PARTNER)?;
    let read = word(Rights::READ);
    play.refused(SUBJECT, Number::RegionMap, &[there, read], Error::Dead)?;
    play.refused(SUBJECT, Number::RegionUnmap, &[there], Error::Dead)?;
    play.read_faults(SUBJECT, address)
}

fn a_made_signal_ends_with_its_maker(play: &Play) -> Step {
    let handle = signal(play, PARTNER)?;
    let there = play.copy(PARTNER, handle, all(Kind::Signal), SUBJECT)?;
    let own = mailbox(play, SUBJECT, 1)?;
    play.begin(SUBJECT, Number::SignalWait, &[there, 1, FOREVER])?;
    play.stop(PARTNER)?;
    play.finishes(SUBJECT, Err(Error::Dead))?;
    play.refused(SUBJECT, Number::SignalNotify, &[there, 1], Error::Dead)?;
    play.refused(SUBJECT, Number::SignalWait, &[there, 1, 0], Error::Dead)?;
    play.refused(SUBJECT, Number::SignalBind, &[there, own], Error::Dead)
}

fn a_signal_ends_with_its_last_capability(play: &Play) -> Step {
    let second = play.thread(SUBJECT)?;
    let own = signal(play, SUBJECT)?;
    play.begin(second, Number::SignalWait, &[own, 1, FOREVER])?;
    play.value(SUBJECT, Number::CapabilityDrop, &[own])?;
    play.finishes(second, Err(Error::Dead))
}

fn a_thread_ends_with_its_domain(play: &Play) -> Step {
    let (_, thread) = play.thread_with_handle(PARTNER)?;
    let there = play.copy(PARTNER, thread, Rights::CONTROL, SUBJECT)?;
    play.value(SUBJECT, Number::ThreadPriority, &[there, 2])?;
    play.stop(PARTNER)?;
    play.refused(SUBJECT, Number::ThreadPriority, &[there, 2], Error::Dead)
}

fn what_an_ended_sender_made_does_not_arrive(play: &Play) -> Step {
    let (server, client) = served(play)?;
    let handle = signal(play, SUBJECT)?;
    play.draft_grants(SUBJECT, &[copied(handle, Rights::WAIT)])?;
    play.value(SUBJECT, Number::Send, &[client])?;
    play.stop(SUBJECT)?;
    let message = play.receive(PARTNER, server)?;
    equal("label", message.label, 9)?;
    equal("handle", message.grants()[0].handle, Handle::NULL)
}

fn capabilities_in_lost_messages_are_dropped(play: &Play) -> Step {
    let (_, client) = served(play)?;
    let (handle, _) = mapped(play, SUBJECT, 4096)?;
    let charged = play.statistics(SUBJECT)?.memory;
    play.draft_grants(SUBJECT, &[moved(handle, all(Kind::Region))])?;
    play.value(SUBJECT, Number::Send, &[client])?;
    equal("memory on the way", play.statistics(SUBJECT)?.memory, charged)?;
    play.stop(PARTNER)?;
    equal("memory given back", charged - play.statistics(SUBJECT)?.memory, 4096)
}

fn a_restarted_service_has_none_of_its_handles(play: &Play) -> Step {
    let handle = signal(play, SUBJECT)?;
    let held = play.statistics(SUBJECT)?.handles;
    play.stop(SUBJECT)?;
    equal("handles of an ended service", play.statistics(SUBJECT)?.handles, 0)?;
    play.start(SUBJECT)?;
    play.places(SUBJECT)?;
    holds("it begins with fewer", play.statistics(SUBJECT)?.handles < held)?;
    play.faults(SUBJECT, Number::SignalNotify, &[handle, 1], FaultKind::BadHandle, handle)
}

fn dead_capabilities_can_be_dropped(play: &Play) -> Step {
    let (_, client) = served(play)?;
    play.stop(PARTNER)?;
    let info = play.capability(SUBJECT, client)?;
    equal("kind and capacity", (info.kind, info.length), (Kind::Mailbox, 0))?;
    let before = play.statistics(SUBJECT)?.handles;
    play.value(SUBJECT, Number::CapabilityDrop, &[client])?;
    equal("handles", before - play.statistics(SUBJECT)?.handles, 1)
}

fn the_supervisor_learns_of_every_end(play: &Play) -> Step {
    // What earlier cases left.
    let _ = play.take_events();
    play.start(SUBJECT)?;
    equal("events", play.take_events(), Err(Error::TimedOut))?;
    play.stop(SUBJECT)?;
    let first = play.take_events();
    let one = first.map(u64::count_ones);
    equal("events of a stop", one, Ok(1))?;
    play.start(SUBJECT)?;
    play.last_stunt(SUBJECT, Stunt::Divide, &[])?;
    equal("events of a fault", play.take_events(), first)?;
    play.start(PARTNER)?;
    play.stop(PARTNER)?;
    let other = play.take_events();
    equal("events of another", other.map(u64::count_ones), Ok(1))?;
    holds("each service has a bit of its own", other != first)
}
