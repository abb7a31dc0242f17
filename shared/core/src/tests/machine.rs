//! A machine that only keeps books, and panics when ΦCore breaks the contract of [`Machine`].

use super::hardware::FakeHardware;
use crate::{Content, DomainIndex, Machine, MachineError, RegionIndex, Span, ThreadIndex};
use phi_abi::layout::PAGE;
use phi_abi::{Rights, StartBlock};
use std::boxed::Box;
use std::collections::{BTreeMap, BTreeSet};
use std::vec::Vec;

/// How often each of these is to fail from now on.
#[derive(Clone, Copy, Default)]
pub(crate) struct Failures {
    pub(crate) load: u32,
    pub(crate) thread_start: u32,
    pub(crate) region_create: u32,
    pub(crate) map: u32,
}

/// How a thread was started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Started {
    pub(crate) domain: u16,
    pub(crate) entry: u64,
    pub(crate) stack: u64,
    pub(crate) argument: u64,
}

/// A loaded domain: its start block, and the access to each page of each region.
pub(crate) struct Space {
    pub(crate) start: Box<StartBlock>,
    pub(crate) pages: BTreeMap<(u32, u64), Rights>,
}

#[derive(Default)]
pub(crate) struct FakeMachine {
    pub(crate) clock: u64,
    pub(crate) spaces: BTreeMap<u16, Space>,
    pub(crate) threads: BTreeMap<u16, Started>,
    pub(crate) regions: BTreeMap<u32, (Span, Content)>,
    pub(crate) throttled: BTreeSet<u16>,
    pub(crate) console: Vec<(u64, Vec<u8>)>,
    pub(crate) failures: Failures,
    /// Domains in which a mapping has failed since they were loaded, with the region.
    pub(crate) failed_maps: BTreeSet<(u16, u32)>,
    pub(crate) hardware: FakeHardware,
}

fn fails(count: &mut u32) -> Result<(), MachineError> {
    match count.checked_sub(1) {
        Some(left) => {
            *count = left;
            Err(MachineError)
        }
        None => Ok(()),
    }
}

impl FakeMachine {
    /// What `domain` may do at `address` of `region`.
    pub(crate) fn access(&self, domain: u16, region: u32, address: u64) -> Rights {
        let page = address & !(PAGE - 1);
        let space = self.spaces.get(&domain);
        let access = space.and_then(|space| space.pages.get(&(region, page)));
        access.copied().unwrap_or_default()
    }

    /// Everything written to one stream of the console.
    pub(crate) fn written(&self, stream: u64) -> Vec<u8> {
        let lines = self.console.iter().filter(|(other, _)| *other == stream);
        lines.flat_map(|(_, bytes)| bytes.iter().copied()).collect()
    }

    /// Regions that the devices have made are regions as others are.
    pub(crate) fn take_device_memory(&mut self) {
        for (region, span) in core::mem::take(&mut self.hardware.made) {
            let before = self.regions.insert(region.0, (span, Content::Zero));
            assert!(before.is_none(), "{region:?} has memory already");
        }
    }

    fn pages_of(&self, region: RegionIndex, span: Span) -> impl Iterator<Item = u64> + use<> {
        let (whole, _) = self.regions.get(&region.0).expect("a region that has memory");
        assert!(span.length > 0 && span.length.is_multiple_of(PAGE), "not whole pages: {span:?}");
        assert!(span.address.is_multiple_of(PAGE), "not at a page: {span:?}");
        let inside = span.address >= whole.address
            && span.address + span.length <= whole.address + whole.length;
        assert!(inside, "{span:?} is not within {whole:?}");
        (span.address..span.address + span.length).step_by(PAGE as usize)
    }
}

impl Machine for FakeMachine {
    fn now(&mut self) -> u64 {
        self.clock
    }

    fn load(&mut self, domain: DomainIndex, start: &StartBlock) -> Result<(), MachineError> {
        assert!(!self.spaces.contains_key(&domain.0), "{domain:?} is loaded already");
        fails(&mut self.failures.load)?;
        let (start, pages) = (Box::new(start.clone()), BTreeMap::new());
        self.spaces.insert(domain.0, Space { start, pages });
        Ok(())
    }

