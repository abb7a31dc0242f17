//! A call with a loan and a copied capability, and what may come between any two of its steps: a
//! revocation, the end of either side, and pools that have run out.

use super::*;
use crate::machine::{Beginning, SimMachine, Turn};
use crate::world::World;
use phi_abi::layout::PAGE;
use phi_abi::{DERIVE_REVOCABLE, FOREVER, Fault, FaultKind, Grant, Handle, Kind, Rights};
use phi_core::MachineError;

/// The domains of [`World::Pair`].
const SERVER: DomainIndex = DomainIndex(1);
const CLIENT: DomainIndex = DomainIndex(2);

/// What happens between two steps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Between {
    Nothing,
    /// The client's capability, which it revokes: to the mailbox, the signal, or the region.
    Revoke(Kind),
    /// The end of a side.
    Lost(DomainIndex),
    /// The machine has no memory for what comes.
    Refuses,
    /// A side has no slot left for a capability.
    Fills(DomainIndex),
}

/// Services of a script: in each domain the first thread acts it, and the second does what comes
/// between, when it is told to.
#[derive(Default)]
struct Script {
    threads: Vec<Option<Part>>,
    between: Option<Between>,
}

#[derive(Clone, Copy)]
struct Part {
    domain: DomainIndex,
    /// Whether it is the domain's second thread.
    second: bool,
    line: usize,
    /// The handles that its calls gave, by line.
    values: [u64; 16],
    reply: u64,
    arrived: [u64; 2],
}

fn plain(number: Number, words: &[u64]) -> Call {
    crate::actors::call(number, words)
}

/// Domains that have ended do not begin again, so the last line is for ever.
fn sleep() -> Call {
    plain(Number::ThreadSleep, &[1 << 40])
}

fn find(turn: &Turn<'_>, kind: Kind, rights: Rights) -> u64 {
    crate::actors::first(turn, kind, rights).unwrap_or(0)
}

/// Rights of what was derived from a capability of this kind.
fn derived(kind: Kind) -> u64 {
    let rights = match kind {
        Kind::Mailbox => Rights::CALL,
        Kind::Region => Rights::READ | Rights::WRITE | Rights::DERIVE | Rights::TRANSFER,
        _ => Rights::NOTIFY | Rights::DERIVE | Rights::TRANSFER,
    };
    u64::from(rights.bits())
}

/// What is to be revoked: the source that the scripts derive from.
fn source(turn: &Turn<'_>, kind: Kind) -> u64 {
    find(turn, kind, Rights::DERIVE)
}

impl Part {
    fn line(&mut self, turn: &mut Turn<'_>) -> Call {
        self.values[self.line.saturating_sub(1)] = turn.outcome.value;
        if self.domain == SERVER && matches!(self.line, 2 | 6) {
            // What a receive gave, if it gave something.
            let message = turn.message.filter(|_| turn.outcome.status == 0);
            let [loan, signal] =
                [0, 1].map(|place| message.map_or(0, |it| it.grants[place].handle.0));
            (self.reply, self.arrived) = (message.map_or(0, |it| it.reply.0), [loan, signal]);
        }
        let line = self.line;
        self.line = (line + 1).min(15);
        if self.domain == SERVER { self.server(line, turn) } else { self.client(line, turn) }
    }

    fn client(&mut self, line: usize, turn: &Turn<'_>) -> Call {
        let derive = |source| plain(Number::CapabilityDerive, &[source, 0, DERIVE_REVOCABLE]);
        match line {
            0 => plain(Number::ThreadCreate, &[0x1000, 0x2000, 0, 0]),
            1 => plain(Number::RegionCreate, &[2 * PAGE]),
            2 => plain(Number::SignalCreate, &[]),
            3..=5 => {
                let kind = [Kind::Mailbox, Kind::Signal, Kind::Region][line - 3];
                let mut call = derive(source(turn, kind));
                call.arguments[1] = derived(kind);
                call
            }
            6 | 7 => {
                let [mailbox, signal, region] = [self.values[3], self.values[4], self.values[5]];
                let address = turn
                    .ledger
                    .find(turn.domain, Handle(region))
                    .and_then(|held| turn.ledger.pages(held))
                    .map_or(0, |pages| pages.address);
                let mut call = plain(Number::Call, &[mailbox, FOREVER]);
                call.message.label = line as u64;
                // What is not held any more would be a fault.
                if address != 0 && turn.ledger.find(turn.domain, Handle(signal)).is_some() {
                    let access = Rights::READ | Rights::WRITE;
                    call.message.push(Grant::loan(Handle(region), access, address, PAGE + 5));
                    call.message.push(Grant::copy(Handle(signal), Rights::NOTIFY));
                }
                match turn.ledger.find(turn.domain, Handle(mailbox)) {
                    Some(_) => call,
                    None => sleep(),
                }
            }
            _ => sleep(),
        }
    }

