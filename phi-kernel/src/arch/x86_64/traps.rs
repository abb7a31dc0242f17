//! Ways into a service and back: [`run`] enters one and returns when it calls, faults or is interrupted.
//!
//! There is one kernel stack. A service's registers go straight into its [`Context`]: the task state's
//! stack pointer is the end of its registers, so the processor pushes there. The kernel itself runs with
//! interrupts off; it is interrupted only where it idles.
//!
//! Of a call's registers those are saved that a function preserves, since a call is one, and its words.
//! A call or an answer is tried on the short way first ([`crate::short`]), which does not come back here.

use super::context::{Call, Context, Registers};
use super::descriptors::{
    self, Gate, KERNEL_CODE, KERNEL_DATA, KERNEL_TRAP_STACK, SHARED_PLACE, TASK_STACK, TASK_STATE,
    USER_CODE, USER_DATA,
};
use super::direct_way::{self, return_to_service};
use super::{CalleeState, Serial, clock, handover, machine_check, request, user_copy};
use crate::panic::end_after_bug;
use core::arch::{asm, global_asm};
use core::fmt::Write;
use core::mem::offset_of;
use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use phi_abi::layout::{SERVICES, WINDOWS_BASE, window};
use phi_abi::{Fault, FaultKind, Number};
use x86_64::VirtAddr;
use x86_64::registers::control::Cr2;
use x86_64::registers::model_specific::{LStar, SFMask, Star};
use x86_64::registers::rflags::RFlags;
use x86_64::structures::gdt::SegmentSelector;

/// Vector of the timer's interrupt.
pub const TIMER: u8 = 0x20;

/// Vector of interrupts that were withdrawn.
pub const SPURIOUS: u8 = 0x2F;

/// Vector of an IOMMU that has noted a fault.
pub const DMA_FAULT: u8 = 0x30;

/// Vector of the first source of interrupts that ΦCore knows.
pub const INTERRUPTS: u8 = 0x40;

const VECTORS: usize = 0x80;

/// Bytes between the first instructions of two vectors.
const STUB: u64 = 16;

const DEBUG: u64 = 1;
const NON_MASKABLE: u64 = 2;
const BREAKPOINT: u64 = 3;
const DOUBLE_FAULT: u64 = 8;
const PROTECTION_FAULT: u64 = 13;
const PAGE_FAULT: u64 = 14;
const MACHINE_CHECK: u64 = 18;

/// Bits of a page fault's error code.
const WRITE: u64 = 1 << 1;
const FETCH: u64 = 1 << 4;

/// The kernel's stack pointer while a service runs.
static KERNEL_STACK: AtomicU64 = AtomicU64::new(0);

