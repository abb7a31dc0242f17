//! The driver of virtio block devices (virtio 1.2, 5.2): serves [`phi_block::Block`] from a device that
//! [`phi_platform::Platform`] hands out.
//!
//! One thread does all: it receives requests, puts them into the device's queue, and answers when the device's
//! interrupt says that it has done them. What clients lend is mapped for the device at the address that it has
//! for everybody, for as long as the call lasts, so no byte is copied. The queue and the few bytes of a
//! request's own are in memory of the driver's that the device reaches always. Where no IOMMU stands before the
//! device, and the manifest allows it, data is copied through such memory.
//!
//! Its arguments are the name of the disk: the serial number of the device.
//!
//! Limits: 32 requests at a time, of 4 MiB; without an IOMMU 8, of 128 KiB.
#![no_std]
extern crate alloc;

mod device;
mod request;
mod serving;

use core::fmt::Write;
use device::Disk;
use phi_platform::PlatformClient;
use phi_rt::{Service, Signal};

/// The kind of a block device (virtio 1.2, 5).
const KIND: u16 = 2;

/// Serves; returns the exit status.
pub fn main(service: &Service) -> u8 {
    let Ok(platform) = service.peer("platform") else { return 2 };
    let Ok(mailbox) = service.mailbox("block") else { return 3 };
    let mut platform = PlatformClient::new(platform);
    let Ok(signal) = Signal::create() else { return 4 };
    if signal.bind(&mailbox).is_err() {
        return 4;
    }
    let named = |disk: &Disk| disk.name() == service.arguments();
    let open = |platform: &mut PlatformClient| Disk::open(platform, &signal).filter(named);
    let Some(disk) = phi_virtio::find(&mut platform, KIND, open) else {
        if let Ok(log) = service.console("log") {
            let name = service.arguments();
            // A log that cannot be written to is not missed.
            let _ = writeln!(
                &log,
                "virtio-disk: there is no disk `{name}`, or it may not transfer: without an IOMMU the \
                 manifest has to say `dma = \"unprotected\"`"
            );
        }
        // Nobody plugs one in: who calls waits for what comes.
        phi_rt::sleep(phi_rt::FOREVER);
        return 5;
    };
    serving::serve(disk, &mailbox, &signal, u64::from(service.generation()))
}
