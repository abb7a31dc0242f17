//! A client of a line with a terminal, for tests of its drivers: `echoer` says back each line that it is told, in
//! upper case, until it is told `bye`, and prints what it was told.
//!
//! If it controls the driver, it stops and starts that again after each line. A line that was said is said once
//! more where its driver has ended before it answered, so the other side may hear it twice.
#![no_std]

extern crate alloc;

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::Write;
use phi_idl::CallError;
use phi_rt::{Console, Domain, Error, Region, Rights, Service, Signal};
use phi_tty::{CAME, ConsoleClient, NotRead};

/// The last line.
const LAST: &[u8] = b"bye";

/// Bytes of a line, at most.
const MOST: usize = 1000;

/// Nanoseconds between two looks for the driver, and looks.
const PAUSE: u64 = 1_000_000;
const LOOKS: u32 = 5_000;

/// Bytes of a text in a call.
const TEXT: usize = 63;

/// The service.
pub fn main(service: &Service) -> u8 {
    let Ok(output) = service.console("output") else { return 2 };
    match talk(service, &output) {
        Ok(()) => 0,
        Err(problem) => {
            let _ = writeln!(&output, "echoer: {problem}");
            1
        }
    }
}

fn talk(service: &Service, mut output: &Console) -> Result<(), String> {
    let driver = service.domain("domain:line").ok();
    if let Some(driver) = &driver {
        driver.start().map_err(|error| error.to_string())?;
    }
    let peer = service.peer("line").map_err(|_| "there is no line")?;
    let signal = Signal::create().map_err(|error| error.to_string())?;
    let mut terminal = Terminal { console: ConsoleClient::new(peer), signal, came: Vec::new() };
    terminal.probe()?;
    terminal.watch()?;
    terminal.say(b"ready\n")?;
    loop {
        let line = terminal.line()?;
        let _ = writeln!(output, "told: {}", String::from_utf8_lossy(&line));
        let mut answer = line.to_ascii_uppercase();
        answer.push(b'\n');
        terminal.say(&answer)?;
        if line == LAST {
            return Ok(());
        }
        if let Some(driver) = &driver {
            restart(driver)?;
            terminal.watch()?;
            terminal.say(b"again\n")?;
        }
    }
}

fn restart(driver: &Domain) -> Result<(), String> {
    driver.stop().and_then(|()| driver.start()).map(drop).map_err(|error| error.to_string())
}

/// The line, and what came from it and was not looked at yet.
struct Terminal {
    console: ConsoleClient,
    signal: Signal,
    came: Vec<u8>,
}

impl Terminal {
    fn watch(&mut self) -> Result<(), String> {
        let Terminal { console, signal, .. } = self;
        patiently(|| {
            let signal = signal.capability().derive(Rights::NOTIFY | Rights::TRANSFER)?;
            console.watch(signal)
        })
    }

    /// Asks for what is wrong.
    fn probe(&mut self) -> Result<(), String> {
        let failed = |error: Error| error.to_string();
        let region = || Region::create(1).map(Region::into_capability).map_err(failed);
        // The driver may not be there yet.
        patiently(|| self.console.write(b""))?;
        let signal = self.signal.capability().derive(Rights::WAIT | Rights::TRANSFER);
        for wrong in [region()?, signal.map_err(failed)?] {
            if self.console.watch(wrong) != Err(CallError::Refused(NotRead::Signal)) {
                return Err("a signal that cannot be set is one".into());
            }
        }
        Ok(())
    }

    fn say(&mut self, text: &[u8]) -> Result<(), String> {
        let console = &self.console;
        text.chunks(TEXT).try_for_each(|piece| patiently(|| console.write(piece)))
    }

    /// The next line, without its end.
    fn line(&mut self) -> Result<Vec<u8>, String> {
        loop {
            if let Some(end) = self.came.iter().position(|byte| *byte == b'\n') {
                let mut line: Vec<u8> = self.came.drain(..=end).collect();
                line.pop();
                return Ok(line);
            }
            if self.came.len() > MOST {
                return Err("a line has no end".into());
            }
            let console = &self.console;
            let piece = patiently::<_, NotRead>(|| console.read())?;
            if piece.lost > 0 {
                return Err("bytes were lost".into());
            }
            match piece.bytes() {
                // Whatever the signal said, it is looked at now and then.
                [] => _ = self.signal.wait(CAME, 100 * PAUSE),
                bytes => self.came.extend_from_slice(bytes),
            }
        }
    }
}

/// Calls until the driver is there.
fn patiently<T, E: core::fmt::Debug + core::fmt::Display>(
    mut call: impl FnMut() -> Result<T, CallError<E>>,
) -> Result<T, String> {
    for _ in 0..LOOKS {
        match call() {
            Ok(value) => return Ok(value),
            Err(CallError::Transport(Error::Dead)) => phi_rt::sleep(PAUSE),
            Err(error) => return Err(error.to_string()),
        }
    }
    Err("the driver does not come back".into())
}
