//! What can be read of the channels, for those who look on.

use super::Switchboard;
use crate::linux::machine::Seat;
use phi_core::{DomainIndex, ThreadIndex};

impl Switchboard {
    /// The domain that receives from the channel with this index in a sender's notices.
    pub fn receiver_of(&self, sender: Seat, index: usize) -> Option<DomainIndex> {
        let channels = &self.channels;
        let found = channels
            .iter()
            .find(|channel| channel.sender == sender && channel.sender_index == index)?;
        Some(found.receiver.start.domain)
    }

    /// The mailbox that a thread last received from, if it receives from one directly.
    pub fn received_by(&self, thread: ThreadIndex) -> Option<u32> {
        self.ports.iter().find(|port| port.thread == thread)?;
        self.receptions.get(&thread).map(|(mailbox, _)| *mailbox)
    }
}
