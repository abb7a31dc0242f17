//! Reads a trace for Perfetto again, knowing nothing of how it was written but the public field numbers,
//! and checks that it makes sense.

use std::collections::{BTreeMap, BTreeSet};

/// One field: its number, and what it holds.
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let (first, rest) = bytes.split_first().expect("a whole number");
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            break;
        }
    }
    value
}

fn fields(mut bytes: &[u8]) -> Vec<(u64, Field<'_>)> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let field = match key & 7 {
            0 => Field::Number(varint(&mut bytes)),
            1 => {
                let (first, rest) = bytes.split_first_chunk::<8>().expect("eight bytes");
                bytes = rest;
                Field::Number(u64::from_le_bytes(*first))
            }
            2 => {
                let length = varint(&mut bytes) as usize;
                let (first, rest) = bytes.split_at(length);
                bytes = rest;
                Field::Bytes(first)
            }
            kind => panic!("field of kind {kind}"),
        };
        fields.push((key >> 3, field));
    }
    fields
}

fn message<'a>(fields: &[(u64, Field<'a>)], number: u64) -> Option<&'a [u8]> {
    fields.iter().find_map(|(found, field)| match field {
        Field::Bytes(bytes) if *found == number => Some(*bytes),
        _ => None,
    })
}

fn number(fields: &[(u64, Field<'_>)], number: u64) -> Option<u64> {
    fields.iter().find_map(|(found, field)| match field {
        Field::Number(value) if *found == number => Some(*value),
        _ => None,
    })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// What a trace shows.
#[derive(Default, Debug)]
pub struct Trace {
    /// Names of the tracks.
    pub tracks: BTreeMap<u64, String>,
    /// Slices that began.
    pub slices: Vec<String>,
    /// Things without duration.
    pub instants: Vec<String>,
    /// Arrows: how many have both ends.
    pub arrows: usize,
}

/// Reads a trace. Panics if a slice ends that has not begun or the other way round, if an arrow has an end
/// and no beginning or goes back in time, or if something stands on a track that was not described.
pub fn read(bytes: &[u8]) -> Trace {
    let mut trace = Trace::default();
    let (mut begins, mut ends) = (BTreeMap::new(), BTreeMap::new());
    let mut events: BTreeMap<u64, Vec<(u64, u64, String)>> = BTreeMap::new();
    let mut used = BTreeSet::new();
    for (field, packet) in fields(bytes) {
        let Field::Bytes(packet) = packet else { panic!("a trace has packets only") };
        assert_eq!(field, 1);
        let packet = fields(packet);
        assert!(number(&packet, 10).is_some(), "a packet is of a sequence");
        if let Some(track) = message(&packet, 60) {
            let track = fields(track);
            let id = number(&track, 1).expect("a track has a number");
            let name = text(message(&track, 2).expect("a track has a name"));
            if let Some(parent) = number(&track, 5) {
                assert!(trace.tracks.contains_key(&parent), "{name} belongs to nothing");
            }
            assert_eq!(trace.tracks.insert(id, name), None, "a track is described once");
            continue;
        }
        let event = fields(message(&packet, 11).expect("a packet is a track or an event"));
        let time = number(&packet, 8).expect("an event has a time");
        let track = number(&event, 11).expect("an event has a track");
        let name = message(&event, 23).map(text).unwrap_or_default();
        used.insert(track);
        let kind = number(&event, 9).expect("an event has a type");
        for (field, ends) in [(47, &mut begins), (48, &mut ends)] {
            if let Some(flow) = number(&event, field) {
                assert_eq!(ends.insert(flow, time), None, "an arrow has one end on each side");
            }
        }
        match kind {
            1 | 2 => events.entry(track).or_default().push((time, kind, name)),
            3 => trace.instants.push(name),
            _ => panic!("an event of type {kind}"),
        }
    }
    for track in used {
        assert!(trace.tracks.contains_key(&track), "track {track} is not described");
    }
    for (flow, end) in &ends {
        let begin = begins.get(flow).unwrap_or_else(|| panic!("arrow {flow} begins nowhere"));
        // A send is told when it has ended.
        assert!(*begin <= end + 1_000_000_000, "arrow {flow} goes back in time");
    }
    trace.arrows = ends.len();
    for (track, mut events) in events {
        // As Perfetto does: by time, and otherwise as they stand.
        events.sort_by_key(|(time, ..)| *time);
        let mut open = 0u64;
        for (time, kind, name) in events {
            match kind {
                1 => {
                    open += 1;
                    trace.slices.push(name);
                }
                _ => {
                    open = open.checked_sub(1).unwrap_or_else(|| {
                        panic!("a slice ends at {time} on track {track}, and none is open")
                    });
                }
            }
        }
        assert_eq!(open, 0, "slices of track {track} have no end");
    }
    trace
}
