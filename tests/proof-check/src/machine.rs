//! A machine that does nothing: capabilities need none.

use phi_abi::{Handle, Rights, StartBlock};
use phi_core::{Content, DomainIndex, Machine, MachineError, RegionIndex, Span, ThreadIndex};
use std::collections::BTreeMap;

/// Remembers the handles that each domain starts with, and the threads of each domain.
#[derive(Default)]
pub(crate) struct Idle {
    /// By domain, in the order of the plan.
    pub(crate) handles: BTreeMap<u16, Vec<Handle>>,
    /// By domain, in the order of their start.
    pub(crate) threads: BTreeMap<u16, Vec<ThreadIndex>>,
}

impl Machine for Idle {
    fn now(&mut self) -> u64 {
        0
    }

    fn load(&mut self, domain: DomainIndex, start: &StartBlock) -> Result<(), MachineError> {
        let handles = start.capabilities().iter().map(|named| named.handle).collect();
        self.handles.insert(domain.0, handles);
        Ok(())
    }

    fn unload(&mut self, domain: DomainIndex) {
        self.threads.remove(&domain.0);
    }

    fn thread_start(
        &mut self,
        thread: ThreadIndex,
        domain: DomainIndex,
        _entry: u64,
        _stack: u64,
        _argument: u64,
    ) -> Result<(), MachineError> {
        self.threads.entry(domain.0).or_default().push(thread);
        Ok(())
    }

    fn thread_stop(&mut self, _thread: ThreadIndex) {}

    fn region_create(
        &mut self,
        _region: RegionIndex,
        _span: Span,
        _content: Content,
    ) -> Result<(), MachineError> {
        Ok(())
    }

    fn region_destroy(&mut self, _region: RegionIndex) {}

    fn map(
        &mut self,
        _domain: DomainIndex,
        _region: RegionIndex,
        _span: Span,
        _access: Rights,
    ) -> Result<(), MachineError> {
        Ok(())
    }

    fn unmap(&mut self, _domain: DomainIndex, _region: RegionIndex, _span: Span) {}

    fn throttle(&mut self, _domain: DomainIndex, _stopped: bool) {}

    fn console_write(&mut self, _stream: u64, _bytes: &[u8]) {}

    fn devices(&mut self) -> Option<&mut dyn phi_core::Devices> {
        None
    }
}
