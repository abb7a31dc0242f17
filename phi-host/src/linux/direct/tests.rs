//! Both sides of channels, with notices and memory as the supervisor makes them, and no supervisor.

use super::channel::ChannelMemory;
use super::inbox::{Inbox, Opened};
use super::notices::{self, Notices, Room};
use super::thread::{Attempt, DirectThread, Surroundings};
use super::{Side, channel};
use crate::linux::control::ControlArea;
use crate::linux::memory;
use crate::linux::monotonic;
use phi_abi::layout::window;
use phi_abi::{Error, FOREVER, Handle, Message, Number, Outcome, Rights};
use std::os::fd::AsFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The addresses of channels are the process's: one test at a time.
static ONE: Mutex<()> = Mutex::new(());

const CALLER: Handle = Handle::new(3, 1);
const MAILBOX: Handle = Handle::new(4, 1);
const PATIENCE: u64 = 5_000_000_000;

/// One domain's part: its notices, and its one thread's page and inbox.
struct Domain {
    notices: Notices,
    inbox: Inbox,
    area: ControlArea,
    window: u64,
}

impl Domain {
    fn new(service: usize) -> Domain {
        let (area, _) = ControlArea::create(1).unwrap();
        let (notices, _) = Notices::create().unwrap();
        Domain { notices, inbox: Inbox::default(), area, window: window(service) }
    }

    fn around(&self) -> Surroundings<'_> {
        Surroundings { notices: &self.notices, inbox: &self.inbox, page: self.area.page(0) }
    }

    fn open(&self, index: usize, memory: &ChannelMemory, descriptor: impl AsFd, side: Side) {
        let address = channel::address(self.window, index);
        let length = channel::length(memory.slots());
        let source = memory::Source::Shared(descriptor.as_fd(), 0);
        memory::map(address, length, memory::Access::Write, source).unwrap();
        let slots = memory.slots() as u64;
        self.inbox.put(Opened { index: index as u64, address, slots, side });
        self.notices.channel(index).set_state(notices::OPEN);
    }
}

/// A sender and a receiver with one channel, number 0 on both sides.
struct Pair {
    client: Domain,
    server: Domain,
    memory: ChannelMemory,
    _one: MutexGuard<'static, ()>,
}

impl Pair {
    fn new(capacity: u32) -> Pair {
        let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let (client, server) = (Domain::new(5), Domain::new(6));
        let (memory, descriptor) = ChannelMemory::create(capacity).unwrap();
        let rights = (Rights::SEND | Rights::CALL).bits();
        let receives = Side::Receiver { port: 0, mailbox: MAILBOX.0, badge: 77, rights };
        server.open(0, &memory, &descriptor, receives);
        client.open(0, &memory, &descriptor, Side::Sender { handle: CALLER.0, rights });
        client.notices.channel(0).set_room(Room { limit: capacity, ..Room::default() });
        server.notices.port(0).set_free_slots(8);
        server.notices.port(0).set_open(true);
        Pair { client, server, memory, _one: one }
    }

    fn set_state(&self, state: u32) {
        self.client.notices.channel(0).set_state(state);
        let received = if state == notices::REVOKED { notices::GONE } else { state };
        self.server.notices.channel(0).set_state(received);
    }
}

fn message(label: u64) -> Message {
    Message::new(label, &label.to_le_bytes()).unwrap()
}

fn attempt(
    thread: &mut DirectThread,
    domain: &Domain,
    number: Number,
    words: [u64; 4],
    message: &mut Message,
) -> Attempt {
    thread.attempt(number as u32, &words, message, domain.around())
}

fn send(thread: &mut DirectThread, pair: &Pair, label: u64) -> Attempt {
    attempt(thread, &pair.client, Number::Send, [CALLER.0, 0, 0, 0], &mut message(label))
}

/// Receives; the message, if one came.
fn receive(thread: &mut DirectThread, pair: &Pair, timeout: u64) -> Result<Message, Attempt> {
    let mut got = Message::EMPTY;
    let words = [MAILBOX.0, timeout, 0, 0];
    match attempt(thread, &pair.server, Number::Receive, words, &mut got) {
        Attempt::Ended(outcome, true) if outcome == Outcome::success(0) => Ok(got),
        other => Err(other),
    }
}

fn failed(error: Error) -> Attempt {
    Attempt::Ended(Outcome::failure(error), false)
}

#[test]
fn what_was_sent_arrives_in_order_with_badge_and_rights() {
    let pair = Pair::new(8);
    let (mut client, mut server) = (DirectThread::new(1), DirectThread::new(1));
    for label in 1..=8 {
        let sent = send(&mut client, &pair, label);
        assert_eq!(sent, Attempt::Ended(Outcome::success(0), false));
    }
    assert_eq!(send(&mut client, &pair, 9), Attempt::Usual, "ΦCore says whether it is full");
    for label in 1..=8_u64 {
        let got = receive(&mut server, &pair, 0).unwrap();
        assert_eq!((got.label, got.bytes()), (label, &label.to_le_bytes()[..]));
        assert_eq!((got.badge, got.reply), (77, Handle::NULL));
        assert_eq!(got.rights, (Rights::SEND | Rights::CALL).bits());
    }
    assert_eq!(receive(&mut server, &pair, 0), Err(failed(Error::TimedOut)));
    assert_eq!(pair.client.area.page(0).tally().messages, 8);
}

