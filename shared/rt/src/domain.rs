//! Domains: other services, for who supervises them.

use crate::{Capability, WrongKind, system};
use phi_abi::{
    DomainInfo, DomainStatistics, Error, Kind, Message, Number, TOPIC_STATE, TOPIC_STATISTICS,
};

/// The right to start, stop or inspect a service.
#[derive(Debug)]
pub struct Domain(Capability);

impl Domain {
    pub(crate) fn new(capability: Capability) -> Domain {
        Domain(capability)
    }

    /// Starts it afresh; its new generation. Needs START.
    ///
    /// # Errors
    /// `Busy` when it runs, `Denied`, `Revoked`, or `Machine` when there is no memory for it.
    pub fn start(&self) -> Result<u64, Error> {
        system::plain(Number::DomainStart, [self.0.handle().0, 0, 0, 0])
    }

    /// Stops it. Needs STOP.
    ///
    /// # Errors
    /// `Busy` when it does not run, `Denied`, `Revoked`.
    pub fn stop(&self) -> Result<(), Error> {
        system::plain(Number::DomainStop, [self.0.handle().0, 0, 0, 0]).map(drop)
    }

    /// What it is doing. Needs INSPECT.
    ///
    /// # Errors
    /// `Denied`, `Revoked`; `Machine` when the answer names no state.
    pub fn state(&self) -> Result<DomainInfo, Error> {
        DomainInfo::decode(&self.inspect(TOPIC_STATE)?.data).ok_or(Error::Machine)
    }

    /// What it has used. Needs INSPECT.
    ///
    /// # Errors
    /// `Denied`, `Revoked`.
    pub fn statistics(&self) -> Result<DomainStatistics, Error> {
        Ok(DomainStatistics::decode(&self.inspect(TOPIC_STATISTICS)?.data))
    }

    fn inspect(&self, topic: u64) -> Result<Message, Error> {
        let mut message = Message::EMPTY;
        let words = [self.0.handle().0, topic, 0, 0];
        system::with_message(Number::DomainInspect, words, &mut message)?;
        Ok(message)
    }
}

impl TryFrom<Capability> for Domain {
    type Error = WrongKind;

    fn try_from(capability: Capability) -> Result<Domain, WrongKind> {
        capability.expect(Kind::Domain)?;
        Ok(Domain(capability))
    }
}
