//! The way of a call and of its answer when nothing is unusual, without the detours of the general
//! code: a pure plan, then a commit that cannot fail. On any doubt there is no plan, and the general
//! code runs. What a plan does, the general code would have done; the tests run both and compare.
//!
//! What the plan checks, why, and which test fails without it (all in `tests::fast`, where no other is named;
//! `lockstep` is `the_short_way_does_what_the_general_one_does`). A planted bug for each is in
//! `tests/mutation/mutants.toml`.
//!
//! | check | why | test |
//! |---|---|---|
//! | the thread runs | who waits or has ended calls nobody | `who_does_not_run_hands_nothing_over` |
//! | the handle is the one that it knows | it names the capability | `lockstep` |
//! | nothing has ended since ([`phi_cap::Capabilities::changes`]) | so what it knows of it is so still: it is held, it stands, its mailbox, badge and rights | `lockstep`; `invariants::known_ways_are_as_they_were` |
//! | as it learned that: rights, standing, and kind, which the rights imply | a right that it does not have, a tombstone | `rights_are_checked_on_the_short_way_too`, `only_a_mailbox_receives_on_the_short_way`, `lockstep` |
//! | as it learned that: no budget | its time has to be counted | `whose_time_is_counted_does_not_hand_over` |
//! | no timeout | it would have to be set | `lockstep` |
//! | the message is plain ([`is_plain`]), or its capabilities need nothing of the machine (`grants`) | capabilities change hands one by one; a length that is never right is a fault | `plain_messages_have_no_capabilities_and_no_more_bytes_than_there_can_be` |
//! | a server waits | or else the call waits. A mailbox that is not open has no receivers: `invariants` | `lockstep` |
//! | the server has a free slot | for the reply capability | `lockstep` |
//! | who goes on has no deadline and no budget (`Thread::yields_to`) | one would have to be cancelled, the other looked at | `a_server_without_budget_left_is_not_handed_over_to`, `lockstep` |
//! | nothing more urgent is ready (the same) | it would go first | `lockstep` |
//! | the reply handle names a reply capability, which is held | forged, used up, or the caller has gone | `lockstep`; `replies_come_and_go_as_the_general_functions_would_have_them` in `phi-cap` |
//! | without loans | they would have to end | `lockstep` |
//! | the server's mailbox is open and empty, and has no signal | or else there is something to receive | `a_server_with_bits_of_its_signal_set_does_not_wait`, `lockstep` |
//!
//! Source: the fast paths of L4 kernels (Liedtke, "Improving IPC by kernel design", SOSP 1993).

mod grants;

use crate::object::{Activity, Thread, Way};
use crate::{Kernel, Machine, ThreadIndex};
use phi_abi::{FOREVER, Handle, Kind, MESSAGE_BYTES, Message, Number, Outcome, Rights};
use phi_cap::{Capability, Replies, State};
use phi_ipc::{Mailbox, MailboxState, copy};
use phi_mem::{Links, NONE};

/// What of ΦCore's state the short way looks at and changes. Made of slices, so that what the plan has
/// found within them is not looked for again.
pub(crate) struct Short<'a> {
    threads: &'a mut [Thread],
    mailboxes: &'a mut [Mailbox],
    links: &'a mut Links,
    replies: Replies<'a>,
    last_dispatched: &'a mut u32,
    /// [`phi_cap::Capabilities::changes`].
    changes: u64,
    /// [`phi_sched::ReadyQueues::urgency`].
    urgency: u64,
}

/// What happens at once: a call goes to a server that waits for it, or an answer goes to its caller and
/// the server waits at an empty mailbox.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Commit {
    sender: u32,
    receiver: u32,
    mailbox: u32,
    /// A call's: the receiver's part of the table of capabilities.
    space: u32,
    /// The reply capability's entry.
    entry: u32,
    /// A call's: the reply capability's handle.
    reply: Handle,
}

