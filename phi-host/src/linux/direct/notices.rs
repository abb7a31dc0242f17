//! Notices: what the supervisor tells the threads of a domain about their channels, in a page that
//! they can only read.

use super::super::{futex, memory};
use memmap2::{MmapOptions, MmapRaw};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Channels of one domain, as sender and as receiver together.
pub const CHANNELS: usize = 120;

/// Mailboxes that one domain receives from directly.
pub const PORTS: usize = 32;

/// There is no channel yet; one may be on its way.
pub const OPENING: u32 = 0;
/// Messages go through the channel.
pub const OPEN: u32 = 1;
/// The sender has no more to do with it: what was sent before the barrier is still to be received, its
/// calls are void.
pub const GONE: u32 = 2;
/// ΦCore has taken what was in the channel; from now on messages go through ΦCore.
pub const CLOSED: u32 = 3;
/// The capability was taken back.
pub const REVOKED: u32 = 4;
/// The other side has ended. What a sender sent before the barrier is still to be received.
pub const DEAD: u32 = 5;

/// What a sender has to know of the other senders to the mailbox: above all which part of its room for sent
/// messages it has to itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Room {
    /// Messages that it may have in its ring; more go through ΦCore.
    pub limit: u32,
    /// Whether the mailbox is full when the ring holds so many, and ΦCore has nothing to add.
    pub whole: bool,
    /// Whether there are other channels to the mailbox, so that messages need time stamps.
    pub company: bool,
}

/// The bit of [`Room::whole`].
const WHOLE: u32 = 1 << 31;

/// The bit of [`Room::company`].
const COMPANY: u32 = 1 << 30;

impl Room {
    #[inline]
    fn bits(self) -> u32 {
        let bit = |holds: bool, bit: u32| if holds { bit } else { 0 };
        self.limit | bit(self.whole, WHOLE) | bit(self.company, COMPANY)
    }

    #[inline]
    fn from_bits(bits: u32) -> Room {
        let (whole, company) = (bits & WHOLE != 0, bits & COMPANY != 0);
        Room { limit: bits & !(WHOLE | COMPANY), whole, company }
    }
}

/// What is said about one channel.
#[repr(C)]
pub struct ChannelNotice {
    state: AtomicU32,
    /// The sender's [`Room`].
    room: AtomicU32,
    /// Position before which the receiver takes messages from the channel first.
    barrier: AtomicU64,
}

impl ChannelNotice {
    /// One of the constants above.
    pub fn state(&self) -> u32 {
        self.state.load(Ordering::Acquire)
    }

    /// The word that changes with the state, to wait on.
    pub fn state_word(&self) -> &AtomicU32 {
        &self.state
    }

    /// The sender's room.
    pub fn room(&self) -> Room {
        Room::from_bits(self.room.load(Ordering::Relaxed))
    }

    /// Position before which messages of the channel come first.
    pub fn barrier(&self) -> u64 {
        self.barrier.load(Ordering::Relaxed)
    }

    /// Supervisor: changes the state and wakes who waits for that.
    pub fn set_state(&self, state: u32) {
        // Sequentially consistent, against a sender that publishes a message and then looks here.
        self.state.store(state, Ordering::SeqCst);
        futex::wake(&self.state);
    }

    /// Supervisor: sets the sender's room. Sequentially consistent, so that what lies in the ring
    /// afterwards was put there under this limit, but for one message that is being put there.
    pub fn set_room(&self, room: Room) {
        self.room.store(room.bits(), Ordering::SeqCst);
    }

    /// Supervisor: sets the barrier; to be followed by a visit or a state.
    pub fn set_barrier(&self, barrier: u64) {
        self.barrier.store(barrier, Ordering::Relaxed);
    }
}

/// What is said about one mailbox that is received from directly.
#[repr(C)]
pub struct PortNotice {
    /// Even: nothing. Odd: ΦCore has something for it. Each change is another number.
    visit: AtomicU32,
    /// Free slots of the receiver's capability table.
    free_slots: AtomicU32,
    /// Whether the mailbox is received from directly: 1, or 0.
    open: AtomicU32,
}

impl PortNotice {
    /// The word that changes when there is news: odd while a receive through ΦCore finds something.
    pub fn visit(&self) -> u32 {
        self.visit.load(Ordering::Acquire)
    }

    /// The same word, to wait on.
    pub fn visit_word(&self) -> &AtomicU32 {
        &self.visit
    }

    /// Free slots of the receiver's capability table, as of its last visit.
    pub fn free_slots(&self) -> u32 {
        self.free_slots.load(Ordering::Relaxed)
    }

