//! From events to slices and arrows: which call an answer ends, and which message a receive got.

use super::perfetto::{Mark, Packet, TrackKind};
use crate::ebpf::label;
use crate::ebpf::layout::{Event, Kind};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Messages on their way to one service, and receives without a message, at most. What is beyond gets no
/// arrow.
const UNDER_WAY: usize = 1024;

/// Tracks of the threads of one service.
const THREADS: u64 = 1 << 16;

/// What services and mailboxes are called.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Names {
    /// The services, by index of the domain.
    pub services: Vec<String>,
    /// Their processes.
    pub processes: Vec<Option<i32>>,
}

impl Names {
    /// A service's name.
    pub fn service(&self, domain: u16) -> String {
        let name = self.services.get(usize::from(domain));
        name.cloned().unwrap_or_else(|| format!("domain {domain}"))
    }
}

/// A message that was called or sent.
struct Message {
    label: u64,
    length: u64,
    is_call: bool,
    flow: u64,
}

/// Time by which a send may be told after the receive of its message, in nanoseconds.
const LATE: u64 = 1_000_000_000;

/// What a thread has begun and not ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    /// A call to this service, with the number of its arrow.
    Call(Option<u16>, Option<u64>),
    /// The service of another's call.
    Service,
}

/// Turns events into packets, one at a time.
pub struct Story {
    names: Names,
    /// By track: what has begun there, and when.
    open: BTreeMap<u64, Vec<(Open, u64)>>,
    tracks: BTreeSet<u64>,
    messages: BTreeMap<u16, VecDeque<Message>>,
    /// Receives whose message was not told yet: a send is told when it has ended, which can be later.
    early: BTreeMap<u16, VecDeque<Event>>,
    flows: u64,
    last: u64,
    packets: Vec<Packet>,
}

impl Story {
    /// Of a system with these services.
    pub fn new(names: Names) -> Story {
        Story {
            names,
            open: BTreeMap::new(),
            tracks: BTreeSet::new(),
            messages: BTreeMap::new(),
            early: BTreeMap::new(),
            flows: 0,
            last: 0,
            packets: Vec::new(),
        }
    }

    /// What comes of `event`.
    pub fn tell(&mut self, event: &Event) -> Vec<Packet> {
        self.last = self.last.max(event.time);
        let track = self.track(event.domain, event.thread);
        match event.kind {
            Kind::Call => self.call(event, track),
            Kind::Answer => self.answer(event, track),
            Kind::Send => self.send(event, track),
            Kind::Receive => self.receive(event, track),
            Kind::Reply => self.close_service(track, event.time),
            Kind::ThreadBegin => {
                self.close_all(track, event.time);
                self.instant(event, track, "thread begins".into());
            }
            Kind::ServiceExit | Kind::ServiceFault | Kind::ServiceStop => {
                self.end_service(event);
            }
            // What a site in the supervisor says stands on the service's own track.
            kind => self.instant(event, track, kind.site().replace('_', " ")),
        }
        std::mem::take(&mut self.packets)
    }

    /// What is still open ends now.
    pub fn end(&mut self) -> Vec<Packet> {
        for track in self.open.keys().copied().collect::<Vec<u64>>() {
            self.close_all(track, self.last);
        }
        for domain in self.early.keys().copied().collect::<Vec<u16>>() {
            while let Some(early) = self.early.get_mut(&domain).and_then(VecDeque::pop_front) {
                self.received(&early, None);
            }
        }
        std::mem::take(&mut self.packets)
    }

    /// The track of a thread, described first if it is new. The first thread's is the service's.
    fn track(&mut self, domain: u16, thread: u16) -> u64 {
        let service = (u64::from(domain) + 1) * THREADS;
        let track = service + u64::from(thread);
        if self.tracks.insert(service) {
            let name = self.names.service(domain);
            let process = self.names.processes.get(usize::from(domain)).copied().flatten();
            let kind = process.map_or(TrackKind::Plain, TrackKind::Process);
            self.packets.push(Packet::Track { track: service, parent: None, name, kind });
        }
        if track != service && self.tracks.insert(track) {
            let name = format!("{}/{thread}", self.names.service(domain));
            let (parent, kind) = (Some(service), TrackKind::Plain);
            self.packets.push(Packet::Track { track, parent, name, kind });
        }
        track
    }

    fn call(&mut self, event: &Event, track: u64) {
        if let Some((Open::Call(..), _)) = self.last_open(track) {
            // Its answer was lost for want of room.
            self.close_all(track, event.time);
        }
        let to = event.server.map_or("?".into(), |server| self.names.service(server));
        let flow = self.under_way(event, true);
        let name = format!("call {to} {}", label(event.label));
        let notes = vec![("label", event.label), ("bytes", event.length)];
        let mark = Mark { time: event.time, track, name, flow, notes, ..Mark::default() };
        self.packets.push(Packet::Begin(mark));
        self.open.entry(track).or_default().push((Open::Call(event.server, flow), event.time));
    }

