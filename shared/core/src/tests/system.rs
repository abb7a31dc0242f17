//! A booted system on the fake machine, and the way tests make calls in it.

use super::invariants::Invariants;
use super::machine::FakeMachine;
use super::plan;
use crate::object::Activity;
use crate::{DomainIndex, Frame, Kernel, ThreadIndex};
use phi_abi::{
    CapabilityInfo, DomainState, Error, FaultKind, Grant, Handle, Message, Number, Rights,
};
use phi_manifest::plan::Plan;

/// How a call ended, as far as it has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    Value(u64),
    Error(Error),
    /// The thread waits.
    Blocked,
    /// There is no such thread any more.
    Gone,
}

pub(crate) struct System {
    pub(crate) kernel: Kernel<FakeMachine>,
    invariants: Invariants,
    /// Whether every ready thread is dispatched after each call, as the Linux machine does.
    pub(crate) eager: bool,
}

impl System {
    /// Boots `init` alone.
    pub(crate) fn boot(plan: &Plan) -> System {
        let kernel = Kernel::boot(FakeMachine::default(), plan).expect("a plan that boots");
        let mut system = System { kernel, invariants: Invariants::new(), eager: true };
        system.settle();
        system
    }

    /// Boots a plan and starts all of its services.
    pub(crate) fn start(plan: &Plan) -> System {
        let mut system = System::boot(plan);
        for service in 1..plan.services.len() as u16 {
            system.start_service(service);
        }
        system
    }

    /// `init` and `count - 1` services, all of them running.
    pub(crate) fn of(count: u16) -> System {
        System::start(&plan::plan(count))
    }

    /// Has `init` start a service; the generation.
    pub(crate) fn start_service(&mut self, service: u16) -> u64 {
        let domain = self.handle(0, &std::format!("domain-{service}"));
        self.value(self.first(0), Number::DomainStart, &[domain])
    }

    /// Has `init` stop a service.
    pub(crate) fn stop_service(&mut self, service: u16) {
        let domain = self.handle(0, &std::format!("domain-{service}"));
        self.value(self.first(0), Number::DomainStop, &[domain]);
    }

    /// Checks every invariant, and dispatches what is ready.
    pub(crate) fn settle(&mut self) {
        self.invariants.check(&mut self.kernel);
        if self.eager {
            while self.kernel.dispatch().is_some() {}
        }
    }

    /// The first thread of a domain.
    pub(crate) fn first(&self, domain: u16) -> ThreadIndex {
        ThreadIndex(self.kernel.domain(u32::from(domain)).threads.start as u16)
    }

    /// The handle that a domain's start block names.
    pub(crate) fn handle(&self, domain: u16, name: &str) -> u64 {
        let space = &self.kernel.machine().spaces[&domain];
        space.start.find(name).expect("a capability with this name").handle.0
    }

    /// Lets `thread` make a call.
    pub(crate) fn enter(
        &mut self,
        thread: ThreadIndex,
        number: u32,
        words: &[u64],
        message: Message,
    ) {
        assert!(self.kernel.is_dispatched(thread), "{thread:?} does not run");
        let mut arguments = [0; 4];
        arguments[..words.len()].copy_from_slice(words);
        let frame = Frame { number, arguments, message, ..Frame::EMPTY };
        *self.kernel.frame_mut(thread) = frame;
        self.kernel.system_call(thread);
        self.settle();
    }

    /// Lets `thread` make a call with a message; how it ended so far.
    pub(crate) fn invoke_with(
        &mut self,
        thread: ThreadIndex,
        number: Number,
        words: &[u64],
        message: Message,
    ) -> End {
        self.enter(thread, number as u32, words, message);
        self.end(thread)
    }

    /// Lets `thread` make a call without a message; how it ended so far.
    pub(crate) fn invoke(&mut self, thread: ThreadIndex, number: Number, words: &[u64]) -> End {
        self.invoke_with(thread, number, words, Message::EMPTY)
    }

    /// The value of a call that succeeds at once.
    pub(crate) fn value(&mut self, thread: ThreadIndex, number: Number, words: &[u64]) -> u64 {
        match self.invoke(thread, number, words) {
            End::Value(value) => value,
            other => panic!("{number:?} {words:x?} ended with {other:?}"),
        }
    }

    /// The error of a call that fails at once.
    pub(crate) fn error(&mut self, thread: ThreadIndex, number: Number, words: &[u64]) -> Error {
        match self.invoke(thread, number, words) {
            End::Error(error) => error,
            other => panic!("{number:?} {words:x?} ended with {other:?}"),
        }
    }

