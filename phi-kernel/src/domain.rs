//! A running domain: its address space, and the memory that is its alone.

use crate::arch::{Access, AddressSpace, KernelSpace};
use crate::memory::Frames;
use alloc::vec::Vec;
use core::ops::Range;
use phi_abi::layout::{HEAP_OFFSET, PAGE, STACK_OFFSET, STACK_SIZE, START_OFFSET, START_SIZE};
use phi_abi::{Fault, FaultKind, StartBlock};
use phi_core::{DomainIndex, MachineError};
use phi_manifest::bundle::Bundle;
use phi_manifest::plan::{Segment, SegmentAccess, ServicePlan};
use phi_mem::{FrameAllocator, FrameRange};

/// The bundle, as it lies in memory: whole pages in a row.
#[derive(Clone, Copy)]
pub struct Content {
    /// The bundle.
    pub bundle: &'static Bundle<'static>,
    /// The frame of its first byte.
    pub frame: u64,
}

impl Content {
    /// The frames of `count` pages from `offset` on, a multiple of the page size.
    pub fn frames(&self, offset: u64, count: u64) -> FrameRange {
        FrameRange { first: self.frame + offset / PAGE, count }
    }
}

/// A domain that was loaded.
pub struct Domain {
    /// Its own address space; none in a unikernel, where all have one.
    space: Option<AddressSpace>,
    /// What it has mapped for itself, as addresses and numbers of pages.
    mapped: Vec<(u64, u64)>,
    private: Vec<Frames>,
    /// What the first stack would take if it were as long as can be.
    guard: Range<u64>,
}

impl Domain {
    /// Makes the domain `index` as `plan` says, with `start` in it: in `shared`, the address space of all, or in one
    /// of its own.
    ///
    /// # Errors
    /// There is not enough memory; nothing is left behind.
    pub fn load(
        index: DomainIndex,
        plan: &ServicePlan,
        start: &StartBlock,
        content: &Content,
        kernel: KernelSpace,
        mut shared: Option<&mut AddressSpace>,
        frames: &mut FrameAllocator,
    ) -> Result<Domain, MachineError> {
        let stack_end = plan.window + STACK_OFFSET;
        let guard = stack_end - STACK_SIZE..stack_end - plan.stack;
        let mut domain = Domain { space: None, mapped: Vec::new(), private: Vec::new(), guard };
        let mut own = match shared {
            Some(_) => None,
            None => Some(AddressSpace::new(kernel, Some(index), frames).ok_or(MachineError)?),
        };
        let space = own.as_mut().or(shared.as_deref_mut()).ok_or(MachineError)?;
        let filled = domain.fill(space, plan, start, content, frames);
        domain.space = own;
        match filled {
            Ok(()) => Ok(domain),
            Err(error) => {
                domain.unload(shared, frames);
                Err(error)
            }
        }
    }

    fn fill(
        &mut self,
        space: &mut AddressSpace,
        plan: &ServicePlan,
        start: &StartBlock,
        content: &Content,
        frames: &mut FrameAllocator,
    ) -> Result<(), MachineError> {
        let image = plan.image(start.image).ok_or(MachineError)?;
        if image.segments.is_empty() {
            // A driver that is part of another machine.
            return Err(MachineError);
        }
        for segment in &image.segments {
            self.add_segment(space, segment, content, frames)?;
        }
        let stack = plan.window + STACK_OFFSET - plan.stack;
        self.add_private(space, stack, plan.stack, &[], Access::Write, frames)?;
        let heap = plan.window + HEAP_OFFSET;
        self.add_private(space, heap, plan.heap, &[], Access::Write, frames)?;
        let bytes = bytes_of(start);
        let address = plan.window + START_OFFSET;
        self.add_private(space, address, START_SIZE, bytes, Access::Read, frames)
    }

    fn add_segment(
        &mut self,
        space: &mut AddressSpace,
        segment: &Segment,
        content: &Content,
        frames: &mut FrameAllocator,
    ) -> Result<(), MachineError> {
        let Segment { address, memory_length, offset, length, access } = *segment;
        let access = match access {
            SegmentAccess::Write => {
                let bytes = content.bundle.segment(segment);
                let access = Access::Write;
                return self.add_private(space, address, memory_length, bytes, access, frames);
            }
            SegmentAccess::Read => Access::Read,
            SegmentAccess::Execute => Access::Execute,
        };
        // Nobody ever writes to these pages, so all starts of the domain share the bundle's.
        let count = length / PAGE;
        self.reserve(space, address, count, frames)?;
        space.map(address, content.frames(offset, count), access);
        Ok(())
    }

    /// Maps memory of the domain's own that begins with `bytes` and goes on with zeros.
    fn add_private(
        &mut self,
        space: &mut AddressSpace,
        address: u64,
        length: u64,
        bytes: &[u8],
        access: Access,
        frames: &mut FrameAllocator,
    ) -> Result<(), MachineError> {
        let count = length / PAGE;
        self.private.try_reserve(1).map_err(|_| MachineError)?;
        let mut memory = Frames::zeroed(count, frames)?;
        memory.write(bytes);
        self.private.push(memory);
        self.reserve(space, address, count, frames)?;
        if let Some(memory) = self.private.last() {
            for (distance, run) in memory.part(0, count) {
                space.map(address + distance * PAGE, run, access);
            }
        }
        Ok(())
    }

    /// Makes room for pages of its own, and notes that they are.
    fn reserve(
        &mut self,
        space: &mut AddressSpace,
        address: u64,
        count: u64,
        frames: &mut FrameAllocator,
    ) -> Result<(), MachineError> {
        self.mapped.try_reserve(1).map_err(|_| MachineError)?;
        space.reserve(address, count, frames).ok_or(MachineError)?;
        self.mapped.push((address, count));
        Ok(())
    }

    /// Its own address space, if it has one.
    pub fn space(&mut self) -> Option<&mut AddressSpace> {
        self.space.as_mut()
    }

    /// Gives everything back that the domain had for itself, in its own address space or in `shared`.
    pub fn unload(self, shared: Option<&mut AddressSpace>, frames: &mut FrameAllocator) {
        if let Some(space) = self.space {
            space.free(frames);
        } else if let Some(space) = shared {
            for (address, count) in self.mapped {
                space.unmap(address, count);
            }
        }
        for memory in self.private {
            memory.free(frames);
        }
    }

    /// `fault` as this domain's: an access to the guard below the first stack is an overflow.
    pub fn fault(&self, fault: Fault) -> Fault {
        let access = matches!(fault.kind, FaultKind::Read | FaultKind::Write);
        if access && self.guard.contains(&fault.address) {
            Fault { kind: FaultKind::StackOverflow, ..fault }
        } else {
            fault
        }
    }
}

/// A start block as the bytes that a service reads.
fn bytes_of(start: &StartBlock) -> &[u8] {
    // SAFETY: it is laid out as C does, without padding: all its fields end where the next begins.
    unsafe { core::slice::from_raw_parts((&raw const *start).cast(), size_of::<StartBlock>()) }
}
