//! Signals: set, awaited, bound to mailboxes.

use super::{cases, mailbox, served, signal};
use crate::expect::{Step, equal};
use crate::play::{PARTNER, Play, SUBJECT, WITNESS, all};
use phi_abi::{Error, FOREVER, FaultKind, Kind, Number, Rights};

cases!("signals":
    bits_add_up_until_they_are_taken,
    a_wait_takes_only_its_bits,
    waiting_for_nothing_faults,
    a_wait_times_out,
    a_wait_ends_when_a_bit_is_set,
    each_waiter_gets_its_bits,
    a_bit_goes_to_one_waiter,
    setting_needs_the_right,
    waiting_needs_the_right,
    a_bound_signal_ends_a_receive,
    bits_set_before_are_received,
    bits_come_before_messages,
    messages_come_when_no_bit_is_set,
    waiters_come_before_the_mailbox,
    signals_are_bound_once,
    mailboxes_have_one_signal,
    binding_needs_the_rights,
    a_binding_ends_with_the_mailbox,
);

fn notify(play: &Play, handle: u64, bits: u64) -> Step {
    let value = play.value(SUBJECT, Number::SignalNotify, &[handle, bits])?;
    equal("value of a notification", value, 0)
}

fn bits_add_up_until_they_are_taken(play: &Play) -> Step {
    let handle = signal(play, SUBJECT)?;
    for bits in [1, 1, 4, 0, 1 << 63] {
        notify(play, handle, bits)?;
    }
    let words = [handle, u64::MAX, 0];
    equal("bits", play.value(SUBJECT, Number::SignalWait, &words)?, 1 << 63 | 5)?;
    play.refused(SUBJECT, Number::SignalWait, &words, Error::TimedOut)
}

fn a_wait_takes_only_its_bits(play: &Play) -> Step {
    let handle = signal(play, SUBJECT)?;
    notify(play, handle, 0b1110)?;
    let wait = |mask| play.value(SUBJECT, Number::SignalWait, &[handle, mask, 0]);
    equal("bits", wait(0b0011)?, 0b0010)?;
    equal("bits", wait(0b1000)?, 0b1000)?;
    equal("bits", wait(u64::MAX)?, 0b0100)
}

fn waiting_for_nothing_faults(play: &Play) -> Step {
    let handle = signal(play, SUBJECT)?;
    let words = [handle, 0, FOREVER];
    play.faults(SUBJECT, Number::SignalWait, &words, FaultKind::BadArgument, 0)
}

fn a_wait_times_out(play: &Play) -> Step {
    let handle = signal(play, SUBJECT)?;
    notify(play, handle, 1)?;
    for timeout in [0, 1_000_000] {
        play.refused(SUBJECT, Number::SignalWait, &[handle, 2, timeout], Error::TimedOut)?;
    }
    equal("bits", play.value(SUBJECT, Number::SignalWait, &[handle, 3, 0])?, 1)
}

fn a_wait_ends_when_a_bit_is_set(play: &Play) -> Step {
    let handle = signal(play, SUBJECT)?;
    let there = play.copy(SUBJECT, handle, Rights::WAIT, PARTNER)?;
    play.begin(PARTNER, Number::SignalWait, &[there, 0b110, FOREVER])?;
    notify(play, handle, 0b1001)?;
    notify(play, handle, 0b0011)?;
    play.finishes(PARTNER, Ok(0b10))?;
    equal("bits left", play.value(SUBJECT, Number::SignalWait, &[handle, 15, 0])?, 0b1001)
}

fn each_waiter_gets_its_bits(play: &Play) -> Step {
    let handle = signal(play, SUBJECT)?;
    for (actor, mask) in [(PARTNER, 0b01), (WITNESS, 0b10)] {
        let there = play.copy(SUBJECT, handle, Rights::WAIT, actor)?;
        play.begin(actor, Number::SignalWait, &[there, mask, FOREVER])?;
    }
    notify(play, handle, 0b111)?;
    play.finishes(PARTNER, Ok(0b01))?;
    play.finishes(WITNESS, Ok(0b10))?;
    equal("bits left", play.value(SUBJECT, Number::SignalWait, &[handle, 7, 0])?, 0b100)
}

fn a_bit_goes_to_one_waiter(play: &Play) -> Step {
    let handle = signal(play, SUBJECT)?;
    for actor in [PARTNER, WITNESS] {
        let there = play.copy(SUBJECT, handle, Rights::WAIT, actor)?;
        play.begin(actor, Number::SignalWait, &[there, 1, FOREVER])?;
    }
    // In the order in which they came.
    for actor in [PARTNER, WITNESS] {
        notify(play, handle, 1)?;
        play.finishes(actor, Ok(1))?;
    }
    Ok(())
}

fn setting_needs_the_right(play: &Play) -> Step {
    let weak = play.derive(SUBJECT, signal(play, SUBJECT)?, Rights::WAIT)?;
    play.refused(SUBJECT, Number::SignalNotify, &[weak, 1], Error::Denied)
}

fn waiting_needs_the_right(play: &Play) -> Step {
    let weak = play.derive(SUBJECT, signal(play, SUBJECT)?, Rights::NOTIFY)?;
    play.refused(SUBJECT, Number::SignalWait, &[weak, 1, 0], Error::Denied)
}

