//! The service `keeper`: several threads keep a log each, on a device whose driver may end at any time.

use crate::begins_anew;
use crate::record::{self, BYTES, PART};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use phi_block::{BlockClient, BlockError, Device, Durability};
use phi_idl::CallError;
use phi_rt::{Console, Memory, Mutex, Service, Thread};

/// Logs that are kept at the same time.
pub const LOGS: u64 = 3;

/// Records between two flushes.
const FLUSH: u64 = 5;

/// Every so many records, one is written durably.
const DURABLE: u64 = 7;

/// Nanoseconds between two tries to reach a driver.
const PAUSE: u64 = 2_000_000;

/// Tries to reach a driver before it is given up.
const TRIES: usize = 2_000;

/// Bytes of a thread's stack.
const STACK: u64 = 64 << 10;

/// The service: its argument is the number of records of each log. Prints how far each log is, and ends
/// with 0 once all are complete and were read back.
pub fn main(service: &Service) -> u8 {
    let Ok(output) = service.console("output").map(Arc::new) else { return 2 };
    let Ok(client) = service.peer("disk").map(BlockClient::new).map(Arc::new) else { return 2 };
    let Ok(records) = service.arguments().trim().parse() else { return 2 };
    let results = Arc::new(Mutex::new(Vec::new()));
    let mut threads = Vec::new();
    for number in 0..LOGS {
        let (output, client, results) = (output.clone(), client.clone(), results.clone());
        let work = move || {
            let log = Log { number, flushed: 0, output: &output };
            let result = log.keep(&client, records);
            results.lock().push(result);
        };
        match Thread::start(STACK, service.priority(), work) {
            Ok(thread) => threads.push(thread),
            Err(_) => return 2,
        }
    }
    for thread in threads {
        if thread.join().is_err() {
            return 2;
        }
    }
    let mut status = 0;
    for problem in results.lock().drain(..).filter_map(Result::err) {
        say(&output, &format!("keeper: {problem}\n"));
        status = 1;
    }
    status
}

fn say(output: &Console, line: &str) {
    // There is nowhere else to say that it cannot be said.
    let _ = output.write(line.as_bytes());
}

/// One log.
struct Log<'a> {
    number: u64,
    /// Records that a flush was answered for.
    flushed: u64,
    output: &'a Console,
}

/// Why a log goes no further for now.
enum Stop {
    /// The driver is another one.
    Anew,
    /// For good.
    Problem(String),
}

impl From<CallError<BlockError>> for Stop {
    fn from(error: CallError<BlockError>) -> Stop {
        if begins_anew(&error) { Stop::Anew } else { Stop::Problem(error.to_string()) }
    }
}

impl Log<'_> {
    /// Writes what is missing of `records`, whatever happens to the driver.
    fn keep(mut self, client: &BlockClient, records: u64) -> Result<(), String> {
        let mut memory = Memory::create(BYTES as u64).map_err(|error| error.to_string())?;
        for _ in 0..TRIES {
            match self.session(client, &mut memory, records.min(PART)) {
                Ok(()) => return Ok(()),
                Err(Stop::Problem(problem)) => return Err(problem),
                Err(Stop::Anew) => phi_rt::sleep(PAUSE),
            }
        }
        Err("the driver does not come back".into())
    }

    fn session(
        &mut self,
        client: &BlockClient,
        memory: &mut Memory,
        records: u64,
    ) -> Result<(), Stop> {
        let device = client.open()?;
        let mut next = 0;
        while next < records && self.read(client, &device, memory, next)? {
            next += 1;
        }
        let number = self.number;
        say(self.output, &format!("log {number} has {next}\n"));
        if next < self.flushed {
            let flushed = self.flushed;
            return Err(Stop::Problem(format!(
                "log {number} had {flushed} flushed, and has {next}"
            )));
        }
        while next < records {
            record::fill(memory, number, next);
            let durability =
                if next % DURABLE == 0 { Durability::Durable } else { Durability::Cached };
            let (first, count) = self.place(&device, next);
            client.write(device.session, first, count, durability, memory.lend(0..BYTES))?;
            next += 1;
            if next % FLUSH == 0 || next == records {
                client.flush(device.session)?;
                self.flushed = next;
                say(self.output, &format!("log {number} flushed {next}\n"));
            }
        }
        for written in 0..records {
            if !self.read(client, &device, memory, written)? {
                return Err(Stop::Problem(format!("log {number} lacks record {written}")));
            }
        }
        Ok(())
    }

    /// Reads a record; whether it is the one that it should be.
    fn read(
        &self,
        client: &BlockClient,
        device: &Device,
        memory: &mut Memory,
        number: u64,
    ) -> Result<bool, Stop> {
        let (first, count) = self.place(device, number);
        memory.fill(0);
        client.read(device.session, first, count, memory.lend_mut(0..BYTES))?;
        Ok(record::is(memory, self.number, number))
    }

    /// The first block and the blocks of a record.
    fn place(&self, device: &Device, number: u64) -> (u64, u32) {
        let count = BYTES as u32 / device.block_size;
        ((self.number * PART + number) * u64::from(count), count)
    }
}
