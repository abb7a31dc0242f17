//! A desk with a card and a stand-in for ΦCore, and hostile clients.

use crate::desk::{Card, Desk};
use crate::{Address, FRAME, HEAD, MEMORY, Nic, NicError, WAITING};
use phi_abi::{CapabilityInfo, Kind, Message, Number, Outcome};
use phi_idl::{Caller, Capability, Slice};
use phi_rt::{Error, Region, Rights, Signal, fake};
use proptest::prelude::*;
use std::boxed::Box;
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::Relaxed;
use std::vec;
use std::vec::Vec;

const ADDRESS: Address = Address([2, 0, 0, 0, 0, 1]);

/// Bytes of a client's memory, mostly.
const LENGTH: u64 = 4096;

/// What regions are filled with that nobody has written to; no session's number ends with it here.
const MARK: u8 = 0xFF;

/// What a handle names.
struct Held {
    kind: Kind,
    length: u64,
    rights: Rights,
    /// How many revocable derivations it is away from what was made.
    depth: u64,
    /// Whether its owner has taken it back.
    revoked: bool,
    /// A region's content.
    bytes: Box<[AtomicU8]>,
}

impl Held {
    /// Fills a region.
    fn mark(&mut self) {
        self.bytes.iter().for_each(|byte| byte.store(MARK, Relaxed));
    }
}

/// What the stand-in knows.
#[derive(Default)]
struct World {
    last: u64,
    held: BTreeMap<u64, Held>,
}

impl World {
    fn make(&mut self, kind: Kind, length: u64) -> Outcome {
        self.last += 1;
        let bytes = (0..length).map(|_| AtomicU8::new(0)).collect();
        let held = Held { kind, length, rights: kind.rights(), depth: 0, revoked: false, bytes };
        self.held.insert(self.last, held);
        Outcome::success(self.last)
    }

    fn act(&mut self, number: Number, words: [u64; 4], message: &mut Message) -> Outcome {
        match number {
            Number::RegionCreate => return self.make(Kind::Region, words[0]),
            Number::SignalCreate => return self.make(Kind::Signal, 0),
            Number::CapabilityDrop => {
                assert!(self.held.remove(&words[0]).is_some(), "it was not held");
                return Outcome::success(0);
            }
            _ => {}
        }
        let held = self.held.get(&words[0]).expect("it is held");
        let access = match number {
            Number::CapabilityInspect => {
                let Held { kind, length, rights, depth, .. } = *held;
                let (id, version, address) = (words[0], 0, 0);
                let info = CapabilityInfo { id, kind, rights, version, address, length, depth };
                message.data = info.encode();
                return Outcome::success(0);
            }
            Number::RegionMap => Rights::from_bits_retain(words[1] as u32),
            Number::SignalNotify => Rights::NOTIFY,
            other => panic!("a desk makes no {other:?}"),
        };
        match (held.revoked, held.rights.contains(access)) {
            (true, _) => Outcome::failure(Error::Revoked),
            (_, false) => Outcome::failure(Error::Denied),
            _ => Outcome::success(held.bytes.as_ptr() as u64),
        }
    }
}

/// A card that keeps what is sent, and receives what is put into it.
#[derive(Default)]
struct Loopback {
    sent: Vec<Vec<u8>>,
    waiting: VecDeque<Vec<u8>>,
    /// Whether more comes whenever something is taken.
    endless: bool,
}

impl Loopback {
    fn put(&mut self, mark: u8) {
        if self.waiting.len() < WAITING {
            self.waiting.push_back(vec![mark; FRAME]);
        }
    }
}

impl Card for Loopback {
    fn address(&self) -> Address {
        ADDRESS
    }

    fn attend(&mut self) -> bool {
        !self.waiting.is_empty()
    }

    fn send(&mut self, frame: &[u8]) -> Result<(), NicError> {
        self.sent.push(frame.into());
        Ok(())
    }

    fn receive(&mut self, frame: &mut [u8; FRAME]) -> Option<usize> {
        let next = self.waiting.pop_front()?;
        frame[..next.len()].copy_from_slice(&next);
        if self.endless {
            self.put(next[0]);
        }
        Some(next.len())
    }
}

/// A desk in a world of its own.
struct Place {
    world: Rc<RefCell<World>>,
    desk: Desk<Loopback>,
}

/// Runs `body` with a desk; afterwards nothing is held.
fn within<R>(body: impl FnOnce(&mut Place) -> R) -> R {
    let world = Rc::new(RefCell::new(World::default()));
    let inner = world.clone();
    let act = move |number, words, message: &mut _| inner.borrow_mut().act(number, words, message);
    let result = fake::with(act, || {
        body(&mut Place { world: world.clone(), desk: Desk::new(Loopback::default(), 7) })
    });
    assert!(world.borrow().held.is_empty(), "handles are left");
    result
}

fn client(badge: u64) -> Caller {
    Caller { badge, rights: Rights::CALL }
}

fn memory(length: u64) -> Capability {
    Region::create(length).unwrap().into_capability()
}

