//! Small worlds of ΦCore, explored exhaustively.
//!
//! A [`World`] is a plan of `init` and two or three domains with one thread each, and an alphabet of calls for each
//! of them. The model checker (stateright) follows every order of everything that they can do, up to a
//! depth, through ΦCore's own code: [`phi_core::Kernel`] is the state, and its `system_call` the
//! transition. After each action the state is compared with books that the model keeps by rules of its
//! own, written from `docs/syscalls.md` and not from ΦCore.
//!
//! Principles:
//! - **The kernel that ships is the model.** Nothing is abstracted but the machine, which only keeps
//!   books, and what [`phi_core::Kernel::canonical`] leaves out of the comparison of two states.
//! - **The books know no versions.** Each capability lists who can take it back; dropping and revoking
//!   change those lists. ΦCore comes to the same by counting versions up chains of lineages.
//! - **A finding stops its branch**, and the checker prints a way there, action by action.
//!
//! Limits: all ready threads are dispatched at once, as on Linux; no budgets, threads beyond the first,
//! or failures of the machine. Those are left to the random tests of `phi-core`.

mod action;
mod book;
mod check;
mod finding;
mod ledger;
mod machine;
mod sight;
mod state;
mod world;
mod worlds;

pub use action::{Action, Passing, Verb, WITHOUT_END};
pub use finding::{Finding, Rule};
pub use machine::BookMachine;
pub use sight::{Sight, Sightings};
pub use state::State;
pub use world::{RULES, World};
pub use worlds::{Size, worlds};
