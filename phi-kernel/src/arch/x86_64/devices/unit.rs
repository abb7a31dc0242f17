//! One unit of remapping hardware: its registers and its queue (Intel VT-d 4.1, chapters 6 and 11).

use super::super::paging::direct;
use super::translation::{entry, new_table, set_entry};
use core::arch::x86_64::_rdtsc;
use core::hint::spin_loop;
use phi_abi::layout::PAGE;
use phi_mem::FrameAllocator;

const CAPABILITIES: u64 = 0x08;
const EXTENDED: u64 = 0x10;
const COMMAND: u64 = 0x18;
const STATUS: u64 = 0x1C;
const ROOT_TABLE: u64 = 0x20;
const FAULT_STATUS: u64 = 0x34;
const FAULT_CONTROL: u64 = 0x38;
const FAULT_DATA: u64 = 0x3C;
const FAULT_ADDRESS: u64 = 0x40;
const FAULT_UPPER_ADDRESS: u64 = 0x44;
const QUEUE_TAIL: u64 = 0x88;
const QUEUE_ADDRESS: u64 = 0x90;
const INTERRUPT_TABLE: u64 = 0xB8;

/// Bits of command and status.
const TRANSLATE: u32 = 1 << 31;
const SET_ROOT: u32 = 1 << 30;
const USE_QUEUE: u32 = 1 << 26;
const REMAP_INTERRUPTS: u32 = 1 << 25;
const SET_INTERRUPT_TABLE: u32 = 1 << 24;

/// Status bits that stay as they are when a command is given (11.4.4.1).
const KEPT: u32 = 0x96FF_FFFF;

/// Descriptors of the queue: a page of 16 bytes each.
const QUEUE: u64 = PAGE / 16;

/// Kinds of descriptors (6.5.2).
const CONTEXT: u64 = 1;
const TRANSLATIONS: u64 = 2;
const INTERRUPTS: u64 = 4;
const WAIT: u64 = 5;

/// Ticks of the time stamp counter after which a
/// unit counts as broken.
const PATIENCE: u64 = 1 << 36;

/// Bytes of registers that are mapped: faults and translations may be noted beyond the first page.
pub const REGISTERS: u64 = 4 * PAGE;

/// A fault that a unit noted.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// Who wanted to.
    pub requester: u16,
    /// The page, by the device's address.
    pub address: u64,
}

/// A unit.
pub struct Unit {
    registers: u64,
    faults: u64,
    fault_count: u64,
    queue: u64,
    tail: u64,
    /// Where the unit writes that it has done everything before.
    done: u64,
}

impl Unit {
    /// The unit whose registers are at a physical address, where they are mapped; `None` when it lacks
    /// what is needed: tables of four levels, a queue, and the remapping of interrupts; or when there is
    /// no memory.
    pub fn new(registers: u64, frames: &mut FrameAllocator) -> Option<Unit> {
        let mut unit = Unit { registers, faults: 0, fault_count: 0, queue: 0, tail: 0, done: 0 };
        let (capabilities, extended) = (unit.read_long(CAPABILITIES), unit.read_long(EXTENDED));
        let four_levels = capabilities >> 8 & 1 << 2 != 0;
        // 16 domains and more: 2^(4 + 2 n).
        let domains = capabilities & 7 >= 1;
        let (has_queue, remaps) = (extended & 1 << 1 != 0, extended & 1 << 3 != 0);
        if !(four_levels && domains && has_queue && remaps) {
            return None;
        }
        unit.faults = (capabilities >> 24 & 0x3FF) * 16;
        unit.fault_count = (capabilities >> 40 & 0xFF) + 1;
        if unit.faults + 16 * unit.fault_count > REGISTERS {
            return None;
        }
        unit.queue = new_table(frames)?;
        unit.done = new_table(frames)?;
        Some(unit)
    }

    /// Whether it knows pages of 2 MiB.
    pub fn has_large_pages(&self) -> bool {
        self.read_long(CAPABILITIES) >> 34 & 1 != 0
    }

    fn read(&self, register: u64) -> u32 {
        // SAFETY: the registers are mapped, uncached, and only the kernel uses them.
        unsafe { direct(self.registers + register).cast::<u32>().read_volatile() }
    }

    fn write(&self, register: u64, value: u32) {
        // SAFETY: as for reading.
        unsafe { direct(self.registers + register).cast::<u32>().write_volatile(value) };
    }

    fn read_long(&self, register: u64) -> u64 {
        // SAFETY: as for reading.
        unsafe { direct(self.registers + register).cast::<u64>().read_volatile() }
    }

    fn write_long(&self, register: u64, value: u64) {
        // SAFETY: as for reading.
        unsafe { direct(self.registers + register).cast::<u64>().write_volatile(value) };
    }

