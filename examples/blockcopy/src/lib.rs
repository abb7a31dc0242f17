//! Example: a disk is checked against its hash, copied to a second one, and that is read back.
//!
//! `copier` knows the interface of block devices and of no machine. Its memory is lent to the drivers, whose
//! devices read and write it; nobody copies a byte of it. A driver that ends, at any time, costs what it had
//! not flushed, which is copied again.
//!
//! In `chaos.toml` the service `reaper` stops the drivers again and again.
#![no_std]
extern crate alloc;

pub mod copier;
mod disk;
pub mod reaper;
