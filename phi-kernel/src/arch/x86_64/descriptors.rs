//! Segments, the task state segment, and the interrupt descriptor table (Intel's Software Developer's
//! Manual, volume 3, chapters 3, 7 and 8).

use super::context::Registers;
use core::cell::UnsafeCell;
use core::mem::offset_of;
use core::sync::atomic::{AtomicU64, Ordering};
use x86_64::instructions::segmentation::{CS, DS, ES, FS, GS, SS, Segment};
use x86_64::instructions::tables::{lidt, load_tss};
use x86_64::structures::DescriptorTablePointer;
use x86_64::structures::gdt::{Descriptor, GlobalDescriptorTable, SegmentSelector};
use x86_64::structures::tss::TaskStateSegment;
use x86_64::{PrivilegeLevel, VirtAddr};

/// Selector of the kernel's code.
pub const KERNEL_CODE: u16 = 0x08;

/// Selector of the kernel's stack segment; `sysret` counts the services' from here.
pub const KERNEL_DATA: u16 = 0x10;

/// Selector of the services' data.
pub const USER_DATA: u16 = 0x18 | 3;

/// Selector of the services' code.
pub const USER_CODE: u16 = 0x20 | 3;

/// Bytes of each stack for what must not rely on the kernel's.
const EMERGENCY_STACK: usize = 16 * 1024;

/// Number of such stacks: for machine checks, double faults and non-maskable interrupts; and one for what
/// interrupts the kernel of a unikernel.
const EMERGENCY_STACKS: usize = 4;

/// Which of them the last one is, as gates count: from 1.
const SHARED_STACK: u8 = 4;

/// Offset of its place in a task state segment. In a unikernel, whose services have the kernel's privileges, the
/// processor takes this stack for whatever it interrupts: so the place has the end of a service's registers
/// while one runs, and the stack [`KERNEL_TRAP_STACK`] otherwise.
pub const SHARED_PLACE: usize =
    offset_of!(TaskStateSegment, interrupt_stack_table) + 8 * (SHARED_STACK as usize - 1);

/// The stack of what interrupts the kernel of a unikernel.
pub static KERNEL_TRAP_STACK: AtomicU64 = AtomicU64::new(0);

/// Something that the processor reads and writes on its own, and the kernel only as it starts or in
/// the few instructions before it enters a service.
#[repr(C, align(16))]
pub struct Shared<T>(UnsafeCell<T>);

// SAFETY: there is one processor, and the kernel is never interrupted.
unsafe impl<T> Sync for Shared<T> {}

/// Its first stack is where a service's registers go when it is interrupted.
pub static TASK_STATE: Shared<TaskStateSegment> = Shared(UnsafeCell::new(TaskStateSegment::new()));

/// Offset of the first stack in a task state segment.
pub const TASK_STACK: usize = offset_of!(TaskStateSegment, privilege_stack_table);

/// The stack that the task state has for interrupts of a service.
pub fn task_stack() -> *mut u8 {
    // SAFETY: the place is inside the task state, and aligned to 4 bytes; nobody else has it now.
    unsafe { TASK_STATE.0.get().cast::<u8>().add(TASK_STACK).cast::<*mut u8>().read_unaligned() }
}

/// Sets what [`task_stack`] gives.
pub fn set_task_stack(stack: *mut u8) {
    let place = TASK_STATE.0.get().cast::<u8>();
    // SAFETY: as above.
    unsafe { place.add(TASK_STACK).cast::<*mut u8>().write_unaligned(stack) }
}

static SEGMENTS: Shared<GlobalDescriptorTable> =
    Shared(UnsafeCell::new(GlobalDescriptorTable::new()));

static GATES: Shared<[Gate; 256]> = Shared(UnsafeCell::new([Gate::ABSENT; 256]));

static STACKS: Shared<[[u8; EMERGENCY_STACK]; EMERGENCY_STACKS]> =
    Shared(UnsafeCell::new([[0; EMERGENCY_STACK]; EMERGENCY_STACKS]));

