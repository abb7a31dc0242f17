//! The call table of an image on Linux: each entry makes its call through one of the thread's channels,
//! if it can, or else writes it to the thread's page, rings the supervisor's doorbell and waits for the
//! page to say how it ended.

use super::control;
use super::direct::Attempt;
use super::host_thread::{self, HostThread};
use super::monotonic;
use super::probe;
use phi_abi::{ABI_VERSION, CALLS, CallTable, Error, FOREVER, Message, Number, Outcome};
use std::arch::{asm, naked_asm};
use std::mem::MaybeUninit;

macro_rules! table {
    ($($number:literal)*) => {
        /// What images are handed at their entry.
        pub static TABLE: CallTable = CallTable {
            version: ABI_VERSION,
            count: CALLS.len() as u32,
            functions: [$(call::<$number>),*],
        };
    };
}

table!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38);

/// A call, while it is served. It is used where it lies: words that were just stored one by one are
/// slow to copy by larger pieces.
struct Request {
    thread: &'static HostThread,
    number: u32,
    arguments: [u64; 4],
    message: *mut Message,
    /// Whether who looks has been told that it begins.
    told: bool,
}

/// One entry of the table.
///
/// # Safety
/// As [`phi_abi::CallFunction`].
unsafe extern "C" fn call<const NUMBER: u32>(
    first: u64,
    second: u64,
    third: u64,
    fourth: u64,
    message: *mut Message,
) -> Outcome {
    let Some(thread) = host_thread::current() else {
        // The table is reachable only from `enter`, on a host thread.
        std::process::abort();
    };
    let arguments = [first, second, third, fourth];
    let mut request = Request { thread, number: NUMBER, arguments, message, told: false };
    // SAFETY: the host stack below where `enter` left it is free while the service runs.
    unsafe { on_host_stack::<NUMBER>(&mut request, thread.host_stack()) }
}

/// Serves `request` on the stack that ends at `host_stack`, and comes back to this one.
///
/// # Safety
/// The stack is free.
#[unsafe(naked)]
unsafe extern "C" fn on_host_stack<const NUMBER: u32>(
    request: &mut Request,
    host_stack: u64,
) -> Outcome {
    naked_asm!(
        "push rbp",
        "mov rbp, rsp",
        "mov rsp, rsi",
        "and rsp, -16",
        "call {serve}",
        "mov rsp, rbp",
        "pop rbp",
        "ret",
        serve = sym serve::<NUMBER>,
    )
}

/// Makes the call in `request`, whose number is `NUMBER`, and waits for its end. Does not return to a thread
/// that shall end.
///
/// # Safety
/// Called by [`on_host_stack`] with its own request, on the request's thread.
unsafe extern "C" fn serve<const NUMBER: u32>(request: &mut Request) -> Outcome {
    // One for each call, so that nothing about its number is asked on the way of a message.
    // SAFETY: the thread is inside `enter`, and no frame from here to there owns anything.
    unsafe {
        if !may_pass(NUMBER) {
            return with_the_supervisor(request);
        }
        past_the_supervisor(request.thread, request, NUMBER)
            .unwrap_or_else(|| with_the_supervisor(request))
    }
}

/// Whether calls of this number can go past the supervisor.
const fn may_pass(number: u32) -> bool {
    number == Number::Send as u32
        || number == Number::Call as u32
        || number == Number::Receive as u32
        || number == Number::Reply as u32
        || number == Number::ReplyReceive as u32
}

/// Makes the call in `request`, which cannot be made through the thread's channels for now.
///
/// # Safety
/// As [`serve`].
#[cold]
unsafe fn with_the_supervisor(request: &mut Request) -> Outcome {
    let thread = request.thread;
    loop {
        let begun = request.receive().and_then(|(_, timeout)| (timeout != FOREVER).then(monotonic));
        // SAFETY: as this function.
        let outcome = unsafe { through_the_supervisor(thread, request) };
        if outcome.status != control::GO_ON {
            return outcome;
        }
        // The receive is to go on with the thread's channels, which count it themselves.
        thread.page().uncount_call();
        let Some((mailbox, timeout)) = request.receive() else { return outcome };
        let spent = begun.map_or(0, |begun| monotonic().saturating_sub(begun));
        let left = if timeout == FOREVER { FOREVER } else { timeout.saturating_sub(spent) };
        request.become_receive(mailbox, left);
        // SAFETY: as this function.
        let outcome = unsafe { past_the_supervisor(thread, request, Number::Receive as u32) };
        if let Some(outcome) = outcome {
            return outcome;
        }
    }
}

