//! Send, call, receive, reply: bytes and order, errors, timeouts and faults.

use super::plan::{CAPACITY, badge, plan};
use super::system::{End, System, message};
use crate::ThreadIndex;
use phi_abi::{Error, FOREVER, FaultKind, Handle, MESSAGE_BYTES, Message, Number, Rights};

/// A client and a server of the plan, with the handles for the server's mailbox: client thread,
/// server thread, client's handle, server's handle.
fn pair(system: &System) -> (ThreadIndex, ThreadIndex, u64, u64) {
    (system.first(1), system.first(2), system.handle(1, "to-2"), system.handle(2, "serve"))
}

#[test]
fn a_call_carries_every_length_both_ways() {
    let mut system = System::of(3);
    let (client, server, to, serve) = pair(&system);
    let bytes: [u8; MESSAGE_BYTES] = core::array::from_fn(|index| index as u8 + 1);
    for length in 0..=MESSAGE_BYTES {
        assert_eq!(system.invoke(server, Number::Receive, &[serve, FOREVER]), End::Blocked);
        let request = message(7, &bytes[..length]);
        assert_eq!(system.invoke_with(client, Number::Call, &[to, FOREVER], request), End::Blocked);
        assert_eq!(system.end(server), End::Value(0));
        let got = system.message(server);
        assert_eq!((got.label, got.bytes()), (7, &bytes[..length]));
        assert_eq!(got.badge, badge(1, 2));
        let answer = message(8, &bytes[MESSAGE_BYTES - length..]);
        let replied = system.invoke_with(server, Number::Reply, &[got.reply.0], answer);
        assert_eq!(replied, End::Value(0));
        assert_eq!(system.end(client), End::Value(0));
        let got = system.message(client);
        assert_eq!((got.label, got.bytes()), (8, &bytes[MESSAGE_BYTES - length..]));
        assert_eq!((got.badge, got.rights, got.reply), (0, 0, Handle::NULL));
    }
}

#[test]
fn a_message_beyond_the_limits_is_a_fault_of_every_call_that_takes_one() {
    let long = Message { length: MESSAGE_BYTES as u16 + 1, ..Message::EMPTY };
    let crowded = Message { grant_count: 5, ..Message::EMPTY };
    let calls = [
        (Number::Send, "to-2"),
        (Number::Call, "to-2"),
        (Number::Reply, "to-2"),
        (Number::ReplyReceive, "to-2"),
        (Number::ConsoleWrite, "log"),
        (Number::DomainPanic, "log"),
    ];
    for (number, name) in calls {
        for (hostile, argument) in [(long, 65), (crowded, 5)] {
            let mut system = System::of(3);
            let words = [system.handle(1, name), system.handle(1, "serve"), 0];
            let fault = (FaultKind::BadArgument, argument);
            system.faults(system.first(1), number, &words, hostile, fault);
        }
    }
}

#[test]
fn sent_messages_arrive_in_order_and_queue_with_calls() {
    let mut system = System::of(3);
    let (client, server, to, serve) = pair(&system);
    let (other, _) = system.spawn(client);
    for (label, number) in [(1, Number::Send), (2, Number::Call), (3, Number::Send)] {
        let thread = if number == Number::Call { other } else { client };
        let expected = if number == Number::Call { End::Blocked } else { End::Value(0) };
        let sent = message(label, &[label as u8]);
        assert_eq!(system.invoke_with(thread, number, &[to, FOREVER], sent), expected);
    }
    for label in 1..=3 {
        assert_eq!(system.invoke(server, Number::Receive, &[serve, 0]), End::Value(0));
        let got = system.message(server);
        assert_eq!((got.label, got.bytes()), (label, &[label as u8][..]));
        assert_eq!(got.reply.is_null(), label != 2);
    }
    assert_eq!(system.error(server, Number::Receive, &[serve, 0]), Error::TimedOut);
}

