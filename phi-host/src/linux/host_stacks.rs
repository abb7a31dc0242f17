//! The stacks of host threads in a service's process, and the threads on them.
//!
//! All are made before the process is under its filter, so that starting a thread needs no memory
//! from Linux later.

use super::filter::ThreadFilter;
use super::host_thread::{self, Begin, HOST_STACK, Service};
use memmap2::{MmapOptions, MmapRaw};
use nix::errno::Errno;
use nix::sys::prctl::set_name;
use std::ffi::CString;
use std::io;
use std::mem::MaybeUninit;
use std::sync::Arc;

/// A stack for each thread that a service may have.
pub struct HostStacks {
    memory: MmapRaw,
    threads: Vec<Option<libc::pthread_t>>,
    filter: Arc<ThreadFilter>,
}

/// What a host thread begins with.
struct Start {
    service: Arc<Service>,
    begin: Begin,
    filter: Arc<ThreadFilter>,
}

impl HostStacks {
    /// For `threads` threads, each of which takes on `filter` before the image runs in it.
    ///
    /// # Errors
    /// What Linux says.
    pub fn new(threads: usize, filter: ThreadFilter) -> io::Result<HostStacks> {
        // Without guards between them: the stub's frames are few and small, whatever a service
        // does, and beyond lies nothing but memory of the same service.
        let length = threads.checked_mul(HOST_STACK).ok_or(io::ErrorKind::OutOfMemory)?;
        let memory = MmapOptions::new().len(length).no_reserve_swap().map_anon()?;
        let memory = MmapRaw::from(memory);
        let threads = vec![None; threads];
        let stacks = HostStacks { memory, threads, filter: Arc::new(filter) };
        // With the first thread, the C library sets up what it needs for threads: now it still may.
        join(stacks.create(0, rehearse, std::ptr::null_mut())?)?;
        Ok(stacks)
    }

    /// Bytes of all of them.
    pub fn length(&self) -> usize {
        self.memory.len()
    }

    /// Starts the host thread of a thread that begins at `begin` once it is dispatched. Its page is
    /// PARKED.
    ///
    /// # Errors
    /// There is no such slot, or what Linux says.
    pub fn start(&mut self, service: Arc<Service>, begin: Begin) -> io::Result<()> {
        let slot = begin.slot;
        let place = self.threads.get_mut(slot).ok_or(Errno::EINVAL)?;
        if let Some(before) = place.take() {
            // It has said that it leaves its slot, and may still be on its stack.
            join(before)?;
        }
        let start = Box::into_raw(Box::new(Start { service, begin, filter: self.filter.clone() }));
        match self.create(slot, run, start.cast()) {
            Ok(thread) => {
                self.threads[slot] = Some(thread);
                Ok(())
            }
            Err(error) => {
                // SAFETY: no thread was started that owns it.
                drop(unsafe { Box::from_raw(start) });
                Err(error)
            }
        }
    }

    /// Starts a thread on the stack of `slot`, which no thread uses.
    fn create(
        &self,
        slot: usize,
        run: extern "C" fn(*mut libc::c_void) -> *mut libc::c_void,
        argument: *mut libc::c_void,
    ) -> io::Result<libc::pthread_t> {
        let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
        let mut thread = MaybeUninit::<libc::pthread_t>::uninit();
        // SAFETY: the stack lies in the memory above, which lives as long as this process, and no
        // other thread uses it.
        let error = unsafe {
            let stack = self.memory.as_mut_ptr().add(slot * HOST_STACK).cast();
            libc::pthread_attr_init(attributes.as_mut_ptr());
            match libc::pthread_attr_setstack(attributes.as_mut_ptr(), stack, HOST_STACK) {
                0 => {
                    let attributes = attributes.as_ptr();
                    libc::pthread_create(thread.as_mut_ptr(), attributes, run, argument)
                }
                error => error,
            }
        };
        match error {
            // SAFETY: the thread was made.
            0 => Ok(unsafe { thread.assume_init() }),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }
}

/// Waits until a thread is gone.
fn join(thread: libc::pthread_t) -> io::Result<()> {
    // SAFETY: the thread was made by `create`, and whoever has its name joins it once.
    match unsafe { libc::pthread_join(thread, std::ptr::null_mut()) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// Ends at once.
extern "C" fn rehearse(_: *mut libc::c_void) -> *mut libc::c_void {
    std::ptr::null_mut()
}

extern "C" fn run(start: *mut libc::c_void) -> *mut libc::c_void {
    // SAFETY: `HostStacks::start` made it for this thread.
    let Start { service, begin, filter } = *unsafe { Box::from_raw(start.cast::<Start>()) };
    // For who looks from outside, with ps, perf or gdb.
    if let Ok(name) = CString::new(format!("phi-{}", begin.slot)) {
        let _ = set_name(&name);
    }
    host_thread::run(service, begin, || {
        if filter.apply().is_err() {
            std::process::exit(1);
        }
    });
    std::ptr::null_mut()
}
