//! What the kernel needs of a processor, one module for each. Every such module defines the same
//! names, and this one uses the target's.

#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(target_arch = "x86_64")]
pub use x86_64::*;
