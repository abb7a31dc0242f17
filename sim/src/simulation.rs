//! One system in a run: each step is one choice, everything that follows from it, and a look by the
//! checkers.

mod doorbells;
mod faults;
#[cfg(test)]
mod tests;

use crate::checkers::Checkers;
use crate::event::{Call, Event};
use crate::machine::{Act, Services, SimMachine, Turn};
use crate::run::{Outcome, Rest};
use crate::schedule::Swarm;
use crate::watch::{OPEN, Waiting, Watch};
use doorbells::{Bell, Posted};
use faults::Stall;
use phi_abi::Number;
use phi_core::{DomainIndex, Frame, Kernel, ThreadIndex};
use phi_random::Random;

/// Steps in which actors must have come to rest once the faults have stopped.
const REST: u64 = 100_000;

/// Steps in which images must have: they do more between two calls than to come to rest.
const IMAGES_REST: u64 = 1_000_000;

/// A booted system, and what watches it.
pub(crate) struct Simulation<'a, S: Services> {
    kernel: Kernel<SimMachine<S>>,
    watch: Watch<'a>,
    swarm: Swarm,
    posted: Vec<Posted>,
    bells: Vec<Bell>,
    stalls: Vec<Stall>,
    /// The machine's events, while they are passed on.
    events: Vec<Event>,
    /// Calls left of the time slice.
    slice: u64,
    made: u64,
    /// The step in which the faults stopped.
    faultless: u64,
    /// Whether nothing can ever happen any more: nobody runs, and no time is due.
    stuck: bool,
    settling: bool,
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
            watch: Watch::new(checkers, watcher),
            swarm,
            posted: Vec::new(),
            bells: Vec::new(),
            stalls: Vec::new(),
            events: Vec::new(),
            slice: swarm.slice,
            made: 0,
            faultless: 0,
            stuck: false,
            settling: false,
        };
        simulation.collect(None);
        simulation.settled();
        simulation
    }

    /// Whether the system has ended, or something happened that must not.
    pub(crate) fn is_over(&self) -> bool {
        self.watch.violation().is_some() || self.kernel.halted().is_some()
    }

    /// The hash of all that happened, and the system.
    pub(crate) fn finish(mut self) -> ([u8; 32], Kernel<SimMachine<S>>) {
        if let Some(status) = self.kernel.halted() {
            self.watch.emit(&Event::Halted(status));
        }
        (self.watch.hash(), self.kernel)
    }

    /// One step.
    pub(crate) fn step(&mut self, random: &mut Random) {
        self.made += 1;
        self.maybe_interrupted(random);
        if !self.fault(random) {
            self.go_on(random);
        }
        self.settled();
    }

    fn settled(&mut self) {
        self.watch.settled(&self.kernel, self.kernel.machine().clock);
        self.complain();
    }

    /// Takes note of what the services say must not have happened.
    fn complain(&mut self) {
        self.watch.complain(self.kernel.machine_mut().services.violation());
    }

    /// Lets threads go on as the run's machine would, and one of them make a call.
    fn go_on(&mut self, random: &mut Random) {
        while self.swarm.concurrent || self.watch.dispatched.is_empty() {
            match self.kernel.dispatch() {
                Some(thread) => self.watch.goes_on(&self.kernel, thread),
                None => break,
            }
        }
        if !(self.posted.is_empty() && self.bells.is_empty() && self.stalls.is_empty()) {
            return self.go_on_posted(random);
        }
        match random.choose(&self.watch.dispatched) {
            Some(thread) => self.act(thread, random),
            None => self.idle(),
        }
    }

    /// Nothing is ready: time passes until something is due.
    fn idle(&mut self) {
        let due = self.kernel.next_deadline();
        self.stuck = due.is_none();
        if let Some(due) = due {
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
            && let Some(thread) = self.watch.dispatched.first()
        {
            self.interrupt(*thread, false);
        }
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
            ledger: self.watch.ledger(),
            random,
            now: self.kernel.machine().clock,
            settling: self.settling,
        };
        let act = self.kernel.machine_mut().services.next(turn);
        if self.swarm.posted {
            self.collect(None);
            self.post(thread, domain, act, random);
        } else {
            self.serve(thread, domain, act);
        }
        self.time_passes(cost);
    }

    /// ΦCore learns what a thread has done.
    fn serve(&mut self, thread: ThreadIndex, domain: DomainIndex, act: Act) {
        match act {
            Act::Call(call) => self.call(thread, call),
            Act::Fault(fault) => {
                self.watch.emit(&Event::Lost(domain));
                self.kernel.fault(thread, fault);
                self.collect(None);
            }
        }
    }

    fn time_passes(&mut self, cost: u64) {
        let machine = self.kernel.machine_mut();
        machine.clock += cost;
        let now = machine.clock;
        if self.kernel.next_deadline().is_some_and(|due| due <= now) {
            self.expire();
        }
    }

    fn call(&mut self, thread: ThreadIndex, call: Call) {
        self.watch.called(thread, call);
        let Call { number, arguments, message } = call;
        let frame = Frame { number, arguments, message, outcome: OPEN, message_out: false };
        *self.kernel.frame_mut(thread) = frame;
        let next = if self.swarm.short && !self.swarm.concurrent {
            self.kernel.system_call_then_dispatch(thread)
        } else {
            self.kernel.system_call(thread);
            if self.swarm.concurrent { None } else { self.kernel.dispatch() }
        };
        self.collect(Some((thread, number)));
        if let Some(next) = next {
            self.watch.goes_on(&self.kernel, next);
            self.slice_used(next);
        }
    }

    /// A thread has used one more part of its slice.
    fn slice_used(&mut self, thread: ThreadIndex) {
        self.slice = self.slice.saturating_sub(1);
        if self.slice == 0 {
            self.slice = self.swarm.slice;
            self.interrupt(thread, true);
        }
    }

    /// Passes on what ΦCore asked of the machine, and which calls have ended: after the call `made`, if
    /// it was one that ΦCore was fed with.
    fn collect(&mut self, made: Option<(ThreadIndex, u32)>) {
        let mut events = std::mem::take(&mut self.events);
        std::mem::swap(&mut events, &mut self.kernel.machine_mut().events);
        for event in &events {
            if let Event::Unloaded(domain) = event {
                self.posted.retain(|posted| posted.domain != *domain);
            }
        }
        self.watch.collect(&self.kernel, &events, made);
        events.clear();
        self.events = events;
    }

    /// Stops all faults and lets the system go on until what `rest` asks for has happened; counts its
    /// steps in `made`.
    pub(crate) fn rest(&mut self, rest: Rest, mut random: Random, made: &mut u64) -> Outcome {
        self.end_faults();
        self.settling = rest == Rest::Calls;
        self.faultless = self.watch.steps();
        for _ in 0..rest.steps() {
            if self.is_over() || self.stuck || self.has_come_to(rest) {
                break;
            }
            *made += 1;
            let mut word = Random::new(random.word());
            self.step(&mut word);
        }
        self.watch.look(&self.kernel);
        self.kernel.machine_mut().services.finish();
        self.complain();
        if let Some(violation) = self.watch.violation() {
            return Outcome::Safety(violation.clone());
        }
        if self.kernel.halted().is_some() || self.has_come_to(rest) {
            return Outcome::Ok;
        }
        Outcome::Liveness(self.open(rest))
    }

    /// Whether what `rest` asks for has happened.
    fn has_come_to(&self, rest: Rest) -> bool {
        match rest {
            Rest::End => false,
            Rest::Calls | Rest::OldCalls => {
                self.kernel.machine().services.has_rested() && self.awaited(rest).is_none()
            }
        }
    }

    /// A call that must end before the system has come to `rest`.
    fn awaited(&self, rest: Rest) -> Option<&Waiting> {
        self.watch.waiting.iter().find(|waiting| {
            let old = waiting.since < self.faultless;
            waiting.number == Number::Call as u32 && (old || rest == Rest::Calls)
        })
    }

    /// What has not happened.
    fn open(&self, rest: Rest) -> String {
        let within = match self.stuck {
            true => "and nobody runs any more".into(),
            false => format!("{} steps after the last fault", rest.steps()),
        };
        match self.awaited(rest) {
            Some(waiting) => {
                let (thread, domain) = (waiting.thread.0, self.kernel.domain_of(waiting.thread).0);
                format!("a call of thread {thread} of domain {domain} has not ended, {within}")
            }
            None if rest == Rest::End => format!("the system has not ended, {within}"),
            None => format!("not every service got through, {within}"),
        }
    }
}

impl Rest {
    /// Steps in which it must have come.
    const fn steps(self) -> u64 {
        match self {
            Rest::Calls => REST,
            Rest::OldCalls | Rest::End => IMAGES_REST,
        }
    }
}
