//! Threads: made, ended, urgent, asleep.

use super::{BOTH, cases, mailbox, region, signal, word};
use crate::expect::{Step, equal, holds};
use crate::play::{PARTNER, Play, SUBJECT};
use crate::stunt::Stunt;
use phi_abi::{DomainState, Error, FOREVER, FaultKind, Number, Rights};

cases!("threads":
    a_thread_begins_at_its_entry,
    threads_share_handles_and_memory,
    threads_are_blocked_one_by_one,
    a_thread_that_ends_leaves_the_others,
    the_last_thread_ends_its_domain,
    a_fault_of_one_thread_ends_all,
    bad_entries_fault,
    bad_stacks_fault,
    an_entry_that_is_not_text_faults_later,
    unknown_priorities_fault,
    no_thread_is_more_urgent_than_its_domain,
    priorities_can_be_changed,
    changing_a_priority_needs_the_right,
    a_sleep_ends,
    an_endless_sleep_ends_with_the_domain,
    threads_of_one_priority_take_turns,
    registers_survive_preemption,
);

fn a_thread_begins_at_its_entry(play: &Play) -> Step {
    // With its argument: the mailbox that its orders come to.
    let second = play.thread(SUBJECT)?;
    let (first, second) = (play.places(SUBJECT)?, play.places(second)?);
    equal("start block", second.start, first.start)?;
    holds("it has a stack of its own", second.stack.abs_diff(first.stack) > 0x8000)
}

fn threads_share_handles_and_memory(play: &Play) -> Step {
    let second = play.thread(SUBJECT)?;
    let handle = signal(play, SUBJECT)?;
    play.value(second, Number::SignalNotify, &[handle, 1])?;
    equal("bits", play.value(SUBJECT, Number::SignalWait, &[handle, 1, 0])?, 1)?;
    let data = play.places(SUBJECT)?.data;
    play.write(second, data, 78)?;
    equal("data", play.read(SUBJECT, data)?, 78)
}

fn threads_are_blocked_one_by_one(play: &Play) -> Step {
    let second = play.thread(SUBJECT)?;
    let handle = signal(play, SUBJECT)?;
    play.begin(second, Number::SignalWait, &[handle, 1, FOREVER])?;
    play.value(SUBJECT, Number::SignalNotify, &[handle, 1])?;
    play.finishes(second, Ok(1))
}

fn a_thread_that_ends_leaves_the_others(play: &Play) -> Step {
    let (second, handle) = play.thread_with_handle(SUBJECT)?;
    play.exit(second)?;
    equal("state", play.state(SUBJECT)?.state, DomainState::Running)?;
    play.refused(SUBJECT, Number::ThreadPriority, &[handle, 1], Error::Dead)
}

fn the_last_thread_ends_its_domain(play: &Play) -> Step {
    play.exit(play.thread(SUBJECT)?)?;
    play.begin_last(SUBJECT, Number::ThreadExit, &[])?;
    equal("state", play.ended(SUBJECT)?, DomainState::Exited(0))
}

fn a_fault_of_one_thread_ends_all(play: &Play) -> Step {
    let second = play.thread(SUBJECT)?;
    let handle = signal(play, SUBJECT)?;
    play.begin(SUBJECT, Number::SignalWait, &[handle, 1, FOREVER])?;
    play.read_faults(second, 8)?;
    play.start(SUBJECT)?;
    play.places(SUBJECT).map(drop)
}

fn bad_entries_fault(play: &Play) -> Step {
    for entry in [1 << 47, 0xFFFF_8000_0000_0000, u64::MAX] {
        play.start(SUBJECT)?;
        let words = [entry, 0x1000, 0, 0];
        play.faults(SUBJECT, Number::ThreadCreate, &words, FaultKind::BadArgument, entry)?;
    }
    Ok(())
}

fn bad_stacks_fault(play: &Play) -> Step {
    for stack in [1, 0x1008, (1 << 47) + 16, u64::MAX] {
        let entry = play.places(SUBJECT)?.thread;
        let words = [entry, stack, 0, 0];
        play.faults(SUBJECT, Number::ThreadCreate, &words, FaultKind::BadArgument, stack)?;
    }
    Ok(())
}

