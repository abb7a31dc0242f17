//! Client, server, and hostile messages between them, with a stand-in for ΦCore that keeps account of
//! every handle.

use crate::{CallError, Caller, Capability, Lent, LentMut, Slice, interface};
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::sync::atomic::{AtomicU8, Ordering};
use phi_abi::{CapabilityInfo, Grant, Handle, Kind, Message, Mode, Number, Outcome};
use phi_rt::{Error, Mailbox, Peer, Region, Rights, fake};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

extern crate alloc;

/// Keeps things.
#[interface]
pub trait Shelf {
    /// Puts something on the shelf.
    fn put(&mut self, caller: Caller, name: &str, weight: u32) -> Result<u64, Refusal>;
    /// Copies bytes over.
    fn fill(&mut self, from: Lent<'_>, into: LentMut<'_>) -> Result<u64, Refusal>;
    /// Takes a ticket, and gives it back.
    fn swap(&mut self, ticket: Capability, number: u8) -> Result<Capability, Refusal>;
    /// Says more than fits.
    fn chatter(&mut self) -> Result<(), Refusal>;
    /// How much something weighs.
    #[idempotent]
    fn weigh(&mut self, name: &str) -> Result<u64, Refusal>;
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Refusal {
    TooHeavy(u32),
    Chatter(Long, Long),
}

/// 32 bytes: two of them and what tells the case apart are too much.
type Long = [u8; 32];

#[derive(Default, Debug)]
struct Keeper {
    names: Vec<String>,
}

impl Shelf for Keeper {
    fn put(&mut self, caller: Caller, name: &str, weight: u32) -> Result<u64, Refusal> {
        if weight > 100 {
            return Err(Refusal::TooHeavy(weight));
        }
        self.names.push(name.into());
        Ok(caller.badge)
    }

    fn fill(&mut self, from: Lent<'_>, into: LentMut<'_>) -> Result<u64, Refusal> {
        let mut bytes = [0; 16];
        let count = from.read(0, &mut bytes);
        Ok(into.write(0, &bytes[..count]) as u64)
    }

    fn swap(&mut self, ticket: Capability, number: u8) -> Result<Capability, Refusal> {
        if number == 0 { Err(Refusal::TooHeavy(0)) } else { Ok(ticket) }
    }

    fn chatter(&mut self) -> Result<(), Refusal> {
        Err(Refusal::Chatter([1; 32], [2; 32]))
    }

    fn weigh(&mut self, name: &str) -> Result<u64, Refusal> {
        Ok(name.len() as u64)
    }
}

/// What the stand-in knows.
#[derive(Default)]
struct World {
    last: u64,
    live: BTreeSet<u64>,
    /// Messages that the server will receive.
    incoming: Vec<Message>,
    /// Its answers.
    answers: Vec<Message>,
    /// What a call returns; without one, calls end with `Dead`.
    answer: Option<Message>,
    /// What was called.
    calls: Vec<Message>,
    /// Calls after which there is an answer to the next.
    answers_after: u32,
    /// Nanoseconds that were slept.
    slept: u64,
}

impl World {
    fn handle(&mut self) -> Handle {
        self.last += 1;
        self.live.insert(self.last);
        Handle(self.last)
    }

    fn give_up(&mut self, handle: u64) {
        assert!(self.live.remove(&handle), "handle {handle} was not held");
    }

    fn answered(&mut self, reply: u64, answer: &Message) {
        self.give_up(reply);
        for grant in answer.grants().iter().filter(|grant| grant.mode == Mode::Move as u32) {
            self.give_up(grant.handle.0);
        }
        self.answers.push(*answer);
    }

    fn receive(&mut self, message: &mut Message) -> Outcome {
        let Some(next) = self.incoming.pop() else { return Outcome::failure(Error::Revoked) };
        *message = next;
        Outcome::success(0)
    }

