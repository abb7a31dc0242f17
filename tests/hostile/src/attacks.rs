//! The attacks, and the end that each must have.

use crate::channels::Trick;
use phi_abi::FaultKind;

/// Label of a call that is no order: it is answered, and the victim called before. With one more, the
/// answer's label says how many of the attacker's channels are in use.
pub const WARM: u64 = 1 << 32;

/// How an attack ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// Linux ends the process: the filter forbids the call.
    Killed,
    /// The attacker ends with this fault.
    Faults(FaultKind),
    /// The attacker ends with some fault.
    Ends,
    /// The attacker goes on, and has nothing of it.
    Answers,
    /// The attacker is never heard of again.
    Silent,
    /// However it ends, it harms nobody else.
    Other,
}

/// What the attacker can name in its attacks.
pub struct Places {
    /// A page of its text.
    pub text: u64,
    /// A page of its stack.
    pub stack: u64,
    /// Where nothing is mapped in its window.
    pub free: u64,
}

/// What an attack does.
#[derive(Clone, Copy)]
pub enum Act {
    /// Makes a system call with these arguments.
    Call(u64, fn(&Places) -> [u64; 6]),
    /// Something else.
    Stunt(Stunt),
    /// Something with its channels, which are open.
    Trick(Trick),
}

/// What is more than one system call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stunt {
    /// Makes a call by the gate for 32-bit programs.
    OldGate,
    /// Reads from every descriptor from 0 to 1023.
    ReadDescriptors,
    /// Writes to every descriptor from 0 to 1023.
    WriteDescriptors,
    /// Rings the doorbell, descriptor 1, a hundred thousand times.
    FloodDoorbell,
    /// Offers the processor again and again.
    Yield,
    /// Fills the counter behind the doorbell up.
    FillDoorbell,
    /// Writes to a page lent for reading.
    WriteLent,
    /// Answers, and reads lent pages afterwards.
    KeepLent,
    /// Writes to its text.
    WriteText,
    /// Executes its stack.
    ExecuteStack,
    /// Writes to the call table, which lies in the agent's constants.
    WriteTable,
    /// Writes to the agent's code.
    WriteStub,
    /// Blocks all signals, then faults.
    BlockSignals,
    /// Takes the stack for signals away, then faults.
    DropSignalStack,
    /// Returns from a signal that never came.
    ForgeSignalReturn,
    /// Ends its Linux thread behind ΦCore's back.
    ExitThread,
    /// Writes nonsense over every thread's page of its control area, again and again.
    CorruptControl,
    /// Makes other threads' pages say that they make calls.
    ForgeCalls,
    /// Overwrites the stack of its host thread.
    CorruptHostStack,
    /// Starts threads until it may not.
    ThreadBomb,
    /// Makes regions until it may not.
    FillMemory,
    /// Never answers.
    Loop,
}

/// One attack.
pub struct Attack {
    /// Its name.
    pub name: &'static str,
    /// What is done.
    pub act: Act,
    /// How it must end.
    pub end: End,
    /// Whether a page is lent to the attacker for it.
    pub lent: bool,
    /// Whether the attacker answers first, and ends then.
    pub goes_on: bool,
    /// Whether messages between judge, attacker and victim go past ΦCore by then.
    pub channels: bool,
}

const fn call(name: &'static str, number: u64, arguments: fn(&Places) -> [u64; 6]) -> Attack {
    let act = Act::Call(number, arguments);
    Attack { name, act, end: End::Killed, lent: false, goes_on: false, channels: false }
}

const fn stunt(name: &'static str, stunt: Stunt, end: End) -> Attack {
    Attack { name, act: Act::Stunt(stunt), end, lent: false, goes_on: false, channels: false }
}

const fn trick(name: &'static str, trick: Trick, end: End) -> Attack {
    let act = Act::Trick(trick);
    Attack { name, act, end, lent: false, goes_on: false, channels: true }
}

const fn with_channels(name: &'static str, attack: Attack) -> Attack {
    Attack { name, channels: true, ..attack }
}

const NONE: fn(&Places) -> [u64; 6] = |_| [0; 6];
const SOCKET: u64 = 3;
const DOORBELL: u64 = 1;
const READ_WRITE: u64 = 3;
const READ_EXECUTE: u64 = 5;
/// Private, fixed, anonymous.
const OWN: u64 = 0x32;
/// Shared, fixed.
const SHARED: u64 = 0x11;
const THREAD: u64 = 0x003d_0f00;

