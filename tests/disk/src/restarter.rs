//! The service `restarter`: stops and starts the driver of its disk, again and again, and measures how long it
//! takes from the stop to the next driver's first answer.

use crate::begins_anew;
use crate::record::BYTES;
use alloc::format;
use phi_block::BlockClient;
use phi_rt::{Memory, Service, now, sleep};

/// Nanoseconds between two tries to reach a driver.
const PAUSE: u64 = 10_000;

/// Tries to reach a driver before it is given up.
const TRIES: u32 = 100_000;

/// Restarts between two looks at the disk's content.
const LOOK: u64 = 100;

/// The service: its argument is the number of restarts. Prints the longest one, and ends with 0 if all drivers came
/// back.
pub fn main(service: &Service) -> u8 {
    let Ok(output) = service.console("output") else { return 200 };
    let Ok(peer) = service.peer("disk") else { return 201 };
    let Ok(driver) = service.domain("domain:disk") else { return 202 };
    let Ok(restarts) = service.arguments().trim().parse::<u64>() else { return 203 };
    let Ok(mut memory) = Memory::create(BYTES as u64) else { return 204 };
    let client = BlockClient::new(peer);
    let mut longest = 0;
    for number in 0..=restarts {
        let begun = now();
        if driver.stop().is_err() && number > 0 {
            return 1;
        }
        if driver.start().is_err() {
            return 2;
        }
        let Some(session) = open(&client) else { return 3 };
        // The first start is no restart.
        if number > 0 {
            longest = longest.max(now() - begun);
        }
        if number % LOOK == 0 && client.read(session, 0, 1, memory.lend_mut(0..512)).is_err() {
            return 4;
        }
    }
    let said =
        output.write(format!("{restarts} restarts, {} us at most\n", longest / 1000).as_bytes());
    if said.is_ok() { 0 } else { 5 }
}

/// A session with the driver that there is now.
fn open(client: &BlockClient) -> Option<u64> {
    for _ in 0..TRIES {
        match client.open() {
            Ok(device) => return Some(device.session),
            Err(error) if begins_anew(&error) => sleep(PAUSE),
            Err(_) => return None,
        }
    }
    None
}