impl Request {
    /// The mailbox and the timeout of a receive, or of one that follows an answer.
    fn receive(&self) -> Option<(u64, u64)> {
        let [first, second, third, _] = self.arguments;
        match Number::from_number(self.number)? {
            Number::Receive => Some((first, second)),
            Number::ReplyReceive => Some((second, third)),
            _ => None,
        }
    }

    fn become_receive(&mut self, mailbox: u64, timeout: u64) {
        self.number = Number::Receive as u32;
        self.arguments = [mailbox, timeout, 0, 0];
    }
}

/// Makes the call `number` in `request` through the thread's channels, if it can be made so; otherwise it is
/// for the supervisor, as `request` then says.
///
/// # Safety
/// The thread is inside `enter`, and may be left there.
#[inline(always)]
unsafe fn past_the_supervisor(
    thread: &HostThread,
    request: &mut Request,
    number: u32,
) -> Option<Outcome> {
    let around = thread.surroundings();
    loop {
        let Request { message, told, .. } = *request;
        let arguments = &request.arguments;
        // SAFETY: calls of a thread do not nest, so that this is the only reference; a thread that leaves
        // at a fault below forgets it.
        let carried = unsafe { thread.letter() };
        if CALLS[number as usize].message_in {
            let place = std::ptr::from_mut(&mut *carried).cast();
            // SAFETY: as for the way through the supervisor; the destination is a message.
            thread.copying(message as u64, || unsafe { copy_plain(message.cast(), place) });
        }
        thread.set_in_service(false);
        if !told && CALLS[number as usize].message_in {
            probe::call_begins(thread, number, arguments, Some(carried));
            request.told = true;
        }
        let attempt = thread.direct().borrow_mut().attempt(number, arguments, carried, around);
        let ended = match attempt {
            Attempt::Ended(outcome, message_out) => Some((outcome, message_out)),
            Attempt::Again => {
                thread.set_in_service(true);
                continue;
            }
            Attempt::Usual => None,
            Attempt::Receive(timeout) => {
                if let Some((mailbox, _)) = request.receive() {
                    request.become_receive(mailbox, timeout);
                }
                None
            }
            Attempt::Nudge(outcome) => {
                request.number = Number::ClockRead as u32;
                // SAFETY: as this function.
                unsafe { through_the_supervisor(thread, request) };
                Some((outcome, false))
            }
            Attempt::Adopted => {
                if around.page.wait_adopted() {
                    let (outcome, message_out) = around.page.read_outcome();
                    if message_out {
                        *carried = around.page.read_message();
                    }
                    Some((outcome, message_out))
                } else {
                    // The server only says so: as if it had let the call go.
                    Some((Outcome::failure(Error::Dead), false))
                }
            }
            // SAFETY: as this function.
            Attempt::Leave => unsafe { end(thread) },
        };
        if around.page.has_ended() {
            // SAFETY: as this function.
            unsafe { end(thread) };
        }
        let got = ended.is_some_and(|(_, message_out)| message_out).then_some(&*carried);
        if let Some((outcome, _)) = ended {
            probe::call_ends(thread, number, &request.arguments, outcome, Some(carried), got);
        }
        thread.set_in_service(true);
        let (outcome, message_out) = ended?;
        around.page.wait_while_held();
        if message_out && CALLS[number as usize].message_out {
            // SAFETY: as for the way through the supervisor.
            thread.copying(message as u64, || unsafe {
                if carried.grant_count == 0 {
                    copy_plain(std::ptr::from_ref(carried).cast(), message.cast());
                } else {
                    copy_out(carried, message);
                }
            });
        }
        return Some(outcome);
    }
}

