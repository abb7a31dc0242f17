//! Mailboxes: messages, calls and answers.

use super::{
    Activity, Answer, Arrived, Call, Capability, Delivered, Done, Life, Mailbox, MailboxLife,
    Model, Payload, Place, Queued, Stop, Stored, Value, signal,
};
use phi_abi::{Error, FaultKind, Kind, MESSAGE_BYTES, MESSAGE_GRANTS, Message, Rights};
use std::collections::VecDeque;

/// Sent messages that a mailbox stores, at most.
const CAPACITY: u64 = 65_536;

impl Mailbox {
    pub(super) fn new(owner: usize, planned: bool, capacity: u32) -> Mailbox {
        Mailbox {
            life: MailboxLife::Open,
            owner,
            planned,
            capacity,
            queue: VecDeque::new(),
            receivers: VecDeque::new(),
            signal: None,
        }
    }

    pub(super) fn forget_call(&mut self, thread: usize) {
        self.queue.retain(|queued| !matches!(queued, Queued::Call(other) if *other == thread));
    }

    fn stored(&self) -> usize {
        self.queue.iter().filter(|queued| matches!(queued, Queued::Stored(_))).count()
    }
}

/// What is wrong with the size of a message.
pub(super) fn size_stops(message: &Message) -> Vec<Stop> {
    let mut stops = Vec::new();
    if usize::from(message.length) > MESSAGE_BYTES {
        stops.push(Stop::Fault(FaultKind::BadArgument, u64::from(message.length)));
    }
    if usize::from(message.grant_count) > MESSAGE_GRANTS {
        stops.push(Stop::Fault(FaultKind::BadArgument, u64::from(message.grant_count)));
    }
    stops
}

impl Model {
    pub(super) fn is_open(&self, mailbox: usize) -> bool {
        self.mailboxes[mailbox].life == MailboxLife::Open
    }

    pub(super) fn mailbox_create(&mut self, domain: usize, capacity: u64) -> Answer {
        if !(1..=CAPACITY).contains(&capacity) {
            return Err(vec![Stop::Fault(FaultKind::BadArgument, capacity)]);
        }
        let quota = self.domains[domain].quota;
        let own = self.mailboxes.iter().filter(|held| {
            !held.planned && held.owner == domain && held.life != MailboxLife::Ended
        });
        let (count, stored) = own
            .fold((0, 0), |(count, stored), held| (count + 1, stored + u64::from(held.capacity)));
        if count >= quota.mailboxes
            || stored + capacity > u64::from(quota.messages)
            || self.slots_left(domain) == 0
        {
            return Err(vec![Stop::Error(Error::QuotaExceeded)]);
        }
        self.mailboxes.push(Mailbox::new(domain, false, capacity as u32));
        let (object, place) = (self.mailboxes.len() - 1, Place::Table(domain));
        let made = Capability::new(Kind::Mailbox, Kind::Mailbox.rights(), object, place);
        Ok(Done::Value(Value::Handle(self.add(made))))
    }

    /// The capability that a message goes through; what is wrong with it and with the message.
    fn address(
        &self,
        domain: usize,
        call: &Call,
        needed: Rights,
        loans: bool,
    ) -> Result<usize, Vec<Stop>> {
        let mut stops = size_stops(&call.message);
        let kinds = [Kind::Mailbox, Kind::Object];
        let found = self.check(domain, call.words[0], &kinds, needed, &mut stops);
        if let Some(held) = found.map(|found| &self.capabilities[found])
            && held.life == Life::Held
            && !self.is_open(held.object)
        {
            stops.push(Stop::Error(Error::Dead));
        }
        stops.extend(self.grant_stops(domain, &call.message, loans, None));
        found.filter(|_| stops.is_empty()).ok_or(stops)
    }

    fn count_message(&mut self, domain: usize, message: &Message) {
        self.domains[domain].usage.messages += 1;
        self.domains[domain].usage.bytes += u64::from(message.length);
    }

    pub(super) fn send(&mut self, thread: usize, call: &Call) -> Answer {
        let domain = self.threads[thread].domain;
        let through = self.address(domain, call, Rights::SEND, false)?;
        let Capability { object: mailbox, badge, rights, .. } = self.capabilities[through];
        let grants = call.message.grants();
        match self.receiver_with_room(mailbox, grants.len() as u32) {
            Some(receiver) => {
                let to = self.threads[receiver].domain;
                let mut none = Vec::new();
                let grants = grants.iter().map(|grant| self.pass(domain, grant, to, &mut none));
                let grants = grants.collect();
                self.deliver(receiver, &call.message, badge, rights, None, grants);
            }
            None if self.mailboxes[mailbox].stored()
                >= self.mailboxes[mailbox].capacity as usize =>
            {
                return Err(vec![Stop::Error(Error::Full)]);
            }
            None => {
                let mut carried = Vec::new();
                for grant in grants {
                    let found = self.domains[domain].table.get(&grant.handle.0).copied();
                    carried.push(found.map(|found| self.take(found, grant, Place::Message)));
                }
                let message = call.message;
                let stored = Stored { message, badge, rights, carried };
                self.mailboxes[mailbox].queue.push_back(Queued::Stored(Box::new(stored)));
            }
        }
        self.count_message(domain, &call.message);
        Ok(Done::Value(Value::Number(0)))
    }

