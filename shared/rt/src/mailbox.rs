//! Both ends of a mailbox: who may send to it, and who receives.

use crate::{Capability, Incoming, Outgoing, WrongKind, system};
use phi_abi::{Error, FOREVER, Handle, Kind, Message, Number, Rights};

/// A server, or one object of a server's: what one sends to and calls.
#[derive(Debug)]
pub struct Peer(Capability);

impl Peer {
    /// Sends `message` and does not wait. Needs SEND.
    ///
    /// # Errors
    /// `Full`, `Dead`, `Denied`, `Revoked`; `QuotaExceeded`. What the message gave is then dropped.
    ///
    /// # Panics
    /// When the message lends.
    pub fn send(&self, message: Outgoing<'_>) -> Result<(), Error> {
        message.send(self.0.handle())
    }

    /// Sends `message` and waits for the answer, up to `timeout` nanoseconds. Needs CALL. Once a
    /// call that lends is delivered, it waits for the answer without end.
    ///
    /// # Errors
    /// `TimedOut`, `Dead`, `Denied`, `Revoked`, `QuotaExceeded`. Where it cannot be known whether
    /// the message was delivered, what it gave is neither held nor dropped any more.
    pub fn call(&self, message: Outgoing<'_>, timeout: u64) -> Result<Incoming, Error> {
        message.call(self.0.handle(), timeout)
    }

    /// The capability, to derive from or to inspect.
    pub fn capability(&self) -> &Capability {
        &self.0
    }

    /// The capability itself, to give away.
    pub fn into_capability(self) -> Capability {
        self.0
    }

    pub(crate) fn new(capability: Capability) -> Peer {
        Peer(capability)
    }
}

impl TryFrom<Capability> for Peer {
    type Error = WrongKind;

    fn try_from(capability: Capability) -> Result<Peer, WrongKind> {
        if capability.expect(Kind::Mailbox).is_err() {
            capability.expect(Kind::Object)?;
        }
        Ok(Peer(capability))
    }
}

/// What ended a wait at a mailbox.
// Nearly always a message, so boxing it would cost every message an allocation.
#[allow(clippy::large_enum_variant)]
#[derive(Debug)]
pub enum Event {
    /// A message.
    Message(Incoming),
    /// Bits of the signal that is bound to the mailbox.
    Signals(u64),
}

impl Event {
    fn new(message: Message, value: u64) -> Event {
        match value {
            // SAFETY: a receive has just written the message.
            0 => Event::Message(unsafe { Incoming::from_message(message) }),
            _ => Event::Signals(message.label),
        }
    }
}

/// A mailbox, for the service that receives from it.
#[derive(Debug)]
pub struct Mailbox(Capability);

impl Mailbox {
    /// Makes a mailbox that holds up to `capacity` sent messages, 1 to 65,536.
    ///
    /// # Errors
    /// `QuotaExceeded`.
    pub fn create(capacity: u64) -> Result<Mailbox, Error> {
        let handle = Handle(system::plain(Number::MailboxCreate, [capacity, 0, 0, 0])?);
        // SAFETY: the call made the handle for us alone.
        Ok(Mailbox(unsafe { Capability::from_handle(handle) }))
    }

    /// Waits up to `timeout` nanoseconds for a message, or for the bound signal's bits.
    ///
    /// # Errors
    /// `TimedOut`, `Denied`, `Revoked`; `QuotaExceeded` while the capability table has no room for
    /// what comes with the next message.
    pub fn receive(&self, timeout: u64) -> Result<Event, Error> {
        let mut message = Message::EMPTY;
        let words = [self.0.handle().0, timeout, 0, 0];
        let value = system::with_message(Number::Receive, words, &mut message)?;
        Ok(Event::new(message, value))
    }

    /// Answers `incoming` and waits for what comes next, in one step. A caller that is gone misses
    /// its answer, and the wait goes on.
    ///
    /// # Errors
    /// As [`Mailbox::receive`].
    ///
    /// # Panics
    /// As [`Incoming::reply`].
    pub fn reply_receive(
        &self,
        incoming: Incoming,
        answer: Outgoing<'_>,
        timeout: u64,
    ) -> Result<Event, Error> {
        match incoming.reply_receive(answer, self.0.handle(), timeout) {
            Ok((message, value)) => Ok(Event::new(message, value)),
            // The caller is gone, or the mailbox: a receive tells.
            Err(Error::Dead) => self.receive(timeout),
            Err(error) => Err(error),
        }
    }

    /// Waits for messages without end and hands each to `handle`, which says what to answer. An
    /// answer to a message that is no call is dropped, and so is the caller of a call without one.
    ///
    /// Returns only when the mailbox can no longer be received from, with the reason.
    pub fn serve(
        &self,
        mut handle: impl FnMut(&mut Incoming) -> Option<Outgoing<'static>>,
    ) -> Error {
        loop {
            if let Err(error) = self.serve_until_signal(&mut handle) {
                return error;
            }
        }
    }

    /// As [`Mailbox::serve`], until the signal that is bound to the mailbox has bits: those.
    ///
    /// # Errors
    /// The mailbox can no longer be received from.
    pub fn serve_until_signal(
        &self,
        mut handle: impl FnMut(&mut Incoming) -> Option<Outgoing<'static>>,
    ) -> Result<u64, Error> {
        let mut event = self.receive(FOREVER);
        loop {
            event = match event {
                Ok(Event::Message(mut incoming)) => match handle(&mut incoming) {
                    Some(answer) if incoming.is_call() => {
                        self.reply_receive(incoming, answer, FOREVER)
                    }
                    _ => {
                        drop(incoming);
                        self.receive(FOREVER)
                    }
                },
                Ok(Event::Signals(bits)) => return Ok(bits),
                Err(error) => return Err(error),
            };
        }
    }

    /// Makes an object of this server's: `badge` says which, and `rights` (DERIVE, TRANSFER, SEND,
    /// CALL and the server's own 16) what its first holder may do.
    ///
    /// # Errors
    /// `QuotaExceeded`, `Denied`, `Revoked`.
    pub fn mint(&self, badge: u64, rights: Rights) -> Result<Peer, Error> {
        let words = [self.0.handle().0, badge, u64::from(rights.bits()), 0];
        let handle = Handle(system::plain(Number::ObjectMint, words)?);
        // SAFETY: the call made the handle for us alone.
        Ok(Peer(unsafe { Capability::from_handle(handle) }))
    }

    /// The capability, to derive from or to inspect.
    pub fn capability(&self) -> &Capability {
        &self.0
    }

    /// The capability itself, to give away.
    pub fn into_capability(self) -> Capability {
        self.0
    }

    pub(crate) fn new(capability: Capability) -> Mailbox {
        Mailbox(capability)
    }
}

impl TryFrom<Capability> for Mailbox {
    type Error = WrongKind;

    fn try_from(capability: Capability) -> Result<Mailbox, WrongKind> {
        capability.expect(Kind::Mailbox)?;
        Ok(Mailbox(capability))
    }
}
