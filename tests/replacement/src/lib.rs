//! A counter in two editions, and who counts with it until the second has taken the place of the first.
//!
//! The transcript is the same on all machines, wherever in the counting the replacement falls.
#![no_std]

use core::fmt::Write;
use phi_idl::{CallError, interface};
use phi_rt::{Console, Error, HandOver, Reader, Restored, Service, Writer};
use serde::{Deserialize, Serialize};

/// Counts.
#[interface]
pub trait Counter {
    /// The edition that answers, and its count.
    #[idempotent]
    fn look(&mut self) -> Result<(u64, u64), Never>;
    /// Counts one more; the count.
    fn add(&mut self) -> Result<u64, Never>;
}

/// No error of the counter's own.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Never {}

/// The counter's own data.
#[derive(Debug)]
struct Count {
    edition: u64,
    count: u64,
}

impl Counter for Count {
    fn look(&mut self) -> Result<(u64, u64), Never> {
        Ok((self.edition, self.count))
    }

    fn add(&mut self) -> Result<u64, Never> {
        self.count += 1;
        Ok(self.count)
    }
}

impl HandOver for Count {
    const VERSION: u64 = 1;

    fn save(&self, writer: &mut Writer<'_>) {
        writer.word(self.count);
    }

    fn restore(&mut self, reader: &mut Reader<'_>) -> Option<()> {
        self.count = reader.word()?;
        Some(())
    }
}

/// The first edition.
pub fn first(service: &Service) -> u8 {
    counter(service, 1)
}

/// The second edition.
pub fn second(service: &Service) -> u8 {
    counter(service, 2)
}

fn counter(service: &Service, edition: u64) -> u8 {
    let mailbox = service.mailbox("counter").expect("a mailbox");
    let log = service.console("log").expect("a log");
    let mut server = CounterServer(Count { edition, count: 0 });
    // Without one in the manifest, it has none.
    let Ok(state) = service.state() else {
        phi_idl::serve(&mailbox, &mut server);
        return 1;
    };
    if let Restored::Refused(why) = state.restore(&mut server.0) {
        // Without a log, it begins afresh all the same.
        let _ = writeln!(&log, "counter: {why}");
    }
    state.bind(&mailbox).expect("a mailbox without a signal");
    match phi_idl::serve_until_signal(&mailbox, &mut server) {
        Ok(_) => state.hand_over(&server.0),
        Err(_) => 1,
    }
}

/// Rounds of counting after both counters were replaced.
const AFTER: u32 = 100;

/// Rounds within which both must be replaced: a minute and more.
const ROUNDS: u32 = 100_000;

/// The service: counts with both, and says how that went.
pub fn user(service: &Service) -> u8 {
    let output = service.console("output").expect("a console");
    let [mut keeps, mut forgets] = [("keeps", true), ("forgets", false)].map(|(name, keeps)| {
        let peer = service.peer(name).expect("a counter");
        Use { client: CounterClient::new(peer), edition: 1, least: 0, most: 0, keeps }
    });
    let mut left = AFTER;
    for _ in 0..ROUNDS {
        if let Err(what) = keeps.round().and_then(|()| forgets.round()) {
            say(&output, what);
            return 1;
        }
        if keeps.edition == 2 && forgets.edition == 2 {
            left -= 1;
        }
        if left == 0 {
            say(&output, "both counters were replaced; one has kept its count");
            return 0;
        }
        phi_rt::sleep(500_000);
    }
    say(&output, "the counters were not replaced");
    1
}

fn say(mut output: &Console, what: &str) {
    // What cannot be written, the machine reports.
    let _ = writeln!(output, "{what}");
}

/// One counter as its user sees it.
struct Use {
    client: CounterClient,
    edition: u64,
    /// The count is not less and not more than these.
    least: u64,
    most: u64,
    keeps: bool,
}

impl Use {
    fn round(&mut self) -> Result<(), &'static str> {
        match self.client.add() {
            // Of which edition, the next look tells.
            Ok(_) => (self.least, self.most) = (self.least + 1, self.most + 1),
            // Counted, or not.
            Err(CallError::Transport(Error::Dead)) => self.most += 1,
            Err(_) => return Err("a counter does not count"),
        }
        let Ok((edition, count)) = self.client.look() else {
            return Err("a call that may be made again has failed");
        };
        if edition != self.edition {
            self.edition = edition;
            if !self.keeps {
                // The last one may have gone to either.
                if count > 1 {
                    return Err("a new image knows a count that nobody handed over");
                }
                (self.least, self.most) = (count, count);
            }
        }
        if !(self.least..=self.most).contains(&count) {
            return Err("a count is wrong");
        }
        (self.least, self.most) = (count, count);
        Ok(())
    }
}