    pub(super) fn call(&mut self, thread: usize, call: &Call) -> Answer {
        let domain = self.threads[thread].domain;
        let through = self.address(domain, call, Rights::CALL, true)?;
        let Capability { object: mailbox, badge, rights, parent, .. } = self.capabilities[through];
        self.count_message(domain, &call.message);
        let held = &mut self.threads[thread];
        (held.message, held.badge, held.rights) = (call.message, badge, rights);
        self.block(thread, Activity::Calling(mailbox), parent, call.words[1]);
        let slots = call.message.grants().len() as u32 + 1;
        match self.receiver_with_room(mailbox, slots) {
            Some(receiver) => self.deliver_call(thread, receiver),
            None => self.mailboxes[mailbox].queue.push_back(Queued::Call(thread)),
        }
        Ok(Done::Left)
    }

    /// The first receiver with room for so many capabilities; those before it learn that they have none.
    fn receiver_with_room(&mut self, mailbox: usize, slots: u32) -> Option<usize> {
        while let Some(receiver) = self.mailboxes[mailbox].receivers.front().copied() {
            if self.slots_left(self.threads[receiver].domain) >= slots {
                return Some(receiver);
            }
            self.fail(receiver, Error::QuotaExceeded);
        }
        None
    }

    fn deliver(
        &mut self,
        receiver: usize,
        message: &Message,
        badge: u64,
        rights: Rights,
        reply: Option<usize>,
        grants: Vec<Arrived>,
    ) {
        let (label, rights) = (message.label, rights.bits());
        let bytes = message.bytes().to_vec();
        let delivered = Delivered { label, badge, rights, bytes, reply, grants };
        self.finish(receiver, Ok(Value::Number(0)), Payload::Message(delivered));
    }

    /// Gives the call of a thread, which is in no queue, to a receiver with room for it.
    fn deliver_call(&mut self, caller: usize, receiver: usize) {
        let (from, to) = (self.threads[caller].domain, self.threads[receiver].domain);
        let (message, badge, rights) = {
            let held = &self.threads[caller];
            (held.message, held.badge, held.rights)
        };
        let mut loans = Vec::new();
        let grants = message.grants().iter().map(|grant| self.pass(from, grant, to, &mut loans));
        let grants = grants.collect();
        if !loans.is_empty() {
            self.threads[caller].deadline = None;
        }
        let made = Capability::new(Kind::Reply, Kind::Reply.rights(), caller, Place::Table(to));
        let reply = self.add(Capability { loans, ..made });
        self.threads[caller].activity = Activity::Served(reply);
        self.deliver(receiver, &message, badge, rights, Some(reply), grants);
    }

    pub(super) fn receive(&mut self, thread: usize, handle: u64, timeout: u64) -> Answer {
        let domain = self.threads[thread].domain;
        let mut stops = Vec::new();
        let found = self.check(domain, handle, &[Kind::Mailbox], Rights::RECEIVE, &mut stops);
        let Some(found) = found else { return Err(stops) };
        let Capability { object: mailbox, parent, life, .. } = self.capabilities[found];
        if life == Life::Held && !self.is_open(mailbox) {
            stops.push(Stop::Error(Error::Dead));
        }
        if !stops.is_empty() {
            return Err(stops);
        }
        if let Some(signal) = self.mailboxes[mailbox].signal {
            let bits = self.take_bits(signal, u64::MAX);
            if bits != 0 {
                return Ok(Done::Payload(1, signal::bits_payload(bits)));
            }
        }
        if let Some(first) = self.mailboxes[mailbox].queue.front().cloned() {
            return self.receive_queued(thread, mailbox, first);
        }
        if timeout == 0 {
            return Err(vec![Stop::Error(Error::TimedOut)]);
        }
        self.mailboxes[mailbox].receivers.push_back(thread);
        self.block(thread, Activity::Receiving(mailbox), parent, timeout);
        Ok(Done::Left)
    }

