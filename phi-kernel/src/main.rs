//! ΦOS on bare metal: the machine under ΦCore, for one x86_64 processor.
//!
//! A PVH loader, or `phi-loader` after UEFI firmware, puts the kernel and a bundle into memory. The kernel sets up page tables, traps and a
//! clock, checks the bundle, boots ΦCore from its plan, and from then on runs what ΦCore dispatches
//! ([`run`]). What happens is decided in `phi-core`; here is how.
//!
//! Principles:
//! - **One stack, no interrupts in the kernel.** [`arch::run`] enters a service and returns with what
//!   brought one back, so the kernel is one loop in one thread. A plain call to a service that waits, and
//!   its answer, do not come back to the loop: [`short`] goes on with the receiver.
//! - **No page is writable and executable**, for services and kernel alike. The kernel reaches services'
//!   memory only in a copy routine and where a message is handed over, and survives bad addresses there.
//! - **No driver.** The kernel has a timer and writes to two serial lines: COM1 carries the transcript,
//!   COM2 the log and, between its text, records for the tool: at the end what the services have used,
//!   on request and after a bug a [`dump`].
//! - **Nothing is left behind**: neither registers nor memory of one domain ever reach another.
//!
//! Ends with QEMU's exit status 33 when the system has ended, whatever its status, which is in the
//! record; and with 35, and the reason on COM2, when the kernel cannot run the bundle on this machine,
//! finds that no service can ever run again, or has a bug.
//!
//! Limits: one processor with XSAVE and a local APIC; the bundle below 4 GiB; memory for page tables is
//! nobody's quota; no mitigation of speculative side channels.
#![no_std]
#![no_main]
#![allow(unsafe_code, reason = "a kernel writes page tables and registers")]
extern crate alloc;

mod arch;
mod domain;
mod dump;
mod machine;
mod memory;
mod message;
mod mode;
mod panic;
mod report;
mod run;
mod short;

use alloc::boxed::Box;
use arch::{Boot, EARLY_END, Ending};
use core::fmt::Write;
use machine::Metal;
use panic::refuse;
use phi_abi::layout::PAGE;
use phi_core::{Kernel, Machine};
use phi_manifest::bundle::Bundle;
use phi_manifest::plan::Mode;
use phi_mem::FrameAllocator;
use report::Report;

/// Runs the system that the loader brought, and ends the machine. The architecture's entry calls this
/// once.
fn boot(mut boot: Boot) -> ! {
    // SAFETY: this is the first to use the free memory, and the entry mapped it up to this limit.
    if !unsafe { memory::set_up_heap(&mut boot.free, EARLY_END) } {
        refuse(format_args!("there is too little memory"));
    }
    let mut frames = memory::frames(&boot.free, EARLY_END);
    // SAFETY: this is called once, and the first frames are below the limit.
    let (space, clock, board) = match unsafe { arch::set_up(&boot, &mut frames) } {
        Ok(machine) => machine,
        Err(error) => refuse(format_args!("this machine cannot run ΦOS: {error}")),
    };
    let bytes = bundle_bytes(&boot, &mut frames);
    let bundle: &'static Bundle<'static> = match Bundle::open(bytes) {
        Ok(bundle) => Box::leak(Box::new(bundle)),
        Err(error) => refuse(format_args!("the bundle is refused: {error}")),
    };
    mode::begin(bundle.plan().mode, &boot);
    let privileged = bundle.plan().mode == Mode::Unikernel;
    // SAFETY: this is called once, and no address space was made yet.
    if unsafe { arch::open_calls(&space, privileged, &mut frames) }.is_none() {
        refuse(format_args!("there is no memory for the call page"));
    }
    let frame = arch::physical(bytes.as_ptr()) / PAGE;
    let Some(metal) = Metal::new(domain::Content { bundle, frame }, space, frames, board, clock)
    else {
        refuse(format_args!("there is too little memory for the plan's threads"));
    };
    let mut kernel = match Kernel::boot(metal, bundle.plan()) {
        Ok(kernel) => kernel,
        Err(error) => refuse(format_args!("the system cannot boot: {error}")),
    };
    // It stays here, since this function never returns.
    dump::set_system(&raw mut kernel);
    let boot_microseconds = kernel.machine_mut().now() / 1000;
    let Ok(status) = run::run(&mut kernel) else {
        dump::write(&kernel, "stuck");
        refuse(format_args!(
            "the system has no end: every service waits, and nothing is due that could wake one"
        ));
    };
    if boot.dump {
        dump::write(&kernel, "end");
    }
    let report = Report { plan: bundle.plan(), kernel: &kernel, status, boot_microseconds };
    // A line that cannot be written to is not there to be told.
    let _ = write!(arch::Serial::log(), "{report}");
    arch::exit(Ending::Clean)
}

/// The bundle, beginning on a page.
fn bundle_bytes(boot: &Boot, frames: &mut FrameAllocator) -> &'static [u8] {
    let length = boot.bundle.end - boot.bundle.start;
    let mut start = boot.bundle.start;
    if !start.is_multiple_of(PAGE) {
        let Some(first) = frames.allocate_run(length.div_ceil(PAGE), 1) else {
            refuse(format_args!("there is too little memory to move the bundle to a page"));
        };
        // SAFETY: the bundle is in memory, the new frames are free, and both are in the direct map.
        unsafe {
            let from = arch::direct(start);
            arch::direct(first * PAGE).copy_from_nonoverlapping(from, length as usize);
        }
        start = first * PAGE;
    }
    // SAFETY: nothing ever writes to the bundle: its frames are not free, and it is mapped for services
    // only to be read or executed.
    unsafe { core::slice::from_raw_parts(arch::direct(start), length as usize) }
}
