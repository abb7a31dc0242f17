//! What a service's process really has: a check by the supervisor, which believes no answer.
//!
//! A hostile image shares its process with the agent, so it can answer in the agent's place, take
//! the descriptors that were meant for it, and keep what it should give back. It maps what the
//! supervisor lets through ([`super::watch`]) and has no other way to memory. So what counts are three
//! questions to Linux: which shared memory is mapped, how many descriptors are open, and whether some
//! are still on their way.

use super::memory::Access;
use nix::errno::Errno;
use nix::unistd::Pid;
use phi_abi::layout::{SERVICES, WINDOW_SIZE, WINDOWS_BASE};
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::FileExt;

/// The windows of all services: nothing can be mapped elsewhere while an image runs.
const WINDOWS: Range<u64> = WINDOWS_BASE..WINDOWS_BASE + (SERVICES as u64 + 1) * WINDOW_SIZE;

/// Descriptors that a service's process keeps: its socket and its doorbell.
const DESCRIPTORS: u64 = 2;

/// Mappings that may be found for each part that is allowed, since Linux may not join all that
/// could be one, and mappings that may be found at all.
const MAPPINGS: [usize; 2] = [4, 16];

/// Shared memory that a process may have mapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Share {
    /// The file's number.
    pub file: u64,
    /// What to add to an address for the offset in the file.
    pub offset: u64,
    /// Whether it may be written.
    pub write: bool,
}

/// The shared memory that a process may have mapped, by address.
#[derive(Default, Debug)]
pub struct Book {
    parts: BTreeMap<u64, (u64, Share)>,
}

impl Book {
    /// Says that all of `place` may be mapped as `share`, or not at all.
    pub fn set(&mut self, place: Range<u64>, share: Option<Share>) {
        let before = self.parts.range(..place.end).rev();
        let touched: Vec<_> = before
            .take_while(|(_, (end, _))| *end > place.start)
            .map(|(start, (end, share))| (*start, *end, *share))
            .collect();
        for (start, end, share) in touched {
            self.parts.remove(&start);
            if start < place.start {
                self.parts.insert(start, (place.start, share));
            }
            if end > place.end {
                self.parts.insert(place.end, (end, share));
            }
        }
        if let Some(share) = share {
            self.insert(place, share);
        }
    }

    /// Whether all of `place` may be mapped as `share`, exactly.
    pub fn holds(&self, place: Range<u64>, share: Share) -> bool {
        let part = self.parts.range(..=place.start).next_back();
        part.is_some_and(|(_, (end, held))| *end >= place.end && *held == share)
    }

    /// Adds a part where none is, and joins it with its neighbours.
    fn insert(&mut self, mut place: Range<u64>, share: Share) {
        let last = self.parts.range(..place.start).next_back();
        if let Some((start, (end, before))) = last
            && *end == place.start
            && *before == share
        {
            place.start = *start;
        }
        if let Some((end, after)) = self.parts.get(&place.end).copied()
            && after == share
        {
            self.parts.remove(&place.end);
            place.end = end;
        }
        self.parts.insert(place.start, (place.end, share));
    }

    fn allows(&self, mapping: &Mapping) -> bool {
        let mut address = mapping.start;
        while address < mapping.end {
            let Some((_, (end, share))) = self.parts.range(..=address).next_back() else {
                return false;
            };
            let same = share.file == mapping.file
                && address.wrapping_add(share.offset) == mapping.offset + (address - mapping.start);
            if *end <= address || !same || (mapping.write && !share.write) || mapping.execute {
                return false;
            }
            address = *end;
        }
        true
    }
}

/// One mapping of shared memory.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Mapping {
    start: u64,
    end: u64,
    offset: u64,
    file: u64,
    write: bool,
    execute: bool,
}

/// The view that the supervisor has of a process.
pub struct View {
    id: Pid,
    /// The list of what is mapped in the address space that the process began with. It cannot get
    /// another one, and this stays with it even when the process's first thread has ended.
    maps: File,
    /// Descriptors that it keeps.
    expected: u64,
}

impl View {
    /// Of the process `id`, a child of this one that has not been waited for.
    ///
    /// # Errors
    /// What Linux says.
    pub fn new(id: Pid) -> io::Result<View> {
        let maps = File::open(format!("/proc/{id}/maps"))?;
        Ok(View { id, maps, expected: DESCRIPTORS })
    }

    /// Whether the process has no shared memory mapped but what `book` allows, and no descriptor of
    /// memory, neither open nor unread in its `socket`, of which this is the supervisor's end. A
    /// process that is gone has nothing.
    pub fn complies(&self, book: &Book, socket: BorrowedFd) -> bool {
        nothing_unread(socket) && self.descriptors() == Some(self.expected) && self.maps_as(book)
    }

