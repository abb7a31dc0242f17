//! The client: it keeps a log on the device, to which it appends records with a checksum that covers
//! the one before.

use super::World;
use super::protocol::{Answer, Operation, Question};
use crate::actors::{PAUSE, call, first};
use crate::disk::SECTOR;
use crate::event::Call;
use crate::machine::Turn;
use phi_abi::layout::PAGE;
use phi_abi::{Grant, Handle, Kind, Number, Rights};
use phi_random::Random;

/// Sectors of a client's part of the device.
pub(super) const PART: u64 = 4096;

/// Bytes that a client lends at a time, at most.
const BUFFER: u64 = 8 * PAGE;

/// Sectors of that.
const CHUNK: u64 = BUFFER / SECTOR as u64;

/// Sectors of a record, at most.
const RECORD: u64 = 4;

/// Bytes of a record before what it holds: number, sectors, checksum.
const HEAD: usize = 24;

/// What the client waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Nothing: it begins, or begins again.
    Start,
    /// The buffer's region.
    Region,
    /// The buffer at its address.
    Map,
    /// A session.
    Open,
    /// A chunk of the log, as it was left.
    Recover,
    /// Nothing: it appends or flushes.
    Ready,
    /// A record of that many sectors.
    Append(u64),
    /// A flush.
    Flush,
    /// That some time passes, and then begins again.
    Pause,
}

/// The state of a client's thread.
pub(super) struct Client {
    /// Which one, from 0.
    index: usize,
    phase: Phase,
    region: Option<u64>,
    address: Option<u64>,
    session: u64,
    log: Log,
    /// Sectors of the log that the current flush covers.
    flushing: u64,
}

/// How far a log goes.
#[derive(Clone, Copy, Default)]
struct Log {
    records: u64,
    sectors: u64,
    /// The last record's checksum.
    last: u64,
}

fn word(bytes: &[u8], place: usize) -> u64 {
    let word = bytes.get(8 * place..8 * place + 8).and_then(|word| word.try_into().ok());
    u64::from_le_bytes(word.unwrap_or_default())
}

fn checksum(before: u64, record: &[u8]) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&before.to_le_bytes());
    hasher.update(&record[..16]);
    hasher.update(&record[HEAD..]);
    word(hasher.finalize().as_bytes(), 0)
}

impl Log {
    /// A record to append, of random content.
    fn record(&self, random: &mut Random) -> Vec<u8> {
        let sectors = 1 + random.below(RECORD);
        let mut record = vec![0; sectors as usize * SECTOR];
        for place in record.chunks_exact_mut(8) {
            place.copy_from_slice(&random.word().to_le_bytes());
        }
        record[..8].copy_from_slice(&self.records.to_le_bytes());
        record[8..16].copy_from_slice(&sectors.to_le_bytes());
        let sum = checksum(self.last, &record);
        record[16..HEAD].copy_from_slice(&sum.to_le_bytes());
        record
    }

    /// Goes on over the records in `bytes`, which follow the log so far; whether it found its end.
    fn recover(&mut self, bytes: &[u8]) -> bool {
        let mut rest = bytes;
        while rest.len() >= SECTOR {
            let (number, sectors, sum) = (word(rest, 0), word(rest, 1), word(rest, 2));
            if number != self.records || !(1..=RECORD).contains(&sectors) {
                return true;
            }
            let Some(record) = rest.get(..sectors as usize * SECTOR) else { return false };
            if sum != checksum(self.last, record) {
                return true;
            }
            self.append(record);
            rest = &rest[record.len()..];
        }
        false
    }

    fn append(&mut self, record: &[u8]) {
        self.records += 1;
        self.sectors += (record.len() / SECTOR) as u64;
        self.last = word(record, 2);
    }
}

impl Client {
    pub(super) fn new(index: usize) -> Client {
        Client {
            index,
            phase: Phase::Start,
            region: None,
            address: None,
            session: 0,
            log: Log::default(),
            flushing: 0,
        }
    }

