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

/// The feature of a device that speaks this version of virtio (6).
const VERSION_1: u64 = 1 << 32;

/// The feature of a device that an IOMMU stands before, if the machine has one (6).
const ACCESS_PLATFORM: u64 = 1 << 33;

/// Features that every device is to have that can.
const BASE: u64 = VERSION_1 | ACCESS_PLATFORM;

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
/// does not, or speaks no virtio of this version.
pub fn agree(transport: &mut PciDevice, known: u64) -> Option<u64> {
    transport.set_status(DeviceStatus::empty());
    transport.set_status(DeviceStatus::ACKNOWLEDGE | DeviceStatus::DRIVER);
    let features = wanted(transport.read_device_features(), known)?;
    transport.write_driver_features(features);
    transport.set_status(AGREED);
    transport.get_status().contains(DeviceStatus::FEATURES_OK).then_some(features)
}

/// What is wanted of the features that a device offers; `None` if it lacks [`VERSION_1`]: then its queues, and what
/// stands before a frame, are laid out in another way.
fn wanted(offered: u64, known: u64) -> Option<u64> {
    (offered & VERSION_1 != 0).then_some(offered & (known | BASE))
}

/// Has a device begin, whose queues are set up; `false` if it has no interrupt for one of them.
pub fn begin(transport: &mut PciDevice, queues: u16) -> bool {
    if !(0..queues).all(|queue| transport.has_message(queue)) {
        return false;
    }
    transport.set_status(AGREED | DeviceStatus::DRIVER_OK);
    true
}

#[cfg(test)]
mod tests {
    use super::{BASE, VERSION_1, wanted};

    #[test]
    fn features_are_those_that_both_know_of_this_version() {
        assert_eq!(wanted(u64::MAX, 0b10), Some(BASE | 0b10));
        assert_eq!(wanted(VERSION_1 | 0b101, 0b110), Some(VERSION_1 | 0b100));
        for offered in [0, 0b10, !VERSION_1] {
            assert_eq!(wanted(offered, u64::MAX), None, "{offered:#x}");
        }
    }
}
