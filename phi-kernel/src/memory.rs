//! Memory: the ranges that the loader names, the kernel's heap, and the frames of domains and regions.

use crate::arch::direct;
use alloc::vec::Vec;
use core::ops::Range;
use linked_list_allocator::LockedHeap;
use phi_abi::layout::PAGE;
use phi_core::MachineError;
use phi_mem::{FrameAllocator, FrameRange};
use phi_tables::LARGE;

/// Ranges of a memory map, at most.
const RANGES: usize = 64;

/// The kernel's heap: ΦCore's pools, page tables' bookkeeping, and what the plan says.
#[global_allocator]
static HEAP: LockedHeap = LockedHeap::empty();

/// Bytes of heap: this fraction of memory, but not less than the least nor more than the most, nor more than
/// half a range.
const HEAP_FRACTION: u64 = 8;
const HEAP_LEAST: u64 = 512 << 10;
const HEAP_MOST: u64 = 1 << 30;

/// A few ranges of physical addresses, in no order.
#[derive(Clone)]
pub struct Ranges {
    list: [Range<u64>; RANGES],
    count: usize,
}

impl Ranges {
    /// None.
    pub const EMPTY: Ranges = Ranges { list: [const { 0..0 }; RANGES], count: 0 };

    /// Adds a range that overlaps no other, unless it is empty. `false` when there are too many.
    pub fn add(&mut self, range: Range<u64>) -> bool {
        if range.start >= range.end {
            return true;
        }
        let Some(place) = self.list.get_mut(self.count) else { return false };
        *place = range;
        self.count += 1;
        true
    }

    /// Takes what is in `hole` out. `false` when there are too many ranges.
    pub fn remove(&mut self, hole: &Range<u64>) -> bool {
        let before = core::mem::replace(self, Ranges::EMPTY);
        before.iter().all(|range| {
            self.add(range.start..range.end.min(hole.start))
                && self.add(range.start.max(hole.end)..range.end)
        })
    }

    /// Whether one of the ranges holds all of `part`.
    pub fn contain(&self, part: &Range<u64>) -> bool {
        self.iter().any(|range| range.start <= part.start && part.end <= range.end)
    }

    /// Whether one of the ranges has something of `part`.
    pub fn meet(&self, part: &Range<u64>) -> bool {
        self.iter().any(|range| range.start < part.end && part.start < range.end)
    }

    /// The ranges.
    pub fn iter(&self) -> impl Iterator<Item = &Range<u64>> {
        self.list[..self.count].iter()
    }
}

/// Takes a part of `free` below `limit` as the kernel's heap. `false` when there is no memory.
///
/// # Safety
/// Called once; the memory is the kernel's, nobody uses it, and it is mapped.
pub unsafe fn set_up_heap(free: &mut Ranges, limit: u64) -> bool {
    let total: u64 = free.iter().map(|range| range.end - range.start).sum();
    let early = free.iter().map(|range| range.start..range.end.min(limit));
    let Some(largest) = early.max_by_key(|range| range.end.saturating_sub(range.start)) else {
        return false;
    };
    let room = largest.end.saturating_sub(largest.start) / 2;
    let size = (total / HEAP_FRACTION).clamp(HEAP_LEAST, HEAP_MOST).min(room) & !(PAGE - 1);
    if size == 0 || !free.remove(&(largest.start..largest.start + size)) {
        return false;
    }
    // SAFETY: the memory is in the direct map, and with the range removed nobody else uses it.
    unsafe { HEAP.lock().init(direct(largest.start), size as usize) };
    true
}

/// The frames of `free`, those below `limit` first.
pub fn frames(free: &Ranges, limit: u64) -> FrameAllocator {
    let below = free.iter().map(|range| range.start..range.end.min(limit));
    let beyond = free.iter().map(|range| range.start.max(limit)..range.end);
    let ranges = below.chain(beyond).map(|range| FrameRange::within(range.start, range.end));
    FrameAllocator::new(&ranges.filter(|range| range.count > 0).collect::<Vec<_>>())
}

/// The place with this number, made if it is not there.
///
/// # Errors
/// The heap is used up.
pub fn slot<T>(list: &mut Vec<Option<T>>, number: usize) -> Result<&mut Option<T>, MachineError> {
    if number >= list.len() {
        list.try_reserve(number + 1 - list.len()).map_err(|_| MachineError)?;
        list.resize_with(number + 1, || None);
    }
    Ok(&mut list[number])
}

