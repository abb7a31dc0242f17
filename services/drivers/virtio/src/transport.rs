//! A virtio device on PCI: its registers, where its capabilities say that they are (virtio 1.2, 4.1.4).

use phi_platform::PlatformClient;
use phi_rt::{Region, Registers};
use virtio_drivers::transport::{DeviceStatus, DeviceType, InterruptStatus, Transport};
use virtio_drivers::{Error, PhysAddr, Result};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Where the first capability is named.
const CAPABILITIES: u16 = 0x34;

/// The capability that is the maker's own: virtio's.
const VENDOR: u32 = 9;

/// Capabilities that are looked at; a list without end is one of a broken device.
const MOST: usize = 48;

/// Kinds of virtio's capabilities.
const COMMON: u32 = 1;
const NOTIFY: u32 = 2;
// 3 is the status of a line's interrupt.
const SPECIFIC: u32 = 4;

/// Fields of the common configuration (4.1.4.3).
const DEVICE_FEATURE_SELECT: u64 = 0;
const DEVICE_FEATURE: u64 = 4;
const DRIVER_FEATURE_SELECT: u64 = 8;
const DRIVER_FEATURE: u64 = 12;
const DEVICE_STATUS: u64 = 20;
const GENERATION: u64 = 21;
const QUEUE_SELECT: u64 = 22;
const QUEUE_SIZE: u64 = 24;
const QUEUE_VECTOR: u64 = 26;
const QUEUE_ENABLE: u64 = 28;
const QUEUE_NOTIFY: u64 = 30;
const QUEUE_DESCRIPTORS: u64 = 32;
const QUEUE_DRIVER: u64 = 40;
const QUEUE_DEVICE: u64 = 48;

/// A part of the device's registers.
struct Part {
    registers: Registers,
    offset: u64,
}

impl Part {
    fn at(&self, offset: u64) -> u64 {
        self.offset.saturating_add(offset)
    }
}

/// A virtio device.
pub struct PciDevice {
    common: Part,
    notify: Part,
    notify_multiplier: u64,
    interrupt: Part,
    specific: Part,
}

impl PciDevice {
    /// The device that was claimed; `None` when it is none, or lacks something.
    pub fn open(platform: &mut PlatformClient) -> Option<PciDevice> {
        let mut parts = [const { None }; 4];
        let mut notify_multiplier = 0;
        let mut next = platform.configuration(CAPABILITIES).ok()? as u16 & 0xFC;
        for _ in 0..MOST {
            if next == 0 {
                break;
            }
            let head = platform.configuration(next).ok()?;
            let kind = head >> 24;
            if head & 0xFF == VENDOR && (COMMON..=SPECIFIC).contains(&kind) {
                let bar = platform.configuration(next + 4).ok()? as u8;
                let offset = u64::from(platform.configuration(next + 8).ok()?);
                if kind == NOTIFY {
                    notify_multiplier = u64::from(platform.configuration(next + 16).ok()?);
                }
                let place = &mut parts[kind as usize - 1];
                if place.is_none() {
                    let region = Region::try_from(platform.region(bar).ok()?).ok()?;
                    *place = Some(Part { registers: Registers::map(region).ok()?, offset });
                }
            }
            next = (head >> 8) as u16 & 0xFC;
        }
        let [common, notify, interrupt, specific] = parts;
        Some(PciDevice {
            common: common?,
            notify: notify?,
            notify_multiplier,
            interrupt: interrupt?,
            specific: specific?,
        })
    }

    /// Whether a queue that was set up interrupts with message number 0: a device may have no room for that.
    pub fn has_message(&self, queue: u16) -> bool {
        self.write(QUEUE_SELECT, queue);
        self.read_word(QUEUE_VECTOR) == 0
    }

    fn write<T: phi_rt::Width>(&self, offset: u64, value: T) {
        self.common.registers.write(self.common.at(offset), value);
    }

    fn read_word(&self, offset: u64) -> u16 {
        self.common.registers.read(self.common.at(offset))
    }
}

impl Transport for PciDevice {
    fn device_type(&self) -> DeviceType {
        // Asked by that crate's own drivers alone.
        DeviceType::Block
    }

    fn read_device_features(&mut self) -> u64 {
        let half = |select: u32| {
            self.write(DEVICE_FEATURE_SELECT, select);
            u64::from(self.common.registers.read::<u32>(self.common.at(DEVICE_FEATURE)))
        };
        half(0) | half(1) << 32
    }

    fn write_driver_features(&mut self, features: u64) {
        for (select, half) in [(0u32, features as u32), (1, (features >> 32) as u32)] {
            self.write(DRIVER_FEATURE_SELECT, select);
            self.write(DRIVER_FEATURE, half);
        }
    }

    fn max_queue_size(&mut self, queue: u16) -> u32 {
        self.write(QUEUE_SELECT, queue);
        u32::from(self.read_word(QUEUE_SIZE))
    }

    fn notify(&mut self, queue: u16) {
        self.write(QUEUE_SELECT, queue);
        let offset = u64::from(self.read_word(QUEUE_NOTIFY)) * self.notify_multiplier;
        self.notify.registers.write(self.notify.at(offset), queue);
    }

    fn get_status(&self) -> DeviceStatus {
        let status: u8 = self.common.registers.read(self.common.at(DEVICE_STATUS));
        DeviceStatus::from_bits_truncate(status.into())
    }

    fn set_status(&mut self, status: DeviceStatus) {
        self.write(DEVICE_STATUS, status.bits() as u8);
    }

    fn set_guest_page_size(&mut self, _: u32) {}

    fn requires_legacy_layout(&self) -> bool {
        false
    }

    fn queue_set(
        &mut self,
        queue: u16,
        size: u32,
        descriptors: PhysAddr,
        driver_area: PhysAddr,
        device_area: PhysAddr,
    ) {
        self.write(QUEUE_SELECT, queue);
        self.write(QUEUE_SIZE, size as u16);
        self.write(QUEUE_DESCRIPTORS, descriptors);
        self.write(QUEUE_DRIVER, driver_area);
        self.write(QUEUE_DEVICE, device_area);
        self.write(QUEUE_VECTOR, 0u16);
        self.write(QUEUE_ENABLE, 1u16);
    }

    fn queue_unset(&mut self, _: u16) {
        // A queue cannot be taken away alone: a reset does it.
    }

    fn queue_used(&mut self, queue: u16) -> bool {
        self.write(QUEUE_SELECT, queue);
        self.read_word(QUEUE_ENABLE) == 1
    }

    fn ack_interrupt(&mut self) -> InterruptStatus {
        // Messages need none; reading the status takes back a line.
        let status: u8 = self.interrupt.registers.read(self.interrupt.offset);
        InterruptStatus::from_bits_truncate(status.into())
    }

    fn read_config_generation(&self) -> u32 {
        u32::from(self.common.registers.read::<u8>(self.common.at(GENERATION)))
    }

    fn read_config_space<T: FromBytes + IntoBytes>(&self, offset: usize) -> Result<T> {
        let mut value = T::new_zeroed();
        for (index, byte) in value.as_mut_bytes().iter_mut().enumerate() {
            *byte = self.specific.registers.read(self.specific.at((offset + index) as u64));
        }
        Ok(value)
    }

    fn write_config_space<T: IntoBytes + Immutable>(&mut self, _: usize, _: T) -> Result<()> {
        Err(Error::Unsupported)
    }
}
