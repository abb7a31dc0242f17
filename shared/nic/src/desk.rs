//! A driver's side: who has the card, and what its requests are worth.

use crate::{Address, CAME, FRAME, HEAD, MEMORY, Nic, NicError, NicServer, Opened, WAITING};
use phi_idl::{Caller, Capability, Slice};
use phi_rt::{Mailbox, Mapping, Region, Signal};

/// A device that sends and receives frames.
pub trait Card {
    /// Its address.
    fn address(&self) -> Address;

    /// Something has happened: takes what came. Whether frames wait.
    fn attend(&mut self) -> bool;

    /// Sends `frame`, which is no longer and no shorter than a frame can be.
    ///
    /// # Errors
    /// `Busy`, `Failed`.
    fn send(&mut self, frame: &[u8]) -> Result<(), NicError>;

    /// Takes the next frame that came: how many bytes it has.
    fn receive(&mut self, frame: &mut [u8; FRAME]) -> Option<usize>;
}

/// Serves the interface at `mailbox`, to which a signal is bound that is set when `card` is to be attended to.
/// Each start of a driver has a `start` of its own, not 0. Returns only when the mailbox cannot be received
/// from any more, with the exit status.
pub fn serve(card: impl Card, mailbox: &Mailbox, start: u64) -> u8 {
    let mut server = NicServer(Desk::new(card, start));
    while phi_idl::serve_until_signal(mailbox, &mut server).is_ok() {
        server.0.attend();
    }
    1
}

/// Who has the card.
struct Client {
    badge: u64,
    session: u64,
    memory: Mapping,
    signal: Signal,
}

impl Client {
    /// Whether it has ended, or has taken its signal back.
    fn has_ended(&self) -> bool {
        self.signal.notify(0).is_err()
    }
}

/// Whether somebody could revoke the memory: while the driver copies, that would be the driver's fault.
fn can_be_taken_back(memory: &Region) -> bool {
    memory.capability().inspect().map_or(true, |info| info.depth > 0)
}

pub(crate) struct Desk<C> {
    pub(crate) card: C,
    client: Option<Client>,
    /// The number of the last session.
    sessions: u64,
}

impl<C: Card> Desk<C> {
    pub(crate) fn new(card: C, start: u64) -> Desk<C> {
        Desk { card, client: None, sessions: start << 32 }
    }

    pub(crate) fn attend(&mut self) {
        if !self.card.attend() {
            return;
        }
        let told = self.client.as_ref().is_some_and(|client| client.signal.notify(CAME).is_ok());
        if !told {
            // Who has taken its signal back has ended its session. What comes for nobody must not pile up, here or
            // in the device: the next client would get it.
            self.client = None;
            self.discard();
        }
    }

    /// Drops the frames that wait, as many as can: whoever sends without end does not keep the driver here.
    fn discard(&mut self) {
        let mut frame = [0; FRAME];
        for _ in 0..WAITING {
            if self.card.receive(&mut frame).is_none() {
                return;
            }
        }
    }

    /// The card, and the client that calls in its session.
    fn session(&mut self, caller: Caller, session: u64) -> Result<(&mut C, &mut Client), NicError> {
        let own = |client: &&mut Client| client.badge == caller.badge && client.session == session;
        let client = self.client.as_mut().filter(own).ok_or(NicError::Stale)?;
        Ok((&mut self.card, client))
    }
}

impl<C: Card> Nic for Desk<C> {
    fn open(
        &mut self,
        caller: Caller,
        memory: Capability,
        signal: Capability,
    ) -> Result<Opened, NicError> {
        let signal = Signal::try_from(signal).map_err(|_| NicError::Signal)?;
        let other = |client: &Client| client.badge != caller.badge && !client.has_ended();
        if self.client.as_ref().is_some_and(other) {
            return Err(NicError::Taken);
        }
        let memory = Region::try_from(memory).map_err(|_| NicError::Memory)?;
        if memory.length() > MEMORY || can_be_taken_back(&memory) {
            return Err(NicError::Memory);
        }
        let memory = memory.map(true).map_err(|_| NicError::Memory)?;
        // It can be set, or else would never tell that a frame has come.
        signal.notify(CAME).map_err(|_| NicError::Signal)?;
        // They came for the client before, or for this one's session before.
        self.discard();
        self.sessions += 1;
        let session = self.sessions;
        self.client = Some(Client { badge: caller.badge, session, memory, signal });
        Ok(Opened { session, address: self.card.address() })
    }

    fn send(&mut self, caller: Caller, session: u64, frame: Slice) -> Result<(), NicError> {
        let (card, client) = self.session(caller, session)?;
        let length = usize::try_from(frame.length).unwrap_or(usize::MAX);
        let lies = frame.of(&client.memory).filter(|_| (HEAD..=FRAME).contains(&length));
        let lies = lies.ok_or(NicError::Length)?;
        let mut bytes = [0; FRAME];
        lies.read(0, &mut bytes[..length]);
        card.send(&bytes[..length])
    }

    fn receive(&mut self, caller: Caller, session: u64, into: Slice) -> Result<u32, NicError> {
        let (card, client) = self.session(caller, session)?;
        let into = into.of_mut(&client.memory).filter(|into| into.length() >= FRAME);
        let into = into.ok_or(NicError::Length)?;
        let mut bytes = [0; FRAME];
        let length = card.receive(&mut bytes).ok_or(NicError::Nothing)?;
        into.write(0, &bytes[..length]);
        Ok(length as u32)
    }

    fn close(&mut self, caller: Caller, session: u64) -> Result<(), NicError> {
        self.session(caller, session)?;
        self.client = None;
        Ok(())
    }
}
