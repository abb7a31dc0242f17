//! The description of a ΦOS system: manifest → checks → plan → bundle.
//!
//! [`check`] reads a manifest (`docs/manifest.md` is its reference), [`Manifest::plan`] makes every
//! choice that it leaves open, [`builder::build`] joins the plan with images and inputs, and
//! [`bundle::Bundle::open`] is what both machines read. They need only the plan and the bundle, which
//! are there without the feature `build`, and without std.
//!
//! Principles:
//! - **A manifest is checked whole**: every mistake is reported at once, with its place and its cure.
//! - **A plan has every choice made**, so that a machine only follows it.
//! - **A bundle is checked whole before anything of it is used**: who made it may be hostile.
//!
//! Limits: those of [`phi_abi::layout`]; a manifest has at most 256 KiB.
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
