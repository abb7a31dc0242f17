//! What fails in a step: the machine refuses, loses, interrupts, or does not run somebody.

use super::Simulation;
use crate::event::Event;
use crate::machine::{Failures, Services};
use phi_abi::{Fault, FaultKind};
use phi_core::{DomainIndex, ThreadIndex};
use phi_random::Random;

/// Steps from one interrupt of a device to the next, on average, while one can come.
const INTERRUPT: u64 = 2;

/// A domain that is not run.
pub(super) struct Stall {
    pub(super) domain: DomainIndex,
    /// The step in which it is run again.
    until: u64,
}

impl<S: Services> Simulation<'_, S> {
    /// Maybe a fault of the machine; whether there was one that takes the step.
    pub(super) fn fault(&mut self, random: &mut Random) -> bool {
        self.end_stalls();
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
        } else if drawn(swarm.stall) {
            self.stall(random);
        } else if drawn(swarm.device) {
            let machine = self.kernel.machine_mut();
            if machine.services.fail(machine.clock, random) {
                self.watch.emit(&Event::DeviceFailed);
            }
            self.reach_too_far(random);
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
            if let Some(thread) = random.choose(&self.watch.dispatched) {
                self.interrupt(thread, random.once_in(2));
            }
            return true;
        } else if swarm.posted && drawn(swarm.idle_doorbell) {
            self.ring_idle(random);
            return true;
        }
        false
    }

    /// Lets a device reach for what is not mapped for it.
    fn reach_too_far(&mut self, random: &mut Random) {
        let board = self.kernel.machine().board.as_ref();
        if let Some(space) = board.and_then(|board| board.fault(random)) {
            self.watch.emit(&Event::DmaFaulted(space));
            self.kernel.dma_fault(space, random.word());
            self.collect(None);
        }
    }

    /// Lets a device interrupt, now and then, if one can.
    pub(super) fn maybe_interrupted(&mut self, random: &mut Random) {
        let Some(board) = self.kernel.machine().board.as_ref() else { return };
        if let Some(irq) = board.interrupt(random).filter(|_| random.once_in(INTERRUPT)) {
            self.watch.emit(&Event::Interrupted(irq));
            self.kernel.interrupt(irq);
            self.collect(None);
        }
    }

    /// Loses a domain, but never `init`: the run would be over.
    fn lose(&mut self, random: &mut Random) {
        let running: Vec<DomainIndex> =
            self.watch.running().into_iter().filter(|domain| domain.0 != 0).collect();
        if let Some(domain) = random.choose(&running) {
            self.watch.emit(&Event::Lost(domain));
            let fault = Fault { kind: FaultKind::Killed, address: 0, instruction: 0 };
            self.kernel.domain_lost(domain, fault);
            self.collect(None);
        }
    }

    /// Takes a dispatched thread back: to the end of its priority's queue, or to the front.
    pub(super) fn interrupt(&mut self, thread: ThreadIndex, end: bool) {
        match end {
            true => self.kernel.preempt(thread),
            false => self.kernel.put_back(thread),
        }
        self.watch.dispatched.retain(|other| *other != thread);
        self.watch.emit(&Event::Preempted(thread));
    }

    /// Lets a domain stand still: `init`, which decides about the others, as often as all others.
    fn stall(&mut self, random: &mut Random) {
        let running = self.watch.running();
        let init = random.once_in(2).then_some(DomainIndex(0));
        let Some(domain) = init.or_else(|| random.choose(&running)) else { return };
        if !self.is_stalled(domain) {
            let most = 1 << random.below(13);
            let until = self.made + 1 + random.below(most);
            self.stalls.push(Stall { domain, until });
            self.watch.emit(&Event::Stalled(domain, true));
        }
    }

    /// Whether the machine does not run `domain`.
    pub(super) fn is_stalled(&self, domain: DomainIndex) -> bool {
        self.stalls.iter().any(|stall| stall.domain == domain)
    }

    /// Ends the stalls that are over.
    fn end_stalls(&mut self) {
        while let Some(place) = self.stalls.iter().position(|stall| stall.until <= self.made) {
            let stall = self.stalls.swap_remove(place);
            self.watch.emit(&Event::Stalled(stall.domain, false));
        }
    }

    /// From now on nothing fails: what was to fail or to stand still does not, and doorbells come.
    pub(super) fn end_faults(&mut self) {
        self.swarm = self.swarm.without_faults();
        let machine = self.kernel.machine_mut();
        machine.failures = Failures::default();
        machine.services.rest();
        self.stalls.iter_mut().for_each(|stall| stall.until = 0);
        self.bells.iter_mut().for_each(|bell| bell.due = 0);
    }
}