/// Takes `count` frames in a row: if a large page fits in, then where it can be one, as long as there is such
/// a place. Regions begin at addresses of large pages.
fn take_run(count: u64, allocator: &mut FrameAllocator) -> Option<u64> {
    let large = if count >= LARGE { allocator.allocate_run(count, LARGE) } else { None };
    large.or_else(|| allocator.allocate_run(count, 1))
}

/// Frames that belong together: a region's, or a part of a domain. Each run lies after the one before
/// it in the addresses of whoever maps them.
#[derive(Clone, Default, Debug)]
pub struct Frames {
    runs: Vec<FrameRange>,
}

impl Frames {
    /// Frames in a row.
    ///
    /// # Errors
    /// The heap is used up.
    pub fn of_run(run: FrameRange) -> Result<Frames, MachineError> {
        let mut frames = Frames::default();
        frames.push(run)?;
        Ok(frames)
    }

    /// `count` frames of zeros, in as few runs as there are.
    ///
    /// # Errors
    /// There is not so much memory; nothing was taken.
    pub fn zeroed(count: u64, allocator: &mut FrameAllocator) -> Result<Frames, MachineError> {
        if count > allocator.free_frames() {
            return Err(MachineError);
        }
        let mut frames = Frames::default();
        let (mut missing, mut length) = (count, count);
        while missing > 0 {
            length = length.min(missing);
            let first = match length {
                1 => allocator.allocate(),
                _ => take_run(length, allocator),
            };
            match first {
                Some(first) => {
                    let run = FrameRange { first, count: length };
                    if frames.push(run).is_err() {
                        allocator.free(first, length);
                        frames.free(allocator);
                        return Err(MachineError);
                    }
                    missing -= length;
                }
                None if length == 1 => {
                    frames.free(allocator);
                    return Err(MachineError);
                }
                None => length = length.div_ceil(2),
            }
        }
        frames.clear();
        Ok(frames)
    }

    /// `count` frames of zeros in one run.
    ///
    /// # Errors
    /// There is no such run; nothing was taken.
    pub fn zeroed_run(count: u64, allocator: &mut FrameAllocator) -> Result<Frames, MachineError> {
        let first = take_run(count, allocator).ok_or(MachineError)?;
        match Frames::of_run(FrameRange { first, count }) {
            Ok(mut frames) => {
                frames.clear();
                Ok(frames)
            }
            Err(error) => {
                allocator.free(first, count);
                Err(error)
            }
        }
    }

    /// Fills frames with zeros that were just taken.
    fn clear(&mut self) {
        for run in &self.runs {
            // SAFETY: the frames were free, so nobody else uses them; the direct map has them.
            unsafe { direct(run.first * PAGE).write_bytes(0, (run.count * PAGE) as usize) };
        }
    }

    fn push(&mut self, run: FrameRange) -> Result<(), MachineError> {
        self.runs.try_reserve(1).map_err(|_| MachineError)?;
        self.runs.push(run);
        Ok(())
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.runs.iter().map(|run| run.count).sum()
    }

    /// Gives all frames back.
    pub fn free(self, allocator: &mut FrameAllocator) {
        for run in self.runs {
            allocator.free(run.first, run.count);
        }
    }

    /// Writes `bytes` to the frames' beginning. What does not fit is left out.
    pub fn write(&mut self, mut bytes: &[u8]) {
        for run in &self.runs {
            let length = bytes.len().min((run.count * PAGE) as usize);
            let (part, rest) = bytes.split_at(length);
            // SAFETY: the frames are ours and nobody runs that has them mapped; `part` is no longer
            // than the run, and lies elsewhere.
            unsafe { direct(run.first * PAGE).copy_from_nonoverlapping(part.as_ptr(), length) };
            bytes = rest;
        }
    }

    /// The runs of the `count` frames from number `first` on, each with its distance in frames from
    /// number `first`.
    pub fn part(&self, first: u64, count: u64) -> impl Iterator<Item = (u64, FrameRange)> + Clone {
        let mut number = 0;
        self.runs.iter().filter_map(move |run| {
            let start = number;
            number += run.count;
            let (low, high) = (start.max(first), number.min(first.saturating_add(count)));
            let part = FrameRange {
                first: run.first + (low - start).min(run.count),
                count: high.checked_sub(low).filter(|count| *count > 0)?,
            };
            Some((low - first, part))
        })
    }
}
