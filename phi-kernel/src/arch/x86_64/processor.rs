//! What this processor can do, and how the kernel sets it up.

use super::user_copy;
use raw_cpuid::CpuId;
use x86_64::registers::control::{Cr0, Cr0Flags, Cr4, Cr4Flags};
use x86_64::registers::model_specific::{Efer, EferFlags, Msr};
use x86_64::registers::xcontrol::{XCr0, XCr0Flags};

/// What the kernel cannot do without, and the processor lacks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Missing(pub &'static str);

/// The register of what entries' cache bits mean (Intel's Software Developer's Manual, volume 3, 13.12).
const PAGE_ATTRIBUTES: u32 = 0x277;

/// As after a reset, but for entry 1, write-through there: write-combining.
const ATTRIBUTES: u64 = 0x0007_0406_0007_0106;

/// Turns on what the kernel uses: no-execute pages, `syscall`, write protection, XSAVE; and, where they
/// exist, supervisor mode execution and access prevention, user mode instruction prevention, and identifiers of
/// address spaces.
///
/// # Errors
/// [`Missing`]: the kernel cannot run on this processor.
pub fn set_up() -> Result<(), Missing> {
    let identification = CpuId::new();
    let features = identification.get_feature_info().ok_or(Missing("feature flags"))?;
    let extended = identification
        .get_extended_processor_and_feature_identifiers()
        .ok_or(Missing("long mode"))?;
    let need = |present: bool, what| if present { Ok(()) } else { Err(Missing(what)) };
    need(extended.has_execute_disable(), "no-execute pages")?;
    need(extended.has_syscall_sysret(), "syscall")?;
    need(features.has_xsave(), "XSAVE")?;
    need(features.has_apic(), "a local APIC")?;
    need(features.has_tsc(), "a time stamp counter")?;
    let structured = identification.get_extended_feature_info();
    let has = |present: fn(&raw_cpuid::ExtendedFeatures) -> bool| {
        structured.as_ref().is_some_and(present)
    };
    let mut control = Cr4Flags::PHYSICAL_ADDRESS_EXTENSION
        | Cr4Flags::PAGE_GLOBAL
        | Cr4Flags::OSFXSR
        | Cr4Flags::OSXMMEXCPT_ENABLE
        | Cr4Flags::OSXSAVE;
    let access_prevention = has(raw_cpuid::ExtendedFeatures::has_smap);
    for (present, flag) in [
        (
            has(raw_cpuid::ExtendedFeatures::has_smep),
            Cr4Flags::SUPERVISOR_MODE_EXECUTION_PROTECTION,
        ),
        (access_prevention, Cr4Flags::SUPERVISOR_MODE_ACCESS_PREVENTION),
        (has(raw_cpuid::ExtendedFeatures::has_umip), Cr4Flags::USER_MODE_INSTRUCTION_PREVENTION),
        // What changes in a space that is not active is forgotten by INVPCID only.
        (features.has_pcid() && has(raw_cpuid::ExtendedFeatures::has_invpcid), Cr4Flags::PCID),
    ] {
        control.set(flag, present);
    }
    // SAFETY: the processor has all of these; the tables in use keep to what they ask for: the kernel
    // executes no page of a service, and reads them only in `user_copy`. The root in use has no identifier.
    unsafe {
        Efer::update(|flags| {
            flags.insert(EferFlags::NO_EXECUTE_ENABLE | EferFlags::SYSTEM_CALL_EXTENSIONS);
        });
        Cr4::write(control);
        Cr0::write(
            Cr0Flags::PAGING
                | Cr0Flags::PROTECTED_MODE_ENABLE
                | Cr0Flags::WRITE_PROTECT
                | Cr0Flags::NUMERIC_ERROR
                | Cr0Flags::EXTENSION_TYPE
                | Cr0Flags::MONITOR_COPROCESSOR,
        );
    }
    if !access_prevention {
        // SAFETY: the tables of the entry, which are still in use, map everything to be written.
        unsafe { user_copy::remove_access_switches() };
    }
    // SAFETY: only entry 1 changes, which the tables in use do not name.
    unsafe { Msr::new(PAGE_ATTRIBUTES).write(ATTRIBUTES) };
    enable_extended_state(&identification);
    Ok(())
}

/// Bits of a physical address.
pub fn physical_bits() -> u32 {
    let capacity = CpuId::new().get_processor_capacity_feature_info();
    capacity.map_or(36, |capacity| u32::from(capacity.physical_address_bits()))
}

/// Lets services use the vector registers that the processor has.
fn enable_extended_state(identification: &CpuId<raw_cpuid::CpuIdReaderNative>) {
    let mut components = XCr0Flags::X87 | XCr0Flags::SSE;
    if let Some(state) = identification.get_extended_state_info() {
        if state.xcr0_supports_avx_256() {
            components |= XCr0Flags::AVX;
        }
        let wide = state.xcr0_supports_avx512_opmask()
            && state.xcr0_supports_avx512_zmm_hi256()
            && state.xcr0_supports_avx512_zmm_hi16();
        if wide && components.contains(XCr0Flags::AVX) {
            components |= XCr0Flags::OPMASK | XCr0Flags::ZMM_HI256 | XCr0Flags::HI16_ZMM;
        }
    }
    // SAFETY: XSAVE is on, and the processor supports these components in this combination.
    unsafe { XCr0::write(components) };
}
