//! A checked manifest: what its file says, with every default filled in.
//!
//! Places are offsets of bytes in the file's text, for diagnostics.

use std::fmt;

use phi_abi::Rights;

use crate::plan::{BudgetPlan, DriverPlan, Mode, Quota, RestartPlan};

/// A checked manifest.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Manifest {
    /// The system's name.
    pub name: String,
    /// The service whose end is the system's.
    pub until: Option<Reference>,
    /// How bare metal runs it.
    pub mode: Mode,
    /// Where the file says so.
    pub mode_place: usize,
    /// The inputs, in the order of the file.
    pub inputs: Vec<Input>,
    /// The services but for `init`, in the order of the file.
    pub services: Vec<Service>,
}

impl Manifest {
    /// The system's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The image of each service of the plan, in the plan's order: the first is `init`'s.
    pub fn images(&self) -> Vec<ImageName> {
        let init = ImageName { package: "phi-init".into(), binary: "init".into() };
        let others = self.services.iter().map(|service| service.image.clone());
        std::iter::once(init).chain(others).collect()
    }

    /// What has to be handed in, in the plan's order.
    pub fn inputs(&self) -> &[Input] {
        &self.inputs
    }
}

/// Where an image comes from.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct ImageName {
    /// The cargo package.
    pub package: String,
    /// The binary of the package.
    pub binary: String,
}

impl ImageName {
    /// What stands for the image of a driver, which is part of its machine.
    pub(crate) fn of_driver(name: &str) -> ImageName {
        ImageName { package: String::new(), binary: name.into() }
    }

    /// Whether it is a driver, for which there is nothing to build.
    pub fn is_driver(&self) -> bool {
        self.package.is_empty()
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_driver() {
            return write!(f, "driver {}", self.binary);
        }
        write!(f, "{}:{}", self.package, self.binary)
    }
}

/// A file that is handed to the system when it starts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Input {
    /// Its name.
    pub name: String,
    /// Bytes that it may have at most.
    pub maximum: Option<u64>,
    pub(crate) place: usize,
}

/// One service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// What it runs; of a driver without an image, its name.
    pub image: ImageName,
    /// The driver that it is, on a machine that has it.
    pub driver: Option<Driver>,
    /// Its priority, from 0 to [`PRIORITY`].
    pub priority: u8,
    /// What it may use.
    pub quota: Quota,
    /// Bytes of its stack, in whole pages.
    pub stack: u64,
    /// Bytes of its heap, in whole pages.
    pub heap: u64,
    /// Bytes of the region that outlives its restarts, in whole pages.
    pub state: u64,
    /// Whether it holds the machine's devices.
    pub hardware: bool,
    /// Whether its devices may transfer where nothing protects memory from them.
    pub unprotected_dma: bool,
    /// Its CPU time.
    pub budget: Option<BudgetPlan>,
    /// Its arguments.
    pub arguments: String,
    /// What happens when it ends.
    pub restart: RestartPlan,
    /// The interfaces that it serves.
    pub serves: Vec<Interface>,
    /// The interfaces of others that it uses.
    pub uses: Vec<Use>,
    /// The inputs that it gets.
    pub inputs: Vec<Reference>,
    /// The services that it supervises.
    pub controls: Vec<Reference>,
    /// The streams of the machine's console that it writes to.
    pub consoles: Vec<Stream>,
    pub(crate) places: Places,
}

/// Where the values of a service are that checks point at; where a key is left out, its name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Places {
    pub(crate) name: usize,
    pub(crate) memory: usize,
    pub(crate) handles: usize,
    pub(crate) threads: usize,
    pub(crate) state: usize,
    /// Keys whose values could not be read: what depends on them is not checked.
    pub(crate) unread: Vec<&'static str>,
}

impl Service {
    /// Whether the value of `key` could be read or is left out.
    pub(crate) fn is_read(&self, key: &str) -> bool {
        !self.places.unread.contains(&key)
    }
}

/// A driver of a machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Driver {
    /// Which, and of which device.
    pub plan: DriverPlan,
    /// Where the device's name stands.
    pub(crate) place: usize,
}

/// The name of a service or an input.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reference {
    /// The name.
    pub name: String,
    pub(crate) place: usize,
}

/// An interface that a service serves at a mailbox of its own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Interface {
    /// Its name, and that of the capability.
    pub name: String,
    /// Sent messages that the mailbox holds.
    pub capacity: u32,
    pub(crate) place: usize,
}

/// An interface that a service uses.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Use {
    /// The capability's name.
    pub name: String,
    /// The service that serves it.
    pub from: Reference,
    /// The interface's name there.
    pub interface: Reference,
    /// What the client may do with the mailbox.
    pub rights: Rights,
    pub(crate) place: usize,
}

/// A stream of the machine's console.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stream {
    /// The capability's name.
    pub name: String,
    /// The stream: [`phi_abi::CONSOLE_TRANSCRIPT`] or [`phi_abi::CONSOLE_LOG`].
    pub stream: u64,
    pub(crate) place: usize,
}

/// What stands before a service's name in the name of the capability to its domain, so that it
/// cannot be mistaken for that of an interface.
pub const DOMAIN: &str = "domain:";

/// The name of the signal that is set when a service ends that the holder supervises.
pub const EVENTS: &str = "events";

/// The drivers that machines have, and what the device of each is called.
pub const DRIVERS: [(&str, &str); 3] =
    [("host-disk", "disk"), ("host-tap", "nic"), ("host-tty", "tty")];

/// What the device of a driver is called.
pub fn device_of(driver: &str) -> Option<&'static str> {
    DRIVERS.iter().find(|(name, _)| *name == driver).map(|(_, device)| *device)
}

/// The name of the capability to the machine's devices.
pub const HARDWARE: &str = "hardware";

/// The name of the region that outlives its service's restarts.
pub const STATE: &str = "state";

/// The name of the signal that asks a service with such a region to hand over to a new image.
pub const HAND_OVER: &str = "hand-over";

/// The most urgent priority of a service of the manifest; `init` is more urgent.
pub const PRIORITY: u8 = phi_abi::PRIORITIES - 2;
