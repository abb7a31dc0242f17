//! Messages: sends, calls, receives and answers.

use super::{CLIENT, cases, copied, mailbox, moved, served, serving, word};
use crate::expect::{Step, equal, holds};
use crate::play::{LIMIT, PARTNER, Play, SUBJECT, WITNESS};
use alloc::vec::Vec;
use phi_abi::{
    Error, FOREVER, FaultKind, Handle, MESSAGE_BYTES, MESSAGE_GRANTS, Message, Number, Rights,
};

cases!("messages":
    calls_of_every_size_arrive,
    answers_of_every_size_arrive,
    sends_of_every_size_arrive,
    messages_longer_than_the_limit_fault,
    messages_with_too_many_capabilities_fault,
    messages_arrive_in_order,
    a_call_comes_after_what_its_thread_has_sent,
    sends_do_not_wait,
    a_full_mailbox_takes_no_send,
    a_full_mailbox_takes_calls,
    a_waiting_receiver_gets_the_message,
    two_receivers_get_one_message_each,
    only_a_call_has_a_reply,
    a_service_may_send_to_itself,
    the_right_to_send_is_needed,
    the_right_to_call_is_needed,
    the_right_to_receive_is_needed,
    receiving_can_be_passed_on,
    a_receive_times_out,
    a_call_times_out_before_it_is_received,
    a_call_times_out_while_it_is_served,
    an_answer_in_time_beats_the_timeout,
    a_call_is_answered_once,
    any_holder_of_a_reply_may_answer,
    a_dropped_reply_ends_the_call,
    replies_need_a_reply,
    reply_and_receive_in_one_step,
    reply_and_receive_stops_at_a_dead_caller,
    reply_and_receive_times_out,
    a_forged_mailbox_leaves_the_call_unanswered,
    answers_carry_no_badge,
);

/// A message with `length` bytes, none of them 0, and a label.
fn of_size(label: u64, length: usize) -> Message {
    let bytes = core::array::from_fn(|index| if index < length { index as u8 + 1 } else { 0 });
    Message { label, length: length as u16, data: bytes, ..Message::EMPTY }
}

/// Expects `got` to say what `sent` does.
fn same(sent: &Message, got: &Message) -> Step {
    equal("label", got.label, sent.label)?;
    equal("bytes", got.bytes(), sent.bytes())
}

fn calls_of_every_size_arrive(play: &Play) -> Step {
    let (server, client) = served(play)?;
    for length in 0..=MESSAGE_BYTES {
        let sent = of_size(u64::MAX - length as u64, length);
        play.draft(SUBJECT, &sent)?;
        let got = serving(play, server, client)?;
        same(&sent, &got)?;
        holds("a call can be answered", !got.reply.is_null())?;
        play.reply(PARTNER, got.reply, 1)?;
        play.finishes(SUBJECT, Ok(0))?;
    }
    Ok(())
}

fn answers_of_every_size_arrive(play: &Play) -> Step {
    let (server, client) = served(play)?;
    for length in 0..=MESSAGE_BYTES {
        let sent = of_size(length as u64, length);
        // What the answer replaces: bytes that it must not leave behind.
        play.draft(SUBJECT, &of_size(7, MESSAGE_BYTES))?;
        let call = serving(play, server, client)?;
        play.draft(PARTNER, &sent)?;
        equal("value", play.value(PARTNER, Number::Reply, &[call.reply.0])?, 0)?;
        play.finishes(SUBJECT, Ok(0))?;
        same(&sent, &play.letter(SUBJECT)?)?;
    }
    Ok(())
}

fn sends_of_every_size_arrive(play: &Play) -> Step {
    let (server, client) = served(play)?;
    for length in 0..=MESSAGE_BYTES {
        let sent = of_size(length as u64, length);
        play.draft(SUBJECT, &sent)?;
        equal("value", play.value(SUBJECT, Number::Send, &[client])?, 0)?;
        same(&sent, &play.receive(PARTNER, server)?)?;
    }
    Ok(())
}