/// One entry of the interrupt descriptor table.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Gate {
    offset_low: u16,
    selector: u16,
    stack: u8,
    kind: u8,
    offset_middle: u16,
    offset_high: u32,
    reserved: u32,
}

impl Gate {
    /// No gate: what comes here is a protection fault.
    pub const ABSENT: Gate = Gate {
        offset_low: 0,
        selector: 0,
        stack: 0,
        kind: 0,
        offset_middle: 0,
        offset_high: 0,
        reserved: 0,
    };

    /// A gate to `handler` with interrupts off. `stack` 0 means: on the stack that the privilege level
    /// says, 1 to 3 an emergency stack. `open`: services may go through it on purpose.
    pub const fn to(handler: u64, stack: u8, open: bool) -> Gate {
        Gate {
            offset_low: handler as u16,
            selector: KERNEL_CODE,
            stack,
            // Present, 64-bit interrupt gate, and the privilege level that may use it.
            kind: 0x8E | if open { 3 << 5 } else { 0 },
            offset_middle: (handler >> 16) as u16,
            offset_high: (handler >> 32) as u32,
            reserved: 0,
        }
    }
}

/// Loads segments, task state and `gates`.
///
/// # Safety
/// Called once, with gates that lead to code which can handle what comes through them.
pub unsafe fn load(gates: [Gate; 256]) {
    // SAFETY: nothing else uses these yet, as this is called once.
    let (task_state, segments, own_gates) =
        unsafe { (&mut *TASK_STATE.0.get(), &mut *SEGMENTS.0.get(), &mut *GATES.0.get()) };
    let first = STACKS.0.get() as u64;
    for stack in 0..EMERGENCY_STACKS {
        let end = first + ((stack + 1) * EMERGENCY_STACK) as u64;
        task_state.interrupt_stack_table[stack] = VirtAddr::new_truncate(end);
        KERNEL_TRAP_STACK.store(end, Ordering::Relaxed);
    }
    segments.append(Descriptor::kernel_code_segment());
    segments.append(Descriptor::kernel_data_segment());
    segments.append(Descriptor::user_data_segment());
    segments.append(Descriptor::user_code_segment());
    let task = segments.append(Descriptor::tss_segment(task_state));
    segments.load();
    *own_gates = gates;
    let null = SegmentSelector::new(0, PrivilegeLevel::Ring0);
    // SAFETY: the table just loaded has these segments at these places, and it, the task state and the
    // gates are static.
    unsafe {
        CS::set_reg(SegmentSelector(KERNEL_CODE));
        SS::set_reg(SegmentSelector(KERNEL_DATA));
        DS::set_reg(null);
        ES::set_reg(null);
        FS::set_reg(null);
        GS::set_reg(null);
        load_tss(task);
        lidt(&DescriptorTablePointer {
            limit: (size_of::<[Gate; 256]>() - 1) as u16,
            base: VirtAddr::from_ptr(GATES.0.get()),
        });
    }
}

/// Has the processor change to the stack of [`SHARED_PLACE`] for whatever has no stack of its own.
pub fn share_stack() {
    let gates = GATES.0.get().cast::<Gate>();
    for vector in 0..256 {
        // SAFETY: there are so many gates, and interrupts are off: the processor reads none of them now.
        unsafe {
            let stack = &raw mut (*gates.add(vector)).stack;
            if stack.read() == 0 {
                stack.write(SHARED_STACK);
            }
        }
    }
}

/// Empties the data segment registers, so that the next service does not find what the last one
/// left in them.
pub fn clear_segments() {
    let null = SegmentSelector::new(0, PrivilegeLevel::Ring0);
    // SAFETY: in long mode these segments matter to nobody.
    unsafe {
        DS::set_reg(null);
        ES::set_reg(null);
        FS::set_reg(null);
        GS::set_reg(null);
    }
}

// The processor aligns the stack to 16 bytes before it pushes, which must change nothing.
const _: () = assert!(size_of::<Registers>().is_multiple_of(16));