fn an_entry_that_is_not_text_faults_later(play: &Play) -> Step {
    let places = play.places(SUBJECT)?;
    let handle = region(play, SUBJECT, 4096)?;
    let stack = play.value(SUBJECT, Number::RegionMap, &[handle, word(BOTH)])? + 4096;
    play.begin_last(SUBJECT, Number::ThreadCreate, &[places.data, stack, 0, 0])?;
    let state = play.ended(SUBJECT)?;
    let (address, instruction) = (places.data, places.data);
    let kind = FaultKind::Execute;
    equal("state", state, DomainState::Faulted { kind, address, instruction })
}

fn unknown_priorities_fault(play: &Play) -> Step {
    for priority in [32, 256, u64::MAX] {
        let entry = play.places(SUBJECT)?.thread;
        let words = [entry, 0x1000, 0, priority];
        let kind = FaultKind::BadArgument;
        play.faults(SUBJECT, Number::ThreadCreate, &words, kind, priority)?;
        let (_, handle) = play.thread_with_handle(SUBJECT)?;
        let words = [handle, priority];
        play.faults(SUBJECT, Number::ThreadPriority, &words, kind, priority)?;
    }
    Ok(())
}

fn no_thread_is_more_urgent_than_its_domain(play: &Play) -> Step {
    let places = play.places(SUBJECT)?;
    let priority = places.generation_priority & 0xFFFF_FFFF;
    let (_, handle) = play.thread_with_handle(SUBJECT)?;
    for priority in [priority + 1, 31] {
        let words = [places.thread, 0x1000, 0, priority];
        play.refused(SUBJECT, Number::ThreadCreate, &words, Error::Denied)?;
        play.refused(SUBJECT, Number::ThreadPriority, &[handle, priority], Error::Denied)?;
    }
    Ok(())
}

fn priorities_can_be_changed(play: &Play) -> Step {
    let (second, handle) = play.thread_with_handle(SUBJECT)?;
    for priority in [0, 10, 5] {
        let value = play.value(SUBJECT, Number::ThreadPriority, &[handle, priority])?;
        equal("value", value, 0)?;
        play.places(second)?;
    }
    Ok(())
}

fn changing_a_priority_needs_the_right(play: &Play) -> Step {
    let (_, handle) = play.thread_with_handle(SUBJECT)?;
    let weak = play.derive(SUBJECT, handle, Rights::TRANSFER)?;
    play.refused(SUBJECT, Number::ThreadPriority, &[weak, 1], Error::Denied)
}

fn a_sleep_ends(play: &Play) -> Step {
    for nanoseconds in [0, 1, 1_000_000] {
        let before = play.value(SUBJECT, Number::ClockRead, &[])?;
        equal("value", play.value(SUBJECT, Number::ThreadSleep, &[nanoseconds])?, 0)?;
        let after = play.value(SUBJECT, Number::ClockRead, &[])?;
        holds("it slept long enough", after - before >= nanoseconds)?;
    }
    Ok(())
}

fn an_endless_sleep_ends_with_the_domain(play: &Play) -> Step {
    play.begin(SUBJECT, Number::ThreadSleep, &[FOREVER])?;
    play.stop(SUBJECT)?;
    equal("state", play.state(SUBJECT)?.state, DomainState::Stopped)
}

fn threads_of_one_priority_take_turns(play: &Play) -> Step {
    let second = play.thread(SUBJECT)?;
    let own = mailbox(play, SUBJECT, 1)?;
    play.endless_stunt(second, Stunt::Loop, &[])?;
    for _ in 0..3 {
        play.capability(SUBJECT, own)?;
        play.places(PARTNER)?;
    }
    Ok(())
}

fn registers_survive_preemption(play: &Play) -> Step {
    // Others keep patterns of their own in the same registers.
    let second = play.thread(SUBJECT)?;
    play.endless_stunt(second, Stunt::Vectors, &[u64::MAX, u64::MAX])?;
    play.endless_stunt(PARTNER, Stunt::Vectors, &[1, u64::MAX])?;
    // Long enough for many slices.
    let words = [0x5A5A_0123_4567_89AB, 50_000_000];
    let kept = play.stunt(SUBJECT, Stunt::Vectors, &words)?[0];
    equal("registers that kept their pattern", kept, 16)
}
