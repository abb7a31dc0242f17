//! ΦCore's machine: Linux.

mod channels;
mod looks;
mod offers;

pub use offers::ImageProblem;
use offers::Offered;

use super::control::{self, Tally};
use super::device::Device;
use super::domain::{Domain, Home};
use super::events::{Events, Start};
use super::launch::Launcher;
use super::memory::{self, Access};
use super::monotonic;
use super::probe;
use super::process::CommandError;
use super::region::Region;
use super::shared_space::SharedSpace;
use crate::perf;
use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use phi_abi::{CALLS, CONSOLE_LOG, CONSOLE_TRANSCRIPT, Fault, FaultKind, Rights, StartBlock};
use phi_core::{
    Content, DomainIndex, Frame, Machine, MachineError, RegionIndex, Span, ThreadIndex,
};
use phi_manifest::bundle::Bundle;
use phi_manifest::plan::Plan;
use phi_sim::recording::Input;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};

/// Linux as ΦCore's machine.
pub struct LinuxMachine<'a> {
    plan: &'a Plan,
    bundle: &'a Bundle<'a>,
    /// The bundle's images, for agents that load one.
    images: OwnedFd,
    /// Images that were handed in while the system ran.
    offers: Vec<Offered>,
    /// The number of the last of them.
    last_image: u64,
    /// What starts service processes; none to run the services in this process.
    launcher: Option<Launcher>,
    /// Where the supervisor waits.
    pub events: Events,
    epoch: u64,
    serial: u32,
    domains: Vec<Option<Domain>>,
    threads: Vec<Option<Thread>>,
    regions: Vec<Option<Region>>,
    space: SharedSpace,
    /// Devices of the services that are drivers.
    devices: Vec<Option<Device>>,
    /// A device that does not end what its driver began: nobody's memory is its own any more.
    device_failure: Option<io::Error>,
    lost: Vec<(Start, Fault)>,
    changes: Vec<Change>,
    watcher: Option<&'a mut dyn Watcher>,
    /// What ended domains had done past ΦCore.
    tallies: Vec<(DomainIndex, Tally)>,
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
    /// Whether ΦCore has taken over a call that it made on a channel.
    adopted: bool,
}

/// Where a thread lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seat {
    /// The start of its domain.
    pub start: Start,
    /// Its slot in the control area.
    pub slot: usize,
}

/// Somebody who is told of service processes as they come.
pub trait Watcher {
    /// A domain has a process, in which nothing of the service runs before this returns.
    fn process_started(&mut self, domain: DomainIndex, process: Pid);
}

/// What became of a domain's address space.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// There is one, for the domain's start with this generation.
    Loaded(DomainIndex, u32),
    /// That of the start with this generation has gone.
    Unloaded(DomainIndex, u32),
}

