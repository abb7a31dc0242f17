//! The tracer on a real system: every site is passed, and what is told agrees with itself.
#![cfg(feature = "ebpf")]

mod perfetto;

use phi_host::ebpf::layout::{Event, Kind};
use phi_host::ebpf::{TraceOptions, Tracer};
use phi_host::trace::{Names, Story, encode};
use phi_host::{linux, system};
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Whether this process may load programs; says so where it may not.
fn privileged() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let held = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let held = u64::from_str_radix(held.expect("capabilities").trim(), 16).expect("a number");
    let needed = 1 << 38 | 1 << 39 | 1 << 21;
    let may = held & needed == needed;
    if !may {
        eprintln!("skipped: root may load eBPF programs; see phi-host doctor");
    }
    may
}

/// Runs a system with every event taken; the events, and how the system ended.
fn trace(folder: &str) -> (Vec<Event>, linux::Report, Tracer) {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let loaded = system::load(&project.join(folder), &[]).expect("the system builds");
    let bundle = loaded.bundle().expect("it is whole");
    let program = PathBuf::from(env!("CARGO_BIN_EXE_phi-host"));
    let options =
        TraceOptions { program: program.clone(), threads: false, stream: true, supervisor: None };
    let mut tracer = Tracer::new(&options).unwrap_or_else(|off| panic!("{off}"));
    assert_eq!(tracer.off(), []);
    let mut stream = tracer.events().unwrap_or_else(|off| panic!("{off}"));
    let over = AtomicBool::new(false);
    let (events, report) = std::thread::scope(|scope| {
        let taken = scope.spawn(|| {
            let mut events = Vec::new();
            while !over.load(Ordering::Acquire) {
                stream.wait(Duration::from_millis(10));
                events.extend(stream.by_ref().map(|event| event.expect("an event")));
            }
            events.extend(stream.by_ref().map(|event| event.expect("an event")));
            events
        });
        let options = linux::Options { program, ..linux::Options::new(linux::Mode::Processes) };
        let (mut transcript, mut log) = (Vec::new(), Vec::new());
        let report = linux::run(&bundle, &options, Some(&mut tracer), &mut transcript, &mut log);
        over.store(true, Ordering::Release);
        let text = String::from_utf8_lossy(&transcript);
        let failed: Vec<&str> = text.lines().filter(|line| line.starts_with("FAIL")).collect();
        assert!(failed.is_empty(), "{}", failed.join("\n"));
        (taken.join().expect("the reader ends"), report.expect("the system runs"))
    });
    assert_eq!(report.status, 0);
    (events, report, tracer)
}

#[test]
fn every_site_is_passed_and_told() {
    if !privileged() {
        return;
    }
    let (events, report, tracer) = trace("tests/conformance");
    let seen: BTreeSet<u16> = events.iter().map(|event| event.kind as u16).collect();
    let all: BTreeSet<u16> = Kind::ALL.iter().map(|kind| *kind as u16).collect();
    let missing: Vec<_> = all.difference(&seen).map(|kind| Kind::from_number(*kind)).collect();
    assert!(missing.is_empty(), "never seen: {missing:?}");

    let snapshot = tracer.snapshot().unwrap_or_else(|off| panic!("{off}"));
    assert_eq!((snapshot.lost.events, snapshot.lost.messages), (0, 0));
    let mut told: HashMap<(u16, Kind), u64> = HashMap::new();
    for event in &events {
        *told.entry((event.domain, event.kind)).or_default() += 1;
    }
    let count = |domain: usize, kind| told.get(&(domain as u16, kind)).copied().unwrap_or(0);
    for (domain, (name, info, _)) in report.services.iter().enumerate() {
        let held = snapshot.services[domain];
        let starts = count(domain, Kind::ServiceStart);
        assert_eq!((starts, held.starts), (u64::from(info.generation), starts), "{name}");
        assert_eq!(count(domain, Kind::ServiceFault), held.faults, "{name}");
        let ends = held.exits + held.faults + held.stops;
        assert!((starts - 1..=starts).contains(&ends), "{name}: {ends} ends of {starts} starts");
        let edges = snapshot.edges.iter().filter(|(key, _)| usize::from(key.client) == domain);
        let calls: u64 = edges.map(|(_, edge)| edge.calls).sum();
        assert_eq!(count(domain, Kind::Call), calls, "{name}");
    }
    makes_sense(&events, &report);
    let total = |kind| events.iter().filter(|event| event.kind == kind).count();
    assert!(total(Kind::LoanEnd) <= total(Kind::LoanBegin) && total(Kind::LoanEnd) > 0);
}

/// What happened, as a trace for Perfetto: each call has a slice, and arrows go to who received.
fn makes_sense(events: &[Event], report: &linux::Report) {
    let services: Vec<String> = report.services.iter().map(|(name, ..)| name.clone()).collect();
    let processes = vec![None; services.len()];
    let mut story = Story::new(Names { services: services.clone(), processes });
    let mut bytes: Vec<u8> = events
        .iter()
        .flat_map(|event| story.tell(event))
        .flat_map(|packet| encode(&packet))
        .collect();
    bytes.extend(story.end().iter().flat_map(encode));
    let trace = perfetto::read(&bytes);
    let calls = events.iter().filter(|event| event.kind == Kind::Call).count();
    let begun = trace.slices.iter().filter(|name| name.starts_with("call ")).count();
    assert_eq!(begun, calls);
    assert!(trace.arrows * 2 > calls, "{} arrows of {calls} calls", trace.arrows);
    for name in services {
        assert!(trace.tracks.values().any(|track| *track == name), "{name} has no track");
    }
}
