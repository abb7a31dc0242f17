//! Hostile bytes, and the C header beside this module.

use super::*;
use std::collections::BTreeMap;
use std::process::Command;

/// A generator of numbers that look random, the same at every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }
}

fn encoded(event: &Event) -> Vec<u8> {
    let Event { time, kind, domain, thread, server, handle, label, length, value } = *event;
    let mut bytes: Vec<u8> =
        [time, handle, label, length, value].iter().flat_map(|word| word.to_ne_bytes()).collect();
    for half in [kind as u16, domain, server.unwrap_or(NOBODY), thread] {
        bytes.extend(half.to_ne_bytes());
    }
    bytes
}

#[test]
fn an_event_is_read_as_it_was_written() {
    let mut numbers = Numbers(1);
    for turn in 0..10_000 {
        let domain = (numbers.next() % SERVICES as u64) as u16;
        let event = Event {
            time: numbers.next(),
            kind: Kind::ALL[turn % Kind::ALL.len()],
            domain,
            thread: numbers.next() as u16,
            server: (turn % 3 != 0).then_some(SERVICES as u16 - 1 - domain),
            handle: numbers.next(),
            label: numbers.next(),
            length: numbers.next(),
            value: numbers.next(),
        };
        assert_eq!(Event::decode(&encoded(&event)), Ok(event));
    }
}

#[test]
fn random_bytes_are_an_event_or_an_error() {
    let mut numbers = Numbers(2);
    let (mut events, mut errors) = (0, 0);
    for _ in 0..100_000 {
        let length = match numbers.next() % 4 {
            0 => (numbers.next() % 100) as usize,
            _ => Event::SIZE,
        };
        let mut bytes = numbers.bytes(length);
        // Half of them have a kind, so that what comes behind it is read.
        if length == Event::SIZE && numbers.next().is_multiple_of(2) {
            bytes[40..42].copy_from_slice(&((numbers.next() % 20) as u16).to_ne_bytes());
            bytes[42] = bytes[42].wrapping_mul(3);
            bytes[43] &= 7;
            bytes[45] &= 7;
        }
        match Event::decode(&bytes) {
            Ok(event) => {
                assert_eq!(encoded(&event), bytes);
                events += 1;
            }
            Err(LayoutError::Length(found, expected)) => {
                assert_eq!((found, expected), (length, Event::SIZE));
                assert_ne!(length, Event::SIZE);
                errors += 1;
            }
            Err(LayoutError::Kind(kind)) => assert!(Kind::from_number(kind).is_none()),
            Err(LayoutError::Domain(domain)) => assert!(usize::from(domain) >= SERVICES),
        }
        let _ = EdgeKey::decode(&bytes);
    }
    assert!(events > 1000 && errors > 1000, "{events} events, {errors} errors");
}

#[test]
fn every_other_length_is_refused() {
    let zeros = vec![0; 2 * Edge::SIZE];
    for length in 0..zeros.len() {
        let bytes = &zeros[..length];
        assert_eq!(EdgeKey::decode(bytes).is_ok(), length == EdgeKey::SIZE);
        assert_eq!(Edge::decode(bytes).is_ok(), length == Edge::SIZE);
        assert_eq!(ServiceCounts::decode(bytes).is_ok(), length == ServiceCounts::SIZE);
        assert_eq!(Lost::decode(bytes).is_ok(), length == Lost::SIZE);
        // Zero is no kind.
        assert!(Event::decode(bytes).is_err());
    }
}

#[test]
fn a_percentile_is_the_end_of_its_bucket() {
    let mut edge = Edge::decode(&[0; Edge::SIZE]).unwrap();
    assert_eq!(edge.percentile(0.5), None);
    edge.histogram[10] = 99;
    edge.histogram[20] = 1;
    assert_eq!(edge.percentile(0.5), Some(1 << 11));
    assert_eq!(edge.percentile(0.99), Some(1 << 11));
    assert_eq!(edge.percentile(1.0), Some(1 << 21));
    edge.histogram = [u64::MAX; BUCKETS];
    assert!(edge.percentile(0.99).is_some());
}

