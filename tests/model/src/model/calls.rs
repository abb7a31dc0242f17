//! From a call's number to what it does; and the calls on capabilities.

use super::grant::known_rights;
use super::mailbox::size_stops;
use super::{
    Answer, Call, Capability, Delivered, Done, Finish, Life, Model, Payload, Place, Stop, Value,
};
use phi_abi::{
    CONSOLE_TRANSCRIPT, DERIVE_REVOCABLE, DomainState, Error, FaultKind, Kind, LINEAGE_DEPTH,
    Number, Rights,
};

impl Model {
    /// A thread that runs makes a call. What it can end in, if it is refused: the one that compares
    /// says by [`Model::stopped`] which it was.
    pub fn make(&mut self, thread: usize, call: &Call) -> Vec<Stop> {
        self.threads[thread].finish = None;
        match self.perform(thread, call) {
            Ok(Done::Value(value)) => self.finish(thread, Ok(value), Payload::Nothing),
            Ok(Done::Payload(value, payload)) => {
                self.finish(thread, Ok(Value::Number(value)), payload);
            }
            Ok(Done::Left) => {}
            Err(stops) => return stops,
        }
        self.collect();
        Vec::new()
    }

    /// The call of a thread was refused in this way.
    pub fn stopped(&mut self, thread: usize, stop: Stop) {
        match stop {
            Stop::Error(error) => self.threads[thread].finish = Some(Finish::error(error)),
            Stop::Fault(kind, address) => {
                let state = DomainState::Faulted { kind, address, instruction: 0 };
                self.end_domain(self.threads[thread].domain, state);
            }
        }
        self.collect();
    }

    fn perform(&mut self, thread: usize, call: &Call) -> Answer {
        let [first, second, third, _] = call.words;
        let domain = self.threads[thread].domain;
        let Some(number) = Number::from_number(call.number) else {
            return Err(vec![Stop::Fault(FaultKind::BadCall, u64::from(call.number))]);
        };
        match number {
            Number::CapabilityDerive => self.derive(domain, first, second, third),
            Number::CapabilityRevoke => self.revoke(domain, first),
            Number::CapabilityDrop => self.drop_handle(domain, first),
            Number::CapabilityInspect => self.inspect(domain, first),
            Number::ObjectMint => self.mint(domain, first, second, third),
            Number::RegionCreate => self.region_create(domain, first, second),
            Number::RegionMap => self.region_map(domain, first, second),
            Number::RegionUnmap => self.region_unmap(domain, first),
            Number::MailboxCreate => self.mailbox_create(domain, first),
            Number::Send => self.send(thread, call),
            Number::Call => self.call(thread, call),
            Number::Receive => self.receive(thread, first, second),
            Number::Reply => self.reply(thread, first, &call.message),
            Number::ReplyReceive => self.reply_receive(thread, call),
            Number::SignalCreate => self.signal_create(domain),
            Number::SignalNotify => self.signal_notify(domain, first, second),
            Number::SignalWait => self.signal_wait(thread, call.words),
            Number::SignalBind => self.signal_bind(domain, first, second),
            Number::ThreadCreate => self.thread_create(domain, call.words),
            Number::ThreadPriority => self.thread_priority(domain, first, second),
            Number::ThreadSleep => self.thread_sleep(thread, first),
            Number::ThreadExit => self.thread_exit(thread),
            Number::DomainStart => self.domain_start(domain, first),
            Number::DomainStop => self.domain_stop(domain, first),
            Number::DomainInspect => self.domain_inspect(domain, first, second),
            Number::DomainExit => self.domain_exit(domain, first),
            Number::DomainPanic => self.domain_panic(domain, call),
            Number::ClockRead => Ok(Done::Value(Value::Number(self.clock))),
            Number::ConsoleWrite => self.console_write(domain, call),
            Number::DeviceRegion
            | Number::IrqCreate
            | Number::IrqBind
            | Number::IrqAcknowledge
            | Number::DmaSpaceCreate
            | Number::DmaMap
            | Number::DmaUnmap
            | Number::PortsCreate
            | Number::PortRead
            | Number::PortWrite => self.device(number, call.words),
        }
    }

    fn named(&self, domain: usize, handle: u64) -> Result<usize, Vec<Stop>> {
        let named = self.domains[domain].table.get(&handle).copied();
        named.ok_or(vec![Stop::Fault(FaultKind::BadHandle, handle)])
    }

