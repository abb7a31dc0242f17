//! The mutation gate: how good are ΦCore's tests?
//!
//! Principles:
//! - **A mutant is one bug** that a person could write: a text of one source file and what stands in
//!   its place ([`Mutant`]). The list is `mutants.toml`.
//! - **Every mutant must be found** by a test that ΦOS has anyway. They run in [`Stage`]s, the cheapest
//!   first, each with a time limit; a test that hangs has found the bug as well.
//! - **Sources are never touched.** The work happens in a [`WorkingCopy`] of the files that git knows.
//! - Before any mutant, all stages run on the sources as they are: tests that fail anyway find nothing.
//!
//! Limits: Linux, with cargo and git. Who interrupts the gate leaves its temporary folder behind. The
//! list is written by hand; it says nothing about bugs that nobody thought of.

mod gate;
mod mutant;
mod stage;
mod working_copy;

pub use gate::{Gate, Report, Verdict};
pub use mutant::{ApplyError, Mutant, all};
pub use stage::{Outcome, Stage};
pub use working_copy::WorkingCopy;