    /// Gives a command and waits until its status bit says that it is done.
    fn command(&self, bit: u32) -> Option<()> {
        self.write(COMMAND, self.read(STATUS) & KEPT | bit);
        wait_for(|| self.read(STATUS) & bit != 0)
    }

    /// Has the unit look up what devices may reach in the tables at `root`, and their interrupts in those
    /// at `interrupts`, and nothing pass that is not there. Faults interrupt with `vector` at the
    /// processor `destination`.
    pub fn enable(
        &mut self,
        root: u64,
        interrupts: u64,
        vector: u8,
        destination: u8,
    ) -> Option<()> {
        self.write_long(QUEUE_TAIL, 0);
        self.write_long(QUEUE_ADDRESS, self.queue);
        self.command(USE_QUEUE)?;
        self.write_long(ROOT_TABLE, root);
        self.command(SET_ROOT)?;
        // 2^(7 + 1) entries.
        self.write_long(INTERRUPT_TABLE, interrupts | 7);
        self.command(SET_INTERRUPT_TABLE)?;
        self.forget_everything()?;
        self.write(FAULT_DATA, u32::from(vector));
        self.write(FAULT_ADDRESS, 0xFEE0_0000 | u32::from(destination) << 12);
        self.write(FAULT_UPPER_ADDRESS, 0);
        self.write(FAULT_CONTROL, 0);
        self.command(TRANSLATE)?;
        self.command(REMAP_INTERRUPTS)
    }

    /// Puts descriptors into the queue and waits until the unit has done what they say.
    fn submit(&mut self, descriptors: &[[u64; 2]]) -> Option<()> {
        // SAFETY: the page is ours, and the unit's only between here and the wait below.
        unsafe { set_entry(self.done, 0, 0) };
        // Writes the word 1 when everything before is done, and what is under way has arrived.
        let wait = [WAIT | 1 << 5 | 1 << 32, self.done];
        for [low, high] in descriptors.iter().chain([&wait]) {
            let index = (self.tail * 2) as usize;
            // SAFETY: the queue is a page of descriptors, and what they name is as the caller says.
            unsafe {
                set_entry(self.queue, index, *low);
                set_entry(self.queue, index + 1, *high);
            }
            self.tail = (self.tail + 1) % QUEUE;
        }
        self.write_long(QUEUE_TAIL, self.tail * 16);
        // SAFETY: as above.
        wait_for(|| unsafe { entry(self.done, 0) } & 1 != 0)
    }

    fn forget_everything(&mut self) -> Option<()> {
        self.submit(&[
            [CONTEXT | 1 << 4, 0],
            [TRANSLATIONS | 1 << 4 | 0b11 << 6, 0],
            [INTERRUPTS, 0],
        ])
    }

    /// Has the unit forget what it knows of the device `requester` and of its domain. When this returns,
    /// what the device had under way before has ended.
    pub fn forget_device(&mut self, requester: u16, domain: u16) -> Option<()> {
        let (device, domain) = (u64::from(requester) << 32, u64::from(domain) << 16);
        self.submit(&[[CONTEXT | 0b11 << 4 | domain | device, 0], forget_domain(domain)])
    }

    /// Has the unit forget which pages a domain reaches, as [`Unit::forget_device`] does.
    pub fn forget_pages(&mut self, domain: u16) -> Option<()> {
        self.submit(&[forget_domain(u64::from(domain) << 16)])
    }

    /// Has the unit forget what it knows of interrupts.
    pub fn forget_interrupts(&mut self) -> Option<()> {
        self.submit(&[[INTERRUPTS, 0]])
    }

    /// Takes a fault that the unit has noted.
    pub fn take_fault(&mut self) -> Option<Fault> {
        for number in 0..self.fault_count {
            let record = self.faults + 16 * number;
            let high = self.read_long(record + 8);
            if high >> 63 == 0 {
                continue;
            }
            let address = self.read_long(record) & !(PAGE - 1);
            // Written as 1, the mark of the record is gone.
            self.write(record + 12, 1 << 31);
            return Some(Fault { requester: high as u16, address });
        }
        // None is left: so does the mark that there were too many.
        self.write(FAULT_STATUS, 1);
        None
    }
}

/// The descriptor that has all pages of a domain forgotten, reads and writes under way drained.
fn forget_domain(domain: u64) -> [u64; 2] {
    [TRANSLATIONS | 0b10 << 4 | 0b11 << 6 | domain, 0]
}

/// Waits until something holds; `None` when that takes so long that the unit must be broken.
fn wait_for(holds: impl Fn() -> bool) -> Option<()> {
    // SAFETY: every processor with long mode has the counter.
    let begun = unsafe { _rdtsc() };
    while !holds() {
        // SAFETY: as above.
        if unsafe { _rdtsc() }.wrapping_sub(begun) > PATIENCE {
            return None;
        }
        spin_loop();
    }
    Some(())
}
