//! What ΦCore needs of the machine that runs it.

use crate::MessageSignal;
use phi_abi::{Caching, IrqSource, PortWidth, Rights, StartBlock};

/// A domain: index into the plan's services.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct DomainIndex(pub u16);

/// A thread: index into ΦCore's pool of threads.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ThreadIndex(pub u16);

/// A region: index into ΦCore's pool of regions.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RegionIndex(pub u32);

/// A source of interrupts: index into ΦCore's pool.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct IrqIndex(pub u16);

/// A DMA space: index into ΦCore's pool.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct DmaIndex(pub u16);

/// Where a region's first content comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Content {
    /// Zeros.
    Zero,
    /// Zeros, in one run of physical addresses where the machine has such.
    Pinned,
    /// Input number `n` of the bundle, read-only for ever; the rest of its last page is zero.
    Input(u16),
    /// The plan of the bundle, read-only for ever; the rest of its last page is zero.
    Plan,
}

/// Whole pages at an address: both are multiples of [`phi_abi::layout::PAGE`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    /// Address of the first byte, the same in every domain.
    pub address: u64,
    /// Bytes.
    pub length: u64,
}

/// The machine could not do what was asked: it is out of memory, or the host refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MachineError;

/// The machine under ΦCore: Linux, bare metal, or the simulator. ΦCore decides; the machine does.
///
/// Indices are ΦCore's own and in range. No method has a default body: a machine that lacks one
/// does not compile. None may call back into ΦCore.
pub trait Machine {
    /// Nanoseconds since the system's start; never goes back.
    fn now(&mut self) -> u64;

    /// Gives `domain` a fresh address space with what its [`phi_manifest::plan::ServicePlan`] says:
    /// the segments of the image that `start` names, first stack, heap, and `start` at
    /// [`phi_abi::layout::START_OFFSET`], read-only. The domain has no address space now.
    fn load(&mut self, domain: DomainIndex, start: &StartBlock) -> Result<(), MachineError>;

    /// Ends `domain`: none of its threads runs again, and its address space and everything mapped in
    /// it is gone when this returns. Regions stay. Does nothing for a domain that is not loaded.
    fn unload(&mut self, domain: DomainIndex);

    /// Prepares `thread` of `domain` to run for the first time when ΦCore dispatches it: at `entry`,
    /// with `stack` as its stack pointer before the call of `entry` (16-byte aligned; the machine
    /// pushes what its ABI wants) and `argument` as first argument. For a domain's first thread
    /// `argument` is the address of the start block; the second argument is always the address of
    /// the call table.
    fn thread_start(
        &mut self,
        thread: ThreadIndex,
        domain: DomainIndex,
        entry: u64,
        stack: u64,
        argument: u64,
    ) -> Result<(), MachineError>;

    /// Ends one thread of a domain that goes on; it never runs again.
    fn thread_stop(&mut self, thread: ThreadIndex);

    /// Gives `region` its memory: `length` bytes (whole pages) at `address` in whoever maps it.
    fn region_create(
        &mut self,
        region: RegionIndex,
        span: Span,
        content: Content,
    ) -> Result<(), MachineError>;

    /// Takes the memory of `region` back. Nothing maps it any more.
    fn region_destroy(&mut self, region: RegionIndex);

    /// Makes the pages of `span`, within `region`, accessible to `domain` with exactly `access`
    /// (READ, or READ and WRITE), whatever their access was before.
    fn map(
        &mut self,
        domain: DomainIndex,
        region: RegionIndex,
        span: Span,
        access: Rights,
    ) -> Result<(), MachineError>;

    /// Makes the pages of `span` inaccessible to `domain`. When this returns, no thread of it can
    /// use them; a holder that does not comply is ended.
    fn unmap(&mut self, domain: DomainIndex, region: RegionIndex, span: Span);

    /// Lets the threads of `domain` run, or not, while its budget is used up. A machine that runs
    /// only what ΦCore dispatches has nothing to do here.
    fn throttle(&mut self, domain: DomainIndex, stopped: bool);

    /// Writes to the stream that a console capability's badge selects:
    /// [`phi_abi::CONSOLE_TRANSCRIPT`] or [`phi_abi::CONSOLE_LOG`].
    fn console_write(&mut self, stream: u64, bytes: &[u8]);

    /// Its devices, where it has some for services.
    fn devices(&mut self) -> Option<&mut dyn Devices>;
}

/// What ΦCore needs of a machine with devices that services drive. A machine refuses what would reach
/// memory of the system or what it needs itself.
pub trait Devices {
    /// Physical address of what the firmware says of the hardware: the RSDP (ACPI 6.5, 5.2.5).
    fn root(&self) -> u64;

    /// Makes `region` the memory of a device at a physical address; whole pages. Torn down as others are.
    fn region_create(
        &mut self,
        region: RegionIndex,
        span: Span,
        physical: u64,
        caching: Caching,
    ) -> Result<(), MachineError>;

    /// Makes a source of interrupts, masked. Each is reported with [`crate::Kernel::interrupt`].
    fn irq_open(&mut self, irq: IrqIndex, source: IrqSource)
    -> Result<MessageSignal, MachineError>;

    /// Ends a source: nothing is reported of it any more.
    fn irq_close(&mut self, irq: IrqIndex);

    /// Masks a source or lets it come. A message-signalled one that is masked may be reported all the
    /// same, unless it comes so often that it takes the processor.
    fn irq_mask(&mut self, irq: IrqIndex, masked: bool);

    /// Whether a device reaches nothing but what is mapped for it.
    fn protects(&self) -> bool;

    /// Makes a space with nothing in it for the device with this requester id, which has none.
    fn dma_open(&mut self, space: DmaIndex, requester: u16) -> Result<(), MachineError>;

    /// Ends a space: its device reaches nothing.
    fn dma_close(&mut self, space: DmaIndex);

    /// Lets the device of a space begin transfers, or not.
    fn dma_enable(&mut self, space: DmaIndex, on: bool);

    /// Lets the device reach the pages of `span`, within `region`, with exactly `access`, whatever it was
    /// before; gives its address of the first. Without protection only what is in one run can be.
    fn dma_map(
        &mut self,
        space: DmaIndex,
        region: RegionIndex,
        span: Span,
        access: Rights,
    ) -> Result<u64, MachineError>;

    /// Takes the pages of `span` out of the device's reach. When this returns, it is over with what was
    /// under way.
    fn dma_unmap(&mut self, space: DmaIndex, region: RegionIndex, span: Span);

    /// Whether `count` ports from `first` on may be a service's: the machine itself uses none of them.
    fn ports_open(&mut self, first: u16, count: u16) -> Result<(), MachineError>;

    /// Reads a port of a range that was opened.
    fn port_read(&mut self, port: u16, width: PortWidth) -> u32;

    /// Writes such a port, a value that fits.
    fn port_write(&mut self, port: u16, width: PortWidth, value: u32);
}
