//! The sender's side of a channel.

use super::futex::{DirectFutex, Patience, WakeOnly};
use super::notices::{self, ChannelNotice};
use super::{Attempt, Note};
use crate::linux::control::{Carrying, ThreadPage};
use crate::linux::monotonic;
use phi_abi::{Error, FOREVER, Message, Outcome, Rights};
use phi_ipc::ring::{AnswerMemory, Caller, Ended, Producer, RingMemory};

/// A channel to send through.
pub struct Sender {
    /// The handle that it stands for.
    pub handle: u64,
    /// Its place in the notices.
    pub index: usize,
    rights: Rights,
    producer: Producer<'static>,
    caller: Caller<'static>,
    /// Position of the last call that was given up, as long as it may lie in the ring.
    given_up: Option<u64>,
}

impl Sender {
    /// The sender's side of a channel.
    pub fn new(
        index: usize,
        handle: u64,
        rights: u32,
        (ring, answer): (RingMemory<'static>, AnswerMemory<'static>),
    ) -> Sender {
        Sender {
            handle,
            index,
            rights: Rights::from_bits_retain(rights),
            producer: Producer::new(&ring),
            caller: Caller::new(&answer),
            given_up: None,
        }
    }

    /// Sends `message`, which keeps to the limits and carries no capabilities.
    #[inline(always)]
    pub fn send(
        &mut self,
        message: &Message,
        notice: &ChannelNotice,
        page: &ThreadPage,
    ) -> Attempt {
        let room = notice.room();
        if !self.rights.contains(Rights::SEND) || room.limit == 0 || !self.is_clear() {
            return Attempt::Usual;
        }
        if !self.producer.has_room(u64::from(room.limit)) {
            // Only while the channel is open does the ring say whether the mailbox is full.
            if room.whole && notice.state() == notices::OPEN {
                page.count_call();
                return Attempt::Ended(Outcome::failure(Error::Full), false);
            }
            return Attempt::Usual;
        }
        // First, so that nobody sees the message and not its count.
        page.count_carried(message.length);
        if self.producer.push_noted(message, Note::of_send(room.company).0).is_err() {
            page.uncount_carried(message.length);
            return Attempt::Usual;
        }
        self.producer.ring(&WakeOnly);
        match notice.state() {
            // Whoever closes a channel after this takes the message out of it.
            notices::OPEN => Attempt::Ended(Outcome::success(0), false),
            notices::REVOKED => Attempt::Ended(Outcome::failure(Error::Revoked), false),
            _ => Attempt::Nudge(Outcome::success(0)),
        }
    }

    /// Whether no call that was given up lies in the ring: it would count as a sent message.
    #[inline]
    fn is_clear(&mut self) -> bool {
        if let Some(position) = self.given_up
            && self.producer.taken_now() > position
        {
            self.given_up = None;
        }
        self.given_up.is_none()
    }

    /// Calls with `message`, which keeps to the limits and carries no capabilities; the answer
    /// replaces it.
    #[inline(always)]
    pub fn call(
        &mut self,
        message: &mut Message,
        timeout: u64,
        notice: &ChannelNotice,
        page: &ThreadPage,
        patience: &mut Patience,
    ) -> Attempt {
        if !self.rights.contains(Rights::CALL) {
            return Attempt::Usual;
        }
        let end = (timeout != FOREVER).then(|| monotonic().saturating_add(timeout));
        let number = self.caller.next_number();
        let note = Note::of_call(notice.room().company, number);
        page.begin_carried(Carrying { channel: self.index, number, end: end.unwrap_or(FOREVER) });
        let length = message.length;
        page.count_carried(length);
        if self.producer.push_noted(message, note.0).is_err() {
            // The ring is full, or broken: ΦCore is there for that.
            page.end_carried();
            page.uncount_carried(length);
            return Attempt::Usual;
        }
        self.caller.begin();
        self.producer.ring(&WakeOnly);
        let attempt = self.wait(message, end, notice, page, patience);
        page.end_carried();
        if attempt == Attempt::Usual {
            // ΦCore counts it.
            page.uncount_carried(length);
        }
        attempt
    }

    /// Waits for the end of the call that has begun.
    #[inline(always)]
    fn wait(
        &mut self,
        message: &mut Message,
        end: Option<u64>,
        notice: &ChannelNotice,
        page: &ThreadPage,
        patience: &mut Patience,
    ) -> Attempt {
        let position = self.producer.position().wrapping_sub(1);
        let mut looks = patience.looks();
        let mut slept = false;
        loop {
            match self.caller.look(message) {
                Some(Ended::Answered) => {
                    if !slept {
                        patience.found();
                    }
                    return Attempt::Ended(Outcome::success(0), true);
                }
                Some(Ended::GivenUp) => return self.given_up_for_us(notice),
                Some(Ended::Corrupt) => {
                    return Attempt::Ended(Outcome::failure(Error::Dead), false);
                }
                None => {}
            }
            if looks > 0 {
                looks -= 1;
                patience.pause();
                continue;
            }
            if page.has_ended() {
                return Attempt::Leave;
            }
            let state = notice.state();
            if let Some(error) = lost(state) {
                self.caller.give_up();
                let answered = self.caller.look(message) == Some(Ended::Answered);
                let outcome = if answered { Outcome::success(0) } else { Outcome::failure(error) };
                return Attempt::Ended(outcome, answered);
            }
            // Nobody takes it any more: it goes through ΦCore, unless it has been taken.
            let left = state == notices::CLOSED && self.producer.taken_now() <= position;
            let now = monotonic();
            let over = end.is_some_and(|end| now >= end);
            if left || over {
                // A server that spoils the answer's turn keeps nobody waiting.
                if self.caller.give_up() || self.caller.look(message).is_none() {
                    self.given_up = Some(position);
                    return if left { Attempt::Usual } else { timed_out() };
                }
                continue;
            }
            page.set_waiting(end.is_none());
            let futex = DirectFutex { also: (notice.state_word(), state), end };
            self.caller.wait(&futex, 0);
            page.set_awake();
            patience.slept(monotonic().saturating_sub(now));
            slept = true;
        }
    }

    /// The supervisor has ended the call: why.
    fn given_up_for_us(&self, notice: &ChannelNotice) -> Attempt {
        match lost(notice.state()) {
            Some(error) => Attempt::Ended(Outcome::failure(error), false),
            None => Attempt::Adopted,
        }
    }
}

/// Why a channel in this state answers no call any more.
fn lost(state: u32) -> Option<Error> {
    match state {
        notices::REVOKED => Some(Error::Revoked),
        notices::DEAD => Some(Error::Dead),
        _ => None,
    }
}

fn timed_out() -> Attempt {
    Attempt::Ended(Outcome::failure(Error::TimedOut), false)
}
