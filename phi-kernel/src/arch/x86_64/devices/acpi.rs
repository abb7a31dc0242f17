//! The tables of ACPI that say where IOMMUs and interrupt controllers are (ACPI 6.5, 5.2.12; Intel
//! Virtualization Technology for Directed I/O 4.1, chapter 8). The kernel reads nothing else of ACPI.

use super::super::EARLY_END;
use super::super::paging::direct;
use alloc::vec::Vec;
use phi_firmware::{Memory, Root, entries, field};

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

/// What the first page tables map.
struct Early;

impl Memory for Early {
    fn read(&self, address: u64, into: &mut [u8]) -> Option<()> {
        let end = address.checked_add(into.len() as u64)?;
        if address == 0 || end > EARLY_END {
            return None;
        }
        // SAFETY: the first page tables map all addresses below `EARLY_END`, and the firmware's tables are not
        // written to while the kernel sets itself up.
        into.copy_from_slice(unsafe { core::slice::from_raw_parts(direct(address), into.len()) });
        Some(())
    }
}

impl Inventory {
    /// What the tables say whose first one is at `root`, or where firmware has it if that is 0. Without
    /// any there are no devices for services. Called while the first page tables are in use.
    pub fn read(root: u64) -> Inventory {
        let mut inventory = Inventory::default();
        let found = match root {
            0 => BIOS.step_by(16).find(|address| Root::at(&Early, *address).is_some()),
            root => Some(root),
        };
        let Some((address, root)) = found.and_then(|at| Some((at, Root::at(&Early, at)?))) else {
            return inventory;
        };
        inventory.root = address;
        for table in root.tables(&Early, b"APIC") {
            inventory.read_controllers(&table);
        }
        // What it says is of controllers that the other table names.
        for table in root.tables(&Early, b"DMAR") {
            inventory.read_iommus(&table);
        }
        inventory
    }

    /// The I/O APICs of a MADT (ACPI 6.5, 5.2.12.3).
    fn read_controllers(&mut self, table: &[u8]) {
        for (kind, entry) in entries(table, 44, 1) {
            let place = || {
                let (registers, first) = (field(entry, 4, 4)?, field(entry, 8, 4)? as u32);
                Some(IoApicPlace { registers, first, id: entry[2], requester: None })
            };
            if kind == 1 && self.io_apics.len() < ENTRIES {
                self.io_apics.extend(place());
            }
        }
    }

    /// The remapping hardware units of a DMAR (VT-d 8.3), and what they say of I/O APICs (8.3.1).
    fn read_iommus(&mut self, table: &[u8]) {
        for (kind, entry) in entries(table, 48, 2) {
            let Some(registers) = field(entry, 8, 8).filter(|_| kind == 0) else { continue };
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