fn signal() -> Capability {
    Signal::create().unwrap().into_capability()
}

fn slice(offset: u64, length: u64) -> Slice {
    Slice { offset, length }
}

/// Room for a frame.
const ROOM: Slice = Slice { offset: 0, length: FRAME as u64 };

impl Place {
    /// Opens the card as it is to be done; the session, and the handles of memory and signal.
    fn open(&mut self, badge: u64) -> Result<(u64, [u64; 2]), NicError> {
        let (memory, signal) = (memory(LENGTH), signal());
        let handles = [memory.handle().0, signal.handle().0];
        let opened = self.desk.open(client(badge), memory, signal)?;
        assert_eq!(opened.address, ADDRESS);
        Ok((opened.session, handles))
    }

    fn change(&self, handle: u64, change: impl FnOnce(&mut Held)) {
        change(self.world.borrow_mut().held.get_mut(&handle).expect("it is held"));
    }

    /// What waits, taken by who has the session.
    fn received(&mut self, badge: u64, session: u64) -> usize {
        (0..).take_while(|_| self.desk.receive(client(badge), session, ROOM).is_ok()).count()
    }
}

#[test]
fn a_session_begins_with_nothing_that_came_before() {
    within(|place| {
        let (first, _) = place.open(1).unwrap();
        place.desk.card.put(1);
        place.desk.attend();
        assert_eq!(place.received(1, first), 1);
        // What the client did not take, and what came to nobody.
        (0..3).for_each(|_| place.desk.card.put(1));
        place.desk.attend();
        place.desk.close(client(1), first).unwrap();
        place.desk.card.put(0);
        let (second, _) = place.open(2).unwrap();
        assert_eq!(place.received(2, second), 0);
        // Another session of the same client is another one, too.
        place.desk.card.put(2);
        let (third, _) = place.open(2).unwrap();
        assert_eq!(place.received(2, third), 0);
        place.desk.card.put(2);
        assert_eq!(place.received(2, third), 1);
    });
}

#[test]
fn what_comes_to_nobody_does_not_pile_up() {
    within(|place| {
        place.desk.card.put(0);
        place.desk.attend();
        assert!(place.desk.card.waiting.is_empty());
        let (session, [_, signal]) = place.open(1).unwrap();
        place.desk.card.put(1);
        place.desk.attend();
        assert_eq!(place.desk.card.waiting.len(), 1);
        // With the signal the session ends, and its memory is given up.
        place.change(signal, |held| held.revoked = true);
        place.desk.attend();
        assert!(place.desk.card.waiting.is_empty() && place.world.borrow().held.is_empty());
        let stale = Err(NicError::Stale);
        assert_eq!(place.desk.receive(client(1), session, ROOM), stale);
    });
}

#[test]
fn frames_without_end_do_not_keep_the_driver() {
    within(|place| {
        place.desk.card.endless = true;
        place.desk.card.put(0);
        place.desk.attend();
        place.open(1).unwrap();
    });
}

#[test]
fn sessions_are_of_one_start_and_one_client() {
    within(|place| {
        for session in [0, 1, 7 << 32, (7 << 32) + 1, u64::MAX] {
            assert_eq!(place.desk.close(client(1), session), Err(NicError::Stale));
        }
        let (session, _) = place.open(1).unwrap();
        assert_eq!(session, (7 << 32) + 1);
        assert_eq!(place.open(2).err(), Some(NicError::Taken));
        let stale = NicError::Stale;
        for (badge, session) in [(2, session), (1, session - 1), (1, session + 1), (1, 0)] {
            assert_eq!(place.desk.send(client(badge), session, slice(0, 60)), Err(stale));
            assert_eq!(place.desk.receive(client(badge), session, ROOM), Err(stale));
            assert_eq!(place.desk.close(client(badge), session), Err(stale));
        }
        // What is refused ends nothing.
        let large = memory(MEMORY + 1);
        assert_eq!(place.desk.open(client(1), large, signal()).err(), Some(NicError::Memory));
        assert_eq!(place.desk.send(client(1), session, slice(0, 60)), Ok(()));
        let (again, [_, signal]) = place.open(1).unwrap();
        assert_eq!(place.desk.send(client(1), session, slice(0, 60)), Err(stale));
        // Of one that has ended, nothing has to come first.
        place.change(signal, |held| held.revoked = true);
        let (other, _) = place.open(2).unwrap();
        assert!(other > again);
        assert_eq!(place.desk.close(client(1), again), Err(stale));
        assert_eq!(place.desk.close(client(2), other), Ok(()));
        assert_eq!(place.desk.close(client(2), other), Err(stale));
    });
}

