//! Where a driver's first thread begins in its process.

use super::Driver;
use crate::linux::{disk, host_thread, nic, tty};
use phi_abi::{CallTable, Message, Number, StartBlock};
use phi_rt::{Mailbox, Service, Signal};

/// The entry of a driver, in place of an image's.
///
/// # Safety
/// As [`phi_abi::Entry`], on a host thread of a service that is a driver.
pub unsafe extern "C" fn entry(start: *const StartBlock, table: *const CallTable) -> ! {
    std::panic::set_hook(Box::new(|panic| give_up(&panic.to_string())));
    // SAFETY: the machine hands over a table that is valid as long as the domain.
    unsafe { phi_rt::system::install(table) };
    // SAFETY: the start block is read-only memory, valid as long as the domain, its handles are valid,
    // and this is the only `Service`.
    let service = unsafe { Service::new(&*start) };
    let driver = host_thread::current().and_then(|thread| thread.driver());
    phi_rt::exit(match driver {
        Some(driver) => match *driver {
            Driver::Disk(_) => disk::driver::run(&service, &driver),
            Driver::Nic(_) => nic::driver::run(&service, &driver),
            Driver::Tty(_) => tty::driver::run(&service, &driver),
        },
        None => 1,
    })
}

/// Ends the domain as faulted, with `reason`.
pub fn give_up(reason: &str) {
    if host_thread::current().is_none() {
        // The agent's own: the supervisor sees its process end.
        std::process::abort();
    }
    let end = reason.floor_char_boundary(phi_abi::MESSAGE_BYTES);
    let mut message = Message::new(0, &reason.as_bytes()[..end]).unwrap_or(Message::EMPTY);
    // SAFETY: the message is this frame's own; the call does not return.
    unsafe { phi_rt::system::call(Number::DomainPanic, [0; 4], &raw mut message) };
}

/// A new signal that is bound to `mailbox`.
pub fn bound_signal(mailbox: &Mailbox) -> Option<Signal> {
    let signal = Signal::create().ok()?;
    signal.bind(mailbox).ok()?;
    Some(signal)
}
