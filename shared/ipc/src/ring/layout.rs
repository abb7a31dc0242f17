//! Where everything lies in a ring's memory. Zeroed memory is an empty ring.

use super::atomics::{AtomicU32, AtomicU64, Word};
use super::ordering::Site;
use core::mem::size_of;
use core::ptr::NonNull;
use phi_abi::{Handle, MESSAGE_BYTES, Message};

/// The most slots that a ring has.
pub const RING_CAPACITY: usize = 1 << 16;

/// Words of a message's inline bytes.
const DATA_WORDS: usize = MESSAGE_BYTES / size_of::<u64>();

/// Fills a pair of cache lines up: the other side may write there as well, so even bytes without a
/// meaning are atomics.
pub(super) type Filler = core::sync::atomic::AtomicU64;

/// What one side tells the other, beside messages; a pair of cache lines of its own.
#[repr(C, align(128))]
pub(super) struct Side {
    /// Whether this side sleeps: the doorbell that the other side rings.
    pub(super) bell: AtomicU32,
    /// Not zero once this side has closed.
    pub(super) closed: AtomicU32,
    pub(super) _filler: [Filler; 15],
}

#[cfg(all(test, any(loom, shuttle)))]
impl Side {
    /// A side that is awake and open.
    pub(super) fn new() -> Side {
        Side { bell: AtomicU32::new(0), closed: AtomicU32::new(0), _filler: Default::default() }
    }
}

/// The number of messages that the consumer has taken; a pair of cache lines of its own.
#[repr(C, align(128))]
pub(super) struct Taken(pub(super) AtomicU64, pub(super) [Filler; 15]);

/// What lies before the slots.
#[repr(C)]
pub(super) struct Header {
    /// Written by the consumer, read by the producer.
    pub(super) taken: Taken,
    /// The consumer's doorbell and end.
    pub(super) consumer: Side,
    /// The producer's doorbell and end.
    pub(super) producer: Side,
}

/// One message, without capabilities and without what only ΦCore may say.
#[repr(C, align(128))]
pub(super) struct Slot {
    /// One more than the position of the message that the slot holds; zero before the first.
    sequence: AtomicU64,
    payload: Payload,
    _filler: [Filler; 4],
}

/// What travels of a message.
#[repr(C)]
pub(super) struct Payload {
    label: Word,
    length: Word,
    /// What the sending side says beside the message.
    note: Word,
    data: [Word; DATA_WORDS],
}

// Nothing in shared memory is padding.
#[cfg(not(any(loom, shuttle)))]
const _: () = assert!(
    size_of::<Slot>() == (4 + DATA_WORDS + 4) * 8
        && size_of::<Side>() == 8 + 15 * 8
        && size_of::<Taken>() == 8 + 15 * 8
);

impl Slot {
    /// A slot that has held nothing yet.
    #[cfg(all(test, any(loom, shuttle)))]
    pub(super) fn new() -> Slot {
        Slot { sequence: AtomicU64::new(0), payload: Payload::new(), _filler: Default::default() }
    }

    /// Whether the slot holds the message at `position`, and its payload may be read.
    #[inline(always)]
    pub(super) fn holds(&self, position: u64) -> bool {
        self.sequence.load(Site::Observe.ordering()) == position.wrapping_add(1)
    }

    /// Says that the slot holds the message at `position`.
    #[inline(always)]
    pub(super) fn publish(&self, position: u64) {
        self.sequence.store(position.wrapping_add(1), Site::Publish.ordering());
    }

    /// The slot's message.
    #[inline(always)]
    pub(super) fn payload(&self) -> &Payload {
        &self.payload
    }
}

impl Payload {
    /// Nothing yet.
    #[cfg(all(test, any(loom, shuttle)))]
    pub(super) fn new() -> Payload {
        Payload {
            label: Word::new(),
            length: Word::new(),
            note: Word::new(),
            data: core::array::from_fn(|_| Word::new()),
        }
    }

    /// Writes the label, the note and the first `length` bytes of `message`; the rest of the last
    /// word is zeros, so that nothing travels that the sender did not mean to send.
    #[inline(always)]
    pub(super) fn write(&self, message: &Message, length: usize, note: u64) {
        self.label.store(message.label);
        self.length.store(length as u64);
        self.note.store(note);
        let (words, _) = message.data.as_chunks::<8>();
        if length == MESSAGE_BYTES {
            // As many are: no word has to be asked for.
            for (place, word) in self.data.iter().zip(words) {
                place.store(u64::from_ne_bytes(*word));
            }
            return;
        }
        let last = length / 8;
        for (place, word) in self.data.iter().zip(words).take(last) {
            place.store(u64::from_ne_bytes(*word));
        }
        if let (Some(place), Some(word), 1..) = (self.data.get(last), words.get(last), length % 8) {
            let used = (1u64 << (length % 8 * 8)) - 1;
            place.store((u64::from_le_bytes(*word) & used).to_le());
        }
    }

    /// The note alone. Nobody vouches for it.
    #[inline(always)]
    pub(super) fn note(&self) -> u64 {
        self.note.load()
    }

