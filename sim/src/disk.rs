//! A block device in memory that fails as real ones do. Who uses it is none of its business.
//!
//! - Requests complete in any order, some of them late.
//! - A write that has completed lies in the device's cache. It survives a loss of power only if a flush
//!   has completed that was submitted after it: without one it may be lost, kept, or torn, which means
//!   that any of its sectors are written and the others are not. A sector is never torn itself.
//! - After a loss of power, and as a dead device, it takes nothing until somebody resets it.
//!
//! Time is what the caller says it is, in nanoseconds.

use phi_random::Random;
use std::collections::BTreeMap;

/// Bytes of a sector.
pub const SECTOR: usize = 512;

/// What a device is asked to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request {
    /// Read `count` sectors from `sector` on.
    Read {
        /// The first.
        sector: u64,
        /// How many.
        count: u64,
    },
    /// Write these bytes, whole sectors, from `sector` on.
    Write {
        /// The first.
        sector: u64,
        /// What is written there.
        bytes: Vec<u8>,
    },
    /// Have everything survive a loss of power whose write had completed before.
    Flush,
}

/// Why a request is not done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DiskError {
    /// It goes beyond the device's end, or is no whole sectors, or nothing at all.
    Range,
    /// The device lost its power, and what it had in work: reset it.
    Reset,
    /// The device is dead.
    Dead,
}

/// A request that has ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Completion {
    /// Which, as [`Disk::submit`] said.
    pub tag: u64,
    /// What was read, nothing for other requests, or why not.
    pub result: Result<Vec<u8>, DiskError>,
}

/// How often and how a device misbehaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DiskFaults {
    /// Nanoseconds that a request takes, at most.
    pub latency: u64,
    /// Once in how many requests one takes up to 100 times as long; 0 for never.
    pub slow: u64,
    /// Whether a loss of power loses writes that are not flushed.
    pub lost: bool,
    /// Whether it tears them.
    pub torn: bool,
    /// Whether a flush does nothing, which no device may: for the tests of those that would notice.
    pub lies: bool,
}

impl DiskFaults {
    /// A device that is quick and keeps everything.
    pub const NONE: DiskFaults =
        DiskFaults { latency: 1_000, slow: 0, lost: false, torn: false, lies: false };

    /// Drawn from `random`.
    pub fn draw(random: &mut Random) -> DiskFaults {
        DiskFaults {
            latency: 1_000 + random.below(50_000),
            slow: random.choose(&[0, 0, 5, 30]).unwrap_or(0),
            lost: random.once_in(2),
            torn: random.once_in(2),
            lies: false,
        }
    }
}

/// A request that has not ended.
#[derive(Clone, Debug)]
struct Pending {
    tag: u64,
    due: u64,
    request: Request,
    /// For a flush: writes from this number on are not its concern.
    barrier: u64,
}

/// A write in the cache.
#[derive(Clone, Debug)]
struct Cached {
    number: u64,
    sector: u64,
    bytes: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Ready,
    /// It lost its power, or was repaired.
    Off,
    Dead,
}

/// The device.
#[derive(Clone, Debug)]
pub struct Disk {
    sectors: u64,
    /// What survives a loss of power; sectors that are not there are zeros.
    durable: BTreeMap<u64, [u8; SECTOR]>,
    /// Writes that have completed, in that order.
    cache: Vec<Cached>,
    pending: Vec<Pending>,
    done: Vec<Completion>,
    faults: DiskFaults,
    state: State,
    tags: u64,
    writes: u64,
}

impl Disk {
    /// A device of that many sectors, all zeros, which must be reset before its first use.
    pub fn new(sectors: u64, faults: DiskFaults) -> Disk {
        Disk {
            sectors,
            durable: BTreeMap::new(),
            cache: Vec::new(),
            pending: Vec::new(),
            done: Vec::new(),
            faults,
            state: State::Off,
            tags: 0,
            writes: 0,
        }
    }

    /// Takes a request at time `now`; the tag of its completion.
    ///
    /// # Errors
    /// [`DiskError`]; then nothing is done.
    pub fn submit(
        &mut self,
        request: Request,
        now: u64,
        random: &mut Random,
    ) -> Result<u64, DiskError> {
        match self.state {
            State::Ready => {}
            State::Off => return Err(DiskError::Reset),
            State::Dead => return Err(DiskError::Dead),
        }
        self.advance(now);
        let (sector, count) = match &request {
            Request::Read { sector, count } => (*sector, *count),
            Request::Write { sector, bytes } if bytes.len().is_multiple_of(SECTOR) => {
                (*sector, (bytes.len() / SECTOR) as u64)
            }
            Request::Write { .. } => return Err(DiskError::Range),
            Request::Flush => (0, 1),
        };
        if count == 0 || sector.checked_add(count).is_none_or(|end| end > self.sectors) {
            return Err(DiskError::Range);
        }
        let mut latency = 1 + random.below(self.faults.latency);
        if random.once_in(self.faults.slow) {
            latency *= 1 + random.below(100);
        }
        self.tags += 1;
        let (tag, due, barrier) = (self.tags, now + latency, self.writes);
        self.pending.push(Pending { tag, due, request, barrier });
        Ok(tag)
    }

