//! Faults: the end of a domain that did what no correct program does.

use crate::{Kernel, Machine};
use core::fmt::{self, Write};
use phi_abi::{CONSOLE_LOG, DomainState, Fault, FaultKind};

/// One line of the log, built without a heap.
pub(crate) struct Line {
    bytes: [u8; 256],
    length: usize,
}

impl Line {
    pub(crate) const EMPTY: Line = Line { bytes: [0; 256], length: 0 };

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = &mut self.bytes[self.length..];
        let length = text.len().min(room.len());
        room[..length].copy_from_slice(&text.as_bytes()[..length]);
        self.length += length;
        if length < text.len() { Err(fmt::Error) } else { Ok(()) }
    }
}

impl<M: Machine> Kernel<M> {
    /// Ends a running domain as faulted; the log says why.
    pub(crate) fn end_faulted(&mut self, domain: u32, fault: Fault) {
        let Fault { kind, address, instruction } = fault;
        let mut line = Line::EMPTY;
        let held = self.domain(domain);
        // What does not fit is cut off.
        let _ = write!(line, "{}/{} faulted: {}", held.name, held.generation, kind.description());
        let _ = match kind {
            FaultKind::BadHandle => write!(line, " {:#x}", address),
            FaultKind::BadArgument => write!(line, " {:#x}", address),
            FaultKind::BadCall => write!(line, " {address}"),
            FaultKind::Killed | FaultKind::Machine | FaultKind::Panic => Ok(()),
            _ => write!(line, " at {address:#x}"),
        };
        if instruction != 0 {
            let _ = write!(line, ", instruction {instruction:#x}");
        }
        let _ = line.write_str("\n");
        self.machine.console_write(CONSOLE_LOG, line.bytes());
        self.end_domain(domain, DomainState::Faulted { kind, address, instruction });
    }
}