/// The calls that read a message, each with a `bad` draft that is a fault at `address`.
fn bad_draft_faults(play: &Play, bad: &Message, address: u64) -> Step {
    let kind = FaultKind::BadArgument;
    for number in [Number::Send, Number::Call] {
        let own = mailbox(play, SUBJECT, 1)?;
        play.draft(SUBJECT, bad)?;
        play.faults(SUBJECT, number, &[own, 0], kind, address)?;
    }
    for number in [Number::Reply, Number::ReplyReceive] {
        let (server, client) = served(play)?;
        let call = serving(play, server, client)?;
        play.draft(PARTNER, bad)?;
        play.faults(PARTNER, number, &[call.reply.0, server, 0], kind, address)?;
        play.finishes(SUBJECT, Err(Error::Dead))?;
    }
    let log = play.named(SUBJECT, "log")?;
    play.draft(SUBJECT, bad)?;
    play.faults(SUBJECT, Number::ConsoleWrite, &[log], kind, address)?;
    play.draft(SUBJECT, bad)?;
    play.faults(SUBJECT, Number::DomainPanic, &[], kind, address)
}

fn messages_longer_than_the_limit_fault(play: &Play) -> Step {
    for length in [MESSAGE_BYTES as u16 + 1, u16::MAX] {
        bad_draft_faults(play, &Message { length, ..Message::EMPTY }, u64::from(length))?;
    }
    Ok(())
}

fn messages_with_too_many_capabilities_fault(play: &Play) -> Step {
    let grant_count = MESSAGE_GRANTS as u16 + 1;
    for number in [Number::Send, Number::Call] {
        let own = mailbox(play, SUBJECT, 1)?;
        // The draft is asked for its capabilities, so it has none but says so.
        let words = [1, 0, u64::from(grant_count), 0, 0];
        play.draft_head(SUBJECT, &words)?;
        let kind = FaultKind::BadArgument;
        play.faults(SUBJECT, number, &[own, 0], kind, u64::from(grant_count))?;
    }
    Ok(())
}

fn messages_arrive_in_order(play: &Play) -> Step {
    let (server, client) = served(play)?;
    let other = play.copy(PARTNER, server, CLIENT, WITNESS)?;
    play.draft_label(WITNESS, 1)?;
    play.value(WITNESS, Number::Send, &[other])?;
    play.draft_label(SUBJECT, 2)?;
    play.begin(SUBJECT, Number::Call, &[client, FOREVER])?;
    play.draft_label(WITNESS, 3)?;
    play.value(WITNESS, Number::Send, &[other])?;
    play.draft_label(WITNESS, 4)?;
    play.begin(WITNESS, Number::Call, &[other, FOREVER])?;
    for label in 1..=4 {
        let message = play.receive(PARTNER, server)?;
        equal("label", message.label, label)?;
        if !message.reply.is_null() {
            play.reply(PARTNER, message.reply, 10 + label)?;
        }
    }
    play.finishes(SUBJECT, Ok(0))?;
    equal("answer", play.letter(SUBJECT)?.label, 12)?;
    play.finishes(WITNESS, Ok(0))?;
    equal("answer", play.letter(WITNESS)?.label, 14)
}

fn a_call_comes_after_what_its_thread_has_sent(play: &Play) -> Step {
    let (server, client) = served(play)?;
    let other = play.copy(PARTNER, server, CLIENT, WITNESS)?;
    // As many as it takes for a machine to know that this one sends often.
    for label in 10..16 {
        play.draft_label(SUBJECT, label)?;
        play.value(SUBJECT, Number::Send, &[client])?;
        equal("label", play.receive(PARTNER, server)?.label, label)?;
    }
    play.draft_label(WITNESS, 1)?;
    play.value(WITNESS, Number::Send, &[other])?;
    play.draft_label(SUBJECT, 2)?;
    play.value(SUBJECT, Number::Send, &[client])?;
    play.draft_label(SUBJECT, 3)?;
    play.begin(SUBJECT, Number::Call, &[client, FOREVER])?;
    play.draft_label(WITNESS, 4)?;
    play.value(WITNESS, Number::Send, &[other])?;
    let mut before = Vec::new();
    for _ in 0..4 {
        let message = play.receive(PARTNER, server)?;
        if message.label == 3 {
            holds("what was sent has come", before.contains(&2))?;
            play.reply(PARTNER, message.reply, 5)?;
        }
        before.push(message.label);
    }
    before.sort_unstable();
    holds("all have come once", before == [1, 2, 3, 4])?;
    play.finishes(SUBJECT, Ok(0))
}

