//! Who starts the besiegers, and looks what each has left.

use crate::BystanderClient;
use core::fmt::Write;
use phi_rt::{Domain, DomainState, Service, Signal};

/// Lives between two questions to the bystander.
const QUESTION: u64 = 64;

/// Nanoseconds that a life may last; who has not ended by then is stopped.
const LIFE: u64 = 50_000_000;

const SECOND: u64 = 1_000_000_000;

/// When the siege is over.
enum End {
    Lives(u64),
    Time(u64),
}

/// Keeps it going until it is over; returns the exit status: 0 if nothing was left and nobody harmed.
pub fn main(service: &Service) -> u8 {
    let (Ok(output), Ok(events)) = (service.console("output"), service.signal("events")) else {
        return 2;
    };
    let (Ok(a), Ok(b)) = (service.domain("domain:besieger-a"), service.domain("domain:besieger-b"))
    else {
        return 2;
    };
    let Ok(bystander) = service.peer("bystander").map(BystanderClient::new) else { return 2 };
    let end = match service.arguments().split_once('=') {
        Some(("lives", number)) => number.parse().ok().map(End::Lives),
        Some(("seconds", number)) => number.parse().ok().map(|one: u64| End::Time(one * SECOND)),
        _ => None,
    };
    let Some(end) = end else { return 2 };
    match besiege(&[a, b], &events, &bystander, &end) {
        // How many there were in a time is another number each time.
        Ok(lives) => {
            let _ = writeln!(&output, "{lives} lives have left nothing");
            0
        }
        Err((lives, what)) => {
            let _ = writeln!(&output, "life {lives}: {what}");
            1
        }
    }
}

type Problem = (u64, &'static str);

fn besiege(
    besiegers: &[Domain; 2],
    events: &Signal,
    bystander: &BystanderClient,
    end: &End,
) -> Result<u64, Problem> {
    let begun = phi_rt::now();
    let mut lives = 0;
    let mut since = [0; 2];
    loop {
        let over = match end {
            End::Lives(most) => lives >= *most,
            End::Time(time) => phi_rt::now() - begun >= *time,
        };
        for (besieger, since) in besiegers.iter().zip(&mut since) {
            let now = phi_rt::now();
            let state = besieger.state().map_err(|_| (lives, "its state cannot be seen"))?.state;
            match state {
                DomainState::Running if over || now - *since > LIFE => {
                    besieger.stop().map_err(|_| (lives, "it cannot be stopped"))?;
                }
                DomainState::Running => continue,
                _ => {}
            }
            check(besieger).map_err(|what| (lives, what))?;
            if !over {
                besieger.start().map_err(|_| (lives, "it cannot be started again"))?;
                (*since, lives) = (now, lives + 1);
            }
        }
        if over || lives % QUESTION == 0 {
            let unharmed = bystander.is_unharmed() == Ok(true);
            unharmed.then_some(()).ok_or((lives, "the bystander is harmed"))?;
        }
        if over {
            return Ok(lives);
        }
        let _ = events.wait(u64::MAX, LIFE);
    }
}

/// A besieger that has ended holds nothing and is charged for nothing.
fn check(besieger: &Domain) -> Result<(), &'static str> {
    let left = besieger.statistics().map_err(|_| "its statistics cannot be seen")?;
    if left.handles != 0 {
        return Err("it has left handles");
    }
    // What is lent stays until the answer, and is charged as long.
    if left.memory > 64 << 10 { Err("it has left memory") } else { Ok(()) }
}
