//! What the client asks of the driver, in a message's bytes.

use crate::actors::call;
use crate::event::Call;
use phi_abi::{FOREVER, Grant, Message, Number};

/// What is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Operation {
    /// Begin a session: the answer names it.
    Open,
    /// Read to the lent pages.
    Read,
    /// Write from the lent pages.
    Write,
    /// Have everything that was written survive.
    Flush,
}

const OPERATIONS: [Operation; 4] =
    [Operation::Open, Operation::Read, Operation::Write, Operation::Flush];

/// A question.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Question {
    pub(super) operation: Operation,
    /// The session that it belongs to: one ends with its driver, and so do its writes.
    pub(super) session: u64,
    /// The first sector.
    pub(super) sector: u64,
    /// How many.
    pub(super) count: u64,
}

/// How a question was answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Answer {
    /// It is done; of [`Operation::Open`], the session.
    Done(u64),
    /// The session is over: what was written and not flushed may be lost.
    Stale,
    /// The device did not do it.
    Failed,
}

fn put(message: &mut Message, words: &[u64]) {
    message.length = (8 * words.len()) as u16;
    for (place, word) in message.data.chunks_exact_mut(8).zip(words) {
        place.copy_from_slice(&word.to_le_bytes());
    }
}

fn word(message: &Message, place: usize) -> Option<u64> {
    let bytes = message.bytes().get(8 * place..8 * place + 8)?;
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

impl Question {
    /// The call that asks it of `driver`, with what is lent.
    pub(super) fn call(self, driver: u64, lent: Option<Grant>) -> Call {
        let mut call = call(Number::Call, &[driver, FOREVER]);
        let Question { operation, session, sector, count } = self;
        put(&mut call.message, &[operation as u64, session, sector, count]);
        if let Some(grant) = lent {
            call.message.push(grant);
        }
        call
    }

    /// The question in a message, if there is one.
    pub(super) fn of(message: &Message) -> Option<Question> {
        let operation = *OPERATIONS.get(word(message, 0)? as usize)?;
        let (session, sector, count) = (word(message, 1)?, word(message, 2)?, word(message, 3)?);
        Some(Question { operation, session, sector, count })
    }
}

impl Answer {
    /// The call that gives it.
    pub(super) fn call(self, reply: u64) -> Call {
        let mut call = call(Number::Reply, &[reply]);
        let (kind, value) = match self {
            Answer::Done(value) => (0, value),
            Answer::Stale => (1, 0),
            Answer::Failed => (2, 0),
        };
        put(&mut call.message, &[kind, value]);
        call
    }

    /// The answer in a message.
    pub(super) fn of(message: &Message) -> Answer {
        match (word(message, 0), word(message, 1)) {
            (Some(0), Some(value)) => Answer::Done(value),
            (Some(1), _) => Answer::Stale,
            _ => Answer::Failed,
        }
    }
}
