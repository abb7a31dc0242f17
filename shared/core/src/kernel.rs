//! ΦCore's state, and what a machine asks of it.

use crate::anchor::Anchors;
use crate::device::{DmaSpace, Irq};
use crate::object::{Activity, Counts, Domain, Thread};
use crate::ports::Ports;
use crate::{DomainIndex, Frame, Machine, ThreadIndex};
use alloc::boxed::Box;
use phi_abi::{DomainInfo, DomainStatistics, Fault, StartBlock};
use phi_cap::Capabilities;
use phi_ipc::{Mailbox, MessagePool, Signal};
use phi_mem::{Links, List, Region};
use phi_sched::{Deadlines, ReadyQueues};

/// Length of a round-robin time slice in nanoseconds.
pub const SLICE: u64 = 5_000_000;

/// ΦCore over a machine.
///
/// The machine calls [`Kernel::dispatch`] for the next thread to run. A thread that runs is
/// *dispatched* until the machine reports what became of it: a call ([`Kernel::system_call`]), a fault
/// ([`Kernel::fault`]), the end of its slice ([`Kernel::preempt`]) or an interrupt
/// ([`Kernel::put_back`]). Several threads may be dispatched at once.
///
/// A clone of it over a machine that can be cloned goes its own way from the same state: a simulator
/// or a model checker keeps many.
#[derive(Clone)]
pub struct Kernel<M: Machine> {
    pub(crate) machine: M,
    pub(crate) capabilities: Capabilities,
    /// Links of threads, which are in at most one list each, and after them of stored messages.
    pub(crate) links: Links,
    pub(crate) threads: Box<[Thread]>,
    pub(crate) messages: MessagePool,
    pub(crate) mailboxes: Box<[Mailbox]>,
    /// The first are the domains' events, by index of the domain; then those that ask them to hand over.
    pub(crate) signals: Box<[Signal]>,
    pub(crate) regions: Box<[Region]>,
    pub(crate) irqs: Box<[Irq]>,
    pub(crate) dma_spaces: Box<[DmaSpace]>,
    pub(crate) ports: Box<[Ports]>,
    pub(crate) domains: Box<[Domain]>,
    pub(crate) ready: ReadyQueues,
    /// Deadlines of threads, and after them of the domains' budgets.
    pub(crate) deadlines: Deadlines,
    pub(crate) anchors: Anchors,
    /// Objects that have lost their last capability, by anchor.
    pub(crate) unreferenced: List,
    pub(crate) unreferenced_links: Links,
    pub(crate) start: Box<StartBlock>,
    /// The region that holds the plan.
    pub(crate) plan_region: u32,
    /// The thread that was dispatched last, or [`phi_mem::NONE`].
    pub(crate) last_dispatched: u32,
    pub(crate) halted: Option<u8>,
}

impl<M: Machine> Kernel<M> {
    /// The machine.
    pub fn machine(&self) -> &M {
        &self.machine
    }

    /// The machine.
    pub fn machine_mut(&mut self) -> &mut M {
        &mut self.machine
    }

    /// The frame of a thread.
    pub fn frame(&self, thread: ThreadIndex) -> &Frame {
        &self.threads[usize::from(thread.0)].frame
    }

    /// The frame of a thread.
    pub fn frame_mut(&mut self, thread: ThreadIndex) -> &mut Frame {
        &mut self.threads[usize::from(thread.0)].frame
    }

    /// The domain of a thread.
    pub fn domain_of(&self, thread: ThreadIndex) -> DomainIndex {
        DomainIndex(self.threads[usize::from(thread.0)].domain)
    }

    /// The dispatched `thread` faulted: its domain ends as faulted, its supervisor's events signal is
    /// set, and the log gets one line. Does nothing for a thread that is not dispatched.
    pub fn fault(&mut self, thread: ThreadIndex, fault: Fault) {
        if self.is_dispatched(thread) {
            self.domain_lost(self.domain_of(thread), fault);
        }
    }

    /// The machine lost a whole domain, or it faulted in a way that names no thread. As
    /// [`Kernel::fault`]; does nothing for a domain that does not run.
    pub fn domain_lost(&mut self, domain: DomainIndex, fault: Fault) {
        if self.domains[usize::from(domain.0)].is_running() {
            self.end_faulted(u32::from(domain.0), fault);
            self.reap();
        }
    }

    /// What is due next, in nanoseconds since the system's start: the time for [`Kernel::expire`].
    pub fn next_deadline(&self) -> Option<u64> {
        self.deadlines.first()
    }

    /// The system's exit status, once `init` has ended: its own, or 70 if it faulted or was stopped.
    pub fn halted(&self) -> Option<u8> {
        self.halted
    }

    /// What a domain has used.
    pub fn statistics(&self, domain: DomainIndex) -> DomainStatistics {
        let held = &self.domains[usize::from(domain.0)];
        let image = if held.is_running() { held.image_memory() } else { 0 };
        let mut statistics = DomainStatistics {
            memory: image + held.region_memory,
            handles: u64::from(self.capabilities.used_slots(u32::from(domain.0))),
            ..held.statistics
        };
        for thread in held.threads.clone() {
            let Counts { handed_over, bytes, resumed } = self.thread(thread).counts;
            statistics.calls = statistics.calls.wrapping_add(handed_over);
            statistics.messages = statistics.messages.wrapping_add(handed_over);
            statistics.bytes_copied = statistics.bytes_copied.wrapping_add(bytes);
            statistics.switches += resumed;
        }
        statistics
    }

    /// What a domain is doing.
    pub fn info(&self, domain: DomainIndex) -> DomainInfo {
        let held = &self.domains[usize::from(domain.0)];
        let offered = held.offered.is_some();
        DomainInfo { generation: held.generation, state: held.state, offered }
    }

    pub(crate) fn is_dispatched(&self, thread: ThreadIndex) -> bool {
        let thread = self.threads.get(usize::from(thread.0));
        thread.is_some_and(|thread| thread.activity == Activity::Dispatched)
    }

    pub(crate) fn thread(&self, thread: u32) -> &Thread {
        &self.threads[thread as usize]
    }

    pub(crate) fn thread_mut(&mut self, thread: u32) -> &mut Thread {
        &mut self.threads[thread as usize]
    }

    pub(crate) fn mailbox(&mut self, mailbox: u32) -> &mut Mailbox {
        &mut self.mailboxes[mailbox as usize]
    }

    pub(crate) fn signal(&mut self, signal: u32) -> &mut Signal {
        &mut self.signals[signal as usize]
    }

    pub(crate) fn domain(&self, domain: u32) -> &Domain {
        &self.domains[domain as usize]
    }

    pub(crate) fn domain_mut(&mut self, domain: u32) -> &mut Domain {
        &mut self.domains[domain as usize]
    }

    /// The domain of a thread, as an index of a capability space.
    pub(crate) fn space_of(&self, thread: u32) -> u32 {
        u32::from(self.thread(thread).domain)
    }
}