#[test]
fn a_mailbox_holds_its_capacity_and_then_is_full() {
    let mut system = System::of(3);
    let (client, server, to, serve) = pair(&system);
    for _ in 0..CAPACITY {
        system.value(client, Number::Send, &[to]);
    }
    assert_eq!(system.error(client, Number::Send, &[to]), Error::Full);
    system.value(server, Number::Receive, &[serve, 0]);
    system.value(client, Number::Send, &[to]);
    // Calls wait in their threads and take no place.
    assert_eq!(system.invoke(client, Number::Call, &[to, FOREVER]), End::Blocked);
}

#[test]
fn what_is_sent_before_a_servers_first_start_waits_for_it() {
    let mut system = System::boot(&plan(2));
    let init = system.first(0);
    let to = system.handle(0, "to-1");
    let sent = message(5, b"early");
    assert_eq!(system.invoke_with(init, Number::Send, &[to], sent), End::Value(0));
    system.start_service(1);
    let serve = system.handle(1, "serve");
    system.value(system.first(1), Number::Receive, &[serve, 0]);
    assert_eq!(system.message(system.first(1)).bytes(), b"early");
}

#[test]
fn receivers_are_served_in_the_order_of_their_arrival() {
    let mut system = System::of(3);
    let (client, server, to, serve) = pair(&system);
    let (second, _) = system.spawn(server);
    assert_eq!(system.invoke(second, Number::Receive, &[serve, FOREVER]), End::Blocked);
    assert_eq!(system.invoke(server, Number::Receive, &[serve, FOREVER]), End::Blocked);
    system.value(client, Number::Send, &[to]);
    assert_eq!((system.end(second), system.end(server)), (End::Value(0), End::Blocked));
}

#[test]
fn the_sender_chooses_neither_badge_nor_rights_nor_reply() {
    let mut system = System::of(3);
    let (client, server, to, serve) = pair(&system);
    let forged = Message { badge: 99, reply: Handle(7), rights: u32::MAX, ..message(1, b"forged") };
    for number in [Number::Send, Number::Call] {
        system.invoke_with(client, number, &[to, FOREVER], forged);
        system.value(server, Number::Receive, &[serve, 0]);
        let got = system.message(server);
        let client_rights = Rights::DERIVE | Rights::TRANSFER | Rights::SEND | Rights::CALL;
        assert_eq!((got.badge, got.rights), (badge(1, 2), client_rights.bits()));
        assert_ne!(got.reply, Handle(7));
    }
    let reply = system.message(server).reply.0;
    system.invoke_with(server, Number::Reply, &[reply], forged);
    let got = system.message(client);
    assert_eq!((got.badge, got.rights, got.reply), (0, 0, Handle::NULL));
}

#[test]
fn bytes_beyond_the_length_never_travel() {
    let mut system = System::of(3);
    let (client, server, to, serve) = pair(&system);
    let secret = Message { length: 3, data: [0xAA; 64], ..Message::EMPTY };
    system.invoke_with(client, Number::Send, &[to], secret);
    system.value(server, Number::Receive, &[serve, 0]);
    assert!(system.message(server).data[3..].iter().all(|byte| *byte == 0));
}

#[test]
fn a_reply_answers_once() {
    let mut system = System::of(3);
    let (client, server, to, serve) = pair(&system);
    system.invoke(client, Number::Call, &[to, FOREVER]);
    system.value(server, Number::Receive, &[serve, 0]);
    let reply = system.message(server).reply.0;
    system.value(server, Number::Reply, &[reply]);
    let fault = (FaultKind::BadHandle, reply);
    system.faults(server, Number::Reply, &[reply], Message::EMPTY, fault);
}

#[test]
fn a_reply_that_is_dropped_ends_the_call_as_dead() {
    let mut system = System::of(3);
    let (client, server, to, serve) = pair(&system);
    system.invoke(client, Number::Call, &[to, FOREVER]);
    system.value(server, Number::Receive, &[serve, 0]);
    let reply = system.message(server).reply.0;
    assert_eq!(system.end(client), End::Blocked);
    system.value(server, Number::CapabilityDrop, &[reply]);
    assert_eq!(system.end(client), End::Error(Error::Dead));
    assert!(!system.kernel.frame(client).message_out);
}

