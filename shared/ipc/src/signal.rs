//! Signals.

use phi_cap::Origin;
use phi_mem::{List, NONE};

/// The mailbox that a signal is bound to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Binding {
    /// Index of the mailbox.
    pub mailbox: u32,
    /// Origins of the two capabilities that it was bound through, the signal's and the mailbox's:
    /// when one is revoked, the binding ends.
    pub origins: [Origin; 2],
}

/// A word of bits.
#[derive(Clone, Copy, Debug)]
pub struct Signal {
    /// Whether the slot holds a signal.
    pub alive: bool,
    /// The domain that pays for it; of a planned one, its supervisor.
    pub owner: u16,
    /// Whether it belongs to the plan and stays for ever.
    pub planned: bool,
    /// Bits that are set and not taken yet.
    pub bits: u64,
    /// Threads that wait for bits, in the order of their arrival.
    pub waiters: List,
    /// Where else its bits are awaited.
    pub binding: Option<Binding>,
}

impl Signal {
    /// A slot without a signal.
    pub const FREE: Signal = Signal {
        alive: false,
        owner: 0,
        planned: false,
        bits: 0,
        waiters: List::EMPTY,
        binding: None,
    };

    /// A signal without bits.
    pub const fn new(owner: u16, planned: bool) -> Signal {
        Signal { alive: true, owner, planned, ..Signal::FREE }
    }

    /// Takes those bits of `mask` that are set.
    pub fn take(&mut self, mask: u64) -> u64 {
        let taken = self.bits & mask;
        self.bits &= !mask;
        taken
    }

    /// The mailbox it is bound to, or [`NONE`].
    pub fn mailbox(&self) -> u32 {
        self.binding.as_ref().map_or(NONE, |binding| binding.mailbox)
    }
}
