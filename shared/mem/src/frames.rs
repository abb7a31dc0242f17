//! Physical frames: which pages of the machine's memory are free.

use alloc::boxed::Box;
use alloc::vec;
use phi_abi::layout::PAGE;

/// A run of physical memory, in frames: frame `n` is the page at address `n * 4096`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameRange {
    /// The first frame.
    pub first: u64,
    /// Number of frames.
    pub count: u64,
}

impl FrameRange {
    /// The whole frames within the bytes from `start` to `end` (exclusive); perhaps none.
    pub fn within(start: u64, end: u64) -> FrameRange {
        let first = start.div_ceil(PAGE);
        FrameRange { first, count: (end / PAGE).saturating_sub(first) }
    }
}

struct Bank {
    range: FrameRange,
    /// One bit per frame, set while it is in use. Bits beyond the range are set for ever.
    used: Box<[u64]>,
    /// Word to search from: where a frame was last taken or given back.
    next: usize,
}

/// Hands out physical frames. Works on numbers alone: it never touches the memory.
///
/// A single frame costs one look at a word in the usual case; a run of frames is searched for word by
/// word.
pub struct FrameAllocator {
    banks: Box<[Bank]>,
    free: u64,
}

impl FrameAllocator {
    /// All the frames of `ranges`, which do not overlap, as free. Allocates one bit per frame.
    pub fn new(ranges: &[FrameRange]) -> FrameAllocator {
        let banks = ranges.iter().map(|range| Bank::new(*range)).collect();
        FrameAllocator { banks, free: ranges.iter().map(|range| range.count).sum() }
    }

    /// Takes one frame; `None` when all are in use.
    // Asked for in many places, each of which fills or clears the frame: one copy of the search is enough.
    #[inline(never)]
    pub fn allocate(&mut self) -> Option<u64> {
        let frame = self.banks.iter_mut().find_map(Bank::take)?;
        self.free -= 1;
        Some(frame)
    }

    /// Takes `count` frames in a row, the first a multiple of `alignment` frames (a power of two);
    /// `None` when there is no such run.
    pub fn allocate_run(&mut self, count: u64, alignment: u64) -> Option<u64> {
        if count == 0 || !alignment.is_power_of_two() {
            return None;
        }
        let frame = self.banks.iter_mut().find_map(|bank| bank.take_run(count, alignment))?;
        self.free -= count;
        Some(frame)
    }

    /// Gives `count` frames from `first` on back. Returns how many of them were in use: fewer than
    /// `count` means that the caller has lost track.
    pub fn free(&mut self, first: u64, count: u64) -> u64 {
        let mut freed = 0;
        for frame in first..first.saturating_add(count) {
            freed += u64::from(self.banks.iter_mut().any(|bank| bank.give(frame)));
        }
        self.free += freed;
        freed
    }

    /// Number of free frames.
    pub fn free_frames(&self) -> u64 {
        self.free
    }
}

impl Bank {
    fn new(range: FrameRange) -> Bank {
        let words = range.count.div_ceil(64) as usize;
        let mut used = vec![0u64; words].into_boxed_slice();
        if let Some(last) = used.last_mut().filter(|_| !range.count.is_multiple_of(64)) {
            *last = !0 << (range.count % 64);
        }
        Bank { range, used, next: 0 }
    }

    fn take(&mut self) -> Option<u64> {
        let words = self.used.len();
        let word = (self.next..words).chain(0..self.next).find(|word| self.used[*word] != !0)?;
        let bit = self.used[word].trailing_ones();
        self.used[word] |= 1 << bit;
        self.next = word;
        Some(self.range.first + word as u64 * 64 + u64::from(bit))
    }

    fn take_run(&mut self, count: u64, alignment: u64) -> Option<u64> {
        let end = self.range.first + self.range.count;
        let mut start = self.range.first.next_multiple_of(alignment);
        while start.checked_add(count)? <= end {
            match self.last_used_within(start, count) {
                Some(used) => start = (used + 1).next_multiple_of(alignment),
                None => {
                    for frame in start..start + count {
                        let (word, bit) = self.place(frame);
                        self.used[word] |= bit;
                    }
                    return Some(start);
                }
            }
        }
        None
    }

