//! Random services on a random machine: whatever they do, the invariants hold. A failure prints the
//! seed and the step.

use super::fast::goes_short;
use super::invariants::Invariants;
use super::machine::FakeMachine;
use super::plan::with_hardware;
use crate::object::Activity;
use crate::{DmaIndex, DomainIndex, Frame, IrqIndex, Kernel, ThreadIndex};
use phi_abi::layout::PAGE;
use phi_abi::{
    CALLS, FOREVER, Fault, FaultKind, Grant, Handle, Kind, MESSAGE_GRANTS, Message, Mode, Number,
    Rights,
};
use phi_cap::{Capability, State};
use phi_manifest::plan::BudgetPlan;
use phi_mem::Region;
use phi_random::Random;
use std::collections::BTreeSet;
use std::vec::Vec;

const SERVICES: u16 = 4;

/// What messages go to.
const ADDRESSES: [Kind; 2] = [Kind::Mailbox, Kind::Object];

/// How often each call is made, in relation to the others.
const WEIGHTS: [(Number, u64); CALLS.len()] = [
    (Number::CapabilityDerive, 10),
    (Number::CapabilityRevoke, 4),
    (Number::CapabilityDrop, 8),
    (Number::CapabilityInspect, 1),
    (Number::ObjectMint, 3),
    (Number::RegionCreate, 6),
    (Number::RegionMap, 6),
    (Number::RegionUnmap, 3),
    (Number::MailboxCreate, 3),
    (Number::Send, 10),
    (Number::Call, 40),
    (Number::Receive, 40),
    (Number::Reply, 60),
    (Number::ReplyReceive, 30),
    (Number::SignalCreate, 3),
    (Number::SignalNotify, 5),
    (Number::SignalWait, 4),
    (Number::SignalBind, 3),
    (Number::ThreadCreate, 4),
    (Number::ThreadPriority, 2),
    (Number::ThreadSleep, 2),
    (Number::ThreadExit, 1),
    (Number::DomainStart, 12),
    (Number::DomainStop, 2),
    (Number::DomainInspect, 1),
    (Number::DomainExit, 1),
    (Number::DomainPanic, 1),
    (Number::ClockRead, 1),
    (Number::ConsoleWrite, 1),
    (Number::DeviceRegion, 4),
    (Number::IrqCreate, 8),
    (Number::IrqBind, 30),
    (Number::IrqAcknowledge, 8),
    (Number::DmaSpaceCreate, 8),
    (Number::DmaMap, 16),
    (Number::DmaUnmap, 6),
    (Number::PortsCreate, 6),
    (Number::PortRead, 4),
    (Number::PortWrite, 4),
];

pub(crate) struct Driver {
    pub(crate) kernel: Kernel<FakeMachine>,
    invariants: Invariants,
    random: Random,
    seed: u64,
    step: u64,
    /// Threads whose call has not returned to them yet.
    pending: BTreeSet<u16>,
    /// Calls that have returned well, by number; of those that never return, all that were made.
    succeeded: [u64; CALLS.len()],
    /// Loans that arrived.
    loans: u64,
    /// Loans in calls that were made, of pages which were lent to their lender.
    lent_on: u64,
    after_call: AfterCall,
    /// Calls that the short way takes, and those of them that carry capabilities.
    pub(crate) short: u64,
    pub(crate) short_with_grants: u64,
}

/// What a driver does after a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum AfterCall {
    /// Anything.
    Any,
    /// Dispatches.
    Dispatch,
    /// Has dispatched with the call.
    Dispatched,
}

impl Drop for Driver {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::eprintln!("failed with seed {} at step {}", self.seed, self.step);
        }
    }
}

fn booted() -> Kernel<FakeMachine> {
    let mut plan = with_hardware(SERVICES);
    for service in &mut plan.services {
        service.quota.handles = 26;
        service.quota.lineages = 7;
    }
    plan.services[2].budget = Some(BudgetPlan { time: 50, period: 200 });
    plan.services[3].priority -= 1;
    plan.services[3].supervisor = 1;
    Kernel::boot(FakeMachine::default(), &plan).expect("a plan that boots")
}

