//! What is written, read again by somebody who knows only the format.

#[path = "../../tests/perfetto/mod.rs"]
mod perfetto;

use super::*;
use crate::ebpf::layout::{Event, Kind};

fn event(time: u64, kind: Kind, domain: u16, server: Option<u16>, label: u64) -> Event {
    Event { time, kind, domain, thread: 0, server, handle: 1, label, length: 8, value: 0 }
}

fn names() -> Names {
    let services = ["client", "middle", "server"].map(str::to_owned).into();
    Names { services, processes: vec![Some(10), Some(11), None] }
}

fn written(events: &[Event]) -> perfetto::Trace {
    let mut story = Story::new(names());
    let mut packets: Vec<Packet> = events.iter().flat_map(|event| story.tell(event)).collect();
    packets.extend(story.end());
    perfetto::read(&packets.iter().flat_map(encode).collect::<Vec<u8>>())
}

#[test]
fn calls_nest_and_arrows_go_from_caller_to_server() {
    let trace = written(&[
        event(10, Kind::Call, 0, Some(1), 3),
        event(20, Kind::Receive, 1, None, 3),
        event(30, Kind::Call, 1, Some(2), 4),
        event(40, Kind::Receive, 2, None, 4),
        event(50, Kind::Reply, 2, None, 4),
        event(60, Kind::Answer, 1, Some(2), 4),
        event(70, Kind::Reply, 1, None, 3),
        event(80, Kind::Answer, 0, Some(1), 3),
    ]);
    let names: Vec<&str> = trace.tracks.values().map(String::as_str).collect();
    assert_eq!(names, ["client", "middle", "server"]);
    assert_eq!(trace.slices, ["call middle 3", "serve 3", "call server 4", "serve 4"]);
    assert_eq!((trace.arrows, trace.instants.len()), (2, 0));
}

#[test]
fn a_send_that_is_told_late_still_has_its_arrow() {
    let early = [event(20, Kind::Receive, 1, None, 7), event(25, Kind::Send, 0, Some(1), 7)];
    let trace = written(&early);
    assert_eq!(trace.arrows, 1);
    assert_eq!(trace.instants, ["receive 7", "send middle 7"]);
    // Much later it is another one's.
    let late =
        [event(20, Kind::Receive, 1, None, 7), event(2_000_000_000, Kind::Send, 0, Some(1), 7)];
    assert_eq!(written(&late).arrows, 0);
}

#[test]
fn a_call_that_nobody_received_takes_no_arrow_from_the_next() {
    let failed = Event { value: 3, ..event(20, Kind::Answer, 0, Some(1), 3) };
    let trace = written(&[
        event(10, Kind::Call, 0, Some(1), 3),
        failed,
        event(30, Kind::Call, 0, Some(1), 3),
        event(40, Kind::Receive, 1, None, 3),
    ]);
    assert_eq!((trace.arrows, trace.slices.len()), (1, 3));
}

#[test]
fn what_never_ends_ends_with_its_service_or_the_trace() {
    let second = Event { thread: 1, ..event(30, Kind::Call, 1, Some(2), 5) };
    let trace = written(&[
        event(10, Kind::Call, 0, Some(1), 3),
        event(20, Kind::Receive, 1, None, 3),
        second,
        event(40, Kind::ServiceFault, 1, None, 1),
        // Answers to what began before the trace.
        event(50, Kind::Answer, 2, None, 1),
        event(60, Kind::Reply, 2, None, 1),
    ]);
    assert_eq!(trace.slices.len(), 3);
    assert!(trace.tracks.values().any(|name| name == "middle/1"));
    assert_eq!(trace.instants, ["service fault"]);
}

#[test]
fn any_events_make_a_trace() {
    let mut number = 7u64;
    let mut random = |below: u64| {
        number ^= number << 13;
        number ^= number >> 7;
        number ^= number << 17;
        number % below
    };
    let mut events = Vec::new();
    for time in 0..20_000 {
        let kind = Kind::ALL[random(Kind::ALL.len() as u64) as usize];
        let server = Some(random(4) as u16).filter(|server| *server < 3);
        let one = event(time, kind, random(3) as u16, server, random(3));
        events.push(Event { thread: random(3) as u16, value: random(2), ..one });
    }
    let trace = written(&events);
    assert!(trace.arrows > 100 && trace.slices.len() > 1000);
}
