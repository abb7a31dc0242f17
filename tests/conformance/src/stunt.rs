//! What a puppet does that is no call: instructions that fault, and loops too long for orders.

use crate::invoke;
use crate::order::Words;
use core::arch::asm;
use core::hint::black_box;
use phi_abi::{Error, Message, Number, StartBlock};

unsafe extern "C" {
    // Set by the linker.
    static __executable_start: u8;
    static etext: u8;
}

/// Address of the first byte of the program's text, and of the first one after it.
pub fn text() -> (u64, u64) {
    (&raw const __executable_start as u64, &raw const etext as u64)
}

macro_rules! stunts {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// A stunt.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u64)]
        pub enum Stunt {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Stunt {
            fn from_number(number: u64) -> Option<Stunt> {
                [$(Stunt::$name,)+].get(usize::try_from(number).ok()?).copied()
            }
        }
    };
}

stunts! {
    /// Executes what lies at an address.
    Execute,
    /// Divides by zero.
    Divide,
    /// Divides so that the quotient is out of range.
    DivideTooFar,
    /// Divides by zero in floating point, with that exception unmasked.
    DivideFloat,
    /// Executes an instruction that does not exist.
    Illegal,
    /// Halts the processor.
    Halt,
    /// Masks interrupts.
    MaskInterrupts,
    /// Reads an I/O port.
    ReadPort,
    /// Loads a control register.
    LoadControl,
    /// Executes a breakpoint.
    Breakpoint,
    /// Calls itself without end.
    Recurse,
    /// Loops without end.
    Loop,
    /// Panics.
    Panic,
    /// Counts in a loop with a pattern in all vector registers. Answer: how many kept it.
    Vectors,
    /// Derives from a capability until the table is full, frees one slot and fills it again, then
    /// drops them all. Answer: capabilities made, error, 1 if the freed slot could be used, error.
    FillHandles,
    /// Fills the table with copies of a capability and receives from a mailbox; then frees as many
    /// slots as the third word says and receives again. Answer: first outcome, second outcome.
    ReceiveFull,
    /// Exchanges words of memory with a partner: adds 1 to the word at an address, without end.
    Count,
}

/// Performs the stunt with this number.
pub fn perform(start: &StartBlock, number: u64, words: [u64; 3]) -> Words {
    let mut answer = Words::default();
    match Stunt::from_number(number) {
        Some(Stunt::FillHandles) => answer[..4].copy_from_slice(&fill_handles(words[0])),
        Some(Stunt::ReceiveFull) => answer[..4].copy_from_slice(&receive_full(words)),
        Some(Stunt::Vectors) => answer[0] = vectors(words[0], words[1]),
        Some(Stunt::Recurse) => answer[0] = recurse(words[0] | 1),
        Some(Stunt::Loop) => loop {
            core::hint::spin_loop();
        },
        Some(Stunt::Count) => count(words[0]),
        Some(Stunt::Panic) => panic!("generation {} panics as ordered", start.generation),
        Some(stunt) => fault(stunt, words[0]),
        None => answer[0] = u64::MAX,
    }
    answer
}

/// Executes one instruction that ends the service.
fn fault(stunt: Stunt, address: u64) {
    // SAFETY: each of these ends the service, before anything else is touched.
    unsafe {
        match stunt {
            Stunt::Execute => asm!("call {}", in(reg) address, clobber_abi("C")),
            Stunt::Divide => {
                asm!("div {0:e}", in(reg) 0u32, inout("eax") 1u32 => _, inout("edx") 0u32 => _)
            }
            Stunt::DivideTooFar => {
                asm!("div {0:e}", in(reg) 1u32, inout("eax") 0u32 => _, inout("edx") 1u32 => _)
            }
            Stunt::DivideFloat => {
                // By the x87 unit: QEMU does not raise the exceptions of vector instructions.
                let unmasked = 0x037Bu16;
                asm!("fninit", "fldcw [{}]", "fld1", "fldz", "fdivp", "fwait", in(reg) &unmasked)
            }
            Stunt::Illegal => asm!("ud2"),
            Stunt::Halt => asm!("hlt"),
            Stunt::MaskInterrupts => asm!("cli"),
            Stunt::ReadPort => asm!("in al, dx", in("dx") 0x80u16, out("al") _),
            Stunt::LoadControl => asm!("mov cr3, {}", in(reg) 0u64),
            Stunt::Breakpoint => asm!("int3"),
            _ => {}
        }
    }
}

#[inline(never)]
#[allow(unconditional_recursion)]
fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    recurse(black_box(depth) + 1) + black_box(&frame)[depth as usize % 64]
}

