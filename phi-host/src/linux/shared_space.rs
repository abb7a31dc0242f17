//! `--mode threads`: all services in this process, in its one address space.
//!
//! What one service has mapped, all can reach: this mode is for debugging and isolates nothing.
//! A page of a region is mapped while any service maps it, with the union of what they may do.

use super::control;
use super::fault::attention_signal;
use super::host_thread::Service;
use super::memory::{self, Access};
use super::region::Region;
use nix::errno::Errno;
use phi_abi::layout::PAGE;
use phi_core::{DomainIndex, RegionIndex, Span};
use std::collections::BTreeMap;
use std::time::Duration;

/// Time between two signals to a thread that shall leave: it may have been in the host's code,
/// where it is not interrupted.
const AGAIN: Duration = Duration::from_micros(500);

/// Who has which pages of the regions mapped.
#[derive(Default)]
pub struct SharedSpace {
    regions: BTreeMap<RegionIndex, Pages>,
}

/// The pages of one region: access by page, 0 for none, 1 for reading, 2 for writing too.
struct Pages {
    address: u64,
    mapped: Vec<u8>,
    wanted: BTreeMap<DomainIndex, Vec<u8>>,
}

impl SharedSpace {
    /// Gives `domain` exactly `access` to the pages of `span`, which the region contains.
    ///
    /// # Errors
    /// What Linux says.
    pub fn set(
        &mut self,
        domain: DomainIndex,
        index: RegionIndex,
        region: &mut Region,
        span: Span,
        access: Option<Access>,
    ) -> nix::Result<()> {
        let place = region.span();
        let count = (place.length / PAGE) as usize;
        let pages = self.regions.entry(index).or_insert_with(|| Pages {
            address: place.address,
            mapped: vec![0; count],
            wanted: BTreeMap::new(),
        });
        let first = ((span.address - place.address) / PAGE) as usize;
        let last = first + (span.length / PAGE) as usize;
        let wanted = pages.wanted.entry(domain).or_insert_with(|| vec![0; count]);
        wanted[first..last].fill(match access {
            None => 0,
            Some(Access::Write) => 2,
            Some(_) => 1,
        });
        pages.apply(region, first, last)
    }

    /// Takes everything that `domain` has mapped of regions away from it.
    ///
    /// # Errors
    /// What Linux says.
    pub fn remove_domain(
        &mut self,
        domain: DomainIndex,
        regions: &mut [Option<Region>],
    ) -> nix::Result<()> {
        for (index, pages) in &mut self.regions {
            if pages.wanted.remove(&domain).is_some()
                && let Some(Some(region)) = regions.get_mut(index.0 as usize)
            {
                pages.apply(region, 0, pages.mapped.len())?;
            }
        }
        Ok(())
    }

    /// Forgets a region, and unmaps what is left of it.
    ///
    /// # Errors
    /// What Linux says.
    pub fn remove_region(&mut self, index: RegionIndex) -> nix::Result<()> {
        match self.regions.remove(&index) {
            Some(pages) if pages.mapped.iter().any(|access| *access != 0) => {
                memory::unmap(pages.address, pages.mapped.len() as u64 * PAGE)
            }
            _ => Ok(()),
        }
    }
}

impl Pages {
    /// Maps the pages `first..last` as everybody wants them, in runs of equal access.
    fn apply(&mut self, region: &mut Region, first: usize, last: usize) -> nix::Result<()> {
        let union = |page: usize| self.wanted.values().map(|pages| pages[page]).max().unwrap_or(0);
        let mut start = first;
        while start < last {
            let access = union(start);
            let before = self.mapped[start];
            let mut end = start + 1;
            while end < last && union(end) == access && self.mapped[end] == before {
                end += 1;
            }
            if access != before {
                let address = self.address + start as u64 * PAGE;
                change(region, address, (end - start) as u64 * PAGE, access)?;
                self.mapped[start..end].fill(access);
            }
            start = end;
        }
        Ok(())
    }
}

fn change(region: &mut Region, address: u64, length: u64, access: u8) -> nix::Result<()> {
    let access = match access {
        0 => return memory::unmap(address, length),
        1 => Access::Read,
        _ => Access::Write,
    };
    let (file, offset) = region.source(address, access).map_err(|_| Errno::EMFILE)?;
    memory::map(address, length, access, memory::Source::Shared(file, offset))
}

/// Makes all threads of a service leave it, wherever they are, and waits until they have.
pub fn stop_threads(service: &Service) {
    let pages = || (0..service.control.threads()).map(|slot| service.control.page(slot));
    for page in pages() {
        page.end();
        page.set_held(false);
    }
    for page in pages() {
        while page.state() != control::IDLE {
            interrupt(page.thread());
            page.wait_while(control::ENDED, Some(AGAIN));
        }
    }
}

/// Makes all threads of a service that run pause until they are no longer held.
pub fn hold_threads(service: &Service, held: bool) {
    for slot in 0..service.control.threads() {
        let page = service.control.page(slot);
        page.set_held(held);
        if held && page.state() == control::RUNNING {
            interrupt(page.thread());
        }
    }
}

/// Nanoseconds of CPU time that the threads of a service have used.
pub fn cpu_time(service: &Service) -> u64 {
    (0..service.control.threads())
        .filter_map(|slot| {
            let thread = service.control.page(slot).thread();
            // Linux's own rule for the number of the CPU clock of a thread of this process.
            let clock = nix::time::ClockId::from_raw((!thread << 3) | 6);
            let time = (thread > 0).then(|| clock.now().ok()).flatten()?;
            Some(std::time::Duration::from(time).as_nanos() as u64)
        })
        .sum()
}

fn interrupt(thread: i32) {
    if thread > 0 {
        // SAFETY: the signal's handler is installed for as long as there are host threads, and
        // interrupts them only where they hold nothing.
        unsafe {
            libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, attention_signal());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use phi_abi::layout::WINDOWS_BASE;

    #[test]
    fn a_page_stays_while_anybody_maps_it() {
        let place = Span { address: WINDOWS_BASE + 0x7200_0000, length: 4 * PAGE };
        let mut regions = [Some(Region::zeroed(place).unwrap())];
        let mut space = SharedSpace::default();
        let (index, one, two) = (RegionIndex(0), DomainIndex(1), DomainIndex(2));
        let middle = Span { address: place.address + PAGE, length: 2 * PAGE };
        space.set(one, index, regions[0].as_mut().unwrap(), place, Some(Access::Read)).unwrap();
        space.set(two, index, regions[0].as_mut().unwrap(), middle, Some(Access::Write)).unwrap();
        assert_eq!(space.regions[&index].mapped, [1, 2, 2, 1]);
        space.set(one, index, regions[0].as_mut().unwrap(), place, None).unwrap();
        assert_eq!(space.regions[&index].mapped, [0, 2, 2, 0]);
        // SAFETY: the page is mapped for writing.
        unsafe { (middle.address as *mut u8).write_volatile(7) };
        space.set(one, index, regions[0].as_mut().unwrap(), place, Some(Access::Read)).unwrap();
        space.remove_domain(two, &mut regions).unwrap();
        assert_eq!(space.regions[&index].mapped, [1, 1, 1, 1]);
        // SAFETY: the page is mapped for reading.
        assert_eq!(unsafe { (middle.address as *const u8).read_volatile() }, 7);
        space.remove_region(index).unwrap();
    }
}