    /// Copies what is there to `message`, each word once; the note, or `None` if the length is
    /// beyond [`MESSAGE_BYTES`], and then `message` is as it was. Nobody vouches for the content.
    #[inline(always)]
    pub(super) fn read(&self, message: &mut Message) -> Option<u64> {
        let length = self.length.load();
        if length > MESSAGE_BYTES as u64 {
            return None;
        }
        message.label = self.label.load();
        message.badge = 0;
        message.reply = Handle::NULL;
        message.rights = 0;
        message.length = length as u16;
        message.grant_count = 0;
        let (places, _) = message.data.as_chunks_mut::<8>();
        let copy = |(place, word): (&mut [u8; 8], &Word)| *place = word.load().to_ne_bytes();
        let words = places.iter_mut().zip(&self.data);
        if length == MESSAGE_BYTES as u64 {
            words.for_each(copy);
        } else {
            words.take(length.div_ceil(8) as usize).for_each(copy);
        }
        Some(self.note.load())
    }
}

/// Why memory cannot hold a ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LayoutError {
    /// The number of slots is not a power of two from 1 to [`RING_CAPACITY`].
    Capacity,
    /// The memory does not begin at a multiple of [`RING_ALIGNMENT`] bytes.
    Alignment,
}

impl core::fmt::Display for LayoutError {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            LayoutError::Capacity => write!(
                formatter,
                "a ring has a power of two of slots, at most {RING_CAPACITY}: choose another number"
            ),
            LayoutError::Alignment => write!(
                formatter,
                "a ring begins at a multiple of {RING_ALIGNMENT} bytes: map it at the start of a page"
            ),
        }
    }
}

impl core::error::Error for LayoutError {}

/// A multiple of this many bytes is where a ring begins.
pub const RING_ALIGNMENT: usize = align_of::<Slot>();

/// The memory of a ring, shared with a side that may be hostile.
///
/// The capacity is this side's own knowledge, never read from the memory. All that lies there is
/// atomic words, so that whatever the other side writes is a value, and never a data race.
#[derive(Clone, Copy)]
pub struct RingMemory<'a> {
    pub(super) header: &'a Header,
    slots: &'a [Slot],
}

impl<'a> RingMemory<'a> {
    /// Bytes that a ring of `capacity` slots takes; `None` when there can be none.
    pub const fn size(capacity: usize) -> Option<usize> {
        if capacity.is_power_of_two() && capacity <= RING_CAPACITY {
            Some(size_of::<Header>() + capacity * size_of::<Slot>())
        } else {
            None
        }
    }

    /// The ring of `capacity` slots at `start`. Zeroed memory is an empty ring.
    ///
    /// # Errors
    /// [`LayoutError`], by the capacity and by the address.
    ///
    /// # Safety
    /// [`RingMemory::size`] bytes from `start` on stay mapped, readable and writable for `'a` (a
    /// memfd must be sealed against shrinking), and this program uses them through rings only.
    /// Other programs may write anything there at any time.
    #[allow(unsafe_code)]
    pub unsafe fn new(start: NonNull<u8>, capacity: usize) -> Result<RingMemory<'a>, LayoutError> {
        if RingMemory::size(capacity).is_none() {
            return Err(LayoutError::Capacity);
        }
        if !start.addr().get().is_multiple_of(RING_ALIGNMENT) {
            return Err(LayoutError::Alignment);
        }
        // SAFETY: the caller vouches for the memory; the address is aligned for both types; every
        // bit pattern is a value of them; and they are all atomics, so that writes by others are
        // allowed while the references live. The slots follow the header, and their end is within
        // `size`.
        let (header, slots) = unsafe {
            let first = start.add(size_of::<Header>()).cast::<Slot>();
            (start.cast::<Header>().as_ref(), core::slice::from_raw_parts(first.as_ptr(), capacity))
        };
        Ok(RingMemory { header, slots })
    }

    /// The ring of these parts, which a model has made.
    #[cfg(all(test, any(loom, shuttle)))]
    pub(super) fn from_parts(header: &'a Header, slots: &'a [Slot]) -> RingMemory<'a> {
        assert!(slots.len().is_power_of_two());
        RingMemory { header, slots }
    }

    /// Number of slots.
    #[inline(always)]
    pub fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// How many messages the consumer says it has taken. It may lie.
    pub fn taken(&self) -> u64 {
        self.header.taken.0.load(Site::Reclaim.ordering())
    }

    /// The notes of the messages that lie published from `position` on.
    pub fn notes(&self, position: u64) -> impl Iterator<Item = u64> {
        let slots = (0..self.capacity() as u64).map(move |ahead| position.wrapping_add(ahead));
        slots.map_while(|place| {
            let slot = self.slot(place);
            slot.holds(place).then(|| slot.payload().note())
        })
    }

    /// The slot of the message at `position`.
    #[inline(always)]
    pub(super) fn slot(&self, position: u64) -> &'a Slot {
        // In bounds: the number of slots is a power of two, so the mask keeps the index below it.
        &self.slots[position as usize & (self.slots.len() - 1)]
    }
}
