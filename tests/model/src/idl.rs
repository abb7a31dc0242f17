//! Target `idl`: whatever comes to a server or a client is answered, and no handle is lost.

use crate::bytes::Bytes;
use phi_abi::{CapabilityInfo, Error, Grant, Handle, Kind, Message, Mode, Number, Outcome, Rights};
use phi_idl::{CallError, Caller, Capability, Lent, LentMut, interface, serve};
use phi_rt::{Mailbox, Peer, fake};
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::atomic::AtomicU8;

/// Messages of one input, at most.
const MESSAGES: usize = 64;

/// What the sample refuses.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Refusal {
    /// Nothing in particular.
    Plain,
    /// With numbers.
    Detailed {
        /// A number.
        number: i64,
        /// And perhaps another.
        other: Option<u16>,
    },
}

/// Arguments of one kind and another.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Point {
    /// A float.
    pub x: f32,
    /// A character.
    pub name: char,
    /// A pair, perhaps.
    pub pair: Option<(bool, u8)>,
}

/// An interface with all kinds of arguments and answers.
#[interface]
pub trait Sample {
    /// Text, bytes and numbers.
    fn inline(&mut self, caller: Caller, name: &str, weight: u128) -> Result<u64, Refusal>;
    /// A structure there and back.
    fn point(&mut self, point: Point, scale: i8) -> Result<Point, Refusal>;
    /// An array.
    fn array(&mut self, bytes: [u8; 24]) -> Result<[u8; 24], Refusal>;
    /// Loans.
    fn copy(&mut self, from: Lent<'_>, into: LentMut<'_>, count: u16) -> Result<u64, Refusal>;
    /// A capability there and back.
    fn swap(&mut self, ticket: Capability, number: u8) -> Result<Capability, Refusal>;
    /// Capabilities and a loan, and nothing back.
    fn keep(
        &mut self,
        first: Capability,
        bytes: Lent<'_>,
        second: Capability,
    ) -> Result<(), Refusal>;
    /// Nothing at all.
    fn nothing(&mut self) -> Result<(), Refusal>;
}

/// A server of the sample that refuses now and then.
struct Server {
    calls: usize,
}

impl Sample for Server {
    fn inline(&mut self, caller: Caller, name: &str, weight: u128) -> Result<u64, Refusal> {
        self.calls += 1;
        if weight.is_multiple_of(2) {
            Ok(caller.badge ^ name.len() as u64)
        } else {
            Err(Refusal::Plain)
        }
    }

    fn point(&mut self, point: Point, scale: i8) -> Result<Point, Refusal> {
        self.calls += 1;
        Ok(Point { x: point.x * f32::from(scale), ..point })
    }

    fn array(&mut self, bytes: [u8; 24]) -> Result<[u8; 24], Refusal> {
        self.calls += 1;
        Ok(bytes)
    }

    fn copy(&mut self, from: Lent<'_>, into: LentMut<'_>, count: u16) -> Result<u64, Refusal> {
        self.calls += 1;
        let mut bytes = [0; 16];
        let offset = usize::from(count);
        let read = from.read(offset, &mut bytes);
        assert!(read <= from.length(), "more bytes than were lent");
        Ok(into.write(offset, &bytes[..read]) as u64)
    }

    fn swap(&mut self, ticket: Capability, number: u8) -> Result<Capability, Refusal> {
        self.calls += 1;
        let other = Some(u16::from(number));
        if number == 0 { Err(Refusal::Detailed { number: -1, other }) } else { Ok(ticket) }
    }

    fn keep(
        &mut self,
        first: Capability,
        bytes: Lent<'_>,
        second: Capability,
    ) -> Result<(), Refusal> {
        self.calls += 1;
        assert_ne!(first.handle(), second.handle(), "one capability twice");
        if bytes.length() == 0 { Err(Refusal::Plain) } else { Ok(()) }
    }

    fn nothing(&mut self) -> Result<(), Refusal> {
        self.calls += 1;
        Ok(())
    }
}

/// A stand-in for ΦCore that keeps account of every handle.
#[derive(Default)]
struct World {
    last: u64,
    live: BTreeSet<u64>,
    incoming: Vec<Message>,
    answers: usize,
    /// What a call returns; without one, calls end with `Dead`.
    answer: Option<Message>,
}

