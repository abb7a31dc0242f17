//! ΦCore's machine: Linux.

use super::control;
use super::domain::{Domain, Home};
use super::events::{Events, Start};
use super::memory::{self, Access};
use super::process::CommandError;
use super::protocol::{Command, Source};
use super::region::Region;
use super::shared_space::SharedSpace;
use nix::errno::Errno;
use phi_abi::{CALLS, CONSOLE_TRANSCRIPT, Fault, FaultKind, Message, Rights, StartBlock};
use phi_core::{
    Content, DomainIndex, Frame, Machine, MachineError, RegionIndex, Span, ThreadIndex,
};
use phi_manifest::bundle::Bundle;
use phi_manifest::plan::Plan;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

/// Linux as ΦCore's machine.
pub struct LinuxMachine<'a> {
    plan: &'a Plan,
    bundle: Arc<OwnedFd>,
    plan_offset: u64,
    /// What service processes run; none to run the services in this process.
    program: Option<PathBuf>,
    /// Where the supervisor waits.
    pub events: Events,
    epoch: u64,
    serial: u32,
    domains: Vec<Option<Domain>>,
    threads: Vec<Option<Thread>>,
    regions: Vec<Option<Region>>,
    space: SharedSpace,
    lost: Vec<(Start, Fault)>,
    transcript: &'a mut dyn Write,
    log: &'a mut dyn Write,
    console_failure: Option<io::Error>,
}

/// What the supervisor knows of a thread; the service cannot change it.
struct Thread {
    domain: DomainIndex,
    slot: usize,
    /// Whether ΦCore has dispatched it, so that it may make a call.
    running: bool,
    /// Whether it was ever dispatched.
    begun: bool,
}

/// What a thread has for ΦCore.
#[expect(clippy::large_enum_variant, reason = "taken apart at once, and made for every call")]
pub enum Request {
    /// A call; the message is there if the call takes one.
    Call {
        /// Its number.
        number: u32,
        /// Its words.
        arguments: [u64; 4],
        /// Its message.
        message: Option<Message>,
    },
    /// A fault.
    Fault(Fault),
}

