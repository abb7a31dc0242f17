//! Revocation: what has to end once a lineage has.

use crate::call::{Answer, Done};
use crate::object::Activity;
use crate::{Kernel, Machine};
use phi_abi::{Error, Kind, Rights};
use phi_cap::{Capability, State};
use phi_mem::NONE;

impl<M: Machine> Kernel<M> {
    pub(crate) fn revoke(&mut self, thread: u32, handle: u64) -> Answer {
        let entry = self.entry(thread, handle)?;
        self.usable(entry, Rights::DERIVE)?;
        let Capability { child, kind, .. } = *self.capabilities.get(entry);
        if child == NONE {
            return Ok(Done::Value(0));
        }
        self.capabilities.get_mut(entry).child = NONE;
        self.capabilities.end_lineage(child);
        self.sweep(self.capabilities.anchor(entry));
        if matches!(kind, Kind::Mailbox | Kind::Object | Kind::Signal) {
            self.end_revoked_waits();
            self.end_revoked_bindings();
        }
        Ok(Done::Value(0))
    }

    /// Buries the capabilities at `anchor` that are no longer valid; whether there were any.
    pub(crate) fn sweep(&mut self, anchor: u32) -> bool {
        let mut buried = false;
        let mut next = self.capabilities.first_of(anchor);
        while let Some(entry) = next {
            next = self.capabilities.after(entry);
            if self.capabilities.state(entry) == State::Revoked {
                self.bury(entry, State::Revoked);
                buried = true;
            }
        }
        buried
    }

    /// Ends the capability in `entry` and leaves `state` for its holder to find.
    pub(crate) fn bury(&mut self, entry: u32, state: State) {
        self.unmap_entry(entry);
        let Capability { kind, child, .. } = *self.capabilities.get(entry);
        // A reply capability's `child` is the call's loans, which last until it is dropped.
        if kind != Kind::Reply && child != NONE {
            self.capabilities.get_mut(entry).child = NONE;
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
        for origin in bindings.flat_map(|binding| binding.origins.iter_mut()) {
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
            if self.sweep(anchor) {
                self.note_if_unreferenced(anchor);
            }
            loan = next;
        }
    }
}
