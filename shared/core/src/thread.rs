//! Calls on threads.

use crate::call::{Answer, Done, Stop, bad_argument};
use crate::object::{Activity, Thread, Way};
use crate::{DomainIndex, Frame, Kernel, Machine, MachineError, ThreadIndex};
use phi_abi::{DomainState, Error, FOREVER, Kind, PRIORITIES, Rights};
use phi_cap::{Capability, Origin};

/// First address that no domain can use: the lower half of the 48-bit address space ends here.
const USER_END: u64 = 1 << 47;

/// Alignment of a stack, in bytes (System V ABI, AMD64 supplement, 3.2.2).
const STACK_ALIGNMENT: u64 = 16;

impl<M: Machine> Kernel<M> {
    /// `words`: entry, stack, argument, priority.
    pub(crate) fn thread_create(&mut self, thread: u32, words: [u64; 4]) -> Answer {
        let [entry, stack, argument, priority] = words;
        if entry >= USER_END {
            return bad_argument(entry);
        }
        if stack > USER_END || !stack.is_multiple_of(STACK_ALIGNMENT) {
            return bad_argument(stack);
        }
        let space = self.space_of(thread);
        let priority = self.allowed_priority(space, priority)?;
        if self.capabilities.free_slots(space) == 0 {
            return Err(Error::QuotaExceeded.into());
        }
        let slot = self.new_thread(space, [entry, stack, argument], priority)?;
        self.insert(space, Capability::new(Kind::Thread, Kind::Thread.rights(), slot, 0))
    }

    /// Starts a thread at an entry, with a stack and an argument.
    pub(crate) fn new_thread(
        &mut self,
        space: u32,
        [entry, stack, argument]: [u64; 3],
        priority: u8,
    ) -> Result<u32, Error> {
        let free = |slot: &u32| self.threads[*slot as usize].activity == Activity::Free;
        let slot = self.domain(space).threads.clone().find(free).ok_or(Error::QuotaExceeded)?;
        let domain = space as u16;
        self.machine
            .thread_start(ThreadIndex(slot as u16), DomainIndex(domain), entry, stack, argument)
            .map_err(|MachineError| Error::Machine)?;
        self.threads[slot as usize] = Thread {
            frame: Frame::EMPTY,
            activity: Activity::Dispatched,
            origin: Origin::ROOT,
            domain,
            priority,
            budgeted: self.domain(space).budget.is_some(),
            timed: false,
            yields_to: 0,
            lends: false,
            slots: self.capabilities.slots(space),
            calls: Way::NONE,
            receives: Way::NONE,
            counts: self.thread(slot).counts,
            name: self.thread(slot).name,
        };
        self.thread_mut(slot).update();
        self.domain_mut(space).live_threads += 1;
        self.make_ready(slot);
        Ok(slot)
    }

    fn allowed_priority(&self, space: u32, priority: u64) -> Result<u8, Stop> {
        match u8::try_from(priority) {
            Ok(priority) if priority < PRIORITIES => {
                if priority <= self.domain(space).priority {
                    Ok(priority)
                } else {
                    Err(Error::Denied.into())
                }
            }
            _ => bad_argument(priority),
        }
    }

    pub(crate) fn thread_priority(&mut self, thread: u32, handle: u64, priority: u64) -> Answer {
        let entry = self.entry_for(thread, handle, Kind::Thread, Rights::CONTROL)?;
        let target = self.capabilities.get(entry).object;
        let priority = self.allowed_priority(self.space_of(target), priority)?;
        let held = &mut self.threads[target as usize];
        if held.activity == Activity::Ready {
            self.ready.remove(&mut self.links, target, held.priority);
            self.ready.push_back(&mut self.links, target, priority);
        }
        held.priority = priority;
        held.update();
        Ok(Done::Value(0))
    }

    pub(crate) fn thread_sleep(&mut self, thread: u32, nanoseconds: u64) -> Answer {
        let frame = &mut self.thread_mut(thread).frame;
        frame.outcome = phi_abi::Outcome::success(0);
        if nanoseconds == 0 {
            self.make_ready(thread);
            return Ok(Done::Left);
        }
        self.thread_mut(thread).activity = Activity::Sleeping;
        if nanoseconds != FOREVER {
            self.set_timeout(thread, nanoseconds);
        }
        Ok(Done::Left)
    }

    pub(crate) fn thread_exit(&mut self, thread: u32) -> Answer {
        let space = self.space_of(thread);
        if self.domain(space).live_threads == 1 {
            self.end_domain(space, DomainState::Exited(0));
            return Ok(Done::Left);
        }
        self.machine.thread_stop(ThreadIndex(thread as u16));
        self.thread_mut(thread).activity = Activity::Free;
        self.bury_all(self.anchors.of(Kind::Thread, thread));
        self.domain_mut(space).live_threads -= 1;
        Ok(Done::Left)
    }
}
