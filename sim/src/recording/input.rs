//! A step of a recording: what a machine fed ΦCore with, and what it answered meanwhile.

use super::codec::{Reader, put_fault, put_message, put_word, put_words};
use phi_abi::{Fault, Message};
use phi_core::{DomainIndex, Image, Kernel, Machine, ThreadIndex};

/// What a machine feeds ΦCore with.
#[derive(Clone, Copy, PartialEq, Debug)]
#[expect(clippy::large_enum_variant, reason = "taken apart at once, and made for every call")]
pub enum Input {
    /// A dispatched thread made a call.
    Call {
        /// The thread.
        thread: ThreadIndex,
        /// The call's number.
        number: u32,
        /// Its words.
        arguments: [u64; 4],
        /// Its message, if the call takes one.
        message: Option<Message>,
    },
    /// A dispatched thread faulted.
    Fault(ThreadIndex, Fault),
    /// The machine lost a domain.
    Lost(DomainIndex, Fault),
    /// The domain of a thread has used CPU time, in nanoseconds.
    Charge(ThreadIndex, u64),
    /// Something is due.
    Expire,
    /// The slice of a dispatched thread is over.
    Preempt(ThreadIndex),
    /// A dispatched thread was interrupted.
    PutBack(ThreadIndex),
    /// The machine was handed an image for a domain.
    Offer(DomainIndex, Image),
    /// The machine lets the next thread go on.
    Dispatch,
}

impl Input {
    /// Feeds `kernel` with it; the thread that goes on, after [`Input::Dispatch`].
    pub fn apply<M: Machine>(&self, kernel: &mut Kernel<M>) -> Option<ThreadIndex> {
        match self {
            Input::Call { thread, number, arguments, message } => {
                let frame = kernel.frame_mut(*thread);
                frame.number = *number;
                frame.arguments = *arguments;
                if let Some(message) = message {
                    frame.message = *message;
                }
                kernel.system_call(*thread);
            }
            Input::Fault(thread, fault) => kernel.fault(*thread, *fault),
            Input::Lost(domain, fault) => kernel.domain_lost(*domain, *fault),
            Input::Charge(thread, nanoseconds) => kernel.charge(*thread, *nanoseconds),
            Input::Expire => kernel.expire(),
            Input::Preempt(thread) => kernel.preempt(*thread),
            Input::PutBack(thread) => kernel.put_back(*thread),
            Input::Offer(domain, image) => {
                // Whoever hands one over asks first whether it fits.
                let _ = kernel.offer(*domain, *image);
            }
            Input::Dispatch => return kernel.dispatch(),
        }
        None
    }
}

/// What a step of a recording is.
#[derive(Clone, Copy, PartialEq, Debug)]
#[expect(clippy::large_enum_variant, reason = "one at a time")]
pub enum Entry {
    /// The first: ΦCore booted.
    Boot,
    /// ΦCore was fed.
    Input(Input),
    /// The last: the run is over.
    End,
}

impl Entry {
    /// Appends it in a form that no other entry has.
    pub(super) fn put(&self, bytes: &mut Vec<u8>) {
        let of = |thread: &ThreadIndex| u64::from(thread.0);
        match self {
            Entry::Boot => put_word(bytes, 0),
            Entry::Input(Input::Call { thread, number, arguments, message }) => {
                let tag = if message.is_some() { 2 } else { 1 };
                put_words(bytes, &[tag, of(thread), u64::from(*number)]);
                put_words(bytes, arguments);
                message.iter().for_each(|message| put_message(bytes, message));
            }
            Entry::Input(Input::Fault(thread, fault)) => {
                put_words(bytes, &[3, of(thread)]);
                put_fault(bytes, fault);
            }
            Entry::Input(Input::Lost(domain, fault)) => {
                put_words(bytes, &[4, u64::from(domain.0)]);
                put_fault(bytes, fault);
            }
            Entry::Input(Input::Charge(thread, nanoseconds)) => {
                put_words(bytes, &[5, of(thread), *nanoseconds]);
            }
            Entry::Input(Input::Expire) => put_word(bytes, 6),
            Entry::Input(Input::Preempt(thread)) => put_words(bytes, &[7, of(thread)]),
            Entry::Input(Input::PutBack(thread)) => put_words(bytes, &[8, of(thread)]),
            Entry::Input(Input::Dispatch) => put_word(bytes, 9),
            Entry::End => put_word(bytes, 10),
            Entry::Input(Input::Offer(domain, image)) => {
                let Image { number, entry, data } = *image;
                put_words(bytes, &[11, u64::from(domain.0), number, entry, data]);
            }
        }
    }