global_asm!(
    r#"
    .global user_enter, call_entry, trap_stubs
    // To the service whose context is in rdi. Comes back when the service in the task state's stack leaves,
    // with the number of its call in eax, if it made one. Loses all other registers but rbx and rbp.
user_enter:
    push rbp
    push rbx
    sub rsp, 8
    mov [rip + {kernel_stack}], rsp
    lea rax, [rdi + {size}]
    mov [rip + {task_state} + {task_stack}], rax
    mov [rip + {task_state} + {shared_place}], rax
    cmp byte ptr [rdi + {in_call}], 0
    je 2f
    // The call's outcome, what a function preserves, and nothing else.
    mov rcx, [rdi + {rip}]
    mov r11, [rdi + {rflags}]
    mov rax, [rdi + {rax}]
    mov rdx, [rdi + {rdx}]
    mov rbx, [rdi + {rbx}]
    mov rbp, [rdi + {rbp}]
    mov r12, [rdi + {r12}]
    mov r13, [rdi + {r13}]
    mov r14, [rdi + {r14}]
    mov r15, [rdi + {r15}]
    mov rsp, [rdi + {rsp}]
    xor edi, edi
    xor esi, esi
    xor r8d, r8d
    xor r9d, r9d
    xor r10d, r10d
"#, return_to_service!(), r#"
2:  mov byte ptr [rdi + {in_call}], 1
    mov rsp, rdi
    pop r15
    pop r14
    pop r13
    pop r12
    pop r11
    pop r10
    pop r9
    pop r8
    pop rbp
    pop rdi
    pop rsi
    pop rdx
    pop rcx
    pop rbx
    pop rax
    add rsp, 16
    iretq

call_entry:
    // The end of its registers.
    mov r9, [rip + {task_state} + {task_stack}]
    mov [r9 - {size} + {rsp}], rsp
    mov [r9 - {size} + {r8}], r8
    mov [r9 - {size} + {rbx}], rbx
    mov [r9 - {size} + {rbp}], rbp
    mov [r9 - {size} + {r12}], r12
    mov [r9 - {size} + {r13}], r13
    mov [r9 - {size} + {r14}], r14
    mov [r9 - {size} + {r15}], r15
    mov [r9 - {size} + {rip}], rcx
    mov [r9 - {size} + {rflags}], r11
    mov rsp, [rip + {kernel_stack}]
    cmp eax, {call}
    jne 2f
    // The short way comes back only if it has done nothing, and then the words are in the context.
    lea rdx, [r9 - {size}]
    call {short_call}
    mov esi, {call}
    jmp 6f
2:  cmp eax, {answer}
    jne 3f
    lea rcx, [r9 - {size}]
    call {short_answer}
    mov esi, {answer}
6:  mov rdi, [rip + {task_state} + {task_stack}]
    sub rdi, {size}
    call {short_with_grants}
    jmp 4f
3:  mov [r9 - {size} + {rdi}], rdi
    mov [r9 - {size} + {rsi}], rsi
    mov [r9 - {size} + {rdx}], rdx
    mov [r9 - {size} + {r10}], r10
4:  mov rsp, [rip + {kernel_stack}]
    add rsp, 8
    pop rbx
    pop rbp
    ret

leave_interrupted:                  // The context is at rsp.
    mov byte ptr [rsp + {in_call}], 0
    mov rax, [rip + {kernel_trap_stack}]
    mov [rip + {task_state} + {shared_place}], rax
    jmp 4b

trap_common:
    push rax
    push rbx
    push rcx
    push rdx
    push rsi
    push rdi
    push rbp
    push r8
    push r9
    push r10
    push r11
    push r12
    push r13
    push r14
    push r15
    cld
    // These have stacks of their own: what was pushed is here, and in no context, whoever ran.
    cmp qword ptr [rsp + {vector_field}], {double_fault}
    je 5f
    cmp qword ptr [rsp + {vector_field}], {machine_check}
    je 5f
    test byte ptr [rsp + {cs}], 3
    jnz leave_interrupted
    cmp byte ptr [rip + {privileged}], 0
    je 5f
    // Services have the same privileges: they are what runs below the kernel's addresses.
    cmp qword ptr [rsp + {rip}], 0
    jns leave_interrupted
5:  mov rdi, rsp
    mov rbx, rsp
    and rsp, -16
    call {kernel_trap}
    mov rsp, rbx
    pop r15
    pop r14
    pop r13
    pop r12
    pop r11
    pop r10
    pop r9
    pop r8
    pop rbp
    pop rdi
    pop rsi
    pop rdx
    pop rcx
    pop rbx
    pop rax
    add rsp, 16
    iretq

    // One for each vector; the mask has a bit for each that comes with an error code.
    .set vector, 0
    .balign 16
trap_stubs:
    .rept {vectors}
    .balign 16
    .if vector > 31 || ((0x60227D00 >> vector) & 1) == 0
    push 0
    .endif
    .byte 0x6A, vector              // push
    jmp trap_common
    .set vector, vector + 1
    .endr
"#,
    kernel_stack = sym KERNEL_STACK,
    kernel_trap_stack = sym KERNEL_TRAP_STACK,
    shared_place = const SHARED_PLACE,
    privileged = sym direct_way::OPEN,
    task_state = sym TASK_STATE,
    kernel_trap = sym kernel_trap,
    task_stack = const TASK_STACK,
    vectors = const VECTORS,
    size = const size_of::<Registers>(),
    in_call = const offset_of!(Context, in_call),
    call = const Number::Call as u32,
    answer = const Number::ReplyReceive as u32,
    short_call = sym crate::short::call,
    short_answer = sym crate::short::answer,
    short_with_grants = sym crate::short::with_grants,
    rip = const offset_of!(Registers, rip),
    cs = const offset_of!(Registers, cs),
    vector_field = const offset_of!(Registers, vector),
    double_fault = const DOUBLE_FAULT,
    machine_check = const MACHINE_CHECK,
    rflags = const offset_of!(Registers, rflags),
    rsp = const offset_of!(Registers, rsp),
    rax = const offset_of!(Registers, rax),
    rbx = const offset_of!(Registers, rbx),
    rdx = const offset_of!(Registers, rdx),
    rbp = const offset_of!(Registers, rbp),
    rdi = const offset_of!(Registers, rdi),
    rsi = const offset_of!(Registers, rsi),
    r8 = const offset_of!(Registers, r8),
    r10 = const offset_of!(Registers, r10),
    r12 = const offset_of!(Registers, r12),
    r13 = const offset_of!(Registers, r13),
    r14 = const offset_of!(Registers, r14),
    r15 = const offset_of!(Registers, r15),
);