/// What `ebpf/phi.h` says, by a C compiler: sizes and places of fields, and the constants.
fn of_the_header() -> BTreeMap<String, u64> {
    let fields = [
        ("phi_event", "time handle label length value kind domain server thread"),
        ("phi_edge_key", "label mailbox client server"),
        ("phi_edge", "calls answers failures sends bytes answer_bytes nanoseconds histogram"),
        ("phi_service", "starts exits faults stops processor"),
        ("phi_lost", "events messages"),
    ];
    let mut source = "#include <stdio.h>\n#include <stddef.h>\n#include \"phi.h\"\n".to_string();
    source += "#define SAY(name, value) printf(\"%s %zu\\n\", name, (size_t)(value))\n";
    source += "int main(void) {\n";
    for (record, names) in fields {
        source += &format!("SAY(\"{record}\", sizeof(struct {record}));\n");
        for name in names.split(' ') {
            source += &format!("SAY(\"{record}.{name}\", offsetof(struct {record}, {name}));\n");
        }
    }
    for constant in ["PHI_BUCKETS", "PHI_DOMAINS", "PHI_NOBODY"] {
        source += &format!("SAY(\"{constant}\", {constant});\n");
    }
    for kind in Kind::ALL {
        let name = format!("PHI_{}", kind.site().to_uppercase());
        source += &format!("SAY(\"{name}\", {name});\n");
    }
    source += "}\n";
    let folder = tempfile::tempdir().unwrap();
    let (file, program) = (folder.path().join("layout.c"), folder.path().join("layout"));
    std::fs::write(&file, source).unwrap();
    let header = concat!(env!("CARGO_MANIFEST_DIR"), "/../ebpf");
    let status =
        Command::new("cc").args(["-I", header, "-o"]).arg(&program).arg(&file).status().unwrap();
    assert!(status.success());
    let output = Command::new(&program).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let pair = |line: &str| {
        let (name, value) = line.split_once(' ').unwrap();
        (name.to_string(), value.parse().unwrap())
    };
    said.lines().map(pair).collect()
}

#[test]
fn the_header_says_the_same() {
    let header = of_the_header();
    let sizes = [
        ("phi_event", Event::SIZE),
        ("phi_edge_key", EdgeKey::SIZE),
        ("phi_edge", Edge::SIZE),
        ("phi_service", ServiceCounts::SIZE),
        ("phi_lost", Lost::SIZE),
        ("PHI_BUCKETS", BUCKETS),
        ("PHI_DOMAINS", SERVICES),
        ("PHI_NOBODY", usize::from(NOBODY)),
    ];
    for (name, size) in sizes {
        assert_eq!(header[name], size as u64, "{name}");
    }
    for kind in Kind::ALL {
        let name = format!("PHI_{}", kind.site().to_uppercase());
        assert_eq!(header[&name], *kind as u64, "{name}");
    }
    // A record with its own offset in each field is read into the fields of the same names.
    let at = |name: &str| header[name];
    let mut event = vec![0; Event::SIZE];
    for name in ["time", "handle", "label", "length", "value"] {
        let place = at(&format!("phi_event.{name}"));
        event[place as usize..][..8].copy_from_slice(&place.to_ne_bytes());
    }
    for name in ["kind", "domain", "server", "thread"] {
        let place = at(&format!("phi_event.{name}")) as usize;
        let value = if name == "kind" { Kind::Throttle as u16 } else { place as u16 };
        event[place..][..2].copy_from_slice(&value.to_ne_bytes());
    }
    let read = Event::decode(&event).unwrap();
    let words = [read.time, read.handle, read.label, read.length, read.value];
    let names = ["time", "handle", "label", "length", "value"];
    assert_eq!(words, names.map(|name| at(&format!("phi_event.{name}"))));
    let halves = [read.domain, read.server.unwrap(), read.thread].map(u64::from);
    assert_eq!(halves, ["domain", "server", "thread"].map(|name| at(&format!("phi_event.{name}"))));
    let words: Vec<u8> = (0..Edge::SIZE as u64 / 8).flat_map(|n| (n * 8).to_ne_bytes()).collect();
    let edge = Edge::decode(&words).unwrap();
    assert_eq!(edge.answer_bytes, at("phi_edge.answer_bytes"));
    assert_eq!(edge.nanoseconds, at("phi_edge.nanoseconds"));
    assert_eq!(edge.histogram[0], at("phi_edge.histogram"));
    assert_eq!((edge.calls, edge.sends), (at("phi_edge.calls"), at("phi_edge.sends")));
    assert_eq!((edge.answers, edge.failures), (at("phi_edge.answers"), at("phi_edge.failures")));
    assert_eq!(edge.bytes, at("phi_edge.bytes"));
}
