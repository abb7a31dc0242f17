//! Calls on domains, and how a domain ends.

use crate::call::{Answer, Done, bad_argument};
use crate::fault::Line;
use crate::object::Activity;
use crate::{DomainIndex, Kernel, Machine};
use core::fmt::Write;
use phi_abi::{
    CONSOLE_LOG, DomainState, Error, FaultKind, Kind, Rights, TOPIC_STATE, TOPIC_STATISTICS,
};
use phi_ipc::MailboxState;
use phi_mem::RegionState;

/// The system's status when `init` did not give one.
const STATUS_FAULT: u8 = 70;

impl<M: Machine> Kernel<M> {
    pub(crate) fn domain_start(&mut self, thread: u32, handle: u64) -> Answer {
        let entry = self.entry_for(thread, handle, Kind::Domain, Rights::START)?;
        let domain = self.capabilities.get(entry).object;
        if self.domain(domain).is_running() {
            return Err(Error::Busy.into());
        }
        self.start_domain(domain)?;
        Ok(Done::Value(u64::from(self.domain(domain).generation)))
    }

    pub(crate) fn domain_stop(&mut self, thread: u32, handle: u64) -> Answer {
        let entry = self.entry_for(thread, handle, Kind::Domain, Rights::STOP)?;
        let domain = self.capabilities.get(entry).object;
        if !self.domain(domain).is_running() {
            return Err(Error::Busy.into());
        }
        self.end_domain(domain, DomainState::Stopped);
        Ok(Done::Value(0))
    }

    pub(crate) fn domain_inspect(&mut self, thread: u32, handle: u64, topic: u64) -> Answer {
        if topic != TOPIC_STATE && topic != TOPIC_STATISTICS {
            return bad_argument(topic);
        }
        let entry = self.entry_for(thread, handle, Kind::Domain, Rights::INSPECT)?;
        let domain = DomainIndex(self.capabilities.get(entry).object as u16);
        let bytes = match topic {
            TOPIC_STATE => self.info(domain).encode(),
            _ => self.statistics(domain).encode(),
        };
        self.answer_bytes(thread, bytes)
    }

    pub(crate) fn domain_exit(&mut self, thread: u32, status: u64) -> Answer {
        let Ok(code) = u8::try_from(status) else { return bad_argument(status) };
        self.end_domain(self.space_of(thread), DomainState::Exited(code));
        Ok(Done::Left)
    }

    pub(crate) fn domain_panic(&mut self, thread: u32) -> Answer {
        self.message_size(thread)?;
        let space = self.space_of(thread);
        let mut line = Line::EMPTY;
        let text = self.thread(thread).frame.message.bytes();
        let text = core::str::from_utf8(text).unwrap_or("(no UTF-8 text)").trim_end();
        let domain = self.domain(space);
        // What does not fit is cut off.
        let _ = write!(line, "{}/{} panicked: ", domain.name, domain.generation);
        for character in text.chars() {
            // One line, whatever the service would have it look like.
            let _ = line.write_char(if character.is_control() { ' ' } else { character });
        }
        let _ = line.write_char('\n');
        self.machine.console_write(CONSOLE_LOG, line.bytes());
        let (kind, address, instruction) = (FaultKind::Panic, 0, 0);
        self.end_domain(space, DomainState::Faulted { kind, address, instruction });
        Ok(Done::Left)
    }

    /// Ends a running domain: its threads, its address space, what it holds and what it made.
    pub(crate) fn end_domain(&mut self, domain: u32, state: DomainState) {
        self.domain_mut(domain).state = state;
        self.machine.unload(DomainIndex(domain as u16));
        self.end_threads(domain);
        self.end_holdings(domain);
        self.end_devices(domain);
        for region in self.domain(domain).regions.clone() {
            if self.regions[region as usize].state == RegionState::Alive {
                self.end_region(region);
            }
        }
        self.domain(domain).mailboxes.clone().for_each(|mailbox| self.destroy_mailbox(mailbox));
        self.domain(domain).signals.clone().for_each(|signal| self.destroy_signal(signal));
        match self.keeps_mailboxes(DomainIndex(domain as u16)) {
            true => self.keep_planned_mailboxes(domain),
            false => self.close_planned_mailboxes(domain),
        }
        if domain == 0 {
            let status = match state {
                DomainState::Exited(status) => status,
                _ => STATUS_FAULT,
            };
            self.halted = Some(status);
            return;
        }
        let supervisor = u32::from(self.domain(domain).supervisor);
        // A supervisor's events are the signal with its own index.
        self.set_bits(supervisor, 1 << (domain % u64::BITS));
    }

    fn end_threads(&mut self, domain: u32) {
        for thread in self.domain(domain).threads.clone() {
            match self.thread(thread).activity {
                Activity::Free => continue,
                // Pages that are lent stay until the answer: the server did nothing wrong.
                Activity::Served => self.abandon_call(thread, false),
                _ => {}
            }
            self.unblock(thread);
            self.thread_mut(thread).activity = Activity::Free;
            self.bury_all(self.anchors.of(Kind::Thread, thread));
        }
        self.domain_mut(domain).live_threads = 0;
    }

    /// Drops every capability that a domain without address space holds.
    pub(crate) fn end_holdings(&mut self, domain: u32) {
        // With the address space, what was mapped in it has gone. All of it: the end of one capability
        // can be the end of others, whose pages the machine would be asked to unmap.
        for entry in self.capabilities.entries_of(domain) {
            // A loan stays one, so that the end of its call finds it; what a device reaches is unmapped
            // with the capability.
            let kept = self.capabilities.get(entry).mapping.without_access();
            self.capabilities.set_mapping(entry, kept);
        }
        for entry in self.capabilities.entries_of(domain) {
            if self.capabilities.is_occupied(entry) {
                self.release(entry);
            }
        }
    }

    pub(crate) fn close_planned_mailboxes(&mut self, domain: u32) {
        for mailbox in 0..self.mailboxes.len() as u32 {
            let held = self.mailbox(mailbox);
            if held.planned && u32::from(held.owner) == domain {
                held.state = MailboxState::Closed;
                self.empty_mailbox(mailbox);
            }
        }
    }
}
