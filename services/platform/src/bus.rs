//! What is on the buses: devices, their registers' places, their interrupts and their resets (PCI Local Bus
//! Specification 3.0, chapter 6; PCI Express Base Specification 5.0, 7.5.3).

use alloc::vec::Vec;
use core::ops::Range;
use pci_types::capability::PciCapability;
use pci_types::{
    Bar, CommandRegister, ConfigRegionAccess, EndpointHeader, HeaderType, MAX_BARS, PciAddress,
    PciHeader,
};

/// Devices, at most.
const FUNCTIONS: usize = 64;

/// Capabilities of a device that are looked at; a list without end is one of a broken device.
const CAPABILITIES: usize = 48;

/// End of the addresses below 4 GiB that registers can have; interrupt controllers follow.
const REGISTERS_END: u64 = 0xFEC0_0000;

/// The registers of a device behind one base address register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window {
    /// Physical address, a multiple of the length.
    pub address: u64,
    /// Bytes, a power of 2.
    pub length: u64,
}

/// A device.
#[derive(Clone, Debug)]
pub struct Function {
    /// Where it is.
    pub address: PciAddress,
    /// Its ids.
    pub ids: (u16, u16),
    /// Its registers.
    pub windows: [Option<Window>; MAX_BARS],
}

impl Function {
    /// Bus, device and function, as 8, 5 and 3 bits.
    pub fn requester(&self) -> u16 {
        let (bus, device) = (u16::from(self.address.bus()), u16::from(self.address.device()));
        (bus << 8) | (device << 3) | u16::from(self.address.function())
    }
}

/// How a device interrupts by messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Messages {
    /// As configuration space says (MSI).
    Configured,
    /// As a table says (MSI-X), which begins at a physical address.
    Table(u64),
}

/// The devices that `access` shows on buses `first..first + count`, each with a place for its registers:
/// from `free` on for those whose firmware gave them none.
pub fn functions<A: ConfigRegionAccess + Copy>(
    access: A,
    first: u8,
    count: usize,
    free: u64,
) -> Vec<Function> {
    let mut found = Vec::new();
    for bus in (first..=u8::MAX).take(count) {
        for device in 0..32 {
            let whole = PciHeader::new(PciAddress::new(0, bus, device, 0));
            if whole.id(access).0 == u16::MAX {
                continue;
            }
            let functions = if whole.has_multiple_functions(access) { 8 } else { 1 };
            for function in 0..functions {
                let header = PciHeader::new(PciAddress::new(0, bus, device, function));
                let ids = header.id(access);
                let endpoint = header.header_type(access) == HeaderType::Endpoint;
                if ids.0 != u16::MAX && endpoint && found.len() < FUNCTIONS {
                    let address = header.address();
                    found.push(Function { address, ids, windows: windows(address, access) });
                }
            }
        }
    }
    give_places(access, &mut found, free);
    found
}

fn endpoint<A: ConfigRegionAccess + Copy>(
    address: PciAddress,
    access: A,
) -> Option<EndpointHeader> {
    EndpointHeader::from_header(PciHeader::new(address), access)
}

/// The registers of a device, as its base address registers say: with the address 0 if it has no place.
fn windows<A: ConfigRegionAccess + Copy>(
    address: PciAddress,
    access: A,
) -> [Option<Window>; MAX_BARS] {
    let mut windows = [None; MAX_BARS];
    let mut header = PciHeader::new(address);
    // While a register is measured, it says something else.
    let before = header.command(access);
    header.update_command(access, |command| command & !CommandRegister::MEMORY_ENABLE);
    let endpoint = endpoint(address, access);
    let mut slot = 0;
    while slot < MAX_BARS as u8 {
        let bar = endpoint.as_ref().and_then(|endpoint| endpoint.bar(slot, access));
        let window = match bar {
            Some(Bar::Memory32 { address, size, .. }) => Some((u64::from(address), size.into())),
            Some(Bar::Memory64 { address, size, .. }) => Some((address, size)),
            _ => None,
        };
        let whole = |length: &u64| length.is_power_of_two() && *length <= 1 << 32;
        windows[usize::from(slot)] = window
            .filter(|(address, length)| whole(length) && address.is_multiple_of(*length))
            .map(|(address, length)| Window { address, length });
        slot += if matches!(bar, Some(Bar::Memory64 { .. })) { 2 } else { 1 };
    }
    header.update_command(access, |_| before);
    windows
}

