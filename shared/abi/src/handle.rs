//! Handles: how a service names a capability of its own.

/// Names one slot of the holder's capability table: slot in the low 32 bits, the slot's generation
/// in the high 32. Generations start at 1 and a slot whose generation would wrap is retired, so a
/// stale handle never names a newer capability.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(transparent)]
pub struct Handle(pub u64);

impl Handle {
    /// Names nothing; never valid.
    pub const NULL: Handle = Handle(0);

    /// The handle of `slot` in its `generation`.
    pub const fn new(slot: u32, generation: u32) -> Handle {
        Handle((generation as u64) << 32 | slot as u64)
    }

    /// Index into the holder's capability table.
    pub const fn slot(self) -> u32 {
        self.0 as u32
    }

    /// Generation of the slot that the handle was made for.
    pub const fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Whether this is [`Handle::NULL`].
    pub const fn is_null(self) -> bool {
        self.0 == 0
    }
}

impl core::fmt::Debug for Handle {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}:{}", self.slot(), self.generation())
    }
}
