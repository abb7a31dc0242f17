//! What drivers of virtio devices do alike (virtio 1.2): the device's registers on PCI, how one is found, what
//! is agreed on with it, and the memory that it reaches always.
//!
//! Queues are those of the crate `virtio-drivers`, which trusts nothing that the device writes.
#![no_std]

pub mod memory;
mod transport;

pub use transport::PciDevice;

use phi_idl::CallError;
use phi_platform::{PlatformClient, PlatformError};
use virtio_drivers::transport::{DeviceStatus, Transport};

/// Whose ids of PCI those of virtio devices are (4.1.2).
const VENDOR: u16 = 0x1AF4;

/// What is added to a device's kind for its id of PCI (4.1.2).
const IDS: u16 = 0x1040;

/// Nanoseconds between two looks for a device that others look at, too.
const PAUSE: u64 = 1_000_000;

/// Features that every device is to have that can: this version of virtio, and addresses as the platform has
/// them (6).
pub const BASE: u64 = 1 << 32 | 1 << 33;

/// What is said to a device before its queues are set up.
const AGREED: DeviceStatus =
    DeviceStatus::ACKNOWLEDGE.union(DeviceStatus::DRIVER).union(DeviceStatus::FEATURES_OK);

/// Claims the devices of a kind (5) one after the other, until `open` takes one; `None` if it takes none of
/// them. Another driver may look at the one that is sought just now, so a pass that has seen one taken is made
/// again.
pub fn find<T>(
    platform: &mut PlatformClient,
    kind: u16,
    mut open: impl FnMut(&mut PlatformClient) -> Option<T>,
) -> Option<T> {
    loop {
        let mut taken = false;
        for nth in 0.. {
            match platform.claim(VENDOR, IDS + kind, nth) {
                Ok(_) => {}
                Err(CallError::Refused(PlatformError::Taken)) => {
                    taken = true;
                    continue;
                }
                Err(_) => break,
            }
            if let Some(device) = open(platform) {
                return Some(device);
            }
            platform.release().ok()?;
        }
        if !taken {
            return None;
        }
        phi_rt::sleep(PAUSE);
    }
}

/// Resets a device, and agrees on what it has of the features `known`, and of [`BASE`] (3.1.1); `None` if it
/// does not.
pub fn agree(transport: &mut PciDevice, known: u64) -> Option<u64> {
    transport.set_status(DeviceStatus::empty());
    transport.set_status(DeviceStatus::ACKNOWLEDGE | DeviceStatus::DRIVER);
    let features = transport.read_device_features() & (known | BASE);
    transport.write_driver_features(features);
    transport.set_status(AGREED);
    transport.get_status().contains(DeviceStatus::FEATURES_OK).then_some(features)
}

/// Has a device begin, whose queues are set up; `false` if it has no interrupt for one of them.
pub fn begin(transport: &mut PciDevice, queues: u16) -> bool {
    if !(0..queues).all(|queue| transport.has_message(queue)) {
        return false;
    }
    transport.set_status(AGREED | DeviceStatus::DRIVER_OK);
    true
}
