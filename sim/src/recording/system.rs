//! ΦCore with every step noted, where there is somebody to note it.

use super::codec::{put_message, put_words};
use super::input::{Entry, Input, Step};
use super::journal::Journal;
use super::trace::{Trace, Traced};
use phi_core::{BootError, DomainIndex, Kernel, Machine, ThreadIndex};
use phi_manifest::plan::Plan;
use std::io;

/// Steps from one whole look at ΦCore's state to the next.
const LOOK: u64 = 256;

/// ΦCore over a machine, each step of it traced.
pub(super) struct System<M: Machine> {
    pub(super) kernel: Kernel<Traced<M>>,
    /// The domains of the plan.
    order: Vec<DomainIndex>,
    steps: u64,
}

impl<M: Machine> System<M> {
    /// Boots `plan`; the step that this is, if it is to be traced.
    pub(super) fn boot(
        machine: M,
        plan: &Plan,
        trace: Option<Trace>,
    ) -> Result<(System<M>, Option<Step>), BootError> {
        let mut machine = Traced { machine, trace: trace.map(Box::new) };
        if let Some(trace) = &mut machine.trace {
            trace.begin(&Entry::Boot);
        }
        let kernel = Kernel::boot(machine, plan)?;
        let order = (0..plan.services.len()).map(|domain| DomainIndex(domain as u16)).collect();
        let mut system = System { kernel, order, steps: 0 };
        let step = system.finish(Entry::Boot, None);
        Ok((system, step))
    }

    /// One step; the thread that goes on, and the step as it is written down. Nothing is written of
    /// a dispatch while no thread is ready.
    pub(super) fn step(&mut self, input: &Input) -> (Option<ThreadIndex>, Option<Step>) {
        let entry = Entry::Input(*input);
        let Some(trace) = &mut self.kernel.machine_mut().trace else {
            return (input.apply(&mut self.kernel), None);
        };
        trace.begin(&entry);
        let thread = input.apply(&mut self.kernel);
        if *input == Input::Dispatch && thread.is_none() {
            if let Some(trace) = &mut self.kernel.machine_mut().trace {
                trace.discard();
            }
            return (None, None);
        }
        (thread, self.finish(entry, thread))
    }

    /// The step that ends the run.
    pub(super) fn end(&mut self) -> Option<Step> {
        self.kernel.machine_mut().trace.as_mut()?.begin(&Entry::End);
        self.finish(Entry::End, None)
    }

    /// Ends a step: its hash covers what a thread that goes on is given and, now and then, the state.
    fn finish(&mut self, entry: Entry, thread: Option<ThreadIndex>) -> Option<Step> {
        let now = self.kernel.machine().trace.as_ref()?.now();
        let mut out = Vec::new();
        if let Some(thread) = thread {
            let frame = self.kernel.frame(thread);
            let [status, value] = [frame.outcome.status, frame.outcome.value];
            put_words(&mut out, &[u64::from(thread.0), status, value]);
            if frame.message_out {
                put_message(&mut out, &frame.message);
            }
        }
        if entry == Entry::End || self.steps.is_multiple_of(LOOK) {
            self.put_state(&mut out, now);
        }
        self.steps += 1;
        let trace = self.kernel.machine_mut().trace.as_mut()?;
        trace.cover(&out);
        Some(trace.finish(entry))
    }

    /// Appends ΦCore's state, as far as anybody can tell it.
    fn put_state(&self, bytes: &mut Vec<u8>, now: u64) {
        put_words(bytes, &self.kernel.canonical(&self.order, now));
        for domain in &self.order {
            bytes.extend_from_slice(&self.kernel.info(*domain).encode());
            bytes.extend_from_slice(&self.kernel.statistics(*domain).encode());
        }
        let due = self.kernel.next_deadline().unwrap_or(u64::MAX);
        put_words(bytes, &[due, self.kernel.halted().map_or(u64::MAX, u64::from)]);
    }
}

/// A system that runs, and is written down if there is a journal.
pub struct Recorded<M: Machine> {
    system: System<M>,
    journal: Option<Journal>,
}

impl<M: Machine> Recorded<M> {
    /// Boots `plan`.
    ///
    /// # Errors
    /// ΦCore's.
    pub fn boot(
        machine: M,
        plan: &Plan,
        mut journal: Option<Journal>,
    ) -> Result<Recorded<M>, BootError> {
        let trace = journal.as_ref().map(|journal| Trace::new(journal.plan_hash()));
        let (system, step) = System::boot(machine, plan, trace)?;
        if let (Some(journal), Some(step)) = (&mut journal, step) {
            journal.write(&step);
        }
        Ok(Recorded { system, journal })
    }

    /// Feeds ΦCore; the thread that goes on, after [`Input::Dispatch`].
    pub fn step(&mut self, input: &Input) -> Option<ThreadIndex> {
        let Some(journal) = &mut self.journal else {
            return input.apply(&mut self.system.kernel);
        };
        let (thread, step) = self.system.step(input);
        if let Some(step) = step {
            journal.write(&step);
        }
        thread
    }

    /// The run is over: writes what is still to be written.
    ///
    /// # Errors
    /// The first that writing gave.
    pub fn finish(&mut self) -> io::Result<()> {
        let Some(journal) = &mut self.journal else { return Ok(()) };
        if let Some(step) = self.system.end() {
            journal.write(&step);
        }
        journal.finish()
    }

    /// The first error that writing the journal gave. Nothing is written after it.
    pub fn take_failure(&mut self) -> Option<io::Error> {
        self.journal.as_mut()?.take_failure()
    }

    /// ΦCore, for a machine that changes it in ways which no recording knows; `None` while one is
    /// written.
    pub fn unrecorded(&mut self) -> Option<&mut Kernel<Traced<M>>> {
        self.journal.is_none().then_some(&mut self.system.kernel)
    }

    /// ΦCore.
    pub fn kernel(&self) -> &Kernel<Traced<M>> {
        &self.system.kernel
    }

    /// The machine.
    pub fn machine(&self) -> &M {
        &self.system.kernel.machine().machine
    }

    /// The machine.
    pub fn machine_mut(&mut self) -> &mut M {
        &mut self.system.kernel.machine_mut().machine
    }
}

#[cfg(test)]
impl<M: Machine> Recorded<M> {
    /// ΦCore, to be changed.
    pub(super) fn kernel_mut(&mut self) -> &mut Kernel<Traced<M>> {
        &mut self.system.kernel
    }
}