impl Driver {
    fn new(seed: u64) -> Driver {
        Driver {
            kernel: booted(),
            invariants: Invariants::new(),
            random: Random::new(seed),
            seed,
            step: 0,
            pending: BTreeSet::new(),
            succeeded: [0; CALLS.len()],
            loans: 0,
            lent_on: 0,
            after_call: AfterCall::Any,
            short: 0,
            short_with_grants: 0,
        }
    }

    /// A driver that does the same after every call.
    pub(crate) fn with(seed: u64, after_call: AfterCall) -> Driver {
        let mut driver = Driver::new(seed);
        driver.after_call = after_call;
        driver
    }

    /// Makes `steps` steps, and checks the invariants after every `interval`.
    pub(crate) fn run(&mut self, steps: u64, interval: u64) {
        for _ in 0..steps {
            self.step += 1;
            self.advance();
            if self.kernel.halted().is_some() {
                self.invariants.check(&mut self.kernel);
                (self.kernel, self.invariants) = (booted(), Invariants::new());
                self.pending.clear();
            }
            if self.step.is_multiple_of(interval) {
                self.invariants.check(&mut self.kernel);
                self.kernel.machine_mut().console.clear();
            }
        }
    }

    fn advance(&mut self) {
        let running: Vec<u32> = (0..self.kernel.threads.len() as u32)
            .filter(|thread| self.kernel.thread(*thread).activity == Activity::Dispatched)
            .collect();
        let chosen = self.random.choose(&running);
        match (self.random.below(100), chosen) {
            (0..80, Some(thread)) => self.make_call(thread),
            (80..81, Some(thread)) => self.kernel.preempt(ThreadIndex(thread as u16)),
            (81..82, Some(thread)) => self.kernel.put_back(ThreadIndex(thread as u16)),
            (82..84, Some(thread)) => {
                let used = self.random.below(60);
                self.kernel.charge(ThreadIndex(thread as u16), used);
            }
            (84..86, _) => self.hostile_machine(),
            (86..89, _) => {
                self.kernel.machine_mut().clock += self.random.below(300);
                self.kernel.expire();
            }
            (_, _) => match self.kernel.dispatch() {
                Some(thread) => self.returned(thread),
                None if running.is_empty() => self.wake_up(),
                None => {}
            },
        }
    }

    /// A thread goes on: counts the call that it returns from.
    fn returned(&mut self, thread: ThreadIndex) {
        let frame = self.kernel.frame(thread);
        let Some(number) = Number::from_number(frame.number) else { return };
        if !self.pending.remove(&thread.0) || frame.outcome.result().is_err() {
            return;
        }
        self.succeeded[number as usize] += 1;
        for grant in frame.message.grants().iter().filter(|_| frame.message_out) {
            let arrived = self.capability(u32::from(thread.0), grant.handle.0);
            self.loans += u64::from(arrived.is_some_and(|arrived| arrived.mapping.loan));
        }
    }

    /// Nothing is ready: time passes, or somebody is lost.
    fn wake_up(&mut self) {
        match self.kernel.next_deadline() {
            Some(due) => {
                let clock = &mut self.kernel.machine_mut().clock;
                *clock = due.max(*clock);
                self.kernel.expire();
            }
            None => {
                let domain = DomainIndex(self.random.below(u64::from(SERVICES)) as u16);
                let fault = Fault { kind: FaultKind::Killed, address: 0, instruction: 0 };
                self.kernel.domain_lost(domain, fault);
            }
        }
    }

