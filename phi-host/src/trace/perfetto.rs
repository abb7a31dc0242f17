//! The file format of Perfetto: protobuf packets, one after the other.
//!
//! Source: `trace_packet.proto`, `track_event.proto` and `track_descriptor.proto` of Perfetto. Only what is
//! used here is written.

/// A packet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Packet {
    /// There is a track.
    Track {
        /// Its number; 0 is no track.
        track: u64,
        /// The track that it belongs to.
        parent: Option<u64>,
        /// Its name.
        name: String,
        /// What it shows.
        kind: TrackKind,
    },
    /// A slice begins, within those that have begun on its track and have not ended.
    Begin(Mark),
    /// The slice that began last on this track ends, at this time.
    End(u64, u64),
    /// Something without duration.
    Instant(Mark),
}

/// What a track shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TrackKind {
    /// A process with this id.
    Process(i32),
    /// Anything.
    Plain,
}

/// Something on a track.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Mark {
    /// When: the monotonic clock, in nanoseconds.
    pub time: u64,
    /// The track.
    pub track: u64,
    /// Its name.
    pub name: String,
    /// An arrow begins here.
    pub flow: Option<u64>,
    /// An arrow ends here.
    pub end_of_flow: Option<u64>,
    /// More about it.
    pub notes: Vec<(&'static str, u64)>,
}

// `Trace`.
const PACKET: u32 = 1;
// `TracePacket`.
const TIMESTAMP: u32 = 8;
const SEQUENCE: u32 = 10;
const TRACK_EVENT: u32 = 11;
const TRACK_DESCRIPTOR: u32 = 60;
// `TrackEvent`.
const NOTE: u32 = 4;
const TYPE: u32 = 9;
const TRACK: u32 = 11;
const NAME: u32 = 23;
const FLOW: u32 = 47;
const END_OF_FLOW: u32 = 48;
// `TrackEvent.Type`.
const SLICE_BEGIN: u64 = 1;
const SLICE_END: u64 = 2;
const INSTANT: u64 = 3;
// `TrackDescriptor`.
const TRACK_ID: u32 = 1;
const TRACK_NAME: u32 = 2;
const PROCESS: u32 = 3;
const PARENT: u32 = 5;
// `ProcessDescriptor`.
const PROCESS_ID: u32 = 1;
const PROCESS_NAME: u32 = 6;
// `DebugAnnotation`.
const NOTE_NUMBER: u32 = 3;
const NOTE_NAME: u32 = 10;

/// The sequence of all packets: there is one writer.
const WRITER: u64 = 1;

/// Kinds of fields.
const NUMBER: u32 = 0;
const FIXED: u32 = 1;
const BYTES: u32 = 2;

/// A message that is being written.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn key(&mut self, field: u32, kind: u32) {
        self.varint(u64::from(field << 3 | kind));
    }

    fn number(mut self, field: u32, value: u64) -> Message {
        self.key(field, NUMBER);
        self.varint(value);
        self
    }

    fn fixed(mut self, field: u32, value: Option<u64>) -> Message {
        if let Some(value) = value {
            self.key(field, FIXED);
            self.0.extend_from_slice(&value.to_le_bytes());
        }
        self
    }

    fn bytes(mut self, field: u32, bytes: &[u8]) -> Message {
        self.key(field, BYTES);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    fn message(self, field: u32, message: &Message) -> Message {
        self.bytes(field, &message.0)
    }
}

/// A packet as it stands in the file.
pub fn encode(packet: &Packet) -> Vec<u8> {
    let content = Message::default().number(SEQUENCE, WRITER);
    let content = match packet {
        Packet::Track { track, parent, name, kind } => {
            let mut descriptor =
                Message::default().number(TRACK_ID, *track).bytes(TRACK_NAME, name.as_bytes());
            if let Some(parent) = parent {
                descriptor = descriptor.number(PARENT, *parent);
            }
            if let TrackKind::Process(id) = kind {
                let process = Message::default()
                    .number(PROCESS_ID, *id as u64)
                    .bytes(PROCESS_NAME, name.as_bytes());
                descriptor = descriptor.message(PROCESS, &process);
            }
            content.message(TRACK_DESCRIPTOR, &descriptor)
        }
        Packet::Begin(mark) => {
            content.number(TIMESTAMP, mark.time).message(TRACK_EVENT, &event(mark, SLICE_BEGIN))
        }
        Packet::Instant(mark) => {
            content.number(TIMESTAMP, mark.time).message(TRACK_EVENT, &event(mark, INSTANT))
        }
        Packet::End(track, time) => {
            let event = Message::default().number(TYPE, SLICE_END).number(TRACK, *track);
            content.number(TIMESTAMP, *time).message(TRACK_EVENT, &event)
        }
    };
    Message::default().message(PACKET, &content).0
}

fn event(mark: &Mark, kind: u64) -> Message {
    let mut event = Message::default()
        .number(TYPE, kind)
        .number(TRACK, mark.track)
        .bytes(NAME, mark.name.as_bytes())
        .fixed(FLOW, mark.flow)
        .fixed(END_OF_FLOW, mark.end_of_flow);
    for (name, value) in &mark.notes {
        let note = Message::default().bytes(NOTE_NAME, name.as_bytes()).number(NOTE_NUMBER, *value);
        event = event.message(NOTE, &note);
    }
    event
}
