//! The receiver's side: one mailbox, and the channels that lead to it.

use super::futex::{DirectFutex, Patience, WakeOnly};
use super::notices::{self, Notices};
use super::{Attempt, Note, Surroundings, reply_handle};
use crate::linux::monotonic;
use phi_abi::{Error, FOREVER, Handle, Message, Outcome};
use phi_ipc::ring::{AnswerMemory, Answerer, Consumer, RingMemory};

/// A channel to receive from.
pub struct Receiver {
    /// Its place in the notices.
    pub index: usize,
    badge: u64,
    rights: u32,
    consumer: Consumer<'static>,
    answerer: Answerer<'static>,
    /// Calls that were taken from it.
    calls: u64,
    /// Those of them that were not answered yet, here or through ΦCore.
    pub unanswered: u32,
    /// How often another channel's message was taken while one lay here.
    passed: u32,
}

impl Receiver {
    /// The receiver's side of a channel.
    pub fn new(
        index: usize,
        badge: u64,
        rights: u32,
        (ring, answer): (RingMemory<'static>, AnswerMemory<'static>),
    ) -> Receiver {
        let (consumer, answerer) = (Consumer::new(&ring), Answerer::new(&answer));
        let (calls, unanswered, passed) = (0, 0, 0);
        Receiver { index, badge, rights, consumer, answerer, calls, unanswered, passed }
    }

    /// The note of its next message that still counts: after a sender has gone, what it sent before.
    fn next(&self, notices: &Notices) -> Option<Note> {
        let notice = notices.channel(self.index);
        let counts = match notice.state() {
            notices::OPEN => true,
            notices::GONE | notices::DEAD => self.consumer.position() < notice.barrier(),
            _ => false,
        };
        if counts { self.consumer.peek().map(Note) } else { None }
    }

    /// Whether nothing will come of it any more.
    fn is_spent(&self, notices: &Notices) -> bool {
        let state = notices.channel(self.index).state();
        let over = state != notices::OPENING && state != notices::OPEN;
        over && self.unanswered == 0 && self.next(notices).is_none()
    }

    /// Answers a call that was taken from it; `false` if nobody waits for the answer any more.
    #[inline(always)]
    pub fn answer(&mut self, number: u64, message: &Message, notices: &Notices) -> bool {
        self.unanswered = self.unanswered.saturating_sub(1);
        // A sender that has ended gives nothing up.
        let lives = notices.channel(self.index).state() != notices::DEAD;
        lives && self.answerer.answer(number, message, &WakeOnly)
    }
}

/// A mailbox that is received from directly.
pub struct Port {
    /// Its place in the notices.
    pub index: usize,
    /// The handle that is received through.
    pub mailbox: u64,
    channels: Vec<Receiver>,
}

/// The end of a wait that ends at once.
pub const NOW: u64 = 0;

/// How often a channel is passed over, at most: as many messages as another's ring has room for.
const PASSES: u32 = 256;

/// What a look at the channels found.
enum Found {
    /// A message; and the channel and the number of its call, if it is one.
    Message(Option<(usize, u64)>),
    /// A call that there is no room for.
    NoRoom,
    /// Nothing.
    Nothing,
}

impl Port {
    /// A port without channels.
    pub fn new(index: usize, mailbox: u64) -> Port {
        Port { index, mailbox, channels: Vec::new() }
    }

    /// Nothing is received through it any more, until it is opened anew.
    pub fn close(&mut self) {
        self.mailbox = Handle::NULL.0;
        self.channels.clear();
    }

    /// Adds a channel; one with its index was removed before.
    pub fn add(&mut self, receiver: Receiver) {
        self.channels.push(receiver);
    }

    /// Removes the channel with this index.
    pub fn remove(&mut self, index: usize) {
        self.channels.retain(|channel| channel.index != index);
    }

    /// The channel with this index.
    #[inline]
    pub fn channel(&mut self, index: usize) -> Option<&mut Receiver> {
        self.channels.iter_mut().find(|channel| channel.index == index)
    }