    /// Says that the process keeps `count` descriptors more than every service's.
    pub fn expect_more_descriptors(&mut self, count: u64) {
        self.expected = DESCRIPTORS + count;
    }

    /// Whether all of `place` is mapped as `share`, exactly.
    pub fn has(&self, place: Range<u64>, share: Share) -> bool {
        let mut book = Book::default();
        book.set(place.clone(), Some(share));
        let listed = self.next_mapping(place.start) == Err(Errno::ENOTTY);
        let all = if listed { self.listed().unwrap_or_default() } else { Vec::new() };
        let mut address = place.start;
        while address < place.end {
            let found = if listed {
                all.iter().find(|mapping| mapping.end > address).cloned()
            } else {
                self.next_mapping(address).ok().flatten()
            };
            let Some(found) = found.filter(|mapping| mapping.start <= address) else {
                return false;
            };
            let end = found.end.min(place.end);
            let offset = found.offset + (address - found.start);
            let part = Mapping { start: address, end, offset, ..found };
            if part.write != share.write || !book.allows(&part) {
                return false;
            }
            address = end;
        }
        true
    }

    fn descriptors(&self) -> Option<u64> {
        let folder = format!("/proc/{}/fd", self.id);
        // Since Linux 6.2, the folder's size is their number.
        match std::fs::metadata(&folder).ok()?.len() {
            0 => Some(std::fs::read_dir(&folder).ok()?.count() as u64),
            count => Some(count),
        }
    }

    fn maps_as(&self, book: &Book) -> bool {
        let [each, least] = MAPPINGS;
        let mut left = book.parts.len() * each + least;
        let mut address = WINDOWS.start;
        while address < WINDOWS.end {
            match self.next_mapping(address) {
                Ok(None) => return true,
                Ok(Some(mapping)) if left > 0 && book.allows(&mapping) => address = mapping.end,
                Err(Errno::ENOTTY) => {
                    return self
                        .listed()
                        .is_some_and(|listed| listed.iter().all(|mapping| book.allows(mapping)));
                }
                _ => return false,
            }
            left -= 1;
        }
        true
    }

    /// The first mapping of shared memory in the windows that ends after `address`.
    ///
    /// # Errors
    /// `ENOTTY` before Linux 6.11, which must be asked for all of them; `ESRCH` when the process is
    /// gone.
    fn next_mapping(&self, address: u64) -> Result<Option<Mapping>, Errno> {
        let mut query = Query {
            size: size_of::<Query>() as u64,
            flags: COVERING_OR_NEXT | FILE_BACKED | SHARED,
            address,
            ..Query::default()
        };
        // SAFETY: the kernel reads and writes a query, whose size it is told.
        let result = unsafe { libc::ioctl(self.maps.as_raw_fd(), QUERY, &raw mut query) };
        match Errno::result(result) {
            Err(Errno::ENOENT) => return Ok(None),
            result => result?,
        };
        let mapping = Mapping {
            start: query.start,
            end: query.end,
            offset: query.offset,
            file: query.inode,
            write: query.vma_flags & WRITABLE != 0,
            execute: query.vma_flags & EXECUTABLE != 0,
        };
        Ok((mapping.start < WINDOWS.end).then_some(mapping))
    }

    /// All mappings of shared memory in the windows, from the list in words.
    fn listed(&self) -> Option<Vec<Mapping>> {
        let mut text = Vec::new();
        let mut part = [0; 16 << 10];
        loop {
            match self.maps.read_at(&mut part, text.len() as u64).ok()? {
                0 => break,
                length => text.extend_from_slice(&part[..length]),
            }
        }
        // What could not be understood would not be looked at, so it is no list then.
        let text = String::from_utf8(text).ok()?;
        let mut found = Vec::new();
        for line in text.lines() {
            let (mapping, shared) = listed(line)?;
            if shared && mapping.file != 0 && WINDOWS.contains(&mapping.start) {
                found.push(mapping);
            }
        }
        // The list of a process that is gone is empty.
        (!text.is_empty()).then_some(found)
    }
}

/// A mapping as a line of the list, and whether it is shared.
fn listed(line: &str) -> Option<(Mapping, bool)> {
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let access = words.next()?;
    let hexadecimal = |word: &str| u64::from_str_radix(word, 16).ok();
    let offset = hexadecimal(words.next()?)?;
    let file = words.nth(1)?.parse().ok()?;
    let (start, end) = (hexadecimal(start)?, hexadecimal(end)?);
    let (write, execute) = (access.contains('w'), access.contains('x'));
    Some((Mapping { start, end, offset, file, write, execute }, access.ends_with('s')))
}

/// Whether the other side has read all that was sent to it.
fn nothing_unread(socket: BorrowedFd) -> bool {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the kernel writes one number.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    result == 0 && bytes == 0
}

