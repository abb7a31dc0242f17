//! The memory map: what of the firmware's is the kernel's to use, in few ranges.

use core::ops::Range;

/// Ranges that are kept while the map is read, at most.
const RANGES: usize = 256;

/// Ranges of the map that the kernel gets, at most.
pub const GIVEN: usize = 48;

/// Ranges of physical addresses in ascending order, of which no two touch.
#[derive(Clone)]
pub struct MemoryMap {
    ranges: [Range<u64>; RANGES],
    count: usize,
}

impl MemoryMap {
    /// None.
    pub const EMPTY: MemoryMap = MemoryMap { ranges: [const { 0..0 }; RANGES], count: 0 };

    /// Adds a range; it joins those that it touches. Where there is no room, the smallest is left out.
    pub fn add(&mut self, new: Range<u64>) {
        if new.start >= new.end {
            return;
        }
        let mut new = new;
        let mut kept = 0;
        for index in 0..self.count {
            let range = self.ranges[index].clone();
            if range.start <= new.end && new.start <= range.end {
                new = new.start.min(range.start)..new.end.max(range.end);
            } else {
                self.ranges[kept] = range;
                kept += 1;
            }
        }
        self.count = kept;
        if kept == RANGES {
            self.remove_smallest(length(&new));
        }
        if self.count < RANGES {
            let place = self.as_slice().partition_point(|range| range.start < new.start);
            self.ranges[place..=self.count].rotate_right(1);
            self.ranges[place] = new;
            self.count += 1;
        }
    }

    /// Leaves out all but the largest [`GIVEN`] ranges.
    pub fn shorten(&mut self) {
        while self.count > GIVEN {
            self.remove_smallest(u64::MAX);
        }
    }

    /// Leaves the smallest range out, if it is smaller than `limit`.
    fn remove_smallest(&mut self, limit: u64) {
        let smallest = (0..self.count).min_by_key(|index| length(&self.ranges[*index]));
        if let Some(index) = smallest.filter(|index| length(&self.ranges[*index]) < limit) {
            self.ranges[index..self.count].rotate_left(1);
            self.count -= 1;
        }
    }

    /// The ranges.
    pub fn as_slice(&self) -> &[Range<u64>] {
        &self.ranges[..self.count]
    }

    /// Whether one of the ranges holds all of `part`.
    pub fn contains(&self, part: &Range<u64>) -> bool {
        self.as_slice().iter().any(|range| range.start <= part.start && part.end <= range.end)
    }
}

fn length(range: &Range<u64>) -> u64 {
    range.end - range.start
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_touches_is_one() {
        let mut map = MemoryMap::EMPTY;
        for range in [30..40, 10..20, 50..60, 5..5, 20..25, 45..48] {
            map.add(range);
        }
        assert_eq!(map.as_slice(), [10..25, 30..40, 45..48, 50..60]);
        map.add(25..50);
        assert_eq!(map.as_slice(), core::slice::from_ref(&(10..60)));
        assert!(map.contains(&(10..60)) && !map.contains(&(10..61)) && !map.contains(&(9..12)));
    }

    #[test]
    fn of_too_many_the_largest_stay() {
        let mut map = MemoryMap::EMPTY;
        // Each is longer than the one before, and lies below it.
        for number in 0..2 * RANGES as u64 {
            let start = (1000 - number) * 10_000;
            map.add(start..start + 1 + number);
        }
        assert_eq!(map.as_slice().len(), RANGES);
        map.add(1..2);
        assert!(!map.contains(&(1..2)));
        map.shorten();
        assert_eq!(map.as_slice().len(), GIVEN);
        assert!(map.as_slice().is_sorted_by_key(|range| range.start));
        let shortest = map.as_slice().iter().map(length).min();
        assert_eq!(shortest, Some(1 + 2 * RANGES as u64 - GIVEN as u64));
    }
}
