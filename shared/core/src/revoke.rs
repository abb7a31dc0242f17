//! Revocation: what has to end once a lineage has.
//!
//! One addition makes everything derived invalid, however much that is. Before the call returns, mappings,
//! waits and bindings are ended. What is idle is buried later, a few capabilities at a time, by whichever
//! calls come next; until then it answers as if it were. What would tell the difference buries first: a
//! quota of lineages that is short, and the question who still holds an object.

use crate::call::{Answer, Done};
use crate::object::Activity;
use crate::{Kernel, Machine};
use phi_abi::{Error, Kind, Rights};
use phi_cap::{Capability, LineageError, Origin, State};
use phi_mem::NONE;

/// Capabilities that a call looks at, at most, on its way to what it is about.
pub(crate) const SWEEP_LOOKS: u32 = 16;

impl<M: Machine> Kernel<M> {
    pub(crate) fn revoke(&mut self, thread: u32, handle: u64) -> Answer {
        let entry = self.entry(thread, handle)?;
        self.usable(entry, Rights::DERIVE)?;
        let Capability { child, kind, object, .. } = *self.capabilities.get(entry);
        if child == NONE {
            return Ok(Done::Value(0));
        }
        let anchor = self.capabilities.anchor(entry);
        self.capabilities.set_child(entry, NONE);
        self.capabilities.end_lineage(child);
        self.end_revoked_mappings(anchor);
        self.capabilities.sweep_later(anchor);
        if matches!(kind, Kind::Mailbox | Kind::Object | Kind::Signal | Kind::Irq) {
            self.end_revoked_waits();
            self.end_revoked_bindings();
        }
        if kind == Kind::DmaSpace {
            // Whoever mapped it: what is revoked says no longer through which capability.
            self.empty_dma_space(object);
        }
        Ok(Done::Value(0))
    }

    /// Buries some of what was revoked.
    #[cold]
    pub(crate) fn sweep(&mut self) {
        self.sweep_at_most(SWEEP_LOOKS);
    }

    fn sweep_at_most(&mut self, looks: u32) {
        let mut left = looks;
        while let Some(entry) = self.capabilities.next_revoked(&mut left) {
            self.bury(entry, State::Revoked);
        }
    }

    /// How many lineages `payer` may still make. If they are fewer than `wanted`, what was revoked is buried
    /// first, so that it no longer counts.
    pub(crate) fn lineages_left(&mut self, payer: u32, wanted: u32) -> u32 {
        if self.capabilities.lineages().left(payer) < wanted {
            while !self.capabilities.is_swept() {
                self.sweep_at_most(u32::MAX);
            }
        }
        self.capabilities.lineages().left(payer)
    }

    /// Makes a lineage, as [`phi_cap::Lineages::make`] does.
    pub(crate) fn make_lineage(
        &mut self,
        parent: Origin,
        anchor: u32,
        payer: u32,
    ) -> Result<u32, LineageError> {
        self.lineages_left(payer, 1);
        self.capabilities.lineages_mut().make(parent, anchor, payer)
    }

    /// Buries the capabilities that are no longer valid and through which something at `anchor` is mapped
    /// or lent; whether there were any.
    fn end_revoked_mappings(&mut self, anchor: u32) -> bool {
        let mut buried = false;
        let mut next = self.capabilities.first_mapped(anchor);
        while let Some(entry) = next {
            next = self.capabilities.after_mapped(entry);
            if self.capabilities.state(entry) == State::Revoked {
                self.bury(entry, State::Revoked);
                buried = true;
            }
        }
        buried
    }

    /// Ends the capability in `entry` and leaves `state` for its holder to find; `Revoked` if it was that
    /// before.
    pub(crate) fn bury(&mut self, entry: u32, state: State) {
        self.unmap_entry(entry);
        let state = match self.capabilities.state(entry) {
            State::Revoked => State::Revoked,
            _ => state,
        };
        let Capability { kind, child, .. } = *self.capabilities.get(entry);
        // A reply capability's `child` is the call's loans, which last until it is dropped.
        if kind != Kind::Reply && child != NONE {
            self.capabilities.set_child(entry, NONE);
            match state {
                State::Revoked => self.capabilities.end_lineage(child),
                _ => self.dissolve(child),
            }
        }
        self.capabilities.bury(entry, state);
    }

    /// Buries all capabilities at `anchor` because their object has ended.
    pub(crate) fn bury_all(&mut self, anchor: u32) {
        while let Some(entry) = self.capabilities.first_of(anchor) {
            self.bury(entry, State::Dead);
        }
    }

    /// Gives a lineage back whose owner is gone; what was derived now comes from the owner's own.
    pub(crate) fn dissolve(&mut self, lineage: u32) {
        let (from, to) = self.capabilities.dissolve(lineage);
        for thread in self.threads.iter_mut().filter(|thread| thread.origin == from) {
            thread.origin = to;
        }
        let bindings = self.signals.iter_mut().filter_map(|signal| signal.binding.as_mut());
        let irqs = self.irqs.iter_mut().flat_map(|irq| irq.origins.iter_mut());
        for origin in bindings.flat_map(|binding| binding.origins.iter_mut()).chain(irqs) {
            if *origin == from {
                *origin = to;
            }
        }
    }

    fn end_revoked_waits(&mut self) {
        for thread in 0..self.threads.len() as u32 {
            let held = self.thread(thread);
            let waits = matches!(
                held.activity,
                Activity::Calling(_)
                    | Activity::Served
                    | Activity::Receiving(_)
                    | Activity::Waiting(..)
            );
            if !waits || self.capabilities.lineages().is_valid(held.origin) {
                continue;
            }
            if held.activity == Activity::Served {
                self.abandon_call(thread, true);
            }
            self.fail(thread, Error::Revoked);
        }
    }

    fn end_revoked_bindings(&mut self) {
        for signal in 0..self.signals.len() as u32 {
            let Some(binding) = self.signal(signal).binding else { continue };
            let lineages = self.capabilities.lineages();
            if !binding.origins.iter().all(|origin| lineages.is_valid(*origin)) {
                self.unbind(signal);
            }
        }
        self.end_revoked_irq_bindings();
    }

    /// Ends the loans of a call: `loan` is the first. Their pages are the lender's alone when this
    /// returns.
    pub(crate) fn end_loans(&mut self, first: u32) {
        let mut loan = first;
        while loan != NONE {
            let lineages = self.capabilities.lineages();
            let (next, anchor) = (lineages.next_loan(loan), lineages.anchor(loan));
            self.capabilities.end_lineage(loan);
            // A loan that was dropped before was not the region's last capability now.
            if self.end_revoked_mappings(anchor) {
                self.note_if_unreferenced(anchor);
            }
            loan = next;
        }
    }
}
