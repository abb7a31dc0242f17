//! Calls on capabilities: derive, drop, inspect, mint. Revocation has a file of its own.

use crate::MessageSignal;
use crate::call::{Answer, Done, Stop, bad_argument, rights_argument};
use crate::{Kernel, Machine};
use phi_abi::{CapabilityInfo, DERIVE_REVOCABLE, Error, Kind, MESSAGE_BYTES, Message, Rights};
use phi_cap::{Capability, LineageError, Mapping, State};
use phi_mem::NONE;

impl From<LineageError> for Stop {
    fn from(error: LineageError) -> Stop {
        Stop::Error(match error {
            LineageError::QuotaExceeded => Error::QuotaExceeded,
            LineageError::TooDeep => Error::TooDeep,
        })
    }
}

impl<M: Machine> Kernel<M> {
    pub(crate) fn derive(&mut self, thread: u32, handle: u64, rights: u64, flags: u64) -> Answer {
        let entry = self.entry(thread, handle)?;
        let rights = rights_argument(self.capabilities.get(entry).kind, rights)?;
        if flags & !DERIVE_REVOCABLE != 0 {
            return bad_argument(flags);
        }
        self.usable(entry, Rights::DERIVE | rights)?;
        let space = self.space_of(thread);
        if self.capabilities.free_slots(space) == 0 {
            return Err(Error::QuotaExceeded.into());
        }
        let source = *self.capabilities.get(entry);
        let origin = if flags & DERIVE_REVOCABLE == 0 {
            source.origin
        } else {
            let child = self.child_lineage(entry, space)?;
            self.capabilities.lineages().origin(child)
        };
        let (id, child, mapping) = (0, NONE, Mapping::NONE);
        let derived = Capability { id, rights, origin, child, mapping, ..source };
        self.insert(space, derived)
    }

    /// The lineage of what is derived revocably from `entry`, made on first use.
    fn child_lineage(&mut self, entry: u32, space: u32) -> Result<u32, Stop> {
        let Capability { child, origin, .. } = *self.capabilities.get(entry);
        if child != NONE {
            return Ok(child);
        }
        let anchor = self.capabilities.anchor(entry);
        let child = self.make_lineage(origin, anchor, space)?;
        self.capabilities.set_child(entry, child);
        Ok(child)
    }

    /// Puts a capability into a domain's table; the value is its handle.
    pub(crate) fn insert(&mut self, space: u32, capability: Capability) -> Answer {
        let anchor = self.anchors.of(capability.kind, capability.object);
        let inserted = self.capabilities.insert(space, capability, anchor);
        let (_, handle) = inserted.ok_or(Error::QuotaExceeded)?;
        Ok(Done::Value(handle.0))
    }

    pub(crate) fn drop_handle(&mut self, thread: u32, handle: u64) -> Answer {
        let entry = self.entry(thread, handle)?;
        self.release(entry);
        Ok(Done::Value(0))
    }

    pub(crate) fn inspect(&mut self, thread: u32, handle: u64) -> Answer {
        let entry = self.entry(thread, handle)?;
        let held = self.capabilities.state(entry) == State::Held;
        let Capability { id, kind, rights, object, origin, .. } = *self.capabilities.get(entry);
        let (address, length) = match kind {
            Kind::Region if held => {
                let place = self.regions[object as usize].place;
                (place.address, place.length)
            }
            Kind::Mailbox if held => (0, u64::from(self.mailbox(object).capacity)),
            Kind::Irq if held => {
                let MessageSignal { address, data } = self.irqs[object as usize].message;
                (address, u64::from(data))
            }
            Kind::Hardware if held => (self.hardware(), 0),
            _ => (0, 0),
        };
        let depth = if held { self.capabilities.lineages().depth(origin) as u64 } else { 0 };
        let version = origin.version;
        let info = CapabilityInfo { id, kind, rights, version, address, length, depth };
        self.answer_bytes(thread, info.encode())
    }

    /// Ends an inspecting call with these bytes as its message.
    pub(crate) fn answer_bytes(&mut self, thread: u32, data: [u8; MESSAGE_BYTES]) -> Answer {
        let length = MESSAGE_BYTES as u16;
        self.thread_mut(thread).frame.message = Message { data, length, ..Message::EMPTY };
        Ok(Done::Message(0))
    }

    pub(crate) fn mint(&mut self, thread: u32, mailbox: u64, badge: u64, rights: u64) -> Answer {
        let rights = rights_argument(Kind::Object, rights)?;
        let entry = self.entry_for(thread, mailbox, Kind::Mailbox, Rights::RECEIVE)?;
        let Capability { object, origin, .. } = *self.capabilities.get(entry);
        // Whoever can revoke the mailbox can so revoke what was minted through it.
        let minted = Capability { origin, ..Capability::new(Kind::Object, rights, object, badge) };
        self.insert(self.space_of(thread), minted)
    }
}