impl World {
    fn handle(&mut self) -> Handle {
        self.last += 1;
        self.live.insert(self.last);
        Handle(self.last)
    }

    fn give_up(&mut self, handle: u64) {
        assert!(self.live.remove(&handle), "handle {handle} is used up and was not held");
    }

    fn sent(&mut self, message: &Message) {
        let moves = |grant: &&Grant| grant.mode == Mode::Move as u32;
        message.grants().iter().filter(moves).for_each(|grant| self.give_up(grant.handle.0));
    }

    fn receive(&mut self, message: &mut Message) -> Outcome {
        let Some(next) = self.incoming.pop() else { return Outcome::failure(Error::Revoked) };
        *message = next;
        Outcome::success(0)
    }

    fn answered(&mut self, reply: u64, answer: &Message) {
        assert!(answer.label <= 2, "an answer of an unknown kind");
        self.give_up(reply);
        self.sent(answer);
        self.answers += 1;
    }

    fn act(&mut self, number: Number, words: [u64; 4], message: &mut Message) -> Outcome {
        match number {
            Number::MailboxCreate => Outcome::success(self.handle().0),
            Number::CapabilityDrop => {
                self.give_up(words[0]);
                Outcome::success(0)
            }
            Number::CapabilityInspect => {
                assert!(self.live.contains(&words[0]), "a handle that was not held");
                let (kind, rights) = (Kind::Mailbox, Kind::Mailbox.rights());
                let (id, version, address, length, depth) = (words[0], 0, 0, 0, 0);
                let info = CapabilityInfo { id, kind, rights, version, address, length, depth };
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
                self.sent(message);
                let Some(answer) = self.answer.take() else {
                    return Outcome::failure(Error::Dead);
                };
                *message = answer;
                Outcome::success(0)
            }
            other => panic!("the stubs made a call that nobody expects: {other:?}"),
        }
    }
}

/// Runs `body` against a world, and gives the world back.
fn within<R>(world: World, body: impl FnOnce() -> R) -> (R, World) {
    let world = Rc::new(RefCell::new(world));
    let seen = world.clone();
    let result = fake::with(move |n, words, m| seen.borrow_mut().act(n, words, m), body);
    (result, world.take())
}

/// What a well-formed message to method `label` carries: its bytes, and the modes of its grants.
fn request(label: u64, bytes: &mut Bytes<'_>) -> (Vec<u8>, &'static [Mode]) {
    let (word, small) = (u128::from(bytes.word()), bytes.byte());
    match label {
        0 => (encoded(&("vase", word)), &[]),
        1 => (encoded(&(POINT, small as i8)), &[]),
        2 => (encoded(&[small; 24]), &[]),
        3 => (encoded(&word.count_ones()), &[Mode::Loan, Mode::Loan]),
        4 => (encoded(&small), &[Mode::Move]),
        5 => (Vec::new(), &[Mode::Move, Mode::Loan, Mode::Move]),
        _ => (Vec::new(), &[]),
    }
}

/// What a well-formed answer of method `label` carries, if it is no refusal.
fn value(label: usize, bytes: &mut Bytes<'_>) -> (Vec<u8>, &'static [Mode]) {
    match label {
        0 => (encoded(&bytes.word()), &[]),
        1 => (encoded(&POINT), &[]),
        2 => (encoded(&[bytes.byte(); 24]), &[]),
        3 => (Vec::new(), &[Mode::Move]),
        _ => (Vec::new(), &[]),
    }
}

const POINT: Point = Point { x: 1.5, name: 'Φ', pair: Some((true, 2)) };

fn encoded(value: &impl Serialize) -> Vec<u8> {
    postcard::to_allocvec(value).unwrap_or_default()
}

