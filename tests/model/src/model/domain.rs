//! Domains and threads: how they start and end.

use super::{Activity, Answer, Capability, Done, Life, Model, Payload, Place, Stop, Value};
use phi_abi::{
    DomainState, Error, FaultKind, Kind, PRIORITIES, Rights, TOPIC_STATE, TOPIC_STATISTICS,
};
use phi_manifest::plan::Target;

/// First address that is no service's.
const USER_END: u64 = 1 << 47;

impl Model {
    /// Starts a domain with the capabilities of its plan. Their numbers are consecutive.
    pub(super) fn start(&mut self, domain: usize) {
        for planned in self.domains[domain].plan.capabilities.clone() {
            let (kind, object, badge) = match planned.target {
                Target::Mailbox(mailbox) => (Kind::Mailbox, usize::from(mailbox), planned.badge),
                Target::Domain(other) => (Kind::Domain, usize::from(other), 0),
                Target::Input(input) => (Kind::Region, usize::from(input), 0),
                Target::Plan => (Kind::Region, self.plan_region(), 0),
                Target::Events => (Kind::Signal, domain, 0),
                Target::Console(stream) => (Kind::Console, 0, stream),
                // No plan of the model's has them.
                Target::State | Target::HandOver | Target::Hardware => continue,
            };
            let rights = Rights::from_bits_retain(planned.rights) & kind.rights();
            let made = Capability::new(kind, rights, object, Place::Table(domain));
            self.add(Capability { badge, ..made });
        }
        let held = &mut self.domains[domain];
        held.state = DomainState::Running;
        held.generation += 1;
        self.open_mailboxes_of(domain);
        self.spawn(domain);
    }

    fn plan_region(&self) -> usize {
        let planned = |region: &&super::Region| region.owner.is_none();
        self.regions.iter().filter(planned).count() - 1
    }

    /// Ends a domain: its threads, what it holds, and what it made.
    pub fn end_domain(&mut self, domain: usize, state: DomainState) {
        self.domains[domain].state = state;
        for thread in 0..self.threads.len() {
            if self.threads[thread].domain == domain {
                self.end_thread(thread);
            }
        }
        for capability in 0..self.capabilities.len() {
            if self.capabilities[capability].place == Place::Table(domain) {
                self.release(capability);
            }
        }
        self.end_regions_of(domain);
        self.end_mailboxes_of(domain);
        self.end_signals_of(domain);
        if domain != 0 {
            let supervisor = usize::from(self.domains[domain].plan.supervisor);
            self.set_bits(supervisor, 1 << (domain % 64));
        }
        self.collect();
    }

    fn end_thread(&mut self, thread: usize) {
        match self.threads[thread].activity {
            Activity::Gone => return,
            // Lent pages stay until the answer.
            Activity::Served(reply) => self.bury(reply, Life::Dead),
            _ => {}
        }
        self.unqueue(thread);
        self.threads[thread].activity = Activity::Gone;
        self.threads[thread].finish = None;
        self.bury_object(&[Kind::Thread], thread);
    }

    fn domain_for(&self, caller: usize, handle: u64, right: Rights) -> Result<usize, Vec<Stop>> {
        let mut stops = Vec::new();
        let found = self.check(caller, handle, &[Kind::Domain], right, &mut stops);
        let found = found.filter(|_| stops.is_empty());
        found.map(|found| self.capabilities[found].object).ok_or(stops)
    }

    pub(super) fn domain_start(&mut self, caller: usize, handle: u64) -> Answer {
        let domain = self.domain_for(caller, handle, Rights::START)?;
        if self.domains[domain].state == DomainState::Running {
            return Err(vec![Stop::Error(Error::Busy)]);
        }
        self.start(domain);
        let generation = u64::from(self.domains[domain].generation);
        Ok(Done::Value(Value::Number(generation)))
    }