fn sends_do_not_wait(play: &Play) -> Step {
    let (server, client) = served(play)?;
    play.draft_label(SUBJECT, 7)?;
    play.value(SUBJECT, Number::Send, &[client])?;
    // The sender has gone on, and may even end.
    play.stop(SUBJECT)?;
    equal("label", play.receive(PARTNER, server)?.label, 7)
}

fn a_full_mailbox_takes_no_send(play: &Play) -> Step {
    let server = mailbox(play, PARTNER, 3)?;
    let client = play.copy(PARTNER, server, CLIENT, SUBJECT)?;
    for label in 0..3 {
        play.draft_label(SUBJECT, label)?;
        play.value(SUBJECT, Number::Send, &[client])?;
    }
    play.refused(SUBJECT, Number::Send, &[client], Error::Full)?;
    equal("label", play.receive(PARTNER, server)?.label, 0)?;
    play.value(SUBJECT, Number::Send, &[client])?;
    play.refused(SUBJECT, Number::Send, &[client], Error::Full)
}

fn a_full_mailbox_takes_calls(play: &Play) -> Step {
    let server = mailbox(play, PARTNER, 1)?;
    let client = play.copy(PARTNER, server, CLIENT, SUBJECT)?;
    play.draft_label(SUBJECT, 1)?;
    play.value(SUBJECT, Number::Send, &[client])?;
    play.draft_label(SUBJECT, 2)?;
    play.begin(SUBJECT, Number::Call, &[client, FOREVER])?;
    equal("label", play.receive(PARTNER, server)?.label, 1)?;
    let call = play.receive(PARTNER, server)?;
    equal("label", call.label, 2)?;
    play.reply(PARTNER, call.reply, 3)?;
    play.finishes(SUBJECT, Ok(0))
}

fn a_waiting_receiver_gets_the_message(play: &Play) -> Step {
    let (server, client) = served(play)?;
    play.begin(PARTNER, Number::Receive, &[server, FOREVER])?;
    play.draft(SUBJECT, &of_size(3, 9))?;
    play.value(SUBJECT, Number::Send, &[client])?;
    play.finishes(PARTNER, Ok(0))?;
    same(&of_size(3, 9), &play.letter(PARTNER)?)?;
    play.begin(PARTNER, Number::Receive, &[server, FOREVER])?;
    play.begin(SUBJECT, Number::Call, &[client, FOREVER])?;
    play.finishes(PARTNER, Ok(0))?;
    play.reply(PARTNER, play.letter(PARTNER)?.reply, 4)?;
    play.finishes(SUBJECT, Ok(0))?;
    equal("answer", play.letter(SUBJECT)?.label, 4)
}

fn two_receivers_get_one_message_each(play: &Play) -> Step {
    let (server, client) = served(play)?;
    let second = play.thread(PARTNER)?;
    play.begin(PARTNER, Number::Receive, &[server, FOREVER])?;
    play.begin(second, Number::Receive, &[server, FOREVER])?;
    for label in [1, 2] {
        play.draft_label(SUBJECT, label)?;
        play.value(SUBJECT, Number::Send, &[client])?;
    }
    // In the order in which they came.
    for (receiver, label) in [(PARTNER, 1), (second, 2)] {
        play.finishes(receiver, Ok(0))?;
        equal("label", play.letter(receiver)?.label, label)?;
    }
    Ok(())
}

fn only_a_call_has_a_reply(play: &Play) -> Step {
    let (server, client) = served(play)?;
    // The sender writes one into its message; it does not arrive.
    play.draft(SUBJECT, &Message { label: 1, reply: Handle(5), ..Message::EMPTY })?;
    play.value(SUBJECT, Number::Send, &[client])?;
    equal("reply", play.receive(PARTNER, server)?.reply, Handle::NULL)
}

fn a_service_may_send_to_itself(play: &Play) -> Step {
    let own = mailbox(play, SUBJECT, 1)?;
    play.draft(SUBJECT, &of_size(8, 64))?;
    play.value(SUBJECT, Number::Send, &[own])?;
    same(&of_size(8, 64), &play.receive(SUBJECT, own)?)
}

fn the_right_to_send_is_needed(play: &Play) -> Step {
    let server = mailbox(play, PARTNER, 1)?;
    let client = play.copy(PARTNER, server, Rights::CALL, SUBJECT)?;
    play.draft_label(SUBJECT, 1)?;
    play.refused(SUBJECT, Number::Send, &[client], Error::Denied)
}

