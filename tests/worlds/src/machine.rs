//! A machine that only keeps books, and notes when ΦCore breaks the contract of [`Machine`].

use phi_abi::layout::PAGE;
use phi_abi::{Rights, StartBlock};
use phi_core::{Content, DomainIndex, Machine, MachineError, RegionIndex, Span, ThreadIndex};
use std::collections::{BTreeMap, BTreeSet};

/// The books. Nothing on this machine ever fails.
#[derive(Clone, Default)]
pub struct BookMachine {
    /// Nanoseconds since the system's start.
    pub clock: u64,
    /// Access to each page, by domain, region and address.
    pub pages: BTreeMap<(u16, u32, u64), Rights>,
    /// The first breach of the contract.
    pub breach: Option<&'static str>,
    loaded: BTreeSet<u16>,
    threads: BTreeMap<u16, u16>,
    regions: BTreeMap<u32, Span>,
}

impl BookMachine {
    fn expect(&mut self, kept: bool, rule: &'static str) {
        if !kept && self.breach.is_none() {
            self.breach = Some(rule);
        }
    }

    fn pages_of(&mut self, region: RegionIndex, span: Span) -> impl Iterator<Item = u64> + use<> {
        let whole = self.regions.get(&region.0).copied();
        let whole_pages = span.length.is_multiple_of(PAGE) && span.address.is_multiple_of(PAGE);
        let inside = whole.is_some_and(|whole| {
            span.address >= whole.address
                && span.address + span.length <= whole.address + whole.length
        });
        self.expect(whole_pages && inside, "pages are mapped outside their region");
        (span.address..span.address + span.length).step_by(PAGE as usize)
    }
}

impl Machine for BookMachine {
    fn now(&mut self) -> u64 {
        self.clock
    }

    fn load(&mut self, domain: DomainIndex, _: &StartBlock) -> Result<(), MachineError> {
        let fresh = self.loaded.insert(domain.0);
        self.expect(fresh, "a domain is loaded twice");
        Ok(())
    }

    fn unload(&mut self, domain: DomainIndex) {
        self.loaded.remove(&domain.0);
        self.threads.retain(|_, owner| *owner != domain.0);
        self.pages.retain(|(owner, _, _), _| *owner != domain.0);
    }

    fn thread_start(
        &mut self,
        thread: ThreadIndex,
        domain: DomainIndex,
        _: u64,
        _: u64,
        _: u64,
    ) -> Result<(), MachineError> {
        let loaded = self.loaded.contains(&domain.0);
        let fresh = self.threads.insert(thread.0, domain.0).is_none();
        self.expect(
            loaded && fresh,
            "a thread is started twice, or in a domain that is not loaded",
        );
        Ok(())
    }

    fn thread_stop(&mut self, thread: ThreadIndex) {
        let ran = self.threads.remove(&thread.0).is_some();
        self.expect(ran, "a thread is stopped that does not run");
    }

    fn region_create(
        &mut self,
        region: RegionIndex,
        span: Span,
        _: Content,
    ) -> Result<(), MachineError> {
        let fresh = self.regions.insert(region.0, span).is_none();
        self.expect(fresh, "a region gets memory twice");
        Ok(())
    }

    fn region_destroy(&mut self, region: RegionIndex) {
        let mapped = self.pages.keys().any(|(_, other, _)| *other == region.0);
        self.expect(!mapped, "a region is destroyed while it is mapped");
        let existed = self.regions.remove(&region.0).is_some();
        self.expect(existed, "a region is destroyed twice");
    }

    fn map(
        &mut self,
        domain: DomainIndex,
        region: RegionIndex,
        span: Span,
        access: Rights,
    ) -> Result<(), MachineError> {
        let known = access == Rights::READ || access == Rights::READ | Rights::WRITE;
        let loaded = self.loaded.contains(&domain.0);
        self.expect(known && loaded, "pages are mapped with odd access, or in no address space");
        for page in self.pages_of(region, span) {
            self.pages.insert((domain.0, region.0, page), access);
        }
        Ok(())
    }

    fn unmap(&mut self, domain: DomainIndex, region: RegionIndex, span: Span) {
        let loaded = self.loaded.contains(&domain.0);
        self.expect(loaded, "pages are unmapped in no address space");
        for page in self.pages_of(region, span) {
            self.pages.remove(&(domain.0, region.0, page));
        }
    }

    fn throttle(&mut self, _: DomainIndex, _: bool) {
        self.expect(false, "a domain without a budget is throttled");
    }

    fn console_write(&mut self, _: u64, _: &[u8]) {}

    fn devices(&mut self) -> Option<&mut dyn phi_core::Devices> {
        None
    }
}