#[test]
fn who_has_all_room_learns_from_the_ring_that_it_is_full() {
    let pair = Pair::new(4);
    let (mut client, mut server) = (DirectThread::new(1), DirectThread::new(1));
    let sent = Attempt::Ended(Outcome::success(0), false);
    let notice = pair.client.notices.channel(0);
    notice.set_room(Room { limit: 4, whole: true, company: false });
    for label in 1..=4 {
        assert_eq!(send(&mut client, &pair, label), sent);
    }
    assert_eq!(send(&mut client, &pair, 5), failed(Error::Full));
    let tally = pair.client.area.page(0).tally();
    assert_eq!((tally.calls, tally.messages), (5, 4), "a call that sent nothing");
    assert_eq!(receive(&mut server, &pair, 0).unwrap().label, 1);
    assert_eq!(send(&mut client, &pair, 5), sent);
    // ΦCore has stored one.
    notice.set_room(Room { limit: 3, whole: true, company: false });
    assert_eq!(receive(&mut server, &pair, 0).unwrap().label, 2);
    assert_eq!(send(&mut client, &pair, 6), failed(Error::Full));
    notice.set_room(Room::default());
    assert_eq!(send(&mut client, &pair, 6), Attempt::Usual, "others have the room");
    pair.set_state(notices::REVOKED);
    notice.set_room(Room { limit: 3, whole: true, company: false });
    assert_eq!(send(&mut client, &pair, 6), Attempt::Usual, "ΦCore says that it is revoked");
}

#[test]
fn calls_are_answered_between_threads() {
    let pair = Pair::new(4);
    std::thread::scope(|scope| {
        let pair = &pair;
        scope.spawn(move || {
            let mut server = DirectThread::new(2);
            for label in 1..=500 {
                let got = receive(&mut server, pair, PATIENCE).unwrap();
                assert_eq!(got.label, label);
                let words = [got.reply.0, 0, 0, 0];
                let answered =
                    attempt(&mut server, &pair.server, Number::Reply, words, &mut message(!label));
                assert_eq!(answered, Attempt::Ended(Outcome::success(0), false));
            }
        });
        let mut client = DirectThread::new(2);
        for label in 1..=500 {
            let mut asked = message(label);
            let words = [CALLER.0, PATIENCE, 0, 0];
            let ended = attempt(&mut client, &pair.client, Number::Call, words, &mut asked);
            assert_eq!(ended, Attempt::Ended(Outcome::success(0), true));
            assert_eq!((asked.label, asked.badge, asked.rights), (!label, 0, 0));
        }
    });
}

#[test]
fn a_call_that_was_given_up_does_not_arrive() {
    let pair = Pair::new(4);
    let (mut client, mut server) = (DirectThread::new(1), DirectThread::new(1));
    for timeout in [0, 1_000_000] {
        let words = [CALLER.0, timeout, 0, 0];
        let ended = attempt(&mut client, &pair.client, Number::Call, words, &mut message(1));
        assert_eq!(ended, failed(Error::TimedOut));
    }
    assert_eq!(send(&mut client, &pair, 2), Attempt::Usual, "what lies there would count as sent");
    assert_eq!(receive(&mut server, &pair, 0), Err(failed(Error::TimedOut)));
    assert_eq!(send(&mut client, &pair, 2), Attempt::Ended(Outcome::success(0), false));
}

#[test]
fn a_sender_learns_why_its_call_has_ended() {
    for (state, expected) in [
        (notices::REVOKED, failed(Error::Revoked)),
        (notices::DEAD, failed(Error::Dead)),
        (notices::CLOSED, Attempt::Usual),
    ] {
        let pair = Pair::new(4);
        std::thread::scope(|scope| {
            let pair = &pair;
            let caller = scope.spawn(move || {
                let words = [CALLER.0, FOREVER, 0, 0];
                let mut client = DirectThread::new(1);
                attempt(&mut client, &pair.client, Number::Call, words, &mut message(1))
            });
            std::thread::sleep(Duration::from_millis(20));
            pair.set_state(state);
            assert_eq!(caller.join().unwrap(), expected, "state {state}");
        });
        // And from then on nothing goes through the channel.
        let mut client = DirectThread::new(1);
        assert_eq!(send(&mut client, &pair, 2), Attempt::Usual);
    }
}

