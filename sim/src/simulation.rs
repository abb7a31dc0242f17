//! One system in a run: each step is one choice, everything that follows from it, and a look by the
//! checkers.

use crate::checkers::{Checkers, Violation};
use crate::event::{Call, Event, Hash};
use crate::machine::{Act, Services, SimMachine, Turn};
use crate::random::Random;
use crate::run::{Outcome, REST};
use crate::schedule::Swarm;
use phi_abi::{Fault, FaultKind, Number, Outcome as CallOutcome};
use phi_core::{DomainIndex, Frame, Kernel, ThreadIndex};

/// What a frame says as long as its call has not ended. No call of ΦCore's ends so.
const OPEN: CallOutcome = CallOutcome { status: u64::MAX, value: 0 };

/// Steps between two looks at what ΦCore counts.
const LOOK: u64 = 64;

/// A call that has not ended.
#[derive(Clone, Copy)]
struct Waiting {
    thread: ThreadIndex,
    number: u32,
}

/// A booted system, and what watches it.
pub(crate) struct Simulation<'a, S: Services> {
    kernel: Kernel<SimMachine<S>>,
    checkers: Checkers,
    hash: Hash,
    watcher: &'a mut dyn FnMut(&Event),
    swarm: Swarm,
    dispatched: Vec<ThreadIndex>,
    waiting: Vec<Waiting>,
    /// The machine's events, while they are passed on.
    events: Vec<Event>,
    /// Calls left of the time slice.
    slice: u64,
    made: u64,
    settling: bool,
    violation: Option<Violation>,
}

