//! The kernel's ELF file: where its parts go in physical memory, and where it is entered.

use core::fmt;
use elf::abi::{EM_X86_64, PT_LOAD, PT_NOTE};
use elf::endian::LittleEndian;
use elf::note::Note;
use elf::segment::ProgramHeader;
use elf::{ElfBytes, file::Class};

/// Bytes of memory that a kernel takes, at most.
const MEMORY: u64 = 64 << 20;

/// Physical addresses below belong to the firmware.
const FIRMWARE_END: u64 = 1 << 20;

/// Owner and type of the note that holds the address of the 32-bit entry (Xen,
/// `XEN_ELFNOTE_PHYS32_ENTRY`).
const ENTRY_OWNER: &[u8] = b"Xen\0";
const ENTRY_TYPE: u64 = 18;

/// Why a kernel is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KernelError {
    /// It is no ELF file for x86-64, or cut off.
    NoElf,
    /// A part of it lies outside the file or of the memory that a kernel may take, or on another.
    Layout,
    /// It says nowhere where it is entered, or outside of itself.
    Entry,
}

impl fmt::Display for KernelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            KernelError::NoElf => "it is no ELF file for x86-64, or cut off",
            KernelError::Layout => "a part of it lies outside of it, or outside of its memory",
            KernelError::Entry => "it has no PVH entry",
        })
    }
}

/// A kernel that can be placed.
pub struct KernelImage<'a> {
    file: ElfBytes<'a, LittleEndian>,
    start: u64,
    length: u64,
    entry: u64,
}

