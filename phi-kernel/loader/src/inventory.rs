//! The inventory of a bootable disk: which kernel and bundle belong on it.
//!
//! | offset | what |
//! |---|---|
//! | 0 | magic `PHIBOOT1` |
//! | 8 | BLAKE3 of all that follows, 32 bytes |
//! | 40 | bytes of the kernel, 8 bytes, and its BLAKE3, 32 bytes |
//! | 80 | the same of the bundle |
//! | 120 | bytes of the command line, 8 bytes |
//! | 128 | the command line, UTF-8, filled up with zeros |
//!
//! Numbers are little-endian.

use core::fmt;

/// Where the firmware looks for a program on a disk that it knows nothing of (UEFI, 3.5.1.1).
pub const LOADER_FILE: &str = "EFI/BOOT/BOOTX64.EFI";

/// Folder of the other files, at the root of the EFI system partition.
pub const FOLDER: &str = "phi";

/// Name of the inventory.
pub const INVENTORY_FILE: &str = "inventory";

/// Name of the kernel, an ELF file.
pub const KERNEL_FILE: &str = "kernel";

/// Name of the bundle.
pub const BUNDLE_FILE: &str = "bundle";

/// Bytes of an inventory.
pub const SIZE: usize = 512;

/// Bytes of a command line, at most.
pub const COMMAND_LINE: usize = SIZE - TEXT;

/// Bytes of a kernel file, at most.
pub const KERNEL_SIZE: u64 = 64 << 20;

const MAGIC: [u8; 8] = *b"PHIBOOT1";
const HASH: core::ops::Range<usize> = 8..40;
const KERNEL: usize = 40;
const BUNDLE: usize = 80;
const TEXT_LENGTH: usize = 120;
const TEXT: usize = 128;

/// A file that belongs on the disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Item {
    /// Its bytes.
    pub length: u64,
    /// BLAKE3 of them.
    pub hash: [u8; 32],
}

impl Item {
    /// A file with this content.
    pub fn of(content: &[u8]) -> Item {
        Item { length: content.len() as u64, hash: *blake3::hash(content).as_bytes() }
    }

    /// Whether `content` is the file's.
    pub fn is(&self, content: &[u8]) -> bool {
        *self == Item::of(content)
    }
}

/// What belongs on a disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Inventory<'a> {
    /// The kernel.
    pub kernel: Item,
    /// The bundle.
    pub bundle: Item,
    /// The kernel's command line.
    pub command_line: &'a str,
}

/// Why an inventory is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InventoryError {
    /// It is none, or of another version, or cut off.
    None,
    /// Its content is not what its hash says.
    Damaged,
    /// A length that cannot be.
    Length,
    /// A command line that is no text.
    Text,
}

impl fmt::Display for InventoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            InventoryError::None => "it is no inventory of this version, or cut off",
            InventoryError::Damaged => "it is damaged: its hash does not match its content",
            InventoryError::Length => {
                "it names a length that no kernel, bundle or command line has"
            }
            InventoryError::Text => "its command line is no text",
        })
    }
}

impl<'a> Inventory<'a> {
    /// As it lies on the disk; `None` when the command line is too long.
    pub fn encode(&self) -> Option<[u8; SIZE]> {
        let mut bytes = [0; SIZE];
        bytes[..8].copy_from_slice(&MAGIC);
        for (offset, item) in [(KERNEL, self.kernel), (BUNDLE, self.bundle)] {
            bytes[offset..offset + 8].copy_from_slice(&item.length.to_le_bytes());
            bytes[offset + 8..offset + 40].copy_from_slice(&item.hash);
        }
        let text = self.command_line.as_bytes();
        bytes[TEXT_LENGTH..TEXT].copy_from_slice(&(text.len() as u64).to_le_bytes());
        bytes.get_mut(TEXT..TEXT + text.len())?.copy_from_slice(text);
        let hash = *blake3::hash(&bytes[HASH.end..]).as_bytes();
        bytes[HASH].copy_from_slice(&hash);
        Some(bytes)
    }

