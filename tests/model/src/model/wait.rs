//! Threads that wait, and how their waits end.

use super::{Activity, Finish, Life, Model, Payload, Thread, Value};
use phi_abi::{Error, FOREVER, Message, Rights};

impl Model {
    /// Starts a thread.
    pub(super) fn spawn(&mut self, domain: usize) -> usize {
        self.threads.push(Thread {
            domain,
            activity: Activity::Running,
            through: None,
            deadline: None,
            message: Message::EMPTY,
            badge: 0,
            rights: Rights::empty(),
            finish: None,
        });
        self.threads.len() - 1
    }

    /// Has a thread wait.
    pub(super) fn block(
        &mut self,
        thread: usize,
        activity: Activity,
        through: Option<usize>,
        timeout: u64,
    ) {
        let deadline = self.deadline(timeout);
        let held = &mut self.threads[thread];
        (held.activity, held.through, held.deadline) = (activity, through, deadline);
    }

    /// When a wait of `timeout` nanoseconds ends.
    pub(super) fn deadline(&self, timeout: u64) -> Option<u64> {
        Some(self.clock.saturating_add(timeout)).filter(|end| timeout != FOREVER && *end != FOREVER)
    }

    /// Takes a thread out of the queue that it waits in.
    pub(super) fn unqueue(&mut self, thread: usize) {
        let held = &mut self.threads[thread];
        (held.deadline, held.through) = (None, None);
        match held.activity {
            Activity::Calling(mailbox) => self.mailboxes[mailbox].forget_call(thread),
            Activity::Receiving(mailbox) => {
                self.mailboxes[mailbox].receivers.retain(|other| *other != thread);
            }
            Activity::Waiting(signal, _) => {
                self.signals[signal].waiters.retain(|other| *other != thread);
            }
            _ => {}
        }
    }

    /// Ends the call of a thread.
    pub(super) fn finish(&mut self, thread: usize, result: Result<Value, Error>, payload: Payload) {
        self.unqueue(thread);
        let held = &mut self.threads[thread];
        held.activity = Activity::Running;
        held.finish = Some(Finish { result, payload });
    }

    /// Ends the call of a thread with an error.
    pub(super) fn fail(&mut self, thread: usize, error: Error) {
        self.finish(thread, Err(error), Payload::Nothing);
    }

    /// Lets time pass, and waits end that are over.
    pub fn pass_time(&mut self, nanoseconds: u64) {
        self.clock = self.clock.saturating_add(nanoseconds);
        for thread in 0..self.threads.len() {
            let held = &self.threads[thread];
            if held.deadline.is_none_or(|deadline| deadline > self.clock) {
                continue;
            }
            match held.activity {
                Activity::Sleeping => {
                    self.finish(thread, Ok(Value::Number(0)), Payload::Nothing);
                    continue;
                }
                Activity::Served(reply) => self.bury(reply, Life::Dead),
                _ => {}
            }
            self.fail(thread, Error::TimedOut);
        }
        self.collect();
    }
}
