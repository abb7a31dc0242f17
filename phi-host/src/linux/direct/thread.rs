//! One thread's channels, and its calls as far as they can be made through them.

use super::REPLIES;
use super::channel;
use super::client::Sender;
use super::futex::Patience;
use super::inbox::{Inbox, Opened, Side};
use super::notices::{self, Notices};
use super::server::{NOW, Port, Receiver};
use crate::linux::control::ThreadPage;
use crate::linux::monotonic;
use phi_abi::{Error, FOREVER, Handle, MESSAGE_BYTES, Message, Mode, Number, Outcome};

/// What came of a call that was to take the direct path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Attempt {
    /// It has ended; and whether a message came out.
    Ended(Outcome, bool),
    /// It has to go through ΦCore.
    Usual,
    /// What is left of it is a receive with this timeout, which has to go through ΦCore.
    Receive(u64),
    /// The message is in a channel that was closed meanwhile: the supervisor must be called, with
    /// anything, and then the call has ended so.
    Nudge(Outcome),
    /// ΦCore has taken the call over: its end will stand in the thread's page.
    Adopted,
    /// Once more.
    Again,
    /// The thread shall leave the service.
    Leave,
}

/// A reply that stands for a call on a channel.
struct Reply {
    handle: Handle,
    port: usize,
    /// The channel, unless it is gone.
    channel: Option<usize>,
    number: u64,
    /// The capability that ΦCore has made of it.
    adopted: Option<Handle>,
}

/// What a thread shares with its domain.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// What the supervisor says.
    pub notices: &'a Notices,
    /// Where new channels come from.
    pub inbox: &'a Inbox,
    /// The thread's page.
    pub page: &'a ThreadPage,
}

/// One thread's channels.
pub struct DirectThread {
    senders: Vec<Sender>,
    ports: Vec<Port>,
    replies: Vec<Reply>,
    calling: Patience,
    receiving: Patience,
}

impl DirectThread {
    /// A thread without channels, on so many processors.
    pub fn new(processors: usize) -> DirectThread {
        DirectThread {
            senders: Vec::new(),
            ports: Vec::new(),
            replies: Vec::new(),
            calling: Patience::new(processors),
            receiving: Patience::new(processors),
        }
    }

    #[inline]
    fn sender(&self, handle: u64) -> Option<usize> {
        self.senders.iter().position(|sender| sender.handle == handle)
    }

    #[inline]
    fn port(&self, mailbox: u64) -> Option<usize> {
        self.ports.iter().position(|port| port.mailbox == mailbox)
    }

    #[inline]
    fn reply(&self, handle: Handle) -> Option<usize> {
        self.replies.iter().position(|reply| reply.handle == handle)
    }

    /// Takes new channels from the inbox.
    #[cold]
    fn open(&mut self, inbox: &Inbox) {
        for Opened { index, address, slots, side } in inbox.take() {
            // SAFETY: who puts a channel into the inbox has mapped its memory, which stays mapped for as
            // long as the domain is loaded, and so as this thread may run.
            let parts = unsafe { channel::parts(address, slots as usize) };
            let (Some(parts), index) = (parts, index as usize) else { continue };
            match side {
                Side::Sender { handle, rights } => {
                    self.senders.retain(|sender| sender.index != index && sender.handle != handle);
                    self.senders.push(Sender::new(index, handle, rights, parts));
                }
                Side::Receiver { port, mailbox, badge, rights } => {
                    // Nobody waits any more for answers to the calls of an older channel in its place.
                    for reply in &mut self.replies {
                        reply.channel = reply.channel.filter(|channel| *channel != index);
                    }
                    self.ports.iter_mut().for_each(|port| port.remove(index));
                    let place = self.place_of(port as usize, mailbox);
                    self.ports[place].add(Receiver::new(index, badge, rights, parts));
                }
            }
        }
    }

    /// The place of a port, which is made where there is none.
    fn place_of(&mut self, index: usize, mailbox: u64) -> usize {
        let found = self.ports.iter().position(|port| port.index == index);
        let place = found.unwrap_or(self.ports.len());
        if found.is_none() {
            self.ports.push(Port::new(index, mailbox));
        }
        self.ports[place].mailbox = mailbox;
        place
    }

