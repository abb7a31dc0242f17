//! The supervisor's side: which channels there are, when one opens and how it ends.

mod opening;
mod view;

use super::channel::ChannelMemory;
use super::futex::WakeOnly;
use super::notices::{self, ChannelNotice, PortNotice};
use super::{Note, call_number, reply_channel, room};
use crate::linux::machine::{LinuxMachine, Seat};
use crate::linux::monotonic;
use phi_abi::{FOREVER, Handle, Message, Number, Rights};
use phi_cap::State;
use phi_core::{Activity, Carried, Destination, Kernel, ThreadIndex};
use phi_ipc::MailboxState;
use phi_ipc::ring::Consumer;
use phi_sim::recording::{Input, Traced};
use std::collections::{BTreeMap, HashMap};

pub(super) type LinuxKernel<'a> = Kernel<Traced<LinuxMachine<'a>>>;

/// A mailbox that a thread receives from directly.
pub(super) struct Port {
    pub(super) mailbox: u32,
    thread: ThreadIndex,
    seat: Seat,
    /// Its place in the receiver's notices.
    index: usize,
    /// Messages that ΦCore stored when its room was last shared out; none if channels have come or gone
    /// since.
    pub(super) shared: Option<u32>,
}

/// One channel.
pub(super) struct Channel {
    pub(super) mailbox: u32,
    pub(super) thread: ThreadIndex,
    pub(super) handle: Handle,
    capability: u64,
    sender: Seat,
    /// Its place in the sender's notices.
    sender_index: usize,
    receiver: Seat,
    /// Its place in the receiver's notices.
    receiver_index: usize,
    badge: u64,
    rights: Rights,
    pub(super) memory: ChannelMemory,
    pub(super) state: u32,
    /// Whether its sender has a part of the mailbox's room.
    pub(super) sends: bool,
    /// Messages that had been put into it when room was last asked for.
    pub(super) put: u64,
}

impl Channel {
    pub(super) fn sender_notice<'k>(
        &self,
        kernel: &'k LinuxKernel<'_>,
    ) -> Option<&'k ChannelNotice> {
        let notices = kernel.machine().notices(self.sender.start)?;
        Some(notices.channel(self.sender_index))
    }

    fn receiver_notice<'k>(&self, kernel: &'k LinuxKernel<'_>) -> Option<&'k ChannelNotice> {
        let notices = kernel.machine().notices(self.receiver.start)?;
        Some(notices.channel(self.receiver_index))
    }

    /// Sent messages and calls that lie in the ring.
    pub(super) fn waiting(&self) -> (u32, u64) {
        let ring = self.memory.parts().0;
        let mut counts = (0, 0);
        for note in ring.notes(ring.taken()) {
            counts.0 += u32::from(!Note(note).is_call());
            counts.1 += 1;
        }
        counts
    }

    /// Position before which all messages that are there now lie.
    pub(super) fn barrier(&self) -> u64 {
        let ring = self.memory.parts().0;
        ring.taken().wrapping_add(self.waiting().1)
    }
}

/// What a call that went through ΦCore was about, as far as channels are concerned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sent {
    /// It passed capabilities on.
    Capabilities,
    /// It started a thread.
    Thread,
    /// It sent a plain message through this handle.
    Message(Handle),
    /// It called with a plain message through this handle.
    Call(Handle),
}

impl Sent {
    /// What `input` is about; `None` if it changes nothing for channels.
    pub fn of(input: &Input) -> Option<Sent> {
        let Input::Call { number, arguments, message, .. } = input else { return None };
        if message.is_some_and(|message| message.grant_count > 0) {
            return Some(Sent::Capabilities);
        }
        let handle = Handle(arguments[0]);
        match Number::from_number(*number)? {
            Number::ThreadCreate => Some(Sent::Thread),
            Number::Send => Some(Sent::Message(handle)),
            Number::Call => Some(Sent::Call(handle)),
            _ => None,
        }
    }
}

/// All channels of the system.
pub struct Switchboard {
    pub(super) channels: Vec<Channel>,
    pub(super) ports: Vec<Port>,
    /// Plain messages that a thread has sent through a handle by way of ΦCore.
    heat: HashMap<(ThreadIndex, Handle), u32>,
    /// The mailbox and the handle that each thread last received through.
    receptions: BTreeMap<ThreadIndex, (u32, Handle)>,
    /// Messages after which a channel opens; none for never.
    after: Option<u32>,
}

/// Senders that may warm up at one time; then all begin anew.
const WARMING: usize = 4096;

impl Switchboard {
    /// Without channels. One opens after so many plain messages through a capability, or never.
    pub fn new(after: Option<u32>) -> Switchboard {
        Switchboard {
            channels: Vec::new(),
            ports: Vec::new(),
            heat: HashMap::new(),
            receptions: BTreeMap::new(),
            after,
        }
    }

