//! What turns a library into an image: entry, heap and panic handler.

use crate::{Service, YieldingLock, exit, system};
use core::fmt::Write;
use core::panic::PanicInfo;
pub use phi_abi::VersionNote;
use phi_abi::{CallTable, MESSAGE_BYTES, Message, Number, StartBlock};
use talc::{TalcLock, source::Manual};

/// The heap of an image: the memory that its start block gives it.
pub type Heap = TalcLock<YieldingLock, Manual>;

/// A heap without memory yet.
pub const fn heap() -> Heap {
    Heap::new(Manual)
}

/// Makes an image of a function `fn(&phi_rt::Service) -> u8`: what it returns is the exit status.
///
/// Defines the entry, the panic handler, the heap, a note of the ABI's version, and the functions that
/// compiled code expects. It stands alone in its crate, which is `no_std` and `no_main`.
#[macro_export]
macro_rules! image {
    ($main:path) => {
        #[global_allocator]
        static HEAP: $crate::image::Heap = $crate::image::heap();

        // SAFETY: the section holds notes, and this is one.
        #[used]
        #[unsafe(link_section = ".note.phi")]
        static VERSION: $crate::image::VersionNote = $crate::image::VersionNote::CURRENT;

        #[unsafe(no_mangle)]
        unsafe extern "C" fn _start(start: *const u8, table: *const u8) -> ! {
            // SAFETY: the machine calls the entry once, as its type says: `phi_abi::Entry`.
            unsafe { $crate::image::begin(&HEAP, start.cast(), table.cast(), $main) }
        }

        #[panic_handler]
        fn panic(information: &core::panic::PanicInfo) -> ! {
            $crate::image::panic(information)
        }

        $crate::memory_functions!();
    };
}

/// Runs the service.
///
/// # Safety
/// Called once, at the image's entry, with the entry's arguments and the image's own heap.
pub unsafe fn begin(
    heap: &Heap,
    start: *const StartBlock,
    table: *const CallTable,
    main: fn(&Service) -> u8,
) -> ! {
    // SAFETY: the machine hands over a table that is valid as long as the domain.
    unsafe { system::install(table) };
    // SAFETY: the start block is read-only memory, valid as long as the domain.
    let start: &'static StartBlock = unsafe { &*start };
    // SAFETY: the heap's memory is this domain's own, and nothing else uses it. A heap too small for
    // its own bookkeeping stays empty, and the first allocation panics.
    unsafe { heap.lock().claim(start.heap as *mut u8, start.heap_size as usize) };
    // SAFETY: the handles in the start block are valid, and this is the only `Service`.
    let service = unsafe { Service::new(start) };
    exit(main(&service))
}

/// Ends the service as faulted, with the panic's place and text as the reason.
pub fn panic(information: &PanicInfo) -> ! {
    let mut text = Text { message: Message::EMPTY };
    if let Some(place) = information.location() {
        // Text beyond the message's end is cut off.
        let _ = write!(text, "{}:{}: ", place.file(), place.line());
    }
    let _ = write!(text, "{}", information.message());
    loop {
        let _ = system::with_message(Number::DomainPanic, [0; 4], &mut text.message);
    }
}

/// The beginning of a text, as much as a message holds.
struct Text {
    message: Message,
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        let used = self.message.length as usize;
        let part = &text.as_bytes()[..text.floor_char_boundary(MESSAGE_BYTES - used)];
        self.message.data[used..used + part.len()].copy_from_slice(part);
        self.message.length += part.len() as u16;
        if part.len() < text.len() { Err(core::fmt::Error) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_cut_at_a_character() {
        let mut text = Text { message: Message::EMPTY };
        assert!(write!(text, "{}", "a".repeat(63)).is_ok());
        assert!(write!(text, "é…").is_err());
        assert_eq!(text.message.bytes(), "a".repeat(63).as_bytes());
        assert!(write!(text, "b").is_ok());
        assert_eq!(text.message.length, 64);
    }
}
