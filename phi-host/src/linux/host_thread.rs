//! The Linux thread that carries a thread of a service: its way into the service and out of it.
//!
//! A host thread has a stack of its own, where it waits for its first dispatch and where every call
//! is served, as a kernel serves calls on its own stack: nothing of the machine lies on the
//! service's stack while a thread waits, and a thread that ends leaves without touching it again.

use super::control::{self, ControlArea, ThreadPage};
use super::device::{self, Driver};
use super::direct::{DirectThread, Inbox, Notices, Surroundings};
use super::probe;
use super::stub;
use nix::unistd::gettid;
use phi_abi::{CallTable, Fault, Message};
use std::arch::naked_asm;
use std::cell::{Cell, RefCell, UnsafeCell};
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, compiler_fence};

/// Bytes of a host thread's stack.
pub const HOST_STACK: usize = 128 << 10;

/// Bytes of the stack on which its signals are handled; the saved state of a processor with wide
/// vectors takes about 11 KiB of it.
const SIGNAL_STACK: usize = 64 << 10;

/// What the threads of one service share.
pub struct Service {
    /// Index of its domain.
    pub domain: u16,
    /// Where calls are exchanged.
    pub control: ControlArea,
    /// Rung when a thread has something for the supervisor.
    pub doorbell: OwnedFd,
    /// The addresses below the first stack whose use means that the stack is too small.
    pub guard: Range<u64>,
    /// What the supervisor says about channels.
    pub notices: Notices,
    /// Channels for the threads, by slot.
    pub inboxes: Vec<Inbox>,
    /// Processors that the threads may run on.
    pub processors: usize,
    /// What a driver's threads share, in its process.
    pub driver: Option<Arc<Driver>>,
}

impl Service {
    /// The threads of a service that exchange calls in `control`.
    pub fn new(
        domain: u16,
        control: ControlArea,
        doorbell: OwnedFd,
        guard: Range<u64>,
        notices: Notices,
    ) -> Service {
        let inboxes = (0..control.threads()).map(|_| Inbox::default()).collect();
        let processors = processors();
        let driver = None;
        Service { domain, control, doorbell, guard, notices, inboxes, processors, driver }
    }
}

/// Processors that this process may run on; 1 where Linux does not say.
fn processors() -> usize {
    let set = nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(0));
    let count = |set: nix::sched::CpuSet| {
        (0..nix::sched::CpuSet::count()).filter(|index| set.is_set(*index) == Ok(true)).count()
    };
    set.map_or(1, count)
}

/// Where a thread begins.
#[derive(Clone, Copy, Debug)]
pub struct Begin {
    /// Its slot in the control area.
    pub slot: usize,
    /// Address of its first instruction.
    pub entry: u64,
    /// Its stack pointer before the call of the entry.
    pub stack: u64,
    /// Its first argument.
    pub argument: u64,
}

/// What a host thread knows of itself.
pub struct HostThread {
    service: Arc<Service>,
    slot: usize,
    /// Stack pointer at which [`enter`] left the host stack.
    host_stack: Cell<u64>,
    /// Whether a fault now would be the service's. While it is true, the thread holds no lock of
    /// the host and may be forced out at any instruction.
    in_service: AtomicBool,
    /// Address of the message that is being copied.
    copying: Cell<Option<u64>>,
    /// The message of the call that is being made through a channel.
    letter: UnsafeCell<Message>,
    /// The fault that made the thread leave.
    fault: Cell<Option<Fault>>,
    /// Its channels. Not borrowed while the thread is in its service, where it may be forced out.
    direct: RefCell<DirectThread>,
}

thread_local! {
    static CURRENT: Cell<*const HostThread> = const { Cell::new(std::ptr::null()) };
}

/// The host thread that runs this code, if one does.
#[inline(always)]
pub fn current() -> Option<&'static HostThread> {
    // SAFETY: the pointer is null, or names the `HostThread` in the frame of `run` on this same
    // thread, which clears it before the frame ends; no reference is kept across that.
    unsafe { CURRENT.get().as_ref() }
}

impl HostThread {
    /// Index of the domain that it runs for.
    pub fn domain(&self) -> u16 {
        self.service.domain
    }

    /// Its slot in the control area.
    pub fn slot(&self) -> usize {
        self.slot
    }

    /// The thread's page.
    #[inline]
    pub fn page(&self) -> &ThreadPage {
        self.service.control.page(self.slot)
    }

    /// The page of another thread of its service.
    pub fn page_of(&self, slot: usize) -> &ThreadPage {
        self.service.control.page(slot)
    }

    /// What it shares with other threads if its service is a driver.
    pub fn driver(&self) -> Option<Arc<Driver>> {
        self.service.driver.clone()
    }

    /// Where the message of a call through a channel lies meanwhile. What is there is of an earlier call, and so
    /// the service's own.
    ///
    /// # Safety
    /// There is no other reference to it; on the thread itself.
    #[allow(clippy::mut_from_ref, reason = "the caller's word")]
    pub unsafe fn letter(&self) -> &mut Message {
        // SAFETY: the caller's word.
        unsafe { &mut *self.letter.get() }
    }

    /// Its channels.
    pub fn direct(&self) -> &RefCell<DirectThread> {
        &self.direct
    }

