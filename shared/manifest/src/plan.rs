//! The plan: a checked manifest with every choice made. ΦCore boots from it, and `init` runs it.
//!
//! Index 0 of the services is always `init`. All addresses follow [`phi_abi::layout`].

use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// A whole system.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// The system's name.
    pub name: String,
    /// The services; `init` is the first. A domain's index is its place here.
    pub services: Vec<ServicePlan>,
    /// The mailboxes that services serve; they outlive restarts of their server.
    pub mailboxes: Vec<MailboxPlan>,
    /// The inputs, in the order of the bundle.
    pub inputs: Vec<InputPlan>,
    /// Address of the region that holds the encoded plan.
    pub plan_address: u64,
    /// The service whose end is the system's, with its status; without one the system ends when
    /// every service has ended for good.
    pub until: Option<u16>,
    /// How bare metal runs it.
    pub mode: Mode,
}

/// How bare metal runs a system.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Mode {
    /// Each service in an address space of its own.
    #[default]
    Full,
    /// All services in one address space, with the kernel's privileges: calls become function calls, and
    /// nothing isolates one from another. On Linux, the threads of one process.
    Unikernel,
    /// As [`Mode::Full`], in [`EMBEDDED_MEMORY`].
    Embedded,
}

/// Bytes of memory of a machine that runs an embedded system, at most.
pub const EMBEDDED_MEMORY: u64 = 4 << 20;

/// Bytes of text and data of a kernel that runs an embedded system, at most.
pub const EMBEDDED_KERNEL: u64 = 256 << 10;

impl Plan {
    /// Whether a service holds the machine's devices.
    pub fn has_hardware(&self) -> bool {
        let held = self.services.iter().flat_map(|service| &service.capabilities);
        held.into_iter().any(|one| one.target == Target::Hardware)
    }

    /// Bytes of the encoded plan.
    // Large, and asked once: so a kernel has it compiled for size, as this crate is there.
    #[inline(never)]
    pub fn encoded_length(&self) -> u64 {
        let size = postcard::ser_flavors::Size::default();
        postcard::serialize_with_flavor(self, size).unwrap_or(0) as u64
    }
}

/// One service.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ServicePlan {
    /// Its name.
    pub name: String,
    /// What it runs. That of a driver which only a machine has itself has no segments, and its entry is 0.
    pub image: ImagePlan,
    /// The driver of a machine that it is, in place of the image on a machine that has it.
    pub driver: Option<DriverPlan>,
    /// Base of its window.
    pub window: u64,
    /// Bytes of its first stack (whole pages), which ends at `window + STACK_OFFSET`.
    pub stack: u64,
    /// Bytes of its heap (whole pages), at `window + HEAP_OFFSET`.
    pub heap: u64,
    /// Bytes (whole pages) of the region that outlives its restarts, at `window + STATE_OFFSET`; 0 for
    /// none.
    pub state: u64,
    /// The image that takes the place of the first one while the system runs.
    pub replacement: Option<ReplacementPlan>,
    /// Text for its start block.
    pub arguments: String,
    /// Whether its devices may transfer where nothing protects memory from them.
    pub unprotected_dma: bool,
    /// What it may use.
    pub quota: Quota,
    /// The most urgent priority that its threads may have, and the first one's.
    pub priority: u8,
    /// CPU time that it may use; without one, as much as its priority gets it.
    pub budget: Option<BudgetPlan>,
    /// What happens when it ends.
    pub restart: RestartPlan,
    /// The service that starts and watches it: `init`, or one whose manifest entry controls it.
    pub supervisor: u16,
    /// What it begins with.
    pub capabilities: Vec<CapabilityPlan>,
}

/// A service that is part of a machine: a driver of one of its devices, served as other services are.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DriverPlan {
    /// The driver's name. Which ones there are, the machine knows.
    pub name: String,
    /// The name by which the machine is handed the device.
    pub device: String,
}

/// An image, relocated to its service's window.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ImagePlan {
    /// The image's name.
    pub name: String,
    /// BLAKE3 of the image as it was built, before relocation.
    pub hash: [u8; 32],
    /// Address of its entry: a [`phi_abi::Entry`].
    pub entry: u64,
    /// Its segments, in ascending order, whole pages, not overlapping.
    pub segments: Vec<Segment>,
}

impl ServicePlan {
    /// The image of the plan with this number: [`phi_abi::StartBlock::image`].
    pub fn image(&self, number: u64) -> Option<&ImagePlan> {
        match number {
            0 => Some(&self.image),
            1 => self.replacement.as_ref().map(|replacement| &replacement.image),
            _ => None,
        }
    }
}

