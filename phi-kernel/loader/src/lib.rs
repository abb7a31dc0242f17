//! From UEFI firmware to the kernel: what is on a bootable disk, and what the kernel is handed.
//!
//! The firmware starts the program `phi-loader` from the disk's EFI system partition. It reads kernel and
//! bundle from there, checks them, leaves the firmware's services, and enters the kernel as a PVH loader
//! would: so the kernel does not know how it was booted, and one kernel file serves both ways.
//!
//! This library is what of that needs no firmware: it is tested natively, and `phi-host` writes disks by
//! it. The program is `main.rs`.
//!
//! Principles:
//! - **The disk is hostile**: every length and address is checked before it is used, and what does not
//!   match its hash is refused, with the reason.
//! - **Nothing is needed of the firmware but files and memory.** Where it put itself does not matter: the
//!   kernel goes to its place after the firmware is gone.
//!
//! Limits: x86_64; kernel and bundle below 4 GiB; hashes show damage, not forgery: who can write to the
//! disk can write other hashes.
#![no_std]

pub mod inventory;
pub mod kernel;
pub mod memory_map;
pub mod start_info;

/// Begins what loader and kernel write to a serial line; before it stands what the firmware wrote there.
pub const MARK: &[u8] = b"\x1Ephi-loader\n";
