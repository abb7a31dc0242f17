//! The first service: it starts the others as the plan says, watches them, and applies their restart
//! policies. Its end is the system's, with its status.
//!
//! Principles:
//! - **An ordinary service**: what it can do is what the plan gives it: the plan (`plan`), a signal
//!   (`events`), the log (`log`), and a domain for each service that it supervises.
//! - **Policy apart from mechanism**: [`Policy`] decides, from ends and times alone; the rest asks
//!   ΦCore and does what it says.
//! - **Every end is in the log**, with what follows from it.
//! - **A new image starts where the old one made room**: one with state is asked to hand over, and has a
//!   second for it; then it is stopped. What waits in its mailboxes stays there (ΦCore does that), and the
//!   swap is no restart. An image that cannot be started is given up for the one of before.
//!
//! The system's status, when it ends:
//! - with an `until` service: that service's status once it has ended for good, or
//!   [`STATUS_FAULT`] when it gave none (it faulted, was stopped, or could not be started);
//! - when a service has failed for good and its policy says `stop`: likewise, its status or
//!   [`STATUS_FAULT`];
//! - without an `until` service, once every service has ended for good: 0 if none has failed,
//!   otherwise the first failure's status or [`STATUS_FAULT`].
//!
//! Limits: services that another service supervises are not this one's concern. A service that
//! somebody stopped on purpose counts as ended for good, not as failed.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod policy;
mod report;
mod run;

pub use policy::{End, Policy, STATUS_FAULT, Verdict};
pub use run::main;