fn count(address: u64) -> ! {
    loop {
        // SAFETY: the conductor names a word of a region that it mapped here for this.
        unsafe { asm!("add qword ptr [{}], 1", in(reg) address) };
    }
}

/// How many of the 16 vector registers still hold `pattern` after `rounds` rounds of a loop.
fn vectors(pattern: u64, rounds: u64) -> u64 {
    let mut held = [0u64; 32];
    // SAFETY: all registers that change are named, and what is written is `held`.
    unsafe {
        asm!(
            "movq xmm0, {pattern}",
            "punpcklqdq xmm0, xmm0",
            "movdqa xmm1, xmm0", "movdqa xmm2, xmm0", "movdqa xmm3, xmm0", "movdqa xmm4, xmm0",
            "movdqa xmm5, xmm0", "movdqa xmm6, xmm0", "movdqa xmm7, xmm0", "movdqa xmm8, xmm0",
            "movdqa xmm9, xmm0", "movdqa xmm10, xmm0", "movdqa xmm11, xmm0", "movdqa xmm12, xmm0",
            "movdqa xmm13, xmm0", "movdqa xmm14, xmm0", "movdqa xmm15, xmm0",
            "2:", "sub {rounds}, 1", "jnz 2b",
            "movdqu [{held}], xmm0", "movdqu [{held} + 16], xmm1",
            "movdqu [{held} + 32], xmm2", "movdqu [{held} + 48], xmm3",
            "movdqu [{held} + 64], xmm4", "movdqu [{held} + 80], xmm5",
            "movdqu [{held} + 96], xmm6", "movdqu [{held} + 112], xmm7",
            "movdqu [{held} + 128], xmm8", "movdqu [{held} + 144], xmm9",
            "movdqu [{held} + 160], xmm10", "movdqu [{held} + 176], xmm11",
            "movdqu [{held} + 192], xmm12", "movdqu [{held} + 208], xmm13",
            "movdqu [{held} + 224], xmm14", "movdqu [{held} + 240], xmm15",
            pattern = in(reg) pattern,
            rounds = inout(reg) rounds.max(1) => _,
            held = in(reg) held.as_mut_ptr(),
            out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _,
            out("xmm5") _, out("xmm6") _, out("xmm7") _, out("xmm8") _, out("xmm9") _,
            out("xmm10") _, out("xmm11") _, out("xmm12") _, out("xmm13") _, out("xmm14") _,
            out("xmm15") _,
        );
    }
    held.chunks_exact(2).filter(|halves| halves.iter().all(|half| *half == pattern)).count() as u64
}

/// Capabilities that a puppet's table may hold, more than its quota.
const TABLE: usize = 128;

/// The handles that fill the table, and why there are no more.
struct Filled {
    handles: [u64; TABLE],
    count: usize,
    error: u64,
}

fn derive(handle: u64) -> Result<u64, Error> {
    let rights = u64::from(phi_abi::Rights::TRANSFER.bits());
    invoke(Number::CapabilityDerive, [handle, rights, 0, 0], core::ptr::null_mut())
}

fn drop_handle(handle: u64) {
    let _ = invoke(Number::CapabilityDrop, [handle, 0, 0, 0], core::ptr::null_mut());
}

fn fill(handle: u64) -> Filled {
    let mut filled = Filled { handles: [0; TABLE], count: 0, error: 0 };
    for place in &mut filled.handles {
        match derive(handle) {
            Ok(copy) => *place = copy,
            Err(error) => {
                filled.error = error as u64;
                break;
            }
        }
        filled.count += 1;
    }
    filled
}

impl Filled {
    /// Drops the last `count` handles.
    fn free(&mut self, count: usize) {
        let left = self.count.saturating_sub(count);
        self.handles[left..self.count].iter().for_each(|handle| drop_handle(*handle));
        self.count = left;
    }
}

fn fill_handles(handle: u64) -> [u64; 4] {
    let mut filled = fill(handle);
    let made = filled.count as u64;
    filled.free(1);
    let again = derive(handle);
    let error = derive(handle).err().map_or(0, |error| error as u64);
    if let Ok(copy) = again {
        drop_handle(copy);
    }
    filled.free(TABLE);
    [made, filled.error, u64::from(again.is_ok()), error]
}

fn receive_full([handle, mailbox, free]: [u64; 3]) -> [u64; 4] {
    let mut filled = fill(handle);
    let mut message = Message::EMPTY;
    let mut receive = || match invoke(Number::Receive, [mailbox, 0, 0, 0], &mut message) {
        Ok(value) => (0, value),
        Err(error) => (error as u64, 0),
    };
    let first = receive();
    filled.free(free as usize);
    let second = receive();
    filled.free(TABLE);
    [first.0, first.1, second.0, u64::from(message.grant_count)]
}
