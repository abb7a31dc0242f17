//! Much handed over by two words: slices of a region that both sides have mapped.

use crate::counter;
use crate::lender::by_size;
use alloc::string::String;
use phi_abi::{Error, Rights};
use phi_rt::{FOREVER, Mapping, Outgoing, Peer, Region, Service};

/// Label of the call that gives the region, once.
const SHARE: u64 = 1;

/// Label of a call that names a slice: its offset and its length, 8 bytes each.
const SLICE: u64 = 2;

/// Label of the answer to what was understood.
const TAKEN: u64 = 3;

/// Maps the region that it is given, and answers each call that names a slice which lies in it. Reads nothing.
pub fn taker(service: &Service) -> u8 {
    let Ok(mailbox) = service.mailbox("slices") else { return 2 };
    let mut mapping: Option<Mapping> = None;
    mailbox.serve(|incoming| {
        if incoming.label() == SHARE {
            let region = incoming.take(0).and_then(|given| Region::try_from(given).ok());
            mapping = region.and_then(|region| region.map(false).ok());
        }
        let taken = match incoming.label() {
            SLICE => mapping.as_ref().is_some_and(|mapping| lies_in(mapping, incoming.bytes())),
            _ => mapping.is_some(),
        };
        Some(Outgoing::empty(if taken { TAKEN } else { 0 }))
    });
    1
}

/// Whether the slice that `bytes` name can be reached.
fn lies_in(mapping: &Mapping, bytes: &[u8]) -> bool {
    let (words, _) = bytes.as_chunks::<8>();
    match words {
        [offset, length] => {
            let (offset, length) = (u64::from_le_bytes(*offset), u64::from_le_bytes(*length));
            mapping.part(offset, length).is_some()
        }
        _ => false,
    }
}

/// Shares `region`, and measures rounds of each size.
pub fn measure(peer: &Peer, region: Region, rounds: usize) -> Result<String, Error> {
    let mapping = region.map(true)?;
    let mut share = Outgoing::empty(SHARE);
    share.copy(mapping.capability(), Rights::READ).map_err(|_| Error::QuotaExceeded)?;
    taken(peer, share)?;
    by_size(rounds, |size| {
        let mut words = [0; 16];
        words[8..].copy_from_slice(&size.to_le_bytes());
        let start = counter();
        let slice = Outgoing::new(SLICE, &words).map_err(|_| Error::QuotaExceeded)?;
        taken(peer, slice)?;
        Ok((start, counter()))
    })
}

/// Calls, and sees that it was understood.
fn taken(peer: &Peer, message: Outgoing<'_>) -> Result<(), Error> {
    match peer.call(message, FOREVER)?.label() {
        TAKEN => Ok(()),
        _ => Err(Error::Denied),
    }
}
