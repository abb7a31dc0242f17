//! What the programs write, as `ebpf/phi.h` lays it out.

use phi_abi::layout::SERVICES;
use serde::Serialize;

/// Buckets of a histogram: number `n` counts times from 2ⁿ nanoseconds on, to below 2ⁿ⁺¹. The first
/// counts 0 as well, and the last everything above.
pub const BUCKETS: usize = 40;

/// The server of a handle that nobody announced.
const NOBODY: u16 = u16::MAX;

/// Bytes that are not what the programs write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LayoutError {
    /// A record has another length: bytes that it has, and bytes that it should have.
    Length(usize, usize),
    /// An event of a kind that does not exist.
    Kind(u16),
    /// A domain that no system has.
    Domain(u16),
}

impl std::fmt::Display for LayoutError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LayoutError::Length(found, expected) => {
                write!(f, "a record has {found} bytes instead of {expected}")
            }
            LayoutError::Kind(kind) => write!(f, "there is no event of kind {kind}"),
            LayoutError::Domain(domain) => write!(f, "there is no domain {domain}"),
        }
    }
}

impl std::error::Error for LayoutError {}

macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $number:literal $variant:ident $site:literal;)+) => {
        /// What happened. The words of an event are those of the site with its name.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize)]
        #[serde(rename_all = "snake_case")]
        #[repr(u16)]
        pub enum Kind {
            $($(#[doc = $doc])+ $variant = $number,)+
        }

        impl Kind {
            /// Every kind, in the order of their numbers.
            pub const ALL: &[Kind] = &[$(Kind::$variant),+];

            /// Name of the site that sees it.
            pub fn site(self) -> &'static str {
                match self { $(Kind::$variant => $site,)+ }
            }

            /// The kind with this number.
            pub fn from_number(number: u16) -> Option<Kind> {
                match number { $($number => Some(Kind::$variant),)+ _ => None }
            }
        }
    };
}

kinds! {
    /// A thread enters its service.
    1 ThreadBegin "thread_begin";
    /// A send has ended. Value: the status.
    2 Send "send";
    /// A call begins. Value: its loans.
    3 Call "call";
    /// A call has ended. Value: the status.
    4 Answer "answer";
    /// A message has arrived. Value: the badge.
    5 Receive "receive";
    /// A call is answered.
    6 Reply "reply";
    /// A call's loans are the server's now. Length: bytes lent.
    7 LoanBegin "loan_begin";
    /// A call's loans have ended.
    8 LoanEnd "loan_end";
    /// A domain begins with a capability. Label: kind; length: rights; value: mailbox and server.
    9 CapabilityStart "capability_start";
    /// A capability to a new object. The same words.
    10 CapabilityMake "capability_make";
    /// A weaker copy. The same words.
    11 CapabilityDerive "capability_derive";
    /// A capability has arrived in a message. The same words.
    12 CapabilityTransfer "capability_transfer";
    /// A revocation has ended. Value: the status.
    13 CapabilityRevoke "capability_revoke";
    /// A service has its memory, and a process. Label: the generation; value: the process.
    14 ServiceStart "service_start";
    /// A service ended by itself. Label: the generation; value: the status.
    15 ServiceExit "service_exit";
    /// A service faulted. Handle: the address; value: the fault's kind.
    16 ServiceFault "service_fault";
    /// A service was stopped, or could not begin.
    17 ServiceStop "service_stop";
    /// ΦCore lets a thread go on. Label: the number of its call; value: the status.
    18 Release "release";
    /// A service's budget is used up (value: 1), or there again (0).
    19 Throttle "throttle";
}

/// One event.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Event {
    /// When: the monotonic clock, in nanoseconds.
    pub time: u64,
    /// What happened.
    pub kind: Kind,
    /// In which domain.
    pub domain: u16,
    /// The thread: its slot in the domain.
    pub thread: u16,
    /// The domain that serves, for messages whose way is known.
    pub server: Option<u16>,
    /// The capability, in the domain's terms.
    pub handle: u64,
    /// The message's label, or what [`Kind`] says.
    pub label: u64,
    /// The message's bytes, or what [`Kind`] says.
    pub length: u64,
    /// What [`Kind`] says.
    pub value: u64,
}

/// Which messages.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct EdgeKey {
    /// The domain that calls and sends.
    pub client: u16,
    /// The domain that serves; `None` when the handle was never announced.
    pub server: Option<u16>,
    /// The mailbox: its index, which for one of the plan is the plan's.
    pub mailbox: u32,
    /// The label.
    pub label: u64,
}

/// What those messages were.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Edge {
    /// Calls that began.
    pub calls: u64,
    /// Calls that ended with an answer.
    pub answers: u64,
    /// Calls and sends that ended with an error.
    pub failures: u64,
    /// Sends.
    pub sends: u64,
    /// Bytes of the calls and sends.
    pub bytes: u64,
    /// Bytes of the answers.
    pub answer_bytes: u64,
    /// Nanoseconds from call to answer, of all answers together.
    pub nanoseconds: u64,
    /// How many answers took how long: see [`BUCKETS`].
    pub histogram: [u64; BUCKETS],
}

/// What became of one service.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ServiceCounts {
    /// Times that it was started.
    pub starts: u64,
    /// Times that it ended by itself.
    pub exits: u64,
    /// Times that it faulted.
    pub faults: u64,
    /// Times that it was stopped.
    pub stops: u64,
    /// CPU time of its threads, in nanoseconds.
    pub processor: u64,
}

