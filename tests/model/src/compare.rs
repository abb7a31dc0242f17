//! ΦCore and the model side by side: every call goes to both, and they must agree.

use crate::machine::Books;
use crate::model::{Call, Delivered, Finish, Life, Model, Payload, Stop, Value};
use crate::plan::{DOMAINS, plan};
use phi_abi::{
    CALLS, CapabilityInfo, DomainInfo, DomainState, DomainStatistics, Error, Fault, FaultKind,
    Kind, Message, Number, Rights, TOPIC_STATE,
};
use phi_core::{DomainIndex, Frame, Kernel, ThreadIndex};
use std::collections::{BTreeMap, BTreeSet};

/// Both systems.
pub struct Pair {
    kernel: Kernel<Books>,
    /// The model.
    pub model: Model,
    /// The model's number of each thread that ΦCore has.
    names: BTreeMap<u16, usize>,
    /// Threads that ΦCore lets run.
    running: BTreeSet<u16>,
    /// Every handle that a domain was ever given.
    given: BTreeSet<(usize, u64)>,
    /// The id of each capability, once it was seen.
    ids: BTreeMap<usize, u64>,
    /// The capability that has an id.
    holders: BTreeMap<u64, usize>,
    /// Whether the next call may take ΦCore's short way; every other one may.
    short: bool,
    /// Calls that have succeeded, by number.
    pub succeeded: [u64; CALLS.len()],
}

impl Default for Pair {
    fn default() -> Pair {
        Pair::new()
    }
}

impl Pair {
    /// Both systems after `init` has started.
    ///
    /// # Panics
    /// When ΦCore does not boot.
    pub fn new() -> Pair {
        let plan = plan();
        let kernel = Kernel::boot(Books::default(), &plan).expect("a plan that boots");
        let mut pair = Pair {
            kernel,
            model: Model::new(&plan),
            names: BTreeMap::new(),
            running: BTreeSet::new(),
            given: BTreeSet::new(),
            ids: BTreeMap::new(),
            holders: BTreeMap::new(),
            short: false,
            succeeded: [0; CALLS.len()],
        };
        pair.bind_start(0);
        pair.settle(None);
        pair
    }

    /// Whether `init` has ended, and the system with it.
    pub fn has_ended(&self) -> bool {
        self.kernel.halted().is_some()
    }

    /// Threads that run, by the model's numbers.
    pub fn threads(&self) -> Vec<usize> {
        (0..self.model.thread_count()).filter(|thread| self.model.is_running(*thread)).collect()
    }

    fn index(&self, thread: usize) -> ThreadIndex {
        let found = self.names.iter().find(|(index, name)| {
            **name == thread && self.kernel.machine().threads.contains_key(index)
        });
        ThreadIndex(*found.expect("a thread that both have").0)
    }

    /// A thread that runs makes a call.
    ///
    /// # Panics
    /// When ΦCore and the model do not agree.
    pub fn call(&mut self, thread: usize, call: &Call) {
        let domain = self.model.domain_of(thread).expect("a thread that runs");
        let index = self.index(thread);
        let running: Vec<bool> = (0..DOMAINS).map(|domain| self.is_running(domain)).collect();
        let Call { number, words, message } = call.clone();
        *self.kernel.frame_mut(index) = Frame { number, arguments: words, message, ..Frame::EMPTY };
        self.running.remove(&index.0);
        self.short = !self.short;
        let next = if self.short {
            self.kernel.system_call_then_dispatch(index)
        } else {
            self.kernel.system_call(index);
            None
        };
        let stops = self.model.make(thread, call);
        if !stops.is_empty() {
            let stop = self.observed(index, domain);
            assert!(
                stop.is_some_and(|stop| stops.contains(&stop)),
                "{} in domain {domain} ended with {stop:?} and {:?}, not with one of {stops:?}",
                describe(call),
                self.kernel.frame(index).outcome.result(),
            );
            self.model.stopped(thread, stop.expect("checked above"));
        }
        if let Some(finish) = self.kernel_region(call, thread) {
            self.place_region(finish);
        }
        for (domain, ran) in running.iter().enumerate() {
            if !ran && self.is_running(domain) {
                self.bind_start(domain);
            }
        }
        self.settle(next);
    }

