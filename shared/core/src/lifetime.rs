//! The end of capabilities and of objects.

use crate::anchor::Counted;
use crate::{Kernel, Machine, RegionIndex};
use phi_abi::{Error, Kind};
use phi_cap::{Capability, State};
use phi_ipc::{Mailbox, MailboxState, Signal};
use phi_mem::{NONE, Region, RegionState};

impl<M: Machine> Kernel<M> {
    /// Drops what is in `entry`: its slot is free afterwards.
    pub(crate) fn release(&mut self, entry: u32) {
        self.unmap_entry(entry);
        let Capability { kind, child, object, .. } = *self.capabilities.get(entry);
        let held = self.capabilities.state(entry) == State::Held;
        let anchor = self.capabilities.anchor(entry);
        if kind != Kind::Reply && child != NONE {
            self.capabilities.set_child(entry, NONE);
            self.dissolve(child);
        }
        self.capabilities.remove(entry);
        if kind == Kind::Reply {
            self.end_loans(child);
            if held {
                self.thread_mut(object).lends = false;
                self.fail(object, Error::Dead);
            }
        } else if held {
            self.note_if_unreferenced(anchor);
        }
    }

    /// Remembers an object without capabilities for [`Kernel::reap`]: ending it at once could end
    /// others in turn, as deep as there are objects.
    pub(crate) fn note_if_unreferenced(&mut self, anchor: u32) {
        if (anchor as usize) >= self.anchors.counted() {
            return;
        }
        // What was revoked and waits to be buried keeps no object.
        while let Some(entry) = self.capabilities.first_of(anchor)
            && self.capabilities.state(entry) == State::Revoked
        {
            self.bury(entry, State::Revoked);
        }
        if self.capabilities.first_of(anchor).is_none() {
            // Without capabilities now means that it had some before, so it is not in the list yet.
            self.unreferenced_links.push_back(&mut self.unreferenced, anchor);
        }
    }

    /// Ends the objects that have lost their last capability.
    pub(crate) fn reap(&mut self) {
        while let Some(anchor) = self.unreferenced_links.pop_front(&mut self.unreferenced) {
            match self.anchors.object(anchor) {
                Some(Counted::Region(region)) => self.destroy_region(region),
                Some(Counted::Mailbox(mailbox)) if !self.mailbox(mailbox).planned => {
                    self.destroy_mailbox(mailbox);
                }
                Some(Counted::Signal(signal)) if !self.signal(signal).planned => {
                    self.destroy_signal(signal);
                }
                Some(Counted::Irq(irq)) => self.destroy_irq(irq),
                Some(Counted::DmaSpace(space)) => self.destroy_dma_space(space),
                Some(Counted::Ports(ports)) => self.destroy_ports(ports),
                _ => {}
            }
        }
    }

    /// The region's owner has ended: nobody uses it any more, but who borrowed pages of it, until
    /// the answer.
    pub(crate) fn end_region(&mut self, region: u32) {
        let anchor = self.anchors.of(Kind::Region, region);
        let mut next = self.capabilities.first_of(anchor);
        while let Some(entry) = next {
            next = self.capabilities.after(entry);
            if !self.capabilities.get(entry).mapping.loan {
                self.bury(entry, State::Dead);
            }
        }
        if self.capabilities.first_of(anchor).is_none() {
            self.destroy_region(region);
        } else {
            self.regions[region as usize].state = RegionState::Orphan;
        }
    }

    /// Frees a region that no capability refers to.
    fn destroy_region(&mut self, region: u32) {
        let Region { state, place, owner, planned, device } = self.regions[region as usize];
        if state == RegionState::Free || planned {
            return;
        }
        self.regions[region as usize] = Region::FREE;
        if !device {
            self.domain_mut(u32::from(owner)).region_memory -= place.page_length();
        }
        self.machine.region_destroy(RegionIndex(region));
    }

    /// Ends a mailbox that a domain made.
    pub(crate) fn destroy_mailbox(&mut self, mailbox: u32) {
        let Mailbox { state, owner, capacity, .. } = *self.mailbox(mailbox);
        if state == MailboxState::Free {
            return;
        }
        self.empty_mailbox(mailbox);
        self.bury_all(self.anchors.of(Kind::Mailbox, mailbox));
        self.domain_mut(u32::from(owner)).messages -= capacity;
        *self.mailbox(mailbox) = Mailbox::FREE;
    }

    /// Ends everything that waits at a mailbox: calls and receives with `Dead`, and stored messages
    /// are dropped with what they carry.
    pub(crate) fn empty_mailbox(&mut self, mailbox: u32) {
        while let Some(member) = self.mailbox(mailbox).queue.first() {
            match self.stored_message(member) {
                None => self.fail(member, Error::Dead),
                Some(message) => {
                    self.unqueue_message(mailbox, message);
                    self.drop_message(message);
                }
            }
        }
        while let Some(receiver) = self.mailbox(mailbox).receivers.first() {
            self.fail(receiver, Error::Dead);
        }
        self.unbind_from(mailbox);
    }

    /// Ends the binding of the signal that is bound to a mailbox, if one is.
    pub(crate) fn unbind_from(&mut self, mailbox: u32) {
        let signal = self.mailbox(mailbox).signal;
        if signal != NONE {
            self.unbind(signal);
        }
    }

    /// Frees a stored message that is in no queue, and drops what it carries.
    fn drop_message(&mut self, message: u32) {
        for number in 0..self.messages.get(message).grants().len() as u32 {
            let entry = self.transit_entry(message, number);
            if self.capabilities.is_occupied(entry) {
                self.release(entry);
            }
        }
        self.messages.free(message);
    }

    /// Ends a signal that a domain made.
    pub(crate) fn destroy_signal(&mut self, signal: u32) {
        if !self.signal(signal).alive {
            return;
        }
        while let Some(waiter) = self.signal(signal).waiters.first() {
            self.fail(waiter, Error::Dead);
        }
        self.unbind(signal);
        self.unbind_irqs_of(signal);
        self.bury_all(self.anchors.of(Kind::Signal, signal));
        *self.signal(signal) = Signal::FREE;
    }
}