fn the_right_to_call_is_needed(play: &Play) -> Step {
    let server = mailbox(play, PARTNER, 1)?;
    let client = play.copy(PARTNER, server, Rights::SEND, SUBJECT)?;
    play.draft_label(SUBJECT, 1)?;
    play.refused(SUBJECT, Number::Call, &[client, 0], Error::Denied)
}

fn the_right_to_receive_is_needed(play: &Play) -> Step {
    let (server, client) = served(play)?;
    play.refused(SUBJECT, Number::Receive, &[client, 0], Error::Denied)?;
    let call = serving(play, server, client)?;
    let weak = play.derive(PARTNER, server, Rights::SEND)?;
    play.draft_label(PARTNER, 6)?;
    // The answer goes out; only the receive is refused.
    let words = [call.reply.0, weak, 0];
    play.refused(PARTNER, Number::ReplyReceive, &words, Error::Denied)?;
    play.finishes(SUBJECT, Ok(0))
}

fn receiving_can_be_passed_on(play: &Play) -> Step {
    let (server, client) = served(play)?;
    let other = play.copy(PARTNER, server, Rights::RECEIVE, WITNESS)?;
    play.draft_label(SUBJECT, 12)?;
    play.value(SUBJECT, Number::Send, &[client])?;
    equal("label", play.receive(WITNESS, other)?.label, 12)?;
    play.refused(PARTNER, Number::Receive, &[server, 0], Error::TimedOut)
}

fn a_receive_times_out(play: &Play) -> Step {
    let server = mailbox(play, SUBJECT, 1)?;
    play.refused(SUBJECT, Number::Receive, &[server, 0], Error::TimedOut)?;
    play.refused(SUBJECT, Number::Receive, &[server, 1_000_000], Error::TimedOut)?;
    // Nobody is left waiting there.
    play.draft_label(SUBJECT, 4)?;
    play.value(SUBJECT, Number::Send, &[server])?;
    equal("label", play.receive(SUBJECT, server)?.label, 4)
}

fn a_call_times_out_before_it_is_received(play: &Play) -> Step {
    let (server, client) = served(play)?;
    for timeout in [0, 1_000_000] {
        play.draft_label(SUBJECT, 1)?;
        play.refused(SUBJECT, Number::Call, &[client, timeout], Error::TimedOut)?;
    }
    play.refused(PARTNER, Number::Receive, &[server, 0], Error::TimedOut)
}

fn a_call_times_out_while_it_is_served(play: &Play) -> Step {
    let (server, client) = served(play)?;
    play.begin(PARTNER, Number::Receive, &[server, FOREVER])?;
    play.draft_label(SUBJECT, 1)?;
    play.refused(SUBJECT, Number::Call, &[client, 1_000_000], Error::TimedOut)?;
    play.finishes(PARTNER, Ok(0))?;
    let reply = play.letter(PARTNER)?.reply;
    play.refused(PARTNER, Number::Reply, &[reply.0], Error::Dead)?;
    // The refused answer has used the reply up.
    play.faults(PARTNER, Number::Reply, &[reply.0], FaultKind::BadHandle, reply.0)
}

fn an_answer_in_time_beats_the_timeout(play: &Play) -> Step {
    let (server, client) = served(play)?;
    play.begin(SUBJECT, Number::Call, &[client, LIMIT])?;
    let call = play.receive(PARTNER, server)?;
    play.reply(PARTNER, call.reply, 2)?;
    play.finishes(SUBJECT, Ok(0))
}

fn a_call_is_answered_once(play: &Play) -> Step {
    let (server, client) = served(play)?;
    let call = serving(play, server, client)?;
    play.reply(PARTNER, call.reply, 1)?;
    play.finishes(SUBJECT, Ok(0))?;
    let reply = call.reply.0;
    play.faults(PARTNER, Number::Reply, &[reply], FaultKind::BadHandle, reply)
}

fn any_holder_of_a_reply_may_answer(play: &Play) -> Step {
    let (server, client) = served(play)?;
    let call = serving(play, server, client)?;
    let reply = play.pass(PARTNER, moved(call.reply.0, Rights::TRANSFER), WITNESS)?;
    play.reply(WITNESS, Handle(reply), 77)?;
    play.finishes(SUBJECT, Ok(0))?;
    equal("answer", play.letter(SUBJECT)?.label, 77)
}