    /// The domain is lost from outside.
    pub fn lose(&mut self, domain: usize) {
        if !self.is_running(domain) {
            return;
        }
        let (kind, address, instruction) = (FaultKind::Killed, 0, 0);
        let fault = Fault { kind, address, instruction };
        self.kernel.domain_lost(DomainIndex(domain as u16), fault);
        self.model.end_domain(domain, DomainState::Faulted { kind, address, instruction });
        self.settle(None);
    }

    /// Time passes.
    pub fn pass_time(&mut self, nanoseconds: u64) {
        let machine = self.kernel.machine_mut();
        machine.clock = machine.clock.saturating_add(nanoseconds);
        self.kernel.expire();
        self.model.pass_time(nanoseconds);
        self.settle(None);
    }

    fn is_running(&self, domain: usize) -> bool {
        self.kernel.info(DomainIndex(domain as u16)).state == DomainState::Running
    }

    /// How ΦCore refused the call that a thread has made.
    fn observed(&self, thread: ThreadIndex, domain: usize) -> Option<Stop> {
        match self.kernel.info(DomainIndex(domain as u16)).state {
            DomainState::Running => {
                self.kernel.frame(thread).outcome.result().err().map(Stop::Error)
            }
            DomainState::Faulted { kind, address, .. } => Some(Stop::Fault(kind, address)),
            _ => None,
        }
    }

    /// The capability of a region that the call has made.
    fn kernel_region(&self, call: &Call, thread: usize) -> Option<usize> {
        let made = call.number == Number::RegionCreate as u32
            && self.model.is_running(thread)
            && self.kernel.frame(self.index(thread)).outcome.result().is_ok();
        made.then(|| self.model.capabilities.len() - 1)
    }

    /// Tells the model where ΦCore has put a region.
    fn place_region(&mut self, capability: usize) {
        let span = self.kernel.machine_mut().last_region.take();
        let span = span.expect("a region of the machine's for each of the model's");
        let region = &mut self.model.regions[self.model.capabilities[capability].object];
        assert_eq!(span.length, region.length, "the length of a region");
        region.address = span.address;
    }

    /// Binds the capabilities of a domain that has just started.
    fn bind_start(&mut self, domain: usize) {
        let start = self.kernel.machine().loaded[&(domain as u16)].clone();
        let first = self.model.capabilities.len() - start.capabilities().len();
        for (number, named) in start.capabilities().iter().enumerate() {
            let held = &self.model.capabilities[first + number];
            assert_eq!((named.rights, named.kind), (held.rights.bits(), held.kind as u32));
            self.bind(domain, named.handle.0, first + number);
        }
    }

    /// Notes that `handle` names a capability from now on: it was never given out before.
    fn bind(&mut self, domain: usize, handle: u64, capability: usize) {
        assert!(handle != 0, "a null handle for capability {capability}");
        assert!(self.given.insert((domain, handle)), "handle {handle:#x} is given out again");
        self.model.bind(handle, capability);
    }

    /// Lets ΦCore dispatch what is ready, `next` already, and compares everything that can be seen.
    fn settle(&mut self, next: Option<ThreadIndex>) {
        let mut started = std::mem::take(&mut self.kernel.machine_mut().started);
        started.retain(|thread| self.kernel.machine().threads.contains_key(thread));
        for thread in started {
            let bound: BTreeSet<usize> = self.names.values().copied().collect();
            let new = (0..self.model.thread_count())
                .rev()
                .find(|name| self.model.is_running(*name) && !bound.contains(name));
            self.names.insert(thread, new.expect("the model has started a thread, too"));
        }
        let mut next = next.or_else(|| self.kernel.dispatch());
        while let Some(thread) = next {
            assert!(self.kernel.machine().threads.contains_key(&thread.0), "{thread:?} has ended");
            self.running.insert(thread.0);
            self.compare_finish(thread);
            next = self.kernel.dispatch();
        }
        self.running.retain(|thread| self.kernel.machine().threads.contains_key(thread));
        let running: BTreeSet<usize> =
            self.running.iter().map(|thread| self.names[thread]).collect();
        let expected: BTreeSet<usize> = self.threads().into_iter().collect();
        assert_eq!(running, expected, "the threads that run");
        for thread in expected {
            assert_eq!(self.model.take_finish(thread), None, "thread {thread} still waits");
        }
        self.compare_domains();
        assert_eq!(self.kernel.machine().pages, self.model.accessible(), "the accessible pages");
        assert_eq!(self.kernel.machine().transcript, self.model.transcript, "the transcript");
    }