    /// Failures, faults, and reports that concern no dispatched thread.
    fn hostile_machine(&mut self) {
        let thread = ThreadIndex(self.random.below(self.kernel.threads.len() as u64) as u16);
        let fault = Fault { kind: FaultKind::Read, address: 1, instruction: 2 };
        let failures = &mut self.kernel.machine.failures;
        match self.random.below(24) {
            0 => failures.load = 1,
            1 => failures.thread_start = 1,
            2 => failures.region_create = 1,
            3..6 => failures.map = 1 + self.random.below(3) as u32,
            10 => self.kernel.machine.hardware.fails = 1,
            11..15 => self.kernel.interrupt(IrqIndex(self.random.below(6) as u16)),
            15 => self.kernel.dma_fault(DmaIndex(self.random.below(4) as u16), 0x1000),
            6 if self.kernel.domain_of(thread).0 != 0 || self.random.once_in(10) => {
                self.kernel.fault(thread, fault);
            }
            7 if !self.kernel.is_dispatched(thread) => self.kernel.system_call(thread),
            8 => self.kernel.charge(thread, 1),
            9 if self.random.once_in(3) => {
                let domain = self.random.below(u64::from(SERVICES) + 2).max(1) as u16;
                self.kernel.domain_lost(DomainIndex(domain.min(SERVICES - 1)), fault);
            }
            _ => {}
        }
    }

    fn make_call(&mut self, thread: u32) {
        let total: u64 = WEIGHTS.iter().map(|(_, weight)| weight).sum();
        let mut place = self.random.below(total);
        let chosen = WEIGHTS.iter().find(|(_, weight)| match place.checked_sub(*weight) {
            Some(left) => {
                place = left;
                false
            }
            None => true,
        });
        let number = chosen.expect("a place below the total").0;
        let init = self.kernel.thread(thread).domain == 0;
        let ends = matches!(number, Number::DomainExit | Number::DomainPanic | Number::ThreadExit);
        if ends && init && !self.random.once_in(50) {
            return;
        }
        let Some(arguments) = self.words(thread, number) else { return };
        let mut frame = Frame { number: number as u32, arguments, ..Frame::EMPTY };
        if number.description().message_in {
            let loans = number == Number::Call;
            frame.message = self.message(thread, loans, Handle(arguments[0]));
        }
        if self.after_call != AfterCall::Any && !self.random.once_in(4) {
            // Mostly what is usual, which the short way is for.
            let few = self.random.below(3) as u16;
            frame.message.grant_count = frame.message.grant_count.min(few);
            match number {
                Number::Call => frame.arguments[1] = FOREVER,
                Number::ReplyReceive => frame.arguments[2] = FOREVER,
                _ => {}
            }
        }
        if self.random.once_in(if init { 4000 } else { 400 }) {
            self.spoil(&mut frame);
        }
        let source = self.source_rights(thread, &frame);
        let lent_on = self.lent_on_in(thread, &frame.message);
        let index = ThreadIndex(thread as u16);
        *self.kernel.frame_mut(index) = frame;
        let short = goes_short(&mut self.kernel, index);
        self.short += u64::from(short);
        let carries = self.kernel.frame(index).message.grant_count > 0;
        self.short_with_grants += u64::from(short && carries);
        let next = match self.after_call {
            AfterCall::Dispatched => self.kernel.system_call_then_dispatch(index),
            after => {
                self.kernel.system_call(index);
                if after == AfterCall::Dispatch { self.kernel.dispatch() } else { None }
            }
        };
        match self.kernel.thread(thread).activity {
            Activity::Free => {
                self.pending.remove(&index.0);
                self.succeeded[number as usize] += u64::from(ends);
            }
            activity => {
                self.pending.insert(index.0);
                let calls = matches!(activity, Activity::Calling(_) | Activity::Served);
                self.lent_on += if calls { lent_on } else { 0 };
            }
        }
        if let Some(next) = next {
            self.returned(next);
        }
        let ready = matches!(self.kernel.thread(thread).activity, Activity::Ready);
        let frame = self.kernel.frame(index);
        if ready && frame.number == Number::CapabilityDerive as u32 {
            let Ok(handle) = frame.outcome.result() else { return };
            let derived = self.capability(thread, handle).expect("a new handle");
            assert!(source.contains(derived.rights), "a derivation grew");
        }
    }

