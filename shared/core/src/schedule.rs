//! Who runs next: ready threads, timeouts and budgets.

use crate::object::{Activity, Way};
use crate::{DomainIndex, Kernel, Machine, ThreadIndex};
use phi_abi::{Error, FOREVER, Outcome};
use phi_cap::Origin;

impl<M: Machine> Kernel<M> {
    /// The thread to run next, which is then dispatched; `None` while no thread is ready. The machine
    /// lets it go on with what is in its frame: at its entry at first, afterwards from its call.
    pub fn dispatch(&mut self) -> Option<ThreadIndex> {
        let thread = self.ready.pop(&mut self.links)?;
        let held = &mut self.threads[thread as usize];
        held.activity = Activity::Dispatched;
        if self.last_dispatched != thread {
            self.last_dispatched = thread;
            let domain = usize::from(held.domain);
            self.domains[domain].statistics.switches += 1;
        }
        Some(ThreadIndex(thread as u16))
    }

    /// The slice of a dispatched thread is over: others of its priority are before it now.
    pub fn preempt(&mut self, thread: ThreadIndex) {
        if self.is_dispatched(thread) {
            self.make_ready(u32::from(thread.0));
        }
    }

    /// A dispatched thread was interrupted: it goes on as soon as nothing more urgent is ready.
    pub fn put_back(&mut self, thread: ThreadIndex) {
        if self.is_dispatched(thread) {
            self.make_next(u32::from(thread.0));
        }
    }

    /// The domain of `thread` has used CPU time. When its budget for this period is used up, it
    /// stops until the next: its ready threads at once, dispatched ones as the machine reports them
    /// back (after [`Machine::throttle`]).
    pub fn charge(&mut self, thread: ThreadIndex, nanoseconds: u64) {
        let Some(held) = self.threads.get(usize::from(thread.0)) else { return };
        let domain = u32::from(held.domain);
        let Some(budget) = &mut self.domains[domain as usize].budget else { return };
        let member = self.threads.len() as u32 + domain;
        budget.charge(nanoseconds);
        let (used_up, period) = (budget.is_used_up(), budget.period());
        if !self.deadlines.is_set(member) {
            let end = self.machine.now().saturating_add(period);
            self.deadlines.set(member, end);
        }
        if used_up && !self.domain(domain).throttled {
            self.set_throttled(domain, true);
        }
    }

    /// CPU time in nanoseconds that the domain of `thread` may use in this period; `None` without a
    /// budget.
    pub fn budget_left(&self, thread: ThreadIndex) -> Option<u64> {
        let held = self.threads.get(usize::from(thread.0)).filter(|held| held.budgeted)?;
        self.domains[usize::from(held.domain)].budget.as_ref().map(|budget| budget.left())
    }

    /// Does what is due by now: see [`Kernel::next_deadline`].
    pub fn expire(&mut self) {
        let now = self.machine.now();
        while let Some(member) = self.deadlines.pop_due(now) {
            match member.checked_sub(self.threads.len() as u32) {
                None => {
                    self.set_timed(member, false);
                    self.time_out(member);
                }
                Some(domain) => match domain.checked_sub(self.domains.len() as u32) {
                    None => self.replenish(domain, now),
                    Some(domain) => self.offer_planned(domain),
                },
            }
        }
        self.reap();
    }

    /// Ends the wait of a thread because its time is over.
    fn time_out(&mut self, thread: u32) {
        match self.thread(thread).activity {
            Activity::Sleeping => {
                self.thread_mut(thread).frame.outcome = Outcome::success(0);
                self.make_ready(thread);
            }
            Activity::Served => {
                // Calls that lend have no deadline once they are delivered.
                self.abandon_call(thread, false);
                self.fail(thread, Error::TimedOut);
            }
            _ => self.fail(thread, Error::TimedOut),
        }
    }

    fn replenish(&mut self, domain: u32, now: u64) {
        let member = self.threads.len() as u32 + domain;
        let Some(budget) = &mut self.domains[domain as usize].budget else { return };
        budget.replenish();
        if budget.is_running() {
            self.deadlines.set(member, now.saturating_add(budget.period()));
        }
        if !budget.is_used_up() && self.domain(domain).throttled {
            self.set_throttled(domain, false);
        }
    }