    /// Whether the mailbox is received from directly.
    pub fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire) != 0
    }

    /// Supervisor: says whether the mailbox is received from directly.
    pub fn set_open(&self, open: bool) {
        self.open.store(u32::from(open), Ordering::Release);
        self.nudge();
    }

    /// Supervisor: says whether ΦCore has something.
    pub fn set_news(&self, news: bool) {
        let visit = self.visit.load(Ordering::Relaxed);
        if (visit & 1 != 0) != news {
            self.visit.store(visit.wrapping_add(1), Ordering::SeqCst);
            if news {
                futex::wake(&self.visit);
            }
        }
    }

    /// Supervisor: has the receiver look again.
    pub fn nudge(&self) {
        let visit = self.visit.load(Ordering::Relaxed);
        self.visit.store(visit.wrapping_add(2), Ordering::SeqCst);
        futex::wake(&self.visit);
    }

    /// Supervisor: says how many slots are free.
    pub fn set_free_slots(&self, slots: u32) {
        self.free_slots.store(slots, Ordering::Relaxed);
    }
}

#[repr(C, align(4096))]
struct Page {
    ports: [PortNotice; PORTS],
    channels: [ChannelNotice; CHANNELS],
}

const _: () = assert!(size_of::<Page>() == 4096);

/// The notices of one domain, mapped.
pub struct Notices {
    mapping: Mapping,
}

enum Mapping {
    Writable(MmapRaw),
    Readable(memmap2::Mmap),
}

impl Notices {
    /// Makes the notices of a domain; the descriptor is for its process, and cannot write.
    ///
    /// # Errors
    /// What Linux says.
    pub fn create() -> io::Result<(Notices, OwnedFd)> {
        let memory = memory::create("phi-notices", size_of::<Page>() as u64)?;
        let mapping = MmapOptions::new().len(size_of::<Page>()).map_raw(memory.as_raw_fd())?;
        let reader = memory::read_only(&memory)?;
        Ok((Notices { mapping: Mapping::Writable(mapping) }, reader))
    }

    /// Maps the notices that `memory` is, to read them.
    ///
    /// # Errors
    /// What Linux says.
    pub fn open(memory: impl AsFd) -> io::Result<Notices> {
        let descriptor = memory.as_fd().as_raw_fd();
        // SAFETY: the memory is a sealed file that cannot shrink; it is used as atomics only.
        let mapping = unsafe { MmapOptions::new().len(size_of::<Page>()).map(descriptor)? };
        Ok(Notices { mapping: Mapping::Readable(mapping) })
    }

    fn page(&self) -> &Page {
        let start: *const u8 = match &self.mapping {
            Mapping::Writable(mapping) => mapping.as_ptr(),
            Mapping::Readable(mapping) => mapping.as_ptr(),
        };
        // SAFETY: the mapping has the page's length and alignment and lives as long as `self`. All of
        // it is atomics, which only the supervisor stores to, through its own mapping.
        unsafe { &*start.cast() }
    }

    /// What is said about the channel with this index.
    ///
    /// # Panics
    /// When there is none.
    pub fn channel(&self, index: usize) -> &ChannelNotice {
        &self.page().channels[index]
    }

    /// What is said about the port with this index.
    ///
    /// # Panics
    /// When there is none.
    pub fn port(&self, index: usize) -> &PortNotice {
        &self.page().ports[index]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_supervisor_writes_and_the_domain_reads() {
        let (notices, reader) = Notices::create().unwrap();
        let domain = Notices::open(&reader).unwrap();
        notices.channel(CHANNELS - 1).set_state(OPEN);
        notices.channel(CHANNELS - 1).set_barrier(7);
        let channel = domain.channel(CHANNELS - 1);
        assert_eq!(
            (channel.state(), channel.barrier(), channel.room()),
            (OPEN, 7, Room::default())
        );
        let room = Room { limit: 64, whole: true, company: true };
        notices.channel(CHANNELS - 1).set_room(room);
        assert_eq!(channel.room(), room);
        assert!(nix::unistd::write(&reader, b"x").is_err());
    }

    #[test]
    fn news_are_odd_and_every_change_is_another_number() {
        let (notices, _) = Notices::create().unwrap();
        let port = notices.port(0);
        let mut seen = vec![port.visit()];
        port.set_news(true);
        port.set_news(true);
        seen.push(port.visit());
        port.nudge();
        seen.push(port.visit());
        port.set_news(false);
        seen.push(port.visit());
        assert_eq!(seen, [0, 1, 3, 4]);
    }
}