    /// Makes a call with `message` through a channel, if it can be.
    // All of the way of a message is inlined into the entry stub: what it hands from one function to the
    // next lies in registers then.
    #[inline(always)]
    pub fn attempt(
        &mut self,
        number: u32,
        arguments: &[u64; 4],
        message: &mut Message,
        around: Surroundings<'_>,
    ) -> Attempt {
        if around.inbox.has_news() {
            self.open(around.inbox);
        }
        let Some(number) = Number::from_number(number) else { return Attempt::Usual };
        let carries = number.description().message_in;
        let plain = message.grant_count == 0 && usize::from(message.length) <= MESSAGE_BYTES;
        if carries && !plain {
            return Attempt::Usual;
        }
        let [first, second, third, _] = *arguments;
        match number {
            Number::Send | Number::Call => self.through(number, first, second, message, around),
            Number::Receive => {
                let Some(place) = self.port(first) else { return Attempt::Usual };
                around.page.count_call();
                self.receive(place, second, message, around)
            }
            Number::Reply => self.answer(Handle(first), message, around),
            Number::ReplyReceive => {
                let Some(place) = self.port(second) else { return Attempt::Usual };
                match self.answer(Handle(first), message, around) {
                    Attempt::Ended(Outcome { status: 0, .. }, _) => {
                        // Counted as one call, with the answer.
                        self.receive(place, third, message, around)
                    }
                    attempt => attempt,
                }
            }
            _ => Attempt::Usual,
        }
    }

    #[inline(always)]
    fn through(
        &mut self,
        number: Number,
        handle: u64,
        timeout: u64,
        message: &mut Message,
        around: Surroundings<'_>,
    ) -> Attempt {
        let Some(place) = self.sender(handle) else { return Attempt::Usual };
        let sender = &mut self.senders[place];
        let notice = around.notices.channel(sender.index);
        match notice.state() {
            notices::OPEN => {}
            notices::OPENING => return Attempt::Usual,
            _ => {
                self.senders.swap_remove(place);
                return Attempt::Usual;
            }
        }
        // A notice that is open again may be another channel's, which is in the inbox then.
        if around.inbox.has_news() {
            return Attempt::Again;
        }
        match number {
            Number::Send => sender.send(message, notice, around.page),
            _ => sender.call(message, timeout, notice, around.page, &mut self.calling),
        }
    }

    #[inline(always)]
    fn receive(
        &mut self,
        place: usize,
        timeout: u64,
        message: &mut Message,
        around: Surroundings<'_>,
    ) -> Attempt {
        let carried = self.replies.iter().filter(|reply| reply.adopted.is_none()).count();
        if carried >= REPLIES {
            // On its way ΦCore adopts them.
            around.page.uncount_call();
            return Attempt::Receive(timeout);
        }
        let end = match timeout {
            FOREVER => FOREVER,
            0 => NOW,
            _ => monotonic().saturating_add(timeout),
        };
        loop {
            let port = &mut self.ports[place];
            let (attempt, call) =
                port.receive(message, end, carried as u32, &mut self.receiving, around);
            if let Some((channel, number)) = call {
                let (handle, channel, adopted) = (message.reply, Some(channel), None);
                self.replies.push(Reply { handle, port: place, channel, number, adopted });
            }
            match attempt {
                Attempt::Again => self.open(around.inbox),
                Attempt::Usual => {
                    // ΦCore counts it.
                    around.page.uncount_call();
                    if !around.notices.port(self.ports[place].index).is_open() {
                        // Its calls' replies have been adopted.
                        self.ports[place].close();
                    }
                    let left = || end.saturating_sub(monotonic());
                    return Attempt::Receive(if end == FOREVER { FOREVER } else { left() });
                }
                attempt => return attempt,
            }
        }
    }