    fn set_throttled(&mut self, domain: u32, throttled: bool) {
        self.domain_mut(domain).throttled = throttled;
        if self.domain(domain).is_running() {
            self.machine.throttle(DomainIndex(domain as u16), throttled);
        }
        if !throttled {
            while let Some(thread) = self.domain(domain).parked.first() {
                self.links.remove(&mut self.domains[domain as usize].parked, thread);
                self.make_ready(thread);
            }
            return;
        }
        for thread in self.domain(domain).threads.clone() {
            if self.thread(thread).activity == Activity::Ready {
                self.unblock(thread);
                self.make_ready(thread);
            }
        }
    }

    /// Has a thread run after the others of its priority. It is in no list.
    pub(crate) fn make_ready(&mut self, thread: u32) {
        let held = &mut self.threads[thread as usize];
        let domain = &mut self.domains[usize::from(held.domain)];
        if domain.throttled {
            held.activity = Activity::Parked;
            self.links.push_back(&mut domain.parked, thread);
        } else {
            held.activity = Activity::Ready;
            self.ready.push_back(&mut self.links, thread, held.priority);
        }
    }

    /// Has a thread run before the others of its priority: the time that is left to the one which
    /// hands over is its. It is in no list.
    pub(crate) fn make_next(&mut self, thread: u32) {
        let held = &mut self.threads[thread as usize];
        let domain = &mut self.domains[usize::from(held.domain)];
        if domain.throttled {
            held.activity = Activity::Parked;
            self.links.push_front(&mut domain.parked, thread);
        } else {
            held.activity = Activity::Ready;
            self.ready.push_front(&mut self.links, thread, held.priority);
        }
    }

    /// Takes a thread out of the list that it is in, and ends its timeout.
    pub(crate) fn unblock(&mut self, thread: u32) {
        let held = &self.threads[thread as usize];
        match held.activity {
            Activity::Ready => self.ready.remove(&mut self.links, thread, held.priority),
            Activity::Parked => {
                let domain = &mut self.domains[usize::from(held.domain)];
                self.links.remove(&mut domain.parked, thread);
            }
            Activity::Calling(mailbox) => {
                self.links.remove(&mut self.mailboxes[mailbox as usize].queue, thread);
            }
            Activity::Receiving(mailbox) => {
                self.links.remove(&mut self.mailboxes[mailbox as usize].receivers, thread);
            }
            Activity::Waiting(signal, _) => {
                self.links.remove(&mut self.signals[signal as usize].waiters, thread);
            }
            Activity::Free | Activity::Dispatched | Activity::Served | Activity::Sleeping => {}
        }
        self.cancel_timeout(thread);
    }

    /// Ends the wait of a blocked thread with an error.
    pub(crate) fn fail(&mut self, thread: u32, error: Error) {
        self.unblock(thread);
        let frame = &mut self.thread_mut(thread).frame;
        frame.outcome = Outcome::failure(error);
        frame.message_out = false;
        self.make_ready(thread);
    }

    /// Has a wait end in `timeout` nanoseconds.
    pub(crate) fn set_timeout(&mut self, thread: u32, timeout: u64) {
        let end = self.machine.now().saturating_add(timeout);
        if end != FOREVER {
            self.deadlines.set(thread, end);
            self.set_timed(thread, true);
        }
    }

    /// The wait of a thread has no end of its own any more.
    pub(crate) fn cancel_timeout(&mut self, thread: u32) {
        if self.thread(thread).timed {
            self.set_timed(thread, false);
            self.deadlines.cancel(thread);
        }
    }

    fn set_timed(&mut self, thread: u32, timed: bool) {
        let held = self.thread_mut(thread);
        held.timed = timed;
        held.update();
    }

    /// A thread calls, receives or waits through a capability from `origin`.
    pub(crate) fn set_origin(&mut self, thread: u32, origin: Origin) {
        let held = &mut self.threads[thread as usize];
        held.origin = origin;
        (held.calls, held.receives) = (Way::NONE, Way::NONE);
    }
}
