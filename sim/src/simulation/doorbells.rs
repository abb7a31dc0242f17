//! Calls as on Linux: a thread posts its call in its own page, and its domain's doorbell tells ΦCore,
//! some time later. A doorbell may come late, or not at all, or for nothing.

use super::Simulation;
use crate::checkers::{Property, Violation};
use crate::event::Event;
use crate::machine::{Act, Services};
use phi_core::{DomainIndex, ThreadIndex};
use phi_random::Random;

/// What a thread has posted, and ΦCore does not know of.
pub(super) struct Posted {
    pub(super) thread: ThreadIndex,
    pub(super) domain: DomainIndex,
    act: Act,
}

/// A doorbell that is on its way to ΦCore.
pub(super) struct Bell {
    domain: DomainIndex,
    /// The step in which it may arrive.
    pub(super) due: u64,
}

/// What happens in a step.
enum Choice {
    /// A thread goes on.
    Thread(ThreadIndex),
    /// A doorbell arrives.
    Bell(usize),
    /// Time passes: somebody is on the way, or computes.
    Pass,
    /// The machine looks whether a doorbell was lost.
    Search,
    /// Nothing is to be done.
    Idle,
}

impl<S: Services> Simulation<'_, S> {
    /// A thread posts what it does, and rings.
    pub(super) fn post(
        &mut self,
        thread: ThreadIndex,
        domain: DomainIndex,
        act: Act,
        random: &mut Random,
    ) {
        self.watch.dispatched.retain(|other| *other != thread);
        self.posted.push(Posted { thread, domain, act });
        self.watch.emit(&Event::Posted(thread));
        let place = random.below(1 << 16);
        let Some(place) = place.checked_sub(self.swarm.lost_doorbell) else { return };
        let delay = if place < self.swarm.late_doorbell {
            let most = 1 << random.below(10);
            1 + random.below(most)
        } else {
            0
        };
        self.bells.push(Bell { domain, due: self.made + delay });
    }

    /// One step where something is posted, or somebody stands still.
    pub(super) fn go_on_posted(&mut self, random: &mut Random) {
        match self.choose(random) {
            Choice::Thread(thread) => self.act(thread, random),
            Choice::Bell(place) => self.ring(place, random),
            Choice::Pass => self.pass(random),
            Choice::Search => {
                let due = self.made;
                for posted in &self.posted {
                    let domain = posted.domain;
                    if !self.bells.iter().any(|bell| bell.domain == domain) {
                        self.bells.push(Bell { domain, due });
                    }
                }
            }
            Choice::Idle => self.idle(),
        }
    }

    fn choose(&self, random: &mut Random) -> Choice {
        let runs = |thread: &&ThreadIndex| !self.is_stalled(self.kernel.domain_of(**thread));
        let threads: Vec<ThreadIndex> =
            self.watch.dispatched.iter().filter(runs).copied().collect();
        let arrives = |place: &usize| self.bells[*place].due <= self.made;
        let bells: Vec<usize> = (0..self.bells.len()).filter(arrives).collect();
        let place = random.below((threads.len() + bells.len()) as u64) as usize;
        if let Some(thread) = threads.get(place) {
            Choice::Thread(*thread)
        } else if let Some(bell) =
            place.checked_sub(threads.len()).and_then(|place| bells.get(place))
        {
            Choice::Bell(*bell)
        } else if !self.bells.is_empty() || !self.watch.dispatched.is_empty() {
            Choice::Pass
        } else if !self.posted.is_empty() {
            Choice::Search
        } else {
            Choice::Idle
        }
    }

    /// Nobody does anything that ΦCore sees.
    fn pass(&mut self, random: &mut Random) {
        let cost = 1 + random.below(self.swarm.call_time);
        // Who stands still in the middle of what it does uses up its slice.
        if !self.swarm.concurrent
            && let Some(thread) = self.watch.dispatched.first().copied()
        {
            self.kernel.charge(thread, cost);
            self.collect(None);
            self.slice_used(thread);
        }
        self.time_passes(cost);
    }

    /// A doorbell arrives: ΦCore serves one of the calls that its domain has posted. It goes on ringing
    /// while there is another.
    fn ring(&mut self, place: usize, random: &mut Random) {
        let domain = self.bells[place].domain;
        let own: Vec<usize> =
            (0..self.posted.len()).filter(|place| self.posted[*place].domain == domain).collect();
        if own.len() < 2 {
            self.bells.swap_remove(place);
        }
        self.watch.emit(&Event::Rung(domain));
        if let Some(place) = random.choose(&own) {
            let Posted { thread, domain, act } = self.posted.swap_remove(place);
            self.serve(thread, domain, act);
        }
    }

    /// ΦCore is told of a thread that has posted nothing: nothing may happen.
    pub(super) fn ring_idle(&mut self, random: &mut Random) {
        let place = random.below(self.watch.waiting.len() as u64) as usize;
        let Some(thread) = self.watch.waiting.get(place).map(|waiting| waiting.thread) else {
            return;
        };
        let domain = self.kernel.domain_of(thread);
        self.watch.emit(&Event::Rung(domain));
        let calls = self.kernel.statistics(domain).calls;
        self.kernel.system_call(thread);
        let served = self.kernel.statistics(domain).calls != calls;
        if served || !self.kernel.machine().events.is_empty() {
            let what = format!("a doorbell of {thread:?}, which has posted nothing, had an effect");
            self.watch.complain(Some(Violation { property: Property::Delivery, what }));
        }
        self.collect(None);
    }
}
