//! ΦCore, booted, and the operations as calls of its services.

use crate::machine::Idle;
use crate::plan::{HANDLES, HELPERS, SERVICES, plan};
use crate::{Gift, Operation, Outcome, Standing};
use phi_abi::layout::PAGE;
use phi_abi::{
    CapabilityInfo, DERIVE_REVOCABLE, DomainState, Error, FOREVER, Fault, FaultKind, Grant, Handle,
    Kind, Message, Number, Rights,
};
use phi_core::{DomainIndex, Frame, Kernel, ThreadIndex};

/// The status in the frame of a thread whose call has not returned: none that ΦCore gives.
const WAITING: u64 = u64::MAX;

/// The right of a server's own that no minted object has: to ask for it shows whether the object is
/// valid, and changes nothing.
const NEVER: Rights = Rights::from_bits_retain(1 << 31);

/// ΦCore with three services that do what they are told.
pub struct System {
    kernel: Kernel<Idle>,
    /// Threads that wait for the answer to a call.
    callers: Vec<ThreadIndex>,
}

impl System {
    /// Boots, and starts the services with their helping threads.
    ///
    /// # Panics
    /// When ΦCore does not boot.
    pub fn start() -> System {
        let kernel = Kernel::boot(Idle::default(), &plan()).expect("the plan boots");
        let mut system = System { kernel, callers: Vec::new() };
        system.settle();
        for domain in system.kernel.machine().handles[&0].clone() {
            let init = system.first(0);
            system.value(init, Number::DomainStart, &[domain.0]);
        }
        for domain in 1..=SERVICES {
            for _ in 0..HELPERS {
                let first = system.first(domain);
                let thread = system.value(first, Number::ThreadCreate, &[0x1000, 0x2000, 0, 0]);
                system.value(first, Number::CapabilityDrop, &[thread]);
            }
        }
        system
    }

    /// Whether a domain runs.
    pub fn is_running(&self, domain: u16) -> bool {
        self.kernel.info(DomainIndex(domain)).state == DomainState::Running
    }

    /// Slots of a domain in use.
    pub fn used_slots(&self, domain: u16) -> usize {
        self.kernel.statistics(DomainIndex(domain)).handles as usize
    }

    /// What a domain's handle names, as its holder can tell.
    pub fn inspect(&mut self, domain: u16, handle: Handle) -> CapabilityInfo {
        let thread = self.first(domain);
        self.value(thread, Number::CapabilityInspect, &[handle.0]);
        let data = self.kernel.frame(thread).message.data;
        CapabilityInfo::decode(&data).expect("ΦCore names a kind")
    }

    /// Whether a capability stands, told by a call on it that changes nothing. `None` where no such
    /// call tells: of replies, and of mailboxes more than that they do not.
    pub fn standing(
        &mut self,
        domain: u16,
        handle: Handle,
        info: &CapabilityInfo,
    ) -> Option<Standing> {
        let thread = self.first(domain);
        let never = u64::from(NEVER.bits());
        let (number, words) = match info.kind {
            Kind::Mailbox => return (info.length > 0).then_some(Standing::Held),
            Kind::Region => (Number::RegionUnmap, [handle.0, 0, 0]),
            Kind::Signal => (Number::SignalWait, [handle.0, 1, 0]),
            Kind::Object => (Number::CapabilityDerive, [handle.0, never, 0]),
            _ => return None,
        };
        match self.invoke(thread, number, &words, Message::EMPTY) {
            Some(Err(Error::Revoked)) => Some(Standing::Revoked),
            Some(Err(Error::Dead)) => Some(Standing::Dead),
            _ => Some(Standing::Held),
        }
    }

