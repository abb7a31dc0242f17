//! Time: the time stamp counter to read it, the local APIC's timer to be woken (Intel's Software
//! Developer's Manual, volume 3, chapters 12 and 19).

use super::paging::direct;
use super::traps::{SPURIOUS, TIMER};
use core::arch::asm;
use core::arch::x86_64::_rdtsc;
use x86_64::instructions::port::Port;
use x86_64::registers::model_specific::ApicBase;

/// The interval timer's oscillator, in hertz.
const INTERVAL_TIMER: u64 = 1_193_182;

/// What is measured by the interval timer: 10 ms of it.
const MEASURED: u16 = (INTERVAL_TIMER / 100) as u16;

/// Ticks of the time stamp counter after which the interval timer counts as absent; at least one second
/// on any processor.
const PATIENCE: u64 = 1 << 33;

/// Registers of the local APIC.
const IDENTIFIER: u64 = 0x20;
const END_OF_INTERRUPT: u64 = 0xB0;
const SPURIOUS_VECTOR: u64 = 0xF0;
const LOCAL_TIMER: u64 = 0x320;
const LOCAL_LINT0: u64 = 0x350;
const LOCAL_LINT1: u64 = 0x360;

/// The register by which processors interrupt each other.
pub const INTERRUPT_COMMAND: u64 = 0x300;

const INITIAL_COUNT: u64 = 0x380;
const CURRENT_COUNT: u64 = 0x390;
const DIVIDER: u64 = 0x3E0;

const ENABLED: u32 = 1 << 8;
const MASKED: u32 = 1 << 16;

/// Delivered as a non-maskable interrupt.
const NON_MASKABLE: u32 = 0b100 << 8;

const DIVIDE_BY_ONE: u32 = 0b1011;

/// Physical address of the local APIC's registers, where processors have them unless told otherwise.
pub const LOCAL_APIC: u64 = 0xFEE0_0000;

/// There is no clock that the kernel could use; says what is missing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoClock(pub &'static str);

/// The clock and its alarm.
pub struct Clock {
    /// The time stamp at time 0.
    start: u64,
    /// Nanoseconds per tick of the time stamp counter, as a fraction of 2^32.
    nanoseconds: u64,
    /// Ticks of the timer per nanosecond, as a fraction of 2^32.
    ticks: u64,
    /// When the alarm goes off, at the latest; `u64::MAX` when it does not.
    alarm: u64,
}

impl Clock {
    /// Sets the timer up and measures how fast it and the time stamp counter run. Time 0 is the time
    /// stamp `start`. The local APIC is mapped.
    ///
    /// # Errors
    /// [`NoClock`].
    pub fn new(start: u64) -> Result<Clock, NoClock> {
        // Bits 10 and 11: registers by address or by number, and on.
        let (frame, _) = ApicBase::read();
        if frame.start_address().as_u64() != LOCAL_APIC {
            return Err(NoClock("the local APIC is not at its usual address"));
        }
        silence_legacy();
        write(SPURIOUS_VECTOR, ENABLED | u32::from(SPURIOUS));
        write(LOCAL_LINT0, MASKED);
        // A request for a dump; see `request`.
        write(LOCAL_LINT1, NON_MASKABLE);
        write(DIVIDER, DIVIDE_BY_ONE);
        write(LOCAL_TIMER, MASKED | u32::from(TIMER));
        let (stamps, ticks) = measure()?;
        let period = u64::from(MEASURED) * 1_000_000_000 / INTERVAL_TIMER;
        write(LOCAL_TIMER, u32::from(TIMER));
        Ok(Clock {
            start,
            nanoseconds: (period << 32) / stamps,
            ticks: (ticks << 32) / period,
            alarm: u64::MAX,
        })
    }

    /// Nanoseconds since time 0.
    pub fn now(&self) -> u64 {
        scale(time_stamp().saturating_sub(self.start), self.nanoseconds)
    }

    /// Has the alarm go off at `time` unless it goes off earlier already. It may go off too early.
    pub fn set_alarm(&mut self, time: u64) {
        if time >= self.alarm {
            return;
        }
        let delay = scale(time.saturating_sub(self.now()), self.ticks);
        // A count of 0 would stop the timer.
        write(INITIAL_COUNT, u32::try_from(delay.saturating_add(1)).unwrap_or(u32::MAX));
        self.alarm = time;
    }

    /// The alarm went off, or may have.
    pub fn clear_alarm(&mut self) {
        self.alarm = u64::MAX;
    }

    /// Waits for the alarm or another interrupt, with the processor at rest.
    pub fn wait(&mut self) {
        // SAFETY: interrupts are on for the wait alone, where the kernel can be interrupted; `sti` takes
        // effect after `hlt` has begun, so that no interrupt is missed.
        unsafe { asm!("sti", "hlt", "cli", options(nostack)) };
        self.clear_alarm();
    }
}

/// Says that the interrupt which came last was seen.
pub fn acknowledge() {
    write(END_OF_INTERRUPT, 0);
}

/// The number by which interrupts are sent to this processor.
pub fn processor() -> u8 {
    (read(IDENTIFIER) >> 24) as u8
}

/// `value` times `factor` / 2^32.
fn scale(value: u64, factor: u64) -> u64 {
    let product = (u128::from(value) * u128::from(factor)) >> 32;
    u64::try_from(product).unwrap_or(u64::MAX)
}

/// The time stamp counter.
fn time_stamp() -> u64 {
    // SAFETY: every processor with long mode has it.
    unsafe { _rdtsc() }
}

fn write(register: u64, value: u32) {
    // SAFETY: the registers are mapped, uncached, and only the kernel uses them.
    unsafe { direct(LOCAL_APIC + register).cast::<u32>().write_volatile(value) };
}

fn read(register: u64) -> u32 {
    // SAFETY: as for writing.
    unsafe { direct(LOCAL_APIC + register).cast::<u32>().read_volatile() }
}

/// Masks the interrupts of the legacy controllers.
fn silence_legacy() {
    for port in [0x21, 0xA1] {
        // SAFETY: these are the controllers' masks, which only the kernel uses.
        unsafe { Port::<u8>::new(port).write(0xFF) };
    }
}

/// Ticks of the time stamp counter and of the timer in [`MEASURED`] ticks of the interval timer.
fn measure() -> Result<(u64, u64), NoClock> {
    let mut gate = Port::<u8>::new(0x61);
    let mut mode = Port::<u8>::new(0x43);
    let mut counter = Port::<u8>::new(0x42);
    // SAFETY: the interval timer's third channel and its gate are used by nobody else, and have no
    // effect on memory.
    unsafe {
        // Gate on, speaker off; one count down from a 16-bit value.
        let before = gate.read() & !0b11;
        gate.write(before | 1);
        mode.write(0b1011_0000);
        let [low, high] = MEASURED.to_le_bytes();
        counter.write(low);
        write(INITIAL_COUNT, u32::MAX);
        let first = time_stamp();
        counter.write(high);
        // Its output rises when it has counted.
        while gate.read() & 1 << 5 == 0 {
            if time_stamp() - first > PATIENCE {
                return Err(NoClock("there is no interval timer to measure the others by"));
            }
        }
        let ticks = u64::from(u32::MAX - read(CURRENT_COUNT));
        let stamps = time_stamp() - first;
        gate.write(before);
        write(INITIAL_COUNT, 0);
        if ticks == 0 || stamps == 0 {
            return Err(NoClock("the local APIC's timer or the time stamp counter stands still"));
        }
        Ok((stamps, ticks))
    }
}
