//! Time: priorities and budgets. What is urgent runs first, and nothing runs for ever.

use super::{cases, mailbox, mapped, word};
use crate::expect::{Step, equal, holds};
use crate::play::{GLUTTON, PARTNER, Play, SUBJECT};
use crate::stunt::Stunt;
use phi_abi::{DomainState, Error, Number, Rights};

cases!("time":
    a_budget_leaves_time_to_others,
    a_budget_stops_whoever_has_used_it_up,
    a_budget_comes_back,
    a_glutton_can_be_stopped,
    a_restart_brings_no_new_budget,
    a_loop_does_not_stop_others_of_its_priority,
);

/// Has the most urgent puppet loop without end.
fn gorge(play: &Play) -> Step {
    play.endless_stunt(GLUTTON, Stunt::Loop, &[])
}

fn a_budget_leaves_time_to_others(play: &Play) -> Step {
    gorge(play)?;
    for _ in 0..20 {
        let own = mailbox(play, SUBJECT, 1)?;
        play.refused(SUBJECT, Number::Receive, &[own, 1_000_000], Error::TimedOut)?;
        play.value(SUBJECT, Number::CapabilityDrop, &[own])?;
        play.places(PARTNER)?;
    }
    equal("state", play.state(GLUTTON)?.state, DomainState::Running)
}

/// Has the most urgent puppet count in a loop without end, where the subject can read it.
fn gorge_in_sight(play: &Play) -> Step<u64> {
    let (handle, address) = mapped(play, GLUTTON, 4096)?;
    let there = play.copy(GLUTTON, handle, Rights::READ, SUBJECT)?;
    play.value(SUBJECT, Number::RegionMap, &[there, word(Rights::READ)])?;
    play.endless_stunt(GLUTTON, Stunt::Count, &[address])?;
    Ok(address)
}

fn a_budget_stops_whoever_has_used_it_up(play: &Play) -> Step {
    let address = gorge_in_sight(play)?;
    play.until("it does not count for a while", || {
        let before = play.read(SUBJECT, address)?;
        // Less than the 8 milliseconds of each period that the budget leaves to others.
        phi_rt::sleep(3_000_000);
        Ok(before > 0 && play.read(SUBJECT, address)? == before)
    })
}

fn a_budget_comes_back(play: &Play) -> Step {
    let address = gorge_in_sight(play)?;
    let mut last = 0;
    for _ in 0..5 {
        play.until("it has counted on", || Ok(play.read(SUBJECT, address)? > last))?;
        last = play.read(SUBJECT, address)?;
    }
    holds("it counts", last > 0)
}

fn a_glutton_can_be_stopped(play: &Play) -> Step {
    for _ in 0..3 {
        gorge(play)?;
        play.stop(GLUTTON)?;
        equal("state", play.state(GLUTTON)?.state, DomainState::Stopped)?;
    }
    Ok(())
}

fn a_restart_brings_no_new_budget(play: &Play) -> Step {
    for _ in 0..5 {
        gorge(play)?;
        play.places(SUBJECT)?;
        play.stop(GLUTTON)?;
    }
    // It answers once its next period has come.
    play.places(GLUTTON).map(drop)
}

fn a_loop_does_not_stop_others_of_its_priority(play: &Play) -> Step {
    play.endless_stunt(SUBJECT, Stunt::Loop, &[])?;
    for _ in 0..5 {
        play.places(PARTNER)?;
    }
    play.stop(SUBJECT)?;
    play.places(SUBJECT).map(drop)
}
