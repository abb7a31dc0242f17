//! Serial lines at the ports where PCs have them. Nothing says whether they are there, so they are tried.

use crate::desk::copy;
use alloc::vec::Vec;
use phi_idl::{Caller, Capability};
use phi_platform::{LINE_PORTS, PlatformError};
use phi_rt::{Hardware, Irq, IrqSource, Ports, Rights};

/// Their first ports, and their interrupts: COM3 and COM4. The kernel writes to COM1 and COM2.
const PLACES: [(u16, u32); 2] = [(0x3E8, 4), (0x2E8, 3)];

/// The register that does nothing but keep what is written (16550 data sheet).
const SCRATCH: u16 = 7;

/// What drivers get of what the platform keeps.
const GIVEN: Rights = Rights::CONTROL.union(Rights::DERIVE).union(Rights::TRANSFER);

/// A line that is there.
struct Line {
    interrupt: u32,
    ports: Ports,
    irq: Option<Irq>,
    /// The badge of the client that drives it.
    driver: Option<u64>,
}

/// The lines of the machine.
pub struct Lines(Vec<Line>);

impl Lines {
    /// Looks which are there.
    pub fn find(hardware: &Hardware) -> Lines {
        let line = |(first, interrupt)| {
            let ports = hardware.ports(first, LINE_PORTS).ok()?;
            is_there(&ports).then_some(Line { interrupt, ports, irq: None, driver: None })
        };
        Lines(PLACES.into_iter().filter_map(line).collect())
    }

    /// Gives a line to who calls, and takes it from an earlier start of the same driver.
    pub fn claim(&mut self, caller: Caller, nth: u16) -> Result<Capability, PlatformError> {
        let line = self.0.get_mut(usize::from(nth)).ok_or(PlatformError::NotFound)?;
        match line.driver {
            Some(driver) if driver != caller.badge => return Err(PlatformError::Taken),
            Some(_) => line.revoke(),
            None => {}
        }
        line.driver = Some(caller.badge);
        copy(line.ports.capability(), GIVEN)
    }

    /// The interrupt of the line that was claimed.
    pub fn irq(
        &mut self,
        hardware: &Hardware,
        caller: Caller,
    ) -> Result<Capability, PlatformError> {
        let own = self.0.iter_mut().find(|line| line.driver == Some(caller.badge));
        let line = own.ok_or(PlatformError::NotClaimed)?;
        if line.irq.is_none() {
            let source =
                IrqSource::Line { number: line.interrupt, level: false, active_low: false };
            line.irq = Some(hardware.irq(source).map_err(|_| PlatformError::Refused)?);
        }
        let irq = line.irq.as_ref().ok_or(PlatformError::Refused)?;
        copy(irq.capability(), GIVEN)
    }
}

impl Line {
    fn revoke(&self) {
        // What was never given out has nothing to revoke.
        let _ = self.ports.capability().revoke();
        if let Some(irq) = &self.irq {
            let _ = irq.capability().revoke();
        }
    }
}

/// Whether something keeps what is written to it; where nothing is, all ones are read.
fn is_there(ports: &Ports) -> bool {
    [0x5A, 0xA5]
        .into_iter()
        .all(|byte| ports.write(SCRATCH, byte).is_ok() && ports.read(SCRATCH) == Ok(byte))
}