    fn act(&mut self, number: Number, words: [u64; 4], message: &mut Message) -> Outcome {
        match number {
            Number::MailboxCreate | Number::SignalCreate => Outcome::success(self.handle().0),
            Number::CapabilityDrop => {
                self.give_up(words[0]);
                Outcome::success(0)
            }
            Number::CapabilityInspect => {
                assert!(self.live.contains(&words[0]));
                let kind = Kind::Mailbox;
                let info = CapabilityInfo {
                    id: words[0],
                    kind,
                    rights: kind.rights(),
                    version: 0,
                    address: 0,
                    length: 0,
                    depth: 0,
                };
                message.data = info.encode();
                Outcome::success(0)
            }
            Number::Receive => self.receive(message),
            Number::Reply => {
                self.answered(words[0], message);
                Outcome::success(0)
            }
            Number::ReplyReceive => {
                self.answered(words[0], message);
                self.receive(message)
            }
            Number::Call => {
                self.calls.push(*message);
                for grant in message.grants().iter().filter(|g| g.mode == Mode::Move as u32) {
                    self.give_up(grant.handle.0);
                }
                match self.answer.take() {
                    Some(answer) => *message = answer,
                    None => return Outcome::failure(Error::Dead),
                }
                Outcome::success(0)
            }
            Number::ThreadSleep => {
                self.slept += words[0];
                if self.calls.len() as u32 == self.answers_after {
                    self.answer = Some(Message::new(0, &[5]).expect("a byte fits"));
                }
                Outcome::success(0)
            }
            other => panic!("{other:?} is not expected"),
        }
    }
}

#[test]
fn an_idempotent_call_is_made_again_as_long_as_nobody_answers_but_not_for_ever() {
    let weigh = |answers_after| {
        let world = World { answers_after, ..World::default() };
        within(world, || {
            let mailbox = Mailbox::create(1).expect("a mailbox");
            let peer = Peer::try_from(mailbox.into_capability()).expect("a peer");
            ShelfClient::new(peer).weigh("apple")
        })
    };
    let (result, world) = weigh(3);
    assert_eq!((result, world.calls.len()), (Ok(5), 4));
    assert_eq!(world.calls[0], world.calls[3], "the same call");
    let (result, world) = weigh(0);
    assert_eq!(result, Err(CallError::Transport(Error::Dead)));
    let retries = crate::support::RETRIES;
    assert_eq!((world.calls.len() as u32, world.slept), (retries + 1, 255_000_000));
}

/// Runs `body` against a world, and gives the world back.
fn within<R>(world: World, body: impl FnOnce() -> R) -> (R, World) {
    let world = Rc::new(RefCell::new(world));
    let seen = world.clone();
    let result = fake::with(move |n, words, m| seen.borrow_mut().act(n, words, m), body);
    (result, world.take())
}

/// Serves these messages, which own `live` handles; the keeper and the world afterwards.
fn served(messages: impl IntoIterator<Item = Message>, world: World) -> (Keeper, World) {
    let mut incoming: Vec<Message> = messages.into_iter().collect();
    incoming.reverse();
    within(World { incoming, ..world }, || {
        let mailbox = Mailbox::create(1).expect("a mailbox");
        let mut server = ShelfServer(Keeper::default());
        assert_eq!(crate::serve(&mailbox, &mut server), Error::Revoked);
        server.0
    })
}

/// Makes a call whose answer is `answer`; its result, and what was sent.
fn called<R>(
    answer: Option<Message>,
    call: impl FnOnce(&ShelfClient) -> R,
) -> (R, Option<Message>) {
    let (result, world) = within(World { answer, ..World::default() }, || {
        let client = ShelfClient::new(Peer::try_from(ticket()).expect("a mailbox"));
        call(&client)
    });
    assert!(world.live.is_empty(), "handles are left");
    (result, world.calls.first().copied())
}

/// Lets the server answer what a client sends, and the client read it.
fn round_trip<R>(call: impl Fn(&ShelfClient) -> R) -> R {
    let (_, sent) = called(None, &call);
    let mut world = World::default();
    let mut message = sent.expect("a call");
    message.reply = world.handle();
    message.badge = 77;
    for index in 0..message.grants().len() {
        message.grants[index].handle = world.handle();
    }
    let (_, world) = served([message], world);
    assert!(world.live.is_empty(), "handles are left");
    let mut answer = world.answers[0];
    answer.grant_count = 0;
    called(Some(answer), call).0
}

/// Some capability of this world's own.
fn ticket() -> Capability {
    Mailbox::create(1).expect("a mailbox").into_capability()
}

#[test]
fn calls_reach_the_server_and_answers_the_client() {
    assert_eq!(round_trip(|shelf| shelf.put("vase", 3)), Ok(77));
    let refusal = Refusal::TooHeavy(101);
    assert_eq!(round_trip(|shelf| shelf.put("anvil", 101)), Err(CallError::Refused(refusal)));
}

#[test]
fn what_does_not_fit_is_not_sent() {
    let name = "x".repeat(64);
    let (result, sent) = called(None, |shelf| shelf.put(&name, 1));
    assert_eq!((result, sent), (Err(CallError::TooLong), None));
}

#[test]
fn an_answer_that_does_not_fit_is_not_understood() {
    assert_eq!(round_trip(|shelf| shelf.chatter()), Err(CallError::NotUnderstood));
}

#[test]
fn transport_errors_are_the_clients_to_see() {
    let (result, _) = called(None, |shelf| shelf.put("vase", 3));
    assert_eq!(result, Err(CallError::Transport(Error::Dead)));
}

#[test]
fn capabilities_go_and_come_back() {
    let swap = |number: u8| move |shelf: &ShelfClient| shelf.swap(ticket(), number).map(drop);
    let refused = Err(CallError::Refused(Refusal::TooHeavy(0)));
    assert_eq!(round_trip(swap(0)), refused);
    // The round trip's answer comes without its capability, which the client must notice.
    assert_eq!(round_trip(swap(1)), Err(CallError::NotUnderstood));
}

#[test]
fn loans_are_filled() {
    let from = *b"abcdef";
    let into = [const { AtomicU8::new(0) }; 4];
    let mut world = World::default();
    let mut message = Message::new(1, &[]).expect("short");
    message.reply = world.handle();
    let both = Rights::READ | Rights::WRITE;
    for (rights, address, length) in
        [(Rights::READ, from.as_ptr() as u64, 6), (both, into.as_ptr() as u64, 4)]
    {
        let handle = world.handle();
        message.push(Grant::loan(handle, rights, address, length));
    }
    let (_, world) = served([message], world);
    assert_eq!(into.map(AtomicU8::into_inner), *b"abcd");
    assert_eq!((world.answers[0].label, world.answers[0].bytes()), (0, &[4u8][..]));
    assert!(world.live.is_empty());
}

#[test]
fn slices_name_parts_of_what_is_mapped() {
    static BYTES: [AtomicU8; 4] = [const { AtomicU8::new(7) }; 4];
    let answer = |number, _: [u64; 4], _: &mut Message| match number {
        Number::RegionMap => Outcome::success(BYTES.as_ptr() as u64),
        _ => Outcome::success(1),
    };
    fake::with(answer, || {
        let mapping = Region::create(4).and_then(|region| region.map(true)).expect("a region");
        let slice = |offset, length| Slice { offset, length };
        assert_eq!(slice(1, 3).of(&mapping).expect("a part").read(0, &mut [0; 8]), 3);
        assert_eq!(slice(1, 3).of_mut(&mapping).expect("a part").write(2, &[9]), 1);
        assert!(
            slice(1, 4).of(&mapping).is_none() && slice(u64::MAX, 2).of_mut(&mapping).is_none()
        );
    });
    assert_eq!(BYTES[3].load(Ordering::Relaxed), 9);
}

/// One hostile message, its handles still to be made: label, bytes, length, number of grants, each
/// grant's mode, rights, and whether it was revoked on the way, and whether it is a call.
type Recipe = (u64, Vec<u8>, u16, u16, Vec<(u32, u32, bool)>, bool);

fn recipe() -> impl Strategy<Value = Recipe> {
    let label = prop_oneof![4 => 0u64..6, 1 => any::<u64>()];
    let bytes = prop_oneof![
        proptest::collection::vec(any::<u8>(), 64),
        proptest::collection::vec(0u8..4, 64),
        // A well-formed `put`.
        Just([&b"\x04vase\x03"[..], &[0; 58]].concat()),
    ];
    let length = prop_oneof![Just(0u16), Just(1), Just(6), 0u16..65, any::<u16>()];
    let grant = (prop_oneof![4 => 1u32..4, 1 => any::<u32>()], any::<u32>(), any::<bool>());
    let count = prop_oneof![4 => 0u16..5, 1 => any::<u16>()];
    (label, bytes, length, count, proptest::collection::vec(grant, 4), any::<bool>())
}

proptest! {
    #[test]
    fn hostile_messages_are_answered_and_leave_nothing_behind(
        recipes in proptest::collection::vec(recipe(), 1..8),
    ) {
        let memory = [const { AtomicU8::new(7) }; 64];
        let mut world = World::default();
        let mut messages = Vec::new();
        let mut calls = 0;
        for (label, bytes, length, count, grants, is_call) in &recipes {
            let mut message = Message { label: *label, length: *length, ..Message::EMPTY };
            message.data.copy_from_slice(bytes);
            message.grant_count = *count;
            for (index, (mode, rights, revoked)) in grants.iter().enumerate() {
                // What the count does not name comes without a handle, and so does what was revoked.
                let absent = index >= usize::from(*count) || *revoked;
                message.grants[index] = Grant {
                    handle: if absent { Handle::NULL } else { world.handle() },
                    rights: *rights,
                    mode: *mode,
                    address: memory.as_ptr() as u64,
                    length: memory.len() as u64,
                };
            }
            if *is_call {
                message.reply = world.handle();
                calls += 1;
            }
            messages.push(message);
        }
        let (keeper, world) = served(messages, world);
        prop_assert!(world.live.is_empty(), "handles are left: {:?}", world.live);
        prop_assert_eq!(world.answers.len(), calls);
        for answer in &world.answers {
            prop_assert!(answer.label <= 2);
        }
        prop_assert!(keeper.names.len() <= recipes.len());
    }

    #[test]
    fn hostile_answers_are_errors_or_values(recipe in recipe()) {
        let (label, bytes, length, ..) = recipe;
        let mut answer = Message { label, length, ..Message::EMPTY };
        answer.data.copy_from_slice(&bytes);
        let (result, _) = called(Some(answer), |shelf| shelf.put("vase", 3));
        match result {
            Ok(_) => prop_assert_eq!(label, 0),
            Err(CallError::Refused(_)) => prop_assert_eq!(label, 1),
            Err(error) => prop_assert_eq!(error, CallError::NotUnderstood),
        }
    }
}
