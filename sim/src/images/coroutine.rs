//! A thread of an image as a coroutine: it runs until its next call or fault.
//!
//! Two stacks: the coroutine's own, on which calls are served, and the service's, which the coroutine
//! switches to at the entry. Nothing of the host lies on the service's stack.

#![expect(unsafe_code, reason = "switches stacks")]

use super::stub;
use crate::event::Call;
use crate::machine::{Act, Beginning};
use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};
use phi_abi::{CallTable, Fault, FaultKind, Message, Outcome};
use phi_core::DomainIndex;
use std::arch::naked_asm;
use std::cell::Cell;
use std::ops::Range;

/// Bytes of a coroutine's own stack.
const STACK: usize = 64 << 10;

/// What a thread is told as it goes on.
pub(super) type Answer = (Outcome, Option<Message>);

/// Lets the scheduler go on with a call, and returns with its end.
pub(super) type Scheduler = Yielder<Answer, Call>;

/// What a running coroutine knows of itself. Shared with the handler of signals on the same thread.
pub(super) struct Running {
    /// Where the coroutine's own stack goes on.
    pub(super) host_stack: Cell<u64>,
    /// Whether a fault now would be the service's.
    pub(super) in_service: Cell<bool>,
    /// Address of the message that is being copied.
    pub(super) copying: Cell<Option<u64>>,
    /// The fault that made the thread leave.
    pub(super) fault: Cell<Option<Fault>>,
    /// The addresses below the first stack.
    pub(super) guard: Range<u64>,
    /// The way to the scheduler.
    pub(super) scheduler: Cell<*const Scheduler>,
}

thread_local! {
    static CURRENT: Cell<*const Running> = const { Cell::new(std::ptr::null()) };
}

/// The coroutine that runs, if one does.
pub(super) fn current() -> Option<&'static Running> {
    // SAFETY: null, or the `Running` of the thread whose `go_on` is on this host thread's stack now; it
    // is boxed, and no reference is kept beyond that.
    unsafe { CURRENT.get().as_ref() }
}

/// A thread of a service.
pub(super) struct Thread {
    domain: DomainIndex,
    running: Box<Running>,
    coroutine: Coroutine<Answer, Call, Fault, DefaultStack>,
}

/// What a thread does that has nothing to run.
pub(super) fn lost() -> Act {
    Act::Fault(Fault { kind: FaultKind::Machine, address: 0, instruction: 0 })
}

impl Thread {
    /// A thread that begins so, with this guard below its domain's first stack.
    ///
    /// # Errors
    /// Linux's, where there is no memory for its stack.
    pub(super) fn new(
        domain: DomainIndex,
        beginning: Beginning,
        guard: Range<u64>,
    ) -> std::io::Result<Thread> {
        let stack = DefaultStack::new(STACK)?;
        let running = Box::new(Running {
            host_stack: Cell::new(0),
            in_service: Cell::new(false),
            copying: Cell::new(None),
            fault: Cell::new(None),
            guard,
            scheduler: Cell::new(std::ptr::null()),
        });
        let coroutine = Coroutine::with_stack(stack, move |scheduler: &Scheduler, _: Answer| {
            run(scheduler, beginning)
        });
        Ok(Thread { domain, running, coroutine })
    }

    /// Its domain.
    pub(super) fn domain(&self) -> DomainIndex {
        self.domain
    }

    /// Lets it go on from its last call, until it does something.
    pub(super) fn go_on(&mut self, outcome: Outcome, message: Option<&Message>) -> Act {
        if self.coroutine.done() {
            return lost();
        }
        CURRENT.set(&raw const *self.running);
        let result = self.coroutine.resume((outcome, message.copied()));
        CURRENT.set(std::ptr::null());
        match result {
            CoroutineResult::Yield(call) => Act::Call(call),
            CoroutineResult::Return(fault) => Act::Fault(fault),
        }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        // SAFETY: what lies on the coroutine's stack owns nothing: the frames of `run`, of `enter` and
        // of the call that waits hold numbers, messages and references alone.
        unsafe { self.coroutine.force_reset() };
    }
}

/// The body of a coroutine: the whole life of a thread; how it ended.
fn run(scheduler: &Scheduler, beginning: Beginning) -> Fault {
    let nowhere = Fault { kind: FaultKind::Machine, address: 0, instruction: 0 };
    let Some(running) = current() else { return nowhere };
    running.scheduler.set(scheduler);
    running.in_service.set(true);
    let Beginning { entry, stack, argument } = beginning;
    // SAFETY: entry, stack and argument are those that ΦCore gave the thread; whatever the service does
    // there, it comes back through `leave`, with this frame as it was.
    unsafe { enter(entry, stack, argument, &stub::TABLE, running.host_stack.as_ptr()) };
    running.in_service.set(false);
    running.fault.take().unwrap_or(nowhere)
}

/// Goes to `entry` on `stack`. Returns when something calls [`leave`] with what was written to
/// `host_stack`.
///
/// # Safety
/// `entry` and what it leads to touch no memory of the host but through the call table.
#[unsafe(naked)]
unsafe extern "C" fn enter(
    entry: u64,
    stack: u64,
    argument: u64,
    table: *const CallTable,
    host_stack: *mut u64,
) {
    naked_asm!(
        "push rbp",
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "mov [r8], rsp",
        // As if the entry was called; nothing is there to return to.
        "lea rsp, [rsi - 8]",
        "mov rax, rdi",
        "mov rdi, rdx",
        "mov rsi, rcx",
        "xor ebp, ebp",
        "xor ebx, ebx",
        "xor ecx, ecx",
        "xor edx, edx",
        "xor r8d, r8d",
        "xor r9d, r9d",
        "xor r10d, r10d",
        "xor r11d, r11d",
        "xor r12d, r12d",
        "xor r13d, r13d",
        "xor r14d, r14d",
        "xor r15d, r15d",
        "jmp rax",
    )
}

/// Comes back from the service: the [`enter`] that wrote `host_stack` returns.
///
/// # Safety
/// `host_stack` is what this coroutine's `enter`, which has not returned yet, wrote. Nothing that the
/// abandoned frames own is needed any more.
#[unsafe(naked)]
pub(super) unsafe extern "C" fn leave(host_stack: u64) -> ! {
    naked_asm!(
        "mov rsp, rdi",
        // The service may have changed how floating point behaves.
        "fninit",
        "push 0x1f80",
        "ldmxcsr [rsp]",
        "add rsp, 8",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "cld",
        "ret",
    )
}