#[test]
fn only_memory_and_signals_that_can_be_used_are_taken() {
    within(|place| {
        let mut refused = |memory: Capability, signal: Capability| {
            place.desk.open(client(1), memory, signal).err()
        };
        assert_eq!(refused(signal(), signal()), Some(NicError::Memory));
        assert_eq!(refused(memory(LENGTH), memory(LENGTH)), Some(NicError::Signal));
        assert_eq!(refused(memory(MEMORY + 1), signal()), Some(NicError::Memory));
        assert_eq!(refused(memory(MEMORY), signal()), None);
    });
    type Change = fn(&mut Held);
    let changes: [(usize, NicError, Change); 5] = [
        // Taken back while the driver copies, it would end the driver.
        (0, NicError::Memory, |held| held.depth = 1),
        (0, NicError::Memory, |held| held.rights = Rights::READ),
        (0, NicError::Memory, |held| held.revoked = true),
        (1, NicError::Signal, |held| held.rights = Rights::WAIT),
        (1, NicError::Signal, |held| held.revoked = true),
    ];
    for (which, error, change) in changes {
        within(|place| {
            let (memory, signal) = (memory(LENGTH), signal());
            place.change([memory.handle().0, signal.handle().0][which], change);
            assert_eq!(place.desk.open(client(1), memory, signal).err(), Some(error));
        });
    }
}

/// Numbers near what something ends at.
fn number() -> impl Strategy<Value = u64> {
    let ends = [0, HEAD as u64, FRAME as u64, LENGTH, LENGTH - FRAME as u64, 1 << 32, 1 << 63];
    let near =
        (0..ends.len(), 0u64..3).prop_map(move |(end, off)| (ends[end] + off).wrapping_sub(1));
    prop_oneof![4 => near, 1 => 0..LENGTH, 1 => any::<u64>()]
}

proptest! {
    /// Whatever is asked: only frames are sent, and those of who has the card; and a client receives only what
    /// came in its session, at the place that it named.
    #[test]
    fn hostile_clients_reach_nothing_of_others(
        asked in proptest::collection::vec(
            (0u8..7, 1u64..4, any::<bool>(), any::<u64>(), number(), number()), 1..60),
    ) {
        within(|place| -> Result<(), TestCaseError> {
            // Who has the card, its session, and the handles of its memory and signal.
            let mut has: Option<(u64, u64, [u64; 2])> = None;
            for (what, badge, current, wild, offset, length) in asked {
                let session = match has {
                    Some((_, session, _)) if current => session,
                    _ => wild,
                };
                let own = has.is_some_and(|(owner, opened, _)| (owner, opened) == (badge, session));
                let part = slice(offset, length);
                let inside = offset.checked_add(length).is_some_and(|end| end <= LENGTH);
                let mark = has.map_or(0, |(_, session, _)| session as u8);
                match what {
                    0 => {
                        let opened = place.open(badge);
                        let taken = has.is_some_and(|(owner, ..)| owner != badge);
                        prop_assert_eq!(opened.is_err(), taken);
                        if let Ok((session, handles)) = opened {
                            has = Some((badge, session, handles));
                            place.change(handles[0], Held::mark);
                        }
                    }
                    1 => {
                        let sent = place.desk.card.sent.len();
                        let frame = (HEAD as u64..=FRAME as u64).contains(&length) && inside;
                        let expected = match (own, frame) {
                            (false, _) => Err(NicError::Stale),
                            (_, false) => Err(NicError::Length),
                            _ => Ok(()),
                        };
                        prop_assert_eq!(place.desk.send(client(badge), session, part), expected);
                        let sent = &place.desk.card.sent[sent..];
                        prop_assert_eq!(sent.len(), usize::from(expected.is_ok()));
                        let whole = |frame: &Vec<u8>| {
                            frame.len() as u64 == length && frame.iter().all(|byte| *byte == MARK)
                        };
                        prop_assert!(sent.iter().all(whole));
                    }
                    2 => {
                        let waiting = place.desk.card.waiting.len();
                        let got = place.desk.receive(client(badge), session, part);
                        match (own, inside && length >= FRAME as u64, waiting) {
                            (false, ..) => prop_assert_eq!(got, Err(NicError::Stale)),
                            (_, false, _) => prop_assert_eq!(got, Err(NicError::Length)),
                            (.., 0) => prop_assert_eq!(got, Err(NicError::Nothing)),
                            _ => {
                                prop_assert_eq!(got, Ok(FRAME as u32));
                                let (.., [memory, _]) = has.expect("somebody has it");
                                place.change(memory, |held| {
                                    let byte = |place: usize| held.bytes[place].load(Relaxed);
                                    let frame = offset as usize..offset as usize + FRAME;
                                    for place in 0..held.bytes.len() {
                                        let expected =
                                            if frame.contains(&place) { mark } else { MARK };
                                        assert_eq!(byte(place), expected);
                                    }
                                    held.mark();
                                });
                            }
                        }
                    }
                    3 => {
                        let closed = place.desk.close(client(badge), session);
                        prop_assert_eq!(closed.is_ok(), own);
                        has = has.filter(|_| !own);
                    }
                    4 => {
                        // It ends.
                        if let Some((.., [_, signal])) = has.take() {
                            place.change(signal, |held| held.revoked = true);
                        }
                    }
                    5 => place.desk.attend(),
                    _ => place.desk.card.put(mark),
                }
            }
            Ok(())
        })?;
    }
}