/// Every attack.
pub const ATTACKS: &[Attack] = &[
    call("open", 2, |p| [p.text, 0, 0, 0, 0, 0]),
    call("openat", 257, |p| [-100i64 as u64, p.text, 0, 0, 0, 0]),
    call("openat2", 437, |p| [-100i64 as u64, p.text, p.stack, 24, 0, 0]),
    call("socket", 41, |_| [1, 1, 0, 0, 0, 0]),
    call("a socket for all frames", 41, |_| [17, 3, 0x0300, 0, 0, 0]),
    call("socketpair", 53, |p| [1, 1, 0, p.stack, 0, 0]),
    call("connect", 42, |p| [SOCKET, p.stack, 16, 0, 0, 0]),
    call("bind", 49, |p| [SOCKET, p.stack, 16, 0, 0, 0]),
    call("fork", 57, NONE),
    call("vfork", 58, NONE),
    call("clone a process", 56, |_| [17, 0, 0, 0, 0, 0]),
    call("clone a process that shares memory", 56, |_| [0x111, 0, 0, 0, 0, 0]),
    call("clone a thread", 56, |p| [THREAD, p.stack, 0, 0, 0, 0]),
    call("clone a user namespace", 56, |_| [0x1000_0011, 0, 0, 0, 0, 0]),
    call("execve", 59, |p| [p.text, 0, 0, 0, 0, 0]),
    call("execveat", 322, |p| [0, p.text, 0, 0, 0x1000, 0]),
    call("ptrace a sibling", 101, |_| [16, 2, 0, 0, 0, 0]),
    call("ptrace the supervisor", 101, |_| [0x4206, 1, 0, 0, 0, 0]),
    call("be traced by the supervisor", 101, NONE),
    call("kill everybody", 62, |_| [-1i64 as u64, 9, 0, 0, 0, 0]),
    call("kill its group", 62, |_| [0, 9, 0, 0, 0, 0]),
    call("tgkill", 234, |_| [1, 1, 9, 0, 0, 0]),
    call("rt_sigqueueinfo", 129, |p| [1, 9, p.stack, 0, 0, 0]),
    call("pidfd_open", 434, |_| [1, 0, 0, 0, 0, 0]),
    call("pidfd_send_signal", 424, |_| [0, 9, 0, 0, 0, 0]),
    call("pidfd_getfd", 438, |_| [0, 0, 0, 0, 0, 0]),
    call("process_vm_readv", 310, |p| [1, p.stack, 1, p.stack, 1, 0]),
    call("process_vm_writev", 311, |p| [1, p.stack, 1, p.stack, 1, 0]),
    call("process_madvise", 440, |p| [0, p.stack, 1, 4, 0, 0]),
    call("io_uring_setup", 425, |p| [8, p.stack, 0, 0, 0, 0]),
    call("io_setup", 206, |p| [8, p.stack, 0, 0, 0, 0]),
    call("bpf", 321, |p| [5, p.stack, 64, 0, 0, 0]),
    call("perf_event_open", 298, |p| [p.stack, 0, -1i64 as u64, -1i64 as u64, 0, 0]),
    // New kernels keep these two from filters, for tracers' sake, and look who makes them.
    Attack { end: End::Ends, ..call("uretprobe", 335, NONE) },
    Attack { end: End::Other, ..call("uprobe", 336, NONE) },
    call("userfaultfd", 323, |_| [1, 0, 0, 0, 0, 0]),
    call("mmap of executable memory", 9, |p| [p.free, 4096, READ_EXECUTE, OWN, u64::MAX, 0]),
    call("mmap of memory of its own", 9, |p| [p.free, 4096, READ_WRITE, OWN, u64::MAX, 0]),
    call("mmap of a descriptor", 9, |p| [p.free, 4096, READ_WRITE, SHARED, SOCKET, 0]),
    call("mmap over its text", 9, |p| [p.text, 4096, READ_WRITE, OWN, u64::MAX, 0]),
    call("mprotect of text to writable", 10, |p| [p.text, 4096, READ_WRITE, 0, 0, 0]),
    call("mprotect of data to executable", 10, |p| [p.stack, 4096, READ_EXECUTE, 0, 0, 0]),
    call("pkey_mprotect", 329, |p| [p.stack, 4096, READ_EXECUTE, u64::MAX, 0, 0]),
    call("munmap", 11, |p| [p.stack, 4096, 0, 0, 0, 0]),
    call("mremap", 25, |p| [p.stack, 4096, 8192, 1, 0, 0]),
    call("remap_file_pages", 216, |p| [p.stack, 4096, 0, 0, 0, 0]),
    call("brk", 12, |_| [u64::MAX, 0, 0, 0, 0, 0]),
    call("madvise", 28, |p| [p.text, 4096, 4, 0, 0, 0]),
    call("mlockall", 151, |_| [3, 0, 0, 0, 0, 0]),
    call("memfd_create", 319, |p| [p.text, 0, 0, 0, 0, 0]),
    call("shmget", 29, |_| [0, 1 << 30, 0o1600, 0, 0, 0]),
    call("msgget", 68, |_| [0, 0o1600, 0, 0, 0, 0]),
    call("read from the socket", 0, |p| [SOCKET, p.stack, 64, 0, 0, 0]),
    call("take a command and its descriptors", 47, |p| [SOCKET, p.stack, 0x4000_0000, 0, 0, 0]),
    call("answer in the agent's place", 44, |p| [SOCKET, p.stack, 4, 0x4000, 0, 0]),
    call("send a descriptor", 46, |p| [SOCKET, p.stack, 0, 0, 0, 0]),
    call("write to the socket", 1, |p| [SOCKET, p.stack, 4, 0, 0, 0]),
    call("write more to the doorbell", 1, |p| [DOORBELL, p.stack, 16, 0, 0, 0]),
    call("dup", 32, |_| [SOCKET, 0, 0, 0, 0, 0]),
    call("dup2", 33, |_| [SOCKET, 9, 0, 0, 0, 0]),
    call("fcntl to dup", 72, |_| [SOCKET, 0, 0, 0, 0, 0]),
    call("close the socket", 3, |_| [SOCKET, 0, 0, 0, 0, 0]),
    call("close all descriptors", 436, |_| [0, u64::from(u32::MAX), 0, 0, 0, 0]),
    call("ioctl TIOCSTI", 16, |p| [0, 0x5412, p.stack, 0, 0, 0]),
    call("ioctl TUNSETIFF", 16, |p| [1, 0x4004_54CA, p.stack, 0, 0, 0]),
    call("epoll_create1", 291, NONE),
    call("eventfd2", 290, NONE),
    call("pipe2", 293, |p| [p.stack, 0, 0, 0, 0, 0]),
    call("prlimit64", 302, |p| [0, 7, p.stack, 0, 0, 0]),
    call("setrlimit", 160, |p| [7, p.stack, 0, 0, 0, 0]),
    call("outlive the supervisor", 157, |_| [1, 0, 0, 0, 0, 0]),
    call("become dumpable", 157, |_| [4, 1, 0, 0, 0, 0]),
    call("let anybody trace it", 157, |_| [0x5961_6d61, u64::MAX, 0, 0, 0, 0]),
    call("another filter", 317, |p| [1, 0, p.stack, 0, 0, 0]),
    call("unshare a user namespace", 272, |_| [0x1000_0000, 0, 0, 0, 0, 0]),
    call("unshare descriptors", 272, |_| [0x400, 0, 0, 0, 0, 0]),
    call("setns", 308, NONE),
    call("mount", 165, |p| [p.text, p.text, p.text, 0, 0, 0]),
    call("umount2", 166, |p| [p.text, 2, 0, 0, 0, 0]),
    call("pivot_root", 155, |p| [p.text, p.text, 0, 0, 0, 0]),
    call("chroot", 161, |p| [p.text, 0, 0, 0, 0, 0]),
    call("fsopen", 430, |p| [p.text, 0, 0, 0, 0, 0]),
    call("keyctl", 250, NONE),
    call("add_key", 248, |p| [p.text, p.text, 0, 0, -3i64 as u64, 0]),
    call("personality", 135, |_| [0x0040_0000, 0, 0, 0, 0, 0]),
    call("setuid", 105, NONE),
    call("capset", 126, |p| [p.stack, p.stack, 0, 0, 0, 0]),
    call("rt_sigaction over the agent's handler", 13, |p| [11, p.stack, 0, 8, 0, 0]),
    call("timer_create", 222, |p| [0, 0, p.stack, 0, 0, 0]),
    call("setitimer", 38, |p| [0, p.stack, 0, 0, 0, 0]),
    call("nanosleep", 35, |p| [p.stack, 0, 0, 0, 0, 0]),
    call("arch_prctl", 158, |_| [0x1002, 0, 0, 0, 0, 0]),
    call("set_tid_address", 218, |p| [p.stack, 0, 0, 0, 0, 0]),
    call("set_robust_list", 273, |p| [p.stack, 24, 0, 0, 0, 0]),
    call("modify_ldt", 154, |p| [1, p.stack, 16, 0, 0, 0]),
    call("iopl", 172, |_| [3, 0, 0, 0, 0, 0]),
    call("sched_setscheduler", 144, |p| [0, 1, p.stack, 0, 0, 0]),
    call("sched_setaffinity", 203, |p| [0, 8, p.stack, 0, 0, 0]),
    call("setpriority", 141, |_| [0, 0, -20i64 as u64, 0, 0, 0]),
    call("futex that lends priority", 202, |p| [p.stack, 6, 0, 0, 0, 0]),
    call("futex that requeues", 202, |p| [p.stack, 3, 1, 1, p.stack, 0]),
    call("seccomp's own listener", 317, |p| [1, 8, p.stack, 0, 0, 0]),
    call("init_module", 175, |p| [p.stack, 4096, p.text, 0, 0, 0]),
    call("kexec_load", 246, NONE),
    call("reboot", 169, |_| [0xfee1_dead, 672_274_793, 0x0123_4567, 0, 0, 0]),
    call("syslog", 103, |p| [3, p.stack, 64, 0, 0, 0]),
    call("a call that does not exist", 9999, NONE),
    call("a call of the x32 interface", 0x4000_0000 | 257, |p| [0, p.text, 0, 0, 0, 0]),
    call("exit_group", 231, |_| [0; 6]),
    stunt("a call by the 32-bit gate", Stunt::OldGate, End::Killed),
    stunt("read from every descriptor", Stunt::ReadDescriptors, End::Killed),
    stunt("write to every descriptor", Stunt::WriteDescriptors, End::Killed),
    stunt("offer the processor without end", Stunt::Yield, End::Answers),
    stunt("flood the doorbell", Stunt::FloodDoorbell, End::Answers),
    stunt("fill the doorbell", Stunt::FillDoorbell, End::Other),
    Attack {
        lent: true,
        ..stunt("write to a page lent for reading", Stunt::WriteLent, End::Faults(FaultKind::Write))
    },
    Attack {
        lent: true,
        goes_on: true,
        ..stunt("keep a loan past its end", Stunt::KeepLent, End::Faults(FaultKind::Read))
    },
    stunt("write to its text", Stunt::WriteText, End::Faults(FaultKind::Write)),
    stunt("execute its stack", Stunt::ExecuteStack, End::Faults(FaultKind::Execute)),
    stunt("write to the call table", Stunt::WriteTable, End::Faults(FaultKind::Write)),
    stunt("write to the agent's code", Stunt::WriteStub, End::Faults(FaultKind::Write)),
    stunt("block signals and fault", Stunt::BlockSignals, End::Ends),
    stunt("drop the stack for signals and fault", Stunt::DropSignalStack, End::Ends),
    stunt("return from no signal", Stunt::ForgeSignalReturn, End::Ends),
    stunt("end its Linux thread", Stunt::ExitThread, End::Silent),
    stunt("corrupt the control area", Stunt::CorruptControl, End::Other),
    stunt("forge calls of other threads", Stunt::ForgeCalls, End::Answers),
    stunt("corrupt the host stack", Stunt::CorruptHostStack, End::Other),
    stunt("start threads without end", Stunt::ThreadBomb, End::Answers),
    stunt("fill memory", Stunt::FillMemory, End::Answers),
    stunt("never answer", Stunt::Loop, End::Silent),
    trick("spoil its channels", Trick::Spoil, End::Other),
    trick("change messages while they are taken", Trick::Race, End::Other),
    trick("flood a channel with the oldest messages", Trick::Flood, End::Answers),
    trick("flood a channel with calls", Trick::FloodCalls, End::Answers),
    trick("forge answers", Trick::ForgeAnswers, End::Other),
    Attack {
        goes_on: true,
        ..trick("answer twice", Trick::AnswerTwice, End::Faults(FaultKind::BadHandle))
    },
    trick("answer another's call", Trick::ForgeReplies, End::Faults(FaultKind::BadHandle)),
    trick("have ΦCore adopt others' replies", Trick::ForgeAdoptions, End::Other),
    trick("forge calls under way", Trick::ForgeCalls, End::Answers),
    trick("forge its tally", Trick::ForgeTally, End::Answers),
    with_channels(
        "corrupt the control area with open channels",
        stunt("", Stunt::CorruptControl, End::Other),
    ),
    with_channels(
        "corrupt the host stack with open channels",
        stunt("", Stunt::CorruptHostStack, End::Other),
    ),
    with_channels("start threads with open channels", stunt("", Stunt::ThreadBomb, End::Answers)),
    with_channels("exit_group with open channels", call("", 231, |_| [0; 6])),
    with_channels("never answer on a channel", stunt("", Stunt::Loop, End::Silent)),
];
