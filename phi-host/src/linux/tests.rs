//! A domain from load to unload, with a hand-written image and no ΦCore.

use super::control::{self, ThreadPage};
use super::domain::Domain;
use super::events::Start;
use super::fault::Handlers;
use super::memory;
use super::process::{CommandError, ServiceProcess};
use super::protocol::Command;
use super::{SERVICE_WORD, service_main};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use phi_abi::layout::{self, PAGE};
use phi_abi::{FaultKind, Message, Number, Outcome, StartBlock};
use phi_core::{DomainIndex, ThreadIndex};
use phi_manifest::plan::{
    AfterRestarts, ImagePlan, Quota, RestartPlan, RestartPolicy, Segment, SegmentAccess,
    ServicePlan,
};
use std::arch::naked_asm;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Writes an empty message to console 7, reads the clock with the outcome as argument, and then,
/// as that says, executes an illegal instruction, loops for ever, or overflows its stack.
#[unsafe(naked)]
unsafe extern "C" fn image() {
    naked_asm!(
        "mov rbx, rsi",
        "sub rsp, 232",
        "mov r8, rsp",
        "mov edi, 7",
        "call [rbx + 8 + 8 * {console_write}]",
        "mov rdi, rdx",
        "xor r8d, r8d",
        "call [rbx + 8 + 8 * {clock_read}]",
        "cmp rdx, 1",
        "je 3f",
        "cmp rdx, 2",
        "je 4f",
        "ud2",
        "3: jmp 3b",
        "4: push rax",
        "jmp 4b",
        console_write = const Number::ConsoleWrite as u32,
        clock_read = const Number::ClockRead as u32,
    )
}

const IMAGE_BYTES: usize = 128;

/// Addresses and signal handlers are the process's: one domain at a time.
static ONE: Mutex<()> = Mutex::new(());

struct Running {
    domain: Domain,
    _handlers: Handlers,
    _one: MutexGuard<'static, ()>,
}

fn plan() -> ServicePlan {
    let window = layout::window(3);
    let text = window + layout::IMAGE_OFFSET;
    let access = SegmentAccess::Execute;
    let length = PAGE;
    let segment = Segment { address: text, memory_length: length, offset: 0, length, access };
    ServicePlan {
        name: "test".into(),
        image: ImagePlan {
            name: "test".into(),
            hash: [0; 32],
            entry: text,
            segments: vec![segment],
        },
        window,
        stack: 4 * PAGE,
        heap: 0,
        arguments: String::new(),
        quota: Quota {
            memory: 1 << 20,
            handles: 1,
            regions: 0,
            mailboxes: 0,
            messages: 0,
            signals: 0,
            threads: 1,
            lineages: 0,
        },
        priority: 1,
        budget: None,
        restart: RestartPlan {
            policy: RestartPolicy::Never,
            backoff: 0,
            maximum: 0,
            then: AfterRestarts::Hold,
        },
        supervisor: 0,
        capabilities: Vec::new(),
    }
}

impl Running {
    fn start(program: Option<&Path>) -> Running {
        let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let handlers = Handlers::install().unwrap();
        let plan = plan();
        // SAFETY: the function is code, and so is what follows it.
        let code = unsafe { std::slice::from_raw_parts(image as *const u8, IMAGE_BYTES) };
        let bundle = memory::create_constant("phi-test", code).unwrap();
        let start = Start { domain: DomainIndex(3), serial: 1 };
        let mut domain = Domain::load(start, &plan, &StartBlock::EMPTY, &bundle, program).unwrap();
        let stack = plan.window + layout::STACK_OFFSET;
        let slot = domain.thread_start(ThreadIndex(0), plan.image.entry, stack, 0).unwrap();
        assert_eq!(slot, 0);
        Running { domain, _handlers: handlers, _one: one }
    }

    fn page(&self) -> &ThreadPage {
        self.domain.service.control.page(0)
    }

    /// Lets the thread go on, and waits until it calls or faults.
    fn proceed(&self) -> u32 {
        self.page().set_state(control::RUNNING);
        while self.page().state() == control::RUNNING {
            self.page().wait_while(control::RUNNING, Some(Duration::from_millis(1)));
        }
        self.page().state()
    }