    /// Whether there is no channel.
    pub fn is_empty(&self) -> bool {
        self.ports.is_empty()
    }

    /// How many open channels have lost their sender or their receiver.
    pub fn without_sides(&self, machine: &LinuxMachine<'_>) -> usize {
        let lacks = |channel: &&Channel| {
            machine.notices(channel.receiver.start).is_none()
                || machine.seat(channel.thread) != Some(channel.sender)
        };
        self.channels.iter().filter(lacks).count()
    }

    /// Before ΦCore sees a call: what was under way on channels is put in order.
    pub fn before(
        &mut self,
        kernel: &mut LinuxKernel<'_>,
        thread: ThreadIndex,
        number: u32,
        arguments: &mut [u64; 4],
        message: Option<&mut Message>,
    ) {
        if self.after.is_none() {
            return;
        }
        self.absorb_late(kernel, thread);
        self.adopt(kernel, thread, arguments, message);
        match Number::from_number(number) {
            Some(Number::Send | Number::Call) => {
                let domain = kernel.domain_of(thread);
                if let Some(Destination { mailbox, .. }) =
                    kernel.destination(domain, Handle(arguments[0]))
                {
                    self.set_barriers(kernel, thread, mailbox);
                }
            }
            Some(Number::Receive) => self.note_reception(kernel, thread, arguments[0]),
            Some(Number::ReplyReceive) => self.note_reception(kernel, thread, arguments[1]),
            Some(Number::DomainInspect) => count(kernel),
            _ => {}
        }
    }

    fn note_reception(&mut self, kernel: &LinuxKernel<'_>, thread: ThreadIndex, handle: u64) {
        let handle = Handle(handle);
        if let Some(mailbox) = kernel.reception(kernel.domain_of(thread), handle) {
            self.receptions.insert(thread, (mailbox, handle));
        }
    }

    /// Has what lies in the channels to a mailbox come before what ΦCore is about to put there for
    /// `thread`, and count against its capacity.
    ///
    /// While ΦCore stores messages already, that is so for what the thread itself has sent, and no more:
    /// what others put into their channels meanwhile is newer than what they may have stored, and would
    /// come before that as well.
    fn set_barriers(&mut self, kernel: &mut LinuxKernel<'_>, thread: ThreadIndex, mailbox: u32) {
        let stores = kernel.mailboxes()[mailbox as usize].stored > 0;
        let mut carried = 0;
        for channel in self.channels.iter().filter(|channel| channel.mailbox == mailbox) {
            if channel.state != notices::OPEN {
                continue;
            }
            carried += channel.waiting().0;
            let moves = !stores || channel.thread == thread;
            if let Some(notice) = channel.receiver_notice(kernel).filter(|_| moves) {
                notice.set_barrier(channel.barrier());
            }
        }
        kernel.set_carried(mailbox, carried);
    }

    /// Has ΦCore take over the calls whose replies a thread names.
    fn adopt(
        &mut self,
        kernel: &mut LinuxKernel<'_>,
        thread: ThreadIndex,
        arguments: &mut [u64; 4],
        message: Option<&mut Message>,
    ) {
        let Some(page) = kernel.machine().page(thread) else { return };
        let replies = page.read_adoptions();
        if replies.is_empty() {
            return;
        }
        let adopted: Vec<Handle> = replies
            .iter()
            .map(|(handle, number)| self.adopt_one(kernel, thread, *handle, *number))
            .collect();
        if let Some(page) = kernel.machine().page(thread) {
            page.write_adopted(&adopted);
        }
        let translate = |handle: &mut u64| {
            let place = replies.iter().position(|(reply, _)| reply.0 == *handle);
            if let Some(place) = place {
                *handle = adopted[place].0;
            }
        };
        translate(&mut arguments[0]);
        if let Some(message) = message {
            let count = message.grants().len();
            message.grants[..count].iter_mut().for_each(|grant| translate(&mut grant.handle.0));
        }
    }

    /// Has ΦCore take over call `number` on the channel that `handle` names, which `server` took.
    fn adopt_one(
        &self,
        kernel: &mut LinuxKernel<'_>,
        server: ThreadIndex,
        handle: Handle,
        number: u64,
    ) -> Handle {
        let domain = kernel.domain_of(server);
        let seat = kernel.machine().seat(server);
        let index = reply_channel(handle);
        let of_reply = |channel: &&Channel| {
            Some(channel.receiver) == seat && Some(channel.receiver_index) == index
        };
        let channel = self.channels.iter().find(of_reply);
        let taken = channel.and_then(|channel| take_over(kernel, channel, |call| call == number));
        match taken {
            Some(carried) => {
                let reply = kernel.adopt(carried, domain, false);
                kernel.machine_mut().note_adopted(carried.caller);
                reply
            }
            None => {
                let nobody = Carried { caller: server, handle: Handle::NULL, timeout: FOREVER };
                kernel.adopt(nobody, domain, true)
            }
        }
    }

