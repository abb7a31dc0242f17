//! The driver of virtio network cards (virtio 1.2, 5.1): serves [`phi_nic::Nic`] from a device that
//! [`phi_platform::Platform`] hands out.
//!
//! One thread does all. Frames lie in memory of the driver's that the device reaches always, 64 to receive into
//! and 64 to send from, and are copied from there to the client's, and back. Nothing is offered to the device
//! that it could do for others: no checksums, no segments, no filters.
//!
//! Its arguments are the name of the card, which says the address of the device ([`phi_nic::Address::of_name`]), or
//! that address itself.
#![no_std]
extern crate alloc;

mod buffers;
mod device;

use core::fmt::Write;
use device::NetworkCard;
use phi_nic::Address;
use phi_platform::PlatformClient;
use phi_rt::{Service, Signal};

/// The kind of a network card (virtio 1.2, 5).
const KIND: u16 = 1;

/// Serves; returns the exit status.
pub fn main(service: &Service) -> u8 {
    let Ok(platform) = service.peer("platform") else { return 2 };
    let Ok(mailbox) = service.mailbox("nic") else { return 3 };
    let mut platform = PlatformClient::new(platform);
    let Ok(signal) = Signal::create() else { return 4 };
    if signal.bind(&mailbox).is_err() {
        return 4;
    }
    let address = Address::of_name(service.arguments());
    let open = |platform: &mut PlatformClient| NetworkCard::open(platform, address, &signal);
    let Some(card) = phi_virtio::find(&mut platform, KIND, open) else {
        if let Ok(log) = service.console("log") {
            // A log that cannot be written to is not missed.
            let _ = writeln!(
                &log,
                "virtio-net: there is no card {address}, or it may not transfer: without an IOMMU the manifest \
                 has to say `dma = \"unprotected\"`"
            );
        }
        // Nobody plugs one in: who calls waits for what comes.
        phi_rt::sleep(phi_rt::FOREVER);
        return 5;
    };
    phi_nic::serve(card, &mailbox, u64::from(service.generation()))
}
