//! What the cases are written in: orders to puppets, and expectations.

use crate::expect::{Step, equal, four, holds, is_fault, outcome, own};
use crate::invoke;
use crate::order::{Order, Places, WORDS, Words, decode, encode};
use crate::stunt::Stunt;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::fmt::Debug;
use phi_abi::{
    CapabilityInfo, DomainInfo, DomainState, DomainStatistics, Error, FaultKind, Grant, Handle,
    Kind, Message, Mode, Number, Rights, TOPIC_STATE, TOPIC_STATISTICS,
};

/// Nanoseconds that anything may take before the case counts as hung.
pub const LIMIT: u64 = 10_000_000_000;

/// Nanoseconds between two looks at something that is to change.
const PAUSE: u64 = 50_000;

/// The puppets, as the manifest names them.
pub const ROLES: [&str; 4] = ["subject", "partner", "witness", "glutton"];

/// One thread of a puppet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Actor {
    role: usize,
    /// Where its orders go; null for the first thread.
    orders: Handle,
}

/// Most cases play with this one.
pub const SUBJECT: Actor = Actor { role: 0, orders: Handle::NULL };
/// The other side.
pub const PARTNER: Actor = Actor { role: 1, orders: Handle::NULL };
/// A third side.
pub const WITNESS: Actor = Actor { role: 2, orders: Handle::NULL };
/// Has the highest priority, and a budget.
pub const GLUTTON: Actor = Actor { role: 3, orders: Handle::NULL };

/// A capability of the conductor to a puppet.
#[derive(Clone, Copy, Debug)]
pub struct Puppet {
    /// Its domain.
    pub domain: Handle,
    /// The mailbox that its orders go to.
    pub orders: Handle,
}

/// One case being played.
pub struct Play<'a> {
    puppets: &'a [Puppet; ROLES.len()],
    /// Signal that is set when a puppet ends.
    events: Handle,
    /// Which puppets were started for this case.
    started: [Cell<bool>; ROLES.len()],
    /// What the conductor holds for this case.
    held: RefCell<Vec<Handle>>,
}

/// Why an order was not followed.
enum Hitch {
    /// The puppet ended.
    Ended,
    /// Something that no case expects.
    Other(String),
}

