//! State that outlives a service's restarts, and how it is handed over to another image.
//!
//! A service whose manifest entry says `state` has a region of its own that its next generation finds as
//! it was left. Before a new image takes the service's place, the signal `hand-over` asks the old one to
//! save what it wants to keep there and to end. What a crash left half written, or another form of the
//! service wrote, is refused and named: the service then begins afresh.

use crate::service::exit;
use crate::{Mailbox, Mapping, NameError, Problem, Region, Service, Signal};
use phi_abi::{Error, HAND_OVER, STATUS_HANDED_OVER};

/// A service's state, as bytes that it writes and reads in its own form.
pub trait HandOver {
    /// The number of that form: state of another one is refused.
    const VERSION: u64;

    /// Writes all that the next image needs.
    fn save(&self, writer: &mut Writer<'_>);

    /// Takes what was saved; `None` for what makes no sense, and then nothing is to have changed.
    fn restore(&mut self, reader: &mut Reader<'_>) -> Option<()>;
}

/// What became of the state that was left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Restored {
    /// Nothing was left.
    Nothing,
    /// It was taken.
    Taken,
    /// It was not taken, and is gone.
    Refused(Refusal),
}

/// Why state was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// It was not written to its end, or changed afterwards.
    Damaged,
    /// It has another form: its version.
    Version(u64),
    /// It makes no sense to the service.
    Senseless,
}

impl core::fmt::Display for Refusal {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Refusal::Damaged => f.write_str("the state that was left is damaged"),
            Refusal::Version(version) => write!(f, "the state that was left has form {version}"),
            Refusal::Senseless => f.write_str("the state that was left makes no sense"),
        }
    }
}

/// There is less room than the state needs; nothing is saved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoRoom;

/// The first word of a region that holds state.
const MAGIC: u64 = u64::from_le_bytes(*b"PHISTATE");

/// Words before the content: the magic, the version, the content's length, and its checksum.
const HEADER: usize = 4 * WORD;

const WORD: usize = size_of::<u64>();

/// The region that outlives the service's restarts, and the signal that asks for it.
#[derive(Debug)]
pub struct State {
    mapping: Mapping,
    signal: Signal,
}

impl Service {
    /// Takes the state that the manifest's `state` gives the service.
    ///
    /// # Errors
    /// [`NameError`].
    pub fn state(&self) -> Result<State, NameError<'static>> {
        let (capability, named) = self.take_state()?;
        let problem = |error| NameError { name: "state", problem: Problem::Mapping(error) };
        let region = Region::from_parts(capability, named.length);
        let mapping = region.map(true).map_err(problem)?;
        Ok(State { mapping, signal: self.signal("hand-over")? })
    }
}

impl State {
    /// Has receives from `mailbox` end with [`crate::Event::Signals`] when the service is asked to hand
    /// over.
    ///
    /// # Errors
    /// As [`Signal::bind`].
    pub fn bind(&self, mailbox: &Mailbox) -> Result<(), Error> {
        self.signal.bind(mailbox)
    }

    /// Whether the service is asked to hand over: for one that receives from no mailbox.
    pub fn is_asked(&self) -> bool {
        self.signal.wait(HAND_OVER, 0).is_ok()
    }

    /// Takes what was left here, which is then gone: nobody finds it a second time.
    pub fn restore<T: HandOver>(&self, into: &mut T) -> Restored {
        let [magic, version, length, checksum] = core::array::from_fn(|place| self.word(place));
        if magic != MAGIC {
            return Restored::Nothing;
        }
        self.set_word(0, 0);
        let room = self.room();
        let Some(length) = usize::try_from(length).ok().filter(|length| *length <= room) else {
            return Restored::Refused(Refusal::Damaged);
        };
        let mut reader = Reader { mapping: &self.mapping, place: 0, length };
        if reader.checksum() != checksum {
            return Restored::Refused(Refusal::Damaged);
        }
        if version != T::VERSION {
            return Restored::Refused(Refusal::Version(version));
        }
        match into.restore(&mut reader) {
            Some(()) => Restored::Taken,
            None => Restored::Refused(Refusal::Senseless),
        }
    }

    /// Saves state for the next generation, in place of what is here.
    ///
    /// # Errors
    /// [`NoRoom`].
    pub fn save<T: HandOver>(&self, from: &T) -> Result<(), NoRoom> {
        // Until all is there, there is nothing.
        self.set_word(0, 0);
        let mut writer =
            Writer { mapping: &self.mapping, place: 0, room: self.room(), full: false };
        from.save(&mut writer);
        let Writer { place: length, full, .. } = writer;
        if full {
            return Err(NoRoom);
        }
        let checksum = Reader { mapping: &self.mapping, place: 0, length }.checksum();
        self.set_word(1, T::VERSION);
        self.set_word(2, length as u64);
        self.set_word(3, checksum);
        self.set_word(0, MAGIC);
        Ok(())
    }

    /// Saves state and ends the service, so that the image which it is to make room for can start. What
    /// waits in its mailboxes is for that image. State for which there is no room is lost.
    pub fn hand_over<T: HandOver>(&self, from: &T) -> ! {
        // The next image then finds nothing, and says so.
        let _ = self.save(from);
        exit(STATUS_HANDED_OVER)
    }

    fn room(&self) -> usize {
        (self.mapping.length() as usize).saturating_sub(HEADER)
    }