/// What could not be counted or told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Lost {
    /// Events for which the ring had no room.
    pub events: u64,
    /// Messages for whose edge there was no room.
    pub messages: u64,
}

/// Bytes that are read from the front.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// A record of exactly `size` bytes.
    fn new(bytes: &'a [u8], size: usize) -> Result<Fields<'a>, LayoutError> {
        match bytes.len() == size {
            true => Ok(Fields(bytes)),
            false => Err(LayoutError::Length(bytes.len(), size)),
        }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], LayoutError> {
        let (first, rest) =
            self.0.split_first_chunk().ok_or(LayoutError::Length(self.0.len(), N))?;
        self.0 = rest;
        Ok(*first)
    }

    fn u64(&mut self) -> Result<u64, LayoutError> {
        self.take().map(u64::from_ne_bytes)
    }

    fn u32(&mut self) -> Result<u32, LayoutError> {
        self.take().map(u32::from_ne_bytes)
    }

    fn u16(&mut self) -> Result<u16, LayoutError> {
        self.take().map(u16::from_ne_bytes)
    }

    fn domain(&mut self) -> Result<u16, LayoutError> {
        let domain = self.u16()?;
        match usize::from(domain) < SERVICES {
            true => Ok(domain),
            false => Err(LayoutError::Domain(domain)),
        }
    }

    fn server(&mut self) -> Result<Option<u16>, LayoutError> {
        match self.0.first_chunk() == Some(&NOBODY.to_ne_bytes()) {
            true => self.u16().map(|_| None),
            false => self.domain().map(Some),
        }
    }
}

impl Event {
    /// Bytes of an event.
    pub const SIZE: usize = 48;

    /// The event that these bytes are.
    ///
    /// # Errors
    /// They are none.
    pub fn decode(bytes: &[u8]) -> Result<Event, LayoutError> {
        let mut fields = Fields::new(bytes, Event::SIZE)?;
        let time = fields.u64()?;
        let (handle, label) = (fields.u64()?, fields.u64()?);
        let (length, value) = (fields.u64()?, fields.u64()?);
        let kind = fields.u16()?;
        let kind = Kind::from_number(kind).ok_or(LayoutError::Kind(kind))?;
        let (domain, server, thread) = (fields.domain()?, fields.server()?, fields.u16()?);
        Ok(Event { time, kind, domain, thread, server, handle, label, length, value })
    }
}

impl EdgeKey {
    /// Bytes of a key.
    pub const SIZE: usize = 16;

    /// The key that these bytes are.
    ///
    /// # Errors
    /// They are none.
    pub fn decode(bytes: &[u8]) -> Result<EdgeKey, LayoutError> {
        let mut fields = Fields::new(bytes, EdgeKey::SIZE)?;
        let (label, mailbox) = (fields.u64()?, fields.u32()?);
        Ok(EdgeKey { client: fields.domain()?, server: fields.server()?, mailbox, label })
    }
}

impl Edge {
    /// Bytes of an edge.
    pub const SIZE: usize = (7 + BUCKETS) * 8;

    /// The edge that these bytes are.
    ///
    /// # Errors
    /// They are none.
    pub fn decode(bytes: &[u8]) -> Result<Edge, LayoutError> {
        let mut fields = Fields::new(bytes, Edge::SIZE)?;
        let mut edge = Edge {
            calls: fields.u64()?,
            answers: fields.u64()?,
            failures: fields.u64()?,
            sends: fields.u64()?,
            bytes: fields.u64()?,
            answer_bytes: fields.u64()?,
            nanoseconds: fields.u64()?,
            histogram: [0; BUCKETS],
        };
        for bucket in &mut edge.histogram {
            *bucket = fields.u64()?;
        }
        Ok(edge)
    }

    /// A time, in nanoseconds, that at least `share` of the answers did not exceed: the end of a
    /// bucket. `None` without answers.
    pub fn percentile(&self, share: f64) -> Option<u64> {
        let all = self.histogram.iter().fold(0u64, |sum, count| sum.saturating_add(*count));
        let wanted = (all as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0u64;
        let bucket = self.histogram.iter().position(|count| {
            seen = seen.saturating_add(*count);
            seen >= wanted
        })?;
        Some(2 << bucket)
    }
}

impl ServiceCounts {
    /// Bytes of a service's counts.
    pub const SIZE: usize = 40;

    /// The counts that these bytes are.
    ///
    /// # Errors
    /// They are none.
    pub fn decode(bytes: &[u8]) -> Result<ServiceCounts, LayoutError> {
        let mut fields = Fields::new(bytes, ServiceCounts::SIZE)?;
        Ok(ServiceCounts {
            starts: fields.u64()?,
            exits: fields.u64()?,
            faults: fields.u64()?,
            stops: fields.u64()?,
            processor: fields.u64()?,
        })
    }
}

impl Lost {
    /// Bytes of these counts.
    pub const SIZE: usize = 16;

    /// The counts that these bytes are.
    ///
    /// # Errors
    /// They are none.
    pub fn decode(bytes: &[u8]) -> Result<Lost, LayoutError> {
        let mut fields = Fields::new(bytes, Lost::SIZE)?;
        Ok(Lost { events: fields.u64()?, messages: fields.u64()? })
    }
}

#[cfg(test)]
mod tests;
