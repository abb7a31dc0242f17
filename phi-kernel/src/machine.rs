//! The bare machine, as ΦCore knows it.

use crate::arch::{
    Access, Board, CALL_TABLE, Clock, Context, Event, ExtendedStates, KernelSpace, Serial,
    clear_segments,
};
use crate::domain::{self, Domain};
use crate::memory::{Frames, slot};
use crate::report::RECORD_SEPARATOR;
use alloc::boxed::Box;
use alloc::vec::Vec;
use phi_abi::layout::PAGE;
use phi_abi::{CONSOLE_TRANSCRIPT, Caching, IrqSource, Rights, StartBlock};
use phi_core::{
    Content, Devices, DmaIndex, DomainIndex, IrqIndex, Machine, MachineError, MessageSignal,
    RegionIndex, Span, ThreadIndex,
};
use phi_manifest::plan::Plan;
use phi_mem::{FrameAllocator, FrameRange};

/// A thread's registers, and its domain.
struct Thread {
    context: Context,
    domain: DomainIndex,
}

/// A region's memory.
struct Region {
    address: u64,
    frames: Frames,
    kind: Kind,
}

/// Whose a region's memory is.
#[derive(Clone, Copy)]
enum Kind {
    /// The region's own.
    Own,
    /// The bundle's, which stays.
    Bundle,
    /// A device's.
    Device(Caching),
}

/// The bare machine.
pub struct Metal {
    content: domain::Content,
    kernel: KernelSpace,
    frames: FrameAllocator,
    domains: Box<[Option<Domain>]>,
    regions: Vec<Option<Region>>,
    threads: Box<[Thread]>,
    extended: ExtendedStates,
    /// The devices, if the machine has any for services.
    pub board: Option<Board>,
    /// The clock; [`crate::run`] sets its alarm.
    pub clock: Clock,
    transcript: Serial,
    log: Serial,
}

impl Metal {
    /// The machine for the bundle that `content` describes; `None` when there is no memory for what
    /// the plan's threads need.
    pub fn new(
        content: domain::Content,
        kernel: KernelSpace,
        frames: FrameAllocator,
        board: Option<Board>,
        clock: Clock,
    ) -> Option<Metal> {
        let services = &content.bundle.plan().services;
        let count: usize = services.iter().map(|service| service.quota.threads as usize).sum();
        // Indexes of threads have 16 bits; ΦCore refuses plans with more.
        let count = count.min(1 << 16);
        let mut threads = Vec::new();
        threads.try_reserve_exact(count).ok()?;
        let none = || Thread { context: Context::EMPTY, domain: DomainIndex(0) };
        threads.resize_with(count, none);
        Some(Metal {
            content,
            kernel,
            frames,
            domains: services.iter().map(|_| None).collect(),
            regions: Vec::new(),
            threads: threads.into(),
            extended: ExtendedStates::new(count)?,
            board,
            clock,
            transcript: Serial::transcript(),
            log: Serial::log(),
        })
    }

    /// The plan that runs.
    pub fn plan(&self) -> &'static Plan {
        self.content.bundle.plan()
    }

    fn thread(&mut self, thread: ThreadIndex) -> &mut Thread {
        &mut self.threads[usize::from(thread.0)]
    }

    /// Number of threads that there can be.
    pub fn threads(&self) -> usize {
        self.threads.len()
    }

    /// The registers of a thread. They stay where they are.
    pub fn context(&mut self, thread: ThreadIndex) -> &mut Context {
        &mut self.thread(thread).context
    }

    /// Makes the address space and the vector registers those of `thread`, whose domain is loaded.
    pub fn switch_to(&mut self, thread: ThreadIndex) {
        let domain = self.thread(thread).domain;
        if let Some(domain) = &mut self.domains[usize::from(domain.0)]
            && domain.space().activate()
        {
            clear_segments();
        }
        let in_call =
            self.extended.owner().is_some_and(|owner| self.threads[owner].context.in_call());
        self.extended.switch(usize::from(thread.0), in_call);
    }

    /// Says that address space and vector registers are those of `thread` already.
    pub fn switched_to(&mut self, thread: ThreadIndex) {
        self.extended.set_owner(usize::from(thread.0));
    }

    /// `event` of a thread, as its domain's.
    pub fn event(&mut self, thread: ThreadIndex, event: Event) -> Event {
        let Event::Fault(fault) = event else { return event };
        let domain = self.thread(thread).domain;
        match &self.domains[usize::from(domain.0)] {
            Some(domain) => Event::Fault(domain.fault(fault)),
            None => event,
        }
    }

    /// A loaded domain and a region, for a change of `span`: with the number of its first page in the
    /// region, and the number of its pages.
    fn mapping(
        &mut self,
        domain: DomainIndex,
        region: RegionIndex,
        span: Span,
    ) -> Option<(&mut Domain, &Region, &mut FrameAllocator, u64, u64)> {
        let domain = self.domains[usize::from(domain.0)].as_mut()?;
        let region = self.regions.get(region.0 as usize)?.as_ref()?;
        let first = span.address.checked_sub(region.address)? / PAGE;
        Some((domain, region, &mut self.frames, first, span.length / PAGE))
    }
}