fn a_dropped_reply_ends_the_call(play: &Play) -> Step {
    let (server, client) = served(play)?;
    let call = serving(play, server, client)?;
    play.value(PARTNER, Number::CapabilityDrop, &[call.reply.0])?;
    play.finishes(SUBJECT, Err(Error::Dead))
}

fn replies_need_a_reply(play: &Play) -> Step {
    for number in [Number::Reply, Number::ReplyReceive] {
        let server = mailbox(play, SUBJECT, 1)?;
        play.draft_label(SUBJECT, 1)?;
        let words = [server, server, 0];
        play.faults(SUBJECT, number, &words, FaultKind::BadHandle, server)?;
    }
    let (server, client) = served(play)?;
    let call = serving(play, server, client)?;
    // A reply is for one answer: there is no copy of it.
    play.draft_grants(PARTNER, &[copied(call.reply.0, Rights::TRANSFER)])?;
    play.refused(PARTNER, Number::Send, &[server], Error::Denied)?;
    let words = [call.reply.0, word(Rights::TRANSFER), 0];
    play.refused(PARTNER, Number::CapabilityDerive, &words, Error::Denied)
}

fn reply_and_receive_in_one_step(play: &Play) -> Step {
    let (server, client) = served(play)?;
    let other = play.copy(PARTNER, server, CLIENT, WITNESS)?;
    let call = serving(play, server, client)?;
    play.draft_label(WITNESS, 21)?;
    play.begin(WITNESS, Number::Call, &[other, FOREVER])?;
    play.draft_label(PARTNER, 20)?;
    let words = [call.reply.0, server, FOREVER];
    equal("value", play.value(PARTNER, Number::ReplyReceive, &words)?, 0)?;
    play.finishes(SUBJECT, Ok(0))?;
    equal("answer", play.letter(SUBJECT)?.label, 20)?;
    let next = play.letter(PARTNER)?;
    equal("next message", next.label, 21)?;
    play.reply(PARTNER, next.reply, 22)?;
    play.finishes(WITNESS, Ok(0))
}

fn reply_and_receive_stops_at_a_dead_caller(play: &Play) -> Step {
    let (server, client) = served(play)?;
    let call = serving(play, server, client)?;
    play.stop(SUBJECT)?;
    // A message is there, but the answer's failure comes first.
    play.draft_label(PARTNER, 5)?;
    play.value(PARTNER, Number::Send, &[server])?;
    let words = [call.reply.0, server, FOREVER];
    play.refused(PARTNER, Number::ReplyReceive, &words, Error::Dead)?;
    equal("label", play.receive(PARTNER, server)?.label, 5)
}

fn reply_and_receive_times_out(play: &Play) -> Step {
    let (server, client) = served(play)?;
    let call = serving(play, server, client)?;
    play.draft_label(PARTNER, 9)?;
    let words = [call.reply.0, server, 0];
    play.refused(PARTNER, Number::ReplyReceive, &words, Error::TimedOut)?;
    play.finishes(SUBJECT, Ok(0))?;
    equal("answer", play.letter(SUBJECT)?.label, 9)
}

fn a_forged_mailbox_leaves_the_call_unanswered(play: &Play) -> Step {
    let (server, client) = served(play)?;
    let call = serving(play, server, client)?;
    let forged = Handle::new(30, 1).0;
    play.draft_label(PARTNER, 9)?;
    let words = [call.reply.0, forged, 0];
    play.faults(PARTNER, Number::ReplyReceive, &words, FaultKind::BadHandle, forged)?;
    play.finishes(SUBJECT, Err(Error::Dead))
}

fn answers_carry_no_badge(play: &Play) -> Step {
    let (server, client) = served(play)?;
    let call = serving(play, server, client)?;
    let answer = Message { label: 1, badge: 6, rights: 7, reply: Handle(8), ..Message::EMPTY };
    play.draft(PARTNER, &answer)?;
    play.value(PARTNER, Number::Reply, &[call.reply.0])?;
    play.finishes(SUBJECT, Ok(0))?;
    let got = play.letter(SUBJECT)?;
    equal("badge, rights and reply", (got.badge, got.rights, got.reply), (0, 0, Handle::NULL))
}
