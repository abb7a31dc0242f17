//! A disk whose driver may end at any time, as a client sees it.

use alloc::format;
use alloc::string::String;
use core::ops::Range;
use phi_block::{BlockClient, BlockError, Device, Durability};
use phi_idl::CallError;
use phi_rt::{Error, Memory};

/// Nanoseconds between two tries to reach a driver.
const PAUSE: u64 = 1_000_000;

/// Tries to reach a driver before it is given up.
const TRIES: u32 = 10_000;

/// Why something was not done.
pub enum Stop {
    /// The driver is another one: what was not flushed may be lost.
    Anew,
    /// For good.
    Problem(String),
}

/// A disk, and the session with its driver.
pub struct Disk {
    name: &'static str,
    client: BlockClient,
    device: Device,
    /// Nanoseconds from the beginning of a call that a driver's end has cost to another driver's first answer, at
    /// most.
    pub longest_wait: u64,
}

impl Disk {
    /// Opens a disk.
    pub fn open(name: &'static str, client: BlockClient) -> Result<Disk, String> {
        let device = opened(name, &client)?;
        Ok(Disk { name, client, device, longest_wait: 0 })
    }

    /// Bytes of the disk.
    pub fn length(&self) -> u64 {
        self.device.blocks * u64::from(self.device.block_size)
    }

    /// Bytes of one request, at most.
    pub fn most(&self) -> usize {
        self.device.max_bytes as usize
    }

    /// Bytes of a block.
    pub fn block(&self) -> u64 {
        u64::from(self.device.block_size)
    }

    /// Opens a session with the driver that there is now, after a call that began at `begun`.
    fn begin_anew(&mut self, begun: u64) -> Result<(), String> {
        let before = self.device;
        self.device = opened(self.name, &self.client)?;
        self.longest_wait = self.longest_wait.max(phi_rt::now() - begun);
        let same = Device { session: before.session, ..self.device } == before;
        if same { Ok(()) } else { Err(format!("the disk `{}` is another one", self.name)) }
    }

    fn stop(&mut self, error: CallError<BlockError>, begun: u64) -> Stop {
        if !begins_anew(&error) {
            return Stop::Problem(format!("the disk `{}`: {error}", self.name));
        }
        match self.begin_anew(begun) {
            Ok(()) => Stop::Anew,
            Err(problem) => Stop::Problem(problem),
        }
    }

    fn place(&self, offset: u64, length: usize) -> (u64, u32) {
        (offset / self.block(), length as u32 / self.device.block_size)
    }

    /// Reads the bytes of `range` of the memory from `offset` on, however often the driver ends.
    pub fn read(
        &mut self,
        offset: u64,
        memory: &mut Memory,
        range: Range<usize>,
    ) -> Result<(), String> {
        let (first, count) = self.place(offset, range.len());
        loop {
            let (lent, begun) = (memory.lend_mut(range.clone()), phi_rt::now());
            let Err(error) = self.client.read(self.device.session, first, count, lent) else {
                return Ok(());
            };
            if let Stop::Problem(problem) = self.stop(error, begun) {
                return Err(problem);
            }
        }
    }

    /// Writes the bytes of `range` of the memory from `offset` on.
    pub fn write(&mut self, offset: u64, memory: &Memory, range: Range<usize>) -> Result<(), Stop> {
        let (first, count) = self.place(offset, range.len());
        let (lent, session, begun) = (memory.lend(range), self.device.session, phi_rt::now());
        let written = self.client.write(session, first, count, Durability::Cached, lent);
        written.map_err(|error| self.stop(error, begun))
    }

    /// Has everything that was written survive.
    pub fn flush(&mut self) -> Result<(), Stop> {
        let begun = phi_rt::now();
        self.client.flush(self.device.session).map_err(|error| self.stop(error, begun))
    }
}

fn opened(name: &str, client: &BlockClient) -> Result<Device, String> {
    for _ in 0..TRIES {
        match client.open() {
            Ok(device) => return Ok(device),
            Err(error) if begins_anew(&error) => phi_rt::sleep(PAUSE),
            Err(error) => return Err(format!("the disk `{name}`: {error}")),
        }
    }
    Err(format!("the driver of the disk `{name}` does not come back"))
}

/// Whether a call failed since the driver has ended, or is a new one.
fn begins_anew(error: &CallError<BlockError>) -> bool {
    matches!(error, CallError::Refused(BlockError::Stale) | CallError::Transport(Error::Dead))
}
