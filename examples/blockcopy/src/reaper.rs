//! The service `reaper`: supervises both drivers, and stops them in turn, whatever they do.

use phi_rt::{Domain, Service};

/// Nanoseconds in a millisecond.
const MILLISECOND: u64 = 1_000_000;

/// Starts both, and stops and starts one of them each so many milliseconds as its argument says; returns the
/// exit status.
pub fn main(service: &Service) -> u8 {
    let Ok(interval) = service.arguments().trim().parse::<u64>() else { return 2 };
    let (Ok(source), Ok(target)) =
        (service.domain("domain:source"), service.domain("domain:target"))
    else {
        return 2;
    };
    let drivers = [source, target];
    for driver in &drivers {
        start(driver);
    }
    loop {
        for driver in &drivers {
            phi_rt::sleep(interval * MILLISECOND);
            // One that has ended by itself is started as well.
            let _ = driver.stop();
            start(driver);
        }
    }
}

/// Starts a driver that does not run.
fn start(driver: &Domain) {
    // The machine may be short of something for a moment; the next turn comes soon.
    let _ = driver.start();
}
