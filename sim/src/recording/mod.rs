//! A run on some machine, written down, and executed again here.
//!
//! ΦCore is deterministic: its state follows from what the machine feeds it with ([`Input`]) and what
//! the machine answers ([`Answer`]). A [`Recorded`] system writes both down, step by step, and after
//! each step a hash of everything that ΦCore asked and let out. [`replay`] boots ΦCore from the plan
//! in the file, feeds it with the same, compares the hashes, and has the checkers watch.
//!
//! Principles:
//! - **One way in**: [`Input::apply`] is what a recorded run and its replay do, and nothing else.
//! - **The file is hostile**: every length has a limit, and no input reaches ΦCore that no machine
//!   could give it.
//! - **As it happens**: each step is written when it is over, through a buffer.
//!
//! Limits: the recording is of this version of ΦCore and its ABI; another one may well do something
//! else. What services do between two calls is not recorded, nor the content of shared pages.

mod codec;
mod file;
mod input;
mod journal;
mod player;
mod replay;
mod system;
#[cfg(test)]
mod tests;
mod trace;
mod watch;

pub use file::{Recording, RecordingError, is_recording};
pub use input::{Answer, Entry, Input, Step};
pub use journal::Journal;
pub use replay::{Difference, End, Reason, Replayed, replay};
pub use system::Recorded;
pub use trace::Traced;
