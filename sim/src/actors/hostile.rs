//! A service that does anything: mostly what is allowed, now and then what no correct program does.

use super::{Actor, PAUSE, call};
use crate::checkers::ledger::Held;
use crate::event::Call;
use crate::machine::Turn;
use phi_abi::layout::PAGE;
use phi_abi::{Grant, Handle, IrqSource, Kind, MESSAGE_GRANTS, Mode, Number, Rights};

/// How often each call is made, in relation to the others.
const WEIGHTS: [(Number, u64); 28] = [
    (Number::CapabilityDerive, 10),
    (Number::CapabilityRevoke, 5),
    (Number::CapabilityDrop, 12),
    (Number::CapabilityInspect, 4),
    (Number::ObjectMint, 3),
    (Number::RegionCreate, 6),
    (Number::RegionMap, 8),
    (Number::RegionUnmap, 3),
    (Number::MailboxCreate, 3),
    (Number::Send, 12),
    (Number::Call, 30),
    (Number::Receive, 30),
    (Number::Reply, 30),
    (Number::ReplyReceive, 30),
    (Number::SignalCreate, 3),
    (Number::SignalNotify, 5),
    (Number::SignalWait, 4),
    (Number::SignalBind, 3),
    (Number::ThreadCreate, 4),
    (Number::ThreadPriority, 2),
    (Number::ThreadSleep, 2),
    (Number::ThreadExit, 1),
    (Number::DomainStart, 1),
    (Number::DomainInspect, 1),
    (Number::DomainExit, 1),
    (Number::DomainPanic, 1),
    (Number::ClockRead, 1),
    (Number::ConsoleWrite, 1),
];

/// The same of calls of devices, for who holds hardware.
const DEVICE_WEIGHTS: [(Number, u64); 10] = [
    (Number::DeviceRegion, 1),
    (Number::IrqCreate, 15),
    (Number::IrqBind, 60),
    (Number::IrqAcknowledge, 40),
    (Number::DmaSpaceCreate, 15),
    (Number::DmaMap, 120),
    (Number::DmaUnmap, 15),
    (Number::PortsCreate, 15),
    (Number::PortRead, 15),
    (Number::PortWrite, 15),
];

/// What messages go to.
const ADDRESSES: [Kind; 2] = [Kind::Mailbox, Kind::Object];

/// Longest timeout, in nanoseconds. All are finite, so that a run comes to rest.
const TIMEOUT: u64 = 200_000;

/// The state of one thread.
pub(crate) struct Hostile {
    /// Once in how many calls it does what no correct program does; 0 for never.
    rate: u64,
    /// Whether it calls devices, too.
    hardware: bool,
    place: u64,
}

impl Hostile {
    /// A thread that is hostile once in `rate` calls, and calls devices if there is `hardware`.
    pub(crate) fn new(rate: u64, hardware: bool) -> Hostile {
        Hostile { rate, hardware, place: 0 }
    }

    /// Comes to rest: answers what is open, and receives what is left.
    fn settle(&mut self, turn: &mut Turn<'_>) -> Call {
        if let Some((reply, _)) = pick(turn, &[Kind::Reply], Rights::empty()) {
            return call(Number::Reply, &[reply.0]);
        }
        if turn.outcome.status != 0 {
            // To try again at once, as with a mailbox that has ended, would let nobody less urgent run.
            return call(Number::ThreadSleep, &[PAUSE]);
        }
        self.place += 1;
        if self.place.is_multiple_of(2) {
            // Room for what is received.
            let spare =
                |held: &Held| held.kind != Kind::Mailbox || !held.rights.contains(Rights::RECEIVE);
            let mut held = turn.ledger.held(turn.domain).filter(|(_, held)| spare(held));
            if let Some((handle, _)) = held.next() {
                return call(Number::CapabilityDrop, &[handle.0]);
            }
        }
        match pick(turn, &[Kind::Mailbox], Rights::RECEIVE) {
            Some((mailbox, _)) => call(Number::Receive, &[mailbox.0, PAUSE]),
            None => call(Number::ThreadSleep, &[PAUSE]),
        }
    }

    /// What no correct program does.
    fn spoil(&mut self, turn: &mut Turn<'_>, call: &mut Call) {
        let word = match turn.random.below(3) {
            0 => turn.random.word(),
            1 => turn.random.below(40),
            _ => u64::MAX,
        };
        match turn.random.below(6) {
            0 => call.number = word as u32,
            1 => call.message.length = word as u16,
            2 => call.message.grant_count = word as u16,
            3 => call.message.grants[0].handle = Handle(word),
            4 => call.message.grants[0].mode = word as u32,
            _ => call.arguments[0] = word,
        }
    }
}

