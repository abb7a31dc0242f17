//! Calls and answers that carry capabilities, on the short way: where nothing about those is unusual
//! either. They are checked and passed on by the general code ([`crate::grant`]); what is saved is all the
//! rest: the loop, the queues, and the copy of the message.
//!
//! What is checked besides what is said in [`crate::fast`], why, and which test fails without it (in
//! `tests::fast`):
//!
//! | check | why | test |
//! |---|---|---|
//! | no more bytes and capabilities than there can be | a length that is never right is a fault | `no_more_capabilities_go_than_there_can_be` |
//! | each capability can be passed on so (`check_grants`) | the general way says what is wrong | `lockstep` |
//! | none of them is lent | the machine would have to map its pages | `lockstep` |
//! | what moves is not mapped | the machine would have to unmap it | `what_is_mapped_moves_on_the_general_way` |
//! | a call's receiver has room for them and for the reply | the general way tells it that it has none | `lockstep` |
//! | an answer does not name the mailbox that is received from | nothing can be received any more | `who_gives_its_mailbox_away_receives_nothing` |

use super::{Commit, Handover};
use crate::grant::Origins;
use crate::mailbox::NOTHING_CONSUMED;
use crate::{Kernel, Machine, ThreadIndex};
use phi_abi::{Handle, MESSAGE_BYTES, MESSAGE_GRANTS, Message, Rights};

impl<M: Machine> Kernel<M> {
    /// As [`Kernel::hand_over_call`], for a message with capabilities. They are in the message in the
    /// frame of `thread`; the receiver's are in the one in its frame afterwards.
    #[inline(never)]
    pub fn hand_over_call_with_grants(
        &mut self,
        thread: ThreadIndex,
        handle: u64,
        timeout: u64,
        bytes: u64,
    ) -> Option<Handover> {
        let sender = u32::from(thread.0);
        // It may know the way already.
        let _ = self.learn(thread, handle, Rights::CALL);
        let commit = self.plan_call_with_grants(sender, handle, timeout, bytes)?;
        self.pass_frame_grants(sender, commit.receiver);
        // They have taken the slot that was planned for the reply; there is one more.
        let (reply, entry) = self.capabilities.replies().next(commit.space)?;
        self.committed_call(Commit { reply, entry, ..commit }, bytes)
    }

    /// As [`Kernel::hand_over_answer`], for a message with capabilities, as for
    /// [`Kernel::hand_over_call_with_grants`].
    #[inline(never)]
    pub fn hand_over_answer_with_grants(
        &mut self,
        thread: ThreadIndex,
        reply: u64,
        mailbox: u64,
        timeout: u64,
        bytes: u64,
    ) -> Option<Handover> {
        let sender = u32::from(thread.0);
        let _ = self.learn(thread, mailbox, Rights::RECEIVE);
        let commit = self.plan_answer_with_grants(sender, [reply, mailbox, timeout], bytes)?;
        self.pass_frame_grants(sender, commit.receiver);
        self.committed_answer(commit, bytes)
    }

    pub(crate) fn plan_call_with_grants(
        &mut self,
        sender: u32,
        handle: u64,
        timeout: u64,
        bytes: u64,
    ) -> Option<Commit> {
        let count = self.count_of_grants(sender, bytes)?;
        let commit = self.planned_call(sender, handle, timeout)?;
        let room = self.capabilities.free_slots(commit.space) > count;
        (room && self.pass_at_once(sender, NOTHING_CONSUMED)).then_some(commit)
    }

    /// `words`: reply, mailbox, timeout.
    pub(crate) fn plan_answer_with_grants(
        &mut self,
        sender: u32,
        words: [u64; 3],
        bytes: u64,
    ) -> Option<Commit> {
        let [reply, mailbox, timeout] = words;
        self.count_of_grants(sender, bytes)?;
        let commit = self.planned_answer(sender, reply, mailbox, timeout)?;
        let grants = self.thread(sender).frame.message.grants();
        let named = grants.iter().any(|grant| grant.handle == Handle(mailbox));
        (!named && self.pass_at_once(sender, reply)).then_some(commit)
    }

    /// How many capabilities the message in a thread's frame has, if they and its bytes are no more than
    /// there can be.
    fn count_of_grants(&self, thread: u32, bytes: u64) -> Option<u32> {
        let Message { grant_count, .. } = self.threads.get(thread as usize)?.frame.message;
        let fits = bytes <= MESSAGE_BYTES as u64 && usize::from(grant_count) <= MESSAGE_GRANTS;
        fits.then_some(u32::from(grant_count))
    }

    /// Whether the capabilities in a thread's frame can be passed on, and the machine has nothing to do
    /// for that.
    fn pass_at_once(&mut self, thread: u32, consumed: u64) -> bool {
        let count = self.thread(thread).frame.message.grants().len();
        matches!(self.check_grants(thread, count, false, consumed), Ok(0))
    }

    fn pass_frame_grants(&mut self, sender: u32, receiver: u32) {
        let Message { grant_count, .. } = self.thread(sender).frame.message;
        self.thread_mut(receiver).frame.message.grant_count = grant_count;
        self.pass_grants(Origins::Thread(sender), receiver);
    }
}