    /// Makes an operation. `None` if it is one that this test leaves out here; then nothing was done.
    pub fn perform(&mut self, operation: &Operation) -> Option<Outcome> {
        match *operation {
            Operation::Create(domain, kind) => {
                let (number, word) = match kind {
                    Kind::Region => (Number::RegionCreate, PAGE),
                    Kind::Mailbox => (Number::MailboxCreate, 1),
                    _ => (Number::SignalCreate, 0),
                };
                Some(self.made(domain, number, &[word]))
            }
            Operation::Derive(domain, handle, rights, revocable) => {
                let flags = if revocable { DERIVE_REVOCABLE } else { 0 };
                let words = [handle.0, u64::from(rights.bits()), flags];
                Some(self.made(domain, Number::CapabilityDerive, &words))
            }
            Operation::Mint(domain, handle, rights) => {
                let words = [handle.0, 7, u64::from(rights.bits())];
                Some(self.made(domain, Number::ObjectMint, &words))
            }
            Operation::Revoke(domain, handle) => {
                Some(self.done(domain, Number::CapabilityRevoke, handle))
            }
            Operation::Drop(domain, handle) => {
                Some(self.done(domain, Number::CapabilityDrop, handle))
            }
            Operation::Transfer(domain, way, gift, receiver, end) => {
                self.transfer(domain, way, gift, receiver, end)
            }
            Operation::Call(domain, way, lent, receiver, end) => {
                self.call(domain, way, lent, receiver, end)
            }
            Operation::Answer(domain, reply, gift) => Some(self.answer(domain, reply, gift)),
            Operation::End(domain) => {
                let fault = Fault { kind: FaultKind::Killed, address: 0, instruction: 0 };
                self.kernel.domain_lost(DomainIndex(domain), fault);
                self.settle();
                let kernel = &self.kernel;
                self.callers.retain(|caller| kernel.domain_of(*caller).0 != domain);
                self.returned();
                Some(Outcome::Done)
            }
        }
    }

    fn first(&self, domain: u16) -> ThreadIndex {
        self.kernel.machine().threads[&domain][0]
    }

    /// Dispatches all that is ready, so that every thread that does not wait can make a call.
    fn settle(&mut self) {
        while self.kernel.dispatch().is_some() {}
    }

    /// Makes a call; `None` while it waits.
    fn invoke(
        &mut self,
        thread: ThreadIndex,
        number: Number,
        words: &[u64],
        message: Message,
    ) -> Option<Result<u64, Error>> {
        let mut frame = Frame { number: number as u32, message, ..Frame::EMPTY };
        frame.arguments[..words.len()].copy_from_slice(words);
        frame.outcome.status = WAITING;
        *self.kernel.frame_mut(thread) = frame;
        let domain = self.kernel.domain_of(thread);
        self.kernel.system_call(thread);
        self.settle();
        let state = self.kernel.info(domain).state;
        assert_eq!(state, DomainState::Running, "{number:?} {words:x?} is a fault");
        self.outcome(thread)
    }

    fn outcome(&self, thread: ThreadIndex) -> Option<Result<u64, Error>> {
        let outcome = self.kernel.frame(thread).outcome;
        (outcome.status != WAITING).then(|| outcome.result())
    }

    /// Makes a call that returns well.
    fn value(&mut self, thread: ThreadIndex, number: Number, words: &[u64]) -> u64 {
        match self.invoke(thread, number, words, Message::EMPTY) {
            Some(Ok(value)) => value,
            other => panic!("{number:?} {words:x?} ends with {other:?}"),
        }
    }

    fn simple(&mut self, domain: u16, number: Number, words: &[u64]) -> Result<u64, Error> {
        let result = self.invoke(self.first(domain), number, words, Message::EMPTY);
        self.returned();
        result.expect("this call does not wait")
    }

    fn made(&mut self, domain: u16, number: Number, words: &[u64]) -> Outcome {
        match self.simple(domain, number, words) {
            Ok(handle) => Outcome::Handles(vec![Handle(handle)]),
            Err(error) => Outcome::Failed(error),
        }
    }

    fn done(&mut self, domain: u16, number: Number, handle: Handle) -> Outcome {
        match self.simple(domain, number, &[handle.0]) {
            Ok(_) => Outcome::Done,
            Err(error) => Outcome::Failed(error),
        }
    }

