//! The service `measurer`: reads or writes blocks at random places, so many requests at a time, and
//! prints how long they took.

use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use phi_block::{BlockClient, Device, Durability};
use phi_random::Random;
use phi_rt::{Memory, Mutex, Service, Thread};

/// Bytes of a thread's stack.
const STACK: u64 = 64 << 10;

/// What is measured, as the service's arguments say: `read 4096 32 2000`, for reads of 4096 bytes, 32 at
/// a time, for 2000 milliseconds.
#[derive(Clone, Copy)]
struct Task {
    writes: bool,
    bytes: usize,
    depth: u64,
    nanoseconds: u64,
}

fn task(text: &str) -> Option<Task> {
    let mut words = text.split_ascii_whitespace();
    let writes = match words.next()? {
        "read" => false,
        "write" => true,
        _ => return None,
    };
    let mut number = || words.next()?.parse::<u64>().ok();
    let (bytes, depth, milliseconds) = (number()? as usize, number()?, number()?);
    Some(Task { writes, bytes, depth, nanoseconds: milliseconds * 1_000_000 })
}

/// The service. Prints one line of JSON.
pub fn main(service: &Service) -> u8 {
    let Ok(output) = service.console("output") else { return 2 };
    let Ok(client) = service.peer("disk").map(BlockClient::new).map(Arc::new) else { return 2 };
    let Some(task) = task(service.arguments()) else { return 2 };
    let Ok(device) = client.open() else { return 3 };
    let samples = Arc::new(Mutex::new(Vec::new()));
    let mut threads = Vec::new();
    let start = phi_rt::now();
    for seed in 0..task.depth {
        let (client, samples) = (client.clone(), samples.clone());
        let work = move || {
            let own = measure(&client, &device, task, seed, start + task.nanoseconds);
            samples.lock().push(own);
        };
        match Thread::start(STACK, service.priority(), work) {
            Ok(thread) => threads.push(thread),
            Err(_) => return 4,
        }
    }
    for thread in threads {
        if thread.join().is_err() {
            return 4;
        }
    }
    let nanoseconds = phi_rt::now() - start;
    let mut all = Vec::new();
    for own in samples.lock().drain(..) {
        match own {
            Some(own) => all.extend(own),
            None => return 5,
        }
    }
    all.sort_unstable();
    let at = |percent: usize| all.get(all.len().saturating_sub(1) * percent / 100).copied();
    let line = format!(
        "{{\"requests\":{},\"nanoseconds\":{nanoseconds},\"p50\":{},\"p99\":{}}}\n",
        all.len(),
        at(50).unwrap_or(0),
        at(99).unwrap_or(0)
    );
    u8::from(output.write(line.as_bytes()).is_err())
}

/// Nanoseconds of each request of one thread until `end`; `None` when one fails.
fn measure(
    client: &BlockClient,
    device: &Device,
    task: Task,
    seed: u64,
    end: u64,
) -> Option<Vec<u32>> {
    let mut memory = Memory::create(task.bytes as u64).ok()?;
    let count = task.bytes as u32 / device.block_size;
    let places = device.blocks / u64::from(count.max(1));
    let mut random = Random::new(seed);
    let mut samples = Vec::with_capacity(1 << 14);
    let mut before = phi_rt::now();
    while before < end {
        let first = random.below(places) * u64::from(count);
        let (session, length) = (device.session, task.bytes);
        let done = match task.writes {
            true => client.write(session, first, count, Durability::Cached, memory.lend(0..length)),
            false => client.read(session, first, count, memory.lend_mut(0..length)),
        };
        done.ok()?;
        let after = phi_rt::now();
        samples.push((after - before) as u32);
        before = after;
    }
    Some(samples)
}