/// A message that goes from one thread to another, which runs next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Handover {
    /// Who gets it.
    pub receiver: ThreadIndex,
    /// What the machine calls the receiver: [`Kernel::set_name`].
    pub name: u64,
    /// What the receiver finds as [`Message::badge`].
    pub badge: u64,
    /// What it finds as [`Message::rights`].
    pub rights: u32,
    /// What it finds as [`Message::reply`].
    pub reply: Handle,
}

impl Short<'_> {
    /// What a call does, if it can be done at once.
    #[inline(always)]
    pub(crate) fn plan_call(&self, sender: u32, handle: u64, timeout: u64) -> Option<Commit> {
        let caller = self.threads.get(sender as usize)?;
        let Way { handle: known, stamp, mailbox, .. } = caller.calls;
        if known != handle
            || stamp != self.changes
            || caller.activity != Activity::Dispatched
            || timeout != FOREVER
        {
            return None;
        }
        // Nobody receives from a mailbox that is not open.
        let receiver = self.mailboxes.get(mailbox as usize)?.receivers.first_or_none();
        let space = self.goes_next(receiver)?;
        let (reply, entry) = self.replies.next(space)?;
        Some(Commit { sender, receiver, mailbox, space, entry, reply })
    }

    /// What an answer and the next receive do, if both can be done at once.
    #[inline(always)]
    pub(crate) fn plan_answer(
        &self,
        sender: u32,
        reply: u64,
        handle: u64,
        timeout: u64,
    ) -> Option<Commit> {
        let server = self.threads.get(sender as usize)?;
        let Way { handle: known, stamp, mailbox, .. } = server.receives;
        if known != handle
            || stamp != self.changes
            || server.activity != Activity::Dispatched
            || timeout != FOREVER
        {
            return None;
        }
        let (entry, held) = self.replies.find(&server.slots, Handle(reply))?;
        let Capability { object: receiver, child: loans, .. } = *held;
        let Mailbox { state, queue, signal, .. } = self.mailboxes.get(mailbox as usize)?;
        let waits = *state == MailboxState::Open && queue.is_empty() && *signal == NONE;
        if loans != NONE || !waits {
            return None;
        }
        let space = self.goes_next(receiver)?;
        Some(Commit { sender, receiver, mailbox, space, entry, reply: Handle::NULL })
    }

    /// The space of a blocked thread, if it would be dispatched next if it became ready now, and leaves
    /// nothing behind but its place in a list.
    #[inline(always)]
    fn goes_next(&self, thread: u32) -> Option<u32> {
        let held = self.threads.get(thread as usize)?;
        (self.urgency < held.yields_to).then_some(u32::from(held.domain))
    }

    /// Does a call; its message has so many bytes.
    #[inline(always)]
    pub(crate) fn commit_call(&mut self, commit: Commit, bytes: u64) -> Option<Handover> {
        let Commit { sender, receiver, mailbox, space, entry, reply } = commit;
        self.replies.insert(space, entry, sender);
        self.links.drop_front(&mut self.mailboxes.get_mut(mailbox as usize)?.receivers);
        self.leave(sender, Activity::Served, bytes);
        let name = self.go_on(receiver);
        let Way { badge, rights, .. } = self.threads.get(sender as usize)?.calls;
        Some(Handover { receiver: ThreadIndex(receiver as u16), name, badge, rights, reply })
    }

    /// Does an answer and the next receive; its message has so many bytes.
    #[inline(always)]
    pub(crate) fn commit_answer(&mut self, commit: Commit, bytes: u64) -> Option<Handover> {
        let Commit { sender, receiver, mailbox, entry, reply, .. } = commit;
        self.replies.remove(entry, receiver);
        self.links.push_back(&mut self.mailboxes.get_mut(mailbox as usize)?.receivers, sender);
        self.leave(sender, Activity::Receiving(mailbox), bytes);
        let name = self.go_on(receiver);
        let receiver = ThreadIndex(receiver as u16);
        Some(Handover { receiver, name, badge: 0, rights: 0, reply })
    }

    /// A thread's message is on its way, and it is blocked from now on.
    #[inline(always)]
    fn leave(&mut self, thread: u32, blocked: Activity, bytes: u64) {
        let Some(held) = self.threads.get_mut(thread as usize) else { return };
        held.activity = blocked;
        held.counts.handed_over += 1;
        held.counts.bytes += bytes;
    }

    /// A thread is the one that runs now; the machine's name for it.
    #[inline(always)]
    fn go_on(&mut self, thread: u32) -> u64 {
        *self.last_dispatched = thread;
        let Some(held) = self.threads.get_mut(thread as usize) else { return 0 };
        held.activity = Activity::Dispatched;
        held.counts.resumed += 1;
        held.name
    }
}

