//! The memory of regions.

use super::memory::{self, Access};
use phi_abi::layout::PAGE;
use phi_core::Span;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// One region's memory.
pub struct Region {
    span: Span,
    memory: Memory,
}

enum Memory {
    /// Memory of its own, and the descriptor that cannot write to it, made when first needed.
    Own { memory: OwnedFd, reader: Option<OwnedFd> },
    /// Memory that never changes.
    Constant(OwnedFd),
}

impl Region {
    /// Zeroed memory at the place `span`.
    ///
    /// # Errors
    /// What Linux says.
    pub fn zeroed(span: Span) -> io::Result<Region> {
        let memory = memory::create("phi-region", span.length)?;
        Ok(Region { span, memory: Memory::Own { memory, reader: None } })
    }

    /// Memory that holds `bytes` and zeros after them, at the place `span`, which nobody can write
    /// to. It is in a file of its own: who has its descriptor has nothing else.
    ///
    /// # Errors
    /// What Linux says.
    pub fn constant(span: Span, bytes: &[u8]) -> io::Result<Region> {
        let memory = memory::create_constant("phi-constant", bytes, span.length)?;
        Ok(Region { span, memory: Memory::Constant(memory) })
    }

    /// Its place.
    pub fn span(&self) -> Span {
        self.span
    }

    /// Whether `span` is whole pages of it.
    pub fn contains(&self, span: Span) -> bool {
        let Some(start) = span.address.checked_sub(self.span.address) else { return false };
        let whole = span.address.is_multiple_of(PAGE) && span.length.is_multiple_of(PAGE);
        whole && start <= self.span.length && span.length <= self.span.length - start
    }

    /// What to map for `access` at `address`: a descriptor that permits no more, and the offset in
    /// it.
    ///
    /// # Errors
    /// What Linux says.
    pub fn source(&mut self, address: u64, access: Access) -> io::Result<(BorrowedFd<'_>, u64)> {
        let start = address - self.span.address;
        if let Memory::Own { memory, reader: reader @ None } = &mut self.memory
            && access != Access::Write
        {
            *reader = Some(memory::read_only(&*memory)?);
        }
        Ok(match &self.memory {
            Memory::Own { reader: Some(reader), .. } if access != Access::Write => {
                (reader.as_fd(), start)
            }
            Memory::Own { memory, .. } => (memory.as_fd(), start),
            Memory::Constant(memory) => (memory.as_fd(), start),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use phi_abi::layout::WINDOWS_BASE;

    #[test]
    fn a_part_must_be_whole_pages_of_the_region() {
        let place = Span { address: WINDOWS_BASE, length: 4 * PAGE };
        let region = Region::zeroed(place).unwrap();
        let part = |start: u64, length: u64| Span { address: WINDOWS_BASE + start, length };
        assert!(region.contains(place));
        assert!(region.contains(part(3 * PAGE, PAGE)));
        assert!(!region.contains(part(3 * PAGE, 2 * PAGE)));
        assert!(!region.contains(part(8, PAGE)));
        assert!(!region.contains(part(0, !(PAGE - 1))));
        assert!(!region.contains(Span { address: 0, length: PAGE }));
    }

    #[test]
    fn readers_get_a_descriptor_that_cannot_write() {
        let place = Span { address: WINDOWS_BASE, length: 2 * PAGE };
        let mut region = Region::zeroed(place).unwrap();
        let (writer, offset) = region.source(WINDOWS_BASE + PAGE, Access::Write).unwrap();
        assert_eq!(offset, PAGE);
        assert!(nix::unistd::write(writer, b"x").is_ok());
        let (reader, _) = region.source(WINDOWS_BASE, Access::Read).unwrap();
        assert!(nix::unistd::write(reader, b"x").is_err());
    }
}