#[test]
fn a_call_times_out_in_the_queue_and_while_it_is_served() {
    let mut system = System::of(3);
    let (client, server, to, serve) = pair(&system);
    assert_eq!(system.invoke(client, Number::Call, &[to, 100]), End::Blocked);
    system.pass_time(99);
    assert_eq!(system.end(client), End::Blocked);
    assert_eq!(system.kernel.next_deadline(), Some(100));
    system.pass_time(1);
    assert_eq!(system.end(client), End::Error(Error::TimedOut));
    assert_eq!(system.error(server, Number::Receive, &[serve, 0]), Error::TimedOut);

    system.invoke(client, Number::Call, &[to, 100]);
    system.value(server, Number::Receive, &[serve, 0]);
    let reply = system.message(server).reply.0;
    system.pass_time(100);
    assert_eq!(system.end(client), End::Error(Error::TimedOut));
    assert_eq!(system.error(server, Number::Reply, &[reply]), Error::Dead);
    // The answer to nobody has used the handle up.
    let fault = (FaultKind::BadHandle, reply);
    system.faults(server, Number::Reply, &[reply], Message::EMPTY, fault);
}

#[test]
fn an_answer_in_time_cancels_the_timeout() {
    let mut system = System::of(3);
    let (client, server, to, serve) = pair(&system);
    system.invoke(server, Number::Receive, &[serve, 50]);
    system.invoke(client, Number::Call, &[to, 100]);
    assert_eq!(system.end(server), End::Value(0));
    let reply = system.message(server).reply.0;
    system.value(server, Number::Reply, &[reply]);
    assert_eq!(system.kernel.next_deadline(), None);
    system.pass_time(1000);
    assert_eq!(system.end(client), End::Value(0));
}

#[test]
fn a_timeout_of_nothing_ends_a_call_that_nobody_answers_at_once() {
    let mut system = System::of(3);
    let (client, _, to, _) = pair(&system);
    system.invoke(client, Number::Call, &[to, 0]);
    system.pass_time(0);
    assert_eq!(system.end(client), End::Error(Error::TimedOut));
}

#[test]
fn receive_waits_as_long_as_it_is_told() {
    let mut system = System::of(3);
    let (_, server, _, serve) = pair(&system);
    assert_eq!(system.error(server, Number::Receive, &[serve, 0]), Error::TimedOut);
    assert_eq!(system.invoke(server, Number::Receive, &[serve, 10]), End::Blocked);
    system.pass_time(10);
    assert_eq!(system.end(server), End::Error(Error::TimedOut));
    assert_eq!(system.invoke(server, Number::Receive, &[serve, FOREVER]), End::Blocked);
    assert_eq!(system.kernel.next_deadline(), None);
    system.pass_time(u64::MAX / 2);
    assert_eq!(system.end(server), End::Blocked);
    // A sum beyond the clock's end is for ever, too.
    let (other, _) = system.spawn(system.first(1));
    let own = system.handle(1, "serve");
    assert_eq!(system.invoke(other, Number::Receive, &[own, u64::MAX - 1]), End::Blocked);
    assert_eq!(system.kernel.next_deadline(), None);
}

#[test]
fn reply_and_receive_are_one_step() {
    let mut system = System::of(3);
    let (client, server, to, serve) = pair(&system);
    let (second, _) = system.spawn(client);
    system.invoke_with(client, Number::Call, &[to, FOREVER], message(1, b""));
    system.invoke_with(second, Number::Call, &[to, FOREVER], message(2, b""));
    system.value(server, Number::Receive, &[serve, 0]);
    let first = system.message(server).reply.0;
    let answer = message(11, b"one");
    let ended = system.invoke_with(server, Number::ReplyReceive, &[first, serve, FOREVER], answer);
    assert_eq!(ended, End::Value(0));
    assert_eq!(system.message(client).bytes(), b"one");
    let got = system.message(server);
    assert_eq!(got.label, 2);
    // Nothing is waiting any more: the server waits, and the time counts from now.
    let words = [got.reply.0, serve, 30];
    assert_eq!(system.invoke(server, Number::ReplyReceive, &words), End::Blocked);
    assert_eq!(system.end(second), End::Value(0));
    system.pass_time(30);
    assert_eq!(system.end(server), End::Error(Error::TimedOut));
}

