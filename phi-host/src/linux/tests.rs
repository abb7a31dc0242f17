//! A domain from load to unload, with a hand-written image and no ΦCore.

use super::agent::SOCKET;
use super::control::{self, ThreadPage};
use super::domain::Domain;
use super::events::Start;
use super::fault::Handlers;
use super::launch::Launcher;
use super::memory::{self, Access};
use super::process::{CommandError, ServiceProcess};
use super::protocol::{self, Command};
use super::{Isolation, SERVICE_WORD, service_main, watch};
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
use std::ffi::{CStr, c_char};
use std::os::fd::{AsFd, BorrowedFd};
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
        state: 0,
        replacement: None,
        name: "test".into(),
        image: ImagePlan {
            name: "test".into(),
            hash: [0; 32],
            entry: text,
            segments: vec![segment],
        },
        driver: None,
        window,
        stack: 4 * PAGE,
        heap: 0,
        arguments: String::new(),
        unprotected_dma: false,
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
            longest: 0,
            maximum: 0,
            then: AfterRestarts::Hold,
        },
        supervisor: 0,
        capabilities: Vec::new(),
    }
}

impl Running {
    fn start(launcher: Option<&Launcher>) -> Running {
        let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let handlers = Handlers::install().unwrap();
        let plan = plan();
        // SAFETY: the function is code, and so is what follows it.
        let code = unsafe { std::slice::from_raw_parts(image as *const u8, IMAGE_BYTES) };
        let bundle = memory::create_constant("phi-test", code, 0).unwrap();
        let start = Start { domain: DomainIndex(3), serial: 1 };
        let mut domain =
            Domain::load(start, &plan, (&plan.image, &bundle), &StartBlock::EMPTY, launcher, None)
                .unwrap();
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

/// What service processes run here: this program, called with [`SERVICE_WORD`] as first argument.
/// They need its first thread, which the test harness keeps for itself; so it happens before
/// `main`.
#[used]
#[unsafe(link_section = ".init_array")]
static SERVICE: extern "C" fn() = {
    extern "C" fn service() {
        if std::env::args().nth(1).as_deref() == Some(SERVICE_WORD) {
            match Lie::of_this_process() {
                Some(lie) => lie.tell(),
                None => service_main(),
            }
        }
    }
    service
};

fn launcher(program: &str, isolation: Isolation) -> Launcher {
    Launcher::new(Path::new(program), isolation).unwrap()
}

/// In this process, and in processes of both kinds.
fn homes() -> [Option<Launcher>; 3] {
    let process = |isolation| Some(launcher("/proc/self/exe", isolation));
    [None, process(Isolation::Full), process(Isolation::Reduced)]
}

#[test]
fn a_thread_calls_and_faults() {
    for launcher in homes() {
        let running = Running::start(launcher.as_ref());
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
    for launcher in homes() {
        let running = Running::start(launcher.as_ref());
        running.run_to_end_with(2);
        assert_eq!(running.proceed(), control::FAULTED);
        let fault = running.page().read_fault();
        let bottom = plan().window + layout::STACK_OFFSET - plan().stack;
        assert_eq!((fault.kind, fault.address), (FaultKind::StackOverflow, bottom - 8));
    }
}

#[test]
fn a_thread_that_loops_is_held_and_stopped() {
    for launcher in homes() {
        let mut running = Running::start(launcher.as_ref());
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
    let mut process =
        ServiceProcess::start(&launcher("/proc/self/exe", Isolation::Full), 0).unwrap();
    process.stop(true);
    // The agent is there, and says that it has not begun yet.
    let command = Command::Unmap { address: layout::window(0), length: PAGE };
    let refused = Err(CommandError::Refused(nix::Error::EPROTO));
    assert_eq!(process.command(&[command], &[]), refused);
}

#[test]
fn a_process_that_is_gone_is_noticed() {
    let process = ServiceProcess::start(&launcher("/proc/self/exe", Isolation::Full), 0).unwrap();
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
    let process = ServiceProcess::start(&launcher("/bin/sh", Isolation::Full), 0).unwrap();
    let command = Command::Unmap { address: layout::window(0), length: PAGE };
    assert_eq!(process.command(&[command], &[]), Err(CommandError::Lost));
}

/// What an agent does that says it has done what it was told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Lie {
    /// Nothing; it is no lie.
    None,
    /// It leaves mapped memory as it is.
    KeepMapping,
    /// It keeps the descriptor of what it maps.
    KeepDescriptor,
    /// It maps memory at a second place, too.
    MapTwice,
    /// It maps one page more than it should.
    MapMore,
    /// It leaves what is sent to it, descriptors included, for later.
    ReadNothing,
    /// It ends its first thread, and goes on in another.
    EndFirstThread,
    /// Watched as an agent is, it maps all of the memory of which it shall map a part, and writes to it.
    MapRest,
}

const LIES: [Lie; 8] = [
    Lie::None,
    Lie::KeepMapping,
    Lie::KeepDescriptor,
    Lie::MapTwice,
    Lie::MapMore,
    Lie::ReadNothing,
    Lie::EndFirstThread,
    Lie::MapRest,
];

impl Lie {
    /// A path to this program that tells the lie: everything else of a process is given.
    fn program(self) -> String {
        format!("/proc/self/{}exe", "./".repeat(1 + self as usize))
    }

    fn of_this_process() -> Option<Lie> {
        // SAFETY: Linux leaves the path that a program was run by in its memory.
        let path = unsafe { CStr::from_ptr(libc::getauxval(libc::AT_EXECFN) as *const c_char) };
        LIES.into_iter().find(|lie| lie.program().as_bytes() == path.to_bytes())
    }

    /// The agent: with two descriptors, as one that has loaded an image.
    fn tell(self) -> ! {
        for [first, last] in [[0, 1], [SOCKET as u32 + 1, u32::MAX]] {
            // SAFETY: nothing in this process uses them yet.
            unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
        }
        if self == Lie::EndFirstThread {
            std::thread::spawn(move || {
                // Linux shows those of the first thread there, and none once it is gone.
                while std::fs::metadata("/proc/self/fd").unwrap().len() > 0 {
                    std::thread::yield_now();
                }
                self.answer()
            });
            // SAFETY: the thread has nothing that the other one needs.
            unsafe { libc::syscall(libc::SYS_exit, 0) };
        }
        self.answer()
    }

    fn answer(self) -> ! {
        // SAFETY: the supervisor has put the socket there.
        let socket = unsafe { BorrowedFd::borrow_raw(SOCKET) };
        if self == Lie::ReadNothing {
            protocol::send_answer(socket, Ok(())).unwrap();
            std::thread::sleep(Duration::from_secs(60));
        }
        if self == Lie::MapRest {
            protocol::receive_commands(socket).unwrap();
            nix::sys::prctl::set_no_new_privs().unwrap();
            let watch = watch::begin().unwrap();
            protocol::send_descriptor(socket, watch.as_fd()).unwrap();
            drop(watch);
            protocol::send_answer(socket, Ok(())).unwrap();
        }
        let mut mapped = false;
        while let Ok(Some((commands, descriptors))) = protocol::receive_commands(socket) {
            match commands[0] {
                Command::Map { address, length, access, .. }
                    if self != Lie::KeepMapping || !mapped =>
                {
                    let file = descriptors[0].as_fd();
                    if self == Lie::MapRest {
                        let all = memory::Source::Shared(file, 0);
                        memory::map(address, PARTS * PAGE, access, all).unwrap();
                        for part in 0..PARTS {
                            // SAFETY: the memory was just mapped, and nothing else uses it.
                            unsafe { ((address + part * PAGE) as *mut u8).write_volatile(1) };
                        }
                    }
                    let map = |address, length| {
                        memory::map(address, length, access, memory::Source::Shared(file, 0))
                            .unwrap();
                    };
                    map(address, length + if self == Lie::MapMore { PAGE } else { 0 });
                    if self == Lie::MapTwice {
                        map(address + 16 * PAGE, length);
                    }
                    mapped = true;
                }
                Command::Unmap { address, length } if self != Lie::KeepMapping => {
                    memory::unmap(address, length).unwrap();
                }
                _ => {}
            }
            if self == Lie::KeepDescriptor {
                std::mem::forget(descriptors);
            } else {
                drop(descriptors);
            }
            protocol::send_answer(socket, Ok(())).unwrap();
        }
        std::process::exit(0)
    }
}

/// Pages of memory of which one is lent.
const PARTS: u64 = 4;

#[test]
fn the_rest_of_memory_of_which_a_part_is_lent_is_out_of_reach() {
    for isolation in [Isolation::Full, Isolation::Reduced] {
        let launcher = launcher(&Lie::MapRest.program(), isolation);
        let mut process = ServiceProcess::start(&launcher, 0).unwrap();
        process.load(&[], &[]).unwrap();
        let memory = memory::create("phi-test", PARTS * PAGE).unwrap();
        let address = layout::window(0) + layout::REGIONS_OFFSET;
        let lent = process.map(address, PAGE, Access::Write, memory.as_fd(), PAGE);
        assert_eq!(lent, Err(CommandError::Kept));
        // Whatever it would have done, it has done by then.
        drop(process);
        let mut bytes = vec![0xFF; (PARTS * PAGE) as usize];
        assert_eq!(nix::sys::uio::pread(&memory, &mut bytes, 0), Ok(bytes.len()));
        assert!(bytes.iter().all(|byte| *byte == 0), "it was reached before it was seen");
    }
}

#[test]
fn an_agent_that_lies_is_seen_through() {
    let kept = Err(CommandError::Kept);
    for (lie, mapping, less, unmapping) in [
        (Lie::None, Ok(()), Ok(()), Ok(())),
        (Lie::KeepMapping, Ok(()), kept, kept),
        (Lie::KeepDescriptor, kept, kept, kept),
        (Lie::MapTwice, kept, kept, kept),
        (Lie::MapMore, kept, kept, kept),
        (Lie::ReadNothing, kept, kept, kept),
        (Lie::EndFirstThread, kept, kept, kept),
    ] {
        for isolation in [Isolation::Full, Isolation::Reduced] {
            let launcher = launcher(&lie.program(), isolation);
            let mut process = ServiceProcess::start(&launcher, 0).unwrap();
            let memory = memory::create("phi-test", 4 * PAGE).unwrap();
            let address = layout::window(0) + layout::REGIONS_OFFSET;
            let map = |process: &mut ServiceProcess, access| {
                process.map(address, 2 * PAGE, access, memory.as_fd(), 0)
            };
            assert_eq!(map(&mut process, Access::Write), mapping, "{lie:?}");
            assert_eq!(map(&mut process, Access::Read), less, "{lie:?}");
            assert_eq!(process.unmap(address, 2 * PAGE), unmapping, "{lie:?}");
        }
    }
}
