//! Capabilities: who may do what with which object, and how that is taken back.
//!
//! Principles:
//! - **One table of entries** for all domains. Each domain's slots are a part of it; entries outside
//!   any domain hold the capabilities that travel in queued messages. So a capability is always in
//!   exactly one entry, wherever it is.
//! - **Rights only shrink**, and a handle never comes to name something else: each slot has a
//!   generation, and a slot whose generation would wrap is retired.
//! - **Revocation is one addition.** A capability belongs to a lineage at a version; revoking adds
//!   one to the lineage's version. A check compares versions up the chain of parents, at most
//!   [`phi_abi::LINEAGE_DEPTH`] of them; while nothing has been revoked since its last check, one
//!   compare with the global epoch does.
//! - **A lineage has one owner**: the capability that can revoke it, or the call whose loan it is.
//!   When the owner goes, what was derived joins the owner's own lineage ([`Capabilities::dissolve`]),
//!   so lineages never outlive the quota they are charged to.
//! - The capabilities to one object form a list at its *anchor*, so that a sweep after a revocation
//!   looks only at what may be concerned, and those through which pages are mapped another one.
//! - **A sweep takes small steps** ([`Capabilities::next_revoked`]). Until it has come by, what was revoked
//!   is found invalid by its version.
//!
//! Limits: pools are made in [`Capabilities::new`] and never grow. This crate knows no objects: what
//! has to happen to pages or to blocked threads is the caller's part.
#![no_std]
extern crate alloc;

mod capability;
mod lineage;
mod replies;
mod sweep;
mod table;

pub use capability::{Capability, Mapping, Origin, State};
pub use lineage::{LineageError, Lineages};
pub use replies::Replies;
pub use table::{Capabilities, Slots, SpaceSize};
