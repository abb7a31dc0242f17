//! System calls: from a frame to the call's code, and back.

use crate::object::Activity;
use crate::{Kernel, Machine, ThreadIndex};
use phi_abi::{
    Error, Fault, FaultKind, Handle, Kind, MESSAGE_BYTES, MESSAGE_GRANTS, Message, Number, Outcome,
    Rights,
};
use phi_cap::State;

/// How a call ends that does what it was asked.
pub(crate) enum Done {
    /// With a value.
    Value(u64),
    /// With a value, and the message of the frame is the service's.
    Message(u64),
    /// Later, or never: the thread is blocked or gone, or already ready.
    Left,
}

/// Why a call does not do what it was asked.
pub(crate) enum Stop {
    Error(Error),
    Fault(FaultKind, u64),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        Stop::Error(error)
    }
}

pub(crate) type Answer = Result<Done, Stop>;

/// The fault of an argument that is never right.
pub(crate) fn bad_argument<T>(argument: u64) -> Result<T, Stop> {
    Err(Stop::Fault(FaultKind::BadArgument, argument))
}

/// Rights as an argument: known ones that mean something on `kind`.
pub(crate) fn rights_argument(kind: Kind, argument: u64) -> Result<Rights, Stop> {
    let rights = u32::try_from(argument).ok().and_then(Rights::from_bits);
    match rights.filter(|rights| kind.rights().contains(*rights)) {
        Some(rights) => Ok(rights),
        None => bad_argument(argument),
    }
}

impl<M: Machine> Kernel<M> {
    /// The dispatched `thread` made the call in its frame. Afterwards it is no longer dispatched: it
    /// is ready (at the head of its priority, with the result in its frame), blocked, or gone. Follow
    /// with [`Kernel::dispatch`]. Does nothing for a thread that is not dispatched.
    #[inline(never)]
    pub fn system_call(&mut self, thread: ThreadIndex) {
        let index = u32::from(thread.0);
        if !self.is_dispatched(thread) {
            return;
        }
        if !self.capabilities.is_swept() {
            self.sweep();
        }
        self.thread_mut(index).frame.message_out = false;
        let domain = self.space_of(index);
        self.domain_mut(domain).statistics.calls += 1;
        match self.perform(index) {
            Ok(Done::Value(value)) => self.finish(index, Outcome::success(value), false),
            Ok(Done::Message(value)) => self.finish(index, Outcome::success(value), true),
            Ok(Done::Left) => {}
            Err(Stop::Error(error)) => self.finish(index, Outcome::failure(error), false),
            Err(Stop::Fault(kind, address)) => {
                self.end_faulted(domain, Fault { kind, address, instruction: 0 });
            }
        }
        if !self.unreferenced.is_empty() {
            self.reap();
        }
    }

    /// Ends the call of a dispatched thread, if the call did not end the thread.
    fn finish(&mut self, thread: u32, outcome: Outcome, message_out: bool) {
        let held = &mut self.threads[thread as usize];
        if held.activity == Activity::Dispatched {
            held.frame.outcome = outcome;
            held.frame.message_out = message_out;
            self.make_next(thread);
        }
    }