    fn derive(&mut self, domain: usize, handle: u64, rights: u64, flags: u64) -> Answer {
        let source = self.named(domain, handle)?;
        let held = &self.capabilities[source];
        let mut stops = Vec::new();
        let rights = known_rights(held.kind, rights, &mut stops);
        if flags & !DERIVE_REVOCABLE != 0 {
            stops.push(Stop::Fault(FaultKind::BadArgument, flags));
        }
        self.check(domain, handle, &[held.kind], Rights::DERIVE | rights, &mut stops);
        if self.slots_left(domain) == 0 {
            stops.push(Stop::Error(Error::QuotaExceeded));
        }
        let revocable = flags & DERIVE_REVOCABLE != 0;
        if revocable && self.depth(source) >= LINEAGE_DEPTH {
            stops.push(Stop::Error(Error::TooDeep));
        }
        let first = revocable && held.charged.is_none();
        if first && self.lineages_left(domain) == 0 {
            stops.push(Stop::Error(Error::QuotaExceeded));
        }
        if !stops.is_empty() {
            return Err(stops);
        }
        let made = Capability::new(held.kind, rights, held.object, Place::Table(domain));
        let (badge, parent) = (held.badge, if revocable { Some(source) } else { held.parent });
        if first {
            self.capabilities[source].charged = Some(domain);
        }
        Ok(Done::Value(Value::Handle(self.add(Capability { badge, parent, ..made }))))
    }

    fn revoke(&mut self, domain: usize, handle: u64) -> Answer {
        let source = self.named(domain, handle)?;
        let mut stops = Vec::new();
        let kind = self.capabilities[source].kind;
        self.check(domain, handle, &[kind], Rights::DERIVE, &mut stops);
        if !stops.is_empty() {
            return Err(stops);
        }
        self.revoke_below(source);
        Ok(Done::Value(Value::Number(0)))
    }

    fn drop_handle(&mut self, domain: usize, handle: u64) -> Answer {
        let named = self.named(domain, handle)?;
        self.release(named);
        Ok(Done::Value(Value::Number(0)))
    }

    fn inspect(&mut self, domain: usize, handle: u64) -> Answer {
        let named = self.named(domain, handle)?;
        Ok(Done::Payload(0, Payload::Capability(named)))
    }

    fn mint(&mut self, domain: usize, mailbox: u64, badge: u64, rights: u64) -> Answer {
        let mut stops = Vec::new();
        let rights = known_rights(Kind::Object, rights, &mut stops);
        let found = self.check(domain, mailbox, &[Kind::Mailbox], Rights::RECEIVE, &mut stops);
        if self.slots_left(domain) == 0 {
            stops.push(Stop::Error(Error::QuotaExceeded));
        }
        let Some(found) = found.filter(|_| stops.is_empty()) else { return Err(stops) };
        let Capability { object, parent, .. } = self.capabilities[found];
        let made = Capability::new(Kind::Object, rights, object, Place::Table(domain));
        Ok(Done::Value(Value::Handle(self.add(Capability { badge, parent, ..made }))))
    }

    fn domain_panic(&mut self, domain: usize, call: &Call) -> Answer {
        let stops = size_stops(&call.message);
        if !stops.is_empty() {
            return Err(stops);
        }
        let (kind, address, instruction) = (FaultKind::Panic, 0, 0);
        self.end_domain(domain, DomainState::Faulted { kind, address, instruction });
        Ok(Done::Left)
    }

    fn console_write(&mut self, domain: usize, call: &Call) -> Answer {
        let mut stops = size_stops(&call.message);
        let handle = call.words[0];
        let found = self.check(domain, handle, &[Kind::Console], Rights::WRITE, &mut stops);
        let Some(found) = found.filter(|_| stops.is_empty()) else { return Err(stops) };
        if self.capabilities[found].badge == CONSOLE_TRANSCRIPT {
            self.transcript.extend(call.message.bytes());
        }
        Ok(Done::Value(Value::Number(0)))
    }

    /// Address and length that an inspection shows: of a region, or a mailbox's capacity.
    pub fn size_of(&self, capability: usize) -> (u64, u64) {
        let held = &self.capabilities[capability];
        match held.kind {
            Kind::Region if held.life == Life::Held => {
                let region = &self.regions[held.object];
                (region.address, region.length)
            }
            Kind::Mailbox if held.life == Life::Held => {
                (0, u64::from(self.mailboxes[held.object].capacity))
            }
            _ => (0, 0),
        }
    }
}

impl Finish {
    fn error(error: Error) -> Finish {
        Finish { result: Err(error), payload: Payload::Nothing }
    }
}

impl Delivered {
    /// The capabilities that came with it, the reply first.
    pub fn capabilities(&self) -> impl Iterator<Item = usize> + '_ {
        self.reply.into_iter().chain(self.grants.iter().filter_map(|grant| grant.capability))
    }
}