impl<'a> LinuxMachine<'a> {
    /// A machine with no domain yet.
    ///
    /// # Errors
    /// What Linux says.
    pub fn new(
        bundle: &'a Bundle<'_>,
        program: Option<PathBuf>,
        transcript: &'a mut dyn Write,
        log: &'a mut dyn Write,
    ) -> io::Result<LinuxMachine<'a>> {
        Ok(LinuxMachine {
            plan: bundle.plan(),
            bundle: Arc::new(memory::create_constant("phi-bundle", bundle.bytes())?),
            plan_offset: bundle.plan_offset(),
            program,
            events: Events::new()?,
            epoch: monotonic(),
            serial: 0,
            domains: bundle.plan().services.iter().map(|_| None).collect(),
            threads: Vec::new(),
            regions: Vec::new(),
            space: SharedSpace::default(),
            lost: Vec::new(),
            transcript,
            log,
            console_failure: None,
        })
    }

    /// Whether any thread runs, so that it may have something for ΦCore some time.
    pub fn runs(&self) -> bool {
        self.threads.iter().flatten().any(|thread| thread.running)
    }

    /// A time of ΦCore's as the monotonic clock shows it.
    pub fn clock_time(&self, time: u64) -> u64 {
        self.epoch.saturating_add(time)
    }

    /// The first failure to write to the transcript or the log.
    pub fn take_console_failure(&mut self) -> Option<io::Error> {
        self.console_failure.take()
    }

    /// A domain that the machine had to end and of which ΦCore does not know that yet.
    pub fn take_lost(&mut self) -> Option<(DomainIndex, Fault)> {
        while let Some((start, fault)) = self.lost.pop() {
            if self.current(start).is_some() {
                return Some((start.domain, fault));
            }
        }
        None
    }

    /// The domain, if this start of it is the current one.
    fn current(&self, start: Start) -> Option<&Domain> {
        let domain = self.domains.get(usize::from(start.domain.0))?.as_ref()?;
        (domain.start == start).then_some(domain)
    }

    /// The process of a domain has ended.
    pub fn process_ended(&mut self, start: Start) {
        if self.current(start).is_some() {
            self.lose(start.domain);
        }
    }

    /// The threads of a domain that say they have something.
    pub fn take_pending(&self, start: Start, threads: &mut Vec<ThreadIndex>) {
        if let Some(domain) = self.current(start) {
            let mut slots = Vec::new();
            domain.service.control.take_pending(&mut slots);
            threads.extend(slots.into_iter().filter_map(|slot| domain.threads[slot]));
        }
    }

    /// What a thread has for ΦCore. None if it is not its turn, or nothing is there, whatever its
    /// service says.
    pub fn take_request(&mut self, thread: ThreadIndex) -> Option<Request> {
        let record = self.threads.get_mut(usize::from(thread.0))?.as_mut()?;
        let domain = self.domains[usize::from(record.domain.0)].as_ref()?;
        let page = domain.service.control.page(record.slot);
        if !record.running {
            return None;
        }
        let request = match page.state() {
            control::CALLING => {
                let (number, arguments) = page.read_call();
                let takes = CALLS.get(number as usize).is_some_and(|call| call.message_in);
                let message = takes.then(|| page.read_message());
                Request::Call { number, arguments, message }
            }
            control::FAULTED => Request::Fault(page.read_fault()),
            _ => return None,
        };
        record.running = false;
        Some(request)
    }

    /// Lets a dispatched thread go on: at its entry, or from its call as `frame` says.
    pub fn release(&mut self, thread: ThreadIndex, frame: &Frame) {
        let Some(record) = self.threads.get_mut(usize::from(thread.0)).and_then(Option::as_mut)
        else {
            return;
        };
        let Some(domain) = &self.domains[usize::from(record.domain.0)] else { return };
        let page = domain.service.control.page(record.slot);
        if record.begun {
            page.write_outcome(frame.outcome, frame.message_out.then_some(&frame.message));
        }
        record.begun = true;
        record.running = true;
        page.set_state(control::RUNNING);
    }

    /// Time between two looks at the CPU time of services with a budget, in nanoseconds; none while
    /// no such service runs.
    pub fn budget_tick(&self) -> Option<u64> {
        let running = |domain: &&Domain| {
            let threads = domain.threads.iter().flatten();
            let mut records =
                threads.filter_map(|thread| self.threads[usize::from(thread.0)].as_ref());
            !domain.held && records.any(|record| record.running)
        };
        let budgets = self
            .domains
            .iter()
            .flatten()
            .filter(running)
            .filter_map(|domain| self.plan.services[usize::from(domain.start.domain.0)].budget);
        budgets.map(|budget| (budget.time / 4).clamp(MINIMUM_TICK, MAXIMUM_TICK)).min()
    }

    /// CPU time that services with a budget have used since the last look: by one thread of each,
    /// in nanoseconds.
    pub fn take_cpu_time(&mut self, used: &mut Vec<(ThreadIndex, u64)>) {
        for domain in self.domains.iter_mut().flatten() {
            let budget = self.plan.services[usize::from(domain.start.domain.0)].budget;
            let thread = domain.threads.iter().flatten().next();
            if let (Some(_), Some(thread)) = (budget, thread) {
                let time = domain.cpu_time();
                let more = time.saturating_sub(domain.charged);
                domain.charged = time;
                if more > 0 {
                    used.push((*thread, more));
                }
            }
        }
    }

    fn domain(&mut self, domain: DomainIndex) -> Option<&mut Domain> {
        self.domains[usize::from(domain.0)].as_mut()
    }

    /// Ends the process of a domain that broke the rules or is gone; ΦCore is told afterwards.
    fn lose(&mut self, index: DomainIndex) {
        let Some(domain) = self.domains[usize::from(index.0)].as_mut() else { return };
        if let Home::Process(process) = &domain.home {
            self.events.remove(process.descriptor());
            domain.home = Home::Nowhere;
            let fault = Fault { kind: FaultKind::Killed, address: 0, instruction: 0 };
            self.lost.push((domain.start, fault));
        }
    }

    /// Gives `domain` exactly `access` to the pages of `span`.
    fn set_access(
        &mut self,
        index: DomainIndex,
        region_index: RegionIndex,
        span: Span,
        access: Option<Access>,
    ) -> Result<(), CommandError> {
        let Some(domain) = self.domains[usize::from(index.0)].as_mut() else { return Ok(()) };
        let region = self.regions.get_mut(region_index.0 as usize).and_then(Option::as_mut);
        let region = region.filter(|region| region.contains(span));
        let region = region.ok_or(CommandError::Refused(Errno::EINVAL))?;
        let Span { address, length } = span;
        if length == 0 {
            return Ok(());
        }
        let process = match &domain.home {
            Home::Process(process) => process,
            Home::Here(_) => {
                let result = self.space.set(index, region_index, region, span, access);
                return result.map_err(CommandError::Refused);
            }
            Home::Nowhere => return Err(CommandError::Lost),
        };
        let result = match access {
            None => process.command(&[Command::Unmap { address, length }], &[]),
            Some(access) => {
                let source = region.source(address, access);
                let (file, offset) = source.map_err(|_| CommandError::Refused(Errno::EMFILE))?;
                let source = Source::Shared(offset);
                process.command(&[Command::Map { address, length, access, source }], &[file])
            }
        };
        // A process that keeps memory which it must not use is ended, too.
        let kept = access.is_none() && result.is_err();
        if kept || result == Err(CommandError::Lost) {
            self.lose(index);
        }
        result
    }
}

/// Limits of the time between two looks at the CPU time of services, in nanoseconds.
const MINIMUM_TICK: u64 = 500_000;
const MAXIMUM_TICK: u64 = 5_000_000;