    fn read(reader: &mut Reader<'_>) -> Option<Entry> {
        let tag = reader.word()?;
        let mut thread = || reader.number().map(ThreadIndex);
        Some(Entry::Input(match tag {
            0 => return Some(Entry::Boot),
            1 | 2 => {
                let (thread, number, arguments) = (thread()?, reader.number()?, reader.words()?);
                let message = if tag == 2 { Some(reader.message()?) } else { None };
                Input::Call { thread, number, arguments, message }
            }
            3 => Input::Fault(thread()?, reader.fault()?),
            4 => Input::Lost(DomainIndex(reader.number()?), reader.fault()?),
            5 => Input::Charge(thread()?, reader.word()?),
            6 => Input::Expire,
            7 => Input::Preempt(thread()?),
            8 => Input::PutBack(thread()?),
            9 => Input::Dispatch,
            10 => return Some(Entry::End),
            11 => {
                let domain = DomainIndex(reader.number()?);
                let [number, entry, data] = reader.words()?;
                Input::Offer(domain, Image { number, entry, data })
            }
            _ => return None,
        }))
    }
}

impl std::fmt::Display for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Entry::Boot => f.write_str("the boot"),
            Entry::Input(Input::Call { thread, number, .. }) => {
                match phi_abi::Number::from_number(*number) {
                    Some(number) => write!(f, "the call {number:?} of thread {}", thread.0),
                    None => write!(f, "the call {number} of thread {}", thread.0),
                }
            }
            Entry::Input(Input::Fault(thread, _)) => write!(f, "the fault of thread {}", thread.0),
            Entry::Input(Input::Lost(domain, _)) => write!(f, "the loss of domain {}", domain.0),
            Entry::Input(Input::Charge(thread, _)) => {
                write!(f, "the CPU time of thread {}", thread.0)
            }
            Entry::Input(Input::Expire) => f.write_str("the passing of time"),
            Entry::Input(Input::Preempt(thread)) => {
                write!(f, "the end of the slice of thread {}", thread.0)
            }
            Entry::Input(Input::PutBack(thread)) => {
                write!(f, "the interrupt of thread {}", thread.0)
            }
            Entry::Input(Input::Offer(domain, _)) => {
                write!(f, "the offer of an image to domain {}", domain.0)
            }
            Entry::Input(Input::Dispatch) => f.write_str("the dispatch of a thread"),
            Entry::End => f.write_str("the end"),
        }
    }
}

/// What a machine answered, where ΦCore asked something that has an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// It did what it was asked.
    Done,
    /// It could not.
    Refused,
    /// The time, in nanoseconds since the system's start.
    Time(u64),
}

/// A step of a recording.
#[derive(Clone, PartialEq, Debug)]
pub struct Step {
    /// What it is.
    pub entry: Entry,
    /// What the machine answered in it, in order.
    pub answers: Vec<Answer>,
    /// The first 64 bits of the hash of everything so far.
    pub hash: u64,
}

impl Step {
    /// Appends it.
    pub(super) fn put(&self, bytes: &mut Vec<u8>) {
        self.entry.put(bytes);
        for answer in &self.answers {
            match answer {
                Answer::Done => put_word(bytes, 0),
                Answer::Refused => put_word(bytes, 1),
                Answer::Time(time) => put_words(bytes, &[2, *time]),
            }
        }
        bytes.extend_from_slice(&self.hash.to_le_bytes());
    }

    /// A step that fills `bytes`.
    ///
    /// # Errors
    /// The place of what cannot be read.
    pub(super) fn read(bytes: &[u8]) -> Result<Step, usize> {
        let mut reader = Reader::new(bytes);
        Step::read_all(&mut reader).ok_or(reader.place())
    }

    fn read_all(reader: &mut Reader<'_>) -> Option<Step> {
        let entry = Entry::read(reader)?;
        let mut answers = Vec::new();
        while reader.left() > size_of::<u64>() {
            answers.push(match reader.word()? {
                0 => Answer::Done,
                1 => Answer::Refused,
                2 => Answer::Time(reader.word()?),
                _ => return None,
            });
        }
        let hash = reader.take(size_of::<u64>())?.try_into().ok()?;
        Some(Step { entry, answers, hash: u64::from_le_bytes(hash) })
    }
}