    fn answer(&mut self, event: &Event, track: u64) {
        let Some((Open::Call(server, flow), _)) = self.last_open(track) else { return };
        self.close(track, event.time);
        // Of a call that failed before it was received, nobody receives anything any more.
        if let Some(queue) = server.and_then(|server| self.messages.get_mut(&server)) {
            queue.retain(|message| Some(message.flow) != flow);
        }
    }

    fn send(&mut self, event: &Event, track: u64) {
        let to = event.server.map_or("?".into(), |server| self.names.service(server));
        let failed = event.value != 0;
        let flow = if failed { None } else { self.under_way(event, false) };
        let what = if failed { "send fails" } else { "send" };
        let name = format!("{what} {to} {}", label(event.label));
        let notes = vec![("label", event.label), ("bytes", event.length)];
        let mark = Mark { time: event.time, track, name, flow, notes, ..Mark::default() };
        self.packets.push(Packet::Instant(mark));
    }

    /// A message is on its way to its server; the number of its arrow.
    fn under_way(&mut self, event: &Event, is_call: bool) -> Option<u64> {
        let server = event.server?;
        let same = |early: &Event| same(event, early);
        if !is_call
            && let Some(early) = self.early.get_mut(&server)
            && let Some(place) = early.iter().position(same)
            && let Some(early) = early.remove(place)
        {
            let flow = self.next_flow();
            self.received(&early, Some(flow));
            return Some(flow);
        }
        let flow = self.next_flow();
        let queue = self.messages.entry(server).or_default();
        if queue.len() >= UNDER_WAY {
            queue.pop_front();
        }
        let (label, length) = (event.label, event.length);
        queue.push_back(Message { label, length, is_call, flow });
        Some(flow)
    }

    fn next_flow(&mut self) -> u64 {
        self.flows += 1;
        self.flows
    }

    fn receive(&mut self, event: &Event, track: u64) {
        // Whoever receives has done with what it received before, or answers it later.
        self.close_all(track, event.time);
        let queue = self.messages.entry(event.domain).or_default();
        let fits =
            |message: &Message| message.label == event.label && message.length == event.length;
        let found = queue.iter().position(fits).and_then(|place| queue.remove(place));
        let Some(message) = found else {
            let early = self.early.entry(event.domain).or_default();
            early.push_back(*event);
            if early.len() > UNDER_WAY
                && let Some(early) = early.pop_front()
            {
                self.received(&early, None);
            }
            return;
        };
        if !message.is_call {
            return self.received(event, Some(message.flow));
        }
        let mark = Mark {
            time: event.time,
            track,
            name: format!("serve {}", label(event.label)),
            end_of_flow: Some(message.flow),
            notes: vec![("label", event.label), ("badge", event.value)],
            ..Mark::default()
        };
        self.packets.push(Packet::Begin(mark));
        self.open.entry(track).or_default().push((Open::Service, event.time));
    }

    /// A message that awaits no answer, as far as is known, has arrived.
    fn received(&mut self, event: &Event, flow: Option<u64>) {
        let track = self.track(event.domain, event.thread);
        self.packets.push(Packet::Instant(Mark {
            time: event.time,
            track,
            name: format!("receive {}", label(event.label)),
            end_of_flow: flow,
            notes: vec![("label", event.label), ("badge", event.value)],
            ..Mark::default()
        }));
    }

    fn instant(&mut self, event: &Event, track: u64, name: String) {
        let notes = vec![
            ("handle", event.handle),
            ("label", event.label),
            ("length", event.length),
            ("value", event.value),
        ];
        let mark = Mark { time: event.time, track, name, notes, ..Mark::default() };
        self.packets.push(Packet::Instant(mark));
    }

    fn end_service(&mut self, event: &Event) {
        let service = (u64::from(event.domain) + 1) * THREADS;
        let tracks = self.open.range(service..service + THREADS).map(|(track, _)| *track);
        for track in tracks.collect::<Vec<u64>>() {
            self.close_all(track, event.time);
        }
        self.messages.remove(&event.domain);
        self.instant(event, service, event.kind.site().replace('_', " "));
    }

    fn last_open(&self, track: u64) -> Option<(Open, u64)> {
        self.open.get(&track)?.last().copied()
    }

    /// Ends the service of another's call, if that is what a thread has begun last.
    fn close_service(&mut self, track: u64, time: u64) {
        if let Some((Open::Service, _)) = self.last_open(track) {
            self.close(track, time);
        }
    }

    /// Ends what a thread has begun last; when it was ended, which is not before its begin.
    fn close(&mut self, track: u64, time: u64) -> Option<u64> {
        let (_, begun) = self.open.get_mut(&track)?.pop()?;
        let time = time.max(begun);
        self.packets.push(Packet::End(track, time));
        Some(time)
    }

    /// Ends all that a thread has begun.
    fn close_all(&mut self, track: u64, time: u64) {
        let mut time = time;
        while let Some(ended) = self.close(track, time) {
            time = ended;
        }
        self.open.remove(&track);
    }
}

/// Whether a receive may be of this message, which was told later.
fn same(sent: &Event, received: &Event) -> bool {
    let recent = sent.time.saturating_sub(received.time) < LATE;
    recent && sent.label == received.label && sent.length == received.length
}
