//! What the supervisor does about the channels of threads, and what it learns of them.

use super::{LinuxMachine, Seat};
use crate::linux::control::{self, Carrying, Tally, ThreadPage};
use crate::linux::direct::{self, Notices, Side};
use crate::linux::domain::Domain;
use crate::linux::events::Start;
use crate::linux::memory;
use crate::linux::process::CommandError;
use phi_abi::Outcome;
use phi_core::{DomainIndex, Frame, ThreadIndex};
use std::os::fd::{AsFd, OwnedFd};

impl LinuxMachine<'_> {
    /// Lets a thread whose receive ΦCore has ended without an outcome go on with its channels.
    pub fn release_to_channels(&mut self, thread: ThreadIndex) {
        let outcome = Outcome { status: control::GO_ON, value: 0 };
        let frame = Frame { outcome, ..Frame::EMPTY };
        self.release(thread, &frame);
    }

    /// Where a thread lives.
    pub fn seat(&self, thread: ThreadIndex) -> Option<Seat> {
        let record = self.threads.get(usize::from(thread.0))?.as_ref()?;
        let domain = self.domains[usize::from(record.domain.0)].as_ref()?;
        Some(Seat { start: domain.start, slot: record.slot })
    }

    /// The page of a thread.
    pub fn page(&self, thread: ThreadIndex) -> Option<&ThreadPage> {
        let record = self.threads.get(usize::from(thread.0))?.as_ref()?;
        let domain = self.domains[usize::from(record.domain.0)].as_ref()?;
        Some(domain.service.control.page(record.slot))
    }

    /// The notices of a domain, if this start of it is the current one.
    pub fn notices(&self, start: Start) -> Option<&Notices> {
        self.current(start).map(|domain| &domain.service.notices)
    }

    /// The call that a thread has under way on a channel, if it is its turn to have one.
    pub fn carried(&self, thread: ThreadIndex) -> Option<Carrying> {
        let record = self.threads.get(usize::from(thread.0))?.as_ref()?;
        record.running.then(|| self.page(thread)?.carried())?
    }

    /// Whether a thread of a domain says that it waits on the channel with this index.
    pub fn carries(&self, start: Start, index: usize) -> bool {
        let Some(domain) = self.current(start) else { return false };
        let pages = (0..domain.threads.len()).map(|slot| domain.service.control.page(slot));
        let mut calls = pages.filter_map(ThreadPage::carried);
        calls.any(|call| call.channel == index)
    }

    /// ΦCore has taken over the call that a thread made on a channel.
    pub fn note_adopted(&mut self, thread: ThreadIndex) {
        if let Some(Some(record)) = self.threads.get_mut(usize::from(thread.0)) {
            record.running = false;
            record.adopted = true;
        }
    }

    /// Hands one side of a channel to a thread; a domain that does not take it is ended.
    ///
    /// # Errors
    /// [`CommandError`].
    pub fn open_channel(
        &mut self,
        seat: Seat,
        index: usize,
        side: Side,
        slots: usize,
        memory: &OwnedFd,
    ) -> Result<(), CommandError> {
        let Some(domain) = self.current_mut(seat.start) else { return Err(CommandError::Lost) };
        let result = domain.open_channel(seat.slot, index, side, slots, memory.as_fd());
        self.lose_disobedient(seat.start.domain, result)
    }

    /// Takes a channel of `slots` slots away from a domain: memory that nobody else has is in its place
    /// when this returns, or the domain is ended.
    pub fn take_channel(&mut self, start: Start, index: usize, slots: usize) {
        let length = direct::length(slots);
        let Ok(memory) = memory::create("phi-nobody", length) else {
            return self.lose(start.domain, "cannot be kept from a channel that was taken back");
        };
        let Some(domain) = self.current_mut(start) else { return };
        let result = domain.map_channel(index, slots, memory.as_fd());
        if self.lose_disobedient(start.domain, result).is_err() {
            self.lose(start.domain, "keeps a channel that was taken back");
        }
    }

    /// Ends the process of a domain that did not do what it was told, if that is what came of it.
    pub(super) fn lose_disobedient(
        &mut self,
        index: DomainIndex,
        result: Result<(), CommandError>,
    ) -> Result<(), CommandError> {
        match result {
            Err(CommandError::Lost) => self.lose(index, "does not do what it is told"),
            Err(CommandError::Kept) => self.lose(index, "has memory that it must not have"),
            _ => {}
        }
        result
    }

    /// The domain, if this start of it is the current one.
    fn current_mut(&mut self, start: Start) -> Option<&mut Domain> {
        let domain = self.domains.get_mut(usize::from(start.domain.0))?.as_mut()?;
        (domain.start == start).then_some(domain)
    }

    /// What domains have done past ΦCore since this was last asked, ended ones included.
    pub fn take_tallies(&mut self) -> Vec<(DomainIndex, Tally)> {
        let mut tallies = std::mem::take(&mut self.tallies);
        for domain in self.domains.iter_mut().flatten() {
            tallies.push((domain.start.domain, domain.take_tally()));
        }
        tallies.retain(|(_, tally)| *tally != Tally::default());
        tallies
    }

    /// A number for each thread that runs, which changes whenever it waits anew; `None` while one does
    /// not wait for others without a timeout.
    pub fn standstill(&self) -> Option<Vec<u64>> {
        let running = (0..self.threads.len())
            .filter(|place| self.threads[*place].as_ref().is_some_and(|record| record.running));
        running.map(|place| self.page(ThreadIndex(place as u16))?.waits_forever()).collect()
    }
}