impl ImagePlan {
    /// Bytes of memory that each start has for itself: the image's writable data.
    pub fn data(&self) -> u64 {
        let writable = |segment: &&Segment| segment.access == SegmentAccess::Write;
        let lengths = self.segments.iter().filter(writable).map(|segment| segment.memory_length);
        lengths.fold(0, u64::saturating_add)
    }
}

/// An image that a bundle has for a service besides its first one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReplacementPlan {
    /// The image.
    pub image: ImagePlan,
    /// When it is offered, in nanoseconds from the system's start.
    pub after: u64,
}

/// Access to a segment's memory. No segment is both writable and executable.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum SegmentAccess {
    /// Read only.
    Read,
    /// Read and write: each start of the domain begins with a fresh copy.
    Write,
    /// Read and execute.
    Execute,
}

/// One segment of an image.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Segment {
    /// Address of its first byte, a multiple of the page size.
    pub address: u64,
    /// Bytes in memory, a multiple of the page size.
    pub memory_length: u64,
    /// Offset in the bundle, a multiple of the page size.
    pub offset: u64,
    /// Bytes in the bundle, a multiple of the page size, at most `memory_length`; the rest is zero.
    pub length: u64,
    /// Who may do what.
    pub access: SegmentAccess,
}

/// What a service may use. ΦCore's pools are sized by the sums.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Quota {
    /// Bytes of memory: image data, stack, heap, and regions that it creates.
    pub memory: u64,
    /// Slots of its capability table.
    pub handles: u32,
    /// Regions that it may create.
    pub regions: u32,
    /// Mailboxes that it may create.
    pub mailboxes: u32,
    /// Messages that the mailboxes which it creates may hold in all.
    pub messages: u32,
    /// Signals that it may create.
    pub signals: u32,
    /// Threads, the first one included.
    pub threads: u32,
    /// Capabilities that it may derive revocably from at one time, loans included.
    pub lineages: u32,
}

/// CPU time per period.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BudgetPlan {
    /// Nanoseconds of CPU time in each period.
    pub time: u64,
    /// Nanoseconds of the period.
    pub period: u64,
}

/// What happens when a service ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RestartPlan {
    /// Whether it is started again after a fault or an exit with a status other than 0.
    pub policy: RestartPolicy,
    /// Nanoseconds before the first restart; doubled for each further one.
    pub backoff: u64,
    /// Nanoseconds before a restart, at most.
    pub longest: u64,
    /// Restarts, at most.
    pub maximum: u32,
    /// What happens after the last.
    pub then: AfterRestarts,
}

/// Whether a service is started again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum RestartPolicy {
    /// After a fault, or an exit with a status other than 0.
    Always,
    /// Not at all.
    Never,
}

/// What happens when a service has ended for good.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum AfterRestarts {
    /// The system goes on without it.
    Hold,
    /// The system stops.
    Stop,
}

/// A mailbox that a service serves.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MailboxPlan {
    /// The interface's name.
    pub name: String,
    /// The service that receives.
    pub server: u16,
    /// Sent messages that it holds.
    pub capacity: u32,
}

/// A file that somebody hands to the system at its start, as a read-only region.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct InputPlan {
    /// Its name.
    pub name: String,
    /// Address of its place, in window 0.
    pub address: u64,
    /// Bytes of content.
    pub length: u64,
    /// Offset in the bundle, a multiple of the page size; the last page is filled up with zeros.
    pub offset: u64,
}

/// A capability that a service begins with.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CapabilityPlan {
    /// The name in its start block, at most [`phi_abi::NAME_BYTES`].
    pub name: String,
    /// What it refers to.
    pub target: Target,
    /// [`phi_abi::Rights::bits`].
    pub rights: u32,
    /// Mailboxes: the badge on its messages. Otherwise 0.
    pub badge: u64,
}

/// What a planned capability refers to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Target {
    /// A mailbox of the plan.
    Mailbox(u16),
    /// A domain of the plan.
    Domain(u16),
    /// An input.
    Input(u16),
    /// The plan itself, for `init`.
    Plan,
    /// The signal that is set when a domain that the holder supervises ends, or is offered an image: bit
    /// `index of the service % 64`. Each supervisor has its own.
    Events,
    /// The holder's region that outlives its restarts.
    State,
    /// The signal by which the holder is asked to hand over to a new image: [`phi_abi::HAND_OVER`].
    HandOver,
    /// The debug console; the number selects the stream, as the badge does at run time.
    Console(u64),
    /// The machine's devices.
    Hardware,
}