/// Words that are a time, by the names that the calls give them.
const TIMES: [&str; 2] = ["timeout", "nanoseconds"];

/// Keeps the run from never coming to rest, whatever the words of the call were chosen for: no time is
/// long, and no thread exits whose domain `owes` an answer, for it may be the only one.
fn bound(call: &mut Call, owes: bool) {
    let Some(number) = Number::from_number(call.number) else { return };
    if number == Number::ThreadExit && owes {
        *call = super::call(Number::ThreadSleep, &[100]);
    }
    let names = number.description().arguments;
    if let Some(place) = names.iter().position(|name| TIMES.contains(name)) {
        call.arguments[place] %= TIMEOUT;
    }
}

impl Actor for Hostile {
    fn next(&mut self, mut turn: Turn<'_>) -> Call {
        let turn = &mut turn;
        if turn.settling {
            return self.settle(turn);
        }
        let devices: &[(Number, u64)] = if self.hardware { &DEVICE_WEIGHTS } else { &[] };
        let weights = WEIGHTS.iter().chain(devices);
        let total: u64 = weights.clone().map(|(_, weight)| weight).sum();
        let mut place = turn.random.below(total);
        let mut number = Number::ClockRead;
        for (candidate, weight) in weights {
            if place < *weight {
                number = *candidate;
                break;
            }
            place -= weight;
        }
        let words = words(turn, number).unwrap_or((Number::ThreadSleep, [100, 0, 0, 0]));
        let mut call = call(words.0, &words.1);
        if words.0.description().message_in {
            fill(turn, &mut call);
        }
        if turn.random.once_in(self.rate) {
            self.spoil(turn, &mut call);
        }
        let owes = turn.ledger.held(turn.domain).any(|(_, held)| held.kind == Kind::Reply);
        bound(&mut call, owes);
        call
    }
}

/// A capability of one of these kinds, mostly one that stands and has `rights`.
fn pick(turn: &mut Turn<'_>, kinds: &[Kind], rights: Rights) -> Option<(Handle, Held)> {
    let any = turn.random.once_in(16);
    let mut chosen = None;
    let mut seen = 0;
    for (handle, held) in turn.ledger.held(turn.domain) {
        if kinds.contains(&held.kind) && (any || held.rights.contains(rights)) {
            seen += 1;
            // Each is the one with the same probability (reservoir sampling).
            if turn.random.below(seen) == 0 {
                chosen = Some((handle, *held));
            }
        }
    }
    chosen
}

/// The handle of one of this kind, as with [`pick`], that its holder controls.
fn controlled(turn: &mut Turn<'_>, kind: Kind) -> Option<u64> {
    pick(turn, &[kind], Rights::CONTROL).map(|(handle, _)| handle.0)
}

/// The handle of a region to map, and how: for writing, where that is allowed.
fn readable(turn: &mut Turn<'_>) -> Option<(u64, u64)> {
    let (handle, held) = pick(turn, &[Kind::Region], Rights::READ)?;
    let access = (held.rights & Rights::WRITE) | Rights::READ;
    Some((handle.0, u64::from(access.bits())))
}

fn timeout(turn: &mut Turn<'_>) -> u64 {
    if turn.random.once_in(6) { 0 } else { turn.random.below(TIMEOUT) }
}

/// Mostly all of these rights, or some.
fn some(turn: &mut Turn<'_>, rights: Rights) -> Rights {
    match turn.random.below(4) {
        0 => rights & Rights::from_bits_retain(turn.random.word() as u32),
        _ => rights,
    }
}

