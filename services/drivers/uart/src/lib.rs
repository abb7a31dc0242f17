//! The driver of serial lines at a 16550A or what is compatible (National Semiconductor, PC16550D data sheet, 1995):
//! serves [`phi_tty::Console`] from a line that [`phi_platform::Platform`] hands out.
//!
//! One thread does all: it answers calls, and takes what came when the line's interrupt says so. 115,200 bits a
//! second, 8 bits, no parity, one stop bit, and nothing that controls the flow.
//!
//! Its arguments are the number of the line, from 0; nothing is 0.
//!
//! Limits: 4,096 bytes wait for the reader.
#![no_std]
extern crate alloc;

mod chip;

use chip::Chip;
use core::fmt::Write;
use phi_platform::PlatformClient;
use phi_rt::{Irq, Ports, Service, Signal};

/// Serves; returns the exit status.
pub fn main(service: &Service) -> u8 {
    let Ok(platform) = service.peer("platform") else { return 2 };
    let Ok(mailbox) = service.mailbox("console") else { return 3 };
    let Ok(signal) = Signal::create() else { return 4 };
    if signal.bind(&mailbox).is_err() {
        return 4;
    }
    let number = service.arguments().trim();
    let chip = match if number.is_empty() { Ok(0) } else { number.parse() } {
        Ok(number) => open(&PlatformClient::new(platform), number, signal),
        Err(_) => None,
    };
    let Some(chip) = chip else {
        if let Ok(log) = service.console("log") {
            // A log that cannot be written to is not missed.
            let _ = writeln!(&log, "uart: there is no serial line `{number}`");
        }
        // Nobody plugs one in: who calls waits for what comes.
        phi_rt::sleep(phi_rt::FOREVER);
        return 5;
    };
    phi_tty::serve(chip, &mailbox)
}

/// Line number `number`, whose interrupts set `signal`.
fn open(platform: &PlatformClient, number: u16, signal: Signal) -> Option<Chip> {
    let ports = Ports::try_from(platform.claim_line(number).ok()?).ok()?;
    let irq = Irq::try_from(platform.line_irq().ok()?).ok()?;
    irq.bind(&signal, 1).ok()?;
    Chip::set_up(ports, irq, signal).ok()
}
