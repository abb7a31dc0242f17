//! Memory at the fixed addresses of the layout, in this process.

#![expect(unsafe_code, reason = "maps memory at addresses of the layout")]

use phi_abi::layout::{PAGE, SERVICES, START_SIZE, WINDOW_SIZE, WINDOWS_BASE};
use phi_abi::{Rights, StartBlock};
use phi_core::{DomainIndex, RegionIndex, Span};
use std::collections::BTreeMap;
use std::io;

/// Access to mapped memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Access {
    /// None.
    None,
    /// Read only.
    Read,
    /// Read and write.
    Write,
    /// Read and execute.
    Execute,
}

impl Access {
    fn protection(self) -> i32 {
        match self {
            Access::None => libc::PROT_NONE,
            Access::Read => libc::PROT_READ,
            Access::Write => libc::PROT_READ | libc::PROT_WRITE,
            Access::Execute => libc::PROT_READ | libc::PROT_EXEC,
        }
    }
}

/// Whether these are whole pages within the windows, where nothing of the host ever lies.
fn in_windows(address: u64, length: u64) -> io::Result<()> {
    let end = WINDOWS_BASE + (SERVICES as u64 + 1) * WINDOW_SIZE;
    let whole = address.is_multiple_of(PAGE) && length.is_multiple_of(PAGE) && length > 0;
    let inside = address >= WINDOWS_BASE && address < end && length <= end - address;
    if whole && inside { Ok(()) } else { Err(io::ErrorKind::InvalidInput.into()) }
}

/// Maps memory that begins with `bytes` and goes on with zeros.
///
/// # Errors
/// Linux's, or the place is not whole pages within the windows.
pub(super) fn map(address: u64, length: u64, access: Access, bytes: &[u8]) -> io::Result<()> {
    in_windows(address, length)?;
    let writable = Access::Write.protection();
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_NORESERVE;
    let place = address as *mut libc::c_void;
    // SAFETY: the pages lie in the windows, where only services' memory is: no Rust object of the host
    // is replaced.
    let mapped = unsafe { libc::mmap(place, length as usize, writable, flags, -1, 0) };
    if mapped == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let count = bytes.len().min(length as usize);
    // SAFETY: the pages were just mapped for writing, and no service runs.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), mapped.cast(), count) };
    protect(address, length, access)
}

fn protect(address: u64, length: u64, access: Access) -> io::Result<()> {
    in_windows(address, length)?;
    let place = address as *mut libc::c_void;
    // SAFETY: as in `map`.
    match unsafe { libc::mprotect(place, length as usize, access.protection()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Takes memory away. What lies outside the windows is left alone.
pub(super) fn unmap(address: u64, length: u64) {
    if in_windows(address, length).is_ok() {
        // SAFETY: as in `map`. It fails only where Linux has no memory for its own lists; then the
        // pages stay until something else is mapped there.
        unsafe { libc::munmap(address as *mut libc::c_void, length as usize) };
    }
}

/// A start block as the bytes that a service reads.
pub(super) fn bytes_of(start: &StartBlock) -> &[u8] {
    const { assert!(size_of::<StartBlock>() as u64 <= START_SIZE) };
    // SAFETY: a start block is numbers and arrays of numbers in a C layout, as long as the slice.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(start).cast(), size_of::<StartBlock>()) }
}

/// The pages of one region: 0 for no access, 1 for reading, 2 for writing too.
struct Pages {
    span: Span,
    mapped: Vec<u8>,
    wanted: BTreeMap<DomainIndex, Vec<u8>>,
}

/// The memory of all regions, and who has which pages of it mapped.
#[derive(Default)]
pub(super) struct Regions {
    regions: BTreeMap<RegionIndex, Pages>,
}

impl Regions {
    /// Gives a region memory, which nobody can reach yet.
    pub(super) fn create(
        &mut self,
        index: RegionIndex,
        span: Span,
        bytes: &[u8],
    ) -> io::Result<()> {
        map(span.address, span.length, Access::None, bytes)?;
        let mapped = vec![0; (span.length / PAGE) as usize];
        self.regions.insert(index, Pages { span, mapped, wanted: BTreeMap::new() });
        Ok(())
    }

    /// Takes a region's memory away.
    pub(super) fn destroy(&mut self, index: RegionIndex) {
        if let Some(Pages { span, .. }) = self.regions.remove(&index) {
            unmap(span.address, span.length);
        }
    }

    /// Takes all memory away.
    pub(super) fn clear(&mut self) {
        for Pages { span, .. } in std::mem::take(&mut self.regions).into_values() {
            unmap(span.address, span.length);
        }
    }

    /// Gives `domain` exactly `access` to the pages of `span`.
    pub(super) fn set(
        &mut self,
        domain: DomainIndex,
        index: RegionIndex,
        span: Span,
        access: Rights,
    ) -> io::Result<()> {
        let invalid = || io::Error::from(io::ErrorKind::InvalidInput);
        let pages = self.regions.get_mut(&index).ok_or_else(invalid)?;
        let first = span.address.checked_sub(pages.span.address).ok_or_else(invalid)? / PAGE;
        let (first, last) = (first as usize, (first + span.length / PAGE) as usize);
        let count = pages.mapped.len();
        let wanted = pages.wanted.entry(domain).or_insert_with(|| vec![0; count]);
        let level = match (access.contains(Rights::WRITE), access.contains(Rights::READ)) {
            (true, _) => 2,
            (false, true) => 1,
            (false, false) => 0,
        };
        wanted.get_mut(first..last).ok_or_else(invalid)?.fill(level);
        pages.apply(first, last)
    }

    /// Takes all regions away from a domain.
    pub(super) fn remove_domain(&mut self, domain: DomainIndex) {
        for pages in self.regions.values_mut() {
            if pages.wanted.remove(&domain).is_some() {
                // Less access needs no memory but for Linux's own lists.
                let _ = pages.apply(0, pages.mapped.len());
            }
        }
    }
}

impl Pages {
    /// Gives the pages `first..last` the access that everybody together wants, in runs.
    fn apply(&mut self, first: usize, last: usize) -> io::Result<()> {
        let union = |page: usize| self.wanted.values().map(|pages| pages[page]).max().unwrap_or(0);
        let mut start = first;
        while start < last {
            let (access, before) = (union(start), self.mapped[start]);
            let mut end = start + 1;
            while end < last && union(end) == access && self.mapped[end] == before {
                end += 1;
            }
            if access != before {
                let address = self.span.address + start as u64 * PAGE;
                let level = match access {
                    0 => Access::None,
                    1 => Access::Read,
                    _ => Access::Write,
                };
                protect(address, (end - start) as u64 * PAGE, level)?;
                self.mapped[start..end].fill(access);
            }
            start = end;
        }
        Ok(())
    }
}