    fn receive_queued(&mut self, receiver: usize, mailbox: usize, first: Queued) -> Answer {
        let domain = self.threads[receiver].domain;
        let slots = match &first {
            Queued::Call(caller) => self.threads[*caller].message.grants().len() + 1,
            Queued::Stored(stored) => stored.carried.len(),
        };
        if (self.slots_left(domain) as usize) < slots {
            return Err(vec![Stop::Error(Error::QuotaExceeded)]);
        }
        self.mailboxes[mailbox].queue.pop_front();
        match first {
            Queued::Call(caller) => self.deliver_call(caller, receiver),
            Queued::Stored(stored) => {
                let Stored { message, badge, rights, carried } = *stored;
                let mut grants = Vec::new();
                for (grant, carried) in message.grants().iter().zip(carried) {
                    let stands = |found: &usize| self.capabilities[*found].life == Life::Held;
                    let arrives = carried.filter(stands);
                    match (arrives, carried) {
                        (Some(found), _) => self.capabilities[found].place = Place::Table(domain),
                        (None, Some(ended)) => self.release(ended),
                        (None, None) => {}
                    }
                    grants.push(self.arrived(grant, arrives));
                }
                self.deliver(receiver, &message, badge, rights, None, grants);
            }
        }
        Ok(Done::Left)
    }

    pub(super) fn reply(&mut self, thread: usize, handle: u64, message: &Message) -> Answer {
        let domain = self.threads[thread].domain;
        let mut stops = size_stops(message);
        let mut ended = Vec::new();
        let found = self.check(domain, handle, &[Kind::Reply], Rights::empty(), &mut ended);
        if found.is_none() {
            stops.append(&mut ended);
        }
        stops.extend(self.grant_stops(domain, message, false, Some(handle)));
        let Some(reply) = found.filter(|_| stops.is_empty()) else { return Err(stops) };
        if !ended.is_empty() {
            // The reply is used up, also when the caller is gone.
            self.release(reply);
            return Err(ended);
        }
        let caller = self.capabilities[reply].object;
        let to = self.threads[caller].domain;
        let mut none = Vec::new();
        let grants = message.grants().iter().map(|grant| self.pass(domain, grant, to, &mut none));
        let grants = grants.collect();
        self.detach(reply);
        self.end_loans(reply);
        self.count_message(domain, message);
        self.deliver(caller, message, 0, Rights::empty(), None, grants);
        Ok(Done::Value(Value::Number(0)))
    }

    pub(super) fn reply_receive(&mut self, thread: usize, call: &Call) -> Answer {
        let [reply, mailbox, timeout, _] = call.words;
        let domain = self.threads[thread].domain;
        let named = self.domains[domain].table.get(&mailbox).copied();
        let fits = named.is_some_and(|named| self.capabilities[named].kind == Kind::Mailbox);
        if !fits {
            // Or what is wrong with the answer, which is not given either way.
            let mut stops = vec![Stop::Fault(FaultKind::BadHandle, mailbox)];
            stops.extend(size_stops(&call.message));
            return Err(stops);
        }
        self.reply(thread, reply, &call.message)?;
        self.receive(thread, mailbox, timeout)
    }

    /// Ends a mailbox that a domain made.
    pub(super) fn end_mailbox(&mut self, mailbox: usize) {
        self.mailboxes[mailbox].life = MailboxLife::Ended;
        self.empty_mailbox(mailbox);
        self.bury_object(&[Kind::Mailbox, Kind::Object], mailbox);
    }

    fn empty_mailbox(&mut self, mailbox: usize) {
        for queued in std::mem::take(&mut self.mailboxes[mailbox].queue) {
            match queued {
                Queued::Call(caller) => self.fail(caller, Error::Dead),
                Queued::Stored(stored) => {
                    stored.carried.into_iter().flatten().for_each(|carried| self.release(carried));
                }
            }
        }
        for receiver in self.mailboxes[mailbox].receivers.clone() {
            self.fail(receiver, Error::Dead);
        }
        if let Some(signal) = self.mailboxes[mailbox].signal {
            self.unbind(signal);
        }
    }

    /// Ends the mailboxes that a domain made, and closes those that it serves by the plan.
    pub(super) fn end_mailboxes_of(&mut self, domain: usize) {
        for mailbox in 0..self.mailboxes.len() {
            let held = &mut self.mailboxes[mailbox];
            if held.owner != domain || held.life != MailboxLife::Open {
                continue;
            }
            if held.planned {
                held.life = MailboxLife::Closed;
                self.empty_mailbox(mailbox);
            } else {
                self.end_mailbox(mailbox);
            }
        }
    }

    /// Opens the mailboxes that a domain serves by the plan.
    pub(super) fn open_mailboxes_of(&mut self, domain: usize) {
        for held in self.mailboxes.iter_mut().filter(|held| held.planned && held.owner == domain) {
            held.life = MailboxLife::Open;
        }
    }
}