    /// How the last call of `thread` ended, as far as it has.
    pub(crate) fn end(&self, thread: ThreadIndex) -> End {
        match self.kernel.thread(u32::from(thread.0)).activity {
            Activity::Dispatched | Activity::Ready | Activity::Parked => {
                match self.kernel.frame(thread).outcome.result() {
                    Ok(value) => End::Value(value),
                    Err(error) => End::Error(error),
                }
            }
            Activity::Free => End::Gone,
            _ => End::Blocked,
        }
    }

    /// The message that the last call of `thread` wrote.
    pub(crate) fn message(&self, thread: ThreadIndex) -> Message {
        let frame = self.kernel.frame(thread);
        assert!(frame.message_out, "{thread:?} got no message");
        frame.message
    }

    /// Lets `thread` make a call that is a fault of its domain, and checks what the domain's state
    /// says of it.
    pub(crate) fn faults(
        &mut self,
        thread: ThreadIndex,
        number: Number,
        words: &[u64],
        message: Message,
        expected: (FaultKind, u64),
    ) {
        let domain = self.kernel.domain_of(thread);
        assert_eq!(self.invoke_with(thread, number, words, message), End::Gone, "{number:?}");
        assert_eq!(self.fault(domain.0), expected, "{number:?} {words:x?}");
    }

    /// How a domain has faulted.
    pub(crate) fn fault(&self, domain: u16) -> (FaultKind, u64) {
        match self.kernel.info(DomainIndex(domain)).state {
            DomainState::Faulted { kind, address, .. } => (kind, address),
            other => panic!("domain {domain} has not faulted: {other:?}"),
        }
    }

    /// Starts a thread of the same domain and priority: the thread, and the handle.
    pub(crate) fn spawn(&mut self, thread: ThreadIndex) -> (ThreadIndex, u64) {
        let priority = u64::from(self.kernel.thread(u32::from(thread.0)).priority);
        let handle = self.value(thread, Number::ThreadCreate, &[0x1000, 0x2000, 7, priority]);
        (ThreadIndex(self.capability(thread, handle).object as u16), handle)
    }

    /// The capability behind a handle of the domain of `thread`.
    pub(crate) fn capability(&self, thread: ThreadIndex, handle: u64) -> phi_cap::Capability {
        let space = u32::from(self.kernel.domain_of(thread).0);
        let entry = self.kernel.capabilities.find(space, Handle(handle)).expect("a held handle");
        *self.kernel.capabilities.get(entry)
    }

    /// What `capability_inspect` says of a handle.
    pub(crate) fn inspect(&mut self, thread: ThreadIndex, handle: u64) -> CapabilityInfo {
        self.value(thread, Number::CapabilityInspect, &[handle]);
        CapabilityInfo::decode(&self.message(thread).data).expect("a known kind")
    }

    /// A copy with these rights, revocable or not.
    pub(crate) fn derive(
        &mut self,
        thread: ThreadIndex,
        handle: u64,
        rights: Rights,
        revocable: bool,
    ) -> u64 {
        let words = [handle, u64::from(rights.bits()), u64::from(revocable)];
        self.value(thread, Number::CapabilityDerive, &words)
    }

    /// Lets time pass, and what is due happen.
    pub(crate) fn pass_time(&mut self, nanoseconds: u64) {
        self.kernel.machine_mut().clock += nanoseconds;
        self.kernel.expire();
        self.settle();
    }

    /// Has `from` send `grants` to the planned mailbox of the domain of `to`, which receives at once:
    /// the grants as they arrived.
    pub(crate) fn pass(
        &mut self,
        from: ThreadIndex,
        to: ThreadIndex,
        grants: &[Grant],
    ) -> std::vec::Vec<Grant> {
        let server = self.kernel.domain_of(to).0;
        let mailbox = self.handle(self.kernel.domain_of(from).0, &std::format!("to-{server}"));
        let sent = self.invoke_with(from, Number::Send, &[mailbox], carrying(grants));
        assert_eq!(sent, End::Value(0));
        let serve = self.handle(server, "serve");
        assert_eq!(self.invoke(to, Number::Receive, &[serve, 0]), End::Value(0));
        self.message(to).grants().to_vec()
    }
}

/// A message with these bytes.
pub(crate) fn message(label: u64, bytes: &[u8]) -> Message {
    Message::new(label, bytes).expect("a message that fits")
}

/// A message with these capabilities.
pub(crate) fn carrying(grants: &[Grant]) -> Message {
    let mut message = Message::EMPTY;
    for grant in grants {
        assert!(message.push(*grant), "too many grants");
    }
    message
}