    /// Makes both calls and lets the second return `value`.
    fn run_to_end_with(&self, value: u64) {
        assert_eq!(self.page().state(), control::PARKED);
        assert_eq!(self.proceed(), control::CALLING);
        let (number, arguments) = self.page().read_call();
        assert_eq!((number, arguments[0]), (Number::ConsoleWrite as u32, 7));
        assert_eq!(self.page().read_message(), Message::EMPTY);
        self.page().write_outcome(Outcome::success(0x1234), None);
        assert_eq!(self.proceed(), control::CALLING);
        let (number, arguments) = self.page().read_call();
        assert_eq!((number, arguments[0]), (Number::ClockRead as u32, 0x1234));
        self.page().write_outcome(Outcome::success(value), None);
    }
}

/// Not a test: what service processes run here. This program, called with [`SERVICE_WORD`] as first
/// argument, runs the test with that name.
#[test]
fn __service() {
    if std::env::args().nth(1).as_deref() == Some(SERVICE_WORD) {
        service_main();
    }
}

const MODES: [Option<&str>; 2] = [None, Some("/proc/self/exe")];

#[test]
fn a_thread_calls_and_faults() {
    for program in MODES {
        let running = Running::start(program.map(Path::new));
        running.run_to_end_with(0);
        assert_eq!(running.proceed(), control::FAULTED);
        let fault = running.page().read_fault();
        assert_eq!(fault.kind, FaultKind::IllegalInstruction);
        let text = plan().image.entry;
        assert!((text..text + IMAGE_BYTES as u64).contains(&fault.instruction));
    }
}

#[test]
fn a_stack_overflow_is_told_from_other_writes() {
    for program in MODES {
        let running = Running::start(program.map(Path::new));
        running.run_to_end_with(2);
        assert_eq!(running.proceed(), control::FAULTED);
        let fault = running.page().read_fault();
        let bottom = plan().window + layout::STACK_OFFSET - plan().stack;
        assert_eq!((fault.kind, fault.address), (FaultKind::StackOverflow, bottom - 8));
    }
}

#[test]
fn a_thread_that_loops_is_held_and_stopped() {
    for program in MODES {
        let mut running = Running::start(program.map(Path::new));
        running.run_to_end_with(1);
        running.page().set_state(control::RUNNING);
        let used = |running: &Running| running.domain.cpu_time();
        let wait_for_use = |running: &Running| {
            let before = used(running);
            while used(running) == before {
                std::thread::yield_now();
            }
        };
        wait_for_use(&running);
        running.domain.hold(true);
        // It stops using the processor: two looks find the same.
        loop {
            let before = used(&running);
            std::thread::sleep(Duration::from_millis(20));
            if used(&running) == before {
                break;
            }
        }
        running.domain.hold(false);
        wait_for_use(&running);
        // Dropping the domain stops the thread, and takes its memory.
        drop(running);
        let text = plan().image.entry;
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        assert!(!maps.contains(&format!("{text:x}-")));
    }
}

#[test]
fn a_process_without_budget_still_does_what_the_supervisor_says() {
    let mut process = ServiceProcess::start(Path::new("/proc/self/exe")).unwrap();
    process.stop(true);
    // The agent is there, and says that it has not begun yet.
    let command = Command::Unmap { address: layout::window(0), length: PAGE };
    let refused = Err(CommandError::Refused(nix::Error::EPROTO));
    assert_eq!(process.command(&[command], &[]), refused);
}

#[test]
fn a_process_that_is_gone_is_noticed() {
    let process = ServiceProcess::start(Path::new("/proc/self/exe")).unwrap();
    kill(process.id(), Signal::SIGKILL).unwrap();
    let mut waiting = [PollFd::new(process.descriptor(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut waiting, PollTimeout::NONE), Ok(1));
    let command = Command::Unmap { address: layout::window(0), length: PAGE };
    assert_eq!(process.command(&[command], &[]), Err(CommandError::Lost));
    let id = process.id();
    drop(process);
    assert_eq!(kill(id, None), Err(nix::Error::ESRCH));
}

#[test]
fn a_program_that_is_no_service_process_is_given_up() {
    let process = ServiceProcess::start(Path::new("/bin/sh")).unwrap();
    let command = Command::Unmap { address: layout::window(0), length: PAGE };
    assert_eq!(process.command(&[command], &[]), Err(CommandError::Lost));
}
