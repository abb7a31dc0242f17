//! The driver in its process: one thread takes requests from the mailbox, the other one gives them to
//! the ring and answers them when they are done.
//!
//! It runs as an image does, from an entry on the service's own stack, and makes its calls through the
//! same table. It uses no memory of the heap that it has not used before its filter closed, but for
//! what fits there, and no lock is held across a call that waits.

use super::ring::{FILE, Ring, WAKER};
use crate::linux::device::{self, give_up};
use crate::linux::host_thread;
use io_uring::squeue::Entry;
use io_uring::{IoUring, opcode};
use nix::errno::Errno;
use phi_abi::FOREVER;
use phi_block::{Accepted, BlockError, Desk, Device, Durability, Finished, Work};
use phi_rt::{Error, Event, Mailbox, Service};
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Bytes of a request, at most.
const MAX_BYTES: u32 = 4 << 20;

/// Bytes of the stack of the thread at the ring.
const STACK: u64 = 64 << 10;

/// Number of the request that waits for the counter to be rung.
const WAKE: u64 = u64::MAX;

/// Time that requests have to end which use memory that is taken back. The supervisor waits a little
/// longer.
const PATIENCE: Duration = Duration::from_millis(900);

/// What the threads of a driver share, and the agent with them.
pub struct Driver {
    /// For the thread at the ring.
    ring: Mutex<Option<IoUring>>,
    waker: OwnedFd,
    state: Mutex<State>,
    /// Told when a request has ended.
    ended: Condvar,
}

struct State {
    desk: Desk,
    /// What the ring is to be given.
    queue: Vec<(usize, Work)>,
    /// Memory in use by requests, by their numbers.
    memory: Vec<Range<u64>>,
    /// Whether the thread at the ring waits and must be woken.
    sleeps: bool,
    /// The slot of that thread.
    slot: Option<usize>,
}

impl Driver {
    /// With what the agent has made. The session is not known yet.
    pub fn new(ring: Ring) -> Driver {
        let Ring { ring, waker, parameters } = ring;
        let device = Device {
            session: 0,
            blocks: parameters.blocks,
            block_size: parameters.block_size,
            max_bytes: MAX_BYTES / parameters.block_size * parameters.block_size,
            alignment: parameters.alignment,
            depth: parameters.depth,
            read_only: parameters.read_only,
            discards: !parameters.read_only,
        };
        let depth = usize::from(parameters.depth);
        let state = State {
            desk: Desk::new(device),
            queue: Vec::with_capacity(depth),
            memory: vec![0..0; depth],
            sleeps: false,
            slot: None,
        };
        let (ring, ended) = (Mutex::new(Some(ring)), Condvar::new());
        Driver { ring, waker, state: Mutex::new(state), ended }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until no request uses memory of `range`, which is about to be taken back.
    ///
    /// # Errors
    /// `EBUSY` when one takes too long.
    pub fn leave(&self, range: Range<u64>) -> Result<(), Errno> {
        let used = |state: &mut State| {
            let overlaps = |used: &Range<u64>| used.start < range.end && range.start < used.end;
            state.memory.iter().any(overlaps)
        };
        let waited = self.ended.wait_timeout_while(self.state(), PATIENCE, used);
        let (_state, result) = waited.unwrap_or_else(PoisonError::into_inner);
        if result.timed_out() { Err(Errno::EBUSY) } else { Ok(()) }
    }
}

/// Serves, with what `shared` has; returns the exit status.
pub fn run(service: &Service, shared: &Arc<device::Driver>) -> u8 {
    let device::Driver::Disk(driver) = &**shared else { return 1 };
    let Ok(mailbox) = service.mailbox("block") else {
        give_up("a driver of a disk serves `block`, and the manifest does not say so");
        return 1;
    };
    let Some(ring) = driver.ring.lock().unwrap_or_else(PoisonError::into_inner).take() else {
        return 1;
    };
    // How often the driver was started is another number in each run of it.
    driver.state().desk.begin(u64::from(service.generation()));
    let other = shared.clone();
    let thread = phi_rt::Thread::start(STACK, service.priority(), move || {
        let device::Driver::Disk(other) = &*other else { return };
        if let Some(thread) = host_thread::current() {
            other.state().slot = Some(thread.slot());
        }
        let mut worker = Worker::new(other, ring);
        let error = worker.work();
        give_up(&format!("the ring cannot be used any more: {error}"));
    });
    if thread.is_err() {
        give_up("no thread for the ring: see the quotas of threads, regions, signals and memory");
    }
    let error = receive(driver, &mailbox);
    give_up(&format!("no more requests can be received: {error}"));
    1
}

/// Takes requests without end; returns why it cannot any more.
fn receive(driver: &Driver, mailbox: &Mailbox) -> Error {
    loop {
        let full = |state: &mut State| !state.desk.has_room();
        drop(driver.ended.wait_while(driver.state(), full));
        match mailbox.receive(FOREVER) {
            Ok(Event::Message(call)) => {
                let accepted = driver.state().desk.accept(call);
                match accepted {
                    Accepted::Work(number, work) => begin(driver, number, work),
                    Accepted::Answer(finished) => finished.answer(),
                    Accepted::Nothing => {}
                }
            }
            Ok(Event::Signals(_)) => {}
            // Requests that are under way hold all handles: one that ends gives some back.
            Err(Error::QuotaExceeded) => {
                let busy = |state: &mut State| !state.desk.is_idle();
                let state = driver.state();
                drop(driver.ended.wait_timeout_while(state, Duration::from_millis(1), busy));
            }
            Err(error) => return error,
        }
    }
}

/// Hands a request to the thread at the ring.
fn begin(driver: &Driver, number: usize, work: Work) {
    let mut state = driver.state();
    state.memory[number] = match work {
        Work::Read { address, length, .. } | Work::Write { address, length, .. } => {
            address..address + u64::from(length)
        }
        Work::Flush | Work::Discard { .. } => 0..0,
    };
    state.queue.push((number, work));
    let wakes = std::mem::take(&mut state.sleeps);
    if let (true, Some(slot)) = (wakes, state.slot)
        && let Some(thread) = host_thread::current()
    {
        // It waits for the device from here on, and no longer for others.
        thread.page_of(slot).set_awake();
    }
    drop(state);
    if wakes {
        // A counter takes this at any time but at its limit, which nobody reaches.
        let _ = nix::unistd::write(driver.waker.as_fd(), &1u64.to_ne_bytes());
    }
}

/// The thread at the ring.
struct Worker<'a> {
    driver: &'a Driver,
    ring: IoUring,
    /// What the ring has, by number: the work and the bytes of it that are done.
    jobs: Vec<Option<(Work, u32)>>,
    /// Where the counter is read to.
    count: Box<[u8; 8]>,
    queue: Vec<(usize, Work)>,
    finished: Vec<Finished>,
}