unsafe extern "C" {
    fn user_enter();
    safe static call_entry: u8;
    safe static trap_stubs: u8;
}

/// What brought the kernel back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// The service made a call.
    Call(Call),
    /// What was handed over to the service cannot be written to its memory.
    Undelivered,
    /// The timer, a device, or nothing at all; the service goes on where it was.
    Interrupt(Option<Interrupt>),
    /// The service did what the processor does not allow. A fault in the guard of a stack reads as
    /// one of reading or writing.
    Fault(Fault),
}

/// An interrupt that is not the timer's, to be acknowledged once it was dealt with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Interrupt {
    /// Of the source with this number.
    Irq(u16),
    /// An IOMMU has noted a fault.
    DmaFault,
}

impl Interrupt {
    fn of(vector: u64) -> Option<Interrupt> {
        match u8::try_from(vector).ok()? {
            DMA_FAULT => Some(Interrupt::DmaFault),
            vector => vector.checked_sub(INTERRUPTS).map(|irq| Interrupt::Irq(u16::from(irq))),
        }
    }
}

/// The vector of an interrupt that came while the kernel waited; 0 for none.
static WAITING: AtomicU8 = AtomicU8::new(0);

/// Takes the interrupt that came while the kernel waited, if it was not the timer's.
pub fn take_interrupt() -> Option<Interrupt> {
    Interrupt::of(u64::from(WAITING.swap(0, Ordering::Relaxed)))
}

/// Loads the descriptor tables and opens the ways in.
///
/// # Safety
/// Called once, before anything faults on purpose or interrupts are on.
pub unsafe fn set_up() {
    let first = &raw const trap_stubs as u64;
    let mut gates = [Gate::ABSENT; 256];
    for (vector, gate) in gates.iter_mut().enumerate().take(VECTORS) {
        let stack = match vector as u64 {
            MACHINE_CHECK => 1,
            DOUBLE_FAULT => 2,
            NON_MASKABLE => 3,
            _ => 0,
        };
        let open = vector as u64 == BREAKPOINT;
        let handler = match vector as u64 {
            NON_MASKABLE => request::entry(),
            vector => first + vector * STUB,
        };
        *gate = Gate::to(handler, stack, open);
    }
    // SAFETY: the gates lead to the stubs, which handle every vector.
    unsafe { descriptors::load(gates) };
    // Fails only for selectors that do not stand as the instructions want them.
    let selectors = [USER_CODE, USER_DATA, KERNEL_CODE, KERNEL_DATA].map(SegmentSelector);
    let [user_code, user_data, kernel_code, kernel_data] = selectors;
    assert!(Star::write(user_code, user_data, kernel_code, kernel_data).is_ok());
    LStar::write(VirtAddr::new_truncate(&raw const call_entry as u64));
    // The kernel is entered with all flags clear: no interrupts, no single steps, strings upward,
    // services' memory closed.
    SFMask::write(RFlags::all());
}

