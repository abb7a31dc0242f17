//! Calls on signals.

use crate::call::{Answer, Done, bad_argument};
use crate::object::Activity;
use crate::{Kernel, Machine};
use phi_abi::{Error, FOREVER, Kind, Outcome, Rights};
use phi_cap::Capability;
use phi_ipc::{Binding, Mailbox, MailboxState, Signal};
use phi_mem::NONE;

impl<M: Machine> Kernel<M> {
    pub(crate) fn signal_create(&mut self, thread: u32) -> Answer {
        let space = self.space_of(thread);
        let free = |slot: &u32| !self.signals[*slot as usize].alive;
        let slot = self.domain(space).signals.clone().find(free).ok_or(Error::QuotaExceeded)?;
        let capability = Capability::new(Kind::Signal, Kind::Signal.rights(), slot, 0);
        let done = self.insert(space, capability)?;
        *self.signal(slot) = Signal::new(space as u16, false);
        Ok(done)
    }

    pub(crate) fn signal_notify(&mut self, thread: u32, handle: u64, bits: u64) -> Answer {
        let entry = self.entry_for(thread, handle, Kind::Signal, Rights::NOTIFY)?;
        self.set_bits(self.capabilities.get(entry).object, bits);
        Ok(Done::Value(0))
    }

    /// Sets bits of a signal and wakes who waits for them: first its own waiters in the order of
    /// their arrival, then who receives from the mailbox that it is bound to.
    pub(crate) fn set_bits(&mut self, signal: u32, bits: u64) {
        self.signal(signal).bits |= bits;
        let mut next = self.signal(signal).waiters.first();
        while let Some(waiter) = next {
            next = self.links.after(waiter);
            let Activity::Waiting(_, mask) = self.thread(waiter).activity else { continue };
            let taken = self.signal(signal).take(mask);
            if taken != 0 {
                self.unblock(waiter);
                let frame = &mut self.thread_mut(waiter).frame;
                frame.outcome = Outcome::success(taken);
                frame.message_out = false;
                self.make_ready(waiter);
            }
        }
        let mailbox = self.signal(signal).mailbox();
        if mailbox != NONE {
            self.wake_with_bits(mailbox, signal);
        }
    }

    pub(crate) fn signal_wait(
        &mut self,
        thread: u32,
        handle: u64,
        mask: u64,
        timeout: u64,
    ) -> Answer {
        if mask == 0 {
            return bad_argument(mask);
        }
        let entry = self.entry_for(thread, handle, Kind::Signal, Rights::WAIT)?;
        let Capability { object: signal, origin, .. } = *self.capabilities.get(entry);
        let taken = self.signal(signal).take(mask);
        if taken != 0 {
            return Ok(Done::Value(taken));
        }
        if timeout == 0 {
            return Err(Error::TimedOut.into());
        }
        self.set_origin(thread, origin);
        self.thread_mut(thread).activity = Activity::Waiting(signal, mask);
        self.links.push_back(&mut self.signals[signal as usize].waiters, thread);
        if timeout != FOREVER {
            self.set_timeout(thread, timeout);
        }
        Ok(Done::Left)
    }

    pub(crate) fn signal_bind(&mut self, thread: u32, signal: u64, mailbox: u64) -> Answer {
        let signal = self.entry_for(thread, signal, Kind::Signal, Rights::WAIT)?;
        let mailbox = self.entry_for(thread, mailbox, Kind::Mailbox, Rights::RECEIVE)?;
        let (signal, mailbox) = (*self.capabilities.get(signal), *self.capabilities.get(mailbox));
        let Mailbox { state, signal: bound, .. } = *self.mailbox(mailbox.object);
        if state != MailboxState::Open {
            return Err(Error::Dead.into());
        }
        if bound != NONE || self.signal(signal.object).binding.is_some() {
            return Err(Error::Busy.into());
        }
        let origins = [signal.origin, mailbox.origin];
        let binding = Binding { mailbox: mailbox.object, origins };
        self.signal(signal.object).binding = Some(binding);
        self.mailbox(mailbox.object).signal = signal.object;
        self.wake_with_bits(mailbox.object, signal.object);
        Ok(Done::Value(0))
    }

    /// Ends the binding of a signal, if it has one.
    pub(crate) fn unbind(&mut self, signal: u32) {
        if let Some(binding) = self.signal(signal).binding.take() {
            self.mailbox(binding.mailbox).signal = NONE;
        }
    }
}