/// The partner has a mailbox and a signal bound to it; the subject can reach both.
fn bound(play: &Play) -> Step<(u64, u64, u64, u64)> {
    let (server, client) = served(play)?;
    let handle = signal(play, PARTNER)?;
    let value = play.value(PARTNER, Number::SignalBind, &[handle, server])?;
    equal("value of a binding", value, 0)?;
    let there = play.copy(PARTNER, handle, Rights::NOTIFY, SUBJECT)?;
    Ok((server, client, handle, there))
}

fn a_bound_signal_ends_a_receive(play: &Play) -> Step {
    let (server, _, _, there) = bound(play)?;
    play.draft_label(PARTNER, 9)?;
    play.begin(PARTNER, Number::Receive, &[server, FOREVER])?;
    notify(play, there, 0b1010)?;
    play.finishes(PARTNER, Ok(1))?;
    let message = play.letter(PARTNER)?;
    equal("bits", message.label, 0b1010)?;
    equal("bytes and capabilities", (message.length, message.grant_count), (0, 0))?;
    play.refused(PARTNER, Number::Receive, &[server, 0], Error::TimedOut)
}

fn bits_set_before_are_received(play: &Play) -> Step {
    let own = mailbox(play, SUBJECT, 1)?;
    let handle = signal(play, SUBJECT)?;
    notify(play, handle, 6)?;
    play.value(SUBJECT, Number::SignalBind, &[handle, own])?;
    equal("value", play.value(SUBJECT, Number::Receive, &[own, 0])?, 1)?;
    equal("bits", play.letter(SUBJECT)?.label, 6)
}

fn bits_come_before_messages(play: &Play) -> Step {
    let (server, client, _, there) = bound(play)?;
    play.draft_label(SUBJECT, 40)?;
    play.value(SUBJECT, Number::Send, &[client])?;
    notify(play, there, 2)?;
    equal("value", play.value(PARTNER, Number::Receive, &[server, 0])?, 1)?;
    equal("bits", play.letter(PARTNER)?.label, 2)?;
    equal("label", play.receive(PARTNER, server)?.label, 40)
}

fn messages_come_when_no_bit_is_set(play: &Play) -> Step {
    let (server, client, _, _) = bound(play)?;
    play.begin(PARTNER, Number::Receive, &[server, FOREVER])?;
    play.draft_label(SUBJECT, 41)?;
    play.value(SUBJECT, Number::Send, &[client])?;
    play.finishes(PARTNER, Ok(0))?;
    equal("label", play.letter(PARTNER)?.label, 41)
}

fn waiters_come_before_the_mailbox(play: &Play) -> Step {
    let (server, _, handle, there) = bound(play)?;
    let waits = play.copy(PARTNER, handle, Rights::WAIT, WITNESS)?;
    play.begin(PARTNER, Number::Receive, &[server, FOREVER])?;
    play.begin(WITNESS, Number::SignalWait, &[waits, 1, FOREVER])?;
    notify(play, there, 0b11)?;
    play.finishes(WITNESS, Ok(0b01))?;
    play.finishes(PARTNER, Ok(1))?;
    equal("bits", play.letter(PARTNER)?.label, 0b10)
}

fn signals_are_bound_once(play: &Play) -> Step {
    let (_, _, handle, _) = bound(play)?;
    let other = mailbox(play, PARTNER, 1)?;
    play.refused(PARTNER, Number::SignalBind, &[handle, other], Error::Busy)
}

fn mailboxes_have_one_signal(play: &Play) -> Step {
    let (server, _, _, _) = bound(play)?;
    let other = signal(play, PARTNER)?;
    play.refused(PARTNER, Number::SignalBind, &[other, server], Error::Busy)
}

fn binding_needs_the_rights(play: &Play) -> Step {
    let own = mailbox(play, SUBJECT, 1)?;
    let handle = signal(play, SUBJECT)?;
    let weak_signal = play.derive(SUBJECT, handle, Rights::NOTIFY)?;
    let weak_mailbox = play.derive(SUBJECT, own, Rights::SEND)?;
    play.refused(SUBJECT, Number::SignalBind, &[weak_signal, own], Error::Denied)?;
    play.refused(SUBJECT, Number::SignalBind, &[handle, weak_mailbox], Error::Denied)?;
    play.faults(SUBJECT, Number::SignalBind, &[handle, handle], FaultKind::BadHandle, handle)
}

fn a_binding_ends_with_the_mailbox(play: &Play) -> Step {
    let handle = signal(play, SUBJECT)?;
    equal("rights", play.capability(SUBJECT, handle)?.rights, all(Kind::Signal))?;
    let first = mailbox(play, SUBJECT, 1)?;
    play.value(SUBJECT, Number::SignalBind, &[handle, first])?;
    play.value(SUBJECT, Number::CapabilityDrop, &[first])?;
    let second = mailbox(play, SUBJECT, 1)?;
    play.value(SUBJECT, Number::SignalBind, &[handle, second])?;
    notify(play, handle, 1)?;
    equal("value", play.value(SUBJECT, Number::Receive, &[second, 0])?, 1)
}