impl Machine for Metal {
    fn now(&mut self) -> u64 {
        self.clock.now()
    }

    fn load(&mut self, domain: DomainIndex, start: &StartBlock) -> Result<(), MachineError> {
        let plan = &self.content.bundle.plan().services[usize::from(domain.0)];
        let loaded = Domain::load(plan, start, &self.content, self.kernel, &mut self.frames)?;
        self.domains[usize::from(domain.0)] = Some(loaded);
        Ok(())
    }

    fn unload(&mut self, domain: DomainIndex) {
        if let Some(domain) = self.domains[usize::from(domain.0)].take() {
            domain.unload(&mut self.frames);
        }
    }

    fn thread_start(
        &mut self,
        thread: ThreadIndex,
        domain: DomainIndex,
        entry: u64,
        stack: u64,
        argument: u64,
    ) -> Result<(), MachineError> {
        let index = usize::from(thread.0);
        let area = self.extended.area(index);
        let loaded = self.domains[usize::from(domain.0)].as_mut().ok_or(MachineError)?;
        let words = [entry, stack, argument, CALL_TABLE];
        let context = Context::begin(words, thread, loaded.space(), area);
        *self.thread(thread) = Thread { context, domain };
        self.extended.reset(index);
        Ok(())
    }

    fn thread_stop(&mut self, _: ThreadIndex) {
        // Only what ΦCore dispatches runs.
    }

    fn region_create(
        &mut self,
        region: RegionIndex,
        span: Span,
        content: Content,
    ) -> Result<(), MachineError> {
        // What can fail comes before frames are taken.
        slot(&mut self.regions, region.0 as usize)?;
        let bundle = self.content.bundle;
        let count = span.length / PAGE;
        let (frames, kind) = match content {
            Content::Zero => (Frames::zeroed(count, &mut self.frames)?, Kind::Own),
            Content::Pinned => (Frames::zeroed_run(count, &mut self.frames)?, Kind::Own),
            Content::Input(number) => {
                let input = bundle.plan().inputs.get(usize::from(number)).ok_or(MachineError)?;
                (Frames::of_run(self.content.frames(input.offset, count))?, Kind::Bundle)
            }
            Content::Plan => {
                (Frames::of_run(self.content.frames(bundle.plan_offset(), count))?, Kind::Bundle)
            }
        };
        self.regions[region.0 as usize] = Some(Region { address: span.address, frames, kind });
        Ok(())
    }

    fn region_destroy(&mut self, region: RegionIndex) {
        let slot = self.regions.get_mut(region.0 as usize);
        if let Some(region) = slot.and_then(Option::take)
            && matches!(region.kind, Kind::Own)
        {
            region.frames.free(&mut self.frames);
        }
    }

    fn map(
        &mut self,
        domain: DomainIndex,
        region: RegionIndex,
        span: Span,
        access: Rights,
    ) -> Result<(), MachineError> {
        let (domain, region, frames, first, count) =
            self.mapping(domain, region, span).ok_or(MachineError)?;
        let access = match (region.kind, access.contains(Rights::WRITE)) {
            (Kind::Own, true) => Access::Write,
            (Kind::Device(caching), writable) => Access::Device { caching, writable },
            _ => Access::Read,
        };
        // All that can fail comes before the first change.
        domain.space().reserve(span.address, count, frames).ok_or(MachineError)?;
        for (distance, run) in region.frames.part(first, count) {
            domain.space().map(span.address + distance * PAGE, run, access);
        }
        Ok(())
    }

