//! The processor's faults of a service: the thread leaves it, with a [`Fault`] as bare metal sees it.
//! Any other fault is a mistake of the host and ends the process as usual.

#![expect(unsafe_code, reason = "handles signals")]

use super::coroutine::{self, leave};
use phi_abi::layout::{SERVICES, WINDOW_SIZE, WINDOWS_BASE};
use phi_abi::{Fault, FaultKind};
use std::io;
use std::ops::Range;

const FAULT_SIGNALS: [i32; 5] =
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGTRAP];

/// Flags that a service may have set and the host must not run with: trap, direction, alignment.
const SERVICE_FLAGS: i64 = 1 << 8 | 1 << 10 | 1 << 18;

/// Bytes of the stack on which signals are handled; the saved state of a processor with wide vectors
/// takes about 11 KiB of it.
const SIGNAL_STACK: usize = 64 << 10;

/// The handlers and their stack, for as long as this lives; then what was there before.
pub(super) struct Handlers {
    before: Vec<(i32, libc::sigaction)>,
    stack_before: libc::stack_t,
    _stack: Vec<u8>,
}

impl Handlers {
    /// Installs the handlers in this process, and their stack on this thread.
    ///
    /// # Errors
    /// What Linux says.
    pub(super) fn install() -> io::Result<Handlers> {
        let mut stack = vec![0; SIGNAL_STACK];
        let own =
            libc::stack_t { ss_sp: stack.as_mut_ptr().cast(), ss_flags: 0, ss_size: stack.len() };
        // SAFETY: all zeros is a valid description of a stack.
        let mut stack_before: libc::stack_t = unsafe { std::mem::zeroed() };
        // SAFETY: the stack is memory that nothing else uses and that lives as long as the handlers.
        if unsafe { libc::sigaltstack(&own, &mut stack_before) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let mut handlers = Handlers { before: Vec::new(), stack_before, _stack: stack };
        for signal in FAULT_SIGNALS {
            // SAFETY: all zeros is a valid action, with an empty mask.
            let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
            action.sa_sigaction = on_fault as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            handlers.before.push((signal, change_action(signal, &action)?));
        }
        Ok(handlers)
    }
}

impl Drop for Handlers {
    fn drop(&mut self) {
        for (signal, action) in &self.before {
            // It was the action of this signal before, so it is valid.
            let _ = change_action(*signal, action);
        }
        // SAFETY: it was the stack of this thread before.
        unsafe { libc::sigaltstack(&self.stack_before, std::ptr::null_mut()) };
    }
}

fn change_action(signal: i32, action: &libc::sigaction) -> io::Result<libc::sigaction> {
    // SAFETY: all zeros is a valid action.
    let mut before: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: both actions are valid, and the handler installed here is async-signal-safe.
    match unsafe { libc::sigaction(signal, action, &mut before) } {
        0 => Ok(before),
        _ => Err(io::Error::last_os_error()),
    }
}

extern "C" fn on_fault(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes valid information and context, which only this handler uses.
    let (info, context) = unsafe { (&*info, &mut *context.cast::<libc::ucontext_t>()) };
    // A code of 0 or less: sent by a process, so no fault at all.
    let running = coroutine::current().filter(|held| held.in_service.get() && info.si_code > 0);
    let Some(running) = running else {
        // SAFETY: all zeros is the default action. The signal comes again after the return: a fault
        // because its instruction runs again, a sent signal because it is raised.
        unsafe {
            let action: libc::sigaction = std::mem::zeroed();
            libc::sigaction(signal, &action, std::ptr::null_mut());
            if info.si_code <= 0 {
                libc::raise(signal);
            }
        }
        return;
    };
    let registers = &mut context.uc_mcontext.gregs;
    let register = |index: i32| registers[index as usize] as u64;
    let trap = Trap {
        number: register(libc::REG_TRAPNO),
        code: register(libc::REG_ERR),
        address: register(libc::REG_CR2),
        instruction: register(libc::REG_RIP),
        copying: running.copying.take(),
    };
    running.fault.set(Some(trap.fault(&running.guard)));
    running.in_service.set(false);
    registers[libc::REG_RIP as usize] = leave as *const () as i64;
    registers[libc::REG_RDI as usize] = running.host_stack.get() as i64;
    registers[libc::REG_EFL as usize] &= !SERVICE_FLAGS;
}

/// What the processor said.
struct Trap {
    number: u64,
    code: u64,
    address: u64,
    instruction: u64,
    /// Address of the message that the call table was copying.
    copying: Option<u64>,
}

const PAGE_FAULT: u64 = 14;
const WRITE: u64 = 1 << 1;
const FETCH: u64 = 1 << 4;

impl Trap {
    /// As ΦCore knows it; `guard` is what lies below the first stack.
    fn fault(&self, guard: &Range<u64>) -> Fault {
        if let Some(address) = self.copying {
            return Fault { kind: FaultKind::BadArgument, address, instruction: 0 };
        }
        let end = WINDOWS_BASE + (SERVICES as u64 + 1) * WINDOW_SIZE;
        let own = (WINDOWS_BASE..end).contains(&self.instruction);
        let kind = match self.number {
            0 => FaultKind::Division,
            1 | 3 => FaultKind::Breakpoint,
            6 => FaultKind::IllegalInstruction,
            16 | 19 => FaultKind::FloatingPoint,
            PAGE_FAULT if self.code & FETCH != 0 || self.address == self.instruction => {
                FaultKind::Execute
            }
            PAGE_FAULT if guard.contains(&self.address) => FaultKind::StackOverflow,
            PAGE_FAULT if self.code & WRITE != 0 => FaultKind::Write,
            PAGE_FAULT => FaultKind::Read,
            _ => FaultKind::Protection,
        };
        let address = if self.number == PAGE_FAULT { self.address } else { 0 };
        // The call table's own instructions say nothing about the service.
        let instruction = if own || kind == FaultKind::Execute { self.instruction } else { 0 };
        Fault { kind, address, instruction }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_faults_name_what_was_tried() {
        let code = WINDOWS_BASE + 0x10_0000;
        let fault = |number, error, address| {
            let trap = Trap { number, code: error, address, instruction: code, copying: None };
            trap.fault(&(0x1000..0x2000)).kind
        };
        assert_eq!(fault(14, 4, 0x5008), FaultKind::Read);
        assert_eq!(fault(14, 6, 0x5008), FaultKind::Write);
        assert_eq!(fault(14, 0x14, 0x5008), FaultKind::Execute);
        assert_eq!(fault(14, 6, 0x1ff8), FaultKind::StackOverflow);
        assert_eq!(fault(0, 0, 0), FaultKind::Division);
    }
}
