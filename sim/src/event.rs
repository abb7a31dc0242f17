//! What happens in a run, as the checkers see it and as the run's hash covers it.

use phi_abi::{Handle, Kind, Message, Outcome, Rights};
use phi_core::{DmaIndex, DomainIndex, IrqIndex, RegionIndex, Span, ThreadIndex};

/// A capability that a domain begins with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Named {
    /// Its handle.
    pub handle: Handle,
    /// What it refers to.
    pub kind: Kind,
    /// What its holder may do.
    pub rights: Rights,
}

/// One thing that happened. Within a step the order is: what the step did ([`Event::Called`] or a
/// fault), what ΦCore asked of the machine, which calls ended, and [`Event::Settled`].
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// The machine loaded a domain, which begins with these capabilities, in the plan's order.
    Loaded(DomainIndex, Vec<Named>),
    /// Which image a domain that was just loaded runs, by its number in the plan.
    Runs(DomainIndex, u64),
    /// The machine took a domain's address space away.
    Unloaded(DomainIndex),
    /// A domain ends to make room for another image: what waits in its mailboxes stays.
    Kept(DomainIndex),
    /// The machine has a thread of a domain.
    ThreadStarted(ThreadIndex, DomainIndex),
    /// The machine ended one thread.
    ThreadStopped(ThreadIndex),
    /// A region got memory.
    RegionCreated(RegionIndex, Span),
    /// A region's memory went back.
    RegionDestroyed(RegionIndex),
    /// Pages became accessible to a domain.
    Mapped(DomainIndex, RegionIndex, Span, Rights),
    /// Pages became inaccessible to a domain.
    Unmapped(DomainIndex, RegionIndex, Span),
    /// A domain may not run, or may again.
    Throttled(DomainIndex, bool),
    /// Bytes went to a stream of the console.
    Written(u64, Vec<u8>),
    /// The machine was told to fail, and did.
    MachineFailed,
    /// A thread made a call.
    Called(ThreadIndex, Call),
    /// A call has ended; with the message, where one came out.
    Ended(ThreadIndex, Outcome, Option<Message>),
    /// ΦCore let a thread go on.
    Dispatched(ThreadIndex),
    /// A thread's slice was over, or it was interrupted.
    Preempted(ThreadIndex),
    /// A domain was lost from outside ΦCore.
    Lost(DomainIndex),
    /// What ΦCore says a domain uses: bytes of memory, and slots of its table.
    Usage(DomainIndex, u64, u64),
    /// A thread posted a call: ΦCore does not know of it yet.
    Posted(ThreadIndex),
    /// A domain's doorbell reached ΦCore.
    Rung(DomainIndex),
    /// A domain is not run by the machine, whatever ΦCore says, or is again.
    Stalled(DomainIndex, bool),
    /// A device of the services failed.
    DeviceFailed,
    /// The machine has a source of interrupts.
    IrqOpened(IrqIndex),
    /// A source of interrupts is gone.
    IrqClosed(IrqIndex),
    /// A source of interrupts is masked, or not.
    IrqMasked(IrqIndex, bool),
    /// A device interrupts.
    Interrupted(IrqIndex),
    /// The machine has a space for what a device reaches.
    DmaOpened(DmaIndex),
    /// A space is gone, and its device reaches nothing.
    DmaClosed(DmaIndex),
    /// A space's device may begin transfers, or not.
    DmaEnabled(DmaIndex, bool),
    /// Pages came into the reach of a space's device.
    DmaMapped(DmaIndex, RegionIndex, Span, Rights),
    /// Pages left the reach of a space's device.
    DmaUnmapped(DmaIndex, RegionIndex, Span),
    /// A space's device reached for what it may not.
    DmaFaulted(DmaIndex),
    /// Something happened at a ring, to the side with this number.
    Ring(u16, RingEvent),
    /// The step is over; nanoseconds since the system's start.
    Settled(u64),
    /// The system has ended with this status.
    Halted(u8),
}

