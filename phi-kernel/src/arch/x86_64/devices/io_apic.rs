//! An I/O APIC: interrupts of lines (Intel 82093AA, 3.2; in the format that is remapped: VT-d 4.1, 5.1.2.1).

use super::super::paging::direct;
use super::acpi::IoApicPlace;

const VERSION: u32 = 1;
const ENTRIES: u32 = 0x10;

const MASKED: u32 = 1 << 16;
const LEVEL: u32 = 1 << 15;
const ACTIVE_LOW: u32 = 1 << 13;

/// One I/O APIC, with all lines masked at first.
pub struct IoApic {
    registers: u64,
    first: u32,
    count: u32,
    /// The requester id of what it writes.
    pub requester: Option<u16>,
}

impl IoApic {
    /// The one at this place, where its registers are mapped.
    pub fn new(place: &IoApicPlace) -> IoApic {
        let IoApicPlace { registers, first, requester, .. } = *place;
        let mut controller = IoApic { registers, first, count: 0, requester };
        controller.count = (controller.read(VERSION) >> 16 & 0xFF) + 1;
        for line in 0..controller.count {
            controller.write(ENTRIES + 2 * line, MASKED);
        }
        controller
    }

    /// The line of a global system interrupt, if it is one of this controller's.
    pub fn line(&self, interrupt: u32) -> Option<u32> {
        interrupt.checked_sub(self.first).filter(|line| *line < self.count)
    }

    /// Has a line interrupt with `vector`: as entry number `remapped` of the IOMMU's table, or else at
    /// the processor `destination`. It stays masked.
    pub fn set(
        &self,
        line: u32,
        vector: u8,
        [level, active_low]: [bool; 2],
        remapped: Option<u16>,
        destination: u8,
    ) {
        let flag = |is: bool, flag| if is { flag } else { 0 };
        let low = u32::from(vector) | flag(level, LEVEL) | flag(active_low, ACTIVE_LOW) | MASKED;
        let high = match remapped {
            Some(index) => u32::from(index) << 17 | 1 << 16,
            None => u32::from(destination) << 24,
        };
        self.write(ENTRIES + 2 * line, MASKED);
        self.write(ENTRIES + 2 * line + 1, high);
        self.write(ENTRIES + 2 * line, low);
    }

    /// Masks a line, or lets it come.
    pub fn mask(&self, line: u32, masked: bool) {
        let entry = self.read(ENTRIES + 2 * line) & !MASKED;
        self.write(ENTRIES + 2 * line, entry | if masked { MASKED } else { 0 });
    }

    fn read(&self, register: u32) -> u32 {
        // SAFETY: the registers are mapped, uncached, and only the kernel uses them.
        unsafe {
            direct(self.registers).cast::<u32>().write_volatile(register);
            direct(self.registers + 0x10).cast::<u32>().read_volatile()
        }
    }

    fn write(&self, register: u32, value: u32) {
        // SAFETY: as for reading.
        unsafe {
            direct(self.registers).cast::<u32>().write_volatile(register);
            direct(self.registers + 0x10).cast::<u32>().write_volatile(value);
        }
    }
}
