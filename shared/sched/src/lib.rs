//! Who runs next, and when what is due.
//!
//! Principles: everything by index, in pools made once. Choosing the next thread is one look at a bit
//! map and one removal from a list ([`ReadyQueues`]); setting, cancelling and finding deadlines takes
//! a logarithmic number of steps and no scan ([`Deadlines`]); CPU time is limited per period
//! ([`Budget`]).
//!
//! Limits: 32 priorities. Policy is not made here: this is what a scheduling service will steer.
#![no_std]
extern crate alloc;

mod budget;
mod deadline;
mod ready;

pub use budget::Budget;
pub use deadline::Deadlines;
pub use ready::ReadyQueues;