/// A message with these contents, or something else now and then. Its handles are in `world`; loans are
/// of `memory`.
fn message(
    (label, (inline, modes)): (u64, (Vec<u8>, &[Mode])),
    bytes: &mut Bytes<'_>,
    world: &mut World,
    memory: &[AtomicU8; 64],
) -> Message {
    let mut message = Message::new(label, &inline).unwrap_or(Message::EMPTY);
    message.badge = u64::from(bytes.byte());
    message.grant_count = modes.len() as u16;
    match bytes.byte() {
        0..24 => message.length = u16::from(bytes.byte()),
        24..32 => message.length = bytes.word() as u16,
        32..48 => message.label = u64::from(bytes.byte() & 7),
        48..56 => message.label = bytes.word(),
        56..72 => message.grant_count = u16::from(bytes.byte() % 5),
        72..80 => message.grant_count = bytes.word() as u16,
        80..112 => message.data[bytes.below(64)] = bytes.byte(),
        112..128 => {
            let taken = bytes.take(64);
            message.data[..taken.len()].copy_from_slice(taken);
        }
        _ => {}
    }
    for index in 0..message.grants().len() {
        let expected = modes.get(index).map_or(0, |mode| *mode as u32);
        let choice = bytes.byte();
        let both = Rights::READ | Rights::WRITE;
        message.grants[index] = Grant {
            // What was revoked on the way comes without a handle.
            handle: if choice & 15 == 15 { Handle::NULL } else { world.handle() },
            rights: if choice < 240 { both.bits() } else { bytes.word() as u32 },
            mode: if choice & 0x70 == 0x70 { u32::from(bytes.byte() & 3) } else { expected },
            address: memory.as_ptr() as u64,
            length: u64::from(bytes.byte() % 65),
        };
    }
    message
}

/// Sends the messages that `input` describes to a server, and as answers to a client. How many calls
/// the server understood, and how many answers the client did.
///
/// # Panics
/// When a handle is lost or used twice, or a call has no answer.
pub fn run(input: &[u8]) -> (usize, usize) {
    let mut bytes = Bytes::new(input);
    let mut understood = (0, 0);
    for _ in 0..MESSAGES {
        if bytes.is_empty() {
            break;
        }
        if bytes.once_in(2) {
            understood.0 += usize::from(to_server(&mut bytes));
        } else {
            understood.1 += usize::from(to_client(&mut bytes));
        }
    }
    understood
}

fn to_server(bytes: &mut Bytes<'_>) -> bool {
    let memory = [const { AtomicU8::new(7) }; 64];
    let mut world = World::default();
    let label = bytes.below(7) as u64;
    let mut message = message((label, request(label, bytes)), bytes, &mut world, &memory);
    let is_call = !bytes.once_in(8);
    if is_call {
        message.reply = world.handle();
    }
    world.incoming.push(message);
    let (calls, world) = within(world, || {
        let mailbox = Mailbox::create(1).expect("the stand-in makes mailboxes");
        let mut server = SampleServer(Server { calls: 0 });
        assert_eq!(serve(&mailbox, &mut server), Error::Revoked);
        server.0.calls
    });
    assert_eq!(world.live, BTreeSet::new(), "handles are left");
    assert_eq!(world.answers, usize::from(is_call), "answers");
    calls > 0
}

fn to_client(bytes: &mut Bytes<'_>) -> bool {
    let memory = [const { AtomicU8::new(7) }; 64];
    let method = bytes.below(5);
    let mut world = World::default();
    let content = match bytes.below(3) {
        0 => (1, (encoded(&Refusal::Detailed { number: 7, other: None }), &[][..])),
        _ => (0, value(method, bytes)),
    };
    let answer = message(content, bytes, &mut world, &memory);
    let label = answer.label;
    world.answer = Some(answer);
    let (said, world) = within(world, || {
        let client = SampleClient::new(Peer::try_from(ticket()).expect("a mailbox"));
        match method {
            0 => said(client.inline("a name", 3)),
            1 => said(client.point(POINT, -1)),
            2 => said(client.array([1; 24])),
            3 => said(client.swap(ticket(), 1)),
            _ => said(client.nothing()),
        }
    });
    assert_eq!(world.live, BTreeSet::new(), "handles are left");
    match said {
        Said::Value => assert_eq!(label, 0, "a value from another label"),
        Said::Refused => assert_eq!(label, 1, "a refusal from another label"),
        Said::NotUnderstood => {}
    }
    said != Said::NotUnderstood
}

/// Some capability of this world's own.
fn ticket() -> Capability {
    Mailbox::create(1).expect("the stand-in makes mailboxes").into_capability()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Said {
    Value,
    Refused,
    NotUnderstood,
}

fn said<T>(result: Result<T, CallError<Refusal>>) -> Said {
    match result {
        Ok(_) => Said::Value,
        Err(CallError::Refused(_)) => Said::Refused,
        Err(CallError::NotUnderstood) => Said::NotUnderstood,
        Err(other) => panic!("a client that was answered says {other:?}"),
    }
}
