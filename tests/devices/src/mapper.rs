//! Who asks for memory that is no device's.

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
    // The firmware's tables are no memory of the system's.
    let root = hardware.root().unwrap_or(0) & !0xFFF;
    let got = hardware.region(root, 4096, Caching::Uncached).map(|region| region.length());
    let _ = writeln!(&output, "the firmware's tables: {got:?}");
    0
}
