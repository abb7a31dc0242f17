//! A client's side.

use crate::{Address, CAME, FRAME, NicClient, NicError, Opened};
use phi_idl::{CallError, Slice};
use phi_rt::{Error, Mapping, Peer, Region, Rights, Signal};

/// A card that was opened: sends and receives frames.
pub struct Link {
    client: NicClient,
    opened: Opened,
    /// A frame that is sent, and behind it one that was received.
    memory: Mapping,
    signal: Signal,
}

/// Why a card cannot be used.
pub type LinkError = CallError<NicError>;

/// Where received frames are put; before it lies what is sent.
const RECEIVED: u64 = 2048;

impl Link {
    /// Opens the card that `peer` drives. `signal` has [`CAME`] set when frames have come: it can be waited
    /// for, or bound to a mailbox. Takes a page of memory.
    ///
    /// # Errors
    /// The driver's, and `Transport` when it has ended: it may be started again.
    pub fn open(peer: Peer, signal: Signal) -> Result<Link, LinkError> {
        let client = NicClient::new(peer);
        let memory = Region::create(2 * RECEIVED)?.map(true)?;
        let opened = begin(&client, &memory, &signal)?;
        Ok(Link { client, opened, memory, signal })
    }

    /// Begins another session, with a driver that was started anew.
    ///
    /// # Errors
    /// As for [`Link::open`].
    pub fn open_again(&mut self) -> Result<(), LinkError> {
        self.opened = begin(&self.client, &self.memory, &self.signal)?;
        Ok(())
    }

    /// The card's address.
    pub fn address(&self) -> Address {
        self.opened.address
    }

    /// Waits until a frame may have come, or for so many nanoseconds.
    ///
    /// # Errors
    /// `TimedOut`.
    pub fn wait(&self, timeout: u64) -> Result<(), Error> {
        self.signal.wait(CAME, timeout).map(drop)
    }

    /// Sends a frame of at most [`FRAME`] bytes.
    ///
    /// # Errors
    /// The driver's; `Transport` when it has ended: then open the card again.
    pub fn send(&mut self, frame: &[u8]) -> Result<(), LinkError> {
        if frame.len() > FRAME {
            return Err(CallError::Refused(NicError::Length));
        }
        self.memory.write(0, frame);
        let frame = Slice { offset: 0, length: frame.len() as u64 };
        self.client.send(self.opened.session, frame)
    }

    /// The next frame that came, if one did: how many bytes of `frame` it has.
    ///
    /// # Errors
    /// As for [`Link::send`].
    pub fn receive(&mut self, frame: &mut [u8; FRAME]) -> Result<Option<usize>, LinkError> {
        let into = Slice { offset: RECEIVED, length: FRAME as u64 };
        match self.client.receive(self.opened.session, into) {
            Ok(length) => {
                let length = (length as usize).min(FRAME);
                self.memory.read(RECEIVED as usize, &mut frame[..length]);
                Ok(Some(length))
            }
            Err(CallError::Refused(NicError::Nothing)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Ends the session.
    ///
    /// # Errors
    /// As for [`Link::send`].
    pub fn close(self) -> Result<(), LinkError> {
        self.client.close(self.opened.session)
    }
}

fn begin(client: &NicClient, memory: &Mapping, signal: &Signal) -> Result<Opened, LinkError> {
    let memory = memory.capability().derive(Rights::READ | Rights::WRITE | Rights::TRANSFER)?;
    let signal = signal.capability().derive(Rights::NOTIFY | Rights::TRANSFER)?;
    client.open(memory, signal)
}
