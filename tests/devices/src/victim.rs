//! Who would suffer.

use crate::{Done, PLAN, Victim, VictimServer, Word};
use core::fmt::Write;
use phi_idl::Caller;
use phi_rt::{Console, Mapping, Region, Service};

/// Bytes of its memory.
const LENGTH: usize = 64 << 10;

/// What all of them are.
const BYTE: u8 = 0xA5;

struct Watch {
    memory: Mapping,
    output: Console,
}

/// Serves until the driver has done everything; returns the exit status.
pub fn main(service: &Service) -> u8 {
    let (Ok(mailbox), Ok(output)) = (service.mailbox("victim"), service.console("output")) else {
        return 2;
    };
    let Ok(memory) = Region::create(LENGTH as u64).and_then(|region| region.map(true)) else {
        return 3;
    };
    memory.write(0, &[BYTE; LENGTH]);
    let _ = phi_idl::serve(&mailbox, &mut VictimServer(Watch { memory, output }));
    4
}

impl Watch {
    fn is_unharmed(&self) -> bool {
        let mut part = [0; 512];
        (0..LENGTH).step_by(part.len()).all(|offset| {
            self.memory.read(offset, &mut part);
            part.iter().all(|byte| *byte == BYTE)
        })
    }
}

impl Victim for Watch {
    fn begin(&mut self, _: Caller, generation: u32) -> Result<u64, Done> {
        let harm = if self.is_unharmed() { "unharmed" } else { "HARMED" };
        let aim = PLAN.get(generation as usize - 1);
        match aim {
            Some(aim) => {
                let _ = writeln!(&self.output, "{harm}; life {generation}: {aim:?}");
                Ok(self.memory.address())
            }
            None => {
                let _ = writeln!(&self.output, "{harm}; done");
                phi_rt::exit(0)
            }
        }
    }

    fn say(&mut self, _: Caller, what: Word, number: u64) -> Result<(), Done> {
        let _ = writeln!(&self.output, "{what:?} {number}");
        Ok(())
    }
}
