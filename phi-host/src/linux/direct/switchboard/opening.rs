//! How a channel opens.

use super::super::channel::ChannelMemory;
use super::super::inbox::Side;
use super::super::notices::{self, CHANNELS, PORTS};
use super::{Channel, LinuxKernel, Port, Switchboard};
use crate::linux::events::Start;
use crate::linux::machine::Seat;
use phi_abi::Handle;
use phi_core::{Activity, DomainIndex, ThreadIndex};
use std::os::fd::OwnedFd;

/// A channel that both sides are to be given.
struct Prepared {
    channel: Channel,
    /// Its memory.
    descriptor: OwnedFd,
    /// The mailbox in its receiver's notices.
    port: usize,
    /// The receiver's handle of the mailbox.
    reception: Handle,
    /// Slots that are free in the receiver's table.
    free_slots: u32,
}

impl Switchboard {
    /// Opens a channel for what a thread sends through a handle, if ΦCore allows it.
    pub(super) fn open(
        &mut self,
        kernel: &mut LinuxKernel<'_>,
        thread: ThreadIndex,
        handle: Handle,
    ) {
        let Some(prepared) = self.prepare(kernel, thread, handle) else { return };
        if hand_out(kernel, &prepared).is_none() {
            return;
        }
        let Prepared { channel, port, .. } = prepared;
        let receiver = channel.receiver.start;
        self.channels.push(channel);
        self.ask_for_room(kernel, thread, handle);
        let Some(channel) = self.channels.last() else { return };
        if let Some(notice) = channel.receiver_notice(kernel) {
            notice.set_barrier(0);
            notice.set_state(notices::OPEN);
        }
        if let Some(notice) = channel.sender_notice(kernel) {
            notice.set_state(notices::OPEN);
        }
        // A receiver that sleeps does not know of the channel yet.
        if let Some(notices) = kernel.machine().notices(receiver) {
            notices.port(port).nudge();
        }
    }

    /// A channel for what a thread sends through a handle; `None` where ΦCore does not allow it, there is one, or no
    /// place is left.
    fn prepare(
        &mut self,
        kernel: &LinuxKernel<'_>,
        thread: ThreadIndex,
        handle: Handle,
    ) -> Option<Prepared> {
        let domain = kernel.domain_of(thread);
        let to = kernel.destination(domain, handle)?;
        let server = kernel.sole_receiver(to.mailbox).filter(|server| *server != domain)?;
        let (thread_of_server, reception) = self.receiver(kernel, server, to.mailbox)?;
        let machine = kernel.machine();
        let (sender, receiver) = (machine.seat(thread)?, machine.seat(thread_of_server)?);
        let double = |channel: &Channel| channel.thread == thread && channel.handle == handle;
        if self.channels.iter().any(double) {
            return None;
        }
        let port = self.port(to.mailbox, thread_of_server, receiver)?;
        let sender_index = self.free_index(kernel, sender.start)?;
        let receiver_index = self.free_index(kernel, receiver.start)?;
        let capacity = kernel.mailboxes()[to.mailbox as usize].capacity;
        let (memory, descriptor) = ChannelMemory::create(capacity).ok()?;
        let channel = Channel {
            mailbox: to.mailbox,
            thread,
            handle,
            capability: to.capability,
            sender,
            sender_index,
            receiver,
            receiver_index,
            badge: to.badge,
            rights: to.rights,
            memory,
            state: notices::OPEN,
            sends: false,
            put: 0,
        };
        let free_slots = kernel.account(server).free_handles;
        Some(Prepared { channel, descriptor, port, reception, free_slots })
    }

    /// The one thread of `server`, if it last received from this mailbox, and the handle it used.
    fn receiver(
        &self,
        kernel: &LinuxKernel<'_>,
        server: DomainIndex,
        mailbox: u32,
    ) -> Option<(ThreadIndex, Handle)> {
        if kernel.account(server).threads != 1 {
            return None;
        }
        let alive = |thread: &ThreadIndex| kernel.activity(*thread) != Activity::Free;
        let thread = kernel.threads_of(server).find(alive)?;
        let (received, handle) = *self.receptions.get(&thread)?;
        let holds = kernel.reception(server, handle) == Some(mailbox);
        (received == mailbox && holds).then_some((thread, handle))
    }

    /// The place of a mailbox in its receiver's notices, taken if need be.
    fn port(&mut self, mailbox: u32, thread: ThreadIndex, seat: Seat) -> Option<usize> {
        if let Some(port) = self.ports.iter().find(|port| port.mailbox == mailbox) {
            return (port.seat == seat).then_some(port.index);
        }
        let taken = |index: &usize| {
            self.ports.iter().any(|port| port.seat.start == seat.start && port.index == *index)
        };
        let index = (0..PORTS).find(|index| !taken(index))?;
        self.ports.push(Port { mailbox, thread, seat, index, shared: None });
        Some(index)
    }

    /// A place for a channel in a domain's notices: one that no channel has, and on which no thread waits
    /// any more.
    fn free_index(&self, kernel: &LinuxKernel<'_>, start: Start) -> Option<usize> {
        let taken = |index: &usize| {
            self.channels.iter().any(|channel| {
                (channel.sender.start == start && channel.sender_index == *index)
                    || (channel.receiver.start == start && channel.receiver_index == *index)
            })
        };
        (0..CHANNELS).find(|index| !taken(index) && !kernel.machine().carries(start, *index))
    }
}

/// Gives both sides a channel; `None` if one cannot have it.
fn hand_out(kernel: &mut LinuxKernel<'_>, prepared: &Prepared) -> Option<()> {
    let Prepared { channel, descriptor, port, reception, free_slots } = prepared;
    if let Some(notices) = kernel.machine().notices(channel.receiver.start) {
        // First, since the receiver looks as soon as it has the channel.
        notices.port(*port).set_free_slots(*free_slots);
        notices.port(*port).set_open(true);
    }
    let notices = [channel.receiver_notice(kernel), channel.sender_notice(kernel)];
    notices.into_iter().flatten().for_each(|notice| notice.set_state(notices::OPENING));
    let (badge, rights) = (channel.badge, channel.rights.bits());
    let receives = Side::Receiver { port: *port as u64, mailbox: reception.0, badge, rights };
    let sends = Side::Sender { handle: channel.handle.0, rights };
    let slots = channel.memory.slots();
    let machine = kernel.machine_mut();
    for (seat, index, side) in [
        (channel.receiver, channel.receiver_index, receives),
        (channel.sender, channel.sender_index, sends),
    ] {
        machine.open_channel(seat, index, side, slots, descriptor).ok()?;
    }
    Some(())
}