impl<M: Machine> Kernel<M> {
    /// [`Kernel::system_call`], then [`Kernel::dispatch`]; in one go where nothing is unusual.
    pub fn system_call_then_dispatch(&mut self, thread: ThreadIndex) -> Option<ThreadIndex> {
        // The short way counts each hand-over as a switch: so it is while nobody else was dispatched since.
        if self.is_dispatched(thread) && self.last_dispatched == u32::from(thread.0) {
            let frame = self.frame(thread);
            let [first, second, third, _] = frame.arguments;
            let (number, Message { length, grant_count, .. }) = (frame.number, frame.message);
            let bytes = u64::from(length);
            let handover = match (Number::from_number(number), is_plain(length, grant_count)) {
                (Some(Number::Call), true) => self.hand_over_call(thread, first, second, bytes),
                (Some(Number::Call), false) => {
                    self.hand_over_call_with_grants(thread, first, second, bytes)
                }
                (Some(Number::ReplyReceive), true) => {
                    self.hand_over_answer(thread, first, second, third, bytes)
                }
                (Some(Number::ReplyReceive), false) => {
                    self.hand_over_answer_with_grants(thread, first, second, third, bytes)
                }
                _ => None,
            };
            if let Some(handover) = handover {
                self.carry_frame(thread, handover);
                return Some(handover.receiver);
            }
        }
        self.system_call(thread);
        self.dispatch()
    }

