//! The tables of ACPI that say where IOMMUs and interrupt controllers are (ACPI 6.5, 5.2.5 to 5.2.12; Intel
//! Virtualization Technology for Directed I/O 4.1, chapter 8). The kernel reads nothing else of ACPI.
//!
//! Tables are believed as far as their checksums go, and every length in them is checked.

use super::super::EARLY_END;
use super::super::paging::direct;
use alloc::vec::Vec;

/// Bytes of a table, at most.
const TABLE: usize = 1 << 16;

/// Bytes of the header that all tables but the first have.
const HEADER: usize = 36;

/// Entries of one kind that are looked at.
const ENTRIES: usize = 8;

/// Where firmware without a loader's word has the first table (ACPI 6.5, 5.2.5.1).
const BIOS: core::ops::Range<u64> = 0xE_0000..0x10_0000;

/// What the kernel needs to know of the hardware.
#[derive(Clone, Default, Debug)]
pub struct Inventory {
    /// Address of the first table, the RSDP.
    pub root: u64,
    /// Physical addresses of the registers of the IOMMUs.
    pub units: Vec<u64>,
    /// The I/O APICs.
    pub io_apics: Vec<IoApicPlace>,
}

/// Where an I/O APIC is.
#[derive(Clone, Copy, Debug)]
pub struct IoApicPlace {
    /// Physical address of its registers.
    pub registers: u64,
    /// Number of its first global system interrupt.
    pub first: u32,
    id: u8,
    /// The requester id of what it writes, where a DMAR says so.
    pub requester: Option<u16>,
}

/// `length` bytes at a physical address; `None` beyond what the first page tables map.
fn bytes(address: u64, length: usize) -> Option<&'static [u8]> {
    let end = address.checked_add(length as u64)?;
    if address == 0 || end > EARLY_END {
        return None;
    }
    // SAFETY: the first page tables map all addresses below `EARLY_END`, and the firmware's tables are not
    // written to while the kernel sets itself up.
    Some(unsafe { core::slice::from_raw_parts(direct(address), length) })
}

fn sums_to_zero(bytes: &[u8]) -> bool {
    bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)) == 0
}

fn word(bytes: &[u8], offset: usize) -> Option<u32> {
    let part = bytes.get(offset..offset.checked_add(4)?)?;
    Some(u32::from_le_bytes(part.try_into().ok()?))
}

fn long(bytes: &[u8], offset: usize) -> Option<u64> {
    let part = bytes.get(offset..offset.checked_add(8)?)?;
    Some(u64::from_le_bytes(part.try_into().ok()?))
}

/// The first table at `address`: the address of the table of tables, and whether its entries are long.
fn first_table(address: u64) -> Option<(u64, bool)> {
    let old = bytes(address, 20)?;
    if &old[..8] != b"RSD PTR " || !sums_to_zero(old) {
        return None;
    }
    if old[15] >= 2 {
        let new = bytes(address, HEADER)?;
        if sums_to_zero(new) {
            return Some((long(new, 24)?, true));
        }
    }
    Some((u64::from(word(old, 16)?), false))
}

/// The whole table at `address`.
fn table(address: u64) -> Option<&'static [u8]> {
    let length = word(bytes(address, HEADER)?, 4)? as usize;
    if !(HEADER..=TABLE).contains(&length) {
        return None;
    }
    bytes(address, length).filter(|table| sums_to_zero(table))
}

/// Entries of a table from `offset` on, each with its kind and its length in its first `2 * width` bytes.
fn entries(table: &[u8], offset: usize, width: usize) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = table.get(offset..).unwrap_or_default();
    core::iter::from_fn(move || {
        let number = |at: usize| {
            let part = rest.get(at..at + width)?;
            Some(part.iter().rev().fold(0u16, |all, byte| all << 8 | u16::from(*byte)))
        };
        let (kind, length) = (number(0)?, usize::from(number(width)?));
        if length < 2 * width || length > rest.len() {
            return None;
        }
        let (entry, after) = rest.split_at(length);
        rest = after;
        Some((kind, entry))
    })
}

impl Inventory {
    /// What the tables say whose first one is at `root`, or where firmware has it if that is 0. Without
    /// any there are no devices for services. Called while the first page tables are in use.
    pub fn read(root: u64) -> Inventory {
        let mut inventory = Inventory::default();
        let found = match root {
            0 => BIOS.step_by(16).find(|address| first_table(*address).is_some()),
            root => Some(root),
        };
        let Some((root, (tables, long_entries))) =
            found.and_then(|root| Some((root, first_table(root)?)))
        else {
            return inventory;
        };
        inventory.root = root;
        let Some(list) = table(tables) else { return inventory };
        let width = if long_entries { 8 } else { 4 };
        // What the IOMMUs' table says is of controllers that the other one names.
        type Read = fn(&mut Inventory, &[u8]);
        let readers: [(&[u8], Read); 2] =
            [(b"APIC", Inventory::read_controllers), (b"DMAR", Inventory::read_iommus)];
        for (signature, read) in readers {
            for entry in list[HEADER..].chunks_exact(width) {
                let address =
                    entry.iter().rev().fold(0u64, |all, byte| all << 8 | u64::from(*byte));
                if let Some(found) = table(address).filter(|table| &table[..4] == signature) {
                    read(&mut inventory, found);
                }
            }
        }
        inventory
    }

    /// The I/O APICs of a MADT (ACPI 6.5, 5.2.12.3).
    fn read_controllers(&mut self, table: &[u8]) {
        for (kind, entry) in entries(table, 44, 1) {
            let place = || {
                let registers = u64::from(word(entry, 4)?);
                Some(IoApicPlace {
                    registers,
                    first: word(entry, 8)?,
                    id: entry[2],
                    requester: None,
                })
            };
            if kind == 1 && self.io_apics.len() < ENTRIES {
                self.io_apics.extend(place());
            }
        }
    }

    /// The remapping hardware units of a DMAR (VT-d 8.3), and what they say of I/O APICs (8.3.1).
    fn read_iommus(&mut self, table: &[u8]) {
        for (kind, entry) in entries(table, 48, 2) {
            let Some(registers) = long(entry, 8).filter(|_| kind == 0) else { continue };
            if self.units.len() < ENTRIES {
                self.units.push(registers);
            }
            for (kind, scope) in entries(entry, 16, 1) {
                // One step of a path: the I/O APIC is on the bus that is named.
                if let (3, [_, 8, _, _, id, bus, device, function]) = (kind, scope) {
                    let requester =
                        u16::from(*bus) << 8 | u16::from(*device) << 3 | u16::from(*function);
                    let named = self.io_apics.iter_mut().filter(|place| place.id == *id);
                    named.for_each(|place| place.requester = Some(requester));
                }
            }
        }
    }
}