    /// When the next request ends.
    pub fn next_completion(&self) -> Option<u64> {
        if !self.done.is_empty() {
            return Some(0);
        }
        self.pending.iter().map(|pending| pending.due).min()
    }

    /// The requests that have ended by `now`, and were not told of yet.
    pub fn complete(&mut self, now: u64) -> Vec<Completion> {
        self.advance(now);
        std::mem::take(&mut self.done)
    }

    /// Makes the device ready, unless it is dead. What it had in work is half done, or not at all.
    pub fn reset(&mut self, now: u64, random: &mut Random) {
        self.advance(now);
        self.cut(random);
        self.done.clear();
        if self.state == State::Off {
            self.state = State::Ready;
        }
    }

    /// The device loses its power.
    pub fn lose_power(&mut self, now: u64, random: &mut Random) {
        self.advance(now);
        self.fail_pending(DiskError::Reset, random);
        for cached in std::mem::take(&mut self.cache) {
            match random.below(3) {
                0 if self.faults.lost => {}
                1 if self.faults.torn => {
                    self.harden(&cached, |_| random.once_in(2));
                }
                _ => self.harden(&cached, |_| true),
            }
        }
        if self.state == State::Ready {
            self.state = State::Off;
        }
    }

    /// The device dies. What it holds stays, for [`Disk::repair`].
    pub fn die(&mut self, now: u64, random: &mut Random) {
        self.advance(now);
        self.state = State::Dead;
        self.fail_pending(DiskError::Dead, random);
    }

    /// From now on the device works as it should, once it is reset.
    pub fn repair(&mut self) {
        self.faults = DiskFaults { lies: self.faults.lies, ..DiskFaults::NONE };
        if self.state == State::Dead {
            self.state = State::Off;
        }
    }

    /// What a sector holds, as a read that ends now would find it.
    pub fn peek(&self, sector: u64) -> [u8; SECTOR] {
        let holds = |cached: &&Cached| {
            let count = (cached.bytes.len() / SECTOR) as u64;
            (cached.sector..cached.sector + count).contains(&sector)
        };
        if let Some(cached) = self.cache.iter().rev().find(holds) {
            let (sectors, _) = cached.bytes.as_chunks::<SECTOR>();
            return sectors[(sector - cached.sector) as usize];
        }
        self.durable.get(&sector).copied().unwrap_or([0; SECTOR])
    }

    /// Ends the requests that are due.
    fn advance(&mut self, now: u64) {
        loop {
            let due = self.pending.iter().enumerate().filter(|(_, pending)| pending.due <= now);
            let Some((place, _)) = due.min_by_key(|(_, pending)| (pending.due, pending.tag)) else {
                return;
            };
            let Pending { tag, request, barrier, .. } = self.pending.swap_remove(place);
            let mut read = Vec::new();
            match request {
                Request::Read { sector, count } => {
                    (sector..sector + count).for_each(|one| read.extend(self.peek(one)));
                }
                Request::Write { sector, bytes } => self.cached(sector, bytes),
                Request::Flush => self.flush(barrier),
            }
            self.done.push(Completion { tag, result: Ok(read) });
        }
    }

    fn cached(&mut self, sector: u64, bytes: Vec<u8>) {
        self.cache.push(Cached { number: self.writes, sector, bytes });
        self.writes += 1;
    }

    fn flush(&mut self, barrier: u64) {
        let (flushed, cache) = std::mem::take(&mut self.cache)
            .into_iter()
            .partition(|cached| cached.number < barrier && !self.faults.lies);
        self.cache = cache;
        let flushed: Vec<Cached> = flushed;
        flushed.iter().for_each(|cached| self.harden(cached, |_| true));
    }

    /// Writes those sectors of a write that are to survive.
    fn harden(&mut self, cached: &Cached, mut which: impl FnMut(u64) -> bool) {
        let (sectors, _) = cached.bytes.as_chunks::<SECTOR>();
        for (sector, bytes) in (cached.sector..).zip(sectors) {
            if which(sector) {
                self.durable.insert(sector, *bytes);
            }
        }
    }

    /// What is in work stops where it is, and fails.
    fn fail_pending(&mut self, error: DiskError, random: &mut Random) {
        let failed = |pending: &Pending| Completion { tag: pending.tag, result: Err(error) };
        self.done.extend(self.pending.iter().map(failed));
        self.cut(random);
    }