    /// Takes the next message, or waits for it, until `end` (nanoseconds of the monotonic clock) or
    /// until ΦCore has something. `replies` says how many replies this thread holds already. A call's
    /// channel and number come out.
    #[inline(always)]
    pub fn receive(
        &mut self,
        message: &mut Message,
        end: u64,
        replies: u32,
        patience: &mut Patience,
        Surroundings { notices, inbox, page }: Surroundings<'_>,
    ) -> (Attempt, Option<(usize, u64)>) {
        let port = notices.port(self.index);
        // Who does not wait looks once.
        let mut looks = if end == NOW { 0 } else { patience.looks() };
        let mut slept = false;
        loop {
            let visit = port.visit();
            if !port.is_open() {
                return (Attempt::Usual, None);
            }
            let news = visit & 1 != 0;
            let room = port.free_slots() > replies;
            // A notice that is open may be that of a channel which is in the inbox.
            let changed = || inbox.has_news() || (!news && port.visit() != visit);
            match self.take(message, notices, news, room, changed) {
                Found::Message(call) => {
                    if !slept {
                        patience.found();
                    }
                    if let Some((channel, number)) = call {
                        message.reply = reply_handle(channel, number);
                    }
                    return (Attempt::Ended(Outcome::success(0), true), call);
                }
                Found::NoRoom => {
                    return (Attempt::Ended(Outcome::failure(Error::QuotaExceeded), false), None);
                }
                Found::Nothing => {}
            }
            if news || inbox.has_news() {
                return (if news { Attempt::Usual } else { Attempt::Again }, None);
            }
            if looks > 0 {
                // At least one, though a message that does not count lies there.
                loop {
                    looks -= 1;
                    patience.pause();
                    let news = port.visit() != visit || inbox.has_news();
                    if looks == 0 || news || self.has_message() {
                        break;
                    }
                }
                continue;
            }
            if page.has_ended() {
                return (Attempt::Leave, None);
            }
            let now = monotonic();
            if end != FOREVER && now >= end {
                return (Attempt::Ended(Outcome::failure(Error::TimedOut), false), None);
            }
            page.set_waiting(end == FOREVER);
            let futex = DirectFutex {
                also: (port.visit_word(), visit),
                end: (end != FOREVER).then_some(end),
            };
            let consumers = self.channels.iter().map(|channel| &channel.consumer);
            Consumer::wait_any(consumers, &futex, 0);
            page.set_awake();
            patience.slept(monotonic().saturating_sub(now));
            slept = true;
        }
    }

    /// Whether a channel has something, that counts or not.
    #[inline]
    fn has_message(&self) -> bool {
        self.channels.iter().any(|channel| channel.consumer.peek().is_some())
    }

    /// Takes the oldest message, unless something has `changed` meanwhile. If ΦCore has `news`, only
    /// those before a channel's barrier.
    #[inline(always)]
    fn take(
        &mut self,
        message: &mut Message,
        notices: &Notices,
        news: bool,
        room: bool,
        changed: impl Fn() -> bool,
    ) -> Found {
        loop {
            let Some((place, note)) = self.oldest(notices, news) else {
                return Found::Nothing;
            };
            // ΦCore's are older than a message that was put in after they came.
            if changed() {
                return Found::Nothing;
            }
            if note.is_call() && !room {
                return Found::NoRoom;
            }
            if let Some(call) = self.take_from(place, message, notices) {
                return Found::Message(call);
            }
        }
    }

    /// The channel whose message comes next: the one with the oldest, unless a channel was passed over
    /// more often than messages of others can have lain before it. Stamps are the senders' word.
    #[inline(always)]
    fn oldest(&mut self, notices: &Notices, news: bool) -> Option<(usize, Note)> {
        match &self.channels[..] {
            // As most have it.
            [only] if !news && notices.channel(only.index).state() == notices::OPEN => {
                only.consumer.peek().map(|note| (0, Note(note)))
            }
            _ => self.oldest_of_several(notices, news),
        }
    }

    fn oldest_of_several(&mut self, notices: &Notices, news: bool) -> Option<(usize, Note)> {
        self.channels.retain(|channel| !channel.is_spent(notices));
        let mut oldest: Option<(usize, Note)> = None;
        let mut several = false;
        for (place, channel) in self.channels.iter().enumerate() {
            let Some(note) = channel.next(notices) else { continue };
            if news && channel.consumer.position() >= notices.channel(channel.index).barrier() {
                continue;
            }
            several |= oldest.is_some();
            if channel.passed > PASSES {
                oldest = Some((place, note));
                break;
            }
            if oldest.is_none_or(|(_, other)| note.is_before(other)) {
                oldest = Some((place, note));
            }
        }
        if let (true, Some((taken, _))) = (several, oldest) {
            for (place, channel) in self.channels.iter_mut().enumerate() {
                let passed = place != taken && channel.consumer.peek().is_some();
                channel.passed = if passed { channel.passed + 1 } else { 0 };
            }
        }
        oldest
    }

    /// Takes the next message of one channel; `None` if it is void.
    #[inline(always)]
    fn take_from(
        &mut self,
        place: usize,
        message: &mut Message,
        notices: &Notices,
    ) -> Option<Option<(usize, u64)>> {
        let channel = &mut self.channels[place];
        let sent_before = channel.consumer.position() < notices.channel(channel.index).barrier();
        let note = Note(channel.consumer.pop_noted(message).ok()?);
        let open = notices.channel(channel.index).state() == notices::OPEN;
        message.badge = channel.badge;
        message.rights = channel.rights;
        if !note.is_call() {
            return (open || sent_before).then_some(None);
        }
        channel.calls = channel.calls.wrapping_add(1);
        if !open || !channel.answerer.is_awaited(channel.calls) {
            return None;
        }
        channel.unanswered += 1;
        Some(Some((channel.index, channel.calls)))
    }
}
