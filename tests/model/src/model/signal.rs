//! Signals.

use super::{
    Activity, Answer, Capability, Delivered, Done, Life, Model, Payload, Place, Signal, Stop, Value,
};
use phi_abi::{Error, FaultKind, Kind, Rights};
use std::collections::VecDeque;

impl Signal {
    pub(super) fn new(owner: usize, planned: bool) -> Signal {
        Signal { alive: true, owner, planned, bits: 0, waiters: VecDeque::new(), binding: None }
    }
}

/// What a receive returns that gets bits.
pub(super) fn bits_payload(bits: u64) -> Payload {
    Payload::Message(Delivered { label: bits, ..Delivered::default() })
}

impl Model {
    pub(super) fn take_bits(&mut self, signal: usize, mask: u64) -> u64 {
        let taken = self.signals[signal].bits & mask;
        self.signals[signal].bits &= !mask;
        taken
    }

    pub(super) fn signal_create(&mut self, domain: usize) -> Answer {
        let own = |signal: &&Signal| signal.alive && !signal.planned && signal.owner == domain;
        let used = self.signals.iter().filter(own).count() as u32;
        if used >= self.domains[domain].quota.signals || self.slots_left(domain) == 0 {
            return Err(vec![Stop::Error(Error::QuotaExceeded)]);
        }
        self.signals.push(Signal::new(domain, false));
        let (object, place) = (self.signals.len() - 1, Place::Table(domain));
        let made = Capability::new(Kind::Signal, Kind::Signal.rights(), object, place);
        Ok(Done::Value(Value::Handle(self.add(made))))
    }

    pub(super) fn signal_notify(&mut self, domain: usize, handle: u64, bits: u64) -> Answer {
        let mut stops = Vec::new();
        let found = self.check(domain, handle, &[Kind::Signal], Rights::NOTIFY, &mut stops);
        let Some(capability) = found.filter(|_| stops.is_empty()) else { return Err(stops) };
        self.set_bits(self.capabilities[capability].object, bits);
        Ok(Done::Value(Value::Number(0)))
    }

    pub(super) fn set_bits(&mut self, signal: usize, bits: u64) {
        self.signals[signal].bits |= bits;
        for waiter in self.signals[signal].waiters.clone() {
            let Activity::Waiting(_, mask) = self.threads[waiter].activity else { continue };
            let taken = self.take_bits(signal, mask);
            if taken != 0 {
                self.finish(waiter, Ok(Value::Number(taken)), Payload::Nothing);
            }
        }
        self.offer_bits(signal);
    }

    /// Gives bits to who receives from the mailbox that the signal is bound to.
    fn offer_bits(&mut self, signal: usize) {
        let Some((mailbox, _)) = self.signals[signal].binding else { return };
        let Some(receiver) = self.mailboxes[mailbox].receivers.front().copied() else { return };
        let bits = self.take_bits(signal, u64::MAX);
        if bits != 0 {
            self.finish(receiver, Ok(Value::Number(1)), bits_payload(bits));
        }
    }

    pub(super) fn signal_wait(&mut self, thread: usize, words: [u64; 4]) -> Answer {
        let [handle, mask, timeout, _] = words;
        let domain = self.threads[thread].domain;
        let mut stops = Vec::new();
        if mask == 0 {
            stops.push(Stop::Fault(FaultKind::BadArgument, mask));
        }
        let found = self.check(domain, handle, &[Kind::Signal], Rights::WAIT, &mut stops);
        let Some(capability) = found.filter(|_| stops.is_empty()) else { return Err(stops) };
        let Capability { object: signal, parent, .. } = self.capabilities[capability];
        let taken = self.take_bits(signal, mask);
        if taken != 0 {
            return Ok(Done::Value(Value::Number(taken)));
        }
        if timeout == 0 {
            return Err(vec![Stop::Error(Error::TimedOut)]);
        }
        self.signals[signal].waiters.push_back(thread);
        self.block(thread, Activity::Waiting(signal, mask), parent, timeout);
        Ok(Done::Left)
    }

    pub(super) fn signal_bind(&mut self, domain: usize, signal: u64, mailbox: u64) -> Answer {
        let mut stops = Vec::new();
        let signal = self.check(domain, signal, &[Kind::Signal], Rights::WAIT, &mut stops);
        let mailbox = self.check(domain, mailbox, &[Kind::Mailbox], Rights::RECEIVE, &mut stops);
        let (Some(signal), Some(mailbox)) = (signal, mailbox) else { return Err(stops) };
        let parents = [self.capabilities[signal].parent, self.capabilities[mailbox].parent];
        let (through, to) = (&self.capabilities[signal], &self.capabilities[mailbox]);
        if through.life == Life::Held && to.life == Life::Held {
            let bound = self.signals[through.object].binding.is_some()
                || self.mailboxes[to.object].signal.is_some();
            if bound {
                stops.push(Stop::Error(Error::Busy));
            }
            if !self.is_open(to.object) {
                stops.push(Stop::Error(Error::Dead));
            }
        }
        if !stops.is_empty() {
            return Err(stops);
        }
        let (signal, mailbox) = (through.object, to.object);
        self.signals[signal].binding = Some((mailbox, parents));
        self.mailboxes[mailbox].signal = Some(signal);
        self.offer_bits(signal);
        Ok(Done::Value(Value::Number(0)))
    }

    pub(super) fn unbind(&mut self, signal: usize) {
        if let Some((mailbox, _)) = self.signals[signal].binding.take() {
            self.mailboxes[mailbox].signal = None;
        }
    }

    pub(super) fn end_signal(&mut self, signal: usize) {
        self.signals[signal].alive = false;
        for waiter in self.signals[signal].waiters.clone() {
            self.fail(waiter, Error::Dead);
        }
        self.unbind(signal);
        self.bury_object(&[Kind::Signal], signal);
    }

    /// Ends the signals that a domain made.
    pub(super) fn end_signals_of(&mut self, domain: usize) {
        for signal in 0..self.signals.len() {
            let held = &self.signals[signal];
            if held.alive && !held.planned && held.owner == domain {
                self.end_signal(signal);
            }
        }
    }
}
