//! The driver of a device that interrupts by lines: the high precision event timer (IA-PC HPET 1.0a, 2.3). It has
//! no place on a bus, so its driver holds the hardware itself.

use core::fmt::Write;
use phi_rt::{Caching, Console, Error, Hardware, Irq, IrqSource, Registers, Service, Signal};

/// Where firmware and chipset put it.
const PLACE: u64 = 0xFED0_0000;

/// Registers, and those of the first timer.
const CAPABILITIES: u64 = 0x00;
const CONFIGURATION: u64 = 0x10;
const STATUS: u64 = 0x20;
const COUNTER: u64 = 0xF0;
const TIMER: u64 = 0x100;
const COMPARATOR: u64 = 0x108;

/// Bits of a timer's configuration; the line stands from bit 9 on.
const LEVEL: u64 = 1 << 1;
const ON: u64 = 1 << 2;
const LINE: u64 = 9;

/// Lines that the timer can have, as QEMU's says.
const LINES: [u32; 2] = [20, 21];

/// Femtoseconds in a millisecond.
const MILLISECOND: u64 = 1_000_000_000_000;

/// Nanoseconds in which an interrupt comes that comes, and one does not come that does not.
const PATIENCE: u64 = 2_000_000_000;
const SILENCE: u64 = 50_000_000;

struct Timer {
    registers: Registers,
    signal: Signal,
}

/// Says what came of each; returns the exit status.
pub fn main(service: &Service) -> u8 {
    let (Ok(hardware), Ok(output)) = (service.hardware("hardware"), service.console("output"))
    else {
        return 2;
    };
    match Timer::open(&hardware).and_then(|timer| timer.show(&hardware, &output)) {
        Ok(()) => 0,
        Err(error) => {
            let _ = writeln!(&output, "{error}");
            1
        }
    }
}

impl Timer {
    fn open(hardware: &Hardware) -> Result<Timer, Error> {
        let region = hardware.region(PLACE, 4096, Caching::Uncached)?;
        Ok(Timer { registers: Registers::map(region)?, signal: Signal::create()? })
    }

    fn show(&self, hardware: &Hardware, output: &Console) -> Result<(), Error> {
        // Who cannot be told sees the status.
        let say = |what: &str, came: bool| {
            let _ = writeln!(&*output, "{what}: {}", if came { "came" } else { "did not come" });
        };
        let [level, edge] = LINES;
        let irq = self.irq(hardware, level, true)?;
        let again = self.irq(hardware, level, true).err();
        let _ = writeln!(&*output, "the line once more: {again:?}");
        self.fire(level, LEVEL);
        say("level", self.came(PATIENCE));
        // The line stays as it is until the device is told; it is masked until it is acknowledged.
        say("level, before it is acknowledged", self.came(SILENCE));
        irq.acknowledge()?;
        say("level, acknowledged while the line is up", self.came(PATIENCE));
        self.quiet();
        irq.acknowledge()?;
        say("level, after the device was told", self.came(SILENCE));
        drop(irq);
        let irq = self.irq(hardware, edge, false)?;
        for turn in ["edge", "edge, another one"] {
            self.fire(edge, 0);
            say(turn, self.came(PATIENCE));
            irq.acknowledge()?;
        }
        say("edge, without one", self.came(SILENCE));
        // What nobody acknowledges stops nobody.
        self.fire(edge, 0);
        say("edge, not acknowledged", self.came(PATIENCE));
        Ok(())
    }

    fn irq(&self, hardware: &Hardware, number: u32, level: bool) -> Result<Irq, Error> {
        let irq = hardware.irq(IrqSource::Line { number, level, active_low: false })?;
        irq.bind(&self.signal, 1)?;
        Ok(irq)
    }

    /// Has the timer interrupt by a line in a millisecond.
    fn fire(&self, line: u32, kind: u64) {
        let period = self.registers.read::<u64>(CAPABILITIES) >> 32;
        self.registers.write(CONFIGURATION, 0u64);
        self.registers.write(COUNTER, 0u64);
        self.registers.write(TIMER, kind | ON | u64::from(line) << LINE);
        self.registers.write(COMPARATOR, MILLISECOND / period.max(1));
        self.registers.write(CONFIGURATION, 1u64);
    }

    /// Has it take its line back.
    fn quiet(&self) {
        self.registers.write(STATUS, 1u64);
    }

    fn came(&self, patience: u64) -> bool {
        self.signal.wait(1, patience).is_ok()
    }
}