    fn source_rights(&self, thread: u32, frame: &Frame) -> Rights {
        let source = self.capability(thread, frame.arguments[0]);
        source.map_or(Rights::empty(), |source| source.rights)
    }

    /// How many loans in a message are of pages that were lent to the thread's domain.
    fn lent_on_in(&self, thread: u32, message: &Message) -> u64 {
        let loans = message.grants().iter().filter(|grant| grant.mode == Mode::Loan as u32);
        let sources = loans.filter_map(|grant| self.capability(thread, grant.handle.0));
        sources.filter(|source| source.mapping.loan).count() as u64
    }

    fn capability(&self, thread: u32, handle: u64) -> Option<Capability> {
        let entry = self.kernel.capabilities.find(self.kernel.space_of(thread), Handle(handle));
        entry.map(|entry| *self.kernel.capabilities.get(entry))
    }

    /// What no correct program does.
    fn spoil(&mut self, frame: &mut Frame) {
        let hostile = match self.random.below(3) {
            0 => self.random.word(),
            1 => self.random.below(40),
            _ => u64::MAX,
        };
        match self.random.below(6) {
            0 => frame.number = hostile as u32,
            1 => frame.message.length = hostile as u16,
            2 => frame.message.grant_count = hostile as u16,
            3 => frame.message.grants[0].handle = Handle(hostile),
            4 => frame.message.grants[0].mode = hostile as u32,
            _ => frame.arguments[self.random.below(4) as usize] = hostile,
        }
    }

    /// A handle of one of these kinds that the thread's domain holds, mostly one that stands and has
    /// `rights`.
    fn handle(&mut self, thread: u32, kinds: &[Kind], rights: Rights) -> Option<u64> {
        let any = self.random.once_in(12);
        let entries = self.kernel.capabilities.entries_of(self.kernel.space_of(thread));
        let mut held: Vec<u32> = Vec::new();
        for entry in entries {
            let capability = *self.kernel.capabilities.get(entry);
            let state = self.kernel.capabilities.state(entry);
            let useful = state == State::Held && capability.rights.contains(rights);
            let occupied = self.kernel.capabilities.is_occupied(entry);
            if occupied && kinds.contains(&capability.kind) && (any || useful) {
                held.push(entry);
            }
        }
        let entry = self.random.choose(&held)?;
        Some(self.kernel.capabilities.handle(entry).0)
    }

    fn timeout(&mut self) -> u64 {
        match self.random.below(8) {
            0 => 0,
            1 => FOREVER,
            _ => self.random.below(5000),
        }
    }

    /// Rights for a capability that has `rights`: mostly all of them, or some.
    fn rights(&mut self, rights: Rights) -> Rights {
        match self.random.below(4) {
            0 => rights & Rights::from_bits_retain(self.random.word() as u32),
            _ => rights,
        }
    }