/// Whether and what for a mapping may be used, in a query and its answer.
const WRITABLE: u64 = 1 << 1;
const EXECUTABLE: u64 = 1 << 2;
const SHARED: u64 = 1 << 3;
/// What a query asks for.
const COVERING_OR_NEXT: u64 = 1 << 4;
const FILE_BACKED: u64 = 1 << 5;

/// `PROCMAP_QUERY`: read and write, of a query, number 17 of the file system `proc`.
const QUERY: libc::c_ulong =
    3 << 30 | (size_of::<Query>() as libc::c_ulong) << 16 | (b'f' as libc::c_ulong) << 8 | 17;

/// A query about a mapping, as Linux lays it out.
#[repr(C)]
#[derive(Default)]
struct Query {
    size: u64,
    flags: u64,
    address: u64,
    start: u64,
    end: u64,
    vma_flags: u64,
    page_size: u64,
    offset: u64,
    inode: u64,
    device: [u32; 2],
    name_and_build_size: [u32; 2],
    name_address: u64,
    build_address: u64,
}

const _: () = assert!(size_of::<Query>() == 104);

impl Share {
    /// What may be mapped of `file` when `access` to it from `offset` on is given at `address`.
    ///
    /// # Errors
    /// What Linux says.
    pub fn new(file: BorrowedFd, offset: u64, address: u64, access: Access) -> nix::Result<Share> {
        let file = nix::sys::stat::fstat(file)?.st_ino;
        Ok(Share { file, offset: offset.wrapping_sub(address), write: access == Access::Write })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(file: u64) -> Share {
        Share { file, offset: 0u64.wrapping_sub(0x1000), write: false }
    }

    fn mapping(start: u64, end: u64) -> Mapping {
        Mapping { start, end, offset: start - 0x1000, file: 1, write: false, execute: false }
    }

    #[test]
    fn a_mapping_must_be_covered_by_what_is_allowed() {
        let mut book = Book::default();
        book.set(0x1000..0x5000, Some(share(1)));
        assert!(book.allows(&mapping(0x2000, 0x5000)));
        assert!(!book.allows(&mapping(0x4000, 0x6000)));
        book.set(0x5000..0x6000, Some(share(1)));
        assert_eq!(book.parts.len(), 1);
        assert!(book.allows(&mapping(0x4000, 0x6000)));
        book.set(0x2000..0x3000, None);
        assert_eq!(book.parts.len(), 2);
        assert!(book.allows(&mapping(0x1000, 0x2000)));
        assert!(!book.allows(&mapping(0x1000, 0x2001)));
        assert!(!book.allows(&mapping(0x2000, 0x3000)));
        assert!(book.allows(&mapping(0x3000, 0x6000)));
        book.set(0..u64::MAX, None);
        assert!(book.parts.is_empty());
    }

    #[test]
    fn file_place_and_access_count() {
        let mut book = Book::default();
        book.set(0x1000..0x5000, Some(share(1)));
        let good = mapping(0x1000, 0x3000);
        assert!(book.allows(&good));
        assert!(!book.allows(&Mapping { file: 2, ..good.clone() }));
        assert!(!book.allows(&Mapping { offset: 0x1000, ..good.clone() }));
        assert!(!book.allows(&Mapping { write: true, ..good.clone() }));
        assert!(!book.allows(&Mapping { execute: true, ..good }));
        book.set(0x2000..0x3000, Some(Share { write: true, ..share(1) }));
        assert_eq!(book.parts.len(), 3);
        assert!(book.allows(&Mapping { write: true, ..mapping(0x2000, 0x3000) }));
        assert!(book.allows(&mapping(0x1000, 0x5000)));
    }

    #[test]
    fn both_ways_to_ask_find_the_same() {
        use super::super::memory::{self, Source};
        use std::os::fd::AsFd;
        let memory = memory::create("phi-test", 0x3000).unwrap();
        let address = WINDOWS_BASE + 0x7300_0000;
        let source = Source::Shared(memory.as_fd(), 0x1000);
        memory::map(address, 0x2000, Access::Write, source).unwrap();
        let view = View::new(nix::unistd::getpid()).unwrap();
        let found = view.listed().unwrap();
        let found = found.iter().find(|mapping| mapping.start == address).unwrap();
        match view.next_mapping(address) {
            Err(Errno::ENOTTY) => {}
            asked => assert_eq!(asked.unwrap().as_ref(), Some(found)),
        }
        assert_eq!((found.end, found.offset), (address + 0x2000, 0x1000));
        let share = Share::new(memory.as_fd(), 0x1000, address, Access::Write).unwrap();
        let mut book = Book::default();
        book.set(address..address + 0x2000, Some(share));
        assert!(book.allows(found));
        memory::unmap(address, 0x2000).unwrap();
    }
}