    /// What its channels share with its domain.
    #[inline]
    pub fn surroundings(&self) -> Surroundings<'_> {
        Surroundings {
            notices: &self.service.notices,
            inbox: &self.service.inboxes[self.slot],
            page: self.page(),
        }
    }

    /// Tells the supervisor that there is something in the page.
    pub fn ring(&self) {
        if self.service.control.set_pending(self.slot) {
            // An event counter takes this at any time but at its limit, which no one reaches.
            let _ = nix::unistd::write(self.service.doorbell.as_fd(), &1u64.to_ne_bytes());
        }
    }

    /// Whether a fault now would be the service's.
    pub fn in_service(&self) -> bool {
        self.in_service.load(Ordering::Relaxed)
    }

    /// Says whether a fault from here on is the service's.
    #[inline(always)]
    pub fn set_in_service(&self, inside: bool) {
        compiler_fence(Ordering::SeqCst);
        self.in_service.store(inside, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
    }

    /// Does `copy`, a copy of the message at `address`: a fault meanwhile is the argument's.
    #[inline(always)]
    pub fn copying<T>(&self, address: u64, copy: impl FnOnce() -> T) -> T {
        self.copying.set(Some(address));
        compiler_fence(Ordering::SeqCst);
        let result = copy();
        compiler_fence(Ordering::SeqCst);
        self.copying.set(None);
        result
    }

    /// Address of the message that is being copied.
    pub fn copied(&self) -> Option<u64> {
        self.copying.get()
    }

    /// The addresses below the first stack.
    pub fn guard(&self) -> &Range<u64> {
        &self.service.guard
    }

    /// Remembers why the thread leaves.
    pub fn set_fault(&self, fault: Fault) {
        self.fault.set(Some(fault));
    }

    /// Where the thread's own stack goes on.
    pub fn host_stack(&self) -> u64 {
        self.host_stack.get()
    }
}

/// Starts, in this process, the host thread of a thread that begins at `begin` once it is
/// dispatched. Its page is PARKED.
///
/// # Errors
/// Linux has no room for a thread.
pub fn start(service: Arc<Service>, begin: Begin) -> std::io::Result<()> {
    let name = format!("phi-{}", begin.slot);
    std::thread::Builder::new()
        .name(name)
        .stack_size(HOST_STACK)
        .spawn(move || run(service, begin, || ()))
        .map(drop)
}

/// Carries a thread from its first dispatch to its end; `prepare` is done before it may begin.
pub fn run(service: Arc<Service>, begin: Begin, prepare: impl FnOnce()) {
    // What was for an earlier thread of this slot is not for this one.
    drop(service.inboxes[begin.slot].take());
    let thread = HostThread {
        direct: RefCell::new(DirectThread::new(service.processors)),
        service,
        slot: begin.slot,
        host_stack: Cell::new(0),
        in_service: AtomicBool::new(false),
        copying: Cell::new(None),
        letter: UnsafeCell::new(Message::EMPTY),
        fault: Cell::new(None),
    };
    let page = thread.page();
    let signal_stack = SignalStack::install();
    CURRENT.set(&raw const thread);
    page.set_thread(gettid().as_raw());
    prepare();
    while page.state() == control::PARKED {
        page.wait_while(control::PARKED, None);
    }
    if page.state() == control::RUNNING {
        page.wait_while_held();
        probe::site!("thread_begin", thread.domain(), thread.slot(), 0, 0, 0, 0);
        let drives = begin.entry == 0 && thread.service.driver.is_some();
        let entry = if drives { device::entry as *const () as u64 } else { begin.entry };
        thread.set_in_service(true);
        // SAFETY: entry, stack and argument are those that ΦCore gave the thread; whatever the
        // service does there, it comes back through `leave`, with this frame as it was.
        unsafe {
            enter(entry, begin.stack, begin.argument, &stub::TABLE, thread.host_stack.as_ptr())
        };
        thread.set_in_service(false);
        if let Some(fault) = thread.fault.take() {
            page.write_fault(fault);
            if page.stop_running(control::FAULTED) {
                thread.ring();
            }
            while page.state() == control::FAULTED {
                page.wait_while(control::FAULTED, None);
            }
        }
    }
    CURRENT.set(std::ptr::null());
    drop(signal_stack);
    page.set_thread(0);
    page.set_state(control::IDLE);
}

/// The stack on which this thread's signals are handled, since the service's may be used up.
struct SignalStack {
    _memory: Vec<u8>,
}

impl SignalStack {
    fn install() -> SignalStack {
        let mut memory = vec![0; SIGNAL_STACK];
        set_signal_stack(&libc::stack_t {
            ss_sp: memory.as_mut_ptr().cast(),
            ss_flags: 0,
            ss_size: memory.len(),
        });
        SignalStack { _memory: memory }
    }
}

impl Drop for SignalStack {
    fn drop(&mut self) {
        set_signal_stack(&libc::stack_t {
            ss_sp: std::ptr::null_mut(),
            ss_flags: libc::SS_DISABLE,
            ss_size: 0,
        });
    }
}

fn set_signal_stack(stack: &libc::stack_t) {
    // SAFETY: the stack is memory that nothing else uses and that outlives its use, or none at all.
    let result = unsafe { libc::sigaltstack(stack, std::ptr::null_mut()) };
    assert_eq!(result, 0, "the stack for signals is large enough and not in use");
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
/// `host_stack` is what this thread's `enter`, which has not returned yet, wrote. Nothing that the
/// abandoned frames own is needed any more.
#[unsafe(naked)]
pub unsafe extern "C" fn leave(host_stack: u64) -> ! {
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