    /// What the short way looks at.
    #[inline(always)]
    pub(crate) fn short(&mut self) -> Short<'_> {
        Short {
            threads: &mut self.threads,
            mailboxes: &mut self.mailboxes,
            links: &mut self.links,
            changes: self.capabilities.changes(),
            replies: self.capabilities.replies(),
            last_dispatched: &mut self.last_dispatched,
            urgency: self.ready.urgency(),
        }
    }

    /// What a machine may do instead of [`Kernel::system_call_then_dispatch`], with no message in a
    /// frame: the dispatched `thread` has called [`Number::Call`] with a message that [`is_plain`] and
    /// has so many bytes. The machine hands it over, and the receiver is dispatched; its call ends with
    /// 0. `None` if anything is unusual, and then nothing has happened.
    #[inline(always)]
    pub fn hand_over_call(
        &mut self,
        thread: ThreadIndex,
        handle: u64,
        timeout: u64,
        bytes: u64,
    ) -> Option<Handover> {
        let mut short = self.short();
        match short.plan_call(u32::from(thread.0), handle, timeout) {
            Some(commit) => short.commit_call(commit, bytes),
            None => self.learn_and_call(thread, handle, timeout, bytes),
        }
    }

    /// As [`Kernel::hand_over_call`], for [`Number::ReplyReceive`].
    #[inline(always)]
    pub fn hand_over_answer(
        &mut self,
        thread: ThreadIndex,
        reply: u64,
        mailbox: u64,
        timeout: u64,
        bytes: u64,
    ) -> Option<Handover> {
        let mut short = self.short();
        match short.plan_answer(u32::from(thread.0), reply, mailbox, timeout) {
            Some(commit) => short.commit_answer(commit, bytes),
            None => self.learn_and_answer(thread, reply, mailbox, timeout, bytes),
        }
    }

    #[cold]
    #[inline(never)]
    fn learn_and_call(
        &mut self,
        thread: ThreadIndex,
        handle: u64,
        timeout: u64,
        bytes: u64,
    ) -> Option<Handover> {
        self.learn(thread, handle, Rights::CALL)?;
        let commit = self.planned_call(u32::from(thread.0), handle, timeout)?;
        self.committed_call(commit, bytes)
    }

    #[cold]
    #[inline(never)]
    fn learn_and_answer(
        &mut self,
        thread: ThreadIndex,
        reply: u64,
        mailbox: u64,
        timeout: u64,
        bytes: u64,
    ) -> Option<Handover> {
        self.learn(thread, mailbox, Rights::RECEIVE)?;
        let commit = self.planned_answer(u32::from(thread.0), reply, mailbox, timeout)?;
        self.committed_answer(commit, bytes)
    }

    /// [`Short::plan_call`], where an instruction more is no matter: one copy of it for all of these.
    #[inline(never)]
    fn planned_call(&mut self, sender: u32, handle: u64, timeout: u64) -> Option<Commit> {
        self.short().plan_call(sender, handle, timeout)
    }

    /// [`Short::plan_answer`], in the same way.
    #[inline(never)]
    fn planned_answer(
        &mut self,
        sender: u32,
        reply: u64,
        handle: u64,
        timeout: u64,
    ) -> Option<Commit> {
        self.short().plan_answer(sender, reply, handle, timeout)
    }

    /// [`Short::commit_call`], in the same way.
    #[inline(never)]
    fn committed_call(&mut self, commit: Commit, bytes: u64) -> Option<Handover> {
        self.short().commit_call(commit, bytes)
    }

    /// [`Short::commit_answer`], in the same way.
    #[inline(never)]
    fn committed_answer(&mut self, commit: Commit, bytes: u64) -> Option<Handover> {
        self.short().commit_answer(commit, bytes)
    }

    /// Has a dispatched thread know the way that it calls or receives through `handle`; `None` if it
    /// does already, or there is none.
    pub(crate) fn learn(&mut self, thread: ThreadIndex, handle: u64, right: Rights) -> Option<()> {
        let index = u32::from(thread.0);
        let held = self.threads.get(index as usize)?;
        let way = if right == Rights::CALL { held.calls } else { held.receives };
        let known = way.handle == handle && way.stamp == self.capabilities.changes();
        // Who has a budget is timed, which is for the general way.
        if known || held.budgeted || held.activity != Activity::Dispatched {
            return None;
        }
        let entry = self.capabilities.find(self.space_of(index), Handle(handle))?;
        let Capability { kind, rights, object, badge, origin, .. } = *self.capabilities.get(entry);
        let fits = kind == Kind::Mailbox || kind == Kind::Object && right == Rights::CALL;
        let stands = self.capabilities.state(entry) == State::Held;
        if !fits || !stands || !rights.contains(right) {
            return None;
        }
        self.set_origin(index, origin);
        let stamp = self.capabilities.changes();
        let way = Way { handle, stamp, mailbox: object, rights: rights.bits(), badge };
        let held = self.thread_mut(index);
        if right == Rights::CALL {
            held.calls = way;
        } else {
            held.receives = way;
        }
        Some(())
    }

    /// Says what [`Handover::name`] is to be for a thread, whoever that is.
    pub fn set_name(&mut self, thread: ThreadIndex, name: u64) {
        if let Some(held) = self.threads.get_mut(usize::from(thread.0)) {
            held.name = name;
        }
    }

    /// Hands over the message in a frame.
    fn carry_frame(&mut self, sender: ThreadIndex, handover: Handover) {
        let Handover { receiver, badge, rights, reply, .. } = handover;
        let places = [sender, receiver].map(|thread| usize::from(thread.0));
        // A blocked thread is not the one that runs.
        let Ok([from, to]) = self.threads.get_disjoint_mut(places) else { return };
        from.frame.message_out = false;
        let message = &mut to.frame.message;
        copy(&from.frame.message, message);
        message.badge = badge;
        message.rights = rights;
        message.reply = reply;
        to.frame.outcome = Outcome::success(0);
        to.frame.message_out = true;
    }
}

/// Whether a message of this length and with so many capabilities can be handed over as it is: its
/// bytes are no more than there can be, and no capability changes hands.
pub const fn is_plain(length: u16, grant_count: u16) -> bool {
    length as usize <= MESSAGE_BYTES && grant_count == 0
}
