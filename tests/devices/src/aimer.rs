//! The driver of `edu` (QEMU, docs/specs/edu.rst).

use crate::{Aim, PLAN, VictimClient, Word};
use alloc::vec;
use phi_platform::PlatformClient;
use phi_rt::{DmaSpace, Irq, Mapping, Region, Registers, Service, Signal};

/// Ids of PCI.
const IDS: (u16, u16) = (0x1234, 0x11E8);

/// Registers.
const RAISE: u64 = 0x60;
const LOWER: u64 = 0x64;
const SOURCE: u64 = 0x80;
const DESTINATION: u64 = 0x88;
const COUNT: u64 = 0x90;
const COMMAND: u64 = 0x98;

/// Commands.
const START: u64 = 1;
const TO_MEMORY: u64 = 2;
const INTERRUPT: u64 = 4;

/// Where the device's own memory is.
const BUFFER: u64 = 0x4_0000;

/// Bytes that are transferred: half of what the device has, as it takes no transfer to its end.
const LENGTH: u64 = 2048;

/// Nanoseconds for a transfer.
const PATIENCE: u64 = 2_000_000_000;

/// Interrupts of a storm.
const STORM: u32 = 40_000;

struct Driver {
    registers: Registers,
    space: DmaSpace,
    irq: Irq,
    signal: Signal,
    victim: VictimClient,
}

/// Drives; returns the exit status.
pub fn main(service: &Service) -> u8 {
    let generation = service.generation();
    let (Ok(platform), Ok(victim)) = (service.peer("platform"), service.peer("victim")) else {
        return 2;
    };
    let victim = VictimClient::new(victim);
    let Ok(there) = victim.begin(generation) else { return 0 };
    let Some(aim) = PLAN.get(generation as usize - 1) else { return 0 };
    let Some(driver) = Driver::open(PlatformClient::new(platform), victim) else { return 3 };
    let done = match aim {
        Aim::Own => driver.copy(),
        Aim::Victim => driver.aim_at(there),
        Aim::Physical => driver.aim_at(0x10_0000),
        Aim::Kernel => driver.aim_at(0xFFFF_FFFF_8010_0000),
        Aim::Unmapped => driver.read_unmapped(),
        Aim::ReadOnly => driver.write_read_only(),
        Aim::Storm => driver.storm(),
    };
    if done.is_none() {
        let _ = driver.victim.say(Word::Broken, generation.into());
    }
    // So that there is a next life.
    1
}

impl Driver {
    fn open(platform: PlatformClient, victim: VictimClient) -> Option<Driver> {
        platform.claim(IDS.0, IDS.1, 0).ok()?;
        let region = Region::try_from(platform.region(0).ok()?).ok()?;
        let registers = Registers::map(region).ok()?;
        let space = DmaSpace::try_from(platform.dma_space().ok()?).ok()?;
        let irq = Irq::try_from(platform.irq().ok()?).ok()?;
        let signal = Signal::create().ok()?;
        irq.bind(&signal, 1).ok()?;
        Some(Driver { registers, space, irq, signal, victim })
    }

    /// Memory that the device reaches, and its address of it.
    fn memory(&self, writable: bool) -> Option<(Mapping, u64)> {
        let memory = Region::create(LENGTH).ok()?.map(true).ok()?;
        let address = self.space.map(memory.capability(), writable).ok()?;
        Some((memory, address))
    }

    /// Has the device transfer, and waits for its interrupt; whether that came.
    fn transfer(&self, from: u64, to: u64, command: u64) -> bool {
        self.registers.write(SOURCE, from);
        self.registers.write(DESTINATION, to);
        self.registers.write(COUNT, LENGTH);
        self.registers.write(COMMAND, START | INTERRUPT | command);
        if self.signal.wait(1, PATIENCE).is_err() {
            return false;
        }
        self.registers.write(LOWER, u32::MAX);
        true
    }

    /// Has the device copy memory to itself, and back to other memory.
    fn copy(&self) -> Option<()> {
        let (from, source) = self.memory(false)?;
        let (to, destination) = self.memory(true)?;
        let bytes: alloc::vec::Vec<u8> = (0..LENGTH).map(|at| (at * 7 % 251) as u8).collect();
        from.write(0, &bytes);
        let mut interrupts = 0;
        for (from, to, command) in [(source, BUFFER, 0), (BUFFER, destination, TO_MEMORY)] {
            if !self.transfer(from, to, command) {
                return None;
            }
            interrupts += self.irq.acknowledge().ok()?;
        }
        let mut came = vec![0; bytes.len()];
        to.read(0, &mut came);
        let same = came.iter().zip(&bytes).filter(|(came, went)| came == went).count();
        self.victim.say(Word::Copied, same as u64).ok()?;
        self.victim.say(Word::Interrupts, interrupts).ok()
    }

    /// Has the device write where it may not. This service is to end meanwhile.
    fn aim_at(&self, address: u64) -> Option<()> {
        // So that it may transfer at all.
        let _own = self.memory(true)?;
        self.transfer(BUFFER, address, TO_MEMORY);
        phi_rt::sleep(PATIENCE);
        self.victim.say(Word::NotStopped, address).ok()
    }

    fn read_unmapped(&self) -> Option<()> {
        let (memory, address) = self.memory(true)?;
        let _other = self.memory(true)?;
        self.space.unmap(memory.capability()).ok()?;
        self.transfer(address, BUFFER, 0);
        phi_rt::sleep(PATIENCE);
        self.victim.say(Word::NotStopped, address).ok()
    }

    fn write_read_only(&self) -> Option<()> {
        let (_memory, address) = self.memory(false)?;
        self.transfer(BUFFER, address, TO_MEMORY);
        phi_rt::sleep(PATIENCE);
        self.victim.say(Word::NotStopped, address).ok()
    }

    /// Interrupts far more often than anybody acknowledges, and once more afterwards.
    fn storm(&self) -> Option<()> {
        // Messages are transfers, too: without any memory the device may write none.
        let _own = self.memory(true)?;
        for _ in 0..STORM {
            self.registers.write(RAISE, 1u32);
        }
        self.registers.write(LOWER, u32::MAX);
        let came = self.irq.acknowledge().ok()?;
        self.victim.say(Word::Interrupts, came).ok()?;
        let _ = self.signal.wait(1, 0);
        let _ = self.irq.acknowledge();
        let _ = self.signal.wait(1, 0);
        let _ = self.irq.acknowledge();
        self.registers.write(RAISE, 1u32);
        let again = self.signal.wait(1, PATIENCE).is_ok();
        self.registers.write(LOWER, u32::MAX);
        self.victim.say(Word::AfterStorm, again.into()).ok()
    }
}
