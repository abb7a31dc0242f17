//! Starts the others again whenever they are killed, and says when all is calm.

use crate::{Random, answer};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;
use phi_rt::{
    Console, Domain, DomainState, Error, Event, FaultKind, Incoming, Mailbox, Outgoing, Service,
};

/// Storms.
const STORMS: u32 = 2;

/// The one that is killed as a storm ends.
const BELL: &str = "bell";

/// The one that nobody kills.
const WITNESS: &str = "witness";

/// Time without anything new after which all is calm, in nanoseconds.
const CALM: u64 = 150_000_000;

/// The longest time before somebody is started again, in nanoseconds.
const PAUSE: u64 = 2_000_000;

struct Kept {
    name: &'static str,
    domain: Domain,
    /// When it is started; none while it runs.
    due: Option<u64>,
}

struct Keeper {
    kept: Vec<Kept>,
    mailbox: Mailbox,
    output: Console,
    random: Random,
    /// Who waits to go on while all is calm.
    waiting: Vec<Incoming>,
    /// Ends that no kill explains.
    wrong: u32,
    /// Whether the bell was killed.
    rung: bool,
}

/// The service: 0 if nothing but kills ended anybody.
pub fn main(service: &Service) -> u8 {
    let names = service
        .capabilities()
        .iter()
        .filter_map(|named| core::str::from_utf8(named.name()).ok()?.strip_prefix("domain:"));
    let kept = names.map(|name| {
        let mut full = String::from("domain:");
        full += name;
        let domain = service.domain(&full).expect("a domain");
        Kept { name, domain, due: Some(0) }
    });
    let events = service.signal("events").expect("events");
    let mailbox = service.mailbox("keeper").expect("a mailbox");
    events.bind(&mailbox).expect("a mailbox without a signal");
    let output = service.console("output").expect("a console");
    let random = Random::new(phi_rt::now());
    let kept = kept.collect();
    let (waiting, wrong, rung) = (Vec::new(), 0, false);
    let mut keeper = Keeper { kept, mailbox, output, random, waiting, wrong, rung };
    keeper.say(format_args!("ready"));
    for storm in 1..=STORMS {
        keeper.storm();
        keeper.calm();
        if storm < STORMS {
            keeper.say(format_args!("calm after storm {storm}"));
        }
    }
    let wrong = keeper.wrong;
    keeper.say(format_args!("calm after the last storm; {wrong} wrong"));
    keeper.end();
    u8::from(keeper.wrong > 0)
}

impl Keeper {
    fn say(&mut self, text: core::fmt::Arguments<'_>) {
        // What cannot be written, the machine reports.
        let _ = writeln!(&self.output, "{text}");
    }

    /// Keeps all running, until the bell is killed.
    fn storm(&mut self) {
        self.rung = false;
        for incoming in core::mem::take(&mut self.waiting) {
            reply(incoming, answer::DONE);
        }
        for kept in &mut self.kept {
            if kept.name != WITNESS || kept.due.is_some() {
                kept.due = Some(0);
            }
        }
        while !self.rung {
            let next = self.start_due();
            let timeout = next.saturating_sub(phi_rt::now());
            if let Some(incoming) = self.wait(timeout) {
                reply(incoming, answer::DONE);
            }
        }
    }

    /// Stops all but the witness, and has everybody else wait.
    fn calm(&mut self) {
        for kept in self.kept.iter_mut().filter(|kept| kept.name != WITNESS) {
            kept.due = Some(u64::MAX);
            // One that was killed does not run.
            let _ = kept.domain.stop();
        }
        let mut end = phi_rt::now() + CALM;
        while phi_rt::now() < end {
            if let Some(incoming) = self.wait(end.saturating_sub(phi_rt::now())) {
                self.waiting.push(incoming);
                end = phi_rt::now() + CALM;
            }
        }
    }

    /// Lets everybody end who is left, and sees that the witness does.
    fn end(&mut self) {
        for incoming in core::mem::take(&mut self.waiting) {
            reply(incoming, answer::END);
        }
        while self.witness_runs() {
            if let Some(incoming) = self.wait(CALM) {
                reply(incoming, answer::END);
            }
        }
    }

    fn witness_runs(&self) -> bool {
        let witness = self.kept.iter().find(|kept| kept.name == WITNESS);
        witness.is_some_and(|witness| {
            witness.domain.state().is_ok_and(|info| info.state == DomainState::Running)
        })
    }

    /// Starts whoever is due; when the next one is.
    fn start_due(&mut self) -> u64 {
        let now = phi_rt::now();
        for kept in &mut self.kept {
            if kept.due.is_none_or(|due| due > now) {
                continue;
            }
            match kept.domain.start() {
                Ok(_) => kept.due = None,
                // It was killed before it began.
                Err(Error::Machine) => kept.due = Some(now + PAUSE),
                Err(error) => panic!("{} does not start: {error}", kept.name),
            }
        }
        let due = self.kept.iter().filter_map(|kept| kept.due);
        due.min().unwrap_or(u64::MAX)
    }

    /// Waits for a question, and looks who has ended.
    fn wait(&mut self, timeout: u64) -> Option<Incoming> {
        match self.mailbox.receive(timeout) {
            Ok(Event::Message(incoming)) => Some(incoming),
            Ok(Event::Signals(_)) => {
                self.look();
                None
            }
            Err(Error::TimedOut) => None,
            Err(error) => panic!("the keeper cannot receive: {error}"),
        }
    }

    fn look(&mut self) {
        for place in 0..self.kept.len() {
            let kept = &mut self.kept[place];
            if kept.due.is_some() {
                continue;
            }
            let Ok(info) = kept.domain.state() else { continue };
            let name = kept.name;
            match info.state {
                DomainState::Running => continue,
                DomainState::Faulted { kind: FaultKind::Killed, .. } if name != WITNESS => {
                    kept.due = Some(phi_rt::now() + self.random.below(PAUSE));
                    self.rung |= name == BELL;
                }
                // As it was told to.
                DomainState::Exited(0) => kept.due = Some(u64::MAX),
                state => {
                    kept.due = Some(u64::MAX);
                    self.wrong += 1;
                    self.say(format_args!("wrong: {name} ended: {state:?}"));
                }
            }
        }
    }
}

fn reply(incoming: Incoming, label: u64) {
    if incoming.is_call() {
        // Who asked may have been killed.
        let _ = incoming.reply(Outgoing::empty(label));
    }
}
