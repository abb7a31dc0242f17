//! A machine that only keeps books.

use phi_abi::layout::PAGE;
use phi_abi::{CONSOLE_TRANSCRIPT, Rights, StartBlock};
use phi_core::{Content, DomainIndex, Machine, MachineError, RegionIndex, Span, ThreadIndex};
use std::collections::{BTreeMap, BTreeSet};

/// What ΦCore has told the machine.
#[derive(Default)]
pub struct Books {
    /// The time, in nanoseconds.
    pub clock: u64,
    /// The start block of each domain that is loaded.
    pub loaded: BTreeMap<u16, Box<StartBlock>>,
    /// Threads that are started, with their domain.
    pub threads: BTreeMap<u16, u16>,
    /// Threads that were started, in order, until somebody looks.
    pub started: Vec<u16>,
    /// The access of each domain to each page.
    pub pages: BTreeMap<(usize, u64), Rights>,
    /// The regions that have memory.
    pub regions: BTreeSet<u32>,
    /// Where the last region was made.
    pub last_region: Option<Span>,
    /// What was written to the transcript.
    pub transcript: Vec<u8>,
}

fn pages(span: Span) -> impl Iterator<Item = u64> {
    (span.address..span.address + span.length).step_by(PAGE as usize)
}

impl Machine for Books {
    fn now(&mut self) -> u64 {
        self.clock
    }

    fn load(&mut self, domain: DomainIndex, start: &StartBlock) -> Result<(), MachineError> {
        let before = self.loaded.insert(domain.0, Box::new(start.clone()));
        assert!(before.is_none(), "{domain:?} is loaded already");
        Ok(())
    }

    fn unload(&mut self, domain: DomainIndex) {
        self.loaded.remove(&domain.0);
        self.threads.retain(|_, other| *other != domain.0);
        self.pages.retain(|(other, _), _| *other != usize::from(domain.0));
    }

    fn thread_start(
        &mut self,
        thread: ThreadIndex,
        domain: DomainIndex,
        _entry: u64,
        _stack: u64,
        _argument: u64,
    ) -> Result<(), MachineError> {
        let before = self.threads.insert(thread.0, domain.0);
        assert!(before.is_none(), "{thread:?} is started already");
        self.started.push(thread.0);
        Ok(())
    }

    fn thread_stop(&mut self, thread: ThreadIndex) {
        assert!(self.threads.remove(&thread.0).is_some(), "{thread:?} was not started");
    }

    fn region_create(
        &mut self,
        region: RegionIndex,
        span: Span,
        _content: Content,
    ) -> Result<(), MachineError> {
        assert!(self.regions.insert(region.0), "{region:?} has memory already");
        self.last_region = Some(span);
        Ok(())
    }

    fn region_destroy(&mut self, region: RegionIndex) {
        assert!(self.regions.remove(&region.0), "{region:?} has no memory");
    }

    fn map(
        &mut self,
        domain: DomainIndex,
        region: RegionIndex,
        span: Span,
        access: Rights,
    ) -> Result<(), MachineError> {
        assert!(self.regions.contains(&region.0), "{region:?} has no memory");
        assert!(self.loaded.contains_key(&domain.0), "{domain:?} is not loaded");
        let domain = usize::from(domain.0);
        self.pages.extend(pages(span).map(|page| ((domain, page), access)));
        Ok(())
    }

    fn unmap(&mut self, domain: DomainIndex, _region: RegionIndex, span: Span) {
        for page in pages(span) {
            self.pages.remove(&(usize::from(domain.0), page));
        }
    }

    fn throttle(&mut self, _domain: DomainIndex, _stopped: bool) {}

    fn console_write(&mut self, stream: u64, bytes: &[u8]) {
        if stream == CONSOLE_TRANSCRIPT {
            self.transcript.extend(bytes);
        }
    }

    fn devices(&mut self) -> Option<&mut dyn phi_core::Devices> {
        None
    }
}
