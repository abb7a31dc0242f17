//! Target `calls`: any system calls of three domains, on ΦCore and on the model.

use crate::bytes::Bytes;
use crate::compare::{Pair, plain};
use crate::model::{Call, Life};
use crate::plan::{DOMAINS, PRIORITY};
use phi_abi::layout::PAGE;
use phi_abi::{CALLS, FOREVER, Grant, Handle, Kind, MESSAGE_GRANTS, Message, Mode, Number, Rights};

/// Steps between two looks at every handle.
const PROBE: usize = 24;

/// Steps of one input, at most.
const STEPS: usize = 2000;

/// How often each call is made, in relation to the others.
const OFTEN: [(Number, u8); 29] = [
    (Number::CapabilityDerive, 22),
    (Number::CapabilityRevoke, 6),
    (Number::CapabilityDrop, 18),
    (Number::CapabilityInspect, 2),
    (Number::ObjectMint, 6),
    (Number::RegionCreate, 8),
    (Number::RegionMap, 6),
    (Number::RegionUnmap, 3),
    (Number::MailboxCreate, 5),
    (Number::Send, 20),
    (Number::Call, 30),
    (Number::Receive, 34),
    (Number::Reply, 22),
    (Number::ReplyReceive, 18),
    (Number::SignalCreate, 5),
    (Number::SignalNotify, 8),
    (Number::SignalWait, 6),
    (Number::SignalBind, 7),
    (Number::ThreadCreate, 6),
    (Number::ThreadPriority, 2),
    (Number::ThreadSleep, 2),
    (Number::ThreadExit, 1),
    (Number::DomainStart, 8),
    (Number::DomainStop, 2),
    (Number::DomainInspect, 2),
    (Number::DomainExit, 1),
    (Number::DomainPanic, 0),
    (Number::ClockRead, 1),
    (Number::ConsoleWrite, 2),
];

/// What of an input was worth its while.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Calls that were made.
    pub calls: usize,
    /// Calls that have succeeded, by number.
    pub succeeded: [u64; CALLS.len()],
    /// Times that the system was booted.
    pub boots: usize,
    /// Capabilities that were revoked or whose object ended, in somebody's table at the end.
    pub tombstones: usize,
    /// Loans that arrived.
    pub loans: u64,
    /// The greatest depth.
    pub depth: usize,
}

impl Default for Seen {
    fn default() -> Seen {
        let succeeded = [0; CALLS.len()];
        Seen { calls: 0, succeeded, boots: 0, tombstones: 0, loans: 0, depth: 0 }
    }
}

/// Makes the calls that `input` describes, on both, as long as there is input.
///
/// # Panics
/// When ΦCore and the model do not agree.
pub fn run(input: &[u8]) -> Seen {
    let mut bytes = Bytes::new(input);
    let mut pair = started();
    let mut seen = Seen { boots: 1, ..Seen::default() };
    for step in 1..=STEPS {
        if bytes.is_empty() {
            break;
        }
        if pair.has_ended() {
            note(&pair, &mut seen);
            pair = started();
            seen.boots += 1;
        }
        advance(&mut pair, &mut bytes, &mut seen);
        if step % PROBE == 0 && !pair.has_ended() {
            pair.probe();
            seen.depth = seen.depth.max(depth(&pair));
        }
    }
    if !pair.has_ended() {
        pair.probe();
    }
    note(&pair, &mut seen);
    seen
}

/// Both systems with all domains running.
fn started() -> Pair {
    let mut pair = Pair::new();
    for handle in pair.handles(0, &[Kind::Domain]) {
        pair.call(0, &plain(Number::DomainStart, [handle, 0, 0, 0]));
    }
    for thread in pair.threads() {
        pair.call(thread, &plain(Number::ThreadCreate, [0x1000, 0x2000, 0, 0]));
    }
    pair
}

/// The greatest depth of a capability that somebody holds.
fn depth(pair: &Pair) -> usize {
    let all = pair.model.capabilities.iter().enumerate().filter(|(_, held)| held.is_held());
    all.map(|(number, _)| pair.model.depth(number)).max().unwrap_or(0)
}