/// Makes the call in the thread's page, by way of the supervisor.
///
/// # Safety
/// The thread is inside `enter`, and may be left there.
unsafe fn through_the_supervisor(thread: &HostThread, request: &Request) -> Outcome {
    let Request { number, arguments, message, told, .. } = *request;
    let description = &CALLS[number as usize];
    // The message is touched as the service: a fault there is its own.
    // SAFETY: a bad address faults, and the thread leaves.
    let copy = || unsafe { copy_in(message) };
    let incoming = description.message_in.then(|| thread.copying(message as u64, copy));
    thread.set_in_service(false);
    if !told {
        probe::call_begins(thread, number, &arguments, incoming.as_ref());
    }
    let page = thread.page();
    let (mut words, mut sent) = (arguments, incoming);
    thread.direct().borrow().before(number, &mut words, sent.as_mut(), page);
    page.write_call(number, words, sent.as_ref());
    if !page.stop_running(control::CALLING) {
        // SAFETY: as this function, and this frame owns nothing.
        unsafe { end(thread) };
    }
    thread.ring();
    loop {
        match page.state() {
            control::RUNNING => break,
            control::CALLING => page.wait_while(control::CALLING, None),
            // SAFETY: as above.
            _ => unsafe { end(thread) },
        }
    }
    let (outcome, message_out) = page.read_outcome();
    let outgoing = (message_out && description.message_out).then(|| page.read_message());
    let (sent, got) = (incoming.as_ref(), outgoing.as_ref());
    probe::call_ends(thread, number, &arguments, outcome, sent, got);
    thread.direct().borrow_mut().after(number, &arguments, sent, outcome, page);
    thread.set_in_service(true);
    page.wait_while_held();
    if let Some(outgoing) = outgoing {
        // SAFETY: as for the way in.
        thread.copying(message as u64, || unsafe { copy_out(&outgoing, message) });
    }
    outcome
}

/// # Safety
/// The thread is inside `enter`.
unsafe fn end(thread: &HostThread) -> ! {
    // SAFETY: as this function.
    unsafe { host_thread::leave(thread.host_stack()) }
}

/// Copies a message from the service, at any address: one that cannot be read faults.
///
/// # Safety
/// Whoever calls can be left at a fault.
unsafe fn copy_in(message: *const Message) -> Message {
    let mut copy = MaybeUninit::<Message>::uninit();
    // SAFETY: the source faults or is read; the destination is as long as a message.
    unsafe { copy_bytes(message.cast(), copy.as_mut_ptr().cast()) };
    // SAFETY: all of it was written, and any bytes make a message: it is all numbers.
    unsafe { copy.assume_init() }
}

/// Copies a message to the service, at any address: one that cannot be written faults.
///
/// # Safety
/// Whoever calls can be left at a fault.
unsafe fn copy_out(from: &Message, message: *mut Message) {
    // SAFETY: the source is a message; the destination faults or is the service's.
    unsafe { copy_bytes(std::ptr::from_ref(from).cast(), message.cast()) };
}

/// Copies the bytes of a message by one instruction, so that bad addresses fault and mean nothing
/// to the compiler.
///
/// # Safety
/// Both addresses hold a message, or one faults and whoever calls is left there.
unsafe fn copy_bytes(from: *const u8, to: *mut u8) {
    // SAFETY: as this function; the direction flag is clear, as the calling convention says.
    unsafe {
        asm!(
            "rep movsb",
            inout("rcx") size_of::<Message>() => _,
            inout("rsi") from => _,
            inout("rdi") to => _,
            options(nostack, preserves_flags),
        );
    }
}

/// What a message without capabilities is: its head and its bytes.
const PLAIN: usize = std::mem::offset_of!(Message, grants);
const _: () = assert!(PLAIN == 96);
const _: () = assert!(std::mem::offset_of!(Message, rights) == 24);
const _: () = assert!(std::mem::offset_of!(Message, length) == 28);
const _: () = assert!(std::mem::offset_of!(Message, grant_count) == 30);

/// Copies a message but for its capabilities: [`PLAIN`] bytes, by instructions that mean nothing to the
/// compiler. Each field is read as it was written a moment ago: a processor has no larger pieces ready yet.
///
/// # Safety
/// As [`copy_bytes`].
#[inline(always)]
unsafe fn copy_plain(from: *const u8, to: *mut u8) {
    macro_rules! copy {
        ($($at:literal)*) => {
            concat!($("mov {a}, [{from} + ", $at, "]\n", "mov [{to} + ", $at, "], {a}\n",)*)
        };
    }
    // SAFETY: as this function.
    unsafe {
        asm!(
            copy!(0 8 16),
            "mov {a:e}, [{from} + 24]",
            "mov [{to} + 24], {a:e}",
            "movzx {a:e}, word ptr [{from} + 28]",
            "mov [{to} + 28], {a:x}",
            "movzx {a:e}, word ptr [{from} + 30]",
            "mov [{to} + 30], {a:x}",
            copy!(32 40 48 56 64 72 80 88),
            from = in(reg) from,
            to = in(reg) to,
            a = out(reg) _,
            options(nostack, preserves_flags),
        );
    }
}
