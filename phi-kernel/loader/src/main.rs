//! The UEFI program: reads kernel and bundle from the partition that it was started from, checks them,
//! and enters the kernel.
//!
//! It ends in one of two ways: in the kernel, or with the reason on the firmware's console and on COM2,
//! and an error for the firmware, which may then start something else. In QEMU the machine ends, as when
//! the kernel cannot go on.
#![cfg_attr(target_os = "uefi", no_main, no_std)]
#![allow(unsafe_code, reason = "a loader writes physical memory and leaves the firmware")]

#[cfg(target_os = "uefi")]
extern crate alloc;

#[cfg(target_os = "uefi")]
mod boot;
#[cfg(target_os = "uefi")]
mod failure;
#[cfg(target_os = "uefi")]
mod files;
#[cfg(target_os = "uefi")]
mod handover;
#[cfg(target_os = "uefi")]
mod machine;

#[cfg(not(target_os = "uefi"))]
fn main() {
    eprintln!("phi-loader is started by UEFI firmware: build it for x86_64-unknown-uefi");
}
