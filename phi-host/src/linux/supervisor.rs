//! The supervisor: ΦCore in a loop over what happens.

mod answers;

use super::LinuxError;
use super::control_socket::ControlSocket;
use super::direct::{self, Sent, Switchboard};
use super::events::Event;
use super::machine::{ImageProblem, LinuxMachine};
use super::witness::Witness;
use nix::sys::signal::Signal;
use phi_core::{DomainIndex, Kernel, Machine, ThreadIndex};
use phi_manifest::plan::Plan;
use phi_sim::recording::{Input, Journal, Recorded, Traced};
use std::path::PathBuf;

/// A system that runs.
pub struct Supervisor<'a> {
    /// ΦCore: everything that it is fed with goes this way.
    system: Recorded<LinuxMachine<'a>>,
    witness: Witness,
    switchboard: Switchboard,
    /// When the CPU time of services with a budget is looked at next, in nanoseconds.
    tick: Option<u64>,
    /// When all threads may have waited for each other for long enough, in nanoseconds, and how they
    /// waited when that was last looked at.
    standstill: Option<(u64, Option<Vec<u64>>)>,
    /// Where others ask what the system is doing.
    control: Option<ControlSocket>,
    /// What the run was started from, for those who ask.
    source: Option<PathBuf>,
}

impl<'a> Supervisor<'a> {
    /// Starts the system: when this returns, `init` is on its way. What happens is written to
    /// `journal`, if there is one.
    ///
    /// # Errors
    /// ΦCore's, or what Linux says.
    pub fn start(
        machine: LinuxMachine<'a>,
        plan: &Plan,
        journal: Option<Journal>,
        switchboard: Switchboard,
    ) -> Result<Supervisor<'a>, LinuxError> {
        let system = Recorded::boot(machine, plan, journal).map_err(LinuxError::Boot)?;
        let (witness, tick, standstill) = (Witness::default(), None, None);
        let (control, source) = (None, None);
        let mut supervisor =
            Supervisor { system, witness, switchboard, tick, standstill, control, source };
        supervisor.settle();
        Ok(supervisor)
    }

    /// Lets others ask what the system is doing, which was started from `source`.
    ///
    /// # Errors
    /// What Linux says.
    pub fn listen(&mut self, control: ControlSocket, source: Option<PathBuf>) -> nix::Result<()> {
        self.system.machine_mut().events.add_clients(control.descriptor())?;
        (self.control, self.source) = (Some(control), source);
        Ok(())
    }

    /// Runs the system to its end; returns its exit status.
    ///
    /// # Errors
    /// What Linux says about waiting, or about writing to the transcript, the log or the recording;
    /// [`LinuxError::Stuck`].
    pub fn run(&mut self) -> Result<u8, LinuxError> {
        let result = self.run_on();
        let written = self.system.finish().map_err(LinuxError::Recording);
        result.and_then(|status| written.map(|()| status))
    }

    fn run_on(&mut self) -> Result<u8, LinuxError> {
        let mut events = Vec::new();
        loop {
            if let Some(error) = self.system.machine_mut().take_console_failure() {
                return Err(LinuxError::Console(error));
            }
            if let Some(error) = self.system.machine_mut().take_device_failure() {
                return Err(LinuxError::Machine(error));
            }
            if let Some(error) = self.system.take_failure() {
                return Err(LinuxError::Recording(error));
            }
            if let Some(status) = self.system.kernel().halted() {
                return Ok(status);
            }
            if self.is_stuck() {
                return Err(LinuxError::Stuck);
            }
            self.set_time().map_err(LinuxError::Wait)?;
            events.clear();
            self.system.machine_mut().events.wait(&mut events).map_err(LinuxError::Wait)?;
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
                self.system.machine().take_pending(start, &mut threads);
                for thread in threads {
                    self.serve(thread);
                }
            }
            Event::Ended(start) => self.system.machine_mut().process_ended(start),
            Event::Time => {
                self.charge();
                self.system.step(&Input::Expire);
            }
            Event::Signal(_) => {}
            Event::Clients => self.attend_clients(),
        }
        self.settle();
    }

    /// Does what a thread asks for.
    fn serve(&mut self, thread: ThreadIndex) {
        let Some(mut input) = self.system.machine_mut().take_input(thread) else { return };
        let sent = Sent::of(&input);
        if let (Some(kernel), Input::Call { number, arguments, message, .. }) =
            (self.system.unrecorded(), &mut input)
        {
            self.switchboard.before(kernel, thread, *number, arguments, message.as_mut());
        }
        self.witness.call_made(&self.system, &input);
        self.system.step(&input);
        self.witness.call_done(&self.system, thread);
        if let (Some(kernel), Some(sent)) = (self.system.unrecorded(), sent) {
            self.switchboard.after(kernel, thread, sent);
        }
        self.settle();
    }

    /// Whether every thread waits, and nothing is due that could wake one. Who waits for messages past
    /// ΦCore is believed once nobody has waited anew for a while: what is on its way wakes somebody.
    fn is_stuck(&mut self) -> bool {
        if self.system.kernel().next_deadline().is_some() {
            self.standstill = None;
            return false;
        }
        if !self.system.machine().runs() {
            return true;
        }
        if self.switchboard.is_empty() && !self.system.machine().has_drivers() {
            return false;
        }
        let now = self.system.machine_mut().now();
        match &mut self.standstill {
            Some((time, _)) if *time > now => false,
            standstill => {
                let waits = self.system.machine().standstill();
                let before = standstill.take().and_then(|(_, waits)| waits);
                let stuck = waits.is_some() && waits == before;
                *standstill = Some((now + STANDSTILL, waits));
                stuck
            }
        }
    }

    /// Tells ΦCore of the domains that were lost meanwhile, and lets every thread go that may.
    fn settle(&mut self) {
        loop {
            while let Some((domain, fault)) = self.system.machine_mut().take_lost() {
                self.system.step(&Input::Lost(domain, fault));
            }
            // First what is said about channels, then whoever may go on.
            if let Some(kernel) = self.system.unrecorded() {
                self.switchboard.tend(kernel);
            }
            if self.system.machine().has_lost() {
                continue;
            }
            self.witness.settled(&mut self.system);
            let Some(thread) = self.system.step(&Input::Dispatch) else { break };
            let frame = self.system.kernel().frame(thread).clone();
            self.witness.released(&self.system, thread, &frame);
            self.system.machine_mut().release(thread, &frame);
        }
    }

    /// Charges the CPU time that services with a budget have used.
    fn charge(&mut self) {
        let mut used = Vec::new();
        self.system.machine_mut().take_cpu_time(&mut used);
        for (thread, nanoseconds) in used {
            self.system.step(&Input::Charge(thread, nanoseconds));
        }
        self.tick = None;
    }

    /// Has the time of what is due next be an event.
    fn set_time(&mut self) -> nix::Result<()> {
        // Once set it stays: a service that waits often would escape it otherwise.
        if self.tick.is_none()
            && let Some(period) = self.system.machine().budget_tick()
        {
            self.tick = Some(self.system.machine_mut().now() + period);
        }
        let deadline = self.system.kernel().next_deadline();
        let standstill = self.standstill.as_ref().map(|(time, _)| *time);
        let next = self.tick.into_iter().chain(deadline).chain(standstill).min();
        let machine = self.system.machine_mut();
        let time = next.map(|time| machine.clock_time(time));
        machine.events.set_time(time)
    }

    /// Offers a service an image: its supervisor then makes room for it.
    ///
    /// # Errors
    /// [`ImageProblem`].
    pub fn offer(&mut self, domain: DomainIndex, file: &[u8]) -> Result<(), ImageProblem> {
        let running = self.kernel().image_of(domain);
        let image = self.system.machine_mut().take_image(domain, running, file)?;
        self.system.step(&Input::Offer(domain, image));
        self.settle();
        Ok(())
    }

    /// ΦCore.
    pub fn kernel(&self) -> &Kernel<Traced<LinuxMachine<'a>>> {
        self.system.kernel()
    }

    /// What the machine and its channels have of domains that are not loaded.
    pub fn residue(&self) -> Vec<String> {
        let mut found = self.system.machine().residue();
        let gone = self.switchboard.without_sides(self.system.machine());
        if gone > 0 {
            found.push(format!("{gone} channels have lost a side"));
        }
        found
    }

    /// What every service of `plan` is and has used.
    pub fn services(&mut self, plan: &Plan) -> Vec<super::ServiceReport> {
        if let Some(kernel) = self.system.unrecorded() {
            direct::count(kernel);
        }
        let indices = (0..plan.services.len()).map(|index| DomainIndex(index as u16));
        let services = indices.zip(&plan.services);
        services
            .map(|(index, service)| {
                (
                    service.name.clone(),
                    self.system.kernel().info(index),
                    self.system.kernel().statistics(index),
                )
            })
            .collect()
    }
}

/// Time between two looks at whether all threads wait for each other, in nanoseconds.
const STANDSTILL: u64 = 250_000_000;

/// The exit status of a system that a signal ended, as a shell reports it.
fn interrupted(signal: Signal) -> u8 {
    128 + signal as i32 as u8
}
