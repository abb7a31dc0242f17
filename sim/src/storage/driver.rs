//! The driver: it serves the device to its clients, several requests at a time.

use super::World;
use super::protocol::{Answer, Operation, Question};
use crate::actors::{PAUSE, call, first};
use crate::disk::{DiskError, Request, SECTOR};
use crate::event::Call;
use crate::machine::Turn;
use phi_abi::{Grant, Handle, Kind, Message, Number, Rights};
use std::collections::VecDeque;

/// A request that the device has.
struct Job {
    tag: u64,
    client: u64,
    reply: Handle,
    lent: Option<Grant>,
    reads: bool,
}

/// The state of the driver's thread.
#[derive(Default)]
pub(super) struct Driver {
    /// Of this run of the driver; 0 before it has begun.
    session: u64,
    jobs: Vec<Job>,
    /// Clients that want to begin a session, and the replies for them.
    opens: Vec<(u64, Handle)>,
    todo: VecDeque<Call>,
}

impl Driver {
    pub(super) fn next(&mut self, turn: &mut Turn<'_>, world: &mut World) -> Call {
        if self.session == 0 {
            // The time is another one in each run.
            self.session = 1 + turn.now;
            world.disk.reset(turn.now, turn.random);
        }
        if let Some(message) = turn.message
            && self.accept(message, turn, world).is_err()
        {
            return call(Number::DomainPanic, &[]);
        }
        if self.complete(turn, world).is_err() {
            return call(Number::DomainPanic, &[]);
        }
        self.todo.pop_front().unwrap_or_else(|| self.receive(turn, world))
    }

    /// Waits for a request, or until the device has done something.
    fn receive(&self, turn: &Turn<'_>, world: &World) -> Call {
        let Some(serve) = first(turn, Kind::Mailbox, Rights::RECEIVE) else {
            return call(Number::ThreadSleep, &[PAUSE]);
        };
        let due = world.disk.next_completion().map_or(PAUSE, |due| due.saturating_sub(turn.now));
        call(Number::Receive, &[serve, due])
    }

    fn answer(&mut self, answer: Answer, reply: Handle, lent: Option<Grant>) {
        if let Some(lent) = lent {
            self.todo.push_back(call(Number::CapabilityDrop, &[lent.handle.0]));
        }
        self.todo.push_back(answer.call(reply.0));
    }

    /// A message has come.
    ///
    /// # Errors
    /// The device needs to be reset.
    fn accept(
        &mut self,
        message: &Message,
        turn: &mut Turn<'_>,
        world: &mut World,
    ) -> Result<(), DiskError> {
        let (reply, client) = (message.reply, message.badge);
        if reply.is_null() {
            return Ok(());
        }
        let lent = message.grants().iter().find(|grant| !grant.handle.is_null()).copied();
        let Some(question) = Question::of(message) else {
            self.answer(Answer::Failed, reply, lent);
            return Ok(());
        };
        if question.operation == Operation::Open {
            self.opens.push((client, reply));
            return Ok(());
        }
        if question.session != self.session {
            self.answer(Answer::Stale, reply, lent);
            return Ok(());
        }
        let request = self.request(question, lent.as_ref(), turn, world);
        let Some(request) = request else {
            self.answer(Answer::Failed, reply, lent);
            return Ok(());
        };
        let reads = question.operation == Operation::Read;
        match world.disk.submit(request, turn.now, turn.random) {
            Ok(tag) => self.jobs.push(Job { tag, client, reply, lent, reads }),
            Err(DiskError::Reset) => return Err(DiskError::Reset),
            Err(_) => self.answer(Answer::Failed, reply, lent),
        }
        Ok(())
    }

    /// What the device is asked to do; `None` where something is missing that should have been lent.
    fn request(
        &self,
        question: Question,
        lent: Option<&Grant>,
        turn: &Turn<'_>,
        world: &mut World,
    ) -> Option<Request> {
        let Question { operation, sector, count, .. } = question;
        let length = count.checked_mul(SECTOR as u64)?;
        match operation {
            Operation::Open | Operation::Flush => Some(Request::Flush),
            Operation::Read => {
                lent.filter(|lent| lent.length >= length)?;
                Some(Request::Read { sector, count })
            }
            Operation::Write => {
                let lent = lent.filter(|lent| lent.length >= length)?;
                let bytes = world.read(turn.domain, lent.address, length)?;
                Some(Request::Write { sector, bytes })
            }
        }
    }

    /// Answers what the device has done.
    ///
    /// # Errors
    /// The device needs to be reset.
    fn complete(&mut self, turn: &Turn<'_>, world: &mut World) -> Result<(), DiskError> {
        for completion in world.disk.complete(turn.now) {
            let Some(place) = self.jobs.iter().position(|job| job.tag == completion.tag) else {
                continue;
            };
            let Job { reply, lent, reads, .. } = self.jobs.swap_remove(place);
            let answer = match completion.result {
                Ok(bytes) => {
                    if let (true, Some(lent)) = (reads, &lent) {
                        world.write(turn.domain, lent.address, &bytes);
                    }
                    Answer::Done(0)
                }
                Err(DiskError::Reset) => return Err(DiskError::Reset),
                Err(_) => Answer::Failed,
            };
            self.answer(answer, reply, lent);
        }
        // A client that begins anew must not be overtaken by what it asked for before it ended.
        for (client, reply) in std::mem::take(&mut self.opens) {
            if !world.hasty && self.jobs.iter().any(|job| job.client == client) {
                self.opens.push((client, reply));
            } else {
                self.answer(Answer::Done(self.session), reply, None);
            }
        }
        Ok(())
    }
}
