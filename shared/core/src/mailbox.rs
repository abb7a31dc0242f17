//! Calls on mailboxes: create, send, call, receive. Replies have a file of their own.

use crate::call::{Answer, Done, Stop, bad_argument};
use crate::grant::Origins;
use crate::object::Activity;
use crate::{Kernel, Machine};
use phi_abi::{Error, FOREVER, FaultKind, Handle, Kind, Message, Outcome, Rights};
use phi_cap::Capability;
use phi_ipc::{MAILBOX_CAPACITY, Mailbox, MailboxState, copy};
use phi_mem::NONE;

/// Handle that no grant can name, for calls that use up none.
pub(crate) const NOTHING_CONSUMED: u64 = 0;

impl<M: Machine> Kernel<M> {
    pub(crate) fn mailbox_create(&mut self, thread: u32, capacity: u64) -> Answer {
        if !(1..=MAILBOX_CAPACITY).contains(&capacity) {
            return bad_argument(capacity);
        }
        let capacity = capacity as u32;
        let space = self.space_of(thread);
        let domain = self.domain(space);
        let room = domain.quota.messages - domain.messages >= capacity;
        let free = |slot: &u32| self.mailboxes[*slot as usize].state == MailboxState::Free;
        let Some(slot) = domain.mailboxes.clone().find(free).filter(|_| room) else {
            return Err(Error::QuotaExceeded.into());
        };
        let capability = Capability::new(Kind::Mailbox, Kind::Mailbox.rights(), slot, 0);
        let done = self.insert(space, capability)?;
        *self.mailbox(slot) = Mailbox::new(space as u16, false, capacity);
        self.domain_mut(space).messages += capacity;
        Ok(done)
    }

    /// The mailbox that a message through `handle` goes to. Notes badge and rights in the message.
    fn address(&mut self, thread: u32, handle: u64, needed: Rights) -> Result<(u32, u32), Stop> {
        let entry = self.entry(thread, handle)?;
        let Capability { kind, object, rights, badge, .. } = *self.capabilities.get(entry);
        if !matches!(kind, Kind::Mailbox | Kind::Object) {
            return Err(Stop::Fault(FaultKind::BadHandle, handle));
        }
        self.usable(entry, needed)?;
        if self.mailboxes[object as usize].state != MailboxState::Open {
            return Err(Error::Dead.into());
        }
        let message = &mut self.thread_mut(thread).frame.message;
        message.badge = badge;
        message.rights = rights.bits();
        Ok((entry, object))
    }

    pub(crate) fn send(&mut self, thread: u32, handle: u64) -> Answer {
        let (length, count) = self.message_size(thread)?;
        let (_, mailbox) = self.address(thread, handle, Rights::SEND)?;
        self.check_grants(thread, count, false, NOTHING_CONSUMED)?;
        if let Some(receiver) = self.ready_receiver(mailbox, count as u32) {
            self.copy_message(thread, receiver);
            self.pass_grants(Origins::Thread(thread), receiver);
            self.wake_receiver(receiver);
        } else {
            let Mailbox { stored, carried, capacity, .. } = *self.mailbox(mailbox);
            if stored.saturating_add(carried) >= capacity {
                return Err(Error::Full.into());
            }
            let message = &self.threads[thread as usize].frame.message;
            // There are as many places as all capacities together.
            let place = self.messages.store(message).ok_or(Error::Full)?;
            self.store_grants(thread, place, count);
            let member = self.threads.len() as u32 + place;
            let mailbox = &mut self.mailboxes[mailbox as usize];
            mailbox.stored += 1;
            self.links.push_back(&mut mailbox.queue, member);
        }
        self.count_message(thread, length);
        Ok(Done::Value(0))
    }

    pub(crate) fn call(&mut self, thread: u32, handle: u64, timeout: u64) -> Answer {
        let (length, count) = self.message_size(thread)?;
        let (entry, mailbox) = self.address(thread, handle, Rights::CALL)?;
        if count > 0 {
            self.check_grants(thread, count, true, NOTHING_CONSUMED)?;
        }
        self.set_origin(thread, self.capabilities.get(entry).origin);
        self.count_message(thread, length);
        match self.ready_receiver(mailbox, count as u32 + 1) {
            Some(receiver) => {
                self.deliver_call(thread, receiver);
                self.wake_receiver(receiver);
            }
            None => {
                let held = &mut self.threads[thread as usize];
                held.activity = Activity::Calling(mailbox);
                held.lends = false;
                self.links.push_back(&mut self.mailboxes[mailbox as usize].queue, thread);
            }
        }
        if timeout != FOREVER && !self.thread(thread).lends {
            self.set_timeout(thread, timeout);
        }
        Ok(Done::Left)
    }

    pub(crate) fn receive(&mut self, thread: u32, handle: u64, timeout: u64) -> Answer {
        let entry = self.entry_for(thread, handle, Kind::Mailbox, Rights::RECEIVE)?;
        let Capability { object: mailbox, origin, .. } = *self.capabilities.get(entry);
        let Mailbox { state, signal, queue, .. } = self.mailboxes[mailbox as usize];
        if state != MailboxState::Open {
            return Err(Error::Dead.into());
        }
        if signal != NONE {
            let bits = self.signal(signal).take(u64::MAX);
            if bits != 0 {
                self.thread_mut(thread).frame.message = Message { label: bits, ..Message::EMPTY };
                return Ok(Done::Message(1));
            }
        }
        if let Some(member) = queue.first() {
            self.take_queued(thread, mailbox, member)?;
            return Ok(Done::Message(0));
        }
        if timeout == 0 {
            return Err(Error::TimedOut.into());
        }
        self.set_origin(thread, origin);
        self.thread_mut(thread).activity = Activity::Receiving(mailbox);
        self.links.push_back(&mut self.mailboxes[mailbox as usize].receivers, thread);
        if timeout != FOREVER {
            self.set_timeout(thread, timeout);
        }
        Ok(Done::Left)
    }