    /// What `bytes` say; more may follow them.
    ///
    /// # Errors
    /// [`InventoryError`].
    pub fn decode(bytes: &'a [u8]) -> Result<Inventory<'a>, InventoryError> {
        let bytes = bytes.get(..SIZE).filter(|bytes| bytes.starts_with(&MAGIC));
        let bytes = bytes.ok_or(InventoryError::None)?;
        if blake3::hash(&bytes[HASH.end..]).as_bytes()[..] != bytes[HASH] {
            return Err(InventoryError::Damaged);
        }
        let item = |offset: usize| {
            let mut hash = [0; 32];
            hash.copy_from_slice(&bytes[offset + 8..offset + 40]);
            Item { length: word(bytes, offset), hash }
        };
        let (kernel, bundle) = (item(KERNEL), item(BUNDLE));
        let text = usize::try_from(word(bytes, TEXT_LENGTH)).unwrap_or(usize::MAX);
        let possible = (1..=KERNEL_SIZE).contains(&kernel.length)
            && (1..1 << 32).contains(&bundle.length)
            && text <= COMMAND_LINE;
        if !possible {
            return Err(InventoryError::Length);
        }
        let text = core::str::from_utf8(&bytes[TEXT..TEXT + text]);
        let text = text.ok().filter(|text| !text.contains('\0')).ok_or(InventoryError::Text)?;
        Ok(Inventory { kernel, bundle, command_line: text })
    }
}

fn word(bytes: &[u8], offset: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[offset..offset + 8]);
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate alloc;

    fn sample() -> Inventory<'static> {
        Inventory { kernel: Item::of(b"kernel"), bundle: Item::of(b"bundle"), command_line: "dump" }
    }

    #[test]
    fn an_inventory_survives_the_round_trip() {
        let bytes = sample().encode().unwrap();
        assert_eq!(Inventory::decode(&bytes), Ok(sample()));
        assert!(sample().kernel.is(b"kernel"));
        assert!(!sample().kernel.is(b"kernes") && !sample().kernel.is(b"kerne"));
    }

    #[test]
    fn every_changed_bit_is_seen() {
        let bytes = sample().encode().unwrap();
        for bit in 0..SIZE * 8 {
            let mut changed = bytes;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(Inventory::decode(&changed).is_err(), "bit {bit}");
        }
        for length in 0..SIZE {
            assert_eq!(Inventory::decode(&bytes[..length]), Err(InventoryError::None));
        }
    }

    /// `bytes` with a hash that is right.
    fn sealed(mut bytes: [u8; SIZE]) -> [u8; SIZE] {
        let hash = *blake3::hash(&bytes[HASH.end..]).as_bytes();
        bytes[HASH].copy_from_slice(&hash);
        bytes
    }

    #[test]
    fn what_cannot_be_is_refused_even_if_its_hash_is_right() {
        let bytes = sample().encode().unwrap();
        for (offset, lengths) in [
            (KERNEL, [0, KERNEL_SIZE + 1, u64::MAX]),
            (BUNDLE, [0, 1 << 32, u64::MAX]),
            (TEXT_LENGTH, [COMMAND_LINE as u64 + 1, 1 << 63, u64::MAX]),
        ] {
            for length in lengths {
                let mut bytes = bytes;
                bytes[offset..offset + 8].copy_from_slice(&length.to_le_bytes());
                assert_eq!(Inventory::decode(&sealed(bytes)), Err(InventoryError::Length));
            }
        }
        for byte in [0, 0xFF] {
            let mut bytes = bytes;
            bytes[TEXT + 1] = byte;
            assert_eq!(Inventory::decode(&sealed(bytes)), Err(InventoryError::Text));
        }
        let long = alloc::string::String::from("x").repeat(COMMAND_LINE + 1);
        assert_eq!(Inventory { command_line: &long, ..sample() }.encode(), None);
        assert!(Inventory { command_line: &long[1..], ..sample() }.encode().is_some());
    }
}
