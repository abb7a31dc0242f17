//! Deadlines: a heap that knows where each member is.

use alloc::boxed::Box;
use alloc::vec;
use phi_mem::NONE;

#[derive(Clone, Copy)]
struct Due {
    time: u64,
    /// Which of two equal deadlines was set first.
    order: u64,
    member: u32,
}

/// At most one deadline for each member of a pool, in nanoseconds. Equal ones are due in the order in
/// which they were set.
#[derive(Clone)]
pub struct Deadlines {
    heap: Box<[Due]>,
    count: usize,
    /// Where each member is in the heap, or [`NONE`].
    places: Box<[u32]>,
    next_order: u64,
}

impl Deadlines {
    /// For members `0..count`, none of which has a deadline.
    pub fn new(count: usize) -> Deadlines {
        let empty = Due { time: 0, order: 0, member: 0 };
        Deadlines {
            heap: vec![empty; count].into_boxed_slice(),
            count: 0,
            places: vec![NONE; count].into_boxed_slice(),
            next_order: 0,
        }
    }

    /// Sets the deadline of `member`, in place of one that it has.
    pub fn set(&mut self, member: u32, time: u64) {
        self.cancel(member);
        let due = Due { time, order: self.next_order, member };
        self.next_order += 1;
        let place = self.count;
        self.count += 1;
        self.put(place, due);
        self.rise(place);
    }

    /// Removes the deadline of `member`, if it has one.
    pub fn cancel(&mut self, member: u32) {
        let place = self.places[member as usize];
        if place == NONE {
            return;
        }
        self.places[member as usize] = NONE;
        self.count -= 1;
        let place = place as usize;
        if place < self.count {
            self.put(place, self.heap[self.count]);
            self.sink(place);
            self.rise(place);
        }
    }

    /// The earliest deadline.
    pub fn first(&self) -> Option<u64> {
        self.heap[..self.count].first().map(|due| due.time)
    }

    /// Whether `member` has a deadline.
    pub fn is_set(&self, member: u32) -> bool {
        self.places[member as usize] != NONE
    }

    /// The deadline of `member`, and a number that is less for those of equal time that are due
    /// before it.
    pub fn due(&self, member: u32) -> Option<(u64, u64)> {
        let place = self.places[member as usize];
        (place != NONE).then(|| (self.heap[place as usize].time, self.heap[place as usize].order))
    }

    /// Takes the earliest member out whose deadline is `now` or before.
    pub fn pop_due(&mut self, now: u64) -> Option<u32> {
        let due = *self.heap[..self.count].first().filter(|due| due.time <= now)?;
        self.cancel(due.member);
        Some(due.member)
    }

    fn put(&mut self, place: usize, due: Due) {
        self.heap[place] = due;
        self.places[due.member as usize] = place as u32;
    }

    fn before(&self, one: usize, other: usize) -> bool {
        let (one, other) = (self.heap[one], self.heap[other]);
        (one.time, one.order) < (other.time, other.order)
    }

    fn swap(&mut self, one: usize, other: usize) {
        let (first, second) = (self.heap[one], self.heap[other]);
        self.put(one, second);
        self.put(other, first);
    }

    fn rise(&mut self, mut place: usize) {
        while place > 0 && self.before(place, (place - 1) / 2) {
            self.swap(place, (place - 1) / 2);
            place = (place - 1) / 2;
        }
    }

    fn sink(&mut self, mut place: usize) {
        loop {
            let mut least = place;
            for child in [2 * place + 1, 2 * place + 2] {
                if child < self.count && self.before(child, least) {
                    least = child;
                }
            }
            if least == place {
                return;
            }
            self.swap(place, least);
            place = least;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn random_use_agrees_with_a_sorted_list() {
        let mut deadlines = Deadlines::new(32);
        let mut model: Vec<(u64, u32)> = Vec::new();
        let mut seed = 11u64;
        for _ in 0..30_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let (member, time) = ((seed >> 40) as u32 % 32, (seed >> 50) % 50);
            match (seed >> 60) % 4 {
                0 | 1 => {
                    deadlines.set(member, time);
                    model.retain(|(_, other)| *other != member);
                    model.push((time, member));
                    model.sort_by_key(|(time, _)| *time);
                }
                2 => {
                    deadlines.cancel(member);
                    model.retain(|(_, other)| *other != member);
                }
                _ => {
                    let expected = model.first().copied().filter(|(due, _)| *due <= time);
                    assert_eq!(deadlines.pop_due(time), expected.map(|(_, member)| member));
                    model.retain(|due| Some(*due) != expected);
                }
            }
            assert_eq!(deadlines.first(), model.first().map(|(time, _)| *time));
            assert_eq!(deadlines.is_set(member), model.iter().any(|(_, other)| *other == member));
        }
    }
}