/// Gives registers without a place one below 4 GiB, from `free` on, beside what has one. What does not fit
/// stays without.
fn give_places<A: ConfigRegionAccess + Copy>(access: A, found: &mut [Function], free: u64) {
    let placed = found.iter().flat_map(|function| function.windows.iter().flatten());
    let placed = placed.filter(|window| window.address != 0);
    let mut taken: Vec<Range<u64>> =
        placed.map(|window| window.address..window.address + window.length).collect();
    for function in found {
        let Some(mut endpoint) = endpoint(function.address, access) else { continue };
        for (slot, place) in (0..).zip(&mut function.windows) {
            let Some(window) = place.as_mut().filter(|window| window.address == 0) else {
                continue;
            };
            let Some(address) = next_place(&taken, free, window.length) else {
                *place = None;
                continue;
            };
            taken.push(address..address + window.length);
            window.address = address;
            // SAFETY: the device is not driven by anybody yet, and nothing else has this place.
            #[expect(unsafe_code, reason = "moves a device's registers")]
            let written = unsafe { endpoint.write_bar(slot, access, address as usize) };
            if written.is_err() {
                *place = None;
            }
        }
    }
}

/// The first place of `length` bytes from `free` on that nothing has.
fn next_place(taken: &[Range<u64>], free: u64, length: u64) -> Option<u64> {
    let mut address = free.checked_next_multiple_of(length)?;
    while let Some(end) = address.checked_add(length).filter(|end| *end <= REGISTERS_END) {
        let other = taken.iter().find(|other| address < other.end && other.start < end);
        match other {
            None => return Some(address),
            Some(other) => address = other.end.checked_next_multiple_of(length)?,
        }
    }
    None
}

/// Lets the device answer at the places of its registers, and takes back its way to interrupt by a line.
pub fn switch_on<A: ConfigRegionAccess + Copy>(access: A, function: &Function) {
    PciHeader::new(function.address).update_command(access, |command| {
        command | CommandRegister::MEMORY_ENABLE | CommandRegister::INTERRUPT_DISABLE
    });
}

/// Has the device write `data` to `address` as its interrupt, of which there is one; says whether what it
/// has for that is a table, which the caller fills. `None` for a device without messages.
pub fn set_messages<A: ConfigRegionAccess + Copy>(
    access: A,
    function: &Function,
    address: u64,
    data: u32,
) -> Option<Messages> {
    let endpoint = endpoint(function.address, access)?;
    let mut single = None;
    for capability in endpoint.capabilities(access).take(CAPABILITIES) {
        match capability {
            PciCapability::MsiX(mut messages) => {
                let window = function.windows.get(usize::from(messages.table_bar()))?.as_ref()?;
                let offset = u64::from(messages.table_offset());
                if offset + 16 > window.length {
                    return None;
                }
                messages.set_function_mask(false, access);
                messages.set_enabled(true, access);
                return Some(Messages::Table(window.address + offset));
            }
            PciCapability::Msi(messages) => single = Some(messages),
            _ => {}
        }
    }
    let messages = single?;
    messages.set_message_info(address, data, access);
    messages.set_enabled(true, access);
    Some(Messages::Configured)
}

/// The word at `offset` of a device's configuration space.
pub fn word<A: ConfigRegionAccess + Copy>(access: A, function: &Function, offset: u16) -> u32 {
    // SAFETY: reading has no effect that anybody relies on.
    #[expect(unsafe_code, reason = "the trait wants it so")]
    unsafe {
        access.read(function.address, offset & 0xFFC)
    }
}

/// Has the device forget everything, if it can be told to alone (function level reset). The caller waits
/// for [`RESET`] before it uses the device.
pub fn reset<A: ConfigRegionAccess + Copy>(access: A, function: &Function) -> bool {
    let Some(endpoint) = endpoint(function.address, access) else { return false };
    let express = endpoint.capabilities(access).take(CAPABILITIES).find_map(|one| match one {
        PciCapability::PciExpress(address) => Some(address.offset),
        _ => None,
    });
    let Some(offset) = express.filter(|offset| word(access, function, offset + 4) >> 28 & 1 != 0)
    else {
        return false;
    };
    let control = word(access, function, offset + 8) & 0xFFFF;
    // SAFETY: the device's driver is gone, and its registers keep their places.
    #[expect(unsafe_code, reason = "resets a device")]
    unsafe {
        access.write(function.address, offset + 8, control | 1 << 15);
    }
    true
}

/// Nanoseconds that a reset may take.
pub const RESET: u64 = 100_000_000;
