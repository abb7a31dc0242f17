//! What happens in a system that is fed step by step, as the checkers see it.

use crate::checkers::ledger::Ledger;
use crate::checkers::{Checkers, Violation};
use crate::event::{Call, Event, Hash};
use phi_abi::{Number, Outcome};
use phi_core::{DomainIndex, Frame, Kernel, Machine, ThreadIndex};

/// What a frame says as long as its call has not ended. No call of ΦCore's ends so.
pub(crate) const OPEN: Outcome = Outcome { status: u64::MAX, value: 0 };

/// Steps between two looks at what ΦCore counts.
const LOOK: u64 = 64;

/// A call that has not ended.
#[derive(Clone, Copy)]
pub(crate) struct Waiting {
    pub(crate) thread: ThreadIndex,
    pub(crate) number: u32,
    /// The step in which it was made.
    pub(crate) since: u64,
}

/// Makes events of steps, and shows them to the checkers and a watcher.
pub(crate) struct Watch<'a> {
    checkers: Checkers,
    hash: Hash,
    watcher: &'a mut dyn FnMut(&Event),
    pub(crate) dispatched: Vec<ThreadIndex>,
    pub(crate) waiting: Vec<Waiting>,
    steps: u64,
    violation: Option<Violation>,
}

impl<'a> Watch<'a> {
    /// Nothing has happened yet.
    pub(crate) fn new(checkers: Checkers, watcher: &'a mut dyn FnMut(&Event)) -> Watch<'a> {
        Watch {
            checkers,
            hash: Hash::default(),
            watcher,
            dispatched: Vec::new(),
            waiting: Vec::new(),
            steps: 0,
            violation: None,
        }
    }

    /// Steps that are settled.
    pub(crate) fn steps(&self) -> u64 {
        self.steps
    }

    /// Who holds what, as the calls and their answers say.
    pub(crate) fn ledger(&self) -> &Ledger {
        self.checkers.ledger()
    }

    /// The domains that run, in order.
    pub(crate) fn running(&self) -> Vec<DomainIndex> {
        self.checkers.running()
    }

    /// The first violation, if there was one.
    pub(crate) fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// Takes note of what somebody else has found.
    pub(crate) fn complain(&mut self, violation: Option<Violation>) {
        self.violation = self.violation.take().or(violation);
    }

    /// The hash of all that happened.
    pub(crate) fn hash(self) -> [u8; 32] {
        self.hash.finish()
    }

    /// Passes an event to all who look.
    pub(crate) fn emit(&mut self, event: &Event) {
        self.hash.add(event);
        (self.watcher)(event);
        if self.violation.is_none() {
            self.violation = self.checkers.observe(event).err();
        }
    }

    /// A thread is about to make a call: until it ends, its frame must say [`OPEN`].
    pub(crate) fn called(&mut self, thread: ThreadIndex, call: Call) {
        self.emit(&Event::Called(thread, call));
        self.dispatched.retain(|other| *other != thread);
        self.waiting.push(Waiting { thread, number: call.number, since: self.steps });
    }

    /// Passes on what ΦCore asked of the machine, and which calls have ended: after the call `made`,
    /// if it was one that ΦCore was fed with.
    pub(crate) fn collect<M: Machine>(
        &mut self,
        kernel: &Kernel<M>,
        events: &[Event],
        made: Option<(ThreadIndex, u32)>,
    ) {
        for event in events {
            if let Event::Unloaded(domain) = event
                && kernel.keeps_mailboxes(*domain)
            {
                self.emit(&Event::Kept(*domain));
            }
            self.forget(event);
            self.emit(event);
        }
        // Of an answer, the caller is first: what it got was given before the server went on.
        if let Some((thread, number)) = made {
            let answers = [Number::Reply as u32, Number::ReplyReceive as u32].contains(&number);
            self.ended(kernel, |waiting| (waiting == thread) != answers);
        }
        self.ended(kernel, |_| true);
    }

    /// Threads that are gone run no longer, and wait for nothing.
    fn forget(&mut self, event: &Event) {
        let ledger = self.checkers.ledger();
        let gone = |thread: ThreadIndex| match event {
            Event::Unloaded(domain) => ledger.domain_of(thread) == Some(*domain),
            Event::ThreadStopped(stopped) => thread == *stopped,
            _ => false,
        };
        self.dispatched.retain(|thread| !gone(*thread));
        self.waiting.retain(|waiting| !gone(waiting.thread));
    }

    /// Shows which of these calls have ended.
    fn ended<M: Machine>(&mut self, kernel: &Kernel<M>, which: impl Fn(ThreadIndex) -> bool) {
        let mut place = 0;
        while let Some(Waiting { thread, number, .. }) = self.waiting.get(place).copied() {
            let Frame { outcome, message_out, message, .. } = kernel.frame(thread);
            // That a sleep has ended shows only when the thread goes on.
            let open = *outcome == OPEN || number == Number::ThreadSleep as u32;
            if open || !which(thread) {
                place += 1;
                continue;
            }
            self.waiting.remove(place);
            self.emit(&Event::Ended(thread, *outcome, message_out.then_some(*message)));
        }
    }

    /// ΦCore lets a thread go on.
    pub(crate) fn goes_on<M: Machine>(&mut self, kernel: &Kernel<M>, thread: ThreadIndex) {
        if let Some(place) = self.waiting.iter().position(|waiting| waiting.thread == thread) {
            self.waiting.swap_remove(place);
            self.emit(&Event::Ended(thread, kernel.frame(thread).outcome, None));
        }
        self.emit(&Event::Dispatched(thread));
        self.dispatched.push(thread);
    }

    /// Shows the checkers what ΦCore counts.
    pub(crate) fn look<M: Machine>(&mut self, kernel: &Kernel<M>) {
        for domain in self.checkers.running() {
            let statistics = kernel.statistics(domain);
            self.emit(&Event::Usage(domain, statistics.memory, statistics.handles));
        }
    }

    /// A step is over, `now` nanoseconds after the system's start.
    pub(crate) fn settled<M: Machine>(&mut self, kernel: &Kernel<M>, now: u64) {
        if self.steps.is_multiple_of(LOOK) {
            self.look(kernel);
        }
        self.steps += 1;
        self.emit(&Event::Settled(now));
    }
}