    #[inline(always)]
    fn answer(&mut self, handle: Handle, message: &Message, around: Surroundings<'_>) -> Attempt {
        let Some(place) = self.reply(handle) else { return Attempt::Usual };
        if self.replies[place].adopted.is_some() {
            return Attempt::Usual;
        }
        let Reply { port, channel, number, .. } = self.replies.swap_remove(place);
        let port = self.ports.get_mut(port);
        let channel = port.and_then(|port| port.channel(channel?));
        around.page.count_carried(message.length);
        if channel.is_some_and(|channel| channel.answer(number, message, around.notices)) {
            Attempt::Ended(Outcome::success(0), false)
        } else {
            // It was a call all the same.
            around.page.uncount_carried(message.length);
            around.page.count_call();
            Attempt::Ended(Outcome::failure(Error::Dead), false)
        }
    }

    /// Before a call goes through ΦCore: puts ΦCore's own handles in the place of those that stand for
    /// adopted replies, and has it adopt the others if the call needs that.
    pub fn before(
        &self,
        number: u32,
        arguments: &mut [u64; 4],
        message: Option<&mut Message>,
        page: &ThreadPage,
    ) {
        if self.replies.is_empty() {
            return;
        }
        let mut named = false;
        let mut translate = |handle: &mut u64| {
            if let Some(place) = self.reply(Handle(*handle)) {
                match self.replies[place].adopted {
                    Some(adopted) => *handle = adopted.0,
                    None => named = true,
                }
            }
        };
        translate(&mut arguments[0]);
        let mut passes = false;
        if let Some(message) = message {
            let count = message.grants().len();
            passes = count > 0;
            message.grants[..count].iter_mut().for_each(|grant| translate(&mut grant.handle.0));
        }
        // What passes a mailbox on may end the direct path to it.
        if named || passes || Number::from_number(number).is_some_and(takes_slots) {
            let carried = self.replies.iter().filter(|reply| reply.adopted.is_none());
            page.write_adoptions(carried.map(|reply| (reply.handle, reply.number)));
        }
    }

    /// After a call went through ΦCore: `arguments` and `message` are the service's own. Learns what was
    /// adopted, and forgets the replies that the call has used up.
    pub fn after(
        &mut self,
        number: u32,
        arguments: &[u64; 4],
        message: Option<&Message>,
        outcome: Outcome,
        page: &ThreadPage,
    ) {
        if self.replies.is_empty() {
            return;
        }
        for (handle, adopted) in page.take_adoptions() {
            let Some(place) = self.reply(handle) else { continue };
            let Reply { port, channel, .. } = self.replies[place];
            self.replies[place].adopted = Some(adopted);
            let port = self.ports.get_mut(port);
            let channel = port.and_then(|port| port.channel(channel?));
            if let Some(channel) = channel {
                channel.unanswered = channel.unanswered.saturating_sub(1);
            }
        }
        let number = Number::from_number(number);
        let uses =
            matches!(number, Some(Number::Reply | Number::ReplyReceive | Number::CapabilityDrop));
        let answered = number == Some(Number::ReplyReceive);
        let done = outcome.status == 0 || outcome.status == Error::Dead as u64;
        // A receive that fails comes after its answer.
        if uses && (done || (answered && outcome.status != Error::Denied as u64)) {
            self.replies.retain(|reply| reply.handle.0 != arguments[0]);
        }
        if outcome.status == 0 {
            let grants = message.map_or(&[][..], |message| message.grants());
            let moved = |handle: Handle| {
                let moves = |mode: u32| mode == Mode::Move as u32;
                grants.iter().any(|grant| grant.handle == handle && moves(grant.mode))
            };
            self.replies.retain(|reply| !moved(reply.handle));
        }
    }
}

/// Whether a call may need a slot of the caller's capability table.
fn takes_slots(number: Number) -> bool {
    matches!(
        number,
        Number::CapabilityDerive
            | Number::ObjectMint
            | Number::RegionCreate
            | Number::MailboxCreate
            | Number::Call
            | Number::Receive
            | Number::ReplyReceive
            | Number::SignalCreate
            | Number::ThreadCreate
            | Number::DeviceRegion
            | Number::IrqCreate
            | Number::DmaSpaceCreate
    )
}