    fn unload(&mut self, domain: DomainIndex) {
        self.spaces.remove(&domain.0);
        self.throttled.remove(&domain.0);
        self.threads.retain(|_, started| started.domain != domain.0);
        self.failed_maps.retain(|(other, _)| *other != domain.0);
    }

    fn thread_start(
        &mut self,
        thread: ThreadIndex,
        domain: DomainIndex,
        entry: u64,
        stack: u64,
        argument: u64,
    ) -> Result<(), MachineError> {
        assert!(self.spaces.contains_key(&domain.0), "a thread of {domain:?}, which is not loaded");
        assert!(!self.threads.contains_key(&thread.0), "{thread:?} is started already");
        assert!(stack.is_multiple_of(16), "the stack {stack:#x} is not aligned");
        fails(&mut self.failures.thread_start)?;
        self.threads.insert(thread.0, Started { domain: domain.0, entry, stack, argument });
        Ok(())
    }

    fn thread_stop(&mut self, thread: ThreadIndex) {
        assert!(self.threads.remove(&thread.0).is_some(), "{thread:?} was not started");
    }

    fn region_create(
        &mut self,
        region: RegionIndex,
        span: Span,
        content: Content,
    ) -> Result<(), MachineError> {
        assert!(!self.regions.contains_key(&region.0), "{region:?} has memory already");
        assert!(span.length > 0 && span.length.is_multiple_of(PAGE), "not whole pages: {span:?}");
        assert!(span.address.is_multiple_of(PAGE), "not at a page: {span:?}");
        let end = span.address + span.length;
        let apart = |(other, _): &(Span, Content)| {
            end <= other.address || other.address + other.length <= span.address
        };
        assert!(self.regions.values().all(apart), "{span:?} overlaps another region");
        fails(&mut self.failures.region_create)?;
        self.regions.insert(region.0, (span, content));
        Ok(())
    }

    fn region_destroy(&mut self, region: RegionIndex) {
        for (domain, space) in &self.spaces {
            let mapped = space.pages.keys().any(|(other, _)| *other == region.0);
            assert!(!mapped, "{region:?} is destroyed while domain {domain} maps it");
        }
        self.hardware.region_is_gone(region);
        self.take_device_memory();
        assert!(self.regions.remove(&region.0).is_some(), "{region:?} has no memory");
    }

    fn map(
        &mut self,
        domain: DomainIndex,
        region: RegionIndex,
        span: Span,
        access: Rights,
    ) -> Result<(), MachineError> {
        let valid = access == Rights::READ || access == Rights::READ | Rights::WRITE;
        assert!(valid, "mapped with {access:?}");
        self.take_device_memory();
        let pages = self.pages_of(region, span);
        assert!(self.spaces.contains_key(&domain.0), "mapped into {domain:?}, which is not loaded");
        if fails(&mut self.failures.map).is_err() {
            self.failed_maps.insert((domain.0, region.0));
            return Err(MachineError);
        }
        let space = self.spaces.get_mut(&domain.0).expect("checked above");
        space.pages.extend(pages.map(|page| ((region.0, page), access)));
        Ok(())
    }

    fn unmap(&mut self, domain: DomainIndex, region: RegionIndex, span: Span) {
        let pages = self.pages_of(region, span);
        let space = self.spaces.get_mut(&domain.0).expect("unmapped from a domain that is loaded");
        for page in pages {
            space.pages.remove(&(region.0, page));
        }
    }

    fn throttle(&mut self, domain: DomainIndex, stopped: bool) {
        assert!(self.spaces.contains_key(&domain.0), "throttled {domain:?}, which is not loaded");
        if stopped {
            self.throttled.insert(domain.0);
        } else {
            self.throttled.remove(&domain.0);
        }
    }

    fn console_write(&mut self, stream: u64, bytes: &[u8]) {
        self.console.push((stream, bytes.to_vec()));
    }

    fn devices(&mut self) -> Option<&mut dyn crate::Devices> {
        Some(&mut self.hardware)
    }
}