/// What happens at the rings of shared memory between services.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum RingEvent {
    /// A side begins.
    Begins,
    /// A message is in the ring.
    Pushed(Message),
    /// A message was taken from the ring of this producer.
    Popped(u16, Message),
    /// The consumer has learnt that this producer's ring has ended.
    Finished(u16),
    /// A side sleeps.
    Sleeps,
    /// A side that slept goes on: it was woken, or its time is over, or for no reason.
    GoesOn,
    /// A wake-up was lost.
    WakeLost,
    /// A side crashed.
    Crashed,
    /// A side has ended, or was closed after its crash.
    Closed,
}

/// A call, as a thread makes it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Call {
    /// Its number.
    pub number: u32,
    /// Its words.
    pub arguments: [u64; 4],
    /// Its message.
    pub message: Message,
}

/// The BLAKE3 of a run's events.
#[derive(Default)]
pub(crate) struct Hash {
    hasher: blake3::Hasher,
    buffer: Vec<u8>,
}

/// Bytes that are gathered before they are hashed, which is faster in large pieces.
const PIECE: usize = 1 << 15;

impl Hash {
    /// Adds an event.
    pub(crate) fn add(&mut self, event: &Event) {
        encode(event, &mut self.buffer);
        if self.buffer.len() >= PIECE {
            self.hasher.update(&self.buffer);
            self.buffer.clear();
        }
    }

    /// The hash of all events so far.
    pub(crate) fn finish(mut self) -> [u8; 32] {
        self.hasher.update(&self.buffer);
        *self.hasher.finalize().as_bytes()
    }
}

fn put(buffer: &mut Vec<u8>, tag: u8, words: &[u64]) {
    buffer.push(tag);
    for word in words {
        buffer.extend_from_slice(&word.to_le_bytes());
    }
}

fn put_message(buffer: &mut Vec<u8>, message: &Message) {
    let Message { label, badge, reply, rights, length, grant_count, .. } = *message;
    let counts = u64::from(rights) | u64::from(length) << 32 | u64::from(grant_count) << 48;
    put(buffer, 0, &[label, badge, reply.0, counts]);
    buffer.extend_from_slice(message.bytes());
    for grant in message.grants() {
        let what = u64::from(grant.rights) | u64::from(grant.mode) << 32;
        put(buffer, 0, &[grant.handle.0, what, grant.address, grant.length]);
    }
}