    fn compare_domains(&self) {
        for (number, domain) in self.model.domains.iter().enumerate() {
            let DomainInfo { generation, state, .. } = self.kernel.info(DomainIndex(number as u16));
            assert_eq!((generation, state), (domain.generation, domain.state), "domain {number}");
            self.compare_statistics(number, &self.kernel.statistics(DomainIndex(number as u16)));
            let bound = domain.table.len() as u32;
            assert_eq!(bound, self.model.slots_used(number), "handles that domain {number} knows");
        }
    }

    fn compare_statistics(&self, domain: usize, found: &DomainStatistics) {
        let usage = self.model.domains[domain].usage;
        let handles = u64::from(self.model.slots_used(domain));
        let memory = self.model.memory(domain);
        let seen = [found.messages, found.bytes_copied, found.loans, found.handles, found.memory];
        let expected = [usage.messages, usage.bytes, usage.loans, handles, memory];
        assert_eq!(seen, expected, "messages, bytes, loans, handles, memory of domain {domain}");
    }

    /// Compares how a call ended that returns now, if one does.
    fn compare_finish(&mut self, thread: ThreadIndex) {
        let Frame { number, outcome, message, message_out, .. } = self.kernel.frame(thread).clone();
        let name = self.names[&thread.0];
        let Some(domain) = self.model.domain_of(name) else {
            panic!("{thread:?} goes on, and the model's has ended");
        };
        let Some(Finish { result, payload }) = self.model.take_finish(name) else {
            assert!(self.model.is_running(name), "{thread:?} goes on, and the model's waits");
            return;
        };
        if let Some(count) = self.succeeded.get_mut(number as usize) {
            *count += u64::from(result.is_ok());
        }
        match (outcome.result(), result) {
            (Ok(found), Ok(Value::Number(expected))) => assert_eq!(found, expected, "a value"),
            (Ok(handle), Ok(Value::Handle(capability))) => self.bind(domain, handle, capability),
            (Err(found), Err(expected)) => assert_eq!(found, expected, "an error"),
            (found, expected) => panic!("ΦCore says {found:?}, the model {expected:?}"),
        }
        assert_eq!(message_out, payload != Payload::Nothing, "whether a message comes out");
        match payload {
            Payload::Nothing => {}
            Payload::Message(expected) => self.compare_message(domain, &message, &expected),
            Payload::Capability(capability) => self.compare_info(&message, capability),
            Payload::Domain(other, TOPIC_STATE) => {
                let info = DomainInfo::decode(&message.data).expect("a known state");
                let held = &self.model.domains[other];
                assert_eq!((info.generation, info.state), (held.generation, held.state));
            }
            Payload::Domain(other, _) => {
                self.compare_statistics(other, &DomainStatistics::decode(&message.data));
            }
        }
    }

    fn compare_message(&mut self, domain: usize, found: &Message, expected: &Delivered) {
        let grants = usize::from(found.grant_count);
        let seen = (found.label, found.badge, found.rights, found.bytes(), grants);
        let Delivered { label, badge, rights, bytes, reply, grants } = expected;
        assert_eq!(seen, (*label, *badge, *rights, &bytes[..], grants.len()), "a message");
        match reply {
            Some(reply) => self.bind(domain, found.reply.0, *reply),
            None => assert!(found.reply.is_null(), "a reply that nobody expects"),
        }
        for (found, expected) in found.grants().iter().zip(grants) {
            let rights = match expected.capability {
                Some(capability) => {
                    self.bind(domain, found.handle.0, capability);
                    self.model.capabilities[capability].rights
                }
                None => {
                    assert!(found.handle.is_null(), "a capability that should not arrive");
                    Rights::empty()
                }
            };
            let seen = (found.rights, found.mode, found.address, found.length);
            let expected = (rights.bits(), expected.mode, expected.address, expected.length);
            assert_eq!(seen, expected, "rights, mode, address and length of a grant");
        }
    }

