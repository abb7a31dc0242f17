//! What an image is handed at its entry.

use crate::{CallTable, Handle};

/// Bytes in the name of a capability in the start block, at most.
pub const NAME_BYTES: usize = 32;

/// Capabilities in the start block, at most.
pub const START_CAPABILITIES: usize = 128;

/// Bytes of arguments in the start block, at most.
pub const ARGUMENT_BYTES: usize = 1024;

/// A capability that a service begins with, by the name that its manifest gives it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct NamedCapability {
    /// The name, padded with zeros.
    pub name: [u8; NAME_BYTES],
    /// The handle.
    pub handle: Handle,
    /// The rights, as [`crate::Rights::bits`].
    pub rights: u32,
    /// The [`crate::Kind`], as a number.
    pub kind: u32,
    /// Regions: the address of its place; it is not mapped yet. Otherwise 0.
    pub address: u64,
    /// Regions: bytes in use (an input of 5 bytes says 5). Otherwise 0.
    pub length: u64,
}

/// Who a service is and what it begins with; read-only, at [`crate::layout::START_OFFSET`] of its
/// window.
#[derive(Clone, Debug)]
#[repr(C)]
pub struct StartBlock {
    /// [`crate::ABI_VERSION`].
    pub version: u32,
    /// The domain's generation: 1 at its first start.
    pub generation: u32,
    /// Base of the service's window.
    pub window: u64,
    /// Address of the heap.
    pub heap: u64,
    /// Bytes of heap.
    pub heap_size: u64,
    /// Which image runs: 0 is the plan's, 1 its replacement in the bundle, and more are those that the
    /// machine got while the system ran.
    pub image: u64,
    /// The domain's priority, the most that its threads may have.
    pub priority: u32,
    /// Bytes of `arguments` in use.
    pub argument_length: u32,
    /// Entries of `capabilities` in use.
    pub capability_count: u64,
    /// The arguments of the manifest, as text.
    pub arguments: [u8; ARGUMENT_BYTES],
    /// The capabilities.
    pub capabilities: [NamedCapability; START_CAPABILITIES],
}

// The machines reserve this much for it.
const _: () = assert!(size_of::<StartBlock>() as u64 <= crate::layout::START_SIZE);

/// An image's entry. The stack is 16-byte aligned as at a call, and never returns.
pub type Entry = unsafe extern "C" fn(start: *const StartBlock, table: *const CallTable) -> !;

impl NamedCapability {
    /// Nothing.
    pub const EMPTY: NamedCapability = NamedCapability {
        name: [0; NAME_BYTES],
        handle: Handle::NULL,
        rights: 0,
        kind: 0,
        address: 0,
        length: 0,
    };

    /// The name without its padding.
    pub fn name(&self) -> &[u8] {
        let end = self.name.iter().position(|byte| *byte == 0).unwrap_or(NAME_BYTES);
        &self.name[..end]
    }
}

impl StartBlock {
    /// A block that says nothing yet.
    pub const EMPTY: StartBlock = StartBlock {
        version: crate::ABI_VERSION,
        generation: 0,
        window: 0,
        heap: 0,
        heap_size: 0,
        image: 0,
        priority: 0,
        argument_length: 0,
        capability_count: 0,
        arguments: [0; ARGUMENT_BYTES],
        capabilities: [NamedCapability::EMPTY; START_CAPABILITIES],
    };

    /// The capabilities in use.
    pub fn capabilities(&self) -> &[NamedCapability] {
        &self.capabilities[..(self.capability_count as usize).min(START_CAPABILITIES)]
    }

    /// The capability with this name.
    pub fn find(&self, name: &str) -> Option<&NamedCapability> {
        self.capabilities().iter().find(|capability| capability.name() == name.as_bytes())
    }

    /// The arguments in use.
    pub fn arguments(&self) -> &[u8] {
        &self.arguments[..(self.argument_length as usize).min(ARGUMENT_BYTES)]
    }
}
