//! The service that hands out the devices of the machine's buses ([`phi_platform::Platform`]).
//!
//! It holds the machine's hardware, finds configuration space by the firmware's tables, gives devices places
//! for their registers where the firmware has not, and makes and revokes what drivers hold. It drives nothing
//! itself.
//!
//! On a machine without devices for services, and on one whose firmware names no configuration space, there is
//! no device to claim.
//!
//! Limits: one segment; devices behind bridges only where the firmware has set these up; 64 devices.
#![no_std]
extern crate alloc;
#[cfg(test)]
extern crate std;

mod bus;
mod desk;
mod firmware;
mod lines;
mod space;

use desk::Desk;
use phi_platform::PlatformServer;
use phi_rt::{Hardware, Service};

/// Serves; returns the exit status.
pub fn main(service: &Service) -> u8 {
    let Ok(hardware) = service.hardware("hardware") else { return 2 };
    let Ok(mailbox) = service.mailbox("platform") else { return 3 };
    let configuration = found(&hardware);
    let desk = Desk::new(hardware, configuration);
    let _ = phi_idl::serve(&mailbox, &mut PlatformServer(desk));
    1
}

/// Configuration space, if the firmware names it.
fn found(hardware: &Hardware) -> Option<space::Configuration> {
    let root = hardware.root().ok().filter(|root| *root != 0)?;
    let window = firmware::configuration(&space::Physical(hardware), root)?;
    space::Configuration::map(hardware, window)
}
