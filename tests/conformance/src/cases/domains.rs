//! Domains: started, stopped, inspected; how they end.

use super::{cases, fill_table, mapped, region, served, serving, signal};
use crate::expect::{Step, equal, holds, is_fault, own, own_ends};
use crate::play::{PARTNER, Play, SUBJECT, WITNESS};
use crate::stunt::Stunt;
use phi_abi::{DomainState, Error, FOREVER, FaultKind, Message, Number, Rights, TOPIC_STATE};

cases!("domains":
    each_start_is_a_new_generation,
    what_runs_cannot_be_started,
    what_does_not_run_cannot_be_stopped,
    a_restart_brings_fresh_data,
    a_restart_brings_a_fresh_start_block,
    exits_give_a_status,
    statuses_out_of_range_fault,
    panics_are_faults,
    panics_of_the_runtime_are_faults,
    stopping_ends_whatever_it_does,
    unknown_topics_fault,
    domains_cannot_be_reached_without_a_capability,
    messages_are_counted,
    handles_and_memory_are_counted,
    the_clock_goes_on,
    the_log_takes_text,
    the_log_needs_the_right,
    names_are_those_of_the_manifest,
);

fn each_start_is_a_new_generation(play: &Play) -> Step {
    play.start(SUBJECT)?;
    let first = play.state(SUBJECT)?.generation;
    play.stop(SUBJECT)?;
    equal("generation", play.state(SUBJECT)?.generation, first)?;
    let started = own(Number::DomainStart, &[play.domain(SUBJECT).0])?;
    equal("value of a start", started, u64::from(first) + 1)?;
    let told = play.places(SUBJECT)?.generation_priority >> 32;
    equal("generation in the start block", told, started)?;
    play.stop(SUBJECT)
}

fn what_runs_cannot_be_started(play: &Play) -> Step {
    play.start(SUBJECT)?;
    let words = [play.domain(SUBJECT).0];
    own_ends(Number::DomainStart, &words, Err(Error::Busy))?;
    // The one that runs goes on.
    play.places(SUBJECT).map(drop)
}

fn what_does_not_run_cannot_be_stopped(play: &Play) -> Step {
    play.start(SUBJECT)?;
    let words = [play.domain(SUBJECT).0];
    own_ends(Number::DomainStop, &words, Ok(0))?;
    own_ends(Number::DomainStop, &words, Err(Error::Busy))
}

fn a_restart_brings_fresh_data(play: &Play) -> Step {
    let data = play.places(SUBJECT)?.data;
    let stack = play.places(SUBJECT)?.stack - 0x4000;
    play.write(SUBJECT, data, 1)?;
    play.write(SUBJECT, stack, 1)?;
    for end in [Stunt::Illegal, Stunt::Panic] {
        play.last_stunt(SUBJECT, end, &[])?;
        equal("data", play.read(SUBJECT, data)?, 0x5EED)?;
        equal("stack", play.read(SUBJECT, stack)?, 0)?;
        play.write(SUBJECT, data, 2)?;
        play.write(SUBJECT, stack, 2)?;
    }
    Ok(())
}

fn a_restart_brings_a_fresh_start_block(play: &Play) -> Step {
    for _ in 0..3 {
        let orders = play.named(SUBJECT, "orders")?;
        let info = play.capability(SUBJECT, orders)?;
        let rights = Rights::RECEIVE | Rights::DERIVE | Rights::TRANSFER;
        equal("rights", info.rights, rights)?;
        fill_table(play, SUBJECT, orders)?;
        play.stop(SUBJECT)?;
    }
    Ok(())
}

fn exits_give_a_status(play: &Play) -> Step {
    for status in [0, 1, 255] {
        play.start(SUBJECT)?;
        play.begin_last(SUBJECT, Number::DomainExit, &[status])?;
        equal("state", play.ended(SUBJECT)?, DomainState::Exited(status as u8))?;
    }
    Ok(())
}

fn statuses_out_of_range_fault(play: &Play) -> Step {
    for status in [256, u64::MAX] {
        play.start(SUBJECT)?;
        play.faults(SUBJECT, Number::DomainExit, &[status], FaultKind::BadArgument, status)?;
    }
    Ok(())
}

fn panics_are_faults(play: &Play) -> Step {
    for text in [&b""[..], b"a reason", b"\xFF\xFE is no text\n", &[b'x'; 64]] {
        let message = Message::new(0, text).unwrap_or_default();
        play.draft(SUBJECT, &message)?;
        play.faults(SUBJECT, Number::DomainPanic, &[], FaultKind::Panic, 0)?;
    }
    Ok(())
}

