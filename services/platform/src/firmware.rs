//! Where configuration space is (PCI Firmware Specification 3.3, 4.1.2).

use phi_firmware::{HEADER, Memory, Root, field};

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

/// The configuration space of segment 0, by the tables whose first one is at `root`.
pub fn configuration(memory: &impl Memory, root: u64) -> Option<Window> {
    let tables = Root::at(memory, root)?.tables(memory, b"MCFG");
    tables.iter().find_map(|table| {
        table.get(HEADER + 8..)?.chunks_exact(16).find_map(|one| {
            let (address, segment) = (field(one, 0, 8)?, field(one, 8, 2)?);
            let (first, last) = (one[10], one[11]);
            let whole = address & 0xF_FFFF == 0 && first <= last;
            (segment == 0 && whole).then_some(Window { address, first, last })
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use phi_firmware::number;
    use std::vec;
    use std::vec::Vec;

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