/// Appends an event in a form that no other event has.
fn encode(event: &Event, buffer: &mut Vec<u8>) {
    match event {
        Event::Loaded(domain, named) => {
            put(buffer, 1, &[u64::from(domain.0), named.len() as u64]);
            for Named { handle, kind, rights } in named {
                put(buffer, *kind as u8, &[handle.0, u64::from(rights.bits())]);
            }
        }
        Event::Unloaded(domain) => put(buffer, 2, &[u64::from(domain.0)]),
        Event::Runs(domain, image) => put(buffer, 41, &[u64::from(domain.0), *image]),
        Event::Kept(domain) => put(buffer, 40, &[u64::from(domain.0)]),
        Event::ThreadStarted(thread, domain) => {
            put(buffer, 3, &[u64::from(thread.0), u64::from(domain.0)]);
        }
        Event::ThreadStopped(thread) => put(buffer, 4, &[u64::from(thread.0)]),
        Event::RegionCreated(region, span) => {
            put(buffer, 5, &[u64::from(region.0), span.address, span.length]);
        }
        Event::RegionDestroyed(region) => put(buffer, 6, &[u64::from(region.0)]),
        Event::Mapped(domain, region, span, access) => {
            let who = u64::from(domain.0) << 32 | u64::from(region.0);
            put(buffer, 7, &[who, span.address, span.length, u64::from(access.bits())]);
        }
        Event::Unmapped(domain, region, span) => {
            let who = u64::from(domain.0) << 32 | u64::from(region.0);
            put(buffer, 8, &[who, span.address, span.length]);
        }
        Event::Throttled(domain, stopped) => {
            put(buffer, 9, &[u64::from(domain.0), u64::from(*stopped)]);
        }
        Event::Written(stream, bytes) => {
            put(buffer, 10, &[*stream, bytes.len() as u64]);
            buffer.extend_from_slice(bytes);
        }
        Event::MachineFailed => put(buffer, 11, &[]),
        Event::Called(thread, call) => {
            let [first, second, third, fourth] = call.arguments;
            let who = u64::from(thread.0) << 32 | u64::from(call.number);
            put(buffer, 12, &[who, first, second, third, fourth]);
            put_message(buffer, &call.message);
        }
        Event::Ended(thread, outcome, message) => {
            let who = u64::from(thread.0) << 8 | u64::from(message.is_some());
            put(buffer, 13, &[who, outcome.status, outcome.value]);
            message.iter().for_each(|message| put_message(buffer, message));
        }
        Event::Dispatched(thread) => put(buffer, 14, &[u64::from(thread.0)]),
        Event::Preempted(thread) => put(buffer, 15, &[u64::from(thread.0)]),
        Event::Lost(domain) => put(buffer, 16, &[u64::from(domain.0)]),
        Event::Usage(domain, memory, handles) => {
            put(buffer, 17, &[u64::from(domain.0), *memory, *handles]);
        }
        Event::Settled(now) => put(buffer, 18, &[*now]),
        Event::Halted(status) => put(buffer, 19, &[u64::from(*status)]),
        Event::Posted(thread) => put(buffer, 20, &[u64::from(thread.0)]),
        Event::Rung(domain) => put(buffer, 21, &[u64::from(domain.0)]),
        Event::Stalled(domain, stalled) => {
            put(buffer, 22, &[u64::from(domain.0), u64::from(*stalled)]);
        }
        Event::DeviceFailed => put(buffer, 23, &[]),
        Event::IrqOpened(irq) => put(buffer, 50, &[irq.0.into()]),
        Event::IrqClosed(irq) => put(buffer, 51, &[irq.0.into()]),
        Event::IrqMasked(irq, masked) => put(buffer, 52, &[irq.0.into(), u64::from(*masked)]),
        Event::Interrupted(irq) => put(buffer, 53, &[irq.0.into()]),
        Event::DmaOpened(space) => put(buffer, 54, &[space.0.into()]),
        Event::DmaClosed(space) => put(buffer, 55, &[space.0.into()]),
        Event::DmaEnabled(space, on) => put(buffer, 56, &[space.0.into(), u64::from(*on)]),
        Event::DmaMapped(space, region, span, access) => {
            let who = u64::from(space.0) << 32 | u64::from(region.0);
            put(buffer, 57, &[who, span.address, span.length, u64::from(access.bits())]);
        }
        Event::DmaUnmapped(space, region, span) => {
            let who = u64::from(space.0) << 32 | u64::from(region.0);
            put(buffer, 58, &[who, span.address, span.length]);
        }
        Event::DmaFaulted(space) => put(buffer, 59, &[space.0.into()]),
        Event::Ring(side, event) => {
            let (kind, ring) = match event {
                RingEvent::Begins => (0, 0),
                RingEvent::Pushed(_) => (1, 0),
                RingEvent::Popped(ring, _) => (2, *ring),
                RingEvent::Finished(ring) => (3, *ring),
                RingEvent::Sleeps => (4, 0),
                RingEvent::GoesOn => (5, 0),
                RingEvent::WakeLost => (6, 0),
                RingEvent::Crashed => (7, 0),
                RingEvent::Closed => (8, 0),
            };
            put(buffer, 24, &[u64::from(*side), kind, u64::from(ring)]);
            if let RingEvent::Pushed(message) | RingEvent::Popped(_, message) = event {
                put_message(buffer, message);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(events: &[Event]) -> [u8; 32] {
        let mut hash = Hash::default();
        events.iter().for_each(|event| hash.add(event));
        hash.finish()
    }

    #[test]
    fn every_event_and_its_place_count() {
        let (one, two) = (Event::Settled(1), Event::Settled(2));
        assert_eq!(hash(&[one.clone(), two.clone()]), hash(&[one.clone(), two.clone()]));
        assert_ne!(hash(&[one.clone(), two.clone()]), hash(&[two.clone(), one.clone()]));
        assert_ne!(hash(std::slice::from_ref(&one)), hash(&[one.clone(), two]));
    }
}
