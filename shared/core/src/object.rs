//! Threads and domains, as ΦCore keeps them.

use crate::Frame;
use alloc::boxed::Box;
use core::ops::Range;
use phi_abi::{DomainState, DomainStatistics};
use phi_cap::Origin;
use phi_manifest::plan::{CapabilityPlan, Quota};
use phi_mem::List;
use phi_sched::Budget;

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
    /// Whether its delivered call has loans.
    pub(crate) lends: bool,
}

#[derive(Clone)]
pub(crate) struct Domain {
    // From the plan.
    pub(crate) name: Box<str>,
    pub(crate) arguments: Box<str>,
    pub(crate) window: u64,
    pub(crate) entry: u64,
    pub(crate) heap: u64,
    /// Bytes of image data, stack and heap, charged while it runs.
    pub(crate) image_memory: u64,
    pub(crate) quota: Quota,
    pub(crate) priority: u8,
    pub(crate) supervisor: u16,
    pub(crate) capabilities: Box<[CapabilityPlan]>,
    // Its parts of the pools.
    pub(crate) threads: Range<u32>,
    pub(crate) regions: Range<u32>,
    pub(crate) mailboxes: Range<u32>,
    pub(crate) signals: Range<u32>,
    // What changes.
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

impl Domain {
    pub(crate) fn is_running(&self) -> bool {
        self.state == DomainState::Running
    }
}
