//! The bare machine, as ΦCore knows it.

use crate::arch::{
    Access, AddressSpace, Board, CALL_TABLE, Clock, Context, Event, ExtendedStates, KernelSpace,
    Serial, clear_segments, ports,
};
use crate::domain::{self, Domain};
use crate::memory::{Frames, slot};
use crate::report::RECORD_SEPARATOR;
use alloc::boxed::Box;
use alloc::vec::Vec;
use phi_abi::layout::PAGE;
use phi_abi::{CONSOLE_TRANSCRIPT, Caching, IrqSource, PortWidth, Rights, StartBlock};
use phi_core::{
    Content, Devices, DmaIndex, DomainIndex, IrqIndex, Machine, MachineError, MessageSignal,
    RegionIndex, Span, ThreadIndex,
};
use phi_manifest::plan::{Mode, Plan};
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
    /// Whether all of it is in the address space of all.
    shared: bool,
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
    /// The address space of a unikernel: who has a region can reach what anybody has mapped.
    shared: Option<AddressSpace>,
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
        mut frames: FrameAllocator,
        board: Option<Board>,
        clock: Clock,
    ) -> Option<Metal> {
        let shared = match content.bundle.plan().mode {
            Mode::Unikernel => Some(AddressSpace::new(kernel, None, &mut frames)?),
            Mode::Full | Mode::Embedded => None,
        };
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
            shared,
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
        if self.space(domain).is_some_and(|space| space.activate()) {
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

    /// The address space of a loaded domain.
    fn space(&mut self, domain: DomainIndex) -> Option<&mut AddressSpace> {
        let domain = self.domains[usize::from(domain.0)].as_mut()?;
        match domain.space() {
            Some(own) => Some(own),
            None => self.shared.as_mut(),
        }
    }

    /// Maps all of a region for everybody, if it is not, as far as it can be used by anybody.
    fn share(&mut self, region: RegionIndex) -> Option<()> {
        let region = self.regions.get_mut(region.0 as usize)?.as_mut()?;
        let (space, frames) = (self.shared.as_mut()?, &mut self.frames);
        if !region.shared {
            let count = region.frames.count();
            space.reserve(region.address, count, frames)?;
            for (distance, run) in region.frames.part(0, count) {
                space.map(region.address + distance * PAGE, run, region.access(true));
            }
            region.shared = true;
        }
        Some(())
    }
}

/// The region with a number.
fn find(regions: &[Option<Region>], region: RegionIndex) -> Result<&Region, MachineError> {
    regions.get(region.0 as usize).and_then(Option::as_ref).ok_or(MachineError)
}

impl Region {
    fn new(address: u64, frames: Frames, kind: Kind) -> Region {
        Region { address, frames, kind, shared: false }
    }

    /// Its frames in `span`, each run with its distance in frames from the first.
    fn runs(
        &self,
        span: Span,
    ) -> Result<impl Iterator<Item = (u64, FrameRange)> + Clone, MachineError> {
        let first = span.address.checked_sub(self.address).ok_or(MachineError)? / PAGE;
        Ok(self.frames.part(first, span.length / PAGE))
    }

    fn access(&self, writable: bool) -> Access {
        match (self.kind, writable) {
            (Kind::Own, true) => Access::Write,
            (Kind::Device(caching), writable) => Access::Device { caching, writable },
            _ => Access::Read,
        }
    }
}

impl Machine for Metal {
    fn now(&mut self) -> u64 {
        self.clock.now()
    }

    fn load(&mut self, domain: DomainIndex, start: &StartBlock) -> Result<(), MachineError> {
        let plan = &self.content.bundle.plan().services[usize::from(domain.0)];
        let (content, shared, frames) = (&self.content, self.shared.as_mut(), &mut self.frames);
        let loaded = Domain::load(domain, plan, start, content, self.kernel, shared, frames)?;
        self.domains[usize::from(domain.0)] = Some(loaded);
        Ok(())
    }

    fn unload(&mut self, domain: DomainIndex) {
        if let Some(domain) = self.domains[usize::from(domain.0)].take() {
            domain.unload(self.shared.as_mut(), &mut self.frames);
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
        let words = [entry, stack, argument, CALL_TABLE];
        let space = self.space(domain).ok_or(MachineError)?;
        let context = Context::begin(words, thread, space, area);
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
        self.regions[region.0 as usize] = Some(Region::new(span.address, frames, kind));
        Ok(())
    }

    fn region_destroy(&mut self, region: RegionIndex) {
        let slot = self.regions.get_mut(region.0 as usize);
        let Some(region) = slot.and_then(Option::take) else { return };
        if let Some(space) = self.shared.as_mut().filter(|_| region.shared) {
            space.unmap(region.address, region.frames.count());
        }
        if matches!(region.kind, Kind::Own) {
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
        if self.shared.is_some() {
            return self.share(region).ok_or(MachineError);
        }
        let region = find(&self.regions, region)?;
        let runs = region.runs(span)?;
        let domain = self.domains[usize::from(domain.0)].as_mut().ok_or(MachineError)?;
        let space = domain.space().ok_or(MachineError)?;
        // All that can fail comes before the first change.
        let count = span.length / PAGE;
        space.reserve(span.address, count, &mut self.frames).ok_or(MachineError)?;
        let access = region.access(access.contains(Rights::WRITE));
        for (distance, run) in runs {
            space.map(span.address + distance * PAGE, run, access);
        }
        Ok(())
    }

    fn unmap(&mut self, domain: DomainIndex, _: RegionIndex, span: Span) {
        let domain = self.domains[usize::from(domain.0)].as_mut();
        if let Some(space) = domain.and_then(Domain::space) {
            space.unmap(span.address, span.length / PAGE);
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
        *slot(&mut self.regions, region.0 as usize)? = Some(Region::new(address, frames, kind));
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
        let region = find(&self.regions, region)?;
        let runs = region.runs(span)?;
        let writable = access.contains(Rights::WRITE) && matches!(region.kind, Kind::Own);
        let board = self.board.as_mut().ok_or(MachineError)?;
        board.dma_map(space, span.address, runs, writable, &mut self.frames)
    }

    fn dma_unmap(&mut self, space: DmaIndex, _: RegionIndex, span: Span) {
        if let Some(board) = &mut self.board {
            board.dma_unmap(space, span.address, span.length / PAGE);
        }
    }

    fn ports_open(&mut self, first: u16, count: u16) -> Result<(), MachineError> {
        ports::open(first, count)
    }

    fn port_read(&mut self, port: u16, width: PortWidth) -> u32 {
        ports::read(port, width)
    }

    fn port_write(&mut self, port: u16, width: PortWidth, value: u32) {
        ports::write(port, width, value);
    }
}