impl<'a> Play<'a> {
    /// A case about to be played.
    pub fn new(puppets: &'a [Puppet; ROLES.len()], events: Handle) -> Play<'a> {
        Play { puppets, events, started: Default::default(), held: RefCell::default() }
    }

    /// Ends the case: nothing of it is left.
    pub fn end(self) -> Step {
        for (role, started) in self.started.iter().enumerate() {
            if started.get() {
                self.stop(Actor { role, orders: Handle::NULL })?;
            }
        }
        for handle in self.held.borrow().iter() {
            own(Number::CapabilityDrop, &[handle.0])?;
        }
        Ok(())
    }

    /// The conductor's capability to a puppet's domain.
    pub fn domain(&self, actor: Actor) -> Handle {
        self.puppets[actor.role].domain
    }

    /// The conductor's capability to the mailbox of a puppet's orders.
    pub fn orders(&self, actor: Actor) -> Handle {
        match actor.orders.is_null() {
            true => self.puppets[actor.role].orders,
            false => actor.orders,
        }
    }

    /// Starts a puppet, unless it runs.
    pub fn start(&self, actor: Actor) -> Step {
        self.started[actor.role].set(true);
        match self.state(actor)?.state {
            DomainState::Running => Ok(()),
            _ => own(Number::DomainStart, &[self.domain(actor).0]).map(drop),
        }
    }

    /// Stops a puppet, unless it has ended.
    pub fn stop(&self, actor: Actor) -> Step {
        match invoke(Number::DomainStop, four(&[self.domain(actor).0]), core::ptr::null_mut()) {
            Ok(_) | Err(Error::Busy) => Ok(()),
            Err(error) => Err(format!("{} cannot be stopped: {error}", ROLES[actor.role])),
        }
    }

    /// A puppet's state.
    pub fn state(&self, actor: Actor) -> Step<DomainInfo> {
        let bytes = self.inspect(actor, TOPIC_STATE)?;
        DomainInfo::decode(&bytes).ok_or_else(|| String::from("a state that cannot be read"))
    }

    /// A puppet's statistics.
    pub fn statistics(&self, actor: Actor) -> Step<DomainStatistics> {
        Ok(DomainStatistics::decode(&self.inspect(actor, TOPIC_STATISTICS)?))
    }

    fn inspect(&self, actor: Actor, topic: u64) -> Step<[u8; 64]> {
        let mut message = Message::EMPTY;
        let words = four(&[self.domain(actor).0, topic]);
        invoke(Number::DomainInspect, words, &mut message)
            .map_err(|error| format!("inspection of {}: {error}", ROLES[actor.role]))?;
        Ok(message.data)
    }

    /// Waits until something holds.
    pub fn until(&self, what: &str, mut condition: impl FnMut() -> Step<bool>) -> Step {
        let end = phi_rt::now() + LIMIT;
        while !condition()? {
            if phi_rt::now() > end {
                return Err(format!("waited too long until {what}"));
            }
            phi_rt::sleep(PAUSE);
        }
        Ok(())
    }

    /// Waits until a puppet has ended; its last state.
    pub fn ended(&self, actor: Actor) -> Step<DomainState> {
        let mut state = DomainState::Running;
        let what = format!("{} has ended", ROLES[actor.role]);
        self.until(&what, || {
            state = self.state(actor)?.state;
            Ok(state != DomainState::Running)
        })?;
        Ok(state)
    }

    /// Takes the bits of the signal that tells of ended puppets.
    pub fn take_events(&self) -> Result<u64, Error> {
        let words = [self.events.0, u64::MAX, 0, 0];
        invoke(Number::SignalWait, words, core::ptr::null_mut())
    }

    fn try_order(&self, actor: Actor, order: Order, words: Words) -> Result<Message, Hitch> {
        let mut message = Message { data: encode(words), length: 64, ..Message::EMPTY };
        message.label = order as u64;
        self.try_message(actor, message)
    }

    fn try_message(&self, actor: Actor, mut message: Message) -> Result<Message, Hitch> {
        if actor.orders.is_null() {
            self.start(actor).map_err(Hitch::Other)?;
        }
        let words = [self.orders(actor).0, LIMIT, 0, 0];
        match invoke(Number::Call, words, &mut message) {
            Ok(_) => Ok(message),
            Err(Error::Dead) => Err(Hitch::Ended),
            Err(error) => {
                Err(Hitch::Other(format!("{} does not answer: {error}", ROLES[actor.role])))
            }
        }
    }

    fn surprise(&self, actor: Actor, hitch: Hitch) -> String {
        match hitch {
            Hitch::Ended => format!("{} ended: {:x?}", ROLES[actor.role], self.ended(actor)),
            Hitch::Other(text) => text,
        }
    }

    fn order(&self, actor: Actor, order: Order, words: &[u64]) -> Step<Words> {
        let mut all = [0; WORDS];
        all.iter_mut().zip(words).for_each(|(place, word)| *place = *word);
        let answer =
            self.try_order(actor, order, all).map_err(|hitch| self.surprise(actor, hitch))?;
        Ok(decode(&answer.data))
    }

    /// Gives an order that a puppet does not survive, and expects a fault of this kind at `address`,
    /// by an instruction of the puppet's text (or of no known place, for faults in a call).
    fn fatal(&self, actor: Actor, order: Order, words: &[u64]) -> Step<DomainState> {
        // Before it faults: where its text is.
        let places = self.places(actor)?;
        let mut all = [0; WORDS];
        all.iter_mut().zip(words).for_each(|(place, word)| *place = *word);
        match self.try_order(actor, order, all) {
            Ok(message) => {
                let [status, value, ..] = decode(&message.data);
                Err(format!("expected a fault, got {:?}", outcome(status, value)))
            }
            Err(Hitch::Other(text)) => Err(text),
            Err(Hitch::Ended) => {
                let state = self.ended(actor)?;
                if let DomainState::Faulted { kind, instruction, address } = state {
                    let within = match kind {
                        FaultKind::Execute => instruction == address,
                        // The runtime ends with a call, and calls have no place.
                        FaultKind::Panic => instruction == 0,
                        _ => (places.text..places.text_end).contains(&instruction),
                    };
                    let in_call = matches!(order, Order::Call | Order::CallAt);
                    let known = within || (instruction == 0 && in_call);
                    holds(&format!("instruction {instruction:#x} is text ({state:x?})"), known)?;
                }
                Ok(state)
            }
        }
    }

    /// Has a puppet make a call.
    pub fn ask(&self, actor: Actor, number: Number, words: &[u64]) -> Step<Result<u64, Error>> {
        let [first, second, third, fourth] = four(words);
        let words = [number as u64, first, second, third, fourth];
        let [status, value, ..] = self.order(actor, Order::Call, &words)?;
        Ok(outcome(status, value))
    }

    /// Has a puppet make a call that succeeds; its value.
    pub fn value(&self, actor: Actor, number: Number, words: &[u64]) -> Step<u64> {
        let name = number.description().name;
        self.ask(actor, number, words)?.map_err(|error| {
            format!("{name} of {}: expected success, got {error:?}", ROLES[actor.role])
        })
    }

    /// Has a puppet make a call that ends in this error.
    pub fn refused(&self, actor: Actor, number: Number, words: &[u64], error: Error) -> Step {
        let got = self.ask(actor, number, words)?;
        equal(number.description().name, got, Err(error))
    }

    /// Has a puppet make a call that ends it with this fault.
    pub fn faults(
        &self,
        actor: Actor,
        number: Number,
        words: &[u64],
        kind: FaultKind,
        address: u64,
    ) -> Step {
        let [first, second, third, fourth] = four(words);
        let words = [number as u64, first, second, third, fourth];
        let state = self.fatal(actor, Order::Call, &words)?;
        is_fault(number.description().name, state, kind, address)
    }

    /// Has a puppet make a call with its message at an address that is none for it: a fault that
    /// names the address.
    pub fn faults_at(&self, actor: Actor, number: Number, words: &[u64], message: u64) -> Step {
        let [first, second, third, fourth] = four(words);
        let words = [number as u64, first, second, third, fourth, message];
        let state = self.fatal(actor, Order::CallAt, &words)?;
        is_fault(number.description().name, state, FaultKind::BadArgument, message)
    }

    /// As `ask`, for a call with its message at an address of its own.
    pub fn ask_at(
        &self,
        actor: Actor,
        number: Number,
        words: &[u64],
        message: u64,
    ) -> Step<Result<u64, Error>> {
        let [first, second, third, fourth] = four(words);
        let words = [number as u64, first, second, third, fourth, message];
        let [status, value, ..] = self.order(actor, Order::CallAt, &words)?;
        Ok(outcome(status, value))
    }

    /// Has a puppet make a call that it may be blocked in, and waits until it is.
    pub fn begin(&self, actor: Actor, number: Number, words: &[u64]) -> Step {
        self.begin_at(actor, number, words, 0)
    }

    /// As `begin`, for a call with its message at an address of its own; 0 is the draft's.
    pub fn begin_at(&self, actor: Actor, number: Number, words: &[u64], message: u64) -> Step {
        // The answer to this order, then the call itself. Asked first to be sure that it is idle.
        self.places(actor)?;
        let expected = self.statistics(actor)?.calls + 2;
        let [first, second, third, fourth] = four(words);
        let words = [number as u64, first, second, third, fourth, message];
        self.order(actor, Order::Begin, &words)?;
        self.until("the call has begun", || Ok(self.statistics(actor)?.calls >= expected))
    }

    /// Has a puppet make a call that it does not return from.
    pub fn begin_last(&self, actor: Actor, number: Number, words: &[u64]) -> Step {
        let [first, second, third, fourth] = four(words);
        let words = [number as u64, first, second, third, fourth];
        self.order(actor, Order::Begin, &words).map(drop)
    }

    /// Waits until the call that was begun has ended; how it ended.
    pub fn finish(&self, actor: Actor) -> Step<Result<u64, Error>> {
        let [status, value, ..] = self.order(actor, Order::Outcome, &[])?;
        Ok(outcome(status, value))
    }

    /// Expects that the call that was begun ends like this.
    pub fn finishes(&self, actor: Actor, expected: Result<u64, Error>) -> Step {
        equal("end of the call", self.finish(actor)?, expected)
    }

    /// Makes `message` a puppet's draft: what its next call takes.
    pub fn draft(&self, actor: Actor, message: &Message) -> Step {
        let Message { label, badge, rights, length, grant_count, .. } = *message;
        let (length_word, count) = (u64::from(length), u64::from(grant_count));
        self.draft_head(actor, &[label, length_word, count, badge, u64::from(rights)])?;
        if length > 0 {
            self.order(actor, Order::Bytes, &decode(&message.data))?;
        }
        for (index, grant) in message.grants().iter().enumerate() {
            let Grant { handle, rights, mode, address, length } = *grant;
            let (rights, mode) = (u64::from(rights), u64::from(mode));
            let words = [index as u64, handle.0, rights, mode, address, length];
            self.order(actor, Order::Grant, &words)?;
        }
        Ok(())
    }

    /// Makes these words the head of a puppet's draft, right or wrong: label, length, number of
    /// grants, badge, rights.
    pub fn draft_head(&self, actor: Actor, words: &[u64; 5]) -> Step {
        self.order(actor, Order::Head, words).map(drop)
    }

    /// Makes an empty message with `label` a puppet's draft.
    pub fn draft_label(&self, actor: Actor, label: u64) -> Step {
        self.draft(actor, &Message { label, ..Message::EMPTY })
    }

    /// Makes a message with these grants a puppet's draft.
    pub fn draft_grants(&self, actor: Actor, grants: &[Grant]) -> Step {
        let mut message = Message { label: 9, ..Message::EMPTY };
        for grant in grants {
            message.push(*grant);
        }
        self.draft(actor, &message)
    }

    /// A puppet's draft, as its last call left it.
    pub fn letter(&self, actor: Actor) -> Step<Message> {
        let [label, badge, reply, rights, length, count, ..] =
            self.order(actor, Order::ShowHead, &[])?;
        let mut message = Message { label, badge, reply: Handle(reply), ..Message::EMPTY };
        message.rights = rights as u32;
        message.length = length as u16;
        message.grant_count = count as u16;
        if length > 0 {
            message.data = encode(self.order(actor, Order::ShowBytes, &[])?);
        }
        for index in 0..count as usize {
            let [handle, rights, mode, address, length, ..] =
                self.order(actor, Order::ShowGrant, &[index as u64])?;
            let grant = Grant::loan(Handle(handle), rights_of(rights), address, length);
            message.grants[index] = Grant { mode: mode as u32, ..grant };
        }
        Ok(message)
    }

    /// Has a puppet receive a message that is there, or on its way; what came.
    pub fn receive(&self, actor: Actor, mailbox: u64) -> Step<Message> {
        self.draft_label(actor, 0)?;
        let value = self.value(actor, Number::Receive, &[mailbox, LIMIT / 2])?;
        equal("value of a receive", value, 0)?;
        self.letter(actor)
    }

    /// Has a puppet answer with a label.
    pub fn reply(&self, actor: Actor, reply: Handle, label: u64) -> Step {
        self.draft_label(actor, label)?;
        self.value(actor, Number::Reply, &[reply.0]).map(drop)
    }

    /// Passes a capability from one puppet on to another; the new handle.
    pub fn pass(&self, from: Actor, grant: Grant, to: Actor) -> Step<u64> {
        // On its way through the conductor it needs the right to be passed on once more.
        let rights = rights_of(grant.rights.into());
        let grant = Grant { rights: (rights | Rights::TRANSFER).bits(), ..grant };
        let handle = self.fetch(from, grant)?;
        self.hand(handle, rights, to)
    }

    /// Takes a capability from a puppet; the conductor's handle, to be given on by `hand`.
    pub fn fetch(&self, from: Actor, grant: Grant) -> Step<Handle> {
        let words = [grant.handle.0, u64::from(grant.rights), u64::from(grant.mode)];
        let mut all = [0; WORDS];
        all[..3].copy_from_slice(&words);
        let answer =
            self.try_order(from, Order::Give, all).map_err(|hitch| self.surprise(from, hitch))?;
        let [status, ..] = decode(&answer.data);
        outcome(status, 0)
            .map_err(|error| format!("{} cannot pass on: {error:?}", ROLES[from.role]))?;
        equal("capabilities given", answer.grant_count, 1)?;
        let handle = answer.grants[0].handle;
        self.held.borrow_mut().push(handle);
        Ok(handle)
    }

    /// Gives a capability that was fetched to a puppet, with these rights; the new handle.
    fn hand(&self, handle: Handle, rights: Rights, to: Actor) -> Step<u64> {
        let mut message = Message { label: Order::Take as u64, ..Message::EMPTY };
        message.push(Grant { mode: Mode::Move as u32, ..Grant::copy(handle, rights) });
        let answer = self.try_message(to, message).map_err(|hitch| self.surprise(to, hitch))?;
        self.held.borrow_mut().retain(|one| *one != handle);
        Ok(decode(&answer.data)[0])
    }

    /// Passes a copy with `rights` on.
    pub fn copy(&self, from: Actor, handle: u64, rights: Rights, to: Actor) -> Step<u64> {
        self.pass(from, Grant::copy(Handle(handle), rights), to)
    }

    /// Derives a capability that can be revoked, and moves it to another puppet.
    pub fn lend_out(&self, from: Actor, handle: u64, rights: Rights, to: Actor) -> Step<u64> {
        let copy = self.derive_revocable(from, handle, rights | Rights::TRANSFER)?;
        let grant = Grant::copy(Handle(copy), rights);
        self.pass(from, Grant { mode: Mode::Move as u32, ..grant }, to)
    }

    /// Derives a copy.
    pub fn derive(&self, actor: Actor, handle: u64, rights: Rights) -> Step<u64> {
        self.value(actor, Number::CapabilityDerive, &[handle, rights.bits().into(), 0])
    }

    /// Derives a copy that can be revoked.
    pub fn derive_revocable(&self, actor: Actor, handle: u64, rights: Rights) -> Step<u64> {
        let words = [handle, rights.bits().into(), phi_abi::DERIVE_REVOCABLE];
        self.value(actor, Number::CapabilityDerive, &words)
    }

    /// What a puppet's capability is.
    pub fn capability(&self, actor: Actor, handle: u64) -> Step<CapabilityInfo> {
        self.value(actor, Number::CapabilityInspect, &[handle])?;
        let bytes = encode(self.order(actor, Order::ShowBytes, &[])?);
        CapabilityInfo::decode(&bytes).ok_or_else(|| String::from("a description without a kind"))
    }

    /// The handle of a puppet's capability with this name.
    pub fn named(&self, actor: Actor, name: &str) -> Step<u64> {
        let [_, handle, ..] = self.named_words(actor, name)?;
        Ok(handle)
    }

    /// What a puppet's start block says of this name: status, handle, rights, kind, address, length.
    pub fn named_words(&self, actor: Actor, name: &str) -> Step<Words> {
        let Some(mut message) = Message::new(Order::Named as u64, name.as_bytes()) else {
            return Err(String::from("too long a name"));
        };
        message.label = Order::Named as u64;
        let answer =
            self.try_message(actor, message).map_err(|hitch| self.surprise(actor, hitch))?;
        let words = decode(&answer.data);
        equal("status of a name", words[0], 0)?;
        Ok(words)
    }

    /// Where things are in a puppet.
    pub fn places(&self, actor: Actor) -> Step<Places> {
        self.order(actor, Order::Places, &[]).map(Places::from_words)
    }

    /// Has a puppet read a word.
    pub fn read(&self, actor: Actor, address: u64) -> Step<u64> {
        Ok(self.order(actor, Order::Read, &[address])?[0])
    }

    /// Has a puppet write a word.
    pub fn write(&self, actor: Actor, address: u64, word: u64) -> Step {
        self.order(actor, Order::Write, &[address, word]).map(drop)
    }

    /// Has a puppet read a word that it cannot read.
    pub fn read_faults(&self, actor: Actor, address: u64) -> Step {
        let state = self.fatal(actor, Order::Read, &[address])?;
        is_fault("read", state, FaultKind::Read, address)
    }

    /// Has a puppet write a word that it cannot write.
    pub fn write_faults(&self, actor: Actor, address: u64) -> Step {
        let state = self.fatal(actor, Order::Write, &[address, 1])?;
        is_fault("write", state, FaultKind::Write, address)
    }

    /// Has a puppet read (or write) a word, and expects it to end; its last state.
    pub fn touch_ends(&self, actor: Actor, write: bool, address: u64) -> Step<DomainState> {
        let order = if write { Order::Write } else { Order::Read };
        self.fatal(actor, order, &[address, 1])
    }

    /// Has a puppet perform a stunt that it survives.
    pub fn stunt(&self, actor: Actor, stunt: Stunt, words: &[u64]) -> Step<Words> {
        let [first, second, third, _] = four(words);
        self.order(actor, Order::Stunt, &[stunt as u64, first, second, third])
    }

    /// Has a puppet perform a stunt that ends it; its last state.
    pub fn last_stunt(&self, actor: Actor, stunt: Stunt, words: &[u64]) -> Step<DomainState> {
        let [first, second, third, _] = four(words);
        self.fatal(actor, Order::Stunt, &[stunt as u64, first, second, third])
    }

    /// Has a puppet begin a stunt that has no end.
    pub fn endless_stunt(&self, actor: Actor, stunt: Stunt, words: &[u64]) -> Step {
        self.start(actor)?;
        let [first, second, third, _] = four(words);
        let data = encode([stunt as u64, first, second, third, 0, 0, 0, 0]);
        let label = Order::Stunt as u64;
        let mut message = Message { label, length: 64, data, ..Message::EMPTY };
        let send = [self.orders(actor).0, 0, 0, 0];
        invoke(Number::Send, send, &mut message)
            .map(drop)
            .map_err(|error| format!("order to {}: {error}", ROLES[actor.role]))
    }

    /// Starts a further thread of a puppet, which follows orders like the first.
    pub fn thread(&self, actor: Actor) -> Step<Actor> {
        self.thread_with_handle(actor).map(|(actor, _)| actor)
    }

    /// Has a further thread end, and waits until it has.
    pub fn exit(&self, actor: Actor) -> Step {
        // It answers, and ends.
        let expected = self.statistics(actor)?.calls + 2;
        self.begin_last(actor, Number::ThreadExit, &[])?;
        self.until("the thread has ended", || Ok(self.statistics(actor)?.calls >= expected))
    }

    /// As `thread`, with the first thread's handle of the new one.
    pub fn thread_with_handle(&self, actor: Actor) -> Step<(Actor, u64)> {
        const STACK: u64 = 0x8000;
        let places = self.places(actor)?;
        let region = self.value(actor, Number::RegionCreate, &[STACK])?;
        let both = Rights::READ | Rights::WRITE;
        let words = [region, both.bits().into()];
        let stack = self.value(actor, Number::RegionMap, &words)? + STACK;
        let mailbox = self.value(actor, Number::MailboxCreate, &[1])?;
        let rights = Rights::CALL | Rights::SEND | Rights::TRANSFER;
        let orders = self.fetch(actor, Grant::copy(Handle(mailbox), rights))?;
        let priority = places.generation_priority & 0xFFFF_FFFF;
        let words = [places.thread, stack, mailbox, priority];
        let handle = self.value(actor, Number::ThreadCreate, &words)?;
        let created = Actor { role: actor.role, orders };
        // From now on it makes no call but by order, so that calls can be counted.
        self.places(created)?;
        Ok((created, handle))
    }
}

/// The rights in a word.
pub fn rights_of(word: u64) -> Rights {
    Rights::from_bits_retain(word as u32)
}

/// All rights of a kind.
pub fn all(kind: Kind) -> Rights {
    kind.rights()
}