fn note(pair: &Pair, seen: &mut Seen) {
    let model = &pair.model;
    for held in &model.capabilities {
        seen.tombstones += usize::from(held.life != Life::Held);
    }
    seen.succeeded.iter_mut().zip(pair.succeeded).for_each(|(sum, count)| *sum += count);
    seen.loans += model.domains.iter().map(|domain| domain.usage.loans).sum::<u64>();
}

fn advance(pair: &mut Pair, bytes: &mut Bytes<'_>, seen: &mut Seen) {
    let threads = pair.threads();
    match (bytes.byte(), bytes.choose(&threads)) {
        (0..16, _) => pair.pass_time(u64::from(bytes.byte())),
        (_, None) => pair.pass_time(16 * u64::from(u8::MAX)),
        (16, _) if bytes.once_in(16) => pair.lose(0),
        (17..20, _) => pair.lose(1 + bytes.below(DOMAINS - 1)),
        (_, Some(thread)) => {
            if let Some(call) = (Maker { pair, bytes, thread }).call() {
                pair.call(thread, &call);
                seen.calls += 1;
            }
        }
    }
}

/// Makes up a call.
struct Maker<'p, 'b, 'i> {
    pair: &'p Pair,
    bytes: &'b mut Bytes<'i>,
    thread: usize,
}

