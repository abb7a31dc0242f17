//! The machine's debug console.

use crate::{Capability, WrongKind, system};
use phi_abi::{Error, Kind, MESSAGE_BYTES, Message, Number};

/// The right to write to one stream of the machine's debug console.
#[derive(Debug)]
pub struct Console(Capability);

impl Console {
    pub(crate) fn new(capability: Capability) -> Console {
        Console(capability)
    }

    /// Writes `bytes`, a message's worth at a time.
    ///
    /// # Errors
    /// `Denied` or `Revoked`; what was written before stays written.
    pub fn write(&self, bytes: &[u8]) -> Result<(), Error> {
        for part in bytes.chunks(MESSAGE_BYTES) {
            let mut message = Message::EMPTY;
            message.data[..part.len()].copy_from_slice(part);
            message.length = part.len() as u16;
            let words = [self.0.handle().0, 0, 0, 0];
            system::with_message(Number::ConsoleWrite, words, &mut message)?;
        }
        Ok(())
    }
}

impl TryFrom<Capability> for Console {
    type Error = WrongKind;

    fn try_from(capability: Capability) -> Result<Console, WrongKind> {
        capability.expect(Kind::Console)?;
        Ok(Console(capability))
    }
}

impl core::fmt::Write for &Console {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        self.write(text.as_bytes()).map_err(|_| core::fmt::Error)
    }
}
