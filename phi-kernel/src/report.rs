//! The record at the system's end: one line of JSON on the log, after a record separator (RFC 7464).

use crate::machine::Metal;
use core::fmt::{self, Write};
use phi_abi::{DomainInfo, DomainState, DomainStatistics};
use phi_core::{DomainIndex, Kernel};
use phi_manifest::plan::Plan;

/// Begins a record on the log.
pub const RECORD_SEPARATOR: char = '\u{1E}';

/// A system that ended.
pub struct Report<'a> {
    /// Its plan.
    pub plan: &'a Plan,
    /// ΦCore, with what every service is and has used.
    pub kernel: &'a Kernel<Metal>,
    /// Its exit status.
    pub status: u8,
    /// Microseconds from the kernel's entry to the first service's.
    pub boot_microseconds: u64,
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { status, boot_microseconds, .. } = self;
        write!(
            f,
            "{RECORD_SEPARATOR}{{\"status\":{status},\"boot_microseconds\":{boot_microseconds},\
             \"services\":["
        )?;
        for (index, service) in self.plan.services.iter().enumerate() {
            let domain = DomainIndex(index as u16);
            let (info, used) = (self.kernel.info(domain), self.kernel.statistics(domain));
            if index > 0 {
                f.write_char(',')?;
            }
            write_service(f, &service.name, info, used)?;
        }
        f.write_str("]}\n")
    }
}

/// A state in one word, and the status or the number of the fault that comes with it.
pub fn state(state: DomainState) -> (&'static str, u32) {
    match state {
        DomainState::Created => ("created", 0),
        DomainState::Running => ("running", 0),
        DomainState::Exited(status) => ("exited", u32::from(status)),
        DomainState::Faulted { kind, .. } => ("faulted", kind as u32),
        DomainState::Stopped => ("stopped", 0),
    }
}

fn write_service(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    info: DomainInfo,
    used: DomainStatistics,
) -> fmt::Result {
    let (state, code) = state(info.state);
    f.write_str("{\"name\":")?;
    write_text(f, name)?;
    write!(f, ",\"generation\":{},\"state\":\"{state}\",\"code\":{code}", info.generation)?;
    let DomainStatistics { messages, bytes_copied, loans, switches, memory, calls, handles } = used;
    write!(
        f,
        ",\"messages\":{messages},\"bytes_copied\":{bytes_copied},\"loans\":{loans},\
         \"switches\":{switches},\"memory\":{memory},\"calls\":{calls},\"handles\":{handles}}}"
    )
}

/// Text as JSON (RFC 8259, section 7).
pub fn write_text(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_char('"')?;
    for character in text.chars() {
        match character {
            '"' | '\\' => write!(f, "\\{character}")?,
            '\u{0}'..='\u{1F}' => write!(f, "\\u{:04x}", character as u32)?,
            _ => f.write_char(character)?,
        }
    }
    f.write_char('"')
}