#[test]
fn a_forged_mailbox_is_found_before_the_reply_is_made() {
    let mut system = System::of(3);
    let (client, server, to, serve) = pair(&system);
    system.invoke(client, Number::Call, &[to, FOREVER]);
    system.value(server, Number::Receive, &[serve, 0]);
    let words = [system.message(server).reply.0, 0x99_0000_0001, 0];
    let fault = (FaultKind::BadHandle, words[1]);
    system.faults(server, Number::ReplyReceive, &words, Message::EMPTY, fault);
    assert_eq!(system.end(client), End::Error(Error::Dead));
}

#[test]
fn reply_receive_reports_a_call_that_is_gone_and_receives_nothing() {
    let mut system = System::of(3);
    let (client, server, to, serve) = pair(&system);
    system.invoke(client, Number::Call, &[to, 5]);
    system.value(server, Number::Receive, &[serve, 0]);
    let reply = system.message(server).reply.0;
    system.pass_time(5);
    system.value(client, Number::Send, &[to]);
    assert_eq!(system.error(server, Number::ReplyReceive, &[reply, serve, 0]), Error::Dead);
    system.value(server, Number::Receive, &[serve, 0]);
}

#[test]
fn rights_and_kinds_are_checked() {
    let mut system = System::of(3);
    let (client, server, to, serve) = pair(&system);
    let send_only = system.derive(client, to, Rights::SEND, false);
    let call_only = system.derive(client, to, Rights::CALL, false);
    assert_eq!(system.error(client, Number::Call, &[send_only, 0]), Error::Denied);
    assert_eq!(system.error(client, Number::Send, &[call_only]), Error::Denied);
    assert_eq!(system.error(client, Number::Receive, &[to, 0]), Error::Denied);
    system.value(client, Number::Send, &[send_only]);
    assert_eq!(system.invoke(client, Number::Call, &[call_only, FOREVER]), End::Blocked);
    let no_receive = system.derive(server, serve, Rights::SEND, false);
    assert_eq!(system.error(server, Number::Receive, &[no_receive, 0]), Error::Denied);
}

#[test]
fn handles_of_the_wrong_kind_are_faults() {
    let calls: [(Number, &[&str]); 6] = [
        (Number::Send, &["input"]),
        (Number::Call, &["log"]),
        (Number::Receive, &["input"]),
        (Number::Reply, &["serve"]),
        (Number::ReplyReceive, &["serve", "serve"]),
        (Number::ObjectMint, &["log"]),
    ];
    for (number, names) in calls {
        let mut system = System::of(2);
        let mut words = [0; 4];
        for (word, name) in words.iter_mut().zip(names) {
            *word = system.handle(1, name);
        }
        let fault = (FaultKind::BadHandle, words[0]);
        system.faults(system.first(1), number, &words, Message::EMPTY, fault);
    }
}

#[test]
fn a_service_calls_itself_through_another_thread() {
    let mut system = System::of(2);
    let thread = system.first(1);
    let (helper, _) = system.spawn(thread);
    let serve = system.handle(1, "serve");
    system.invoke(helper, Number::Receive, &[serve, FOREVER]);
    system.invoke_with(thread, Number::Call, &[serve, FOREVER], message(3, b"self"));
    let got = system.message(helper);
    assert_eq!((got.bytes(), got.badge), (&b"self"[..], 0));
    system.value(helper, Number::Reply, &[got.reply.0]);
    assert_eq!(system.end(thread), End::Value(0));
}