    fn compare_info(&mut self, message: &Message, capability: usize) {
        let info = CapabilityInfo::decode(&message.data).expect("a known kind");
        let held = &self.model.capabilities[capability];
        let depth = if held.is_held() { self.model.depth(capability) as u64 } else { 0 };
        let (address, length) = self.model.size_of(capability);
        let expected = (held.kind, held.rights, address, length, depth);
        let seen = (info.kind, info.rights, info.address, info.length, info.depth);
        assert_eq!(seen, expected, "the description of capability {capability}");
        let id = *self.ids.entry(capability).or_insert(info.id);
        assert_eq!(id, info.id, "the id of capability {capability}");
        let holder = *self.holders.entry(info.id).or_insert(capability);
        assert_eq!(holder, capability, "two capabilities have the id {}", info.id);
    }

    /// Tries every handle of every domain that has a thread to try it with: what is left of a
    /// capability, and what it is.
    pub fn probe(&mut self) {
        for domain in 0..DOMAINS {
            let runs = |thread: &usize| self.model.domain_of(*thread) == Some(domain);
            let Some(thread) = self.threads().into_iter().find(runs) else { continue };
            let handles: Vec<(u64, usize)> =
                self.model.domains[domain].table.iter().map(|(key, held)| (*key, *held)).collect();
            for (handle, capability) in handles {
                self.call(thread, &plain(Number::CapabilityInspect, [handle, 0, 0, 0]));
                let life = self.life(thread, handle);
                assert_eq!(life, self.model.capabilities[capability].life, "handle {handle:#x}");
            }
        }
    }

    /// What is left of a capability, found out by a copy without rights, which is dropped.
    fn life(&mut self, thread: usize, handle: u64) -> Life {
        let index = self.index(thread);
        let mut call = |number, arguments| {
            let frame = Frame { number: number as u32, arguments, ..Frame::EMPTY };
            *self.kernel.frame_mut(index) = frame;
            self.kernel.system_call(index);
            while self.kernel.dispatch().is_some() {}
            self.kernel.frame(index).outcome.result()
        };
        match call(Number::CapabilityDerive, [handle, 0, 0, 0]) {
            Ok(copy) => {
                assert_eq!(call(Number::CapabilityDrop, [copy, 0, 0, 0]), Ok(0));
                let domain = usize::from(self.kernel.domain_of(index).0);
                assert!(self.given.insert((domain, copy)), "handle {copy:#x} is given out again");
                Life::Held
            }
            Err(Error::Denied | Error::QuotaExceeded) => Life::Held,
            Err(Error::Revoked) => Life::Revoked,
            Err(Error::Dead) => Life::Dead,
            Err(other) => panic!("a copy without rights ended with {other}"),
        }
    }

    /// The handles that a thread's domain has, of the kinds given, of which it can be sure that they
    /// still name something.
    pub fn handles(&self, domain: usize, kinds: &[Kind]) -> Vec<u64> {
        let table = self.model.domains[domain].table.iter();
        let fits = |held: usize| kinds.contains(&self.model.capabilities[held].kind);
        table.filter(|(_, held)| fits(**held)).map(|(handle, _)| *handle).collect()
    }
}

/// A call without a message.
pub fn plain(number: Number, words: [u64; 4]) -> Call {
    Call { number: number as u32, words, message: Message::EMPTY }
}

fn describe(call: &Call) -> String {
    let name = Number::from_number(call.number).map_or("?", |number| number.description().name);
    let grants = call.message.grants();
    format!("{name} {:x?} with {} bytes and {grants:x?}", call.words, call.message.length)
}
