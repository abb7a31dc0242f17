//! Requests of clients, and their answers.

use crate::device::Disk;
use crate::request::{Request, SECTOR};
use alloc::vec;
use alloc::vec::Vec;
use phi_block::{Accepted, BlockError, Desk, Durability, Finished, Work};
use phi_rt::{Error, Event, FOREVER, Mailbox, Signal};
use phi_virtio::memory;

/// Bytes that are copied at a time.
const PIECE: usize = 4096;

/// Nanoseconds to wait for the device when all handles are in use.
const PAUSE: u64 = 1_000_000;

/// The driver at work.
struct Serving {
    disk: Disk,
    desk: Desk,
    /// Writes that are flushed before they are answered, by number.
    durable: Vec<bool>,
    /// Reads whose data is copied before they are answered, by number: from where, and how many bytes.
    copied: Vec<Option<(u64, u32)>>,
    finished: Vec<Finished>,
}

/// Serves without end; returns the exit status.
pub fn serve(disk: Disk, mailbox: &Mailbox, signal: &Signal, session: u64) -> u8 {
    let mut desk = Desk::new(disk.device());
    desk.begin(session);
    let depth = usize::from(desk.device().depth);
    let (durable, copied) = (vec![false; depth], vec![None; depth]);
    let finished = Vec::with_capacity(depth);
    let mut serving = Serving { disk, desk, durable, copied, finished };
    loop {
        let event = match serving.desk.has_room() {
            true => mailbox.receive(FOREVER),
            false => signal.wait(u64::MAX, FOREVER).map(Event::Signals),
        };
        match event {
            Ok(Event::Message(call)) => match serving.desk.accept(call) {
                Accepted::Work(number, work) => serving.begin(number, work),
                Accepted::Answer(finished) => finished.answer(),
                Accepted::Nothing => {}
            },
            Ok(Event::Signals(_)) => serving.complete(),
            // Requests that are under way hold all handles: one that ends gives some back.
            Err(Error::QuotaExceeded) => {
                let _ = signal.wait(u64::MAX, PAUSE);
                serving.complete();
            }
            Err(_) => return 1,
        }
    }
}

impl Serving {
    /// Has the device do `work`.
    fn begin(&mut self, number: usize, work: Work) {
        if work == Work::Flush && !self.disk.caches() {
            // What was written is where it stays.
            self.finish(number, Ok(()));
            return self.answer();
        }
        let request = self.request(number, work);
        let begun = request.and_then(|request| match self.disk.begin(number, request) {
            true => Ok(()),
            false => Err(BlockError::Failed),
        });
        if begun.is_err() {
            self.finish(number, begun);
            self.answer();
        }
    }

    fn request(&mut self, number: usize, work: Work) -> Result<Request, BlockError> {
        self.durable[number] = false;
        Ok(match work {
            Work::Read { offset, address, length } if self.disk.reaches_all => {
                self.reach(number, true)?;
                Request::read(offset / SECTOR, address, length)
            }
            Work::Read { offset, length, .. } => {
                let address = self.bounce(number, length)?;
                self.copied[number] = Some((address, length));
                Request::read(offset / SECTOR, address, length)
            }
            Work::Write { offset, address, length, durability } => {
                let address = match self.disk.reaches_all {
                    true => self.reach(number, false).map(|()| address)?,
                    false => self.copy_out(number, length)?,
                };
                self.durable[number] = durability == Durability::Durable && self.disk.caches();
                Request::write(offset / SECTOR, address, length)
            }
            Work::Flush => Request::flush(),
            Work::Discard { offset, length } => self.disk.discard(number, offset, length)?,
        })
    }

    /// Has the device reach what the call lends, until its answer.
    fn reach(&self, number: usize, writable: bool) -> Result<(), BlockError> {
        let call = self.desk.call(number).ok_or(BlockError::Failed)?;
        let mapped = self.disk.space.map_lent(call, 0, writable);
        mapped.map(drop).map_err(|_| BlockError::Failed)
    }

    /// Where the data of a request is copied through.
    fn bounce(&self, number: usize, length: u32) -> Result<u64, BlockError> {
        let part = memory::bounce(number, self.copied.len());
        let part = part.filter(|(_, most)| u64::from(length) <= *most);
        part.map(|(address, _)| address).ok_or(BlockError::Failed)
    }

    /// Copies what a call lends to where the device reaches it.
    fn copy_out(&self, number: usize, length: u32) -> Result<u64, BlockError> {
        let address = self.bounce(number, length)?;
        let call = self.desk.call(number).ok_or(BlockError::Failed)?;
        let lent = call.lent(0).ok_or(BlockError::Failed)?;
        let mut piece = [0; PIECE];
        memory::with_bounce(address, |memory, start| {
            for offset in (0..length as usize).step_by(PIECE) {
                let count = PIECE.min(length as usize - offset);
                lent.read(offset, &mut piece[..count]);
                memory.write(start + offset, &piece[..count]);
            }
        })
        .ok_or(BlockError::Failed)?;
        Ok(address)
    }

    /// Copies what the device has read to what the call lends.
    fn copy_in(&self, number: usize, address: u64, length: u32) {
        let lent = self.desk.call(number).and_then(|call| call.lent_mut(0));
        let Some(lent) = lent else { return };
        let mut piece = [0; PIECE];
        let _ = memory::with_bounce(address, |memory, start| {
            for offset in (0..length as usize).step_by(PIECE) {
                let count = PIECE.min(length as usize - offset);
                memory.read(start + offset, &mut piece[..count]);
                lent.write(offset, &piece[..count]);
            }
        });
    }

    /// Takes what the device has done.
    fn complete(&mut self) {
        // First the interrupt, then the queue: what comes in between interrupts again.
        let _ = self.disk.irq.acknowledge();
        while let Some((number, result)) = self.disk.ended() {
            let flushes = self.durable.get_mut(number).is_some_and(core::mem::take);
            if result.is_ok() && flushes && self.disk.begin(number, Request::flush()) {
                continue;
            }
            let copied = self.copied.get_mut(number).and_then(Option::take);
            if let (Ok(()), Some((address, length))) = (result, copied) {
                self.copy_in(number, address, length);
            }
            let result = if flushes && result.is_ok() { Err(BlockError::Failed) } else { result };
            self.finish(number, result);
        }
        self.answer();
    }

    fn finish(&mut self, number: usize, result: Result<(), BlockError>) {
        self.desk.finish(number, result, &mut self.finished);
    }

    fn answer(&mut self) {
        self.finished.drain(..).for_each(Finished::answer);
    }
}