/// The words of a call; none where the domain holds nothing to make it with.
fn words(turn: &mut Turn<'_>, number: Number) -> Option<(Number, [u64; 4])> {
    let none = Rights::empty();
    let of = |picked: Option<(Handle, Held)>| picked.map(|(handle, _)| handle.0);
    let words = match number {
        Number::CapabilityDerive => {
            let (handle, held) = pick(turn, &Kind::ALL, Rights::DERIVE)?;
            let rights = some(turn, held.rights);
            [handle.0, u64::from(rights.bits()), turn.random.below(2), 0]
        }
        Number::CapabilityRevoke => [of(pick(turn, &Kind::ALL, Rights::DERIVE))?, 0, 0, 0],
        Number::CapabilityDrop | Number::CapabilityInspect => {
            [of(pick(turn, &Kind::ALL, none))?, 0, 0, 0]
        }
        Number::RegionCreate => [1 + turn.random.below(5 * PAGE), 0, 0, 0],
        Number::RegionMap => {
            let (region, access) = readable(turn)?;
            [region, access, 0, 0]
        }
        Number::RegionUnmap => [of(pick(turn, &[Kind::Region], none))?, 0, 0, 0],
        Number::MailboxCreate => [1 + turn.random.below(4), 0, 0, 0],
        Number::ObjectMint => {
            let mailbox = of(pick(turn, &[Kind::Mailbox], Rights::RECEIVE))?;
            let rights = some(turn, Kind::Object.rights());
            [mailbox, turn.random.word(), u64::from(rights.bits()), 0]
        }
        Number::Send => [of(pick(turn, &ADDRESSES, Rights::SEND))?, 0, 0, 0],
        Number::Call => [of(pick(turn, &ADDRESSES, Rights::CALL))?, timeout(turn), 0, 0],
        Number::Receive => {
            [of(pick(turn, &[Kind::Mailbox], Rights::RECEIVE))?, timeout(turn), 0, 0]
        }
        Number::Reply => [of(pick(turn, &[Kind::Reply], none))?, 0, 0, 0],
        Number::ReplyReceive => {
            let reply = of(pick(turn, &[Kind::Reply], none))?;
            [reply, of(pick(turn, &[Kind::Mailbox], Rights::RECEIVE))?, timeout(turn), 0]
        }
        Number::SignalNotify => {
            [of(pick(turn, &[Kind::Signal], Rights::NOTIFY))?, turn.random.below(16), 0, 0]
        }
        Number::SignalWait => {
            let signal = of(pick(turn, &[Kind::Signal], Rights::WAIT))?;
            [signal, 1 + turn.random.below(15), timeout(turn), 0]
        }
        Number::SignalBind => {
            let signal = of(pick(turn, &[Kind::Signal], Rights::WAIT))?;
            [signal, of(pick(turn, &[Kind::Mailbox], Rights::RECEIVE))?, 0, 0]
        }
        Number::ThreadCreate => [0x1000, 0x2000, 0, turn.random.below(12)],
        Number::ThreadPriority => [controlled(turn, Kind::Thread)?, turn.random.below(12), 0, 0],
        Number::ThreadSleep => [turn.random.below(3) * turn.random.below(2000), 0, 0, 0],
        Number::DomainStart | Number::DomainStop | Number::DomainInspect => {
            [of(pick(turn, &[Kind::Domain], none))?, 0, 0, 0]
        }
        Number::DomainExit => [turn.random.below(256), 0, 0, 0],
        Number::ConsoleWrite => [of(pick(turn, &[Kind::Console], Rights::WRITE))?, 0, 0, 0],
        Number::SignalCreate | Number::ThreadExit | Number::DomainPanic | Number::ClockRead => {
            [0; 4]
        }
        Number::DeviceRegion => [controlled(turn, Kind::Hardware)?, PAGE, PAGE, 0],
        Number::IrqCreate => {
            let hardware = controlled(turn, Kind::Hardware)?;
            let requester = turn.random.below(1 << 16) as u16;
            [hardware, IrqSource::Message { requester }.encode(), 0, 0]
        }
        Number::DmaSpaceCreate => [controlled(turn, Kind::Hardware)?, turn.random.below(64), 0, 0],
        Number::IrqBind => {
            let irq = controlled(turn, Kind::Irq)?;
            let signal = of(pick(turn, &[Kind::Signal], Rights::NOTIFY))?;
            [irq, signal, 1 + turn.random.below(15), 0]
        }
        Number::IrqAcknowledge => [controlled(turn, Kind::Irq)?, 0, 0, 0],
        Number::DmaMap => {
            let space = controlled(turn, Kind::DmaSpace)?;
            let (region, access) = readable(turn)?;
            [space, region, access, 0]
        }
        Number::DmaUnmap => {
            let space = controlled(turn, Kind::DmaSpace)?;
            [space, of(pick(turn, &[Kind::Region], none))?, 0, 0]
        }
        Number::PortsCreate => {
            let hardware = controlled(turn, Kind::Hardware)?;
            [hardware, turn.random.below(64), 1 + turn.random.below(8), 0]
        }
        Number::PortRead | Number::PortWrite => {
            [controlled(turn, Kind::Ports)?, 0, 1, turn.random.below(256)]
        }
    };
    Some((number, words))
}