    /// Whether `receiver` can receive through `end` now, and has room for `slots` capabilities.
    fn receives(&mut self, receiver: u16, end: Handle, slots: usize) -> bool {
        let room = HANDLES as usize - self.used_slots(receiver) >= slots;
        let tried = self.simple(receiver, Number::Receive, &[end.0, 0]);
        room && tried == Err(Error::TimedOut)
    }

    /// Receives what has been sent.
    fn receive(&mut self, receiver: u16, end: Handle) -> Message {
        let thread = self.first(receiver);
        self.value(thread, Number::Receive, &[end.0, FOREVER]);
        self.kernel.frame(thread).message
    }

    fn transfer(
        &mut self,
        domain: u16,
        way: Handle,
        gift: Gift,
        receiver: u16,
        end: Handle,
    ) -> Option<Outcome> {
        if !self.receives(receiver, end, 1) {
            return None;
        }
        let first = self.first(domain);
        let sent = self.invoke(first, Number::Send, &[way.0], message_with(gift.grant()));
        if let Err(error) = sent.expect("a send does not wait") {
            return Some(Outcome::Failed(error));
        }
        let moved_away = !gift.copied && domain == receiver && gift.handle == end;
        assert!(!moved_away, "the receiver's handle is the one that was sent");
        let message = self.receive(receiver, end);
        Some(Outcome::Handles(vec![message.grants[0].handle]))
    }

    fn call(
        &mut self,
        domain: u16,
        way: Handle,
        lent: Option<(Handle, Rights)>,
        receiver: u16,
        end: Handle,
    ) -> Option<Outcome> {
        let slots = 1 + usize::from(lent.is_some());
        // A call whose way can be revoked ends with it, which the model leaves out.
        if self.inspect(domain, way).depth > 0 || !self.receives(receiver, end, slots) {
            return None;
        }
        let helpers = &self.kernel.machine().threads[&domain][1..];
        let helper = *helpers.iter().find(|helper| !self.callers.contains(helper))?;
        let message = match lent {
            None => Message::EMPTY,
            Some((region, rights)) => {
                let address = self.inspect(domain, region).address;
                message_with(Grant::loan(region, rights, address, PAGE))
            }
        };
        match self.invoke(helper, Number::Call, &[way.0, FOREVER], message) {
            Some(Err(error)) => return Some(Outcome::Failed(error)),
            Some(Ok(_)) => panic!("a call returns before its answer"),
            None => self.callers.push(helper),
        }
        let message = self.receive(receiver, end);
        let loan = lent.map(|_| message.grants[0].handle);
        Some(Outcome::Handles(loan.into_iter().chain([message.reply]).collect()))
    }

    fn answer(&mut self, domain: u16, reply: Handle, gift: Option<Gift>) -> Outcome {
        let message = gift.map_or(Message::EMPTY, |gift| message_with(gift.grant()));
        let first = self.first(domain);
        let answered = self.invoke(first, Number::Reply, &[reply.0], message);
        let callers = self.returned();
        match answered.expect("a reply does not wait") {
            Err(error) => Outcome::Failed(error),
            Ok(_) => {
                let [caller] = callers[..] else { panic!("{} calls returned", callers.len()) };
                let grants = &self.kernel.frame(caller).message.grants;
                let arrived = gift.map(|_| grants[0].handle).filter(|handle| !handle.is_null());
                Outcome::Handles(Vec::from_iter(arrived))
            }
        }
    }

    /// The callers whose calls have returned; they wait no more.
    fn returned(&mut self) -> Vec<ThreadIndex> {
        let (waiting, returned) =
            self.callers.iter().partition(|caller| self.outcome(**caller).is_none());
        self.callers = waiting;
        returned
    }
}

impl Gift {
    fn grant(&self) -> Grant {
        if self.copied {
            Grant::copy(self.handle, self.rights)
        } else {
            Grant::transfer(self.handle, self.rights)
        }
    }
}

fn message_with(grant: Grant) -> Message {
    let mut message = Message::EMPTY;
    assert!(message.push(grant), "an empty message has room");
    message
}
