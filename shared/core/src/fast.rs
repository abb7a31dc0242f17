//! The way of a call and of its answer when nothing is unusual, without the detours of the general
//! code: a pure plan, then a commit that cannot fail. On any doubt there is no plan, and the general
//! code runs. What a plan does, the general code would have done; the tests run both and compare.
//!
//! Source: the fast paths of L4 kernels (Liedtke, "Improving IPC by kernel design", SOSP 1993).

use crate::object::Activity;
use crate::{Frame, Kernel, Machine, ThreadIndex};
use phi_abi::{FOREVER, Handle, Kind, MESSAGE_BYTES, Number, Outcome, Rights};
use phi_cap::{Capability, Origin};
use phi_ipc::{Mailbox, MailboxState, copy};
use phi_mem::NONE;

/// What happens at once.
pub(crate) enum Plan {
    /// A call goes to a server that waits for it.
    Call { mailbox: u32, server: u32, space: u32, badge: u64, rights: Rights, origin: Origin },
    /// An answer goes to its caller, and the server waits at an empty mailbox.
    Answer { reply: u32, caller: u32, mailbox: u32, origin: Origin },
}

impl<M: Machine> Kernel<M> {
    /// [`Kernel::system_call`], then [`Kernel::dispatch`]; in one go where nothing is unusual.
    #[inline]
    pub fn system_call_then_dispatch(&mut self, thread: ThreadIndex) -> Option<ThreadIndex> {
        match self.plan(thread) {
            Some(plan) => Some(self.commit(u32::from(thread.0), plan)),
            None => {
                self.system_call(thread);
                self.dispatch()
            }
        }
    }

    /// What to do about the call in a thread's frame, if it is one that can be done at once.
    #[inline(always)]
    pub(crate) fn plan(&self, thread: ThreadIndex) -> Option<Plan> {
        let held = self.threads.get(usize::from(thread.0))?;
        let Frame { number, arguments, message, .. } = &held.frame;
        if held.activity != Activity::Dispatched
            || message.grant_count != 0
            || usize::from(message.length) > MESSAGE_BYTES
        {
            return None;
        }
        let space = u32::from(held.domain);
        if *number == Number::Call as u32 {
            self.plan_call(space, arguments)
        } else if *number == Number::ReplyReceive as u32 {
            self.plan_answer(space, arguments)
        } else {
            None
        }
    }

    #[inline(always)]
    fn plan_call(&self, space: u32, arguments: &[u64; 4]) -> Option<Plan> {
        let [handle, timeout, ..] = *arguments;
        let (_, held) = self.capabilities.current(space, Handle(handle))?;
        let Capability { kind, rights, object: mailbox, badge, origin, .. } = *held;
        if !matches!(kind, Kind::Mailbox | Kind::Object)
            || !rights.contains(Rights::CALL)
            || timeout != FOREVER
        {
            return None;
        }
        let Mailbox { state, receivers, .. } = self.mailboxes.get(mailbox as usize)?;
        let server = receivers.first()?;
        let space = self.space_of(server);
        let room = self.capabilities.free_slots(space) > 0;
        let goes = *state == MailboxState::Open && room && self.goes_next(server);
        goes.then_some(Plan::Call { mailbox, server, space, badge, rights, origin })
    }

    #[inline(always)]
    fn plan_answer(&self, space: u32, arguments: &[u64; 4]) -> Option<Plan> {
        let [reply, mailbox, timeout, _] = *arguments;
        let (reply, held) = self.capabilities.current(space, Handle(reply))?;
        let Capability { kind: reply_kind, object: caller, child: loans, .. } = *held;
        let (_, held) = self.capabilities.current(space, Handle(mailbox))?;
        let Capability { kind, rights, object: mailbox, origin, .. } = *held;
        if reply_kind != Kind::Reply
            || loans != NONE
            || kind != Kind::Mailbox
            || !rights.contains(Rights::RECEIVE)
            || timeout != FOREVER
        {
            return None;
        }
        let Mailbox { state, queue, signal, .. } = self.mailboxes.get(mailbox as usize)?;
        let waits = *state == MailboxState::Open && queue.is_empty() && *signal == NONE;
        let goes = waits && self.goes_next(caller);
        goes.then_some(Plan::Answer { reply, caller, mailbox, origin })
    }

    /// Whether a blocked thread would be dispatched next if it became ready now, and leaves nothing
    /// behind but its place in a list.
    #[inline(always)]
    fn goes_next(&self, thread: u32) -> bool {
        let held = &self.threads[thread as usize];
        // Without a budget there is no throttle, and no need to look at the domain.
        let throttled = held.budgeted && self.domains[usize::from(held.domain)].throttled;
        !throttled
            && !self.deadlines.is_set(thread)
            && self.ready.most_urgent().is_none_or(|priority| held.priority >= priority)
    }

    #[inline(always)]
    fn commit(&mut self, thread: u32, plan: Plan) -> ThreadIndex {
        match plan {
            Plan::Call { mailbox, server, space, badge, rights, origin } => {
                self.links.pop_front(&mut self.mailboxes[mailbox as usize].receivers);
                let reply = Capability::new(Kind::Reply, Kind::Reply.rights(), thread, 0);
                let anchor = self.anchors.of(Kind::Reply, thread);
                let inserted = self.capabilities.insert(space, reply, anchor);
                // The plan has seen room for it.
                let handle = inserted.map_or(Handle::NULL, |(_, handle)| handle);
                self.hand_over(thread, server, Activity::Served, origin, badge, rights, handle)
            }
            Plan::Answer { reply, caller, mailbox, origin } => {
                self.capabilities.remove(reply);
                self.links.push_back(&mut self.mailboxes[mailbox as usize].receivers, thread);
                let blocked = Activity::Receiving(mailbox);
                self.hand_over(thread, caller, blocked, origin, 0, Rights::empty(), Handle::NULL)
            }
        }
    }

    /// Blocks the sender as `blocked` and lets the receiver go on with the sender's message.
    #[inline(always)]
    #[expect(clippy::too_many_arguments, reason = "the fields of one message's header")]
    fn hand_over(
        &mut self,
        sender: u32,
        receiver: u32,
        blocked: Activity,
        origin: Origin,
        badge: u64,
        rights: Rights,
        reply: Handle,
    ) -> ThreadIndex {
        let threads = self.threads.get_disjoint_mut([sender as usize, receiver as usize]);
        // A blocked thread is not the one that runs.
        let Ok([from, to]) = threads else { return ThreadIndex(sender as u16) };
        from.activity = blocked;
        from.origin = origin;
        from.lends = false;
        let statistics = &mut self.domains[usize::from(from.domain)].statistics;
        statistics.calls += 1;
        statistics.messages += 1;
        statistics.bytes_copied += u64::from(from.frame.message.length);
        let message = &mut to.frame.message;
        copy(&from.frame.message, message);
        message.badge = badge;
        message.rights = rights.bits();
        message.reply = reply;
        to.frame.outcome = Outcome::success(0);
        to.frame.message_out = true;
        to.activity = Activity::Dispatched;
        self.domains[usize::from(to.domain)].statistics.switches += 1;
        self.last_dispatched = Some(receiver);
        ThreadIndex(receiver as u16)
    }
}