    /// Words for a call; `None` where the thread's domain holds nothing to call.
    fn words(&mut self, thread: u32, number: Number) -> Option<[u64; 4]> {
        Some(match number {
            Number::CapabilityDerive => {
                let handle = self.handle(thread, &Kind::ALL, Rights::DERIVE)?;
                let rights = self.capability(thread, handle)?.rights;
                let rights = u64::from(self.rights(rights).bits());
                [handle, rights, self.random.below(2), 0]
            }
            Number::CapabilityRevoke => [self.handle(thread, &Kind::ALL, Rights::DERIVE)?, 0, 0, 0],
            Number::CapabilityDrop | Number::CapabilityInspect => {
                [self.handle(thread, &Kind::ALL, Rights::empty())?, 0, 0, 0]
            }
            Number::RegionCreate => [1 + self.random.below(5 * PAGE), 0, 0, 0],
            Number::RegionMap => {
                let handle = self.handle(thread, &[Kind::Region], Rights::READ)?;
                [handle, 4 + 8 * self.random.below(2), 0, 0]
            }
            Number::RegionUnmap => [self.handle(thread, &[Kind::Region], Rights::READ)?, 0, 0, 0],
            Number::ThreadCreate => [0x1000, 0x2000, 0, self.random.below(12)],
            Number::ThreadPriority => {
                let handle = self.handle(thread, &[Kind::Thread], Rights::CONTROL)?;
                [handle, self.random.below(12), 0, 0]
            }
            Number::ThreadSleep => [self.random.below(3) * self.random.below(200), 0, 0, 0],
            Number::DomainStart | Number::DomainStop | Number::DomainInspect => {
                let handle = self.handle(thread, &[Kind::Domain], Rights::empty())?;
                let init = self.capability(thread, handle)?.object == 0;
                if number == Number::DomainStop && init && !self.random.once_in(20) {
                    return None;
                }
                [handle, 0, 0, 0]
            }
            Number::ConsoleWrite => {
                [self.handle(thread, &[Kind::Console], Rights::WRITE)?, 0, 0, 0]
            }
            Number::DomainExit => [self.random.below(256), 0, 0, 0],
            Number::SignalCreate | Number::ThreadExit | Number::DomainPanic | Number::ClockRead => {
                [0; 4]
            }
            Number::DeviceRegion | Number::IrqCreate | Number::DmaSpaceCreate => {
                let hardware = self.handle(thread, &[Kind::Hardware], Rights::CONTROL)?;
                match number {
                    Number::DeviceRegion => [hardware, 16 * PAGE, PAGE, 0],
                    _ => [hardware, self.random.below(6), 0, 0],
                }
            }
            Number::PortsCreate => {
                let hardware = self.handle(thread, &[Kind::Hardware], Rights::CONTROL)?;
                [hardware, self.random.below(20), 1 + self.random.below(4), 0]
            }
            Number::PortRead | Number::PortWrite => {
                let ports = self.handle(thread, &[Kind::Ports], Rights::CONTROL)?;
                [ports, 0, 1, self.random.below(256)]
            }
            Number::IrqBind => {
                let irq = self.handle(thread, &[Kind::Irq], Rights::CONTROL)?;
                [irq, self.handle(thread, &[Kind::Signal], Rights::NOTIFY)?, 2, 0]
            }
            Number::IrqAcknowledge => {
                [self.handle(thread, &[Kind::Irq], Rights::CONTROL)?, 0, 0, 0]
            }
            Number::DmaMap | Number::DmaUnmap => {
                let space = self.handle(thread, &[Kind::DmaSpace], Rights::CONTROL)?;
                let region = self.handle(thread, &[Kind::Region], Rights::READ)?;
                let device = self.capability(thread, region)?.object as usize;
                if number == Number::DmaMap && self.kernel.regions[device].device {
                    return None;
                }
                [space, region, 4 + 8 * self.random.below(2), 0]
            }
            _ => self.message_words(thread, number)?,
        })
    }