    /// After ΦCore has done a call: opens and closes channels as it calls for.
    pub fn after(&mut self, kernel: &mut LinuxKernel<'_>, thread: ThreadIndex, sent: Sent) {
        let Some(after) = self.after else { return };
        let handle = match sent {
            // Others may receive now.
            Sent::Capabilities | Sent::Thread => return self.close_shared(kernel),
            Sent::Message(handle) => {
                self.ask_for_room(kernel, thread, handle);
                handle
            }
            Sent::Call(handle) => handle,
        };
        if self.heat.len() >= WARMING {
            self.heat.clear();
        }
        let heat = self.heat.entry((thread, handle)).or_default();
        *heat += 1;
        if *heat >= after {
            self.heat.remove(&(thread, handle));
            self.open(kernel, thread, handle);
        }
    }

    /// Closes the channels to mailboxes that no longer have one thread alone as receiver.
    fn close_shared(&mut self, kernel: &mut LinuxKernel<'_>) {
        let mailboxes: Vec<u32> = self
            .ports
            .iter()
            .filter(|port| {
                let domain = port.seat.start.domain;
                kernel.sole_receiver(port.mailbox) != Some(domain)
                    || kernel.account(domain).threads != 1
            })
            .map(|port| port.mailbox)
            .collect();
        for mailbox in mailboxes {
            kernel.set_carried(mailbox, 0);
            for place in 0..self.channels.len() {
                let channel = &self.channels[place];
                if channel.mailbox == mailbox && channel.state != notices::CLOSED {
                    self.set_state(kernel, place, notices::CLOSED);
                    absorb(kernel, &self.channels[place]);
                }
            }
            for port in self.ports.extract_if(.., |port| port.mailbox == mailbox) {
                if let Some(notice) = port_notice(kernel, &port) {
                    notice.set_open(false);
                }
            }
        }
    }

    /// Tells both sides that a channel is in another state.
    fn set_state(&mut self, kernel: &LinuxKernel<'_>, place: usize, state: u32) {
        self.share_anew(self.channels[place].mailbox);
        let channel = &mut self.channels[place];
        channel.state = state;
        let sender = channel.sender_notice(kernel);
        let received = match state {
            // For the receiver it is the same: the sender has no more to do with it.
            notices::REVOKED => notices::GONE,
            notices::GONE if sender.is_none() => notices::DEAD,
            state => state,
        };
        if let Some(notice) = sender {
            notice.set_state(state);
        }
        if let Some(notice) = channel.receiver_notice(kernel) {
            notice.set_barrier(channel.barrier());
            notice.set_state(received);
        }
    }

    /// What a sender has put into a channel as it was closed is absorbed now that it comes by.
    fn absorb_late(&mut self, kernel: &mut LinuxKernel<'_>, thread: ThreadIndex) {
        let closed =
            |channel: &Channel| channel.state == notices::CLOSED && channel.thread == thread;
        if !self.channels.iter().any(closed) {
            return;
        }
        for channel in self.channels.iter().filter(|channel| closed(channel)) {
            absorb(kernel, channel);
        }
        self.channels.retain(|channel| !closed(channel));
    }

    /// Brings channels and notices in line with what ΦCore has done.
    pub fn tend(&mut self, kernel: &mut LinuxKernel<'_>) {
        if self.ports.is_empty() && self.channels.is_empty() {
            return;
        }
        for place in 0..self.channels.len() {
            if self.channels[place].state == notices::OPEN {
                self.check(kernel, place);
            }
        }
        let machine = kernel.machine();
        self.channels.retain(|channel| {
            let sender = machine.seat(channel.thread) == Some(channel.sender);
            let receiver = machine.notices(channel.receiver.start).is_some();
            let drained = || channel.waiting().1 == 0;
            let stays = match channel.state {
                notices::OPEN => true,
                notices::CLOSED => sender,
                _ => receiver && !drained(),
            };
            if !stays {
                room::share_anew(&mut self.ports, channel.mailbox);
            }
            stays
        });
        self.ports.retain(|port| machine.seat(port.thread) == Some(port.seat));
        self.share_again(kernel);
        for port in &self.ports {
            // First, since a receiver that is released looks at once.
            if let Some(notice) = port_notice(kernel, port) {
                let slots = kernel.account(port.seat.start.domain).free_handles;
                notice.set_free_slots(slots);
                notice.set_news(kernel.has_news(port.mailbox));
            }
            if kernel.activity(port.thread) == Activity::Receiving(port.mailbox)
                && kernel.withdraw(port.thread)
            {
                kernel.machine_mut().release_to_channels(port.thread);
            }
        }
    }

