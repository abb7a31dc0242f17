//! Devices of the machine's buses, for drivers: who drives what, and the capabilities for it.
//!
//! Principles:
//! - **A device has one driver.** Who claims it first has it until the system ends; a driver that was started
//!   anew claims again, which takes everything back that it had, and resets the device.
//! - **The driver owns no configuration space**: it can read its own device's, and what would change where the
//!   device answers or interrupts is done for it.
//! - **No device without DMA space transfers anything**; see `docs/devices.md`.
#![no_std]

use phi_idl::{Caller, Capability, interface};
use serde::{Deserialize, Serialize};

/// The devices of the machine's buses.
#[interface]
pub trait Platform {
    /// Takes the device number `nth`, from 0, of those with these ids of PCI.
    fn claim(
        &mut self,
        caller: Caller,
        vendor: u16,
        device: u16,
        nth: u16,
    ) -> Result<Function, PlatformError>;

    /// The word at `offset`, a multiple of 4, of the claimed device's configuration space.
    fn configuration(&mut self, caller: Caller, offset: u16) -> Result<u32, PlatformError>;

    /// A region of what the claimed device has behind base address register `bar`.
    fn region(&mut self, caller: Caller, bar: u8) -> Result<Capability, PlatformError>;

    /// The claimed device's interrupt: its message number 0, or its only one.
    fn irq(&mut self, caller: Caller) -> Result<Capability, PlatformError>;

    /// The claimed device's DMA space.
    fn dma_space(&mut self, caller: Caller) -> Result<Capability, PlatformError>;

    /// Gives the claimed device up.
    fn release(&mut self, caller: Caller) -> Result<(), PlatformError>;

    /// Takes the serial line number `nth`, from 0, of those that the kernel does not write to itself: its ports,
    /// [`LINE_PORTS`] of them. A driver has a line besides a device, or instead.
    fn claim_line(&mut self, caller: Caller, nth: u16) -> Result<Capability, PlatformError>;

    /// The claimed line's interrupt.
    fn line_irq(&mut self, caller: Caller) -> Result<Capability, PlatformError>;
}

/// Ports of a serial line.
pub const LINE_PORTS: u16 = 8;

/// A device that was claimed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Function {
    /// Bus, device and function, as 8, 5 and 3 bits.
    pub requester: u16,
}

/// Why a driver does not get what it asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum PlatformError {
    /// There is no such device, or not so many.
    NotFound,
    /// Another service drives it.
    Taken,
    /// Nothing was claimed.
    NotClaimed,
    /// The device has no such register or interrupt.
    Unsupported,
    /// The machine has no room for it, or refuses it.
    Refused,
}

impl core::fmt::Display for PlatformError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            PlatformError::NotFound => "there is no such device",
            PlatformError::Taken => "another service drives it",
            PlatformError::NotClaimed => "nothing was claimed",
            PlatformError::Unsupported => "the device has none",
            PlatformError::Refused => "the machine refuses it, or has no room for it",
        })
    }
}

impl core::error::Error for PlatformError {}
