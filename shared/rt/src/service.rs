//! What a service begins with.

use crate::{Capability, Console, Domain, Hardware, Input, Mailbox, Peer, Signal, system};
use core::sync::atomic::{AtomicU64, Ordering};
use phi_abi::{Error, Kind, NamedCapability, Number, START_CAPABILITIES, StartBlock};

/// The name of the region that outlives the service's restarts: the only one that can be written.
const STATE: &str = "state";

/// Ends the service with `status`.
pub fn exit(status: u8) -> ! {
    loop {
        // Does not return.
        let _ = system::plain(Number::DomainExit, [u64::from(status), 0, 0, 0]);
    }
}

/// A named capability could not be had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NameError<'a> {
    /// The name that was asked for.
    pub name: &'a str,
    /// Why.
    pub problem: Problem,
}

/// Why a named capability could not be had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Problem {
    /// The manifest gives the service none of that name.
    Missing,
    /// It is of another kind.
    WrongKind,
    /// It was taken before.
    Taken,
    /// It could not be mapped.
    Mapping(Error),
}

impl core::fmt::Display for NameError<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "capability `{}`: ", self.name)?;
        match self.problem {
            Problem::Missing => f.write_str("the manifest gives none of that name"),
            Problem::WrongKind => f.write_str("it is of another kind"),
            Problem::Taken => f.write_str("it was taken before"),
            Problem::Mapping(error) => write!(f, "it cannot be mapped: {error}"),
        }
    }
}

impl core::error::Error for NameError<'_> {}

/// Who this service is, and the capabilities that its manifest names. Each can be taken once.
#[derive(Debug)]
pub struct Service {
    start: &'static StartBlock,
    taken: [AtomicU64; START_CAPABILITIES.div_ceil(64)],
}

impl Service {
    /// Takes the start block over.
    ///
    /// # Safety
    /// Its handles are valid and have no other owner, and its regions but the one named `state` are
    /// inputs that nobody can write.
    pub unsafe fn new(start: &'static StartBlock) -> Service {
        Service { start, taken: Default::default() }
    }

    /// How often the service was started: 1 at first.
    pub fn generation(&self) -> u32 {
        self.start.generation
    }

    /// Which image of the service runs: 0 is the first, and each replacement has another number.
    pub fn image(&self) -> u64 {
        self.start.image
    }

    /// The most urgent priority that its threads may have.
    pub fn priority(&self) -> u32 {
        self.start.priority
    }

    /// The arguments of the manifest; empty if they are not UTF-8.
    pub fn arguments(&self) -> &'static str {
        core::str::from_utf8(self.start.arguments()).unwrap_or_default()
    }

    /// What the start block says, names included.
    pub fn capabilities(&self) -> &'static [NamedCapability] {
        self.start.capabilities()
    }

    /// The start block itself.
    pub fn start(&self) -> &'static StartBlock {
        self.start
    }

    /// Takes the input `name` and maps it.
    ///
    /// # Errors
    /// [`NameError`].
    pub fn input<'a>(&self, name: &'a str) -> Result<Input, NameError<'a>> {
        if name == STATE {
            return Err(NameError { name, problem: Problem::WrongKind });
        }
        let (capability, named) = self.take_kind(name, &[Kind::Region])?;
        // SAFETY: regions in a start block are inputs, as `new` demands, but for the one above.
        unsafe { Input::new(capability, named.length) }
            .map_err(|error| NameError { name, problem: Problem::Mapping(error) })
    }

    /// Takes the server or object `name`, to send to and to call.
    ///
    /// # Errors
    /// [`NameError`].
    pub fn peer<'a>(&self, name: &'a str) -> Result<Peer, NameError<'a>> {
        Ok(Peer::new(self.take_kind(name, &[Kind::Mailbox, Kind::Object])?.0))
    }

    /// Takes the mailbox `name`, to receive from.
    ///
    /// # Errors
    /// [`NameError`].
    pub fn mailbox<'a>(&self, name: &'a str) -> Result<Mailbox, NameError<'a>> {
        Ok(Mailbox::new(self.take_kind(name, &[Kind::Mailbox])?.0))
    }

    /// Takes the signal `name`.
    ///
    /// # Errors
    /// [`NameError`].
    pub fn signal<'a>(&self, name: &'a str) -> Result<Signal, NameError<'a>> {
        Ok(Signal::new(self.take_kind(name, &[Kind::Signal])?.0))
    }

    /// Takes the domain `name`.
    ///
    /// # Errors
    /// [`NameError`].
    pub fn domain<'a>(&self, name: &'a str) -> Result<Domain, NameError<'a>> {
        Ok(Domain::new(self.take_kind(name, &[Kind::Domain])?.0))
    }

    /// Takes the debug console's stream `name`.
    ///
    /// # Errors
    /// [`NameError`].
    pub fn console<'a>(&self, name: &'a str) -> Result<Console, NameError<'a>> {
        Ok(Console::new(self.take_kind(name, &[Kind::Console])?.0))
    }

    /// Takes the machine's devices.
    ///
    /// # Errors
    /// [`NameError`].
    pub fn hardware<'a>(&self, name: &'a str) -> Result<Hardware, NameError<'a>> {
        Ok(Hardware::new(self.take_kind(name, &[Kind::Hardware])?.0))
    }

    /// Takes the region of [`crate::State`].
    pub(crate) fn take_state(
        &self,
    ) -> Result<(Capability, &'static NamedCapability), NameError<'static>> {
        self.take_kind(STATE, &[Kind::Region])
    }

    fn take_kind<'a>(
        &self,
        name: &'a str,
        kinds: &[Kind],
    ) -> Result<(Capability, &'static NamedCapability), NameError<'a>> {
        let error = |problem| NameError { name, problem };
        let (index, named) = self
            .capabilities()
            .iter()
            .enumerate()
            .find(|(_, named)| named.name() == name.as_bytes())
            .ok_or(error(Problem::Missing))?;
        if !kinds.iter().any(|kind| *kind as u32 == named.kind) {
            return Err(error(Problem::WrongKind));
        }
        let bit = 1 << (index % 64);
        if self.taken[index / 64].fetch_or(bit, Ordering::Relaxed) & bit != 0 {
            return Err(error(Problem::Taken));
        }
        // SAFETY: the handle is valid, as `new` demands, and taken only once.
        Ok((unsafe { Capability::from_handle(named.handle) }, named))
    }
}
