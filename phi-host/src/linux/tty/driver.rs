//! The driver in its process: one thread serves, the other one reads the bytes that come.
//!
//! As `host-disk` it runs as an image does, uses no memory of the heap that it has not used before its filter
//! closed, and holds no lock across a call that waits.

use crate::linux::device::{self, File, bound_signal, give_up};
use phi_rt::{Service, Signal};
use phi_tty::{Line, NotRead, NotWritten, PIECE, WAITING};
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes of the stack of the thread that reads.
const STACK: u64 = 64 << 10;

/// Bytes that are read at a time.
const READ: usize = 1024;

/// What the threads of a driver share.
pub struct Driver {
    file: File,
    came: Mutex<Came>,
}

/// What came.
struct Came {
    bytes: VecDeque<u8>,
    /// Bytes that were lost since the last read.
    lost: u32,
}

impl Driver {
    /// With what the agent was handed.
    pub fn new(file: OwnedFd) -> Driver {
        let came = Came { bytes: VecDeque::with_capacity(WAITING), lost: 0 };
        Driver { file: File::new(file), came: Mutex::new(came) }
    }

    fn came(&self) -> MutexGuard<'_, Came> {
        self.came.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves, with what `shared` has; returns the exit status.
pub fn run(service: &Service, shared: &Arc<device::Driver>) -> u8 {
    let Ok(mailbox) = service.mailbox("console") else {
        give_up("a driver of a line serves `console`, and the manifest does not say so");
        return 1;
    };
    let Some(signal) = bound_signal(&mailbox) else {
        give_up("no signal for what comes: see the quotas of signals and handles");
        return 1;
    };
    let other = shared.clone();
    let thread = phi_rt::Thread::start(STACK, service.priority(), move || {
        let device::Driver::Tty(driver) = &*other else { return };
        let error = read_all(driver, &signal);
        give_up(&format!("nothing can be read from the line any more: {error}"));
    });
    if thread.is_err() {
        give_up("no thread for the line: see the quotas of threads, regions, signals and memory");
    }
    phi_tty::serve(Attached(shared.clone()), &mailbox)
}

/// Reads without end, and has the other thread look; returns why it cannot any more.
fn read_all(driver: &Driver, signal: &Signal) -> std::io::Error {
    let mut bytes = [0; READ];
    loop {
        match driver.file.read(&mut bytes) {
            Ok(0) => return ErrorKind::UnexpectedEof.into(),
            Ok(count) => {
                let mut came = driver.came();
                let first = came.bytes.is_empty();
                let room = (WAITING - came.bytes.len()).min(count);
                came.bytes.extend(&bytes[..room]);
                came.lost = came.lost.saturating_add((count - room) as u32);
                drop(came);
                if first && let Err(error) = signal.notify(1) {
                    return std::io::Error::other(error);
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return error,
        }
    }
}

/// The line, for the thread that serves.
struct Attached(Arc<device::Driver>);

impl Attached {
    fn driver(&self) -> Option<&Driver> {
        match &*self.0 {
            device::Driver::Tty(driver) => Some(driver),
            _ => None,
        }
    }
}

impl Line for Attached {
    fn attend(&mut self) -> bool {
        self.driver().is_some_and(|driver| !driver.came().bytes.is_empty())
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), NotWritten> {
        let driver = self.driver().ok_or(NotWritten)?;
        let mut left = bytes;
        while !left.is_empty() {
            match driver.file.write(left) {
                Ok(count) => left = left.get(count..).ok_or(NotWritten)?,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(NotWritten),
            }
        }
        Ok(())
    }

    fn receive(&mut self, bytes: &mut [u8; PIECE]) -> Result<(usize, u32), NotRead> {
        let mut came = self.driver().ok_or(NotRead::Failed)?.came();
        let count = came.bytes.len().min(PIECE);
        for (place, byte) in bytes.iter_mut().zip(came.bytes.drain(..count)) {
            *place = byte;
        }
        Ok((count, std::mem::take(&mut came.lost)))
    }
}
