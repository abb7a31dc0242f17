//! A card as `smoltcp` wants it.

use phi_nic::{FRAME, Link, LinkError};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;

/// A card that was opened, and why it could not be used of late.
pub struct Wire {
    pub link: Link,
    pub trouble: Option<LinkError>,
}

/// A frame that came.
pub struct Received([u8; FRAME], usize);

/// Room for a frame to be sent.
pub struct Sending<'a>(&'a mut Wire);

impl Device for Wire {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sending<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Received, Sending<'_>)> {
        let mut frame = [0; FRAME];
        match self.link.receive(&mut frame) {
            Ok(Some(length)) => Some((Received(frame, length), Sending(self))),
            Ok(None) => None,
            Err(error) => {
                self.trouble = Some(error);
                None
            }
        }
    }

    fn transmit(&mut self, _: Instant) -> Option<Sending<'_>> {
        Some(Sending(self))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = FRAME;
        capabilities
    }
}

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, look: F) -> R {
        look(&self.0[..self.1])
    }
}

impl TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, fill: F) -> R {
        let mut frame = [0; FRAME];
        let frame = &mut frame[..length.min(FRAME)];
        let result = fill(frame);
        if let Err(error) = self.0.link.send(frame) {
            self.0.trouble = Some(error);
        }
        result
    }
}
