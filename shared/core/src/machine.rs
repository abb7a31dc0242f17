//! What ΦCore needs of the machine that runs it.

use phi_abi::{Rights, StartBlock};

/// A domain: index into the plan's services.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct DomainIndex(pub u16);

/// A thread: index into ΦCore's pool of threads.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ThreadIndex(pub u16);

/// A region: index into ΦCore's pool of regions.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RegionIndex(pub u32);

/// Where a region's first content comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Content {
    /// Zeros.
    Zero,
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
}