    /// Hands the first member of a mailbox's queue to a receiver that has room for it.
    fn take_queued(&mut self, receiver: u32, mailbox: u32, member: u32) -> Result<(), Error> {
        let free = self.capabilities.free_slots(self.space_of(receiver));
        match self.stored_message(member) {
            None => {
                let count = self.thread(member).frame.message.grants().len() as u32;
                if free < count + 1 {
                    return Err(Error::QuotaExceeded);
                }
                self.links.remove(&mut self.mailboxes[mailbox as usize].queue, member);
                self.deliver_call(member, receiver);
            }
            Some(message) => {
                if free < self.messages.get(message).grants().len() as u32 {
                    return Err(Error::QuotaExceeded);
                }
                self.unqueue_message(mailbox, message);
                let frame = &mut self.threads[receiver as usize].frame;
                copy(self.messages.get(message), &mut frame.message);
                frame.message.reply = Handle::NULL;
                self.pass_grants(Origins::Stored(message), receiver);
                self.messages.free(message);
            }
        }
        Ok(())
    }

    /// The first thread that waits for a message and whose domain has room for what comes with this
    /// one. Those before it learn that they have no room.
    fn ready_receiver(&mut self, mailbox: u32, slots: u32) -> Option<u32> {
        while let Some(receiver) = self.mailboxes[mailbox as usize].receivers.first() {
            if self.capabilities.free_slots(self.space_of(receiver)) >= slots {
                self.links.remove(&mut self.mailboxes[mailbox as usize].receivers, receiver);
                return Some(receiver);
            }
            self.fail(receiver, Error::QuotaExceeded);
        }
        None
    }

    /// Gives the call of a thread, which is in no list, to a receiver with room for it.
    fn deliver_call(&mut self, caller: u32, receiver: u32) {
        self.copy_message(caller, receiver);
        let loans = if self.thread(caller).frame.message.grant_count > 0 {
            self.pass_grants(Origins::Thread(caller), receiver)
        } else {
            NONE
        };
        let reply = Capability {
            child: loans,
            ..Capability::new(Kind::Reply, Kind::Reply.rights(), caller, 0)
        };
        let anchor = self.anchors.of(Kind::Reply, caller);
        let inserted = self.capabilities.insert(self.space_of(receiver), reply, anchor);
        // The caller of this function has checked that there is room.
        let handle = inserted.map_or(Handle::NULL, |(_, handle)| handle);
        self.thread_mut(receiver).frame.message.reply = handle;
        let lends = loans != NONE;
        if lends {
            // Lent pages come back with the answer, and not before.
            self.cancel_timeout(caller);
        }
        let held = self.thread_mut(caller);
        held.activity = Activity::Served;
        held.lends = lends;
    }

    /// Copies what is in use of the message in one thread's frame to another's.
    pub(crate) fn copy_message(&mut self, from: u32, to: u32) {
        if let Ok([from, to]) = self.threads.get_disjoint_mut([from as usize, to as usize]) {
            copy(&from.frame.message, &mut to.frame.message);
            to.frame.message.reply = Handle::NULL;
        }
    }

    /// Ends the receive of a thread that is in no list: its message is in its frame.
    fn wake_receiver(&mut self, receiver: u32) {
        self.cancel_timeout(receiver);
        let frame = &mut self.thread_mut(receiver).frame;
        frame.outcome = Outcome::success(0);
        frame.message_out = true;
        self.make_next(receiver);
    }

    /// Gives bits of a mailbox's signal to the thread that waits there first.
    pub(crate) fn wake_with_bits(&mut self, mailbox: u32, signal: u32) {
        let Some(receiver) = self.mailbox(mailbox).receivers.first() else { return };
        let bits = self.signal(signal).take(u64::MAX);
        if bits == 0 {
            return;
        }
        self.unblock(receiver);
        let frame = &mut self.thread_mut(receiver).frame;
        frame.message = Message { label: bits, ..Message::EMPTY };
        frame.outcome = Outcome::success(1);
        frame.message_out = true;
        self.make_ready(receiver);
    }

    pub(crate) fn count_message(&mut self, thread: u32, length: u64) {
        let domain = self.space_of(thread);
        let statistics = &mut self.domain_mut(domain).statistics;
        statistics.messages += 1;
        statistics.bytes_copied += length;
    }

    /// The stored message that a member of a mailbox's queue is; `None` for a caller's thread.
    pub(crate) fn stored_message(&self, member: u32) -> Option<u32> {
        member.checked_sub(self.threads.len() as u32)
    }

    /// Takes a stored message out of its mailbox's queue.
    pub(crate) fn unqueue_message(&mut self, mailbox: u32, message: u32) {
        let member = self.threads.len() as u32 + message;
        let mailbox = &mut self.mailboxes[mailbox as usize];
        mailbox.stored -= 1;
        self.links.remove(&mut mailbox.queue, member);
    }
}