    fn server(&mut self, line: usize, turn: &Turn<'_>) -> Call {
        let serve = find(turn, Kind::Mailbox, Rights::RECEIVE);
        let [loan, signal] = self.arrived;
        match line {
            0 => plain(Number::ThreadCreate, &[0x1000, 0x2000, 0, 0]),
            1 => plain(Number::Receive, &[serve, FOREVER]),
            2 | 6 if signal != 0 => plain(Number::SignalNotify, &[signal, 1]),
            3 | 7 if signal != 0 => plain(Number::CapabilityDrop, &[signal]),
            4 | 8 if loan != 0 => plain(Number::CapabilityInspect, &[loan]),
            5 | 9 if self.reply != 0 => plain(Number::ReplyReceive, &[self.reply, serve, FOREVER]),
            2..10 => plain(Number::ClockRead, &[]),
            // It could not receive, or answer: whoever calls must learn that nobody serves any more.
            _ => plain(Number::DomainExit, &[1]),
        }
    }

    /// What the second thread does when it is told to; a thread that is to fill its domain goes on
    /// until that fails.
    fn between(&self, between: Between, turn: &Turn<'_>) -> Option<Call> {
        match between {
            Between::Revoke(kind) => {
                let held = source(turn, kind);
                Some(plain(Number::CapabilityRevoke, &[held])).filter(|_| held != 0)
            }
            Between::Fills(_) => {
                let held = find(turn, Kind::Mailbox, Rights::DERIVE);
                let words = [held, u64::from(Rights::DERIVE.bits()), 0];
                Some(plain(Number::CapabilityDerive, &words)).filter(|_| turn.outcome.status == 0)
            }
            _ => None,
        }
    }
}

impl Services for Script {
    fn thread_start(
        &mut self,
        thread: ThreadIndex,
        domain: DomainIndex,
        _: Beginning,
    ) -> Result<(), MachineError> {
        let place = usize::from(thread.0);
        let parts = self.threads.iter().flatten();
        let second = parts.filter(|part| part.domain == domain).count() > 0;
        self.threads.resize(self.threads.len().max(place + 1), None);
        let (values, reply, arrived) = ([0; 16], 0, [0; 2]);
        self.threads[place] = Some(Part { domain, second, line: 0, values, reply, arrived });
        Ok(())
    }

    fn unload(&mut self, domain: DomainIndex) {
        for thread in &mut self.threads {
            thread.take_if(|part| part.domain == domain);
        }
    }

    fn next(&mut self, mut turn: Turn<'_>) -> Act {
        let between = self.between;
        let part = self.threads.get_mut(usize::from(turn.thread.0)).and_then(Option::as_mut);
        let Some(part) = part else { return Act::Call(sleep()) };
        if part.domain.0 == 0 {
            // `init` starts both, and then rests.
            let mut domains =
                turn.ledger.held(turn.domain).filter(|(_, held)| held.kind == Kind::Domain);
            part.line += 1;
            let domain = domains.nth(part.line).map(|(handle, _)| handle.0);
            let start = domain.map(|domain| plain(Number::DomainStart, &[domain]));
            return Act::Call(start.unwrap_or_else(sleep));
        }
        if part.second {
            let call = between.and_then(|between| part.between(between, &turn));
            return Act::Call(call.unwrap_or_else(sleep));
        }
        Act::Call(part.line(&mut turn))
    }
}

