//! The loop: run what ΦCore dispatches, and tell it what became of that.

use crate::arch::{
    Board, Call, DeviceFault, Event, Interrupt, Request, Serial, acknowledge, take_interrupt,
    take_request,
};
use crate::machine::Metal;
use crate::panic::refuse;
use crate::{dump, message, short};
use core::fmt::Write;
use phi_abi::{CALLS, Fault, FaultKind};
use phi_core::{IrqIndex, Kernel, Machine, SLICE, ThreadIndex};

/// No service can ever run again: all of them wait, and for nothing that time brings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stuck;

/// Runs the system to its end; gives its exit status.
///
/// A slice lasts until its time is over, through calls and answers: a thread that blocks leaves the rest
/// of it to who comes next. So a call that hands over reads no clock and sets no alarm.
///
/// # Errors
/// [`Stuck`]: it has no end.
#[inline(never)]
pub fn run(kernel: &mut Kernel<Metal>) -> Result<u8, Stuck> {
    short::set_up(kernel);
    let mut slice_end = None;
    let mut current = None;
    let mut next = kernel.dispatch();
    loop {
        if let Some(status) = kernel.halted() {
            return Ok(status);
        }
        let Some(thread) = next else {
            idle(kernel)?;
            (slice_end, current, next) = (None, None, kernel.dispatch());
            continue;
        };
        if current != next {
            kernel.machine_mut().switch_to(thread);
            current = next;
        }
        let left = kernel.budget_left(thread);
        if left == Some(0) {
            kernel.preempt(thread);
            next = kernel.dispatch();
            continue;
        }
        if !deliver(kernel, thread) {
            next = kernel.dispatch();
            continue;
        }
        let deadline = kernel.next_deadline().unwrap_or(u64::MAX);
        let machine = kernel.machine_mut();
        let slice = *slice_end.get_or_insert_with(|| machine.now().saturating_add(SLICE));
        // Only who has a budget is timed.
        let timed = left.map(|left| (machine.now(), left));
        let budget = timed.map_or(u64::MAX, |(now, left)| now.saturating_add(left));
        machine.clock.set_alarm(deadline.min(slice).min(budget));
        let (thread, event) = short::run(kernel, thread);
        current = Some(thread);
        next = match event {
            Event::Call(made) => call(kernel, thread, made),
            Event::Undelivered => {
                let fault = bad_message(kernel, thread);
                kernel.fault(thread, fault);
                kernel.dispatch()
            }
            Event::Interrupt(from) => {
                if interrupted(kernel, thread, slice) {
                    slice_end = None;
                }
                attend(kernel, from);
                kernel.dispatch()
            }
            Event::Fault(fault) => {
                kernel.fault(thread, fault);
                kernel.dispatch()
            }
        };
        if let Some((since, _)) = timed {
            let now = kernel.machine_mut().now();
            kernel.charge(thread, now.saturating_sub(since));
        }
    }
}

/// Waits for what is due next, or for a device, and has ΦCore do what that asks for.
fn idle(kernel: &mut Kernel<Metal>) -> Result<(), Stuck> {
    let deadline = kernel.next_deadline();
    if deadline.is_none() && !kernel.awaits_interrupts() {
        return Err(Stuck);
    }
    let deadline = deadline.unwrap_or(u64::MAX);
    while kernel.machine().clock.now() < deadline {
        let clock = &mut kernel.machine_mut().clock;
        clock.set_alarm(deadline);
        clock.wait();
        attend_request(kernel);
        let from = take_interrupt();
        attend(kernel, from);
        if from.is_some() {
            return Ok(());
        }
    }
    kernel.expire();
    Ok(())
}

/// Has ΦCore know of an interrupt of a device, and lets the next one come.
fn attend(kernel: &mut Kernel<Metal>, from: Option<Interrupt>) {
    let Some(from) = from else { return };
    match from {
        Interrupt::Irq(number) => {
            let irq = IrqIndex(number);
            if kernel.machine_mut().board.as_mut().is_some_and(|board| board.is_storm(irq)) {
                // A line that cannot be written to is not there to be told.
                let _ = writeln!(
                    Serial::log(),
                    "irq: a storm of source {number} is stopped until its driver acknowledges"
                );
            }
            kernel.interrupt(irq);
        }
        Interrupt::DmaFault => {
            while let Some(fault) = kernel.machine_mut().board.as_mut().and_then(Board::take_fault)
            {
                dma_fault(kernel, fault);
            }
        }
    }
    acknowledge();
}

/// Stops a device that reached for what it may not, and ends who drives it.
fn dma_fault(kernel: &mut Kernel<Metal>, fault: DeviceFault) {
    let DeviceFault { requester, space, address } = fault;
    let (bus, device, function) = (requester >> 8, requester >> 3 & 31, requester & 7);
    let _ = writeln!(
        Serial::log(),
        "dma: device {bus:02x}:{device:02x}.{function} reached for {address:#x}, and is stopped"
    );
    if let Some(space) = space {
        kernel.dma_fault(space, address);
    }
}

/// Does what a non-maskable interrupt asked for, if one came.
fn attend_request(kernel: &Kernel<Metal>) {
    match take_request() {
        None => {}
        Some(Request::Dump) => dump::write(kernel, "request"),
        Some(Request::HardwareError) => {
            refuse(format_args!("the machine reports an error of its memory or its buses"))
        }
    }
}

/// Gives a thread that made a call what came of it. `false` when the thread's domain is gone, since the
/// message has no place.
fn deliver(kernel: &mut Kernel<Metal>, thread: ThreadIndex) -> bool {
    let frame = kernel.frame(thread);
    let (outcome, message_out) = (frame.outcome, frame.message_out);
    let context = kernel.machine_mut().context(thread);
    if !context.in_call() {
        return true;
    }
    context.set_outcome(outcome);
    if !message_out {
        return true;
    }
    let address = context.message();
    if message::write(&kernel.frame(thread).message, address).is_err() {
        let fault = bad_message(kernel, thread);
        kernel.fault(thread, fault);
        return false;
    }
    true
}

/// The fault of a thread in a call whose message is no memory that it may be.
fn bad_message(kernel: &mut Kernel<Metal>, thread: ThreadIndex) -> Fault {
    let address = kernel.machine_mut().context(thread).message();
    Fault { kind: FaultKind::BadArgument, address, instruction: 0 }
}

/// Has ΦCore do what a thread asks for; gives the thread that is next.
fn call(kernel: &mut Kernel<Metal>, thread: ThreadIndex, call: Call) -> Option<ThreadIndex> {
    let address = kernel.machine_mut().context(thread).message();
    let frame = kernel.frame_mut(thread);
    frame.number = call.number;
    frame.arguments = call.arguments;
    let reads = CALLS.get(call.number as usize).is_some_and(|call| call.message_in);
    if reads && message::read(&mut frame.message, address).is_err() {
        let fault = bad_message(kernel, thread);
        kernel.fault(thread, fault);
        return kernel.dispatch();
    }
    kernel.system_call_then_dispatch(thread)
}

/// A thread was interrupted: something may be due, or its slice over; says whether that is.
fn interrupted(kernel: &mut Kernel<Metal>, thread: ThreadIndex, slice_end: u64) -> bool {
    attend_request(kernel);
    let machine = kernel.machine_mut();
    machine.clock.clear_alarm();
    let now = machine.now();
    let over = now >= slice_end;
    if over {
        kernel.preempt(thread);
    } else {
        kernel.put_back(thread);
    }
    if kernel.next_deadline().is_some_and(|deadline| now >= deadline) {
        kernel.expire();
    }
    over
}
