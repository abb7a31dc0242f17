//! ΦCore's machine: virtual time, and books of what is loaded and mapped where.

use crate::checkers::Violation;
use crate::checkers::ledger::Ledger;
use crate::devices::Board;
use crate::event::{Call, Event, Named};
use phi_abi::{CONSOLE_TRANSCRIPT, Fault, Kind, Message, Outcome, Rights, StartBlock};
use phi_core::{Content, DomainIndex, Machine, MachineError, RegionIndex, Span, ThreadIndex};
use phi_random::Random;

/// How many of the next requests of each kind the machine refuses.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Failures {
    /// Of [`Machine::load`].
    pub load: u32,
    /// Of [`Machine::thread_start`].
    pub thread_start: u32,
    /// Of [`Machine::region_create`].
    pub region_create: u32,
    /// Of [`Machine::map`].
    pub map: u32,
}

/// How a thread begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Beginning {
    /// Address of its first instruction.
    pub entry: u64,
    /// Its stack pointer.
    pub stack: u64,
    /// Its first argument.
    pub argument: u64,
}

/// What a thread does next.
#[expect(clippy::large_enum_variant, reason = "taken apart at once, and made for every call")]
pub enum Act {
    /// A call.
    Call(Call),
    /// What no correct program does.
    Fault(Fault),
}

/// What a thread knows when it goes on.
pub struct Turn<'a> {
    /// The thread.
    pub thread: ThreadIndex,
    /// Its domain.
    pub domain: DomainIndex,
    /// How its last call ended; success for a thread that begins.
    pub outcome: Outcome,
    /// The message of its last call, where one came out.
    pub message: Option<&'a Message>,
    /// Who holds what.
    pub ledger: &'a Ledger,
    /// What is random in this step.
    pub random: &'a mut Random,
    /// Nanoseconds since the system's start.
    pub now: u64,
    /// Whether the run is to come to rest: no new calls that wait for an answer.
    pub settling: bool,
}

/// The services on the machine. The machine passes on what ΦCore asks of it; the scheduler asks what
/// a thread does next. Methods have no effect unless a kind of service needs one.
pub trait Services {
    /// A domain is to get its address space.
    ///
    /// # Errors
    /// [`MachineError`] when the host has no memory for it.
    fn load(&mut self, _domain: DomainIndex, _start: &StartBlock) -> Result<(), MachineError> {
        Ok(())
    }

    /// A domain's address space and threads are to go.
    fn unload(&mut self, _domain: DomainIndex) {}

    /// A thread is to begin so.
    ///
    /// # Errors
    /// [`MachineError`] when the host has no stack for it.
    fn thread_start(
        &mut self,
        thread: ThreadIndex,
        domain: DomainIndex,
        beginning: Beginning,
    ) -> Result<(), MachineError>;

    /// A thread never runs again.
    fn thread_stop(&mut self, _thread: ThreadIndex) {}

    /// A region is to have memory.
    ///
    /// # Errors
    /// [`MachineError`] when the host has none.
    fn region_create(
        &mut self,
        _region: RegionIndex,
        _span: Span,
        _content: Content,
    ) -> Result<(), MachineError> {
        Ok(())
    }

    /// A region's memory is to go.
    fn region_destroy(&mut self, _region: RegionIndex) {}

    /// Exactly this access to these pages; empty for none.
    ///
    /// # Errors
    /// [`MachineError`] when the host refuses.
    fn set_access(
        &mut self,
        _domain: DomainIndex,
        _region: RegionIndex,
        _span: Span,
        _access: Rights,
    ) -> Result<(), MachineError> {
        Ok(())
    }

    /// What a thread does next.
    fn next(&mut self, turn: Turn<'_>) -> Act;

    /// A device of theirs fails at this time; `false` where there is none.
    fn fail(&mut self, _now: u64, _random: &mut Random) -> bool {
        false
    }

    /// Faults have stopped.
    fn rest(&mut self) {}

    /// Whether they have done since then what they must.
    fn has_rested(&self) -> bool {
        true
    }

    /// The run is over: a last look.
    fn finish(&mut self) {}

    /// What must not have happened to them, if something has.
    fn violation(&mut self) -> Option<Violation> {
        None
    }
}

/// The simulated machine: it does what ΦCore asks at once, or fails where it was told to.
pub struct SimMachine<S: Services> {
    /// Nanoseconds since the system's start.
    pub clock: u64,
    /// What it shall refuse next.
    pub failures: Failures,
    /// What it was asked and did since somebody last looked.
    pub events: Vec<Event>,
    /// The services.
    pub services: S,
    /// Its devices, if it has some.
    pub board: Option<Board>,
    transcript: Vec<u8>,
    log: Vec<u8>,
}

/// Bytes of log that are kept: its beginning.
const LOG: usize = 1 << 20;

impl<S: Services> SimMachine<S> {
    /// A machine with nothing in it.
    pub fn new(services: S) -> SimMachine<S> {
        let (failures, events) = (Failures::default(), Vec::new());
        let (transcript, log) = (Vec::new(), Vec::new());
        SimMachine { clock: 0, failures, events, services, board: None, transcript, log }
    }