    fn word(&self, place: usize) -> u64 {
        let mut bytes = [0; WORD];
        self.mapping.read(place * WORD, &mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn set_word(&self, place: usize, word: u64) {
        self.mapping.write(place * WORD, &word.to_le_bytes());
    }
}

/// Writes state.
#[derive(Debug)]
pub struct Writer<'a> {
    mapping: &'a Mapping,
    place: usize,
    room: usize,
    full: bool,
}

impl Writer<'_> {
    /// Writes bytes. What does not fit makes all of it not fit.
    pub fn bytes(&mut self, bytes: &[u8]) {
        if self.full || bytes.len() > self.room - self.place {
            self.full = true;
            return;
        }
        self.mapping.write(HEADER + self.place, bytes);
        self.place += bytes.len();
    }

    /// Writes a number.
    pub fn word(&mut self, word: u64) {
        self.bytes(&word.to_le_bytes());
    }
}

/// Reads state.
#[derive(Debug)]
pub struct Reader<'a> {
    mapping: &'a Mapping,
    place: usize,
    length: usize,
}

impl Reader<'_> {
    /// Bytes that are left.
    pub fn left(&self) -> usize {
        self.length - self.place
    }

    /// Reads so many bytes; `None` if fewer are left.
    pub fn bytes(&mut self, into: &mut [u8]) -> Option<()> {
        if into.len() > self.left() {
            return None;
        }
        self.mapping.read(HEADER + self.place, into);
        self.place += into.len();
        Some(())
    }

    /// Reads a number.
    pub fn word(&mut self) -> Option<u64> {
        let mut bytes = [0; WORD];
        self.bytes(&mut bytes)?;
        Some(u64::from_le_bytes(bytes))
    }

    /// FNV-1a, 64 bits, of all that is there: finds what broke off, and is no proof against forgery.
    fn checksum(&self) -> u64 {
        let mut sum = 0xcbf2_9ce4_8422_2325u64;
        let mut part = [0; 256];
        let mut place = 0;
        while place < self.length {
            let count = part.len().min(self.length - place);
            self.mapping.read(HEADER + place, &mut part[..count]);
            for byte in &part[..count] {
                sum = (sum ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
            }
            place += count;
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Capability, fake};
    use alloc::vec::Vec;
    use core::cell::UnsafeCell;
    use phi_abi::{Handle, Message, Number, Outcome};

    /// Data of a service.
    #[derive(Debug, PartialEq)]
    struct Words(Vec<u64>);

    impl HandOver for Words {
        const VERSION: u64 = 3;

        fn save(&self, writer: &mut Writer<'_>) {
            self.0.iter().for_each(|word| writer.word(*word));
        }

        fn restore(&mut self, reader: &mut Reader<'_>) -> Option<()> {
            if reader.left() == 8 {
                return None;
            }
            while reader.left() > 0 {
                self.0.push(reader.word()?);
            }
            Some(())
        }
    }

    /// The same in another form.
    struct Later(Words);

    impl HandOver for Later {
        const VERSION: u64 = 4;

        fn save(&self, writer: &mut Writer<'_>) {
            self.0.save(writer);
        }

        fn restore(&mut self, reader: &mut Reader<'_>) -> Option<()> {
            self.0.restore(reader)
        }
    }

    const SIZE: usize = 128;

    /// Runs `body` with a state of [`SIZE`] bytes.
    fn with_state(body: impl FnOnce(&State)) {
        let memory = [const { UnsafeCell::new(0u64) }; SIZE / 8];
        let address = memory.as_ptr() as u64;
        let answer = move |number, _: [u64; 4], _: &mut Message| match number {
            Number::RegionMap => Outcome::success(address),
            _ => Outcome::success(1),
        };
        fake::with(answer, || {
            // SAFETY: no ΦCore is there to which the handle could mean anything.
            let capability = unsafe { Capability::from_handle(Handle(1)) };
            let mapping = Region::from_parts(capability, SIZE as u64).map(true).expect("a mapping");
            let signal = Signal::create().expect("a signal");
            body(&State { mapping, signal });
        });
    }

    fn restored(state: &State) -> (Restored, Vec<u64>) {
        let mut words = Words(Vec::new());
        (state.restore(&mut words), words.0)
    }

    #[test]
    fn what_is_saved_is_taken_once() {
        with_state(|state| {
            assert_eq!(restored(state).0, Restored::Nothing);
            assert_eq!(state.save(&Words([7, 8].into())), Ok(()));
            assert_eq!(restored(state), (Restored::Taken, [7, 8].into()));
            assert_eq!(restored(state).0, Restored::Nothing);
        });
    }

    #[test]
    fn what_does_not_fit_is_not_saved_and_what_was_there_is_gone() {
        with_state(|state| {
            assert_eq!(state.save(&Words([1; 12].into())), Ok(()));
            assert_eq!(state.save(&Words([1; 13].into())), Err(NoRoom));
            assert_eq!(restored(state).0, Restored::Nothing);
        });
    }

    #[test]
    fn other_forms_damage_and_nonsense_are_refused() {
        let refused = |damage: &dyn Fn(&State), why| {
            with_state(|state| {
                assert_eq!(state.save(&Words([5, 6, 7].into())), Ok(()));
                damage(state);
                assert_eq!(restored(state).0, Restored::Refused(why));
                assert_eq!(restored(state).0, Restored::Nothing, "it is gone");
            });
        };
        refused(&|state| state.save(&Later(Words([1, 2].into()))).unwrap(), Refusal::Version(4));
        refused(&|state| state.save(&Words([9].into())).unwrap(), Refusal::Senseless);
        // The header but for its magic number and the version, and the content.
        for place in [2, 3, 4, 6] {
            refused(&|state| state.set_word(place, 1 << 40), Refusal::Damaged);
        }
        refused(&|state| state.set_word(2, u64::MAX), Refusal::Damaged);
    }
}
