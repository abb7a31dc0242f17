//! Answers to calls.

use crate::call::{Answer, Done, Stop};
use crate::grant::Origins;
use crate::object::Activity;
use crate::{Kernel, Machine};
use phi_abi::{Error, FaultKind, Kind, Outcome};
use phi_cap::{Capability, State};
use phi_mem::NONE;

impl<M: Machine> Kernel<M> {
    pub(crate) fn reply(&mut self, thread: u32, handle: u64) -> Answer {
        let (length, count) = self.message_size(thread)?;
        let entry = self.entry(thread, handle)?;
        if self.capabilities.get(entry).kind != Kind::Reply {
            return Err(Stop::Fault(FaultKind::BadHandle, handle));
        }
        if count > 0 {
            self.check_grants(thread, count, false, handle)?;
        }
        if self.capabilities.state(entry) != State::Held {
            // Nobody waits any more; the call's loans end here all the same.
            self.release(entry);
            return Err(Error::Dead.into());
        }
        let Capability { object: caller, child: loans, .. } = *self.capabilities.get(entry);
        let message = &mut self.thread_mut(thread).frame.message;
        message.badge = 0;
        message.rights = 0;
        self.copy_message(thread, caller);
        if count > 0 {
            self.pass_grants(Origins::Thread(thread), caller);
        }
        self.capabilities.remove(entry);
        if loans != NONE {
            self.end_loans(loans);
        }
        self.count_message(thread, length);
        self.cancel_timeout(caller);
        let held = self.thread_mut(caller);
        held.lends = false;
        held.frame.outcome = Outcome::success(0);
        held.frame.message_out = true;
        self.make_next(caller);
        Ok(Done::Value(0))
    }

    pub(crate) fn reply_receive(
        &mut self,
        thread: u32,
        reply: u64,
        mailbox: u64,
        timeout: u64,
    ) -> Answer {
        // A forged handle is found before anything is done.
        let entry = self.entry(thread, mailbox)?;
        if self.capabilities.get(entry).kind != Kind::Mailbox {
            return Err(Stop::Fault(FaultKind::BadHandle, mailbox));
        }
        self.reply(thread, reply)?;
        self.receive(thread, mailbox, timeout)
    }

    /// The delivered call of a thread is over without an answer: whoever has the reply capability
    /// finds nobody there. Its loans end now, or with the answer that nobody will get.
    pub(crate) fn abandon_call(&mut self, thread: u32, end_loans: bool) {
        debug_assert_eq!(self.thread(thread).activity, Activity::Served);
        let anchor = self.anchors.of(Kind::Reply, thread);
        let Some(entry) = self.capabilities.first_of(anchor) else { return };
        let loans = self.capabilities.get(entry).child;
        if end_loans && loans != NONE {
            self.capabilities.set_child(entry, NONE);
            self.end_loans(loans);
        }
        self.bury(entry, State::Dead);
        self.thread_mut(thread).lends = false;
    }
}
