//! ΦCore: the capability microkernel as one state machine over a [`Machine`].
//!
//! A machine (Linux, bare metal, a simulator) feeds [`Kernel`] with system calls, faults and the
//! passing of time, and runs the threads that [`Kernel::dispatch`] names. Everything else is decided
//! here, once, so that a service finds the same semantics everywhere.
//!
//! Principles:
//! - **No ambient authority.** A thread names what it uses by handles of its own domain's capability
//!   table; there is no identity that passes a check.
//! - **After a revocation returns, no use succeeds**: pages are unmapped, waits through what was
//!   revoked have ended, and what travels in messages does not arrive.
//! - **Fixed pools.** [`Kernel::boot`] allocates what the plan's quotas add up to; nothing is allocated
//!   afterwards, and running out is the caller's `QuotaExceeded`.
//! - **Constant time on the way of a message**: no scan of a pool in call, reply, receive and send.
//!   Revocation and the end of a domain look through lists and pools of bounded size.
//! - **Nothing a service does stops ΦCore.** What no correct program does is a fault of its domain.
//!
//! Limits: one processor's worth of state, entered by one thread of the machine at a time; 65,536
//! threads; the system ends with domain 0, `init`.
#![no_std]
extern crate alloc;
#[cfg(test)]
extern crate std;

mod anchor;
mod boot;
mod call;
mod canonical;
mod capability;
mod device;
mod direct;
mod domain;
mod fast;
mod fault;
mod frame;
mod grant;
mod kernel;
mod lifetime;
mod machine;
mod mailbox;
mod object;
mod ports;
mod region;
mod replace;
mod reply;
mod revoke;
mod schedule;
mod signal;
mod start;
#[cfg(test)]
mod tests;
mod thread;
mod view;

pub use boot::BootError;
pub use device::MessageSignal;
pub use direct::{Carried, Destination};
pub use fast::{Handover, is_plain};
pub use frame::Frame;
pub use kernel::{Kernel, SLICE};
pub use machine::{
    Content, Devices, DmaIndex, DomainIndex, IrqIndex, Machine, MachineError, RegionIndex, Span,
    ThreadIndex,
};
pub use object::Activity;
pub use replace::{Image, OfferError};
pub use view::{Account, Holding};
