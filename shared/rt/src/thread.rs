//! Threads of a service.

use crate::{Capability, Memory, Signal, clock, system};
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::mem::ManuallyDrop;
use phi_abi::{CallTable, Error, FOREVER, Handle, Number};

/// Nanoseconds between two looks at whether a thread that has finished is gone.
const PAUSE: u64 = 50_000;

/// A thread of this service. Its stack lies in a region of its own, with unmapped guards around it.
///
/// Dropped unjoined, the thread goes on, and its stack stays for as long as the service runs.
#[derive(Debug)]
pub struct Thread {
    capability: Capability,
    stack: ManuallyDrop<Memory>,
    finished: Arc<Signal>,
    priority: u64,
}

/// What a new thread finds at its entry.
struct Errand {
    work: Box<dyn FnOnce() + Send>,
    finished: Arc<Signal>,
}

impl Thread {
    /// Starts a thread that runs `work`, with `stack` bytes of stack and `priority`, at most the
    /// service's own.
    ///
    /// # Errors
    /// `QuotaExceeded` (threads, regions, signals, memory or handles), `Denied` for too high a
    /// priority.
    pub fn start(
        stack: u64,
        priority: u32,
        work: impl FnOnce() + Send + 'static,
    ) -> Result<Thread, Error> {
        let finished = Arc::new(Signal::create()?);
        let memory = Memory::create(stack)?;
        // The top of the stack: the end of the region, which is a multiple of the page size.
        let top = memory.address() + phi_abi::layout::pages(stack).ok_or(Error::QuotaExceeded)?;
        let errand = Errand { work: Box::new(work), finished: finished.clone() };
        let errand = Box::into_raw(Box::new(errand));
        let priority = u64::from(priority);
        let words = [entry as *const () as u64, top, errand as u64, priority];
        match system::plain(Number::ThreadCreate, words) {
            Ok(handle) => Ok(Thread {
                // SAFETY: the call made the handle for us alone.
                capability: unsafe { Capability::from_handle(Handle(handle)) },
                stack: ManuallyDrop::new(memory),
                finished,
                priority,
            }),
            Err(error) => {
                // SAFETY: no thread was made, so the errand is still ours.
                drop(unsafe { Box::from_raw(errand) });
                Err(error)
            }
        }
    }

    /// Waits until the thread's work is done, and takes its stack back.
    ///
    /// # Errors
    /// `Revoked` or `Dead` when its signal cannot be waited for any more.
    pub fn join(self) -> Result<(), Error> {
        self.finished.wait(1, FOREVER)?;
        // The thread has only its exit to make; until it is gone, it still uses its stack.
        let words = [self.capability.handle().0, self.priority, 0, 0];
        while system::plain(Number::ThreadPriority, words).is_ok() {
            clock::sleep(PAUSE);
        }
        drop(ManuallyDrop::into_inner(self.stack));
        Ok(())
    }
}

extern "C" fn entry(errand: *mut Errand, _table: *const CallTable) -> ! {
    // SAFETY: `Thread::start` made the box for this thread alone.
    let Errand { work, finished } = *unsafe { Box::from_raw(errand) };
    work();
    // The signal is this service's own.
    let _ = finished.notify(1);
    drop(finished);
    loop {
        // Does not return.
        let _ = system::plain(Number::ThreadExit, [0; 4]);
    }
}
