//! The service `copier`.

use crate::disk::{Disk, Stop};
use alloc::format;
use alloc::string::{String, ToString};
use blake3::{Hash, Hasher};
use core::fmt::Write;
use core::ops::Range;
use phi_block::BlockClient;
use phi_rt::{Console, Memory, Service};

/// Bytes that are lent at a time, at most.
const CHUNK: usize = 1 << 20;

/// Bytes between two flushes: what a driver that ends may cost.
const FLUSH: u64 = 4 << 20;

/// Characters of the bar.
const BAR: u64 = 40;

/// Checks, copies and checks again; returns the exit status: 0 if all is well, 1 if a disk is not what it
/// should be, 2 if it was not given what it needs.
pub fn main(service: &Service) -> u8 {
    let (Ok(output), Ok(progress)) = (service.console("output"), service.console("progress"))
    else {
        return 2;
    };
    match perform(service, &output, &progress) {
        Ok(()) => 0,
        Err(problem) => {
            // There is nowhere else to say that it cannot be said.
            let _ = writeln!(&output, "blockcopy: {problem}");
            1
        }
    }
}

fn perform(service: &Service, output: &Console, progress: &Console) -> Result<(), String> {
    let sum = service.input("sum").map_err(|error| error.to_string())?;
    let expected = expected(sum.bytes())?;
    let disk = |name: &'static str| {
        let peer = service.peer(name).map_err(|error| error.to_string())?;
        Disk::open(name, BlockClient::new(peer))
    };
    let (mut from, mut to) = (disk("from")?, disk("to")?);
    let length = from.length();
    if to.length() < length {
        return Err(format!("the second disk has {} bytes, the first {length}", to.length()));
    }
    if !length.is_multiple_of(to.block()) {
        return Err("the first disk does not fill whole blocks of the second".into());
    }
    let most = CHUNK.min(from.most()).min(to.most());
    let memory = Memory::create(most as u64).map_err(|error| error.to_string())?;
    let mut work = Work { length, memory, bar: Bar { progress, shown: u64::MAX } };
    let say = |line: &str| {
        // What cannot be said is missing.
        let _ = writeln!(&*output, "{line}");
    };
    work.check("check", &mut from, expected)?;
    say(&format!("{length} bytes have the hash {}", expected.to_hex()));
    work.copy(&mut from, &mut to)?;
    say(&format!("{length} bytes are copied"));
    work.check("compare", &mut to, expected)?;
    say("the copy has the same hash");
    let waited = from.longest_wait.max(to.longest_wait);
    if waited > 0 {
        // Beside the transcript, since no two runs take the same time.
        let _ = writeln!(&*progress, "waited {} us for another driver, at most", waited / 1000);
    }
    Ok(())
}

/// The hash that a line of `b3sum` begins with.
fn expected(sum: &[u8]) -> Result<Hash, String> {
    let text = core::str::from_utf8(sum).unwrap_or_default();
    let word = text.split_whitespace().next().unwrap_or_default();
    let problem = |_| "the input `sum` begins with no hash, as b3sum writes it".into();
    Hash::from_hex(word).map_err(problem)
}

struct Work<'a> {
    length: u64,
    memory: Memory,
    bar: Bar<'a>,
}

impl Work<'_> {
    /// The next bytes from `offset` on, as a range of the memory.
    fn part(&self, offset: u64) -> Range<usize> {
        0..self.memory.len().min((self.length - offset) as usize)
    }

    /// Reads the whole disk; its hash is to be `expected`.
    fn check(&mut self, what: &str, disk: &mut Disk, expected: Hash) -> Result<(), String> {
        let mut hasher = Hasher::new();
        let mut offset = 0;
        while offset < self.length {
            self.bar.show(what, offset, self.length);
            let part = self.part(offset);
            disk.read(offset, &mut self.memory, part.clone())?;
            offset += part.len() as u64;
            hasher.update(&self.memory[part]);
        }
        self.bar.show(what, offset, self.length);
        match hasher.finalize() {
            found if found == expected => Ok(()),
            found => Err(format!("{what}: the hash is {}, not {expected}", found.to_hex())),
        }
    }

    /// Copies one disk to the other. What a driver has lost is copied again.
    fn copy(&mut self, from: &mut Disk, to: &mut Disk) -> Result<(), String> {
        let mut flushed = 0;
        while flushed < self.length {
            self.bar.show("copy", flushed, self.length);
            match self.copy_some(from, to, flushed) {
                Ok(end) => flushed = end,
                Err(Stop::Anew) => {}
                Err(Stop::Problem(problem)) => return Err(problem),
            }
        }
        self.bar.show("copy", flushed, self.length);
        Ok(())
    }

    /// Copies up to a flush from `start` on; where it has come to.
    fn copy_some(&mut self, from: &mut Disk, to: &mut Disk, start: u64) -> Result<u64, Stop> {
        let end = self.length.min(start + FLUSH);
        let mut offset = start;
        while offset < end {
            let part = self.part(offset);
            from.read(offset, &mut self.memory, part.clone()).map_err(Stop::Problem)?;
            to.write(offset, &self.memory, part.clone())?;
            offset += part.len() as u64;
        }
        to.flush()?;
        Ok(offset)
    }
}

/// How far the work is, for people.
struct Bar<'a> {
    progress: &'a Console,
    shown: u64,
}

impl Bar<'_> {
    fn show(&mut self, what: &str, done: u64, all: u64) {
        let percent = (done * 100).checked_div(all).unwrap_or(100);
        if percent == self.shown {
            return;
        }
        self.shown = percent;
        let full = percent * BAR / 100;
        let mut bar = String::new();
        (0..BAR).for_each(|place| bar.push(if place < full { '#' } else { ' ' }));
        let end = if percent == 100 { "\n" } else { "" };
        // A bar that cannot be seen is not missed.
        let _ = write!(&*self.progress, "\r{what:7} [{bar}] {percent:3} %{end}");
    }
}
