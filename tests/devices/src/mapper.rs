//! Who asks for memory that is no device's, and for ports that are nobody's.

use core::fmt::Write;
use phi_rt::{Caching, Service};

/// Physical addresses, and what is there.
const PLACES: [(&str, u64); 8] = [
    ("the first memory", 0x1000),
    ("memory", 0x10_0000),
    ("the kernel", 0x20_0000),
    ("more of the kernel", 0x24_0000),
    ("the local APIC", 0xFEE0_0000),
    ("the I/O APIC", 0xFEC0_0000),
    ("the IOMMU", 0xFED9_0000),
    ("beyond all addresses", 1 << 52),
];

/// First ports and their numbers, and what is there.
const PORTS: [(&str, u16, u16); 16] = [
    ("the first transfer controller", 0x00, 16),
    ("the interrupt controller", 0x20, 2),
    ("the timer", 0x40, 4),
    ("the clock, and a mask of interrupts", 0x70, 2),
    ("a reset", 0x92, 1),
    ("the way into the firmware", 0xB2, 1),
    ("the machine's end", 0xF4, 1),
    ("the kernel's transcript", 0x3F8, 8),
    ("the kernel's log", 0x2F8, 8),
    ("the firmware's transfers", 0x510, 12),
    ("configuration space", 0xCF8, 8),
    ("a serial line and its neighbour", 0x3E8, 9),
    ("a serial line and the one before", 0x3E7, 9),
    ("a serial line and all after it", 0x3E8, 0xFC18),
    ("the other one and all after it", 0x2E8, 0xFD18),
    ("all after a serial line", 0x3F0, 0xFC10),
];

/// Says what came of each; returns the exit status.
pub fn main(service: &Service) -> u8 {
    let (Ok(hardware), Ok(output)) = (service.hardware("hardware"), service.console("output"))
    else {
        return 2;
    };
    for (what, address) in PLACES {
        let got = hardware.region(address, 4096, Caching::Uncached);
        let _ = writeln!(&output, "{what}: {:?}", got.map(|region| region.length()));
    }
    for (what, first, count) in PORTS {
        let _ = writeln!(&output, "{what}: {:?}", hardware.ports(first, count).map(drop));
    }
    let line = hardware.ports(0x3E8, 8);
    let part = hardware.ports(0x3EF, 1).map(drop);
    let _ = writeln!(&output, "a serial line, and a part of it: {:?}, {part:?}", line.map(drop));
    // The firmware's tables are no memory of the system's.
    let root = hardware.root().unwrap_or(0) & !0xFFF;
    let got = hardware.region(root, 4096, Caching::Uncached).map(|region| region.length());
    let _ = writeln!(&output, "the firmware's tables: {got:?}");
    0
}