/// Lets the thread of `context` run, and whoever is handed over to on the short way, until one of them
/// makes a call that is not done there, faults or is interrupted. Gives the context of that one, and
/// what happened.
///
/// # Safety
/// The thread's address space is active, and its extended state is in the processor. Nothing that
/// [`crate::short`] uses is borrowed.
pub unsafe fn run(context: *mut Context) -> (*mut Context, Event) {
    let number: u32;
    // SAFETY: a service cannot reach the kernel but through call_entry and the stubs, which come back
    // here with the kernel's registers as they were, but for those named as lost. Its instruction
    // pointer is below 2^47, since ΦCore checks entries and nothing is mapped at the end, so `sysret`
    // and `iret` do not fault.
    unsafe {
        asm!(
            "call {enter}",
            enter = sym user_enter,
            inlateout("rdi") context => _,
            lateout("eax") number,
            out("r12") _, out("r13") _, out("r14") _, out("r15") _,
            clobber_abi("C"),
        );
    }
    let left = running();
    // SAFETY: that is the context which was last set, and nobody has it now.
    (left, unsafe { event(&mut *left, number) })
}

/// Lets the thread of `context`, which is in a call, go on with status and value 0.
///
/// # Safety
/// As for [`run`]; what is on the kernel's stack is lost, but for what [`run`] put there.
#[inline(always)]
pub unsafe fn resume(context: *mut Context) -> ! {
    // SAFETY: as for `run`.
    unsafe {
        asm!(
            "lea rax, [rdi + {size}]",
            "mov [rip + {task_state} + {task_stack}], rax",
            "mov rcx, [rdi + {rip}]",
            "mov r11, [rdi + {rflags}]",
            "mov rbx, [rdi + {rbx}]",
            "mov rbp, [rdi + {rbp}]",
            "mov r12, [rdi + {r12}]",
            "mov r13, [rdi + {r13}]",
            "mov r14, [rdi + {r14}]",
            "mov r15, [rdi + {r15}]",
            "mov rsp, [rdi + {rsp}]",
            "xor eax, eax",
            "xor edx, edx",
            "xor edi, edi",
            "xor esi, esi",
            "xor r8d, r8d",
            "xor r9d, r9d",
            "xor r10d, r10d",
            return_to_service!(),
            in("rdi") context,
            size = const size_of::<Registers>(),
            task_state = sym TASK_STATE,
            task_stack = const TASK_STACK,
            rip = const offset_of!(Registers, rip),
            rflags = const offset_of!(Registers, rflags),
            rsp = const offset_of!(Registers, rsp),
            rbx = const offset_of!(Registers, rbx),
            rbp = const offset_of!(Registers, rbp),
            r12 = const offset_of!(Registers, r12),
            r13 = const offset_of!(Registers, r13),
            r14 = const offset_of!(Registers, r14),
            r15 = const offset_of!(Registers, r15),
            options(noreturn),
        );
    }
}

/// The context whose registers the processor would save.
fn running() -> *mut Context {
    descriptors::task_stack().wrapping_sub(size_of::<Registers>()).cast()
}

/// Says that the thread of `context` is the one that left, as what its call gives has no place.
///
/// # Safety
/// Nobody else has the context.
pub unsafe fn leave_undelivered(context: *mut Context) {
    // SAFETY: the caller's word.
    unsafe { (*context).undelivered = true };
    descriptors::set_task_stack(context.cast::<u8>().wrapping_add(size_of::<Registers>()));
}

