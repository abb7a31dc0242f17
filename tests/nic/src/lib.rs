//! Clients of a network card, for tests of its drivers: [`pinger`] exchanges packets with whoever is at the
//! other side, whatever happens to the driver, and [`prober`] asks for all that is wrong.
//!
//! Principles: they know of [`phi_nic::Nic`] and of no machine. What speaks IP is the crate `smoltcp`.
#![no_std]

extern crate alloc;

pub mod pinger;
pub mod prober;
mod wire;