    fn perform(&mut self, thread: u32) -> Answer {
        let frame = &self.thread(thread).frame;
        let [first, second, third, fourth] = frame.arguments;
        let Some(number) = Number::from_number(frame.number) else {
            return Err(Stop::Fault(FaultKind::BadCall, u64::from(frame.number)));
        };
        match number {
            Number::CapabilityDerive => self.derive(thread, first, second, third),
            Number::CapabilityRevoke => self.revoke(thread, first),
            Number::CapabilityDrop => self.drop_handle(thread, first),
            Number::CapabilityInspect => self.inspect(thread, first),
            Number::ObjectMint => self.mint(thread, first, second, third),
            Number::RegionCreate => self.region_create(thread, first, second),
            Number::RegionMap => self.region_map(thread, first, second),
            Number::RegionUnmap => self.region_unmap(thread, first),
            Number::MailboxCreate => self.mailbox_create(thread, first),
            Number::Send => self.send(thread, first),
            Number::Call => self.call(thread, first, second),
            Number::Receive => self.receive(thread, first, second),
            Number::Reply => self.reply(thread, first),
            Number::ReplyReceive => self.reply_receive(thread, first, second, third),
            Number::SignalCreate => self.signal_create(thread),
            Number::SignalNotify => self.signal_notify(thread, first, second),
            Number::SignalWait => self.signal_wait(thread, first, second, third),
            Number::SignalBind => self.signal_bind(thread, first, second),
            Number::ThreadCreate => self.thread_create(thread, [first, second, third, fourth]),
            Number::ThreadPriority => self.thread_priority(thread, first, second),
            Number::ThreadSleep => self.thread_sleep(thread, first),
            Number::ThreadExit => self.thread_exit(thread),
            Number::DomainStart => self.domain_start(thread, first),
            Number::DomainStop => self.domain_stop(thread, first),
            Number::DomainInspect => self.domain_inspect(thread, first, second),
            Number::DomainExit => self.domain_exit(thread, first),
            Number::DomainPanic => self.domain_panic(thread),
            Number::ClockRead => Ok(Done::Value(self.machine.now())),
            Number::ConsoleWrite => self.console_write(thread, first),
            Number::DeviceRegion => self.device_region(thread, [first, second, third, fourth]),
            Number::IrqCreate => self.irq_create(thread, first, second),
            Number::IrqBind => self.irq_bind(thread, first, second, third),
            Number::IrqAcknowledge => self.irq_acknowledge(thread, first),
            Number::DmaSpaceCreate => self.dma_space_create(thread, first, second),
            Number::DmaMap => self.dma_map(thread, first, second, third),
            Number::DmaUnmap => self.dma_unmap(thread, first, second),
            Number::PortsCreate => self.ports_create(thread, first, second, third),
            Number::PortRead => self.port_read(thread, first, second, third),
            Number::PortWrite => self.port_write(thread, [first, second, third, fourth]),
        }
    }

    /// The entry that the caller's `handle` names.
    pub(crate) fn entry(&self, thread: u32, handle: u64) -> Result<u32, Stop> {
        let entry = self.capabilities.find(self.space_of(thread), Handle(handle));
        entry.ok_or(Stop::Fault(FaultKind::BadHandle, handle))
    }

    /// The entry that the caller's `handle` names, for a call that needs `kind` and `rights`.
    pub(crate) fn entry_for(
        &mut self,
        thread: u32,
        handle: u64,
        kind: Kind,
        rights: Rights,
    ) -> Result<u32, Stop> {
        let entry = self.entry(thread, handle)?;
        if self.capabilities.get(entry).kind != kind {
            return Err(Stop::Fault(FaultKind::BadHandle, handle));
        }
        self.usable(entry, rights)?;
        Ok(entry)
    }

    /// Whether the capability in `entry` still stands and has `rights`.
    pub(crate) fn usable(&mut self, entry: u32, rights: Rights) -> Result<(), Error> {
        match self.capabilities.state(entry) {
            State::Held => {}
            State::Revoked => return Err(Error::Revoked),
            State::Dead | State::Free | State::Retired => return Err(Error::Dead),
        }
        if self.capabilities.get(entry).rights.contains(rights) {
            Ok(())
        } else {
            Err(Error::Denied)
        }
    }

    /// Whether the message in the caller's frame keeps to the limits; how many bytes and capabilities
    /// it has.
    pub(crate) fn message_size(&self, thread: u32) -> Result<(u64, usize), Stop> {
        let Message { length, grant_count, .. } = self.thread(thread).frame.message;
        if usize::from(length) > MESSAGE_BYTES {
            return bad_argument(u64::from(length));
        }
        if usize::from(grant_count) > MESSAGE_GRANTS {
            return bad_argument(u64::from(grant_count));
        }
        Ok((u64::from(length), usize::from(grant_count)))
    }

    fn console_write(&mut self, thread: u32, handle: u64) -> Answer {
        self.message_size(thread)?;
        let entry = self.entry_for(thread, handle, Kind::Console, Rights::WRITE)?;
        let stream = self.capabilities.get(entry).badge;
        self.machine.console_write(stream, self.threads[thread as usize].frame.message.bytes());
        Ok(Done::Value(0))
    }
}