/// What happened when the thread of `context` left, by a call with this number if it made one.
fn event(context: &mut Context, number: u32) -> Event {
    if core::mem::take(&mut context.undelivered) {
        return Event::Undelivered;
    }
    if context.in_call() {
        return Event::Call(context.call(number));
    }
    user_copy::close();
    let registers = &context.registers;
    match registers.vector {
        vector if vector == u64::from(TIMER) => {
            clock::acknowledge();
            Event::Interrupt(None)
        }
        vector if vector == u64::from(SPURIOUS) => Event::Interrupt(None),
        vector if Interrupt::of(vector).is_some() => Event::Interrupt(Interrupt::of(vector)),
        _ => Event::Fault(fault(registers)),
    }
}

/// An exception of a service, as ΦCore knows it.
fn fault(registers: &Registers) -> Fault {
    let Registers { vector, error, rip, .. } = *registers;
    let address = if vector == PAGE_FAULT { Cr2::read_raw() } else { 0 };
    let kind = match vector {
        0 => FaultKind::Division,
        DEBUG | BREAKPOINT => FaultKind::Breakpoint,
        6 => FaultKind::IllegalInstruction,
        16 | 19 => FaultKind::FloatingPoint,
        PAGE_FAULT if error & FETCH != 0 => FaultKind::Execute,
        PAGE_FAULT if error & WRITE != 0 => FaultKind::Write,
        PAGE_FAULT => FaultKind::Read,
        _ => FaultKind::Protection,
    };
    // Instructions of the call page say nothing about the service.
    let own = (WINDOWS_BASE..window(SERVICES)).contains(&rip) || kind == FaultKind::Execute;
    Fault { kind, address, instruction: if own { rip } else { 0 } }
}

/// An interrupt or exception while the kernel ran. Returns where it may go on.
extern "C" fn kernel_trap(registers: &mut Registers) {
    match registers.vector {
        vector if vector == u64::from(TIMER) => clock::acknowledge(),
        vector if vector == u64::from(SPURIOUS) => {}
        vector if Interrupt::of(vector).is_some() => WAITING.store(vector as u8, Ordering::Relaxed),
        PROTECTION_FAULT | PAGE_FAULT => match recovery(registers.rip) {
            Some(recovery) => registers.rip = recovery,
            None => broken(registers),
        },
        _ => broken(registers),
    }
}

/// Where to go on after a fault at `instruction`, if that reaches for a service's memory.
fn recovery(instruction: u64) -> Option<u64> {
    user_copy::recovery(instruction).or_else(|| handover::recovery(instruction))
}

/// Ends the machine at an exception that only a bug of the kernel, or broken hardware, explains.
fn broken(registers: &Registers) -> ! {
    let Registers { vector, error, rip, rsp, rdi, .. } = *registers;
    if vector == MACHINE_CHECK {
        // The machine ends whether this is seen or not.
        let _ = writeln!(
            Serial::log(),
            "\nphi-kernel: machine check: the hardware reports an error of its own: {}at {rip:#x}",
            machine_check::Report
        );
        end_after_bug(&CalleeState::of(registers))
    }
    let what = match vector {
        DOUBLE_FAULT => "double fault (the kernel's stack may be used up)",
        PROTECTION_FAULT => "general protection fault",
        PAGE_FAULT => "page fault",
        _ => "exception",
    };
    // The machine ends either way.
    let _ = writeln!(
        Serial::log(),
        "\nphi-kernel: {what} in the kernel: vector {vector}, error {error:#x}, rip {rip:#x}, \
         rsp {rsp:#x}, rdi {rdi:#x}, cr2 {:#x}",
        Cr2::read_raw()
    );
    end_after_bug(&CalleeState::of(registers))
}