fn panics_of_the_runtime_are_faults(play: &Play) -> Step {
    let state = play.last_stunt(SUBJECT, Stunt::Panic, &[])?;
    is_fault("panic", state, FaultKind::Panic, 0)
}

fn stopping_ends_whatever_it_does(play: &Play) -> Step {
    let (server, client) = served(play)?;
    serving(play, server, client)?;
    play.begin(PARTNER, Number::Receive, &[server, FOREVER])?;
    let handle = signal(play, WITNESS)?;
    play.begin(WITNESS, Number::SignalWait, &[handle, 1, FOREVER])?;
    for actor in [SUBJECT, PARTNER, WITNESS] {
        play.stop(actor)?;
        equal("state", play.state(actor)?.state, DomainState::Stopped)?;
    }
    play.endless_stunt(SUBJECT, Stunt::Loop, &[])?;
    play.stop(SUBJECT)?;
    equal("state", play.state(SUBJECT)?.state, DomainState::Stopped)
}

fn unknown_topics_fault(play: &Play) -> Step {
    for topic in [2, u64::MAX] {
        let orders = play.named(SUBJECT, "orders")?;
        let (number, kind) = (Number::DomainInspect, FaultKind::BadArgument);
        play.faults(SUBJECT, number, &[orders, topic], kind, topic)?;
    }
    Ok(())
}

fn domains_cannot_be_reached_without_a_capability(play: &Play) -> Step {
    // The conductor's handle, which is good in its own table.
    let domain = play.domain(SUBJECT).0;
    for number in [Number::DomainStart, Number::DomainStop, Number::DomainInspect] {
        play.start(SUBJECT)?;
        play.faults(SUBJECT, number, &[domain, TOPIC_STATE], FaultKind::BadHandle, domain)?;
    }
    Ok(())
}

fn messages_are_counted(play: &Play) -> Step {
    let (server, client) = served(play)?;
    play.draft(SUBJECT, &Message { length: 10, ..Message::EMPTY })?;
    // Each order has an answer of 64 bytes; this one's comes before the second look.
    let before = play.statistics(SUBJECT)?;
    play.value(SUBJECT, Number::Send, &[client])?;
    let after = play.statistics(SUBJECT)?;
    equal("messages", after.messages - before.messages, 2)?;
    equal("bytes", after.bytes_copied - before.bytes_copied, 74)?;
    equal("calls", after.calls - before.calls, 2)?;
    play.receive(PARTNER, server).map(drop)
}

fn handles_and_memory_are_counted(play: &Play) -> Step {
    play.start(SUBJECT)?;
    play.places(SUBJECT)?;
    let before = play.statistics(SUBJECT)?;
    let handle = region(play, SUBJECT, 8192)?;
    let after = play.statistics(SUBJECT)?;
    equal("handles", after.handles - before.handles, 1)?;
    equal("memory", after.memory - before.memory, 8192)?;
    play.value(SUBJECT, Number::CapabilityDrop, &[handle])?;
    mapped(play, SUBJECT, 4096)?;
    play.stop(SUBJECT)?;
    equal("memory of an ended service", play.statistics(SUBJECT)?.memory, 0)
}

fn the_clock_goes_on(play: &Play) -> Step {
    let mut last = 0;
    for actor in [SUBJECT, PARTNER, SUBJECT, PARTNER] {
        let now = play.value(actor, Number::ClockRead, &[])?;
        holds("the time never goes back", now >= last)?;
        last = now;
    }
    holds("the time goes on", last > 0)
}

fn the_log_takes_text(play: &Play) -> Step {
    let log = play.named(SUBJECT, "log")?;
    let line = b"the conformance suite writes to the log\n";
    play.draft(SUBJECT, &Message::new(0, line).unwrap_or_default())?;
    equal("value", play.value(SUBJECT, Number::ConsoleWrite, &[log])?, 0)?;
    play.draft(SUBJECT, &Message::EMPTY)?;
    equal("value", play.value(SUBJECT, Number::ConsoleWrite, &[log])?, 0)
}

fn the_log_needs_the_right(play: &Play) -> Step {
    // The manifest gives the log to write to, and not to make weaker copies of.
    let log = play.named(SUBJECT, "log")?;
    equal("rights", play.capability(SUBJECT, log)?.rights, Rights::WRITE)?;
    play.refused(SUBJECT, Number::CapabilityDerive, &[log, 0, 0], Error::Denied)
}

fn names_are_those_of_the_manifest(play: &Play) -> Step {
    let [_, handle, rights, kind, address, length, ..] = play.named_words(SUBJECT, "orders")?;
    let info = play.capability(SUBJECT, handle)?;
    equal("rights", u64::from(info.rights.bits()), rights)?;
    equal("kind", info.kind as u64, kind)?;
    equal("address and length", (address, length), (0, 0))
}
