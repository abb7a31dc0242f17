//! The description of a ΦOS system: manifest → checks → plan → bundle.
//!
//! Principles: a manifest is checked whole, and every mistake is reported at once; a plan has every
//! choice made, so that a machine only follows it; a bundle is checked whole before anything of it
//! is used. Limits: those of [`phi_abi::layout`].
#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

#[cfg(feature = "build")]
pub mod builder;
pub mod bundle;
#[cfg(feature = "build")]
mod check;
#[cfg(feature = "build")]
mod diagnostic;
#[cfg(feature = "build")]
pub mod entries;
#[cfg(feature = "build")]
pub mod image;
pub mod plan;
#[cfg(feature = "build")]
mod planner;
#[cfg(feature = "build")]
mod read;
#[cfg(feature = "build")]
mod units;
mod validate;

#[cfg(feature = "build")]
pub use check::check;
#[cfg(feature = "build")]
pub use diagnostic::{Diagnostic, Diagnostics, Rule};
#[cfg(feature = "build")]
pub use entries::{ImageName, Input, Manifest};
#[cfg(feature = "build")]
pub use planner::InputError;
pub use validate::PlanError;
