//! The service `reader`.

use crate::protocol::{CounterClient, Ranked, TOP, TableFull, Totals};
use crate::report::{merge, report};
use crate::slices::slices;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use phi_console::ConsoleClient;
use phi_idl::CallError;
use phi_rt::{Input, Memory, Mutex, Service, Thread};

/// Bytes of text that are lent at a time, about.
const SLICE: usize = 1 << 20;

/// Bytes of stack of a thread that lends.
const STACK: u64 = 64 << 10;

/// Bytes that a console takes inline.
const INLINE: usize = 63;

/// What one counter found.
type Share = Result<(Totals, Vec<Ranked>), CallError<TableFull>>;

/// The service: reads the input `text`, has it counted by every mailbox whose name begins with
/// `counter`, and prints to `console`. Its status is 1 when that fails, with the reason printed.
pub fn reader(service: &Service) -> u8 {
    let Ok(console) = service.peer("console").map(ConsoleClient::new) else { return 1 };
    match read(service) {
        Ok(text) => u8::from(print(&console, &text).is_none()),
        Err(problem) => {
            for part in alloc::format!("wordcount: {problem}\n").as_bytes().chunks(INLINE) {
                // There is nowhere else to say that it cannot be said.
                let _ = console.write(part);
            }
            1
        }
    }
}

fn read(service: &Service) -> Result<String, String> {
    let input = Arc::new(service.input("text").map_err(|error| error.to_string())?);
    let counters = counters(service)?;
    let shares = u8::try_from(counters.len()).map_err(|_| "too many counters".to_string())?;
    let mut totals = Totals::default();
    let mut words = Vec::new();
    for result in count_all(service, &input, counters, shares)? {
        let (share, ranked) = result.map_err(|error| error.to_string())?;
        totals.words += share.words;
        totals.distinct += share.distinct;
        words.extend(ranked);
    }
    let text = input.bytes();
    let words = merge(words, text.as_ptr() as u64, text);
    Ok(report(&words, totals, text.len()))
}

fn counters(service: &Service) -> Result<Vec<CounterClient>, String> {
    let mut counters = Vec::new();
    for capability in service.capabilities() {
        let name = core::str::from_utf8(capability.name()).unwrap_or_default();
        if name.starts_with("counter") {
            let peer = service.peer(name).map_err(|error| error.to_string())?;
            counters.push(CounterClient::new(peer));
        }
    }
    if counters.is_empty() { Err("no counter to lend the text to".into()) } else { Ok(counters) }
}

/// Has every counter count its share, all at once: each in a thread of its own, but for the last,
/// which this thread waits for.
fn count_all(
    service: &Service,
    input: &Arc<Input>,
    mut counters: Vec<CounterClient>,
    shares: u8,
) -> Result<Vec<Share>, String> {
    let Some(last) = counters.pop() else { return Ok(Vec::new()) };
    let mut threads = Vec::new();
    for (share, counter) in (0..shares).zip(counters) {
        let result = Arc::new(Mutex::new(None));
        let (input, place) = (input.clone(), result.clone());
        let work = move || *place.lock() = Some(count(&counter, &input, share, shares));
        let thread = Thread::start(STACK, service.priority(), work)
            .map_err(|error| alloc::format!("no thread for a counter: {error}"))?;
        threads.push((thread, result));
    }
    let last = count(&last, input, shares - 1, shares);
    let mut results = Vec::new();
    for (thread, result) in threads {
        thread.join().map_err(|error| error.to_string())?;
        results.extend(result.lock().take());
    }
    results.push(last);
    Ok(results)
}

/// Has one counter count its share.
fn count(counter: &CounterClient, input: &Input, share: u8, shares: u8) -> Share {
    counter.begin(share, shares)?;
    let text = input.bytes();
    if text.is_empty() {
        return Ok(Default::default());
    }
    for range in slices(text, SLICE) {
        counter.count(input.lend(range))?;
    }
    let totals = counter.rank(input.lend(0..text.len()))?;
    let mut words = Vec::new();
    for place in 0..TOP as u8 {
        match counter.top(place)? {
            Some(word) => words.push(word),
            None => break,
        }
    }
    Ok((totals, words))
}

/// Prints `text` in one call; `None` when that fails.
fn print(console: &ConsoleClient, text: &str) -> Option<()> {
    let mut memory = Memory::create(text.len() as u64).ok()?;
    memory.copy_from_slice(text.as_bytes());
    console.write_lent(memory.lend(0..text.len())).ok()
}
