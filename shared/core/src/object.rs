//! Threads and domains, as ΦCore keeps them.

use crate::{Frame, Image};
use alloc::boxed::Box;
use core::ops::Range;
use phi_abi::{DomainState, DomainStatistics};
use phi_cap::{Origin, Slots};
use phi_manifest::plan::{CapabilityPlan, Quota};
use phi_mem::List;
use phi_sched::{Budget, ReadyQueues};

/// What a thread is doing. Each state but the first and `Dispatched`, `Served` and `Sleeping` means
/// membership in exactly one list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Activity {
    /// There is no thread.
    Free,
    /// The machine runs it, or lets it go on.
    Dispatched,
    /// In the ready queue of its priority.
    Ready,
    /// Ready, but its domain's budget is used up: in the domain's list.
    Parked,
    /// In the queue of the mailbox with this index, with its call.
    Calling(u32),
    /// Its call is delivered; a reply capability to it exists.
    Served,
    /// In the list of receivers of the mailbox with this index.
    Receiving(u32),
    /// In the list of waiters of the signal with this index, for these bits.
    Waiting(u32, u64),
    /// Until its deadline, or for ever.
    Sleeping,
}

#[derive(Clone)]
pub(crate) struct Thread {
    pub(crate) frame: Frame,
    pub(crate) activity: Activity,
    /// Where the capability comes from through which it calls, receives or waits.
    pub(crate) origin: Origin,
    /// Index of its domain.
    pub(crate) domain: u16,
    pub(crate) priority: u8,
    /// Whether its domain has a budget.
    pub(crate) budgeted: bool,
    /// Whether its wait has a deadline.
    pub(crate) timed: bool,
    /// It may be handed over to while [`phi_sched::ReadyQueues::urgency`] is below this: 0 if it is
    /// timed or has a budget, and else what nothing more urgent than itself reaches.
    pub(crate) yields_to: u64,
    /// Whether its delivered call has loans.
    pub(crate) lends: bool,
    /// Its domain's part of the table of capabilities.
    pub(crate) slots: Slots,
    /// Where it called last, and where it received last; one of the two at most is not [`Way::NONE`].
    pub(crate) calls: Way,
    pub(crate) receives: Way,
    pub(crate) counts: Counts,
    /// The machine's name for its place.
    pub(crate) name: u64,
}

/// A capability to a mailbox as it was when it was last checked. It is so still while
/// [`phi_cap::Capabilities::changes`] says the same number, and the thread's `origin` is its.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Way {
    pub(crate) handle: u64,
    /// The number then; 0 for none.
    pub(crate) stamp: u64,
    pub(crate) mailbox: u32,
    pub(crate) rights: u32,
    pub(crate) badge: u64,
}

impl Way {
    pub(crate) const NONE: Way = Way { handle: 0, stamp: 0, mailbox: 0, rights: 0, badge: 0 };
}

/// What a thread's place has seen of the short way, for the statistics of its domain. It outlives the
/// thread.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Counts {
    /// Calls and answers that went the short way, each with a message.
    pub(crate) handed_over: u64,
    /// Bytes of these messages.
    pub(crate) bytes: u64,
    /// How often it went on that way.
    pub(crate) resumed: u64,
}

#[derive(Clone)]
pub(crate) struct Domain {
    // From the plan.
    pub(crate) name: Box<str>,
    pub(crate) arguments: Box<str>,
    pub(crate) window: u64,
    pub(crate) heap: u64,
    /// Bytes of stack, heap and state, charged while it runs as the image's data is.
    pub(crate) fixed_memory: u64,
    /// The image that the plan offers while the system runs, until it has.
    pub(crate) replacement: Option<Image>,
    pub(crate) quota: Quota,
    pub(crate) priority: u8,
    pub(crate) supervisor: u16,
    pub(crate) capabilities: Box<[CapabilityPlan]>,
    /// Whether its devices may transfer where nothing protects memory from them.
    pub(crate) unprotected_dma: bool,
    // Its parts of the pools.
    pub(crate) threads: Range<u32>,
    pub(crate) regions: Range<u32>,
    pub(crate) mailboxes: Range<u32>,
    pub(crate) signals: Range<u32>,
    // What changes.
    /// The image that it runs, or ran last.
    pub(crate) image: Image,
    /// The image that its next start takes.
    pub(crate) offered: Option<Image>,
    pub(crate) generation: u32,
    pub(crate) state: DomainState,
    pub(crate) live_threads: u32,
    pub(crate) region_memory: u64,
    pub(crate) messages: u32,
    pub(crate) budget: Option<Budget>,
    pub(crate) throttled: bool,
    pub(crate) parked: List,
    pub(crate) statistics: DomainStatistics,
}

impl Thread {
    /// Follows a change of what `yields_to` depends on.
    pub(crate) fn update(&mut self) {
        let usual = !self.timed && !self.budgeted;
        self.yields_to = if usual { ReadyQueues::urgency_above(self.priority) } else { 0 };
    }
}

impl Domain {
    /// Bytes of image data, stack, heap and state, charged while it runs.
    pub(crate) fn image_memory(&self) -> u64 {
        self.image.data + self.fixed_memory
    }

    pub(crate) fn is_running(&self) -> bool {
        self.state == DomainState::Running
    }
}
