//! The supervisor: ΦCore in a loop over what happens.

use super::LinuxError;
use super::events::Event;
use super::machine::{LinuxMachine, Request};
use nix::sys::signal::Signal;
use phi_core::{DomainIndex, Kernel, Machine, ThreadIndex};
use phi_manifest::plan::Plan;

/// A system that runs.
pub struct Supervisor<'a> {
    kernel: Kernel<LinuxMachine<'a>>,
    /// When the CPU time of services with a budget is looked at next, in nanoseconds.
    tick: Option<u64>,
}

impl<'a> Supervisor<'a> {
    /// Starts the system: when this returns, `init` is on its way.
    ///
    /// # Errors
    /// ΦCore's, or what Linux says.
    pub fn start(machine: LinuxMachine<'a>, plan: &Plan) -> Result<Supervisor<'a>, LinuxError> {
        let kernel = Kernel::boot(machine, plan).map_err(LinuxError::Boot)?;
        let mut supervisor = Supervisor { kernel, tick: None };
        supervisor.settle();
        Ok(supervisor)
    }

    /// Runs the system to its end; returns its exit status.
    ///
    /// # Errors
    /// What Linux says about waiting, or about writing to the transcript or the log;
    /// [`LinuxError::Stuck`].
    pub fn run(&mut self) -> Result<u8, LinuxError> {
        let mut events = Vec::new();
        loop {
            if let Some(error) = self.kernel.machine_mut().take_console_failure() {
                return Err(LinuxError::Console(error));
            }
            if let Some(status) = self.kernel.halted() {
                return Ok(status);
            }
            if self.kernel.next_deadline().is_none() && !self.kernel.machine().runs() {
                return Err(LinuxError::Stuck);
            }
            self.set_time().map_err(LinuxError::Wait)?;
            events.clear();
            self.kernel.machine_mut().events.wait(&mut events).map_err(LinuxError::Wait)?;
            for event in &events {
                if let Event::Signal(signal) = event {
                    return Ok(interrupted(*signal));
                }
                self.handle(*event);
            }
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Doorbell(start) => {
                let mut threads = Vec::new();
                self.kernel.machine().take_pending(start, &mut threads);
                for thread in threads {
                    self.serve(thread);
                }
            }
            Event::Ended(start) => self.kernel.machine_mut().process_ended(start),
            Event::Time => {
                self.charge();
                self.kernel.expire();
            }
            Event::Signal(_) => {}
        }
        self.settle();
    }

    /// Does what a thread asks for.
    fn serve(&mut self, thread: ThreadIndex) {
        match self.kernel.machine_mut().take_request(thread) {
            Some(Request::Call { number, arguments, message }) => {
                let frame = self.kernel.frame_mut(thread);
                frame.number = number;
                frame.arguments = arguments;
                if let Some(message) = message {
                    frame.message = message;
                }
                self.kernel.system_call(thread);
            }
            Some(Request::Fault(fault)) => self.kernel.fault(thread, fault),
            None => return,
        }
        self.settle();
    }

    /// Tells ΦCore of the domains that were lost meanwhile, and lets every thread go that may.
    fn settle(&mut self) {
        loop {
            while let Some((domain, fault)) = self.kernel.machine_mut().take_lost() {
                self.kernel.domain_lost(domain, fault);
            }
            let Some(thread) = self.kernel.dispatch() else { break };
            let frame = self.kernel.frame(thread).clone();
            self.kernel.machine_mut().release(thread, &frame);
        }
    }

    /// Charges the CPU time that services with a budget have used.
    fn charge(&mut self) {
        let mut used = Vec::new();
        self.kernel.machine_mut().take_cpu_time(&mut used);
        for (thread, nanoseconds) in used {
            self.kernel.charge(thread, nanoseconds);
        }
        self.tick = None;
    }

    /// Has the time of what is due next be an event.
    fn set_time(&mut self) -> nix::Result<()> {
        // Once set it stays: a service that waits often would escape it otherwise.
        if self.tick.is_none()
            && let Some(period) = self.kernel.machine().budget_tick()
        {
            self.tick = Some(self.kernel.machine_mut().now() + period);
        }
        let deadline = self.kernel.next_deadline();
        let next = self.tick.into_iter().chain(deadline).min();
        let machine = self.kernel.machine_mut();
        let time = next.map(|time| machine.clock_time(time));
        machine.events.set_time(time)
    }

    /// What every service of `plan` is and has used.
    pub fn services(&self, plan: &Plan) -> Vec<super::ServiceReport> {
        let indices = (0..plan.services.len()).map(|index| DomainIndex(index as u16));
        let services = indices.zip(&plan.services);
        services
            .map(|(index, service)| {
                (service.name.clone(), self.kernel.info(index), self.kernel.statistics(index))
            })
            .collect()
    }
}

/// The exit status of a system that a signal ended, as a shell reports it.
fn interrupted(signal: Signal) -> u8 {
    128 + signal as i32 as u8
}
