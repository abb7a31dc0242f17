//! Messages that a machine carries past ΦCore, and what it needs of ΦCore for that.
//!
//! A machine may let a sender put plain messages where their receiver takes them without a word from
//! ΦCore: this sees neither the message nor the call, whose thread goes on as dispatched. ΦCore says
//! what goes where and for how long ([`Kernel::destination`], [`Kernel::stands`],
//! [`Kernel::sole_receiver`]), and takes over what is under way when something unusual happens
//! ([`Kernel::adopt`], [`Kernel::absorb_call`], [`Kernel::absorb_send`]): from then on it is as if it
//! had gone through ΦCore from the beginning.

use crate::object::Activity;
use crate::{DomainIndex, Kernel, Machine, ThreadIndex};
use phi_abi::{FOREVER, Handle, Kind, Message, Outcome, Rights};
use phi_cap::{Capability, Origin, State};
use phi_ipc::{Mailbox, MailboxState, copy};
use phi_mem::NONE;

/// Where messages through a capability go, and what their receiver learns of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Destination {
    /// Id of the capability.
    pub capability: u64,
    /// Index of the mailbox.
    pub mailbox: u32,
    /// The capability's badge.
    pub badge: u64,
    /// The capability's rights.
    pub rights: Rights,
}

/// How a call that a machine carried goes on in ΦCore.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Carried {
    /// The calling thread, which is dispatched.
    pub caller: ThreadIndex,
    /// The handle that it called through.
    pub handle: Handle,
    /// What is left of its timeout in nanoseconds, or [`FOREVER`].
    pub timeout: u64,
}

impl<M: Machine> Kernel<M> {
    /// Where messages of `domain` through `handle` go; `None` if they would go nowhere.
    pub fn destination(&self, domain: DomainIndex, handle: Handle) -> Option<Destination> {
        let entry = self.capabilities.find(u32::from(domain.0), handle)?;
        let Capability { id, kind, object, badge, rights, .. } = *self.capabilities.get(entry);
        let address = matches!(kind, Kind::Mailbox | Kind::Object);
        let stands = address && self.capabilities.standing(entry) == State::Held;
        let open = || self.mailboxes[object as usize].state == MailboxState::Open;
        let destination = Destination { capability: id, mailbox: object, badge, rights };
        (stands && open()).then_some(destination)
    }

    /// Whether `domain` still has this capability at `handle`, and how it stands.
    pub fn stands(&self, domain: DomainIndex, handle: Handle, capability: u64) -> Option<State> {
        let entry = self.capabilities.find(u32::from(domain.0), handle)?;
        let same = self.capabilities.get(entry).id == capability;
        same.then(|| self.capabilities.standing(entry))
    }

    /// The mailbox that `domain` may receive from through `handle`.
    pub fn reception(&self, domain: DomainIndex, handle: Handle) -> Option<u32> {
        let entry = self.capabilities.find(u32::from(domain.0), handle)?;
        let Capability { kind, object, rights, .. } = *self.capabilities.get(entry);
        let receives = kind == Kind::Mailbox
            && rights.contains(Rights::RECEIVE)
            && self.capabilities.standing(entry) == State::Held;
        receives.then_some(object)
    }

    /// The domain that alone may receive from a mailbox; `None` if several may, or nobody.
    pub fn sole_receiver(&self, mailbox: u32) -> Option<DomainIndex> {
        let mut sole = None;
        let mut next = self.capabilities.first_of(self.anchors.of(Kind::Mailbox, mailbox));
        while let Some(entry) = next {
            next = self.capabilities.after(entry);
            let Capability { kind, rights, .. } = *self.capabilities.get(entry);
            let receives = kind == Kind::Mailbox && rights.contains(Rights::RECEIVE);
            if !receives || self.capabilities.standing(entry) != State::Held {
                continue;
            }
            // One that travels in a message may arrive anywhere.
            let space = self.capabilities.space(entry)?;
            if sole.is_some_and(|other| other != space) {
                return None;
            }
            sole = Some(space);
        }
        sole.map(|space| DomainIndex(space as u16))
    }

    /// Whether a receive from a mailbox would end at once.
    pub fn has_news(&self, mailbox: u32) -> bool {
        let Mailbox { state, queue, signal, .. } = self.mailboxes[mailbox as usize];
        let bits = || signal != NONE && self.signals[signal as usize].bits != 0;
        state != MailboxState::Open || !queue.is_empty() || bits()
    }

