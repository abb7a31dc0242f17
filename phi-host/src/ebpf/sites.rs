//! Where the sites of a program's file stand: its USDT records.
//!
//! Source: the ELF specification, and SystemTap's notes, version 3.

use std::collections::BTreeMap;

/// One site: offsets in the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Site {
    /// Of its instruction.
    pub place: usize,
    /// Of the 16 bits in which Linux counts who watches it.
    pub counter: usize,
}

/// The sites, by their names.
pub type Sites = BTreeMap<String, Vec<Site>>;

/// The section with the records.
const RECORDS: &[u8] = b".note.stapsdt";

/// The section whose address tells how far the file was moved since the records were made.
const BASE: &[u8] = b".stapsdt.base";

/// The sites of `provider` in an ELF file of 64 bits; `None` if it is none, or is damaged.
pub fn find(file: &[u8], provider: &str) -> Option<Sites> {
    if !file.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let segments = table(file, 32, 54, 56)?;
    let sections = table(file, 40, 58, 60)?;
    let names = contents(file, sections.get(usize::from(half(file, 62)?))?)?;
    let section = |wanted: &[u8]| {
        sections.iter().find(|section| {
            let name = word(section, 0).and_then(|start| names.get(start as usize..));
            name.and_then(|name| split_text(name)).is_some_and(|(name, _)| name == wanted)
        })
    };
    let base = section(BASE).and_then(|section| long(section, 16));
    let mut sites = Sites::new();
    let mut rest = match section(RECORDS) {
        Some(section) => contents(file, section)?,
        None => return Some(sites),
    };
    while !rest.is_empty() {
        let (name, text) = (word(rest, 0)? as usize, word(rest, 4)? as usize);
        let owner = rest.get(12..12usize.checked_add(name)?)?;
        let start = 12usize.checked_add(name.checked_next_multiple_of(4)?)?;
        let record = rest.get(start..start.checked_add(text)?)?;
        if word(rest, 8)? == 3 && owner == b"stapsdt\0" {
            let (from, rest) = split_text(record.get(24..)?)?;
            let (name, _) = split_text(rest)?;
            let moved = base.zip(long(record, 8)).map_or(0, |(now, then)| now.wrapping_sub(then));
            if from == provider.as_bytes() {
                let place = |at| place_of(&segments, long(record, at)?.wrapping_add(moved));
                let site = Site { place: place(0)?, counter: place(16)? };
                sites.entry(String::from_utf8(name.to_vec()).ok()?).or_default().push(site);
            }
        }
        let end = start.checked_add(text.checked_next_multiple_of(4)?)?;
        rest = rest.get(end..).unwrap_or_default();
    }
    Some(sites)
}

/// The entries of a table of the ELF header, whose offset, entry size and count stand at these
/// places.
fn table(file: &[u8], start: usize, size: usize, count: usize) -> Option<Vec<&[u8]>> {
    let (start, size) = (usize::try_from(long(file, start)?).ok()?, usize::from(half(file, size)?));
    let count = usize::from(half(file, count)?);
    let bytes = file.get(start..start.checked_add(size.checked_mul(count)?)?)?;
    // Sections have 64 bytes, segments 56.
    (size >= 56).then(|| bytes.chunks_exact(size).collect())
}

/// The bytes of a section.
fn contents<'a>(file: &'a [u8], section: &[u8]) -> Option<&'a [u8]> {
    let start = usize::try_from(long(section, 24)?).ok()?;
    let size = usize::try_from(long(section, 32)?).ok()?;
    file.get(start..start.checked_add(size)?)
}

/// The offset in the file of what is loaded at `address`.
fn place_of(segments: &[&[u8]], address: u64) -> Option<usize> {
    const LOADED: u32 = 1;
    segments.iter().find_map(|segment| {
        let (offset, start) = (long(segment, 8)?, long(segment, 16)?);
        let inside =
            address.checked_sub(start).filter(|inside| long(segment, 32) > Some(*inside))?;
        let place = usize::try_from(offset.checked_add(inside)?).ok()?;
        (word(segment, 0)? == LOADED).then_some(place)
    })
}

/// The bytes before the next zero, and those after it.
fn split_text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    Some((&bytes[..end], &bytes[end + 1..]))
}

fn half(bytes: &[u8], place: usize) -> Option<u16> {
    bytes.get(place..)?.first_chunk().map(|bytes| u16::from_le_bytes(*bytes))
}

fn word(bytes: &[u8], place: usize) -> Option<u32> {
    bytes.get(place..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

fn long(bytes: &[u8], place: usize) -> Option<u64> {
    bytes.get(place..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ebpf::layout::Kind;

    fn own() -> Vec<u8> {
        std::fs::read("/proc/self/exe").unwrap()
    }

    #[test]
    fn every_kind_of_event_has_a_site_on_five_bytes_that_do_nothing() {
        // Sites of what this program never does are left out of it: that they are there is all the
        // tracer's tests.
        crate::linux::attempt::pass_site(0);
        let file = own();
        let sites = find(&file, "phi").unwrap();
        assert!(sites.contains_key(Kind::Throttle.site()), "{sites:?}");
        assert!(sites.contains_key(Kind::Call.site()), "{sites:?}");
        for (name, sites) in &sites {
            assert!(Kind::ALL.iter().any(|kind| kind.site() == name), "{name}");
            for Site { place, counter } in sites {
                assert_eq!(file[*place..][..5], [0x0f, 0x1f, 0x44, 0, 0], "{name}");
                assert_eq!(file[*counter..][..2], [0, 0], "nobody watches what is not run");
            }
        }
        assert_eq!(find(&file, "nobody"), Some(Sites::new()));
    }

    #[test]
    fn damaged_files_have_no_sites_or_others() {
        let file = own();
        assert_eq!(find(&[], "phi"), None);
        assert_eq!(find(b"#!/bin/sh", "phi"), None);
        for length in (0..200).chain((200..file.len()).step_by(file.len() / 50)) {
            let _ = find(&file[..length], "phi");
        }
        // Each byte of the header, with all its bits turned round.
        for place in 0..64 {
            let mut damaged = file.clone();
            damaged[place] ^= 0xff;
            let _ = find(&damaged, "phi");
        }
    }
}
