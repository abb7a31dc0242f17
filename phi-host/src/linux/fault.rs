//! Signals on the host threads: the processor's faults of a service, and the request to leave.
//!
//! A fault while a thread is in its service makes it leave with a [`Fault`] as the metal machine
//! would see it. Any other fault is a bug of the host and ends the process as usual.

use super::control;
use super::host_thread::{self, HostThread, leave};
use phi_abi::layout::{SERVICES, WINDOW_SIZE, WINDOWS_BASE};
use phi_abi::{Fault, FaultKind};
use std::io;
use std::ops::Range;

const FAULT_SIGNALS: [i32; 5] =
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGTRAP];

/// Flags that a service may have set and the host must not run with: trap, direction, alignment.
const SERVICE_FLAGS: i64 = 1 << 8 | 1 << 10 | 1 << 18;

/// The signal that makes a thread look whether it shall leave or be held.
pub fn attention_signal() -> i32 {
    libc::SIGRTMIN() + 6
}

/// The handlers, for as long as this lives; then what was there before.
pub struct Handlers {
    before: Vec<(i32, libc::sigaction)>,
}

impl Handlers {
    /// Installs the handlers in this process.
    ///
    /// # Errors
    /// What Linux says.
    pub fn install() -> io::Result<Handlers> {
        let mut handlers = Handlers { before: Vec::new() };
        for signal in FAULT_SIGNALS {
            handlers.set(signal, on_fault, libc::SA_RESTART)?;
        }
        // It ends the wait of a thread that shall leave.
        handlers.set(attention_signal(), on_attention, 0)?;
        Ok(handlers)
    }

    fn set(&mut self, signal: i32, handler: Handler, restart: i32) -> io::Result<()> {
        // SAFETY: all zeros is a valid action, with an empty mask.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | restart;
        self.before.push((signal, change_action(signal, &action)?));
        Ok(())
    }
}

impl Drop for Handlers {
    fn drop(&mut self) {
        for (signal, action) in &self.before {
            // It was the action of this signal before, so it is valid.
            let _ = change_action(*signal, action);
        }
    }
}

type Handler = extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void);

fn change_action(signal: i32, action: &libc::sigaction) -> io::Result<libc::sigaction> {
    // SAFETY: all zeros is a valid action.
    let mut before: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: both actions are valid, and the handlers installed here are async-signal-safe.
    match unsafe { libc::sigaction(signal, action, &mut before) } {
        0 => Ok(before),
        _ => Err(io::Error::last_os_error()),
    }
}

extern "C" fn on_fault(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes valid information and context, which only this handler uses.
    let (info, context) = unsafe { (&*info, &mut *context.cast::<libc::ucontext_t>()) };
    // A code of 0 or less: sent by a process, so no fault at all.
    let thread = host_thread::current().filter(|thread| thread.in_service() && info.si_code > 0);
    let Some(thread) = thread else {
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
    let registers = &context.uc_mcontext.gregs;
    let trap = Trap {
        number: match signal {
            // Linux leaves the number out where a tracer is attached to the process, and for a
            // tracer's system call that is made without one.
            libc::SIGTRAP => BREAKPOINT,
            libc::SIGILL => ILLEGAL_INSTRUCTION,
            _ => register(registers, libc::REG_TRAPNO),
        },
        code: register(registers, libc::REG_ERR),
        address: register(registers, libc::REG_CR2),
        instruction: register(registers, libc::REG_RIP),
        copying: thread.copied(),
    };
    thread.set_fault(trap.fault(thread.guard()));
    redirect(thread, context);
}

extern "C" fn on_attention(_: i32, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let Some(thread) = host_thread::current().filter(|thread| thread.in_service()) else { return };
    let page = thread.page();
    page.wait_while_held();
    if page.state() == control::ENDED {
        // SAFETY: as in `on_fault`.
        redirect(thread, unsafe { &mut *context.cast::<libc::ucontext_t>() });
    }
}

/// Lets the interrupted thread go on in [`leave`].
fn redirect(thread: &HostThread, context: &mut libc::ucontext_t) {
    thread.set_in_service(false);
    let registers = &mut context.uc_mcontext.gregs;
    registers[libc::REG_RIP as usize] = leave as *const () as i64;
    registers[libc::REG_RDI as usize] = thread.host_stack() as i64;
    registers[libc::REG_EFL as usize] &= !SERVICE_FLAGS;
}

fn register(registers: &[i64; 23], index: i32) -> u64 {
    registers[index as usize] as u64
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
const BREAKPOINT: u64 = 3;
const ILLEGAL_INSTRUCTION: u64 = 6;
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
            1 | BREAKPOINT => FaultKind::Breakpoint,
            ILLEGAL_INSTRUCTION => FaultKind::IllegalInstruction,
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

    const CODE: u64 = WINDOWS_BASE + 0x10_0000;

    fn fault(number: u64, code: u64, address: u64, instruction: u64) -> Fault {
        let guard = 0x1000..0x2000;
        Trap { number, code, address, instruction, copying: None }.fault(&guard)
    }

    #[test]
    fn page_faults_name_what_was_tried() {
        let kinds = [(4, FaultKind::Read), (6, FaultKind::Write), (7, FaultKind::Write)];
        for (code, kind) in kinds {
            let expected = Fault { kind, address: 0x5008, instruction: CODE };
            assert_eq!(fault(14, code, 0x5008, CODE), expected);
        }
        let expected = Fault { kind: FaultKind::Execute, address: 0, instruction: 0 };
        assert_eq!(fault(14, 0x14, 0, 0), expected);
        assert_eq!(fault(14, 6, 0x1ff8, CODE).kind, FaultKind::StackOverflow);
    }

    #[test]
    fn other_faults_have_no_address() {
        let kinds = [
            (0, FaultKind::Division),
            (3, FaultKind::Breakpoint),
            (6, FaultKind::IllegalInstruction),
            (12, FaultKind::Protection),
            (13, FaultKind::Protection),
            (16, FaultKind::FloatingPoint),
            (17, FaultKind::Protection),
            (19, FaultKind::FloatingPoint),
        ];
        for (number, kind) in kinds {
            let expected = Fault { kind, address: 0, instruction: CODE };
            assert_eq!(fault(number, 0, 0xdead, CODE), expected);
        }
    }

    #[test]
    fn instructions_of_the_call_table_are_not_the_services() {
        assert_eq!(fault(14, 4, 0x5000, 0x7f00_0000_0000).instruction, 0);
    }

    #[test]
    fn a_message_that_cannot_be_copied_is_a_bad_argument() {
        let copying = Some(0x5004);
        for (number, address) in [(14, 0x6000), (13, 0)] {
            let trap = Trap { number, code: 6, address, instruction: 0x7f00_0000_0000, copying };
            let expected = Fault { kind: FaultKind::BadArgument, address: 0x5004, instruction: 0 };
            assert_eq!(trap.fault(&(0..0)), expected);
        }
    }
}
