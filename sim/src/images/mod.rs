//! The same service images as on the other machines, in this process: their memory at the addresses of
//! the layout, and each of their threads a coroutine that the scheduler lets go on.
//!
//! All services share this process: what one has mapped, all can reach, as in `--mode threads` of
//! Linux. A page of a region is accessible while any service maps it, with the union of what they may
//! do. The addresses are the same in every run, so there is one such system in a process at a time.

mod coroutine;
mod fault;
mod memory;
mod stub;

use crate::machine::{Act, Beginning, Services, Turn};
use coroutine::Thread;
use memory::{Access, Regions};
use phi_abi::layout::{HEAP_OFFSET, STACK_OFFSET, STACK_SIZE, START_OFFSET};
use phi_abi::{Rights, StartBlock};
use phi_core::{Content, DomainIndex, MachineError, RegionIndex, Span, ThreadIndex};
use phi_manifest::bundle::Bundle;
use phi_manifest::plan::SegmentAccess;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Held by the one system of this process.
static ADDRESSES: Mutex<()> = Mutex::new(());

/// The services of a bundle.
pub struct Images<'a> {
    bundle: &'a Bundle<'a>,
    /// What each domain has mapped beside regions: address and length.
    domains: Vec<Vec<(u64, u64)>>,
    threads: Vec<Option<Thread>>,
    regions: Regions,
    _handlers: fault::Handlers,
    _addresses: MutexGuard<'static, ()>,
}

impl<'a> Images<'a> {
    /// The services of `bundle`, none of them loaded. Waits until no other system is in this process.
    ///
    /// # Errors
    /// Linux's, where it refuses the handlers of signals.
    pub fn new(bundle: &'a Bundle<'a>) -> std::io::Result<Images<'a>> {
        // A run that panicked has left nothing that the next one uses.
        let addresses = ADDRESSES.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Images {
            bundle,
            domains: vec![Vec::new(); bundle.plan().services.len()],
            threads: Vec::new(),
            regions: Regions::default(),
            _handlers: fault::Handlers::install()?,
            _addresses: addresses,
        })
    }

    fn map(
        &mut self,
        domain: usize,
        address: u64,
        length: u64,
        access: Access,
        bytes: &[u8],
    ) -> Result<(), MachineError> {
        if length == 0 {
            return Ok(());
        }
        memory::map(address, length, access, bytes).map_err(|_| MachineError)?;
        self.domains[domain].push((address, length));
        Ok(())
    }
}

impl Services for Images<'_> {
    fn load(&mut self, domain: DomainIndex, start: &StartBlock) -> Result<(), MachineError> {
        let bundle = self.bundle;
        let index = usize::from(domain.0);
        let plan = bundle.plan().services.get(index).ok_or(MachineError)?;
        let image = plan.image(start.image).ok_or(MachineError)?;
        if image.segments.is_empty() {
            // A driver that is part of another machine.
            return Err(MachineError);
        }
        for segment in &image.segments {
            let access = match segment.access {
                SegmentAccess::Read => Access::Read,
                SegmentAccess::Write => Access::Write,
                SegmentAccess::Execute => Access::Execute,
            };
            let (address, length) = (segment.address, segment.memory_length);
            self.map(index, address, length, access, bundle.segment(segment))?;
        }
        let stack = plan.window + STACK_OFFSET - plan.stack;
        self.map(index, stack, plan.stack, Access::Write, &[])?;
        self.map(index, plan.window + HEAP_OFFSET, plan.heap, Access::Write, &[])?;
        let (place, length) = (plan.window + START_OFFSET, phi_abi::layout::START_SIZE);
        self.map(index, place, length, Access::Read, memory::bytes_of(start))
    }

    fn unload(&mut self, domain: DomainIndex) {
        for thread in &mut self.threads {
            if thread.as_ref().is_some_and(|thread| thread.domain() == domain) {
                *thread = None;
            }
        }
        for (address, length) in std::mem::take(&mut self.domains[usize::from(domain.0)]) {
            memory::unmap(address, length);
        }
        self.regions.remove_domain(domain);
    }

    fn thread_start(
        &mut self,
        thread: ThreadIndex,
        domain: DomainIndex,
        beginning: Beginning,
    ) -> Result<(), MachineError> {
        let plan = self.bundle.plan().services.get(usize::from(domain.0)).ok_or(MachineError)?;
        let end = plan.window + STACK_OFFSET;
        let guard = end - STACK_SIZE..end - plan.stack;
        let place = usize::from(thread.0);
        if self.threads.len() <= place {
            self.threads.resize_with(place + 1, || None);
        }
        let made = Thread::new(domain, beginning, guard).map_err(|_| MachineError)?;
        self.threads[place] = Some(made);
        Ok(())
    }

    fn thread_stop(&mut self, thread: ThreadIndex) {
        self.threads[usize::from(thread.0)] = None;
    }

    fn region_create(
        &mut self,
        region: RegionIndex,
        span: Span,
        content: Content,
    ) -> Result<(), MachineError> {
        let bytes = match content {
            Content::Zero | Content::Pinned => &[],
            Content::Input(input) => self.bundle.input(usize::from(input)),
            Content::Plan => self.bundle.plan_bytes(),
        };
        self.regions.create(region, span, bytes).map_err(|_| MachineError)
    }

    fn region_destroy(&mut self, region: RegionIndex) {
        self.regions.destroy(region);
    }

    fn set_access(
        &mut self,
        domain: DomainIndex,
        region: RegionIndex,
        span: Span,
        access: Rights,
    ) -> Result<(), MachineError> {
        self.regions.set(domain, region, span, access).map_err(|_| MachineError)
    }

    fn next(&mut self, turn: Turn<'_>) -> Act {
        match self.threads.get_mut(usize::from(turn.thread.0)) {
            Some(Some(thread)) => thread.go_on(turn.outcome, turn.message),
            _ => coroutine::lost(),
        }
    }
}

impl Drop for Images<'_> {
    fn drop(&mut self) {
        for domain in 0..self.domains.len() {
            self.unload(DomainIndex(domain as u16));
        }
        self.regions.clear();
    }
}