impl<'a> KernelImage<'a> {
    /// Reads an ELF file.
    ///
    /// # Errors
    /// [`KernelError`].
    pub fn open(bytes: &'a [u8]) -> Result<KernelImage<'a>, KernelError> {
        let file =
            ElfBytes::<LittleEndian>::minimal_parse(bytes).map_err(|_| KernelError::NoElf)?;
        if file.ehdr.class != Class::ELF64 || file.ehdr.e_machine != EM_X86_64 {
            return Err(KernelError::NoElf);
        }
        let (mut start, mut end) = (u64::MAX, 0);
        for part in parts(&file)? {
            let last = part.p_paddr.checked_add(part.p_memsz).ok_or(KernelError::Layout)?;
            let content = file.segment_data(&part).map_err(|_| KernelError::Layout)?;
            let ascending = part.p_paddr >= end;
            if !ascending || content.len() as u64 > part.p_memsz {
                return Err(KernelError::Layout);
            }
            (start, end) = (start.min(part.p_paddr), last);
        }
        let length = end.checked_sub(start).filter(|length| (1..=MEMORY).contains(length));
        let length = length.ok_or(KernelError::Layout)?;
        if start < FIRMWARE_END || end > 1 << 32 {
            return Err(KernelError::Layout);
        }
        let entry = entry(&file).filter(|entry| (start..end).contains(entry));
        let entry = entry.ok_or(KernelError::Entry)?;
        Ok(KernelImage { file, start, length, entry })
    }

    /// Physical address of its first byte.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// Bytes that it takes in memory.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Physical address of its 32-bit entry.
    pub fn entry(&self) -> u64 {
        self.entry
    }

    /// Writes it as it shall lie in memory, zeros included, to `memory`, which has its length.
    ///
    /// # Errors
    /// [`KernelError::Layout`]: `memory` is too short.
    pub fn place(&self, memory: &mut [u8]) -> Result<(), KernelError> {
        memory.fill(0);
        for part in parts(&self.file)? {
            let content = self.file.segment_data(&part).map_err(|_| KernelError::Layout)?;
            let offset = (part.p_paddr - self.start) as usize;
            let place = memory.get_mut(offset..offset + content.len());
            place.ok_or(KernelError::Layout)?.copy_from_slice(content);
        }
        Ok(())
    }
}

/// The parts that go to memory.
fn parts(
    file: &ElfBytes<'_, LittleEndian>,
) -> Result<impl Iterator<Item = ProgramHeader>, KernelError> {
    let all = file.segments().ok_or(KernelError::NoElf)?;
    Ok(all.iter().filter(|part| part.p_type == PT_LOAD && part.p_memsz > 0))
}

/// The entry that a note names.
fn entry(file: &ElfBytes<'_, LittleEndian>) -> Option<u64> {
    let notes = file.segments()?.iter().filter(|part| part.p_type == PT_NOTE);
    for part in notes {
        for note in file.segment_data_as_notes(&part).ok()? {
            if let Note::Unknown(note) = note
                && note.name == ENTRY_OWNER
                && note.n_type == ENTRY_TYPE
            {
                let mut word = [0; 8];
                // As long as an address of either width.
                let length = note.desc.len().min(8);
                word[..length].copy_from_slice(&note.desc[..length]);
                return matches!(length, 4 | 8).then_some(u64::from_le_bytes(word));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    extern crate alloc;
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;

    const PLACE: u64 = 2 << 20;

    /// An ELF file with a note and two parts: 8 bytes of content and 24 of zeros, then 4 of content.
    fn sample() -> Vec<u8> {
        let mut file = vec![0; 0x200];
        file[..16].copy_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
        put(&mut file, 16, &2u16.to_le_bytes());
        put(&mut file, 18, &62u16.to_le_bytes());
        put(&mut file, 20, &1u32.to_le_bytes());
        put(&mut file, 32, &64u64.to_le_bytes());
        put(&mut file, 52, &64u16.to_le_bytes());
        put(&mut file, 54, &56u16.to_le_bytes());
        put(&mut file, 56, &3u16.to_le_bytes());
        header(&mut file, 0, PT_NOTE, 0x180, 0, 24, 24);
        header(&mut file, 1, PT_LOAD, 0x1C0, PLACE, 8, 32);
        header(&mut file, 2, PT_LOAD, 0x1D0, PLACE + 32, 4, 4);
        put(&mut file, 0x180, &[4, 0, 0, 0, 8, 0, 0, 0, 18, 0, 0, 0]);
        put(&mut file, 0x18C, b"Xen\0");
        put(&mut file, 0x190, &(PLACE + 4).to_le_bytes());
        put(&mut file, 0x1C0, b"contents");
        put(&mut file, 0x1D0, b"more");
        file
    }

    fn put(file: &mut [u8], offset: usize, bytes: &[u8]) {
        file[offset..offset + bytes.len()].copy_from_slice(bytes);
    }

    fn header(
        file: &mut [u8],
        number: usize,
        kind: u32,
        offset: u64,
        place: u64,
        length: u64,
        memory: u64,
    ) {
        let at = 64 + number * 56;
        put(file, at, &kind.to_le_bytes());
        for (place_of, word) in [(8, offset), (24, place), (32, length), (40, memory), (48, 4)] {
            put(file, at + place_of, &word.to_le_bytes());
        }
    }

    fn error(file: &[u8]) -> Option<KernelError> {
        KernelImage::open(file).err()
    }

    #[test]
    fn a_kernel_is_placed_with_its_zeros() {
        let file = sample();
        let kernel = KernelImage::open(&file).unwrap();
        assert_eq!((kernel.start(), kernel.length(), kernel.entry()), (PLACE, 36, PLACE + 4));
        let mut memory = vec![7; 36];
        kernel.place(&mut memory).unwrap();
        assert_eq!(memory, [&b"contents"[..], &[0; 24], b"more"].concat());
        assert_eq!(kernel.place(&mut memory[..35]), Err(KernelError::Layout));
    }

    #[test]
    fn parts_outside_of_file_or_memory_are_refused() {
        for (offset, place, length, memory) in [
            (0x1FC, PLACE + 32, 8, 8),
            (u64::MAX, PLACE + 32, 8, 8),
            (0x1D0, PLACE + 31, 4, 4),
            (0x1D0, PLACE + 32, 8, 4),
            (0x1D0, PLACE + 32, 4, MEMORY),
            (0x1D0, PLACE + 32, 4, u64::MAX),
            (0x1D0, u64::MAX, 4, 4),
            (0x1D0, 1 << 40, 4, 4),
        ] {
            let mut file = sample();
            header(&mut file, 2, PT_LOAD, offset, place, length, memory);
            assert_eq!(error(&file), Some(KernelError::Layout), "{offset} {place} {length}");
        }
        for place in [0, FIRMWARE_END - 4] {
            let mut file = sample();
            header(&mut file, 1, PT_LOAD, 0x1C0, place, 8, 32);
            assert_eq!(error(&file), Some(KernelError::Layout));
        }
        let mut file = sample();
        header(&mut file, 1, PT_NOTE, 0x180, 0, 0, 0);
        header(&mut file, 2, PT_NOTE, 0x180, 0, 0, 0);
        assert_eq!(error(&file), Some(KernelError::Layout));
    }

    #[test]
    fn without_an_entry_of_its_own_it_is_none() {
        for (offset, bytes) in [
            (0x188, &[17][..]),
            (0x18C, b"Xem\0"),
            (0x190, &[0; 8]),
            (0x190, &(PLACE + 36).to_le_bytes()),
            (0x184, &[200]),
            (0x184, &[7]),
        ] {
            let mut file = sample();
            put(&mut file, offset, bytes);
            assert_eq!(error(&file), Some(KernelError::Entry), "{offset:#x}");
        }
    }

    #[test]
    fn no_cut_and_no_changed_byte_makes_it_panic() {
        let file = sample();
        for length in 0..file.len() {
            let _ = error(&file[..length]);
        }
        assert_eq!(error(&file[..63]), Some(KernelError::NoElf));
        let mut memory = vec![0; MEMORY as usize];
        for offset in 0..0x1C0 {
            for value in [0, 1, 0x7F, 0x80, 0xFF] {
                let mut changed = file.clone();
                changed[offset] = value;
                if let Ok(kernel) = KernelImage::open(&changed) {
                    let length = kernel.length() as usize;
                    kernel.place(&mut memory[..length]).unwrap();
                }
            }
        }
    }
}
