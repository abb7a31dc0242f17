//! The driver in its process: one thread serves the card's client, the other one reads the frames that come.
//!
//! As `host-disk` it runs as an image does, uses no memory of the heap that it has not used before its filter
//! closed, and holds no lock across a call that waits.

use crate::linux::device::{self, File, MOST, bound_signal, give_up};
use phi_nic::{Address, Card, FRAME, NicError, WAITING};
use phi_rt::{Service, Signal};
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes of the stack of the thread that reads.
const STACK: u64 = 64 << 10;

/// A frame that came: its length, and what was read.
type Frame = (usize, [u8; MOST]);

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

    /// Reads the next frame, and keeps it if there is room; whether it is the only one that waits.
    ///
    /// # Errors
    /// What Linux says.
    fn read_one(&self) -> std::io::Result<bool> {
        let mut frame = [0; MOST];
        let count = self.file.read(&mut frame)?;
        // Of one that is too long, as with a larger MTU, Linux gives what fits, and does not say so.
        if !(phi_nic::HEAD..=FRAME).contains(&count) {
            return Ok(false);
        }
        let mut waiting = self.waiting();
        let first = waiting.is_empty();
        if waiting.len() < WAITING {
            waiting.push_back((count, frame));
        }
        Ok(first)
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
    loop {
        match driver.read_one() {
            Ok(true) => {
                if let Err(error) = signal.notify(1) {
                    return std::io::Error::other(error);
                }
            }
            Ok(false) => {}
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;

    /// A driver, and the other side of its file: datagrams are cut off as frames are.
    fn driver() -> (Driver, UnixDatagram) {
        let (own, other) = UnixDatagram::pair().unwrap();
        (Driver::new(own.into(), [2; 6]), other)
    }

    #[test]
    fn only_whole_frames_wait() {
        let (driver, other) = driver();
        for (length, is_frame) in
            [(13, false), (14, true), (FRAME, true), (FRAME + 1, false), (FRAME + 100, false)]
        {
            other.send(&vec![7; length]).unwrap();
            assert_eq!(driver.read_one().unwrap(), is_frame, "{length}");
            let waiting = driver.waiting().pop_front();
            assert_eq!(waiting.map(|(count, _)| count), is_frame.then_some(length));
        }
    }

    #[test]
    fn no_more_than_can_wait_do() {
        let (driver, other) = driver();
        for number in 0..WAITING + 3 {
            other.send(&[number as u8; 60]).unwrap();
            assert_eq!(driver.read_one().unwrap(), number == 0);
        }
        let waiting = driver.waiting();
        assert_eq!(waiting.len(), WAITING);
        assert_eq!(waiting.back().map(|(_, frame)| usize::from(frame[0])), Some(WAITING - 1));
    }
}
