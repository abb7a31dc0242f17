//! ΦCore beside the model of `tests/proof`: the same operations on both, and the same outcomes.
//!
//! [`Model`] talks to the program that Coq made of the model. [`System`] makes the same operations
//! with ΦCore's own calls, on a machine that does nothing. `tests/agreement.rs` chooses operations at
//! random and compares.
//!
//! Limits: three services; operations that ΦCore would answer with a fault are not made; calls go
//! through capabilities that nobody can revoke, because the model does not end a call whose way was
//! revoked.

mod machine;
mod model;
mod operation;
mod plan;
mod system;

pub use model::{Entry, Model, Standing};
pub use operation::{Gift, Operation, Outcome};
pub use plan::{HELPERS, MAILBOXES, REGIONS, SERVICES, SIGNALS, plan, planning};
pub use system::System;
