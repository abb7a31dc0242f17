//! Machine checks: errors that the processor, its caches or the memory have found in themselves (Intel's
//! Software Developer's Manual, volume 3, chapter 17). Nothing says how far such an error has spread, so it
//! ends the machine, whoever ran; what the hardware knows of it is said before.

use core::fmt::{self, Display, Formatter};
use raw_cpuid::CpuId;
use x86_64::registers::control::{Cr4, Cr4Flags};
use x86_64::registers::model_specific::Msr;

/// How many banks there are, in its low 8 bits; bit 8: whether there is a register to turn all of them on.
const CAPABILITIES: u32 = 0x179;
const HAS_CONTROL: u64 = 1 << 8;
const CONTROL: u32 = 0x17B;

/// The registers of bank 0; each bank has four.
const BANKS: u32 = 0x400;
const BANK: u32 = 4;

/// Of a bank's status: it tells of an error; and it tells where.
const VALID: u64 = 1 << 63;
const ADDRESS: u64 = 1 << 58;

/// Has the processor report what it finds, if it can.
///
/// # Safety
/// Exceptions have handlers from here on.
pub unsafe fn set_up() {
    let features = CpuId::new().get_feature_info();
    if !features.is_some_and(|features| features.has_mce() && features.has_mca()) {
        return;
    }
    // SAFETY: the processor has these registers, which decide only over what is reported; it is the
    // caller's word that a report has a handler.
    unsafe {
        let capabilities = Msr::new(CAPABILITIES).read();
        if capabilities & HAS_CONTROL != 0 {
            Msr::new(CONTROL).write(u64::MAX);
        }
        for bank in 0..capabilities as u8 {
            Msr::new(BANKS + u32::from(bank) * BANK).write(u64::MAX);
        }
        Cr4::update(|flags| flags.insert(Cr4Flags::MACHINE_CHECK_EXCEPTION));
    }
}

/// What the banks know. Only for after a machine check.
pub struct Report;

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        // SAFETY: machine checks come only where these registers exist, and reading them changes nothing.
        unsafe {
            for bank in 0..Msr::new(CAPABILITIES).read() as u8 {
                let first = BANKS + u32::from(bank) * BANK;
                let status = Msr::new(first + 1).read();
                if status & VALID != 0 {
                    write!(f, "bank {bank}: status {status:#x}")?;
                    if status & ADDRESS != 0 {
                        write!(f, ", address {:#x}", Msr::new(first + 2).read())?;
                    }
                    f.write_str("; ")?;
                }
            }
        }
        Ok(())
    }
}