    /// What is in work stops where it is: each write has written any of its sectors to the cache.
    fn cut(&mut self, random: &mut Random) {
        for pending in std::mem::take(&mut self.pending) {
            let Request::Write { sector, bytes } = pending.request else { continue };
            let whole = !self.faults.torn;
            let none = random.once_in(2);
            let (sectors, _) = bytes.as_chunks::<SECTOR>();
            for (sector, bytes) in (sector..).zip(sectors) {
                if if whole { !none } else { random.once_in(2) } {
                    self.cached(sector, bytes.to_vec());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All times are over by then.
    const LATE: u64 = 1 << 40;

    fn faulty() -> DiskFaults {
        DiskFaults { latency: 1_000, slow: 3, lost: true, torn: true, lies: false }
    }

    fn ready(faults: DiskFaults) -> (Disk, Random) {
        let (mut disk, mut random) = (Disk::new(64, faults), Random::new(1));
        disk.reset(0, &mut random);
        (disk, random)
    }

    fn write(sector: u64, value: u8, count: usize) -> Request {
        Request::Write { sector, bytes: vec![value; count * SECTOR] }
    }

    #[test]
    fn what_was_written_is_read() {
        let (mut disk, mut random) = ready(DiskFaults::NONE);
        disk.submit(write(3, 7, 2), 0, &mut random).expect("a write");
        assert_eq!(disk.complete(LATE).len(), 1);
        let tag = disk.submit(Request::Read { sector: 2, count: 3 }, LATE, &mut random);
        let read = disk.complete(2 * LATE);
        let expected = [vec![0; SECTOR], vec![7; 2 * SECTOR]].concat();
        assert_eq!(read, [Completion { tag: tag.expect("a read"), result: Ok(expected) }]);
    }

    #[test]
    fn requests_are_checked() {
        let (mut disk, mut random) = ready(DiskFaults::NONE);
        for request in [
            write(63, 1, 2),
            write(0, 1, 0),
            Request::Write { sector: 0, bytes: vec![1; 5] },
            Request::Read { sector: u64::MAX, count: 2 },
            Request::Read { sector: 0, count: u64::MAX },
        ] {
            assert_eq!(disk.submit(request, 0, &mut random), Err(DiskError::Range));
        }
    }

    #[test]
    fn what_was_flushed_survives_and_what_was_not_may_go_or_tear() {
        let (mut lost, mut kept, mut torn) = (0, 0, 0);
        for seed in 0..200 {
            let (mut disk, _) = ready(faulty());
            let mut random = Random::new(seed);
            disk.submit(write(0, 1, 8), 0, &mut random).expect("a write");
            disk.complete(LATE);
            disk.submit(Request::Flush, LATE, &mut random).expect("a flush");
            disk.complete(2 * LATE);
            disk.submit(write(8, 2, 8), 2 * LATE, &mut random).expect("a write");
            disk.complete(3 * LATE);
            disk.lose_power(3 * LATE, &mut random);
            assert!((0..8).all(|sector| disk.peek(sector) == [1; SECTOR]), "seed {seed}");
            let there = (8..16).filter(|sector| disk.peek(*sector) == [2; SECTOR]).count();
            match there {
                0 => lost += 1,
                8 => kept += 1,
                _ => torn += 1,
            }
            assert_eq!(disk.submit(Request::Flush, 0, &mut random), Err(DiskError::Reset));
        }
        assert!(lost > 20 && kept > 20 && torn > 20, "{lost} {kept} {torn}");
    }

    #[test]
    fn a_flush_does_not_cover_what_was_written_after_it_was_submitted() {
        let mut lost = 0;
        for seed in 0..100 {
            let faults = DiskFaults { torn: false, ..faulty() };
            let (mut disk, mut random) = (Disk::new(64, faults), Random::new(seed));
            disk.reset(0, &mut random);
            disk.submit(Request::Flush, 0, &mut random).expect("a flush");
            disk.submit(write(0, 1, 1), 0, &mut random).expect("a write");
            disk.complete(LATE);
            disk.lose_power(LATE, &mut random);
            lost += u32::from(disk.peek(0) == [0; SECTOR]);
        }
        assert!(lost > 0);
    }

    #[test]
    fn requests_end_in_any_order() {
        let (mut disk, mut random) = ready(faulty());
        let tags: Vec<u64> = (0..20)
            .map(|sector| disk.submit(write(sector, 1, 1), 0, &mut random).expect("a write"))
            .collect();
        let ended: Vec<u64> = disk.complete(LATE).iter().map(|ended| ended.tag).collect();
        let mut sorted = ended.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, tags);
        assert_ne!(ended, tags);
    }

    #[test]
    fn a_dead_device_says_so_until_it_is_repaired() {
        let (mut disk, mut random) = ready(faulty());
        let tag = disk.submit(write(0, 1, 1), 0, &mut random).expect("a write");
        disk.die(0, &mut random);
        assert_eq!(disk.complete(0), [Completion { tag, result: Err(DiskError::Dead) }]);
        assert_eq!(disk.submit(Request::Flush, 0, &mut random), Err(DiskError::Dead));
        disk.reset(0, &mut random);
        assert_eq!(disk.submit(Request::Flush, 0, &mut random), Err(DiskError::Dead));
        disk.repair();
        assert_eq!(disk.submit(Request::Flush, 0, &mut random), Err(DiskError::Reset));
        disk.reset(0, &mut random);
        assert!(disk.submit(Request::Flush, 0, &mut random).is_ok());
    }
}