impl<'a> Worker<'a> {
    fn new(driver: &'a Driver, ring: IoUring) -> Worker<'a> {
        let depth = driver.state().memory.len();
        Worker {
            driver,
            ring,
            jobs: vec![None; depth],
            count: Box::new([0; 8]),
            queue: Vec::with_capacity(depth),
            finished: Vec::with_capacity(depth),
        }
    }

    /// Works without end; returns why it cannot any more.
    fn work(&mut self) -> std::io::Error {
        if let Err(error) = self.wait_for_waker() {
            return error;
        }
        loop {
            let want = usize::from(self.take_queue());
            while let Some((number, work)) = self.queue.pop() {
                self.jobs[number] = Some((work, 0));
                if let Err(error) = self.submit(number, work, 0) {
                    return error;
                }
            }
            match self.ring.submit_and_wait(want) {
                Err(error) if error.raw_os_error() == Some(libc::EINTR) => {}
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
                Err(error) => return error,
                Ok(_) => {}
            }
            if let Err(error) = self.complete() {
                return error;
            }
            for finished in self.finished.drain(..) {
                finished.answer();
            }
        }
    }

    /// Takes what the ring is to be given; whether there is nothing, so that the thread may wait.
    fn take_queue(&mut self) -> bool {
        let mut state = self.driver.state();
        std::mem::swap(&mut state.queue, &mut self.queue);
        let nothing = self.queue.is_empty();
        state.sleeps = nothing;
        if let Some(thread) = host_thread::current() {
            // Without a request it waits for others alone, as a thread that receives does.
            match nothing && state.desk.is_idle() {
                true => thread.page().set_waiting(true),
                false => thread.page().set_awake(),
            }
        }
        nothing
    }

    fn wait_for_waker(&mut self) -> std::io::Result<()> {
        let (into, length) = (self.count.as_mut_ptr(), self.count.len() as u32);
        self.push(&opcode::Read::new(WAKER, into, length).build().user_data(WAKE))
    }

    /// Gives the ring what is left of `work` after `done` bytes.
    fn submit(&mut self, number: usize, work: Work, done: u32) -> std::io::Result<()> {
        let more = u64::from(done);
        let entry = match work {
            Work::Read { offset, address, length } => {
                let into = (address + more) as *mut u8;
                opcode::Read::new(FILE, into, length - done).offset(offset + more).build()
            }
            Work::Write { offset, address, length, durability } => {
                let from = (address + more) as *const u8;
                let flags = match durability {
                    Durability::Cached => 0,
                    Durability::Durable => libc::RWF_DSYNC,
                };
                let write = opcode::Write::new(FILE, from, length - done).offset(offset + more);
                write.rw_flags(flags).build()
            }
            Work::Flush => {
                opcode::Fsync::new(FILE).flags(io_uring::types::FsyncFlags::DATASYNC).build()
            }
            Work::Discard { offset, length } => {
                let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
                opcode::Fallocate::new(FILE, length).offset(offset).mode(mode).build()
            }
        };
        self.push(&entry.user_data(number as u64))
    }

    fn push(&mut self, entry: &Entry) -> std::io::Result<()> {
        // SAFETY: lent memory stays until the answer, and the agent takes none away that is in use
        // (`Driver::leave`); were it gone, Linux would refuse it. The counter's is this worker's own.
        let pushed = unsafe { self.ring.submission().push(entry) };
        if pushed.is_ok() {
            return Ok(());
        }
        self.ring.submit()?;
        // SAFETY: as above.
        unsafe { self.ring.submission().push(entry) }.map_err(std::io::Error::other)
    }

    /// Looks at what has ended.
    fn complete(&mut self) -> std::io::Result<()> {
        loop {
            let next = self.ring.completion().next();
            let Some(entry) = next else { return Ok(()) };
            if entry.user_data() == WAKE {
                self.wait_for_waker()?;
                continue;
            }
            let number = entry.user_data() as usize;
            let Some((work, done)) = self.jobs.get_mut(number).and_then(Option::take) else {
                continue;
            };
            match progress(work, done, entry.result()) {
                Progress::Again(done) => {
                    self.jobs[number] = Some((work, done));
                    self.submit(number, work, done)?;
                }
                Progress::Ended(result) => {
                    let mut state = self.driver.state();
                    state.memory[number] = 0..0;
                    state.desk.finish(number, result, &mut self.finished);
                    drop(state);
                    self.driver.ended.notify_all();
                }
            }
        }
    }
}

/// What follows from a result of Linux.
#[derive(PartialEq, Eq, Debug)]
enum Progress {
    /// So many bytes of it are done: the rest is to be done yet.
    Again(u32),
    /// It has ended.
    Ended(Result<(), BlockError>),
}

/// What follows from `result` for `work` of which `done` bytes were done before.
fn progress(work: Work, done: u32, result: i32) -> Progress {
    let length = match work {
        Work::Read { length, .. } | Work::Write { length, .. } => length,
        Work::Flush | Work::Discard { .. } => 0,
    };
    match result {
        error if error < 0 => match -error {
            libc::EINTR | libc::EAGAIN => Progress::Again(done),
            libc::ENOSPC | libc::EDQUOT => Progress::Ended(Err(BlockError::NoSpace)),
            libc::EOPNOTSUPP => Progress::Ended(Err(BlockError::Unsupported)),
            _ => Progress::Ended(Err(BlockError::Failed)),
        },
        // The file has become shorter than the disk is.
        0 if length > 0 => Progress::Ended(Err(BlockError::Failed)),
        more if (more as u32) < length.saturating_sub(done) => Progress::Again(done + more as u32),
        _ => Progress::Ended(Ok(())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_short_goes_on_and_what_fails_says_how() {
        let read = Work::Read { offset: 0, address: 4096, length: 8192 };
        assert_eq!(progress(read, 0, 8192), Progress::Ended(Ok(())));
        assert_eq!(progress(read, 0, 4096), Progress::Again(4096));
        assert_eq!(progress(read, 4096, 512), Progress::Again(4608));
        assert_eq!(progress(read, 4096, 4096), Progress::Ended(Ok(())));
        assert_eq!(progress(read, 4096, 0), Progress::Ended(Err(BlockError::Failed)));
        assert_eq!(progress(read, 0, -libc::EIO), Progress::Ended(Err(BlockError::Failed)));
        assert_eq!(progress(read, 512, -libc::EINTR), Progress::Again(512));
        assert_eq!(progress(Work::Flush, 0, 0), Progress::Ended(Ok(())));
        assert_eq!(
            progress(Work::Flush, 0, -libc::ENOSPC),
            Progress::Ended(Err(BlockError::NoSpace))
        );
        let discard = Work::Discard { offset: 0, length: 1 << 40 };
        assert_eq!(progress(discard, 0, 0), Progress::Ended(Ok(())));
        let refused = progress(discard, 0, -libc::EOPNOTSUPP);
        assert_eq!(refused, Progress::Ended(Err(BlockError::Unsupported)));
    }
}