    /// Says how many sent messages for a mailbox the machine holds: they count against its capacity.
    pub fn set_carried(&mut self, mailbox: u32, messages: u32) {
        self.mailbox(mailbox).carried = messages;
    }

    /// Takes a thread out of a receive that has not ended: it is dispatched again, and its call has
    /// no outcome. `false` if it does not wait for a message.
    pub fn withdraw(&mut self, thread: ThreadIndex) -> bool {
        let index = u32::from(thread.0);
        let receives = matches!(self.thread(index).activity, Activity::Receiving(_));
        if receives {
            self.unblock(index);
            self.thread_mut(index).activity = Activity::Dispatched;
        }
        receives
    }

    /// Counts what a domain has called and sent past ΦCore, modulo 2^64: what it counted too much before
    /// is negative.
    pub fn count_carried(&mut self, domain: DomainIndex, calls: u64, messages: u64, bytes: u64) {
        let statistics = &mut self.domain_mut(u32::from(domain.0)).statistics;
        // A domain may claim any numbers for itself.
        statistics.calls = statistics.calls.wrapping_add(calls);
        statistics.messages = statistics.messages.wrapping_add(messages);
        statistics.bytes_copied = statistics.bytes_copied.wrapping_add(bytes);
    }

    /// A call that the machine delivered to `server` is ΦCore's from now on; the reply capability's
    /// handle. A call that was `given_up` meanwhile has a dead one. [`Handle::NULL`] if the server has
    /// no slot, and then the call ends with `Dead`.
    pub fn adopt(&mut self, call: Carried, server: DomainIndex, given_up: bool) -> Handle {
        let caller = u32::from(call.caller.0);
        let reply = Capability::new(Kind::Reply, Kind::Reply.rights(), caller, 0);
        let anchor = self.anchors.of(Kind::Reply, caller);
        let inserted = self.capabilities.insert(u32::from(server.0), reply, anchor);
        if given_up {
            if let Some((entry, _)) = inserted {
                self.capabilities.bury(entry, State::Dead);
            }
        } else if self.is_dispatched(call.caller) {
            self.block_carried(call, Activity::Served);
            if inserted.is_none() {
                self.fail(caller, phi_abi::Error::Dead);
            }
        }
        inserted.map_or(Handle::NULL, |(_, handle)| handle)
    }

    /// A call that the machine delivered ends with `Dead`: who received it is gone.
    pub fn lose_carried(&mut self, call: Carried) {
        if self.is_dispatched(call.caller) {
            self.block_carried(call, Activity::Served);
            self.fail(u32::from(call.caller.0), phi_abi::Error::Dead);
        }
    }

    /// A call that the machine has not delivered yet waits at a mailbox of ΦCore's from now on.
    pub fn absorb_call(&mut self, call: Carried, mailbox: u32, message: &Message) {
        if !self.is_dispatched(call.caller) {
            return;
        }
        let caller = u32::from(call.caller.0);
        copy(message, &mut self.thread_mut(caller).frame.message);
        self.block_carried(call, Activity::Calling(mailbox));
        self.links.push_back(&mut self.mailboxes[mailbox as usize].queue, caller);
    }

    /// A sent message that the machine has not delivered yet is stored in a mailbox of ΦCore's. Beyond its
    /// capacity none is: a sender that does not keep to the rules must not take the room of other mailboxes.
    pub fn absorb_send(&mut self, mailbox: u32, message: &Message) {
        let Mailbox { stored, capacity, .. } = *self.mailbox(mailbox);
        if stored >= capacity {
            return;
        }
        // There are as many places as all capacities together.
        let Some(place) = self.messages.store(message) else { return };
        let member = self.threads.len() as u32 + place;
        let mailbox = &mut self.mailboxes[mailbox as usize];
        mailbox.stored += 1;
        self.links.push_back(&mut mailbox.queue, member);
    }

    fn block_carried(&mut self, call: Carried, activity: Activity) {
        let caller = u32::from(call.caller.0);
        let entry = self.capabilities.find(self.space_of(caller), call.handle);
        let origin = entry.map_or(Origin::ROOT, |entry| self.capabilities.get(entry).origin);
        self.set_origin(caller, origin);
        let held = self.thread_mut(caller);
        held.activity = activity;
        held.lends = false;
        held.frame.outcome = Outcome::success(0);
        held.frame.message_out = false;
        if call.timeout != FOREVER {
            self.set_timeout(caller, call.timeout);
        }
    }
}