impl<'a> LinuxMachine<'a> {
    /// A machine with no domain yet.
    ///
    /// # Errors
    /// What Linux says.
    pub fn new(
        bundle: &'a Bundle<'_>,
        launcher: Option<Launcher>,
        devices: Vec<Option<Device>>,
        watcher: Option<&'a mut dyn Watcher>,
        transcript: &'a mut dyn Write,
        log: &'a mut dyn Write,
    ) -> io::Result<LinuxMachine<'a>> {
        Ok(LinuxMachine {
            plan: bundle.plan(),
            bundle,
            images: memory::create_constant("phi-images", &perf::memory(bundle), 0)?,
            offers: Vec::new(),
            last_image: 0,
            launcher,
            events: Events::new()?,
            epoch: monotonic(),
            serial: 0,
            domains: bundle.plan().services.iter().map(|_| None).collect(),
            threads: Vec::new(),
            regions: Vec::new(),
            space: SharedSpace::default(),
            devices,
            device_failure: None,
            lost: Vec::new(),
            changes: Vec::new(),
            watcher,
            tallies: Vec::new(),
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

    /// The first device that does not end what its driver began.
    pub fn take_device_failure(&mut self) -> Option<io::Error> {
        self.device_failure.take()
    }

    /// Whether a service is a driver: its thread for the device runs while it waits.
    pub fn has_drivers(&self) -> bool {
        self.devices.iter().any(Option::is_some)
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

    /// What became of domains since this was asked last, in its order.
    pub fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// What there is of domains that are not loaded.
    pub fn residue(&self) -> Vec<String> {
        let loaded = |domain: DomainIndex| self.domains[usize::from(domain.0)].is_some();
        let threads = self.threads.iter().flatten().filter(|thread| !loaded(thread.domain)).count();
        let lost = self.lost.iter().filter(|(start, _)| self.current(*start).is_none()).count();
        let counts = [(threads, "threads"), (lost, "losses")];
        let found = counts.into_iter().filter(|(count, _)| *count > 0);
        found
            .map(|(count, what)| format!("{count} {what} of domains that are not loaded"))
            .collect()
    }

    /// The slot of a thread in its domain; 0 for a thread that is gone.
    pub fn slot(&self, thread: ThreadIndex) -> usize {
        let record = self.threads.get(usize::from(thread.0)).and_then(Option::as_ref);
        record.map_or(0, |record| record.slot)
    }

    /// Whether there is one.
    pub fn has_lost(&self) -> bool {
        self.lost.iter().any(|(start, _)| self.current(*start).is_some())
    }

    /// The domain, if this start of it is the current one.
    fn current(&self, start: Start) -> Option<&Domain> {
        let domain = self.domains.get(usize::from(start.domain.0))?.as_ref()?;
        (domain.start == start).then_some(domain)
    }

    /// The process of a domain has ended.
    pub fn process_ended(&mut self, start: Start) {
        if self.current(start).is_some() {
            self.lose(start.domain, "ended itself");
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
    pub fn take_input(&mut self, thread: ThreadIndex) -> Option<Input> {
        let record = self.threads.get_mut(usize::from(thread.0))?.as_mut()?;
        let domain = self.domains[usize::from(record.domain.0)].as_ref()?;
        let page = domain.service.control.page(record.slot);
        if !record.running {
            return None;
        }
        let input = match page.state() {
            control::CALLING => {
                let (number, arguments) = page.read_call();
                let takes = CALLS.get(number as usize).is_some_and(|call| call.message_in);
                let message = takes.then(|| page.read_message());
                Input::Call { thread, number, arguments, message }
            }
            control::FAULTED => Input::Fault(thread, page.read_fault()),
            _ => return None,
        };
        record.running = false;
        Some(input)
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
        let status = frame.outcome.status;
        probe::site!("release", record.domain.0, record.slot, 0, frame.number, 0, status);
        if std::mem::take(&mut record.adopted) {
            page.end_adopted();
        } else {
            page.set_state(control::RUNNING);
        }
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

    /// Ends the process of a domain that broke the rules or is gone, and says why, or what Linux
    /// ended it for before; ΦCore is told afterwards.
    fn lose(&mut self, index: DomainIndex, why: &str) {
        let Some(domain) = self.domains[usize::from(index.0)].as_mut() else { return };
        if let Home::Process(process) = &domain.home {
            let why = match process.end() {
                Some(Signal::SIGSYS) => "made a system call that its filter forbids".into(),
                Some(signal) => format!("was ended by {signal}"),
                None => why.to_owned(),
            };
            self.events.remove(process.descriptor());
            domain.home = Home::Nowhere;
            let fault = Fault { kind: FaultKind::Killed, address: 0, instruction: 0 };
            self.lost.push((domain.start, fault));
            let name = &self.plan.services[usize::from(index.0)].name;
            let line = format!("linux: the process of {name} {why}\n");
            self.console_write(CONSOLE_LOG, line.as_bytes());
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
        let process = match &mut domain.home {
            Home::Process(process) => process,
            Home::Here(_) => {
                let result = self.space.set(index, region_index, region, span, access);
                return result.map_err(CommandError::Refused);
            }
            Home::Nowhere => return Err(CommandError::Lost),
        };
        let result = match access {
            None => process.unmap(address, length),
            Some(access) => {
                let source = region.source(address, access);
                let (file, offset) = source.map_err(|_| CommandError::Refused(Errno::EMFILE))?;
                process.map(address, length, access, file, offset)
            }
        };
        // A process that keeps memory which it must not use is ended, too.
        let kept = access.is_none() && matches!(result, Err(CommandError::Refused(_)));
        self.lose_disobedient(index, if kept { Err(CommandError::Kept) } else { result })
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
        let device = self.devices.get(usize::from(index.0)).and_then(Option::as_ref);
        let launcher = self.launcher.as_ref();
        let image = match self.offers.iter().find(|offer| offer.number == start.image) {
            Some(offer) => (&offer.plan, &offer.memory),
            None => (plan.image(start.image).ok_or(MachineError)?, &self.images),
        };
        let loaded = Domain::load(begun, plan, image, start, launcher, device);
        let domain = match loaded {
            Ok(domain) => domain,
            Err(error) => {
                let line = format!("linux: {} cannot start: {error}\n", plan.name);
                self.console_write(CONSOLE_LOG, line.as_bytes());
                return Err(MachineError);
            }
        };
        let process = match &domain.home {
            Home::Process(process) => Some(process.descriptor()),
            _ => None,
        };
        let added = self.events.add(begun, domain.service.doorbell.as_fd(), process);
        added.map_err(|_| MachineError)?;
        let id = match &domain.home {
            Home::Process(process) => {
                if let Some(watcher) = &mut self.watcher {
                    watcher.process_started(index, process.id());
                }
                process.id()
            }
            _ => nix::unistd::getpid(),
        };
        probe::site!("service_start", index.0, 0, 0, start.generation, 0, id.as_raw());
        self.changes.push(Change::Loaded(index, start.generation));
        self.domains[usize::from(index.0)] = Some(domain);
        Ok(())
    }

    fn unload(&mut self, index: DomainIndex) {
        let Some(mut domain) = self.domains[usize::from(index.0)].take() else { return };
        self.tallies.push((index, domain.take_tally()));
        self.events.remove(domain.service.doorbell.as_fd());
        if let Home::Process(process) = &domain.home {
            self.events.remove(process.descriptor());
        }
        for thread in domain.threads.iter().flatten() {
            self.threads[usize::from(thread.0)] = None;
        }
        self.changes.push(Change::Unloaded(index, domain.generation));
        let here = matches!(domain.home, Home::Here(_));
        drop(domain);
        if let Some(Some(device)) = self.devices.get(usize::from(index.0))
            && let Err(error) = device.settle()
        {
            self.device_failure.get_or_insert(error);
        }
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
        let plan = self.bundle.plan().services.get(usize::from(index.0)).ok_or(MachineError)?;
        // A driver of this machine's takes the place of the image, if there is one for other machines.
        let drives = plan.driver.is_some() && entry == plan.image.entry;
        let entry = if drives { 0 } else { entry };
        let domain = self.domain(index).ok_or(MachineError)?;
        let slot = match domain.thread_start(thread, entry, stack, argument) {
            Ok(slot) => slot,
            Err(error) => {
                if error == CommandError::Lost {
                    self.lose(index, "does not do what it is told");
                }
                return Err(MachineError);
            }
        };
        let place = usize::from(thread.0);
        if self.threads.len() <= place {
            self.threads.resize_with(place + 1, || None);
        }
        self.threads[place] =
            Some(Thread { domain: index, slot, running: false, begun: false, adopted: false });
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
            // Linux hands out no physical addresses.
            Content::Zero | Content::Pinned => Region::zeroed(span),
            Content::Plan => Region::constant(span, self.bundle.plan_bytes()),
            Content::Input(number) => {
                Region::constant(span, self.bundle.input(usize::from(number)))
            }
        };
        let region = region.map_err(|_| MachineError)?;
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
            probe::site!("throttle", domain.start.domain.0, 0, 0, 0, 0, stopped);
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

    fn devices(&mut self) -> Option<&mut dyn phi_core::Devices> {
        None
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