    fn unmap(&mut self, domain: DomainIndex, region: RegionIndex, span: Span) {
        if let Some((domain, _, _, _, count)) = self.mapping(domain, region, span) {
            domain.space().unmap(span.address, count);
        }
    }

    fn throttle(&mut self, _: DomainIndex, _: bool) {
        // Only what ΦCore dispatches runs.
    }

    fn console_write(&mut self, stream: u64, bytes: &[u8]) {
        if stream == CONSOLE_TRANSCRIPT {
            self.transcript.write(bytes);
        } else {
            // Records are the kernel's alone.
            let mut parts = bytes.split(|byte| *byte == RECORD_SEPARATOR as u8);
            self.log.write(parts.next().unwrap_or_default());
            for part in parts {
                self.log.write(b"?");
                self.log.write(part);
            }
        }
    }

    fn devices(&mut self) -> Option<&mut dyn Devices> {
        match self.board {
            Some(_) => Some(self),
            None => None,
        }
    }
}

impl Metal {
    /// The devices, for a call that ΦCore makes only where there are some.
    fn board(&mut self) -> Result<&mut Board, MachineError> {
        self.board.as_mut().ok_or(MachineError)
    }
}

impl Devices for Metal {
    fn root(&self) -> u64 {
        self.board.as_ref().map_or(0, Board::root)
    }

    fn region_create(
        &mut self,
        region: RegionIndex,
        span: Span,
        physical: u64,
        caching: Caching,
    ) -> Result<(), MachineError> {
        if !self.board()?.may_map(&(physical..physical.saturating_add(span.length))) {
            return Err(MachineError);
        }
        let run = FrameRange { first: physical / PAGE, count: span.length / PAGE };
        let (address, frames) = (span.address, Frames::of_run(run)?);
        let kind = Kind::Device(caching);
        *slot(&mut self.regions, region.0 as usize)? = Some(Region { address, frames, kind });
        Ok(())
    }

    fn irq_open(
        &mut self,
        irq: IrqIndex,
        source: IrqSource,
    ) -> Result<MessageSignal, MachineError> {
        self.board()?.irq_open(irq, source)
    }

    fn irq_close(&mut self, irq: IrqIndex) {
        if let Some(board) = &mut self.board {
            board.irq_close(irq);
        }
    }

    fn irq_mask(&mut self, irq: IrqIndex, masked: bool) {
        if let Some(board) = &mut self.board {
            board.irq_mask(irq, masked);
        }
    }

    fn protects(&self) -> bool {
        self.board.as_ref().is_some_and(Board::protects)
    }

    fn dma_open(&mut self, space: DmaIndex, requester: u16) -> Result<(), MachineError> {
        let board = self.board.as_mut().ok_or(MachineError)?;
        board.dma_open(space, requester, &mut self.frames)
    }

    fn dma_close(&mut self, space: DmaIndex) {
        if let Some(board) = &mut self.board {
            board.dma_close(space, &mut self.frames);
        }
    }

    fn dma_enable(&mut self, space: DmaIndex, on: bool) {
        if let Some(board) = &mut self.board {
            board.dma_enable(space, on);
        }
    }

    fn dma_map(
        &mut self,
        space: DmaIndex,
        region: RegionIndex,
        span: Span,
        access: Rights,
    ) -> Result<u64, MachineError> {
        let region = self.regions.get(region.0 as usize).and_then(Option::as_ref);
        let region = region.ok_or(MachineError)?;
        let first = span.address.checked_sub(region.address).ok_or(MachineError)? / PAGE;
        let runs = region.frames.part(first, span.length / PAGE);
        let writable = access.contains(Rights::WRITE) && matches!(region.kind, Kind::Own);
        let board = self.board.as_mut().ok_or(MachineError)?;
        board.dma_map(space, span.address, runs, writable, &mut self.frames)
    }

    fn dma_unmap(&mut self, space: DmaIndex, _: RegionIndex, span: Span) {
        if let Some(board) = &mut self.board {
            board.dma_unmap(space, span.address, span.length / PAGE);
        }
    }
}
