//! Mailboxes.

use phi_mem::{List, NONE};

/// Sent messages that a mailbox stores, at most.
pub const MAILBOX_CAPACITY: u64 = 65_536;

/// What a mailbox's slot holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MailboxState {
    /// Nothing.
    Free,
    /// A mailbox that takes messages.
    Open,
    /// A mailbox of the plan whose server has ended: it takes none.
    Closed,
}

/// A queue of messages with its receivers. At most one of `queue` and `receivers` has members.
#[derive(Clone, Copy, Debug)]
pub struct Mailbox {
    /// What the slot holds.
    pub state: MailboxState,
    /// The domain that pays for it; of a planned one, its server.
    pub owner: u16,
    /// Whether it belongs to the plan and stays for ever.
    pub planned: bool,
    /// Sent messages that it stores, at most.
    pub capacity: u32,
    /// Sent messages that it stores now.
    pub stored: u32,
    /// Sent messages for it that the machine holds, outside `queue`.
    pub carried: u32,
    /// Callers and stored messages, in the order of their arrival.
    pub queue: List,
    /// Threads that wait for a message, in the order of their arrival.
    pub receivers: List,
    /// The signal bound to it, or [`NONE`].
    pub signal: u32,
}

impl Mailbox {
    /// A slot without a mailbox.
    pub const FREE: Mailbox = Mailbox {
        state: MailboxState::Free,
        owner: 0,
        planned: false,
        capacity: 0,
        stored: 0,
        carried: 0,
        queue: List::EMPTY,
        receivers: List::EMPTY,
        signal: NONE,
    };

    /// A mailbox without messages.
    pub const fn new(owner: u16, planned: bool, capacity: u32) -> Mailbox {
        Mailbox { state: MailboxState::Open, owner, planned, capacity, ..Mailbox::FREE }
    }
}