/// Makes the script with `between` before step `place`; the number of steps.
fn play(between: Between, place: u64, concurrent: bool) -> u64 {
    let mut random = Random::new(1);
    let swarm = Swarm { concurrent: true, ..Swarm::draw(&mut random).without_faults() };
    let (mut plan, _) = World::Pair.plan(&mut random);
    for service in &mut plan.services {
        service.quota.threads = 2;
        service.quota.lineages = 8;
        service.budget = None;
    }
    let machine = SimMachine::new(Script::default());
    let kernel = Kernel::boot(machine, &plan).expect("a system");
    let mut watcher = |_: &Event| {};
    let mut simulation = Simulation::new(kernel, Checkers::new(&plan), swarm, &mut watcher);
    let mut step = 0;
    loop {
        while let Some(thread) = simulation.kernel.dispatch() {
            simulation.watch.goes_on(&simulation.kernel, thread);
        }
        let is_second = |simulation: &Simulation<'_, Script>, thread: &ThreadIndex| {
            let parts = &simulation.kernel.machine().services.threads;
            parts[usize::from(thread.0)].is_some_and(|part| part.second)
        };
        if step == place {
            interfere(&mut simulation, between, &mut random, is_second);
        }
        let mut acting = simulation.watch.dispatched.clone();
        acting.retain(|thread| !is_second(&simulation, thread));
        acting.sort();
        // Both orders in which the sides can go on.
        let thread = if concurrent { acting.first() } else { acting.last() };
        let Some(thread) = thread.copied() else { break };
        step += 1;
        simulation.made += 1;
        simulation.act(thread, &mut random);
        simulation.settled();
        assert!(step < 200, "{between:?} before step {place}: the script does not end");
    }
    simulation.watch.look(&simulation.kernel);
    assert_eq!(simulation.watch.violation(), None, "{between:?} before step {place}");
    let open =
        simulation.watch.waiting.iter().filter(|waiting| waiting.number == Number::Call as u32);
    assert_eq!(open.count(), 0, "{between:?} before step {place}: a call has not ended");
    step
}

/// Does what comes between.
fn interfere(
    simulation: &mut Simulation<'_, Script>,
    between: Between,
    random: &mut Random,
    is_second: impl Fn(&Simulation<'_, Script>, &ThreadIndex) -> bool,
) {
    let by = match between {
        Between::Nothing => return,
        Between::Lost(domain) => {
            simulation.watch.emit(&Event::Lost(domain));
            let fault = Fault { kind: FaultKind::Killed, address: 0, instruction: 0 };
            simulation.kernel.domain_lost(domain, fault);
            simulation.collect(None);
            return simulation.settled();
        }
        Between::Refuses => {
            let failures = &mut simulation.kernel.machine_mut().failures;
            (failures.map, failures.region_create, failures.thread_start) = (1, 1, 1);
            return;
        }
        Between::Revoke(_) => CLIENT,
        Between::Fills(domain) => domain,
    };
    simulation.kernel.machine_mut().services.between = Some(between);
    for _ in 0..100 {
        let own = |thread: &&ThreadIndex| {
            is_second(simulation, thread) && simulation.kernel.domain_of(**thread) == by
        };
        let Some(thread) = simulation.watch.dispatched.iter().find(own).copied() else { return };
        simulation.act(thread, random);
        simulation.settled();
        while let Some(thread) = simulation.kernel.dispatch() {
            simulation.watch.goes_on(&simulation.kernel, thread);
        }
        if matches!(between, Between::Revoke(_)) {
            return;
        }
    }
}

#[test]
fn whatever_comes_between_two_steps_of_a_call_it_ends_and_nothing_else_breaks() {
    let revocations = [Kind::Mailbox, Kind::Signal, Kind::Region].map(Between::Revoke);
    let ends = [SERVER, CLIENT].map(Between::Lost);
    let pools = [Between::Refuses, Between::Fills(SERVER), Between::Fills(CLIENT)];
    for concurrent in [true, false] {
        let steps = play(Between::Nothing, 0, concurrent);
        // Both calls went through: eight lines of the client, and ten of the server.
        assert!(steps > 18, "the script ended after {steps} steps");
        for between in revocations.into_iter().chain(ends).chain(pools) {
            (0..=steps).for_each(|place| {
                play(between, place, concurrent);
            });
        }
    }
}
