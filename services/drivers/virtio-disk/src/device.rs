//! One disk: the device, its queue, and what it can do (virtio 1.2, 3.1 and 5.2).

use crate::request::{DEPTH, QUEUE, Request, Requests, SECTOR};
use alloc::string::String;
use phi_block::{BlockError, Device};
use phi_platform::PlatformClient;
use phi_rt::{DmaSpace, Irq, Signal};
use phi_virtio::PciDevice;
use phi_virtio::memory::{self, Memory};
use virtio_drivers::queue::VirtQueue;
use virtio_drivers::transport::Transport;

/// Features (5.2.3 and 6).
const READ_ONLY: u64 = 1 << 5;
const BLOCK_SIZE: u64 = 1 << 6;
const FLUSH: u64 = 1 << 9;
const DISCARD: u64 = 1 << 13;

/// Bytes of a request, at most.
const MAX_BYTES: u32 = 4 << 20;

/// Bytes of the memory for the queue and requests, and of that which data is copied through.
const OWN: u64 = 64 << 10;
const BOUNCE: u64 = 1 << 20;

/// Bytes of a request, and requests at a time, where data is copied.
const BOUNCED: u32 = 128 << 10;
const BOUNCES: u16 = 8;

/// Looks at a device that is to say its name, a microsecond apart, before it counts as broken.
const LOOKS: u32 = 1_000_000;

/// A disk.
pub struct Disk {
    transport: PciDevice,
    queue: VirtQueue<Memory, QUEUE>,
    requests: Requests,
    features: u64,
    sectors: u64,
    block_size: u32,
    max_discard: u32,
    /// Whether the device has the addresses that everybody has.
    pub reaches_all: bool,
    name: String,
    /// What the device reaches.
    pub space: DmaSpace,
    /// Its interrupt.
    pub irq: Irq,
}

impl Disk {
    /// The device that was claimed; `None` when it is no disk that this driver can drive.
    pub fn open(platform: &mut PlatformClient, signal: &Signal) -> Option<Disk> {
        let mut transport = PciDevice::open(platform)?;
        let known = READ_ONLY | BLOCK_SIZE | FLUSH | DISCARD;
        let features = phi_virtio::agree(&mut transport, known)?;
        let space = DmaSpace::try_from(platform.dma_space().ok()?).ok()?;
        let reaches_all = memory::set_up(&space, features, OWN, BOUNCE)?;
        let irq = Irq::try_from(platform.irq().ok()?).ok()?;
        irq.bind(signal, 1).ok()?;
        let queue = VirtQueue::new(&mut transport, 0, false, false).ok()?;
        if !phi_virtio::begin(&mut transport, 1) {
            return None;
        }
        let sectors = transport.read_config_space(0).ok()?;
        let has = |feature| features & feature != 0;
        let word = |offset| transport.read_config_space::<u32>(offset).ok();
        let block_size = if has(BLOCK_SIZE) { word(20)? } else { SECTOR as u32 };
        let whole = block_size.is_power_of_two() && (512..=65_536).contains(&block_size);
        let max_discard = if has(DISCARD) { word(36)? } else { 0 };
        let requests = Requests::new()?;
        let mut disk = Disk {
            transport,
            queue,
            requests,
            features,
            sectors,
            block_size: if whole { block_size } else { SECTOR as u32 },
            max_discard,
            reaches_all,
            name: String::new(),
            space,
            irq,
        };
        disk.ask_for_name();
        Some(disk)
    }

    /// The disk's name; empty if it has none.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the disk can do.
    pub fn device(&self) -> Device {
        let block = u64::from(self.block_size);
        Device {
            session: 0,
            blocks: self.sectors / (block / SECTOR),
            block_size: self.block_size,
            max_bytes: if self.reaches_all { MAX_BYTES } else { BOUNCED },
            alignment: 1,
            depth: if self.reaches_all { DEPTH } else { BOUNCES },
            read_only: self.features & READ_ONLY != 0,
            discards: self.features & DISCARD != 0 && self.features & READ_ONLY == 0,
        }
    }

    /// Whether the device keeps something that a flush writes.
    pub fn caches(&self) -> bool {
        self.features & FLUSH != 0
    }

    fn ask_for_name(&mut self) {
        let number = usize::from(DEPTH);
        let request = self.requests.name();
        if !self.begin(number, request) {
            return;
        }
        for _ in 0..LOOKS {
            if let Some((_, result)) = self.ended() {
                let name = self.requests.named();
                let length = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
                let text = core::str::from_utf8(&name[..length]).unwrap_or_default();
                self.name = if result.is_ok() { text.into() } else { String::new() };
                return;
            }
            phi_rt::sleep(1000);
        }
    }

    /// Has the device begin request `number`; whether there was room.
    pub fn begin(&mut self, number: usize, request: Request) -> bool {
        if !self.requests.submit(&mut self.queue, number, request) {
            return false;
        }
        if self.queue.should_notify() {
            self.transport.notify(0);
        }
        true
    }

    /// A request to discard `length` bytes at `offset`, or why not.
    ///
    /// # Errors
    /// `Unsupported` for more at once than the device can.
    pub fn discard(&self, number: usize, offset: u64, length: u64) -> Result<Request, BlockError> {
        let count = u32::try_from(length / SECTOR).ok().filter(|count| *count <= self.max_discard);
        let count = count.ok_or(BlockError::Unsupported)?;
        Ok(self.requests.discard(number, offset / SECTOR, count))
    }

    /// A request that has ended, and how.
    pub fn ended(&mut self) -> Option<(usize, Result<(), BlockError>)> {
        self.requests.ended(&mut self.queue)
    }
}