#[test]
fn of_a_sender_that_has_gone_what_it_sent_before_arrives() {
    let pair = Pair::new(8);
    let (mut client, mut server) = (DirectThread::new(1), DirectThread::new(1));
    for label in 1..=3 {
        send(&mut client, &pair, label);
    }
    pair.server.notices.channel(0).set_barrier(2);
    pair.server.notices.channel(0).set_state(notices::GONE);
    assert_eq!(receive(&mut server, &pair, 0).unwrap().label, 1);
    assert_eq!(receive(&mut server, &pair, 0).unwrap().label, 2);
    assert_eq!(receive(&mut server, &pair, 0), Err(failed(Error::TimedOut)));
}

#[test]
fn a_sender_that_has_ended_is_not_answered() {
    let pair = Pair::new(4);
    std::thread::scope(|scope| {
        let pair = &pair;
        // It waits for an answer that will not come; then it stands for one that was killed.
        scope.spawn(move || {
            let words = [CALLER.0, 300_000_000, 0, 0];
            let mut client = DirectThread::new(1);
            attempt(&mut client, &pair.client, Number::Call, words, &mut message(1))
        });
        let mut server = DirectThread::new(1);
        let got = receive(&mut server, pair, PATIENCE).unwrap();
        pair.server.notices.channel(0).set_state(notices::DEAD);
        let words = [got.reply.0, 0, 0, 0];
        let answered = attempt(&mut server, &pair.server, Number::Reply, words, &mut message(2));
        assert_eq!(answered, failed(Error::Dead));
        let again = attempt(&mut server, &pair.server, Number::Reply, words, &mut message(2));
        assert_eq!(again, Attempt::Usual, "ΦCore says that there is no such handle");
    });
}

#[test]
fn messages_before_the_barrier_come_before_phicores() {
    let pair = Pair::new(8);
    let (mut client, mut server) = (DirectThread::new(1), DirectThread::new(1));
    send(&mut client, &pair, 1);
    pair.server.notices.channel(0).set_barrier(1);
    pair.server.notices.port(0).set_news(true);
    send(&mut client, &pair, 2);
    assert_eq!(receive(&mut server, &pair, FOREVER).unwrap().label, 1);
    assert_eq!(receive(&mut server, &pair, FOREVER), Err(Attempt::Receive(FOREVER)));
    pair.server.notices.port(0).set_news(false);
    assert_eq!(receive(&mut server, &pair, FOREVER).unwrap().label, 2);
}

#[test]
fn a_receiver_without_room_or_with_news_wakes_up() {
    let pair = Pair::new(8);
    pair.server.notices.port(0).set_free_slots(0);
    std::thread::scope(|scope| {
        let pair = &pair;
        let server = scope.spawn(move || receive(&mut DirectThread::new(1), pair, FOREVER));
        std::thread::sleep(Duration::from_millis(20));
        pair.server.notices.port(0).set_news(true);
        assert_eq!(server.join().unwrap(), Err(Attempt::Receive(FOREVER)));
        pair.server.notices.port(0).set_news(false);
    });
}

#[test]
fn a_hostile_side_spoils_nothing_but_its_channel() {
    // Random words everywhere in the channel, while both sides use it: each call returns in time.
    let pair = Pair::new(8);
    let (address, length) =
        (channel::address(pair.client.window, 0), channel::length(pair.memory.slots()));
    let end = monotonic() + 300_000_000;
    std::thread::scope(|scope| {
        let pair = &pair;
        scope.spawn(move || {
            let mut word = 1u64;
            while monotonic() < end {
                word = word.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
                let place = address + (word >> 33) % (length / 8) * 8;
                let value = if word & 1 == 0 { word } else { word >> 60 };
                // SAFETY: the place is mapped for as long as the test runs, and all use atomics.
                let place = unsafe { &*(place as *const std::sync::atomic::AtomicU64) };
                place.store(value, std::sync::atomic::Ordering::Relaxed);
            }
        });
        scope.spawn(move || {
            let mut server = DirectThread::new(1);
            while monotonic() < end {
                if let Ok(got) = receive(&mut server, pair, 1_000_000) {
                    assert!(usize::from(got.length) <= phi_abi::MESSAGE_BYTES);
                    assert_eq!((got.badge, got.grant_count), (77, 0));
                    if !got.reply.is_null() {
                        let words = [got.reply.0, 0, 0, 0];
                        let _ = attempt(
                            &mut server,
                            &pair.server,
                            Number::Reply,
                            words,
                            &mut message(1),
                        );
                    }
                }
            }
        });
        let mut client = DirectThread::new(1);
        while monotonic() < end {
            send(&mut client, pair, 5);
            let words = [CALLER.0, 1_000_000, 0, 0];
            let mut asked = message(6);
            let _ = attempt(&mut client, &pair.client, Number::Call, words, &mut asked);
            assert!(usize::from(asked.length) <= phi_abi::MESSAGE_BYTES);
        }
    });
}
