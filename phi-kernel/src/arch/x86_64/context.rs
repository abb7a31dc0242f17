//! A thread's registers, while it is not running.

use super::descriptors::{USER_CODE, USER_DATA};
use phi_abi::Outcome;

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

/// A thread's registers, and how it left.
#[derive(Clone, Debug)]
pub struct Context {
    pub(super) registers: Registers,
    pub(super) in_call: bool,
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
    };

    /// A thread that begins at `entry` with two arguments, and `stack` as its stack pointer before the
    /// call that never was.
    pub fn begin(entry: u64, stack: u64, first: u64, second: u64) -> Context {
        let mut context = Context::EMPTY;
        let registers = &mut context.registers;
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

    /// The call by which it left.
    pub fn call(&self) -> Call {
        let Registers { rdi, rsi, rdx, r10, rax, .. } = self.registers;
        Call { number: rax as u32, arguments: [rdi, rsi, rdx, r10] }
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