impl<'a, S: Services> Simulation<'a, S> {
    /// A system that has just booted.
    pub(crate) fn new(
        kernel: Kernel<SimMachine<S>>,
        checkers: Checkers,
        swarm: Swarm,
        watcher: &'a mut dyn FnMut(&Event),
    ) -> Simulation<'a, S> {
        let mut simulation = Simulation {
            kernel,
            checkers,
            hash: Hash::default(),
            watcher,
            swarm,
            dispatched: Vec::new(),
            waiting: Vec::new(),
            events: Vec::new(),
            slice: swarm.slice,
            made: 0,
            settling: false,
            violation: None,
        };
        simulation.collect(None);
        simulation.settled();
        simulation
    }

    /// Whether the system has ended, or something happened that must not.
    pub(crate) fn is_over(&self) -> bool {
        self.violation.is_some() || self.kernel.halted().is_some()
    }

    /// The hash of all that happened, and the system.
    pub(crate) fn finish(mut self) -> ([u8; 32], Kernel<SimMachine<S>>) {
        if let Some(status) = self.kernel.halted() {
            self.hash.add(&Event::Halted(status));
        }
        (self.hash.finish(), self.kernel)
    }

    /// Passes an event to all who look.
    fn emit(&mut self, event: &Event) {
        self.hash.add(event);
        (self.watcher)(event);
        if self.violation.is_none() {
            self.violation = self.checkers.observe(event).err();
        }
    }

    /// One step.
    pub(crate) fn step(&mut self, random: &mut Random) {
        self.made += 1;
        if !self.fault(random) {
            self.go_on(random);
        }
        self.settled();
    }

    fn settled(&mut self) {
        if self.made.is_multiple_of(LOOK) {
            self.look();
        }
        let now = self.kernel.machine().clock;
        self.emit(&Event::Settled(now));
    }

    /// Shows the checkers what ΦCore counts.
    fn look(&mut self) {
        for domain in self.checkers.running() {
            let statistics = self.kernel.statistics(domain);
            self.emit(&Event::Usage(domain, statistics.memory, statistics.handles));
        }
    }

    /// Maybe a fault of the machine; whether there was one that takes the step.
    fn fault(&mut self, random: &mut Random) -> bool {
        let mut place = random.below(1 << 16);
        let mut drawn = |probability: u64| {
            let hit = place < probability;
            place = if hit { u64::MAX } else { place - probability };
            hit
        };
        let swarm = self.swarm;
        let failures = &mut self.kernel.machine_mut().failures;
        if drawn(swarm.load) {
            failures.load = 1;
        } else if drawn(swarm.thread_start) {
            failures.thread_start = 1;
        } else if drawn(swarm.region_create) {
            failures.region_create = 1;
        } else if drawn(swarm.map) {
            failures.map = 1 + random.below(3) as u32;
        } else if drawn(swarm.lost) {
            self.lose(random);
            return true;
        } else if drawn(swarm.jump) {
            let most = 1 << (8 + random.below(20));
            let jump = random.below(most);
            self.kernel.machine_mut().clock += jump;
            self.expire();
            return true;
        } else if drawn(swarm.interrupt) {
            if let Some(thread) = random.choose(&self.dispatched) {
                self.interrupt(thread, random.once_in(2));
            }
            return true;
        }
        false
    }

    /// Loses a domain, but never `init`: the run would be over.
    fn lose(&mut self, random: &mut Random) {
        let running: Vec<DomainIndex> =
            self.checkers.running().into_iter().filter(|domain| domain.0 != 0).collect();
        if let Some(domain) = random.choose(&running) {
            self.emit(&Event::Lost(domain));
            let fault = Fault { kind: FaultKind::Killed, address: 0, instruction: 0 };
            self.kernel.domain_lost(domain, fault);
            self.collect(None);
        }
    }

    /// Takes a dispatched thread back: to the end of its priority's queue, or to the front.
    fn interrupt(&mut self, thread: ThreadIndex, end: bool) {
        match end {
            true => self.kernel.preempt(thread),
            false => self.kernel.put_back(thread),
        }
        self.dispatched.retain(|other| *other != thread);
        self.emit(&Event::Preempted(thread));
    }

    /// Lets threads go on as the run's machine would, and one of them make a call.
    fn go_on(&mut self, random: &mut Random) {
        while self.swarm.concurrent || self.dispatched.is_empty() {
            match self.kernel.dispatch() {
                Some(thread) => self.goes_on(thread),
                None => break,
            }
        }
        match random.choose(&self.dispatched) {
            Some(thread) => self.act(thread, random),
            None => self.idle(),
        }
    }

    /// Nothing is ready: time passes until something is due.
    fn idle(&mut self) {
        if let Some(due) = self.kernel.next_deadline() {
            let clock = &mut self.kernel.machine_mut().clock;
            *clock = due.max(*clock);
            self.expire();
        }
    }

    fn expire(&mut self) {
        self.kernel.expire();
        self.collect(None);
        // On one processor, what has become ready may be more urgent.
        if !self.swarm.concurrent
            && let Some(thread) = self.dispatched.first()
        {
            self.interrupt(*thread, false);
        }
    }

    /// ΦCore lets a thread go on.
    fn goes_on(&mut self, thread: ThreadIndex) {
        // That a sleep has ended shows only now.
        if let Some(place) = self.waiting.iter().position(|waiting| waiting.thread == thread) {
            self.waiting.swap_remove(place);
            self.emit(&Event::Ended(thread, self.kernel.frame(thread).outcome, None));
        }
        self.emit(&Event::Dispatched(thread));
        self.dispatched.push(thread);
    }

    /// Lets a dispatched thread do what it does next.
    fn act(&mut self, thread: ThreadIndex, random: &mut Random) {
        let cost = 1 + random.below(self.swarm.call_time);
        self.kernel.charge(thread, cost);
        let Frame { outcome, message_out, message, .. } = *self.kernel.frame(thread);
        let domain = self.kernel.domain_of(thread);
        let turn = Turn {
            thread,
            domain,
            outcome,
            message: message_out.then_some(&message),
            ledger: self.checkers.ledger(),
            random,
            settling: self.settling,
        };
        let act = self.kernel.machine_mut().services.next(turn);
        match act {
            Act::Call(call) => self.call(thread, call),
            Act::Fault(fault) => {
                self.emit(&Event::Lost(domain));
                self.kernel.fault(thread, fault);
                self.collect(None);
            }
        }
        let machine = self.kernel.machine_mut();
        machine.clock += cost;
        let now = machine.clock;
        if self.kernel.next_deadline().is_some_and(|due| due <= now) {
            self.expire();
        }
    }

    fn call(&mut self, thread: ThreadIndex, call: Call) {
        self.emit(&Event::Called(thread, call));
        let Call { number, arguments, message } = call;
        let frame = Frame { number, arguments, message, outcome: OPEN, message_out: false };
        *self.kernel.frame_mut(thread) = frame;
        self.dispatched.retain(|other| *other != thread);
        self.waiting.push(Waiting { thread, number });
        let next = if self.swarm.short && !self.swarm.concurrent {
            self.kernel.system_call_then_dispatch(thread)
        } else {
            self.kernel.system_call(thread);
            if self.swarm.concurrent { None } else { self.kernel.dispatch() }
        };
        self.collect(Some((thread, number)));
        if let Some(next) = next {
            self.goes_on(next);
            self.slice = self.slice.saturating_sub(1);
            if self.slice == 0 {
                self.slice = self.swarm.slice;
                self.interrupt(next, true);
            }
        }
    }

    /// Passes on what ΦCore asked of the machine, and which calls have ended.
    fn collect(&mut self, actor: Option<(ThreadIndex, u32)>) {
        let mut events = std::mem::take(&mut self.events);
        std::mem::swap(&mut events, &mut self.kernel.machine_mut().events);
        for event in &events {
            match event {
                Event::Unloaded(domain) => {
                    let ledger = self.checkers.ledger();
                    let gone = |thread: ThreadIndex| ledger.domain_of(thread) == Some(*domain);
                    self.dispatched.retain(|thread| !gone(*thread));
                    self.waiting.retain(|waiting| !gone(waiting.thread));
                }
                Event::ThreadStopped(thread) => {
                    self.waiting.retain(|waiting| waiting.thread != *thread);
                }
                _ => {}
            }
            self.emit(event);
        }
        events.clear();
        self.events = events;
        // Of an answer, the caller is first: what it got was given before the server went on.
        let answer =
            |number| number == Number::Reply as u32 || number == Number::ReplyReceive as u32;
        match actor {
            Some((thread, number)) if !answer(number) => {
                self.ended(|waiting| waiting.thread == thread);
            }
            Some((thread, _)) => self.ended(|waiting| waiting.thread != thread),
            None => {}
        }
        self.ended(|_| true);
    }

    /// Shows which of these calls have ended.
    fn ended(&mut self, which: impl Fn(&Waiting) -> bool) {
        let mut place = 0;
        while let Some(waiting) = self.waiting.get(place).copied() {
            let Frame { outcome, message_out, message, .. } = self.kernel.frame(waiting.thread);
            let open = *outcome == OPEN || waiting.number == Number::ThreadSleep as u32;
            if open || !which(&waiting) {
                place += 1;
                continue;
            }
            let event = Event::Ended(waiting.thread, *outcome, message_out.then_some(*message));
            self.waiting.remove(place);
            self.emit(&event);
        }
    }

    /// The run is over where it is: what the checkers say of it.
    pub(crate) fn stop(&mut self) -> Outcome {
        self.look();
        self.violation.take().map_or(Outcome::Ok, Outcome::Safety)
    }

    /// Stops all faults and lets the system come to rest: every call must end.
    pub(crate) fn rest(&mut self, mut random: Random) -> Outcome {
        self.settling = true;
        self.swarm = self.swarm.without_faults();
        self.kernel.machine_mut().failures = crate::machine::Failures::default();
        for _ in 0..REST {
            let calls = |waiting: &Waiting| waiting.number == Number::Call as u32;
            let open = self.waiting.iter().any(calls);
            if self.is_over() || !open {
                break;
            }
            let mut word = Random::new(random.word());
            self.step(&mut word);
        }
        self.look();
        if let Some(violation) = self.violation.take() {
            return Outcome::Safety(violation);
        }
        let call = self.waiting.iter().find(|waiting| waiting.number == Number::Call as u32);
        match call {
            Some(waiting) if self.kernel.halted().is_none() => {
                let thread = waiting.thread.0;
                let domain = self.kernel.domain_of(waiting.thread).0;
                Outcome::Liveness(format!(
                    "the call of thread {thread} of domain {domain} has not ended after {REST} steps"
                ))
            }
            _ => Outcome::Ok,
        }
    }
}
