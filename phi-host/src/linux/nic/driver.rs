//! The driver in its process: one thread serves the card's client, the other one reads the frames that come.
//!
//! As `host-disk` it runs as an image does, uses no memory of the heap that it has not used before its filter
//! closed, and holds no lock across a call that waits.

use crate::linux::device::{self, File, bound_signal, give_up};
use phi_nic::{Address, Card, FRAME, NicError, WAITING};
use phi_rt::{Service, Signal};
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes of the stack of the thread that reads.
const STACK: u64 = 64 << 10;

/// A frame that came.
type Frame = (usize, [u8; FRAME]);

/// What the threads of a driver share.
pub struct Driver {
    file: File,
    address: Address,
    waiting: Mutex<VecDeque<Frame>>,
}

impl Driver {
    /// With what the agent was handed.
    pub fn new(file: OwnedFd, address: [u8; 6]) -> Driver {
        let waiting = Mutex::new(VecDeque::with_capacity(WAITING));
        Driver { file: File::new(file), address: Address(address), waiting }
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Frame>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves, with what `shared` has; returns the exit status.
pub fn run(service: &Service, shared: &Arc<device::Driver>) -> u8 {
    let Ok(mailbox) = service.mailbox("nic") else {
        give_up("a driver of a network card serves `nic`, and the manifest does not say so");
        return 1;
    };
    let Some(signal) = bound_signal(&mailbox) else {
        give_up("no signal for frames: see the quotas of signals and handles");
        return 1;
    };
    let other = shared.clone();
    let thread = phi_rt::Thread::start(STACK, service.priority(), move || {
        let device::Driver::Nic(driver) = &*other else { return };
        let error = read_all(driver, &signal);
        give_up(&format!("no more frames can be read: {error}"));
    });
    if thread.is_err() {
        give_up("no thread for the card: see the quotas of threads, regions, signals and memory");
    }
    phi_nic::serve(Tapped(shared.clone()), &mailbox, u64::from(service.generation()))
}

/// Reads frames without end, and has the other thread look; returns why it cannot any more.
fn read_all(driver: &Driver, signal: &Signal) -> std::io::Error {
    let mut frame = [0; FRAME];
    loop {
        match driver.file.read(&mut frame) {
            Ok(count) if count >= phi_nic::HEAD => {
                let mut waiting = driver.waiting();
                let first = waiting.is_empty();
                if waiting.len() < WAITING {
                    waiting.push_back((count, frame));
                }
                drop(waiting);
                if first && let Err(error) = signal.notify(1) {
                    return std::io::Error::other(error);
                }
            }
            // What is none.
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return error,
        }
    }
}

/// The card, for the thread that serves.
struct Tapped(Arc<device::Driver>);

impl Tapped {
    fn driver(&self) -> Option<&Driver> {
        match &*self.0 {
            device::Driver::Nic(driver) => Some(driver),
            _ => None,
        }
    }
}

impl Card for Tapped {
    fn address(&self) -> Address {
        self.driver().map_or(Address([0; 6]), |driver| driver.address)
    }

    fn attend(&mut self) -> bool {
        self.driver().is_some_and(|driver| !driver.waiting().is_empty())
    }

    fn send(&mut self, frame: &[u8]) -> Result<(), NicError> {
        let driver = self.driver().ok_or(NicError::Failed)?;
        match driver.file.write(frame) {
            Ok(_) => Ok(()),
            Err(error) => Err(match error.raw_os_error() {
                Some(libc::EAGAIN | libc::ENOBUFS | libc::EINTR) => NicError::Busy,
                // Such as that the interface is down: then a cable is not plugged in.
                _ => NicError::Failed,
            }),
        }
    }

    fn receive(&mut self, frame: &mut [u8; FRAME]) -> Option<usize> {
        let (length, bytes) = self.driver()?.waiting().pop_front()?;
        frame[..length].copy_from_slice(&bytes[..length]);
        Some(length)
    }
}
