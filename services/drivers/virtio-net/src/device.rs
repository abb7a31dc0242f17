//! One network card: the device and its two queues (virtio 1.2, 5.1).

use crate::buffers::{Buffers, PAGES};
use phi_nic::{Address, Card, FRAME, NicError};
use phi_platform::PlatformClient;
use phi_rt::{DmaSpace, Irq, Signal};
use phi_virtio::{PciDevice, memory};
use virtio_drivers::transport::Transport;

/// The device says its address (5.1.3).
const ADDRESS: u64 = 1 << 5;

/// Numbers of the queues (5.1.2).
const RECEIVE: u16 = 0;
const SEND: u16 = 1;

/// Bytes of the memory for both queues and their frames.
const OWN: u64 = (2 * PAGES as u64 + 8) * 4096;

/// A network card.
pub struct NetworkCard {
    transport: PciDevice,
    received: Buffers,
    sent: Buffers,
    address: Address,
    irq: Irq,
    /// What the device reaches: for as long as this is held.
    _space: DmaSpace,
}

impl NetworkCard {
    /// The device that was claimed; `None` when it is no card that this driver can drive, or another one than that
    /// with this address.
    pub fn open(
        platform: &mut PlatformClient,
        address: Address,
        signal: &Signal,
    ) -> Option<NetworkCard> {
        let mut transport = PciDevice::open(platform)?;
        let features = phi_virtio::agree(&mut transport, ADDRESS)?;
        let own = transport.read_config_space(0).ok().filter(|_| features & ADDRESS != 0)?;
        if Address(own) != address {
            return None;
        }
        let space = DmaSpace::try_from(platform.dma_space().ok()?).ok()?;
        memory::set_up(&space, features, OWN, 0)?;
        let irq = Irq::try_from(platform.irq().ok()?).ok()?;
        irq.bind(signal, 1).ok()?;
        let mut received = Buffers::new(&mut transport, RECEIVE)?;
        let sent = Buffers::new(&mut transport, SEND)?;
        if !phi_virtio::begin(&mut transport, SEND + 1) {
            return None;
        }
        received.give_all();
        received.notify(&mut transport);
        Some(NetworkCard { transport, received, sent, address, irq, _space: space })
    }
}

impl Card for NetworkCard {
    fn address(&self) -> Address {
        self.address
    }

    fn attend(&mut self) -> bool {
        // First the interrupt, then the queues: what comes in between interrupts again. A driver that lost its
        // interrupt has lost its device, too.
        let _ = self.irq.acknowledge();
        self.sent.take_read();
        self.received.has_used()
    }

    fn send(&mut self, frame: &[u8]) -> Result<(), NicError> {
        self.sent.take_read();
        if !self.sent.give(frame) {
            return Err(NicError::Busy);
        }
        self.sent.notify(&mut self.transport);
        Ok(())
    }

    fn receive(&mut self, frame: &mut [u8; FRAME]) -> Option<usize> {
        let length = self.received.take_written(frame);
        self.received.notify(&mut self.transport);
        length
    }
}