#[test]
fn mailboxes_are_made_within_the_quota() {
    let mut system = System::of(2);
    let thread = system.first(1);
    let first = system.value(thread, Number::MailboxCreate, &[5]);
    assert_eq!(system.error(thread, Number::MailboxCreate, &[4]), Error::QuotaExceeded);
    system.value(thread, Number::MailboxCreate, &[2]);
    system.value(thread, Number::MailboxCreate, &[1]);
    assert_eq!(system.error(thread, Number::MailboxCreate, &[1]), Error::QuotaExceeded);
    assert_eq!(system.inspect(thread, first).length, 5);
    system.value(thread, Number::CapabilityDrop, &[first]);
    // Its place and its messages are there again.
    let again = system.value(thread, Number::MailboxCreate, &[5]);
    assert_ne!(again, first);
    for capacity in [0, 65_537, u64::MAX] {
        let mut system = System::of(2);
        let fault = (FaultKind::BadArgument, capacity);
        let thread = system.first(1);
        system.faults(thread, Number::MailboxCreate, &[capacity], Message::EMPTY, fault);
    }
}

#[test]
fn a_mailbox_without_capabilities_ends_with_all_that_waits_there() {
    let mut system = System::of(2);
    let thread = system.first(1);
    let (caller, _) = system.spawn(thread);
    let mailbox = system.value(thread, Number::MailboxCreate, &[2]);
    system.value(thread, Number::Send, &[mailbox]);
    assert_eq!(system.invoke(caller, Number::Call, &[mailbox, FOREVER]), End::Blocked);
    system.value(thread, Number::CapabilityDrop, &[mailbox]);
    assert_eq!(system.end(caller), End::Error(Error::Dead));

    let mailbox = system.value(thread, Number::MailboxCreate, &[2]);
    assert_eq!(system.invoke(caller, Number::Receive, &[mailbox, FOREVER]), End::Blocked);
    system.value(thread, Number::CapabilityDrop, &[mailbox]);
    assert_eq!(system.end(caller), End::Error(Error::Dead));
}

#[test]
fn objects_reach_their_mailbox_with_their_own_badge_and_rights() {
    let mut system = System::of(3);
    let (client, server, _, serve) = pair(&system);
    let own = Rights::from_bits_retain(0x0005_0000);
    let rights = Rights::SEND | Rights::CALL | Rights::TRANSFER | Rights::DERIVE | own;
    let minted = [serve, 42, u64::from(rights.bits())];
    let object = system.value(server, Number::ObjectMint, &minted);
    let grant = phi_abi::Grant::transfer(Handle(object), Rights::CALL | own);
    let at_client = system.pass(server, client, &[grant])[0].handle.0;
    assert_eq!(system.error(client, Number::Send, &[at_client]), Error::Denied);
    system.invoke(client, Number::Call, &[at_client, FOREVER]);
    system.value(server, Number::Receive, &[serve, 0]);
    let got = system.message(server);
    assert_eq!((got.badge, got.rights), (42, (Rights::CALL | own).bits()));
    // Only who receives may mint, and only rights that an object has.
    let to = system.handle(0, "to-2");
    let words = [to, 1, u64::from(Rights::CALL.bits())];
    assert_eq!(system.error(system.first(0), Number::ObjectMint, &words), Error::Denied);
    let hostile = u64::from(Rights::RECEIVE.bits());
    let fault = (FaultKind::BadArgument, hostile);
    system.faults(server, Number::ObjectMint, &[serve, 1, hostile], Message::EMPTY, fault);
}

#[test]
fn messages_are_counted() {
    let mut system = System::of(3);
    let (client, server, to, serve) = pair(&system);
    let before = system.kernel.statistics(crate::DomainIndex(1));
    system.invoke_with(client, Number::Call, &[to, FOREVER], message(0, b"12345"));
    system.value(server, Number::Receive, &[serve, 0]);
    let reply = system.message(server).reply.0;
    system.invoke_with(server, Number::Reply, &[reply], message(0, b"123"));
    system.invoke_with(client, Number::Send, &[to], message(0, b"1"));
    let after = system.kernel.statistics(crate::DomainIndex(1));
    assert_eq!(after.messages - before.messages, 2);
    assert_eq!(after.bytes_copied - before.bytes_copied, 6);
    assert_eq!(after.calls - before.calls, 2);
    let server = system.kernel.statistics(crate::DomainIndex(2));
    assert_eq!((server.messages, server.bytes_copied), (1, 3));
}
