//! Faults: what ends a service that did what no correct program does.

/// What a service did.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u32)]
pub enum FaultKind {
    /// Read memory that it has not mapped.
    Read = 1,
    /// Wrote to memory that it has not mapped for writing.
    Write = 2,
    /// Executed memory that is not its text.
    Execute = 3,
    /// Broke a protection rule that names no address: a privileged instruction, a non-canonical
    /// address.
    Protection = 4,
    /// An instruction that does not exist.
    IllegalInstruction = 5,
    /// Division by zero, or a quotient out of range.
    Division = 6,
    /// An unmasked floating-point exception.
    FloatingPoint = 7,
    /// A breakpoint instruction.
    Breakpoint = 8,
    /// Ran past the end of a stack, into its guard.
    StackOverflow = 9,
    /// Panicked; the address is 0, and the text is in the machine's log.
    Panic = 10,
    /// Named a capability that it never held or has dropped, or one of the wrong kind; the address
    /// is the handle.
    BadHandle = 11,
    /// Made a call with an argument that is never right; the address is the argument.
    BadArgument = 12,
    /// Made a call that does not exist; the address is its number.
    BadCall = 13,
    /// Its process was ended from outside ΦCore (Linux only).
    Killed = 14,
    /// The machine could not give it what its plan promises.
    Machine = 15,
    /// A device that it drives reached for memory that is not mapped for it; the address is the device's.
    Dma = 16,
}

impl FaultKind {
    /// Every kind, in the order of their numbers.
    pub const ALL: [FaultKind; 16] = [
        FaultKind::Read,
        FaultKind::Write,
        FaultKind::Execute,
        FaultKind::Protection,
        FaultKind::IllegalInstruction,
        FaultKind::Division,
        FaultKind::FloatingPoint,
        FaultKind::Breakpoint,
        FaultKind::StackOverflow,
        FaultKind::Panic,
        FaultKind::BadHandle,
        FaultKind::BadArgument,
        FaultKind::BadCall,
        FaultKind::Killed,
        FaultKind::Machine,
        FaultKind::Dma,
    ];

    /// The kind with this number.
    pub fn from_number(number: u32) -> Option<FaultKind> {
        FaultKind::ALL.get((number as usize).checked_sub(1)?).copied()
    }

    /// What happened, for people.
    pub const fn description(self) -> &'static str {
        match self {
            FaultKind::Read => "read of unmapped memory",
            FaultKind::Write => "write to memory not mapped for writing",
            FaultKind::Execute => "execution of memory that is not text",
            FaultKind::Protection => "protection violation",
            FaultKind::IllegalInstruction => "illegal instruction",
            FaultKind::Division => "division error",
            FaultKind::FloatingPoint => "floating-point exception",
            FaultKind::Breakpoint => "breakpoint",
            FaultKind::StackOverflow => "stack overflow",
            FaultKind::Panic => "panic",
            FaultKind::BadHandle => "bad handle",
            FaultKind::BadArgument => "bad argument",
            FaultKind::BadCall => "unknown call",
            FaultKind::Killed => "killed from outside",
            FaultKind::Machine => "the machine could not provide what the plan promises",
            FaultKind::Dma => "access of its device to memory not mapped for that",
        }
    }
}

/// One fault of one thread.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// What happened.
    pub kind: FaultKind,
    /// What it concerns, by kind: the memory address, the handle, the argument, or 0.
    pub address: u64,
    /// Where the program was: the instruction's address, or 0 where the machine cannot know.
    pub instruction: u64,
}