    /// Words for the calls on mailboxes and signals.
    fn message_words(&mut self, thread: u32, number: Number) -> Option<[u64; 4]> {
        let (mailbox, signal) = ([Kind::Mailbox], [Kind::Signal]);
        Some(match number {
            Number::MailboxCreate => [1 + self.random.below(4), 0, 0, 0],
            Number::ObjectMint => {
                let handle = self.handle(thread, &mailbox, Rights::RECEIVE)?;
                let rights = self.rights(Kind::Object.rights());
                [handle, self.random.word(), u64::from(rights.bits()), 0]
            }
            Number::Send => [self.handle(thread, &ADDRESSES, Rights::SEND)?, 0, 0, 0],
            Number::Call => [self.handle(thread, &ADDRESSES, Rights::CALL)?, self.timeout(), 0, 0],
            Number::Receive => {
                [self.handle(thread, &mailbox, Rights::RECEIVE)?, self.timeout(), 0, 0]
            }
            Number::Reply => [self.handle(thread, &[Kind::Reply], Rights::empty())?, 0, 0, 0],
            Number::ReplyReceive => {
                let reply = self.handle(thread, &[Kind::Reply], Rights::empty())?;
                [reply, self.handle(thread, &mailbox, Rights::RECEIVE)?, self.timeout(), 0]
            }
            Number::SignalNotify => {
                let handle = self.handle(thread, &signal, Rights::NOTIFY)?;
                [handle, self.random.below(16), 0, 0]
            }
            Number::SignalWait => {
                let handle = self.handle(thread, &signal, Rights::WAIT)?;
                [handle, 1 + self.random.below(15), self.timeout(), 0]
            }
            Number::SignalBind => {
                let handle = self.handle(thread, &signal, Rights::WAIT)?;
                [handle, self.handle(thread, &mailbox, Rights::RECEIVE)?, 0, 0]
            }
            _ => return None,
        })
    }

    /// A message with capabilities that may mostly be granted.
    fn message(&mut self, thread: u32, loans: bool, consumed: Handle) -> Message {
        let mut message = Message { label: self.random.word(), ..Message::EMPTY };
        message.length = self.random.below(65) as u16;
        if self.random.below(2) == 0 {
            return message;
        }
        for _ in 0..=self.random.below(MESSAGE_GRANTS as u64) {
            let Some(grant) = self.grant(thread, loans) else { break };
            let moves = |grant: &Grant| grant.mode == Mode::Move as u32;
            let again =
                |other: &Grant| other.handle == grant.handle && (moves(other) || moves(&grant));
            if grant.handle != consumed && !message.grants().iter().any(again) {
                message.push(grant);
            }
        }
        message
    }

    fn grant(&mut self, thread: u32, loans: bool) -> Option<Grant> {
        let lends = loans && self.random.below(2) == 0;
        let kinds: &[Kind] = if lends { &[Kind::Region] } else { &Kind::ALL };
        let handle = self.handle(thread, kinds, Rights::TRANSFER)?;
        let Capability { rights, object, mapping, kind, .. } = self.capability(thread, handle)?;
        let rights = self.rights(rights);
        let handle = Handle(handle);
        if !lends {
            let moves = kind == Kind::Reply || self.random.below(3) == 0;
            return Some(match moves {
                true => Grant::transfer(handle, rights),
                false => Grant::copy(handle, rights),
            });
        }
        let Region { place, device, .. } = *self.kernel.regions.get(object as usize)?;
        if device {
            return None;
        }
        let (start, length) = match mapping.loan {
            true => (mapping.address, mapping.length.min(place.length)),
            false => (place.address, place.length),
        };
        if length == 0 {
            return None;
        }
        let offset = self.random.below(length);
        let lent = 1 + self.random.below(length - offset);
        Some(Grant::loan(handle, rights | Rights::READ, start + offset, lent))
    }
}

#[test]
fn the_invariants_hold_after_every_random_step() {
    for seed in 0..6 {
        Driver::new(seed).run(2_000, 1);
    }
}

#[test]
fn the_invariants_hold_over_many_random_steps() {
    let (mut succeeded, mut loans, mut lent_on) = ([0; CALLS.len()], 0, 0);
    for seed in 100..120 {
        let mut driver = Driver::new(seed);
        driver.run(15_000, 16);
        (0..CALLS.len()).for_each(|number| succeeded[number] += driver.succeeded[number]);
        loans += driver.loans;
        lent_on += driver.lent_on;
    }
    // A driver that never gets anywhere would show nothing.
    for call in phi_abi::CALLS {
        let count = succeeded[call.number as usize];
        assert!(count >= 100, "{}: it has succeeded only {count} times", call.name);
    }
    assert!(loans > 500 && lent_on > 50, "{loans} loans, and {lent_on} lent on");
}
