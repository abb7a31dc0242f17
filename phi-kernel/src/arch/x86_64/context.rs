//! A thread's registers, while it is not running.

use super::AddressSpace;
use super::descriptors::{KERNEL_CODE, KERNEL_DATA, USER_CODE, USER_DATA};
use phi_abi::Outcome;
use phi_core::ThreadIndex;

/// The registers as they lie after an interrupt: the last ones are pushed by the processor, the two
/// before by the vector's first instructions, the others by what is common to all vectors.
#[repr(C, align(16))]
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "the names are the registers'")]
pub struct Registers {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rbp: u64,
    pub rdi: u64,
    pub rsi: u64,
    pub rdx: u64,
    pub rcx: u64,
    pub rbx: u64,
    pub rax: u64,
    /// The interrupt's vector.
    pub vector: u64,
    /// The exception's error code, or 0.
    pub error: u64,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
}

/// The flags that a thread begins with: interrupts are on.
const FIRST_FLAGS: u64 = 0x202;

/// A thread's registers, how it left, and what else is switched with it.
#[repr(C, align(16))]
#[derive(Clone, Debug)]
pub struct Context {
    /// They come first: the end of them is the stack of the processor when the thread is interrupted.
    pub(super) registers: Registers,
    /// Whether it left by a call, or will if it is not interrupted.
    pub(super) in_call: bool,
    /// Whether what its call is to give cannot be written to its memory.
    pub(super) undelivered: bool,
    /// What the root register is while it runs.
    pub(super) root: u64,
    /// Where its extended state is saved.
    pub(super) extended: *mut u8,
    /// Which thread it is.
    pub(super) thread: u16,
}

/// A call, as the thread made it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Call {
    /// Its number.
    pub number: u32,
    /// Its words.
    pub arguments: [u64; 4],
}

impl Context {
    /// The context of no thread.
    pub const EMPTY: Context = Context {
        registers: Registers {
            r15: 0,
            r14: 0,
            r13: 0,
            r12: 0,
            r11: 0,
            r10: 0,
            r9: 0,
            r8: 0,
            rbp: 0,
            rdi: 0,
            rsi: 0,
            rdx: 0,
            rcx: 0,
            rbx: 0,
            rax: 0,
            vector: 0,
            error: 0,
            rip: 0,
            cs: USER_CODE as u64,
            rflags: FIRST_FLAGS,
            rsp: 0,
            ss: USER_DATA as u64,
        },
        in_call: false,
        undelivered: false,
        root: 0,
        extended: core::ptr::null_mut(),
        thread: 0,
    };

    /// A thread that begins at `entry` with two arguments, and `stack` as its stack pointer before the
    /// call that never was; in `space`, with the privileges that go with that, and with the area for its
    /// extended state.
    pub fn begin(
        [entry, stack, first, second]: [u64; 4],
        thread: ThreadIndex,
        space: &AddressSpace,
        extended: *mut u8,
    ) -> Context {
        let (root, thread) = (space.root_register(), thread.0);
        let mut context = Context { root, extended, thread, ..Context::EMPTY };
        let registers = &mut context.registers;
        if space.is_privileged() {
            (registers.cs, registers.ss) = (KERNEL_CODE.into(), KERNEL_DATA.into());
        }
        registers.rip = entry;
        // Where the return address would be.
        registers.rsp = stack.wrapping_sub(8);
        registers.rdi = first;
        registers.rsi = second;
        context
    }

    /// Whether the thread left by a call, so that it awaits an outcome.
    pub fn in_call(&self) -> bool {
        self.in_call
    }

    /// The call by which it left, by its number.
    pub(super) fn call(&self, number: u32) -> Call {
        Call { number, arguments: self.words() }
    }

    /// Whether it left since what its call gives has no place.
    pub fn is_undelivered(&self) -> bool {
        self.undelivered
    }

    /// The words of the call by which it left.
    pub fn words(&self) -> [u64; 4] {
        let Registers { rdi, rsi, rdx, r10, .. } = self.registers;
        [rdi, rsi, rdx, r10]
    }

    /// Sets the words of the call by which it left.
    pub fn set_words(&mut self, words: [u64; 4]) {
        let Registers { rdi, rsi, rdx, r10, .. } = &mut self.registers;
        [*rdi, *rsi, *rdx, *r10] = words;
    }

    /// Which thread it is.
    #[inline(always)]
    pub fn thread(&self) -> ThreadIndex {
        ThreadIndex(self.thread)
    }

    /// Address of the call's message.
    pub fn message(&self) -> u64 {
        self.registers.r8
    }

    /// Has the call return `outcome`.
    pub fn set_outcome(&mut self, outcome: Outcome) {
        self.registers.rax = outcome.status;
        self.registers.rdx = outcome.value;
    }
}
