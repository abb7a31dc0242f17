//! Where configuration space is, by the tables of ACPI (ACPI 6.5, 5.2.5 to 5.2.8; PCI Firmware Specification
//! 3.3, 4.1.2). Tables are believed as far as their checksums go, and every length in them is checked.

use alloc::vec;
use alloc::vec::Vec;

/// Bytes of a table, at most.
const TABLE: usize = 1 << 16;

/// Bytes of the header that all tables but the first have.
const HEADER: usize = 36;

/// Physical memory, to read.
pub trait Memory {
    /// Reads from `address` on; `None` where nothing can be read.
    fn read(&self, address: u64, into: &mut [u8]) -> Option<()>;
}

/// Where the configuration space of a segment is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window {
    /// Physical address of that of bus 0, whether there is one or not.
    pub address: u64,
    /// The first bus.
    pub first: u8,
    /// The last bus.
    pub last: u8,
}

fn bytes(memory: &impl Memory, address: u64, length: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; length];
    memory.read(address, &mut bytes)?;
    Some(bytes)
}

fn sums_to_zero(bytes: &[u8]) -> bool {
    bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)) == 0
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |all, byte| (all << 8) | u64::from(*byte))
}

/// The whole table at `address`.
fn table(memory: &impl Memory, address: u64) -> Option<Vec<u8>> {
    let header = bytes(memory, address, HEADER)?;
    let length = number(&header[4..8]) as usize;
    if !(HEADER..=TABLE).contains(&length) {
        return None;
    }
    bytes(memory, address, length).filter(|table| sums_to_zero(table))
}

/// The configuration space of segment 0, by the tables whose first one is at `root`.
pub fn configuration(memory: &impl Memory, root: u64) -> Option<Window> {
    let old = bytes(memory, root, 20).filter(|old| sums_to_zero(old))?;
    if &old[..8] != b"RSD PTR " {
        return None;
    }
    let new = if old[15] >= 2 { bytes(memory, root, HEADER) } else { None };
    let (tables, width) = match new.filter(|new| sums_to_zero(new)) {
        Some(new) => (number(&new[24..32]), 8),
        None => (number(&old[16..20]), 4),
    };
    let list = table(memory, tables)?;
    list[HEADER..].chunks_exact(width).find_map(|entry| {
        let found = table(memory, number(entry)).filter(|found| &found[..4] == b"MCFG")?;
        found.get(HEADER + 8..)?.chunks_exact(16).find_map(|one| {
            let (address, segment) = (number(&one[..8]), number(&one[8..10]));
            let (first, last) = (one[10], one[11]);
            let whole = address & 0xF_FFFF == 0 && first <= last;
            (segment == 0 && whole).then_some(Window { address, first, last })
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Some bytes from an address on.
    struct Image(u64, Vec<u8>);

    impl Memory for Image {
        fn read(&self, address: u64, into: &mut [u8]) -> Option<()> {
            let start = address.checked_sub(self.0)? as usize;
            into.copy_from_slice(self.1.get(start..start.checked_add(into.len())?)?);
            Some(())
        }
    }

    const BASE: u64 = 0xE_0000;

    fn sum(bytes: &mut [u8], place: usize) {
        bytes[place] = 0;
        let sum = bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
        bytes[place] = sum.wrapping_neg();
    }

    /// Tables of either version: RSDP at 0, the list at 64, a stranger at 128, MCFG at 192.
    fn image(version: u8) -> Vec<u8> {
        let mut image = vec![0u8; 256];
        let width = if version >= 2 { 8 } else { 4 };
        image[..8].copy_from_slice(b"RSD PTR ");
        image[15] = version;
        image[16..20].copy_from_slice(&(BASE as u32 + 64).to_le_bytes());
        image[20..24].copy_from_slice(&36u32.to_le_bytes());
        image[24..32].copy_from_slice(&(BASE + 64).to_le_bytes());
        sum(&mut image[..20], 8);
        sum(&mut image[..36], 32);
        let mut put = |at: usize, name: &[u8; 4], content: &[u8]| {
            let length = HEADER + content.len();
            image[at..at + 4].copy_from_slice(name);
            image[at + 4..at + 8].copy_from_slice(&(length as u32).to_le_bytes());
            image[at + HEADER..at + length].copy_from_slice(content);
            sum(&mut image[at..at + length], 9);
        };
        let entries = [BASE + 128, BASE + 192].map(u64::to_le_bytes);
        let list: Vec<u8> = entries.iter().flat_map(|entry| entry[..width].to_vec()).collect();
        put(64, b"XSDT", &list);
        put(128, b"APIC", &[1, 2, 3]);
        let mut content = vec![0; 8];
        content.extend(0xB000_0000u64.to_le_bytes());
        content.extend([0, 0, 0, 255, 0, 0, 0, 0]);
        put(192, b"MCFG", &content);
        image
    }

    #[test]
    fn tables_of_both_versions_name_configuration_space() {
        for version in [0, 2] {
            let window = configuration(&Image(BASE, image(version)), BASE);
            assert_eq!(window, Some(Window { address: 0xB000_0000, first: 0, last: 255 }));
        }
    }

    #[test]
    fn what_was_changed_is_no_table_or_says_something_else() {
        let whole = Some(Window { address: 0xB000_0000, first: 0, last: 255 });
        let (mut same, mut none) = (0, 0);
        for place in 0..256 {
            let mut image = image(2);
            image[place] ^= 0x41;
            match configuration(&Image(BASE, image), BASE) {
                None => none += 1,
                window => {
                    assert_eq!(window, whole, "byte {place}");
                    same += 1;
                }
            }
        }
        assert!(same > 50 && none > 100, "{same} changes meant nothing, {none} were seen");
    }

    #[test]
    fn lengths_and_addresses_that_lead_nowhere_are_refused() {
        for (place, bytes) in [(68, [0xFFu8; 4]), (68, [35, 0, 0, 0]), (100, [0xFF; 4])] {
            let mut image = image(2);
            image[place..place + 4].copy_from_slice(&bytes);
            let length = (number(&image[68..72]) as usize).clamp(HEADER, 60);
            sum(&mut image[64..64 + length], 9);
            let _ = configuration(&Image(BASE, image.clone()), BASE);
            assert_eq!(configuration(&Image(BASE + 1, image), BASE), None);
        }
    }
}
