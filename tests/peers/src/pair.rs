//! Two processes: there and back, and one way.

use crate::PeerError;
use crate::clock::{Watch, counter, distribution};
use crate::link::{BYTES, Bytes, Link, Pair};
use crate::memory::Child;

/// First byte of a message that is sent back.
const BACK: u8 = 1;

/// First byte of a message that is only taken.
const COUNT: u8 = 2;

/// First byte of a message that is the last.
const END: u8 = 3;

fn message(kind: u8) -> Bytes {
    let mut bytes = [7; BYTES];
    bytes[0] = kind;
    bytes
}

fn with_far<P: Pair>(
    measure: impl FnOnce(&mut P::Near) -> Result<String, PeerError>,
) -> Result<String, PeerError> {
    // Both processes have it: each takes its own end.
    let mut pair = Some(P::prepare()?);
    let child = Child::run(|| match pair.take() {
        Some(pair) => answer(&mut pair.far()?),
        None => Ok(()),
    })?;
    let Some(pair) = pair else { return Err(PeerError("no pair".into())) };
    let mut near = pair.near()?;
    let line = measure(&mut near)?;
    near.send(&message(END))?;
    child.finish()?;
    Ok(line)
}

fn answer(link: &mut impl Link) -> Result<(), PeerError> {
    loop {
        let bytes = link.receive()?;
        match bytes[0] {
            BACK => link.send(&bytes)?,
            COUNT => {}
            _ => return Ok(()),
        }
    }
}

/// Round trips, after a tenth as many to warm up.
pub fn round_trip<P: Pair>(count: usize) -> Result<String, PeerError> {
    with_far::<P>(|near| {
        let mut samples = Vec::with_capacity(count);
        let warm_up = count / 10;
        let watch = Watch::start();
        for round in 0..count + warm_up {
            let start = counter();
            near.send(&message(BACK))?;
            near.receive()?;
            if round >= warm_up {
                samples.push(counter() - start);
            }
        }
        Ok(format!("{{{},\"round_trip\":{}}}", watch.json(), distribution(samples)))
    })
}

/// Messages one way, until the last has been received, after a tenth as many to warm up.
pub fn one_way<P: Pair>(count: usize) -> Result<String, PeerError> {
    with_far::<P>(|near| {
        let watch = Watch::start();
        stream(near, count / 10)?;
        let start = counter();
        stream(near, count)?;
        let each = (counter() - start) / count as u64;
        Ok(format!("{{{},\"one_way\":{each}}}", watch.json()))
    })
}

fn stream(near: &mut impl Link, count: usize) -> Result<(), PeerError> {
    for _ in 0..count {
        near.send(&message(COUNT))?;
    }
    near.send(&message(BACK))?;
    near.receive().map(drop)
}