    pub(super) fn domain_stop(&mut self, caller: usize, handle: u64) -> Answer {
        let domain = self.domain_for(caller, handle, Rights::STOP)?;
        if self.domains[domain].state != DomainState::Running {
            return Err(vec![Stop::Error(Error::Busy)]);
        }
        self.end_domain(domain, DomainState::Stopped);
        Ok(if domain == caller { Done::Left } else { Done::Value(Value::Number(0)) })
    }

    pub(super) fn domain_inspect(&mut self, caller: usize, handle: u64, topic: u64) -> Answer {
        let mut stops = Vec::new();
        if topic != TOPIC_STATE && topic != TOPIC_STATISTICS {
            stops.push(Stop::Fault(FaultKind::BadArgument, topic));
        }
        let found = self.check(caller, handle, &[Kind::Domain], Rights::INSPECT, &mut stops);
        let Some(found) = found.filter(|_| stops.is_empty()) else { return Err(stops) };
        Ok(Done::Payload(0, Payload::Domain(self.capabilities[found].object, topic)))
    }

    pub(super) fn domain_exit(&mut self, domain: usize, status: u64) -> Answer {
        let Ok(status) = u8::try_from(status) else {
            return Err(vec![Stop::Fault(FaultKind::BadArgument, status)]);
        };
        self.end_domain(domain, DomainState::Exited(status));
        Ok(Done::Left)
    }

    fn priority_stops(&self, domain: usize, priority: u64, stops: &mut Vec<Stop>) {
        if priority >= u64::from(PRIORITIES) {
            stops.push(Stop::Fault(FaultKind::BadArgument, priority));
        } else if priority > u64::from(self.domains[domain].plan.priority) {
            stops.push(Stop::Error(Error::Denied));
        }
    }

    pub(super) fn thread_create(&mut self, domain: usize, words: [u64; 4]) -> Answer {
        let [entry, stack, _, priority] = words;
        let mut stops = Vec::new();
        if entry >= USER_END {
            stops.push(Stop::Fault(FaultKind::BadArgument, entry));
        }
        if stack > USER_END || !stack.is_multiple_of(16) {
            stops.push(Stop::Fault(FaultKind::BadArgument, stack));
        }
        self.priority_stops(domain, priority, &mut stops);
        let own = |thread: usize| self.domain_of(thread) == Some(domain);
        let used = (0..self.threads.len()).filter(|thread| own(*thread)).count() as u32;
        if used >= self.domains[domain].quota.threads || self.slots_left(domain) == 0 {
            stops.push(Stop::Error(Error::QuotaExceeded));
        }
        if !stops.is_empty() {
            return Err(stops);
        }
        let object = self.spawn(domain);
        let place = Place::Table(domain);
        let made = Capability::new(Kind::Thread, Kind::Thread.rights(), object, place);
        Ok(Done::Value(Value::Handle(self.add(made))))
    }

    pub(super) fn thread_priority(&mut self, domain: usize, handle: u64, priority: u64) -> Answer {
        let mut stops = Vec::new();
        let found = self.check(domain, handle, &[Kind::Thread], Rights::CONTROL, &mut stops);
        let Some(found) = found else { return Err(stops) };
        let target = self.threads[self.capabilities[found].object].domain;
        self.priority_stops(target, priority, &mut stops);
        if stops.is_empty() { Ok(Done::Value(Value::Number(0))) } else { Err(stops) }
    }

    pub(super) fn thread_sleep(&mut self, thread: usize, nanoseconds: u64) -> Answer {
        if nanoseconds == 0 {
            return Ok(Done::Value(Value::Number(0)));
        }
        self.block(thread, Activity::Sleeping, None, nanoseconds);
        Ok(Done::Left)
    }

    pub(super) fn thread_exit(&mut self, thread: usize) -> Answer {
        let domain = self.threads[thread].domain;
        let own = |other: usize| other != thread && self.domain_of(other) == Some(domain);
        if (0..self.threads.len()).any(own) {
            self.end_thread(thread);
        } else {
            self.end_domain(domain, DomainState::Exited(0));
        }
        Ok(Done::Left)
    }
}
