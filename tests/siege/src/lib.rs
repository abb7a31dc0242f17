//! A siege of the bare-metal kernel: services that make random calls with random words, reach for memory that is
//! not theirs, and execute what they may not, life after life; and one that looks what is left of each.
//!
//! What a life does follows from its service's argument and its generation.
#![no_std]
extern crate alloc;

pub mod besieger;
pub mod bystander;
pub mod judge;
mod stunt;

use phi_idl::{Caller, interface};

/// Who only wants to be left alone.
#[interface]
pub trait Bystander {
    /// Whether its data is as it was.
    fn is_unharmed(&mut self, caller: Caller) -> Result<bool, Nothing>;
}

/// Nothing goes wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Nothing;
