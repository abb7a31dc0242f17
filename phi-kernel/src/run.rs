//! The loop: run what ΦCore dispatches, and tell it what became of that.

use crate::arch::Event;
use crate::machine::Metal;
use crate::message;
use phi_abi::Number;
use phi_core::{Kernel, Machine, SLICE, ThreadIndex};

/// No service can ever run again: all of them wait, and for nothing that time brings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stuck;

/// The time of the thread that runs, in nanoseconds since the system's start.
#[derive(Clone, Copy)]
struct Turn {
    thread: ThreadIndex,
    /// When it was last charged for its time, if its domain has a budget.
    charged: Option<u64>,
    /// When others of its priority come before it, or its domain's budget is used up.
    end: u64,
    /// When its slice is over.
    slice_end: u64,
}

/// Runs the system to its end; gives its exit status.
///
/// # Errors
/// [`Stuck`]: it has no end.
pub fn run(kernel: &mut Kernel<Metal>) -> Result<u8, Stuck> {
    let mut turn: Option<Turn> = None;
    loop {
        if let Some(status) = kernel.halted() {
            return Ok(status);
        }
        let Some(thread) = kernel.dispatch() else {
            turn = None;
            idle(kernel)?;
            continue;
        };
        let now = match turn {
            Some(turn) if turn.thread == thread => turn,
            _ => begin(kernel, thread),
        };
        turn = Some(now);
        if !deliver(kernel, thread) {
            continue;
        }
        let next = kernel.next_deadline().unwrap_or(u64::MAX).min(now.end);
        let machine = kernel.machine_mut();
        machine.clock.set_alarm(next);
        let mut over = false;
        match machine.run(thread) {
            Event::Call => call(kernel, thread),
            Event::Interrupt => over = interrupted(kernel, &now),
            Event::Fault(fault) => kernel.fault(thread, fault),
        }
        if let Some(since) = now.charged {
            turn = Some(charge(kernel, now, since));
        }
        if over {
            // Whoever is next gets a whole slice, even if it is the same thread.
            turn = None;
        }
    }
}

/// Waits for what is due next, and has ΦCore do it.
fn idle(kernel: &mut Kernel<Metal>) -> Result<(), Stuck> {
    let Some(deadline) = kernel.next_deadline() else { return Err(Stuck) };
    let clock = &mut kernel.machine_mut().clock;
    while clock.now() < deadline {
        clock.set_alarm(deadline);
        clock.wait();
    }
    kernel.expire();
    Ok(())
}

/// Switches to another thread than the last.
fn begin(kernel: &mut Kernel<Metal>, thread: ThreadIndex) -> Turn {
    let left = kernel.budget_left(thread);
    let machine = kernel.machine_mut();
    machine.switch_to(thread);
    let now = machine.now();
    let slice_end = now.saturating_add(SLICE);
    let end = left.map_or(slice_end, |left| slice_end.min(now.saturating_add(left)));
    Turn { thread, charged: left.map(|_| now), end, slice_end }
}

/// Charges the domain's budget for what its thread has used since `since`.
fn charge(kernel: &mut Kernel<Metal>, turn: Turn, since: u64) -> Turn {
    let now = kernel.machine_mut().now();
    kernel.charge(turn.thread, now.saturating_sub(since));
    let left = kernel.budget_left(turn.thread).unwrap_or(u64::MAX);
    Turn { charged: Some(now), end: turn.slice_end.min(now.saturating_add(left)), ..turn }
}

/// Gives a thread that made a call what came of it. `false` when the thread's domain is gone, since the
/// message has no place.
fn deliver(kernel: &mut Kernel<Metal>, thread: ThreadIndex) -> bool {
    let outcome = kernel.frame(thread).outcome;
    let context = kernel.machine_mut().context(thread);
    if !context.in_call() {
        return true;
    }
    context.set_outcome(outcome);
    let address = context.message();
    let frame = kernel.frame(thread);
    if frame.message_out && message::write(&frame.message, address).is_err() {
        kernel.fault(thread, Metal::bad_message(address));
        return false;
    }
    true
}

/// Has ΦCore do what a thread asks for.
fn call(kernel: &mut Kernel<Metal>, thread: ThreadIndex) {
    let context = kernel.machine_mut().context(thread);
    let (call, address) = (context.call(), context.message());
    let frame = kernel.frame_mut(thread);
    frame.number = call.number;
    frame.arguments = call.arguments;
    let reads = Number::from_number(call.number).is_some_and(|n| n.description().message_in);
    if reads && message::read(&mut frame.message, address).is_err() {
        kernel.fault(thread, Metal::bad_message(address));
        return;
    }
    kernel.system_call(thread);
}

/// A thread was interrupted: something may be due, or its slice over. Returns whether the latter.
fn interrupted(kernel: &mut Kernel<Metal>, turn: &Turn) -> bool {
    let machine = kernel.machine_mut();
    machine.clock.clear_alarm();
    let now = machine.now();
    let over = now >= turn.slice_end;
    if over {
        kernel.preempt(turn.thread);
    } else {
        kernel.put_back(turn.thread);
    }
    if kernel.next_deadline().is_some_and(|deadline| now >= deadline) {
        kernel.expire();
    }
    over
}
