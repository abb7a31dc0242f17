//! A machine that answers as the recorded one did.

use super::input::Answer;
use crate::event::Event;
use crate::machine::{Act, Beginning, Services, SimMachine, Turn};
use phi_abi::{Fault, FaultKind, Rights, StartBlock};
use phi_core::{Content, DomainIndex, Machine, MachineError, RegionIndex, Span, ThreadIndex};
use std::collections::VecDeque;

/// The services of a replay: what they did stands in the recording, and nobody asks them.
pub(super) struct Absent;

impl Services for Absent {
    fn thread_start(
        &mut self,
        _: ThreadIndex,
        _: DomainIndex,
        _: Beginning,
    ) -> Result<(), MachineError> {
        Ok(())
    }

    fn next(&mut self, _: Turn<'_>) -> Act {
        Act::Fault(Fault { kind: FaultKind::Killed, address: 0, instruction: 0 })
    }
}

/// The simulated machine, with the answers of a recording.
pub(super) struct Player {
    machine: SimMachine<Absent>,
    answers: VecDeque<Answer>,
    /// What was asked that is not in the recording, first.
    unexpected: Option<String>,
}

impl Player {
    /// A machine that answers with what the first step has.
    pub(super) fn new(answers: Vec<Answer>) -> Player {
        Player { machine: SimMachine::new(Absent), answers: answers.into(), unexpected: None }
    }

    /// The next step has these answers.
    pub(super) fn prepare(&mut self, answers: Vec<Answer>) {
        self.answers = answers.into();
    }

    /// How what was asked differs from what was recorded, if it does.
    pub(super) fn difference(&mut self) -> Option<String> {
        let left = self.answers.len();
        let unasked =
            (left > 0).then(|| format!("{left} recorded answers that nothing asked for now"));
        self.unexpected.take().or(unasked)
    }

    /// What happened on it since somebody last looked.
    pub(super) fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.machine.events)
    }

    /// The simulated machine.
    pub(super) fn machine(&self) -> &SimMachine<Absent> {
        &self.machine
    }

    /// How often the machine is to refuse what is asked next: once or not.
    fn refuses(&mut self, what: &str) -> u32 {
        match self.answers.pop_front() {
            Some(Answer::Done) => 0,
            Some(Answer::Refused) => 1,
            other => {
                self.unexpected(what, other);
                1
            }
        }
    }

    fn unexpected(&mut self, what: &str, recorded: Option<Answer>) {
        let recorded = match recorded {
            Some(Answer::Time(_)) => "the time was asked",
            Some(_) => "something else was asked",
            None => "nothing more was asked",
        };
        self.unexpected.get_or_insert_with(|| format!("{what} is asked now, where {recorded}"));
    }
}

impl Machine for Player {
    fn now(&mut self) -> u64 {
        match self.answers.pop_front() {
            // Time never goes back, whatever a file says.
            Some(Answer::Time(time)) => self.machine.clock = time.max(self.machine.clock),
            other => self.unexpected("the time", other),
        }
        self.machine.now()
    }

    fn load(&mut self, domain: DomainIndex, start: &StartBlock) -> Result<(), MachineError> {
        self.machine.failures.load = self.refuses("an address space");
        self.machine.load(domain, start)
    }

    fn unload(&mut self, domain: DomainIndex) {
        self.machine.unload(domain);
    }

    fn thread_start(
        &mut self,
        thread: ThreadIndex,
        domain: DomainIndex,
        entry: u64,
        stack: u64,
        argument: u64,
    ) -> Result<(), MachineError> {
        self.machine.failures.thread_start = self.refuses("a thread");
        self.machine.thread_start(thread, domain, entry, stack, argument)
    }

    fn thread_stop(&mut self, thread: ThreadIndex) {
        self.machine.thread_stop(thread);
    }

    fn region_create(
        &mut self,
        region: RegionIndex,
        span: Span,
        content: Content,
    ) -> Result<(), MachineError> {
        self.machine.failures.region_create = self.refuses("a region's memory");
        self.machine.region_create(region, span, content)
    }

    fn region_destroy(&mut self, region: RegionIndex) {
        self.machine.region_destroy(region);
    }

    fn map(
        &mut self,
        domain: DomainIndex,
        region: RegionIndex,
        span: Span,
        access: Rights,
    ) -> Result<(), MachineError> {
        self.machine.failures.map = self.refuses("a mapping");
        self.machine.map(domain, region, span, access)
    }

    fn unmap(&mut self, domain: DomainIndex, region: RegionIndex, span: Span) {
        self.machine.unmap(domain, region, span);
    }

    fn throttle(&mut self, domain: DomainIndex, stopped: bool) {
        self.machine.throttle(domain, stopped);
    }

    fn console_write(&mut self, stream: u64, bytes: &[u8]) {
        self.machine.console_write(stream, bytes);
    }

    fn devices(&mut self) -> Option<&mut dyn phi_core::Devices> {
        None
    }
}