impl Machine for LinuxMachine<'_> {
    fn now(&mut self) -> u64 {
        monotonic().saturating_sub(self.epoch)
    }

    fn load(&mut self, index: DomainIndex, start: &StartBlock) -> Result<(), MachineError> {
        self.serial = self.serial.wrapping_add(1);
        let plan = &self.plan.services[usize::from(index.0)];
        let begun = Start { domain: index, serial: self.serial };
        let domain = Domain::load(begun, plan, start, &self.bundle, self.program.as_deref())
            .map_err(|_| MachineError)?;
        let process = match &domain.home {
            Home::Process(process) => Some(process.descriptor()),
            _ => None,
        };
        let added = self.events.add(begun, domain.service.doorbell.as_fd(), process);
        added.map_err(|_| MachineError)?;
        self.domains[usize::from(index.0)] = Some(domain);
        Ok(())
    }

    fn unload(&mut self, index: DomainIndex) {
        let Some(domain) = self.domains[usize::from(index.0)].take() else { return };
        self.events.remove(domain.service.doorbell.as_fd());
        if let Home::Process(process) = &domain.home {
            self.events.remove(process.descriptor());
        }
        for thread in domain.threads.iter().flatten() {
            self.threads[usize::from(thread.0)] = None;
        }
        let here = matches!(domain.home, Home::Here(_));
        drop(domain);
        if here {
            let removed = self.space.remove_domain(index, &mut self.regions);
            // It fails only where this process itself has no memory for its own mappings left.
            debug_assert!(removed.is_ok());
        }
    }

    fn thread_start(
        &mut self,
        thread: ThreadIndex,
        index: DomainIndex,
        entry: u64,
        stack: u64,
        argument: u64,
    ) -> Result<(), MachineError> {
        let domain = self.domain(index).ok_or(MachineError)?;
        let slot = match domain.thread_start(thread, entry, stack, argument) {
            Ok(slot) => slot,
            Err(error) => {
                if error == CommandError::Lost {
                    self.lose(index);
                }
                return Err(MachineError);
            }
        };
        let place = usize::from(thread.0);
        if self.threads.len() <= place {
            self.threads.resize_with(place + 1, || None);
        }
        self.threads[place] = Some(Thread { domain: index, slot, running: false, begun: false });
        Ok(())
    }

    fn thread_stop(&mut self, thread: ThreadIndex) {
        let record = self.threads.get_mut(usize::from(thread.0)).and_then(Option::take);
        let Some(record) = record else { return };
        if let Some(domain) = self.domain(record.domain) {
            domain.threads[record.slot] = None;
            domain.service.control.page(record.slot).end();
        }
    }

    fn region_create(
        &mut self,
        index: RegionIndex,
        span: Span,
        content: Content,
    ) -> Result<(), MachineError> {
        let region = match content {
            Content::Zero => Region::zeroed(span).map_err(|_| MachineError)?,
            Content::Plan => Region::constant(span, self.bundle.clone(), self.plan_offset),
            Content::Input(number) => {
                let input = self.plan.inputs.get(usize::from(number)).ok_or(MachineError)?;
                Region::constant(span, self.bundle.clone(), input.offset)
            }
        };
        let place = index.0 as usize;
        if self.regions.len() <= place {
            self.regions.resize_with(place + 1, || None);
        }
        self.regions[place] = Some(region);
        Ok(())
    }

    fn region_destroy(&mut self, region: RegionIndex) {
        if let Some(place) = self.regions.get_mut(region.0 as usize) {
            *place = None;
        }
        // Nothing maps it any more; what is left is memory that nobody reaches.
        let _ = self.space.remove_region(region);
    }

    fn map(
        &mut self,
        domain: DomainIndex,
        region: RegionIndex,
        span: Span,
        access: Rights,
    ) -> Result<(), MachineError> {
        let write = access.contains(Rights::WRITE);
        let access = if write { Access::Write } else { Access::Read };
        self.set_access(domain, region, span, Some(access)).map_err(|_| MachineError)
    }

    fn unmap(&mut self, domain: DomainIndex, region: RegionIndex, span: Span) {
        // A process that fails to is ended by `set_access`.
        let _ = self.set_access(domain, region, span, None);
    }

    fn throttle(&mut self, domain: DomainIndex, stopped: bool) {
        if let Some(domain) = self.domain(domain) {
            domain.hold(stopped);
        }
    }

    fn console_write(&mut self, stream: u64, bytes: &[u8]) {
        let output: &mut dyn Write =
            if stream == CONSOLE_TRANSCRIPT { self.transcript } else { self.log };
        let written = output.write_all(bytes).and_then(|()| output.flush());
        if let Err(error) = written
            && self.console_failure.is_none()
        {
            self.console_failure = Some(error);
        }
    }
}

impl Drop for LinuxMachine<'_> {
    fn drop(&mut self) {
        // First all, so that they end at the same time.
        for domain in self.domains.iter().flatten() {
            if let Home::Process(process) = &domain.home {
                process.kill();
            }
        }
        for index in 0..self.domains.len() {
            self.unload(DomainIndex(index as u16));
        }
        for index in 0..self.regions.len() {
            self.region_destroy(RegionIndex(index as u32));
        }
    }
}

/// The monotonic clock, in nanoseconds.
fn monotonic() -> u64 {
    let time = nix::time::ClockId::CLOCK_MONOTONIC.now();
    // The clock always exists.
    time.map_or(0, |time| std::time::Duration::from(time).as_nanos() as u64)
}
