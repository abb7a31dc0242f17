//! The service that hands much over: lent for a call, and as slices of what both sides have mapped.

use crate::{CALL, Members, Samples, Watch, counter, filled, invoke, named, plain, print, slices};
use alloc::format;
use alloc::string::String;
use phi_abi::{Grant, Handle, Number, Rights};
use phi_rt::{Error, FOREVER, Peer, Region, Service};

/// Bytes that are lent; the last is the region's length.
const SIZES: [u64; 3] = [4 << 10, 1 << 20, 64 << 20];

/// Measures calls to `echo` that lend, and calls to `slices` that name slices. Its arguments: the number of
/// rounds.
pub fn lender(service: &Service) -> u8 {
    let Some(peer) = named(service, "echo") else { return 2 };
    let Ok(taker) = service.peer("slices") else { return 2 };
    let Ok(rounds) = service.arguments().trim().parse() else { return 2 };
    print(service, measure(peer, &taker, rounds))
}

/// Both.
fn measure(peer: Handle, taker: &Peer, rounds: usize) -> Result<String, Error> {
    let watch = Watch::start();
    let lent = lend(peer, rounds)?;
    let sliced = slices::measure(taker, Region::create(SIZES[2])?, rounds)?;
    let watch = watch.json();
    Ok(format!("{{\"rounds\":{rounds},{watch},\"lend\":{{{lent}}},\"hand_over\":{{{sliced}}}}}"))
}

/// Rounds of each size, after a tenth as many to warm up; `hand_over` says when each began and ended.
pub fn by_size(
    rounds: usize,
    mut hand_over: impl FnMut(u64) -> Result<(u64, u64), Error>,
) -> Result<String, Error> {
    let mut sizes = Members::default();
    for size in SIZES {
        let mut samples = Samples::with_capacity(rounds);
        for round in 0..rounds + rounds / 10 {
            let (start, end) = hand_over(size)?;
            if round >= rounds / 10 {
                samples.push(start, end);
            }
        }
        sizes.push(size, &mut samples);
    }
    Ok(sizes.0)
}

/// Nobody reads what is lent.
fn lend(peer: Handle, rounds: usize) -> Result<String, Error> {
    let rights = Rights::READ | Rights::WRITE;
    let region = Handle(plain(Number::RegionCreate, [SIZES[2], 0, 0, 0])?);
    let words = [region.0, u64::from(rights.bits()), 0, 0];
    let address = plain(Number::RegionMap, words)?;
    let sizes = by_size(rounds, |size| {
        let mut message = filled(CALL);
        message.push(Grant::loan(region, rights, address, size));
        let start = counter();
        let outcome = invoke(Number::Call, [peer.0, FOREVER, 0, 0], &mut message);
        let end = counter();
        outcome.result()?;
        Ok((start, end))
    })?;
    plain(Number::CapabilityDrop, [region.0, 0, 0, 0])?;
    Ok(sizes)
}
