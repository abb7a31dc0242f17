//! A driver that aims its device where it may not, and who would suffer from it.
//!
//! The driver is started again after each fault, and its generation says what it does next ([`PLAN`]). The
//! victim knows what it should have done, looks after its own memory, and writes the transcript.
#![no_std]
extern crate alloc;

pub mod aimer;
pub mod mapper;
pub mod ticker;
pub mod victim;

use phi_idl::{Caller, interface};

/// What the driver does in each of its lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Aim {
    /// Has its device copy through its own memory, and waits for interrupts.
    Own,
    /// Has it write to the victim's memory, at the address that everybody has for that.
    Victim,
    /// Has it write to a physical address: where the kernel is.
    Physical,
    /// Has it write to the address that the kernel has for its own text.
    Kernel,
    /// Has it read memory of its own that is no longer mapped for it.
    Unmapped,
    /// Has it write where it may only read.
    ReadOnly,
    /// Interrupts without end, and acknowledges none.
    Storm,
}

/// Aims by the driver's generation, from 1.
pub const PLAN: [Aim; 7] =
    [Aim::Own, Aim::Victim, Aim::Physical, Aim::Kernel, Aim::Unmapped, Aim::ReadOnly, Aim::Storm];

/// Who is not to be harmed.
#[interface]
pub trait Victim {
    /// Where its memory is; says which life the driver is in, and that it begins.
    fn begin(&mut self, caller: Caller, generation: u32) -> Result<u64, Done>;

    /// What a life came to that did not end in a fault.
    fn say(&mut self, caller: Caller, what: Word, number: u64) -> Result<(), Done>;
}

/// The driver has nothing more to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Done;

/// What a driver has to say.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub enum Word {
    /// So many bytes came back as they went.
    Copied,
    /// So many interrupts came, as it acknowledged them.
    Interrupts,
    /// One came after a storm had been stopped and acknowledged: 1.
    AfterStorm,
    /// Its device was not stopped.
    NotStopped,
    /// Something is not as it should be, at this step.
    Broken,
}
