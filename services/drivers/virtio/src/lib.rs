//! What drivers of virtio devices do alike (virtio 1.2): the device's registers on PCI, what is agreed on with
//! it, and the memory that it reaches always.
//!
//! Queues are those of the crate `virtio-drivers`, which trusts nothing that the device writes.
#![no_std]

pub mod memory;
mod transport;

pub use transport::PciDevice;

use virtio_drivers::transport::{DeviceStatus, Transport};

/// Features that every device is to have that can: this version of virtio, and addresses as the platform has
/// them (6).
pub const BASE: u64 = 1 << 32 | 1 << 33;

/// What is said to a device before its queues are set up.
const AGREED: DeviceStatus =
    DeviceStatus::ACKNOWLEDGE.union(DeviceStatus::DRIVER).union(DeviceStatus::FEATURES_OK);

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