    /// The last frame in use of `count` from `start` on, which are in the range.
    fn last_used_within(&self, start: u64, count: u64) -> Option<u64> {
        let mut end = start + count;
        while end > start {
            let offset = end - 1 - self.range.first;
            let word = self.used[(offset / 64) as usize] << (63 - offset % 64);
            if word != 0 {
                let frame = end.checked_sub(1 + u64::from(word.leading_zeros()))?;
                return (frame >= start).then_some(frame);
            }
            end = end.saturating_sub(offset % 64 + 1);
        }
        None
    }

    fn give(&mut self, frame: u64) -> bool {
        let range = self.range;
        if frame < range.first || frame - range.first >= range.count {
            return false;
        }
        let (word, bit) = self.place(frame);
        let was_used = self.used[word] & bit != 0;
        self.used[word] &= !bit;
        self.next = word;
        was_used
    }

    fn place(&self, frame: u64) -> (usize, u64) {
        let offset = frame - self.range.first;
        ((offset / 64) as usize, 1 << (offset % 64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;
    use alloc::vec::Vec;

    fn ranges() -> [FrameRange; 2] {
        [FrameRange { first: 3, count: 70 }, FrameRange { first: 1000, count: 129 }]
    }

    #[test]
    fn every_frame_is_handed_out_once() {
        let mut frames = FrameAllocator::new(&ranges());
        assert_eq!(frames.free_frames(), 199);
        let taken: BTreeSet<u64> = core::iter::from_fn(|| frames.allocate()).collect();
        let all: BTreeSet<u64> = (3..73).chain(1000..1129).collect();
        assert_eq!(taken, all);
        assert_eq!(frames.free_frames(), 0);
        assert_eq!(frames.free(1128, 1), 1);
        assert_eq!(frames.free(1128, 1), 0, "a frame cannot be given back twice");
        assert_eq!(frames.free(5000, 2), 0, "nor one that is not ours");
        assert_eq!(frames.allocate(), Some(1128));
    }

    #[test]
    fn runs_are_aligned_and_free() {
        let mut frames = FrameAllocator::new(&ranges());
        assert_eq!(frames.allocate_run(64, 8), Some(8));
        assert_eq!(frames.allocate_run(64, 64), Some(1024));
        assert_eq!(frames.allocate_run(64, 1), None);
        assert_eq!(frames.allocate_run(41, 1), Some(1088));
        assert_eq!(frames.allocate_run(0, 1), None);
        assert_eq!(frames.allocate_run(1, 3), None);
        assert_eq!(frames.allocate_run(u64::MAX, 1), None);
    }

    #[test]
    fn only_whole_frames_of_a_byte_range_count() {
        assert_eq!(FrameRange::within(1, 3 * PAGE - 1), FrameRange { first: 1, count: 1 });
        assert_eq!(FrameRange::within(1, PAGE + 1).count, 0);
        assert_eq!(FrameRange::within(10 * PAGE, PAGE).count, 0);
    }

    #[test]
    fn random_use_agrees_with_a_set() {
        let mut frames = FrameAllocator::new(&ranges());
        let mut held: Vec<(u64, u64)> = Vec::new();
        let mut used = BTreeSet::new();
        let mut seed = 3u64;
        for _ in 0..20_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let number = seed >> 33;
            if number % 5 < 3 {
                let (count, alignment) = (1 + number / 8 % 20, 1 << (number / 512 % 4));
                let run = if count == 1 {
                    frames.allocate()
                } else {
                    frames.allocate_run(count, alignment)
                };
                let free = |start: u64| (start..start + count).all(|frame| !used.contains(&frame));
                let fits = (3..=73 - count).chain(1000..=1129 - count);
                match run {
                    Some(first) => {
                        assert!(count == 1 || first % alignment == 0);
                        assert!((first..first + count).all(|frame| used.insert(frame)));
                        held.push((first, count));
                    }
                    None => assert!(
                        !fits.filter(|start| count == 1 || start % alignment == 0).any(free)
                    ),
                }
            } else if !held.is_empty() {
                let (first, count) = held.swap_remove(number as usize % held.len());
                assert_eq!(frames.free(first, count), count);
                (first..first + count).for_each(|frame| assert!(used.remove(&frame)));
            }
            assert_eq!(frames.free_frames(), 199 - used.len() as u64);
        }
    }
}