/// A message with capabilities that may mostly be granted.
fn fill(turn: &mut Turn<'_>, call: &mut Call) {
    call.message.length = turn.random.below(65) as u16;
    let count =
        turn.random.below(MESSAGE_GRANTS as u64 * 2).saturating_sub(MESSAGE_GRANTS as u64 - 1);
    let loans = call.number == Number::Call as u32;
    for _ in 0..count {
        let Some(grant) = grant(turn, loans) else { break };
        let moves = |grant: &Grant| grant.mode == Mode::Move as u32;
        let again = |other: &Grant| other.handle == grant.handle && (moves(other) || moves(&grant));
        if grant.handle.0 != call.arguments[0] && !call.message.grants().iter().any(again) {
            call.message.push(grant);
        }
    }
}

fn grant(turn: &mut Turn<'_>, loans: bool) -> Option<Grant> {
    let lends = loans && turn.random.once_in(2);
    let kinds: &[Kind] = if lends { &[Kind::Region] } else { &Kind::ALL };
    let (handle, held) = pick(turn, kinds, Rights::TRANSFER)?;
    if held.kind == Kind::Reply {
        // A reply that nobody receives would keep the run from its rest.
        return None;
    }
    let rights = some(turn, held.rights);
    if !lends {
        return Some(match turn.random.below(3) {
            0 => Grant::transfer(handle, rights),
            _ => Grant::copy(handle, rights),
        });
    }
    let pages = turn.ledger.pages(&held)?;
    let offset = turn.random.below(pages.length);
    let length = 1 + turn.random.below(pages.length - offset);
    Some(Grant::loan(handle, rights | Rights::READ, pages.address + offset, length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::ledger::Ledger;
    use crate::event::{Event, Named};
    use crate::world::World;
    use phi_abi::{CALLS, Error, FOREVER, Outcome};
    use phi_core::{DomainIndex, ThreadIndex};
    use phi_random::Random;

    #[test]
    fn at_rest_what_has_failed_is_not_tried_again_at_once() {
        let (plan, _) = World::Crowd.plan(&mut Random::new(1));
        let mut ledger = Ledger::new(&plan);
        let (domain, thread) = (DomainIndex(4), ThreadIndex(4));
        let (kind, handle) = (Kind::Mailbox, Handle::new(0, 1));
        let mailbox = Named { handle, kind, rights: kind.rights() };
        for event in [Event::Loaded(domain, vec![mailbox]), Event::ThreadStarted(thread, domain)] {
            ledger.observe(&event).expect("what may happen");
        }
        let mut actor = Hostile::new(0, false);
        let mut after = |outcome| {
            let (ledger, random) = (&ledger, &mut Random::new(1));
            let (message, now, settling) = (None, 0, true);
            actor.next(Turn { thread, domain, outcome, message, ledger, random, now, settling })
        };
        assert_eq!(after(Outcome::success(0)).number, Number::Receive as u32);
        for error in [Error::Dead, Error::Revoked, Error::QuotaExceeded] {
            let rests = after(Outcome::failure(error));
            assert_eq!(rests.number, Number::ThreadSleep as u32);
            assert_eq!(rests.arguments[0], PAUSE);
        }
        assert_eq!(after(Outcome::success(0)).number, Number::Receive as u32);
    }

    #[test]
    fn no_call_takes_long_whatever_its_words_are() {
        for number in CALLS.iter().map(|description| description.number) {
            let mut bounded = call(number, &[FOREVER; 4]);
            bound(&mut bounded, false);
            let times: &[usize] = match number {
                Number::ThreadSleep => &[0],
                Number::Call | Number::Receive => &[1],
                Number::ReplyReceive | Number::SignalWait => &[2],
                _ => &[],
            };
            for (place, word) in bounded.arguments.into_iter().enumerate() {
                assert_eq!(word != FOREVER, times.contains(&place), "{number:?}, word {place}");
                assert!(word == FOREVER || word < TIMEOUT);
            }
        }
    }

    #[test]
    fn no_thread_exits_while_its_domain_owes_an_answer() {
        let exits = |owes| {
            let mut bounded = call(Number::ThreadExit, &[]);
            bound(&mut bounded, owes);
            bounded.number == Number::ThreadExit as u32
        };
        assert!(exits(false));
        assert!(!exits(true));
    }
}