    /// Everything written to the system's transcript.
    pub fn transcript(&self) -> &[u8] {
        &self.transcript
    }

    /// What was written to the log: the first MiB.
    pub fn log(&self) -> &[u8] {
        &self.log
    }
}

/// Counts down to the end of what is to fail.
pub(crate) fn fail(left: &mut u32, events: &mut Vec<Event>) -> Result<(), MachineError> {
    match left.checked_sub(1) {
        Some(less) => {
            *left = less;
            events.push(Event::MachineFailed);
            Err(MachineError)
        }
        None => Ok(()),
    }
}

impl<S: Services> Machine for SimMachine<S> {
    fn now(&mut self) -> u64 {
        self.clock
    }

    fn load(&mut self, domain: DomainIndex, start: &StartBlock) -> Result<(), MachineError> {
        fail(&mut self.failures.load, &mut self.events)?;
        self.services.load(domain, start)?;
        let named = start.capabilities().iter().filter_map(|named| {
            let kind = Kind::from_number(named.kind as u8)?;
            let rights = Rights::from_bits_retain(named.rights);
            Some(Named { handle: named.handle, kind, rights })
        });
        self.events.push(Event::Loaded(domain, named.collect()));
        if start.image > 0 {
            self.events.push(Event::Runs(domain, start.image));
        }
        Ok(())
    }

    fn unload(&mut self, domain: DomainIndex) {
        self.services.unload(domain);
        self.events.push(Event::Unloaded(domain));
    }

    fn thread_start(
        &mut self,
        thread: ThreadIndex,
        domain: DomainIndex,
        entry: u64,
        stack: u64,
        argument: u64,
    ) -> Result<(), MachineError> {
        fail(&mut self.failures.thread_start, &mut self.events)?;
        self.services.thread_start(thread, domain, Beginning { entry, stack, argument })?;
        self.events.push(Event::ThreadStarted(thread, domain));
        Ok(())
    }

    fn thread_stop(&mut self, thread: ThreadIndex) {
        self.services.thread_stop(thread);
        self.events.push(Event::ThreadStopped(thread));
    }

    fn region_create(
        &mut self,
        region: RegionIndex,
        span: Span,
        content: Content,
    ) -> Result<(), MachineError> {
        fail(&mut self.failures.region_create, &mut self.events)?;
        self.services.region_create(region, span, content)?;
        self.events.push(Event::RegionCreated(region, span));
        Ok(())
    }

    fn region_destroy(&mut self, region: RegionIndex) {
        self.services.region_destroy(region);
        self.events.push(Event::RegionDestroyed(region));
    }

    fn map(
        &mut self,
        domain: DomainIndex,
        region: RegionIndex,
        span: Span,
        access: Rights,
    ) -> Result<(), MachineError> {
        fail(&mut self.failures.map, &mut self.events)?;
        self.services.set_access(domain, region, span, access)?;
        self.events.push(Event::Mapped(domain, region, span, access));
        Ok(())
    }

    fn unmap(&mut self, domain: DomainIndex, region: RegionIndex, span: Span) {
        // Unmapping needs no memory; a host that refuses it has none left for anything.
        let _ = self.services.set_access(domain, region, span, Rights::empty());
        self.events.push(Event::Unmapped(domain, region, span));
    }

    fn throttle(&mut self, domain: DomainIndex, stopped: bool) {
        self.events.push(Event::Throttled(domain, stopped));
    }

    fn console_write(&mut self, stream: u64, bytes: &[u8]) {
        if stream == CONSOLE_TRANSCRIPT {
            self.transcript.extend_from_slice(bytes);
        } else if self.log.len() < LOG {
            self.log.extend_from_slice(bytes);
        }
        self.events.push(Event::Written(stream, bytes.to_vec()));
    }

    fn devices(&mut self) -> Option<&mut dyn phi_core::Devices> {
        match self.board {
            Some(_) => Some(self),
            None => None,
        }
    }
}