impl Maker<'_, '_, '_> {
    fn domain(&self) -> usize {
        self.pair.model.domain_of(self.thread).unwrap_or(0)
    }

    /// A call; `None` for one that would end the whole system too often.
    fn call(&mut self) -> Option<Call> {
        let mut place = self.bytes.byte();
        let chosen = OFTEN.iter().find(|(_, weight)| match place.checked_sub(*weight) {
            Some(left) => {
                place = left;
                false
            }
            None => true,
        });
        let mut number = chosen.map_or(Number::Call, |(number, _)| *number);
        let waiting = !self.pair.handles(self.domain(), &[Kind::Reply]).is_empty();
        if waiting && self.bytes.once_in(3) {
            number = if self.bytes.once_in(2) { Number::Reply } else { Number::ReplyReceive };
        }
        let ends = matches!(number, Number::DomainExit | Number::DomainPanic | Number::ThreadExit);
        if ends && self.domain() == 0 && !self.bytes.once_in(16) {
            return None;
        }
        let words = self.words(number)?;
        let mut message = Message::EMPTY;
        if number.description().message_in {
            message = self.message(number == Number::Call);
        }
        let mut call = Call { number: number as u32, words, message };
        if self.bytes.byte() == 255 && (self.domain() != 0 || self.bytes.once_in(16)) {
            self.spoil(&mut call);
        }
        Some(call)
    }

    /// A handle of one of these kinds; mostly one that stands and has a right.
    fn handle(&mut self, kinds: &[Kind], right: Rights) -> Option<u64> {
        let mut fitting = self.pair.handles(self.domain(), kinds);
        if !self.bytes.once_in(16) {
            let model = &self.pair.model;
            let table = &model.domains[self.domain()].table;
            fitting.retain(|handle| {
                let held = &model.capabilities[table[handle]];
                held.life == Life::Held && held.rights.contains(right)
            });
        }
        if right == Rights::DERIVE && self.bytes.once_in(3) {
            // The longest chain of copies grows, or ends.
            let model = &self.pair.model;
            let table = &model.domains[self.domain()].table;
            return fitting.into_iter().max_by_key(|handle| model.depth(table[handle]));
        }
        // Slots that were used again, and the last, hold what is new.
        let recent = &fitting[fitting.len() - fitting.len().min(2)..];
        let choices = if self.bytes.once_in(3) { recent } else { &fitting };
        self.bytes.choose(choices)
    }

    /// A handle with nothing left behind it but that.
    fn tombstone(&mut self) -> Option<u64> {
        let model = &self.pair.model;
        let table = model.domains[self.domain()].table.iter();
        let ended = table.filter(|(_, held)| model.capabilities[**held].life != Life::Held);
        let ended: Vec<u64> = ended.map(|(handle, _)| *handle).collect();
        self.bytes.choose(&ended)
    }

    /// A handle that something may have been derived from revocably.
    fn source(&mut self) -> Option<u64> {
        let model = &self.pair.model;
        let table = model.domains[self.domain()].table.iter();
        let sources = table.filter(|(_, held)| model.capabilities[**held].charged.is_some());
        let sources: Vec<u64> = sources.map(|(handle, _)| *handle).collect();
        self.bytes.choose(&sources)
    }

    /// Rights that mean something on the kind of `handle`; mostly those that it has, or fewer.
    fn rights(&mut self, handle: u64) -> u64 {
        let table = &self.pair.model.domains[self.domain()].table;
        let Some(held) = table.get(&handle).map(|held| &self.pair.model.capabilities[*held]) else {
            return 0;
        };
        let (rights, kind) = (held.rights, held.kind);
        let chosen = match self.bytes.byte() {
            0..200 => rights,
            200..236 => rights - Rights::from_bits_truncate(1 << self.bytes.below(13)),
            236..250 => rights & Rights::from_bits_truncate(u32::from(self.bytes.byte())),
            _ => kind.rights(),
        };
        u64::from((chosen & kind.rights()).bits())
    }

    fn timeout(&mut self) -> u64 {
        match self.bytes.byte() {
            0..40 => 0,
            // Somebody must go on.
            150.. if self.domain() != 0 && self.pair.threads().len() > 1 => FOREVER,
            _ => 16 * u64::from(self.bytes.byte()),
        }
    }

    fn words(&mut self, number: Number) -> Option<[u64; 4]> {
        let all = &Kind::ALL;
        let none = Rights::empty();
        let addresses = &[Kind::Mailbox, Kind::Object];
        let (kinds, right): (&[Kind], Rights) = match number {
            Number::CapabilityDerive | Number::CapabilityRevoke => (all, Rights::DERIVE),
            Number::CapabilityDrop | Number::CapabilityInspect => (all, none),
            Number::ObjectMint | Number::Receive => (&[Kind::Mailbox], Rights::RECEIVE),
            Number::RegionMap => (&[Kind::Region], Rights::READ),
            Number::RegionUnmap => (&[Kind::Region], none),
            Number::Send => (addresses, Rights::SEND),
            Number::Call => (addresses, Rights::CALL),
            Number::Reply | Number::ReplyReceive => (&[Kind::Reply], none),
            Number::SignalNotify => (&[Kind::Signal], Rights::NOTIFY),
            Number::SignalWait | Number::SignalBind => (&[Kind::Signal], Rights::WAIT),
            Number::ThreadPriority => (&[Kind::Thread], Rights::CONTROL),
            Number::DomainStart => (&[Kind::Domain], Rights::START),
            Number::DomainStop => (&[Kind::Domain], Rights::STOP),
            Number::DomainInspect => (&[Kind::Domain], Rights::INSPECT),
            Number::ConsoleWrite => (&[Kind::Console], Rights::WRITE),
            _ => (&[], none),
        };
        if number == Number::CapabilityDrop && self.bytes.once_in(2) {
            return self.tombstone().map(|handle| [handle, 0, 0, 0]);
        }
        if number == Number::CapabilityRevoke && !self.bytes.once_in(4) {
            return self.source().map(|handle| [handle, 0, 0, 0]);
        }
        let first = if kinds.is_empty() { 0 } else { self.handle(kinds, right)? };
        Some(match number {
            Number::CapabilityDerive => {
                [first, self.rights(first), u64::from(!self.bytes.once_in(4)), 0]
            }
            Number::ObjectMint => {
                let rights = Kind::Object.rights().bits() & !u32::from(self.bytes.byte() & 3);
                [first, u64::from(self.bytes.byte()), u64::from(rights), 0]
            }
            Number::RegionCreate => {
                let length = PAGE * self.bytes.below(6) as u64 + 1;
                [length, u64::from(self.bytes.once_in(4)), 0, 0]
            }
            Number::RegionMap => {
                let both = Rights::READ | Rights::WRITE;
                let rights = if self.bytes.once_in(2) { both } else { Rights::READ };
                [first, u64::from(rights.bits()), 0, 0]
            }
            Number::MailboxCreate => [1 + self.bytes.below(4) as u64, 0, 0, 0],
            Number::Call | Number::Receive => [first, self.timeout(), 0, 0],
            Number::ReplyReceive => {
                let mailbox = self.handle(&[Kind::Mailbox], Rights::RECEIVE)?;
                [first, mailbox, self.timeout(), 0]
            }
            Number::SignalNotify => [first, u64::from(self.bytes.byte() & 7), 0, 0],
            Number::SignalWait => [first, u64::from(self.bytes.byte() | 1), self.timeout(), 0],
            Number::SignalBind => [first, self.handle(&[Kind::Mailbox], Rights::RECEIVE)?, 0, 0],
            Number::ThreadCreate => {
                let priority = self.bytes.below(usize::from(PRIORITY) + 2) as u64;
                [0x1000, 0x2000, 0, priority]
            }
            Number::ThreadPriority => {
                [first, self.bytes.below(usize::from(PRIORITY) + 2) as u64, 0, 0]
            }
            Number::ThreadSleep => [self.timeout(), 0, 0, 0],
            Number::DomainInspect => [first, u64::from(self.bytes.once_in(2)), 0, 0],
            Number::DomainExit => [u64::from(self.bytes.byte()), 0, 0, 0],
            _ => [first, 0, 0, 0],
        })
    }

    fn message(&mut self, loans: bool) -> Message {
        let length = self.bytes.below(9);
        let label = u64::from(self.bytes.byte());
        let data: [u8; 8] = std::array::from_fn(|at| label as u8 ^ at as u8);
        let mut message = Message::new(label, &data[..length]).unwrap_or(Message::EMPTY);
        // What a sender has no say in.
        (message.badge, message.rights, message.reply) = (1, 2, Handle(3));
        for _ in 0..self.bytes.below(2 * MESSAGE_GRANTS).saturating_sub(MESSAGE_GRANTS - 1) {
            let Some(grant) = self.grant(loans, message.grants()) else { break };
            message.push(grant);
        }
        message
    }

    fn grant(&mut self, loans: bool, before: &[Grant]) -> Option<Grant> {
        let loan = loans && self.bytes.once_in(2);
        let handle =
            self.handle(if loan { &[Kind::Region] } else { &Kind::ALL }, Rights::TRANSFER)?;
        let rights = self.rights(handle) as u32;
        if loan {
            let held = self.pair.model.domains[self.domain()].table.get(&handle).copied()?;
            let (address, length) = self.pair.model.size_of(held);
            let offset = if length > PAGE { self.bytes.below(2) as u64 * PAGE } else { 0 };
            let rest = (length - offset).saturating_sub(u64::from(self.bytes.byte()));
            let (address, length) = match self.pair.model.capabilities[held].loan {
                Some(lent) if self.bytes.once_in(2) => (lent.address, lent.length),
                _ if self.bytes.byte() == 255 => (self.bytes.word(), self.bytes.word()),
                _ => (address + offset, rest.max(1)),
            };
            let rights = Rights::from_bits_retain(rights) | Rights::READ;
            return Some(Grant::loan(Handle(handle), rights, address, length));
        }
        if before.iter().any(|other| other.handle.0 == handle) && !self.bytes.once_in(16) {
            return None;
        }
        let mode = if self.bytes.once_in(2) { Mode::Move } else { Mode::Copy };
        let rights = Rights::from_bits_retain(rights);
        Some(match mode {
            Mode::Move => Grant::transfer(Handle(handle), rights),
            _ => Grant::copy(Handle(handle), rights),
        })
    }

    /// Makes a call one that no correct program makes.
    fn spoil(&mut self, call: &mut Call) {
        let handles = self.pair.handles(self.domain(), &Kind::ALL);
        let place = self.bytes.below(4);
        match self.bytes.below(8) {
            0 => call.number = u32::from(self.bytes.byte()),
            1 => call.words[place] = self.bytes.word(),
            2 => call.words[place] ^= 1 << (32 + self.bytes.below(4)),
            3 => call.words[place] = self.bytes.choose(&handles).unwrap_or(0),
            4 => call.message.length = u16::from(self.bytes.byte()),
            5 => call.message.grant_count = u16::from(self.bytes.byte()),
            6 => call.message.grants[place].mode = u32::from(self.bytes.byte() & 7),
            _ => call.message.grants[place].rights ^= 1 << self.bytes.below(32),
        }
    }
}