    /// Ends an open channel whose capability, sender or receiver has ended.
    fn check(&mut self, kernel: &mut LinuxKernel<'_>, place: usize) {
        let channel = &self.channels[place];
        let (domain, handle) = (channel.sender.start.domain, channel.handle);
        let machine = kernel.machine();
        let gone = machine.notices(channel.receiver.start).is_none();
        let sends = machine.seat(channel.thread) == Some(channel.sender);
        let mailbox = &kernel.mailboxes()[channel.mailbox as usize];
        if gone && sends && mailbox.planned && mailbox.state == MailboxState::Open {
            return self.keep(kernel, place);
        }
        let state = if gone {
            notices::DEAD
        } else if !sends {
            notices::GONE
        } else {
            match kernel.stands(domain, handle, channel.capability) {
                Some(State::Held) => return,
                Some(State::Revoked) => notices::REVOKED,
                Some(State::Dead) => notices::DEAD,
                _ => notices::GONE,
            }
        };
        let (start, index) = (channel.sender.start, channel.sender_index);
        let call = machine.carried(channel.thread).filter(|call| call.channel == index);
        self.set_state(kernel, place, state);
        if state == notices::REVOKED {
            if let Some(call) = call {
                self.channels[place].memory.parts().1.give_up(call.number);
            }
            let slots = self.channels[place].memory.slots();
            kernel.machine_mut().take_channel(start, index, slots);
            // What the sender has put in until then was sent before the revocation.
            let channel = &self.channels[place];
            if let Some(notice) = channel.receiver_notice(kernel) {
                notice.set_barrier(channel.barrier());
            }
        }
    }
}

impl Switchboard {
    /// The receiver has made room for another image: what it has not taken waits for that one.
    fn keep(&mut self, kernel: &mut LinuxKernel<'_>, place: usize) {
        self.set_state(kernel, place, notices::CLOSED);
        let channel = &self.channels[place];
        absorb(kernel, channel);
        if let Some(carried) = take_over(kernel, channel, |_| true) {
            kernel.lose_carried(carried);
            kernel.machine_mut().note_adopted(carried.caller);
        }
        kernel.set_carried(channel.mailbox, 0);
    }
}

fn port_notice<'k>(kernel: &'k LinuxKernel<'_>, port: &Port) -> Option<&'k PortNotice> {
    Some(kernel.machine().notices(port.seat.start)?.port(port.index))
}

/// Counts what domains have done past ΦCore.
pub fn count(kernel: &mut LinuxKernel<'_>) {
    for (domain, tally) in kernel.machine_mut().take_tallies() {
        kernel.count_carried(domain, tally.calls, tally.messages, tally.bytes);
    }
}

/// Takes the call that is under way on a channel away from it, if its number is right: what ΦCore has to
/// know of it.
fn take_over(
    kernel: &LinuxKernel<'_>,
    channel: &Channel,
    right: impl FnOnce(u64) -> bool,
) -> Option<Carried> {
    let machine = kernel.machine();
    let call = machine.carried(channel.thread)?;
    if call.channel != channel.sender_index || !right(call.number) {
        return None;
    }
    if machine.seat(channel.thread) != Some(channel.sender) {
        return None;
    }
    let page = machine.page(channel.thread)?;
    // First, since the caller looks at once.
    page.set_adopted(true);
    let answer = channel.memory.parts().1;
    if !answer.give_up(call.number) {
        page.set_adopted(false);
        return None;
    }
    answer.wake_caller(&WakeOnly);
    let timeout = match call.end {
        FOREVER => FOREVER,
        end => end.saturating_sub(monotonic()),
    };
    Some(Carried { caller: channel.thread, handle: channel.handle, timeout })
}

/// Takes what lies in a channel that was closed, and that its receiver takes nothing from any more, into
/// ΦCore.
fn absorb(kernel: &mut LinuxKernel<'_>, channel: &Channel) {
    let ring = channel.memory.parts().0;
    let mut consumer = Consumer::resume(&ring, ring.taken());
    let mut message = Message::EMPTY;
    for _ in 0..channel.memory.slots() {
        let Ok(note) = consumer.pop_noted(&mut message) else { break };
        message.badge = channel.badge;
        message.rights = channel.rights.bits();
        let note = Note(note);
        if !note.is_call() {
            kernel.absorb_send(channel.mailbox, &message);
        } else if let Some(carried) =
            take_over(kernel, channel, |number| call_number(number) == note.number())
        {
            kernel.absorb_call(carried, channel.mailbox, &message);
            kernel.machine_mut().note_adopted(carried.caller);
        }
    }
}
