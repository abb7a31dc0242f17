//! What a PVH loader tells the kernel: `struct hvm_start_info` and what it refers to (Xen,
//! `arch-x86/hvm/start_info.h`).

use crate::memory_map::{GIVEN, MemoryMap};
use core::ops::Range;

const MAGIC: u32 = 0x336E_C578;
const VERSION: u32 = 1;

/// Bytes of the information itself, of a module's entry, and of one of the memory map.
const INFO: usize = 56;
const MODULE: usize = 32;
const RANGE: usize = 24;

/// Kind of a range that is ordinary memory.
const ORDINARY: u32 = 1;

/// Bytes that all of it takes, with a command line of [`crate::inventory::COMMAND_LINE`] bytes.
pub const SIZE: usize = INFO + MODULE + GIVEN * RANGE + crate::inventory::COMMAND_LINE + 1;

/// What the kernel is told.
pub struct StartInfo<'a> {
    /// Where the bundle lies.
    pub bundle: Range<u64>,
    /// The kernel's command line.
    pub command_line: &'a str,
    /// Address of ACPI's root pointer; 0 when there is none.
    pub root_pointer: u64,
    /// The memory that is the kernel's; only the first [`GIVEN`] ranges are told.
    pub memory: &'a MemoryMap,
}

impl StartInfo<'_> {
    /// Writes all of it to `bytes`, which lie at the physical address `address`. `None` when there is
    /// too little room.
    pub fn write(&self, bytes: &mut [u8], address: u64) -> Option<()> {
        let ranges = self.memory.as_slice();
        let ranges = &ranges[..ranges.len().min(GIVEN)];
        let text = INFO + MODULE + ranges.len() * RANGE;
        let at = |offset: usize| address + offset as u64;
        let mut writer = Writer { bytes, offset: 0 };
        for word in [MAGIC, VERSION, 0, 1] {
            writer.put(&word.to_le_bytes())?;
        }
        for word in [at(INFO), at(text), self.root_pointer, at(INFO + MODULE)] {
            writer.put(&word.to_le_bytes())?;
        }
        writer.put(&(ranges.len() as u32).to_le_bytes())?;
        writer.put(&[0; 4])?;
        for word in [self.bundle.start, self.bundle.end - self.bundle.start, 0, 0] {
            writer.put(&word.to_le_bytes())?;
        }
        for range in ranges {
            writer.put(&range.start.to_le_bytes())?;
            writer.put(&(range.end - range.start).to_le_bytes())?;
            writer.put(&ORDINARY.to_le_bytes())?;
            writer.put(&[0; 4])?;
        }
        writer.put(self.command_line.as_bytes())?;
        writer.put(&[0])
    }
}

struct Writer<'a> {
    bytes: &'a mut [u8],
    offset: usize,
}

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) -> Option<()> {
        let end = self.offset.checked_add(bytes.len())?;
        self.bytes.get_mut(self.offset..end)?.copy_from_slice(bytes);
        self.offset = end;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_where_the_information_says() {
        let mut memory = MemoryMap::EMPTY;
        memory.add(0x10_0000..0x20_0000);
        memory.add(0x40_0000..0x80_0000);
        let info = StartInfo {
            bundle: 0x50_0000..0x50_1234,
            command_line: "text",
            root_pointer: 0xE_0000,
            memory: &memory,
        };
        let mut bytes = [0xAA; SIZE];
        info.write(&mut bytes, 0x7000).unwrap();
        let word = |offset: usize| {
            u64::from_le_bytes(bytes[offset..offset + 8].try_into().expect("eight bytes"))
        };
        let single = |offset: usize| word(offset) as u32;
        assert_eq!([single(0), single(4), single(8), single(12)], [MAGIC, 1, 0, 1]);
        let [modules, text, root, map] =
            [16, 24, 32, 40].map(|offset| (word(offset).wrapping_sub(0x7000)) as usize);
        assert_eq!(root, 0xE_0000 - 0x7000);
        assert_eq!(single(48), 2);
        assert_eq!([word(modules), word(modules + 8)], [0x50_0000, 0x1234]);
        assert_eq!([word(map), word(map + 8)], [0x10_0000, 0x10_0000]);
        assert_eq!([word(map + 24), word(map + 32)], [0x40_0000, 0x40_0000]);
        assert_eq!([single(map + 16), single(map + 40)], [1, 1]);
        assert_eq!(&bytes[text..text + 5], b"text\0");
        assert_eq!(info.write(&mut bytes[..text + 4], 0x7000), None);
    }
}
