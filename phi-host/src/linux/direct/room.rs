//! How the room for sent messages of a mailbox is shared out among the channels to it.
//!
//! Principles:
//! - **The parts add up to the capacity**, so no part can make the mailbox hold more. A part is taken
//!   back before what lies in its ring is counted.
//! - **Nobody has room while ΦCore stores something.** What a sender puts into its ring then is newer than
//!   what it has stored there, and comes before it as soon as the next message through ΦCore moves the
//!   barrier.
//! - **Who sends alone has all room**, and its ring then says when the mailbox is full: no message and no
//!   `Full` needs ΦCore.
//! - **Who needs more asks by sending through ΦCore.** Who has sent nothing since somebody last asked
//!   gives its part up.

use super::notices::{self, Room};
use super::switchboard::{Channel, LinuxKernel, Port, Switchboard};
use phi_abi::Handle;
use phi_core::{Destination, ThreadIndex};

impl Switchboard {
    /// A thread has sent through a handle by way of ΦCore: it is to have a part of the room.
    pub(super) fn ask_for_room(
        &mut self,
        kernel: &LinuxKernel<'_>,
        thread: ThreadIndex,
        handle: Handle,
    ) {
        let domain = kernel.domain_of(thread);
        let Some(Destination { mailbox, .. }) = kernel.destination(domain, handle) else { return };
        for channel in self.channels.iter_mut().filter(|channel| channel.mailbox == mailbox) {
            let put = channel.barrier();
            let asks = channel.thread == thread && channel.handle == handle;
            channel.sends = asks || (channel.sends && put != channel.put);
            channel.put = put;
        }
        self.share(kernel, mailbox);
    }

    /// The channels to a mailbox are others now.
    pub(super) fn share_anew(&mut self, mailbox: u32) {
        share_anew(&mut self.ports, mailbox);
    }

    /// Shares room out where ΦCore stores more or fewer messages than when that was last done, or where
    /// there are other channels.
    pub(super) fn share_again(&mut self, kernel: &LinuxKernel<'_>) {
        for place in 0..self.ports.len() {
            let mailbox = self.ports[place].mailbox;
            let stored = kernel.mailboxes()[mailbox as usize].stored;
            if self.ports[place].shared != Some(stored) {
                self.share(kernel, mailbox);
            }
        }
    }

    /// The channels that have a part of a mailbox's room.
    fn senders(&self, mailbox: u32) -> impl Iterator<Item = &Channel> {
        let sends = move |channel: &&Channel| channel.mailbox == mailbox && channel.sends;
        self.channels.iter().filter(sends).filter(|channel| channel.state == notices::OPEN)
    }

    /// Shares a mailbox's room out: each sender has what lies in its ring, and an equal part of what is
    /// free.
    fn share(&mut self, kernel: &LinuxKernel<'_>, mailbox: u32) {
        let held = &kernel.mailboxes()[mailbox as usize];
        let senders = self.senders(mailbox).count();
        let open =
            |channel: &&Channel| channel.mailbox == mailbox && channel.state == notices::OPEN;
        let channels = self.channels.iter().filter(|channel| channel.mailbox == mailbox).count();
        let none = Room { company: channels > 1, ..Room::default() };
        // Who sends alone keeps its room meanwhile: nobody else gets any of it.
        let keeps = |one: &&Channel| held.stored == 0 && senders == 1 && one.sends;
        for channel in self.channels.iter().filter(open).filter(|one| !keeps(one)) {
            channel.set_room(kernel, none);
        }
        note(&mut self.ports, mailbox, Some(held.stored));
        if held.stored > 0 {
            return;
        }
        let waiting = |channel: &Channel| channel.waiting().0;
        let idle = |channel: &&Channel| open(channel) && !channel.sends;
        let others: u32 = self.channels.iter().filter(idle).map(waiting).sum();
        let room = held.capacity.saturating_sub(others);
        let carried: u32 = self.senders(mailbox).map(waiting).sum();
        let part = room.saturating_sub(carried) / senders.max(1) as u32;
        for channel in self.senders(mailbox) {
            // Alone it has what is left by all others, however much of that is in use.
            let limit = if senders == 1 { room } else { waiting(channel) + part };
            let most = channel.most();
            let whole = senders == 1 && others == 0 && limit <= most;
            channel.set_room(kernel, Room { limit: limit.min(most), whole, ..none });
        }
    }
}

/// Has the room of a mailbox be shared out anew.
pub(super) fn share_anew(ports: &mut [Port], mailbox: u32) {
    note(ports, mailbox, None);
}

/// Notes how many messages ΦCore stored as the room of a mailbox was shared out.
fn note(ports: &mut [Port], mailbox: u32, stored: Option<u32>) {
    let ports = ports.iter_mut().filter(|port| port.mailbox == mailbox);
    ports.for_each(|port| port.shared = stored);
}

impl Channel {
    /// Messages that its sender may have in its ring, at most: there is a place left for a call, and for
    /// one that was given up.
    fn most(&self) -> u32 {
        self.memory.slots() as u32 - 2
    }

    fn set_room(&self, kernel: &LinuxKernel<'_>, room: Room) {
        if let Some(notice) = self.sender_notice(kernel) {
            notice.set_room(room);
        }
    }
}