    pub(super) fn next(&mut self, turn: &mut Turn<'_>, world: &mut World) -> Call {
        self.phase = self.after(turn, world);
        let driver = first(turn, Kind::Mailbox, Rights::CALL);
        let rests = turn.settling && world.books.is_through(self.index);
        let Some(driver) = driver.filter(|_| self.phase != Phase::Pause && !rests) else {
            self.phase = Phase::Pause;
            return call(Number::ThreadSleep, &[PAUSE / 20]);
        };
        let (Some(region), Some(address)) = (self.region, self.address) else {
            return self.prepare();
        };
        let lend = |rights, sectors: u64| {
            Some(Grant::loan(Handle(region), rights, address, sectors * SECTOR as u64))
        };
        match self.phase {
            Phase::Open => self.ask(Operation::Open, 0, 0).call(driver, None),
            Phase::Recover => {
                let count = CHUNK.min(PART - self.log.sectors);
                let lent = lend(Rights::READ | Rights::WRITE, count);
                self.ask(Operation::Read, self.log.sectors, count).call(driver, lent)
            }
            _ if turn.random.once_in(3) || self.log.sectors + RECORD > PART => {
                (self.phase, self.flushing) = (Phase::Flush, self.log.sectors);
                self.ask(Operation::Flush, 0, 0).call(driver, None)
            }
            _ => {
                let record = self.log.record(turn.random);
                world.write(turn.domain, address, &record);
                let sectors = (record.len() / SECTOR) as u64;
                let sector = self.log.sectors;
                world.books.written(self.index, self.base() + sector, record);
                self.phase = Phase::Append(sectors);
                let lent = lend(Rights::READ, sectors);
                self.ask(Operation::Write, sector, sectors).call(driver, lent)
            }
        }
    }

    /// The first sector of its part.
    fn base(&self) -> u64 {
        self.index as u64 * PART
    }

    fn ask(&self, operation: Operation, sector: u64, count: u64) -> Question {
        Question { operation, session: self.session, sector: self.base() + sector, count }
    }

    /// Gets itself a buffer.
    fn prepare(&mut self) -> Call {
        match self.region {
            None => {
                self.phase = Phase::Region;
                call(Number::RegionCreate, &[BUFFER])
            }
            Some(region) => {
                self.phase = Phase::Map;
                let rights = u64::from((Rights::READ | Rights::WRITE).bits());
                call(Number::RegionMap, &[region, rights])
            }
        }
    }

    /// The phase that follows from how the last call ended.
    fn after(&mut self, turn: &Turn<'_>, world: &mut World) -> Phase {
        let ended = turn.outcome.result();
        let answer = ended.ok().and(turn.message).map(Answer::of);
        match (self.phase, ended, answer) {
            (Phase::Start | Phase::Pause, ..) => Phase::Open,
            (Phase::Region, Ok(region), _) => {
                self.region = Some(region);
                Phase::Open
            }
            (Phase::Map, Ok(address), _) => {
                self.address = Some(address);
                Phase::Open
            }
            (Phase::Open, _, Some(Answer::Done(session))) => {
                (self.session, self.log) = (session, Log::default());
                world.books.begins(self.index);
                Phase::Recover
            }
            (Phase::Recover, _, Some(Answer::Done(_))) => self.recovered(turn, world),
            (Phase::Append(sectors), _, Some(Answer::Done(_))) => {
                let written = world.books.confirmed(self.index);
                debug_assert_eq!(written.len(), sectors as usize * SECTOR);
                self.log.append(&written);
                Phase::Ready
            }
            (Phase::Flush, _, Some(Answer::Done(_))) => {
                world.books.flushed(self.index, self.base() + self.flushing);
                Phase::Ready
            }
            (Phase::Ready, ..) => Phase::Ready,
            // The driver has ended, or does not know the session any more.
            (_, _, Some(Answer::Stale)) => Phase::Open,
            _ => Phase::Pause,
        }
    }

    /// A chunk of the log has been read.
    fn recovered(&mut self, turn: &Turn<'_>, world: &mut World) -> Phase {
        let count = CHUNK.min(PART - self.log.sectors);
        let address = self.address.unwrap_or(0);
        let Some(bytes) = world.read(turn.domain, address, count * SECTOR as u64) else {
            return Phase::Pause;
        };
        let before = self.log.sectors;
        if !self.log.recover(&bytes) && self.log.sectors > before && self.log.sectors < PART {
            return Phase::Recover;
        }
        world.books.recovered(self.index, self.base() + self.log.sectors);
        Phase::Ready
    }
}
