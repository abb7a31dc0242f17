//! Waiting by io_uring: descriptors are polled by requests that stay, and the time is an argument of the
//! wait, so that nothing but the wait itself is a system call.

use super::Trigger;
use crate::linux::monotonic;
use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode};
use nix::errno::Errno;
use std::collections::HashMap;
use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

/// Requests that are handed over at a time.
const ENTRIES: u32 = 64;

/// Events that have room before Linux has to keep some elsewhere.
const ROOM: u32 = 4096;

/// The number of requests whose end means nothing.
const NOTHING: u64 = u64::MAX;

/// A ring that polls. Only the thread that made it can use it.
pub struct Ring {
    ring: IoUring,
    /// The token of each descriptor that is polled, and what is polled for each token.
    tokens: HashMap<RawFd, u64>,
    polled: HashMap<u64, (RawFd, Trigger)>,
}

impl Ring {
    /// A ring that polls nothing yet.
    ///
    /// # Errors
    /// Linux has none, or not of the kind that is as quick as epoll (before 6.1), or this user may have
    /// none.
    pub fn new() -> io::Result<Ring> {
        // Events are looked at when this thread asks for them and it is never interrupted for one:
        // without that, each costs more than with epoll.
        let mut builder = IoUring::builder();
        builder.setup_single_issuer().setup_defer_taskrun().setup_cqsize(ROOM);
        let ring = builder.build(ENTRIES)?;
        match ring.params().is_feature_ext_arg() {
            true => Ok(Ring { ring, tokens: HashMap::new(), polled: HashMap::new() }),
            false => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Polls a descriptor until it is removed; its events come with `token`.
    ///
    /// # Errors
    /// What Linux says.
    pub fn add(&mut self, descriptor: RawFd, token: u64, trigger: Trigger) -> nix::Result<()> {
        self.tokens.insert(descriptor, token);
        self.polled.insert(token, (descriptor, trigger));
        // A poll that ends with its event is made again, and looks at what there is.
        let lasting = trigger == Trigger::Edge;
        let poll = opcode::PollAdd::new(Fd(descriptor), libc::EPOLLIN as u32).multi(lasting);
        self.push(poll.build().user_data(token))
    }

    /// Polls a descriptor no more.
    pub fn remove(&mut self, descriptor: RawFd) {
        if let Some(token) = self.tokens.remove(&descriptor) {
            self.polled.remove(&token);
            // Not there is as good.
            let _ = self.push(opcode::PollRemove::new(token).build().user_data(NOTHING));
            let _ = self.ring.submit();
        }
    }

    fn push(&mut self, entry: io_uring::squeue::Entry) -> nix::Result<()> {
        // SAFETY: polling uses no memory of this process.
        if unsafe { self.ring.submission().push(&entry) }.is_ok() {
            return Ok(());
        }
        self.ring.submit().map_err(errno)?;
        // SAFETY: as above.
        unsafe { self.ring.submission().push(&entry) }.map_err(|_| Errno::EBUSY)
    }

    /// Waits until something happens, or until `time`, in nanoseconds of the monotonic clock. Puts the
    /// tokens of what happened into `tokens`.
    ///
    /// # Errors
    /// What Linux says.
    pub fn wait(&mut self, time: Option<u64>, tokens: &mut Vec<u64>) -> nix::Result<()> {
        let waited = match time {
            None => self.ring.submit_and_wait(1),
            Some(time) => {
                let left = Duration::from_nanos(time.saturating_sub(monotonic()));
                let left = Timespec::from(left);
                self.ring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&left))
            }
        };
        match waited.map_err(errno) {
            Ok(_) | Err(Errno::EINTR | Errno::ETIME | Errno::EBUSY) => {}
            Err(error) => return Err(error),
        }
        let mut again = Vec::new();
        for event in self.ring.completion() {
            let token = event.user_data();
            // What came before it was removed is of no interest any more.
            if !self.polled.contains_key(&token) || event.result() == -libc::ECANCELED {
                continue;
            }
            if !tokens.contains(&token) {
                tokens.push(token);
            }
            // It was for one event, or Linux had no room for one and has ended the polling.
            if !cqueue::more(event.flags()) {
                again.push(token);
            }
        }
        for token in again {
            if let Some((descriptor, trigger)) = self.polled.get(&token).copied() {
                self.add(descriptor, token, trigger)?;
            }
        }
        Ok(())
    }
}

fn errno(error: io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}
