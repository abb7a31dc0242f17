//! Doubly linked lists whose links lie in one array, by index.

use alloc::boxed::Box;
use alloc::vec;

/// The index that stands for "no member".
pub const NONE: u32 = u32::MAX;

#[derive(Clone, Copy)]
struct Node {
    next: u32,
    previous: u32,
}

/// The links of all members of a pool. A member is in at most one list at a time; the caller keeps
/// track of which.
#[derive(Clone)]
pub struct Links {
    nodes: Box<[Node]>,
}

/// One list over [`Links`], first in, first out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct List {
    head: u32,
    tail: u32,
}

impl List {
    /// A list without members.
    pub const EMPTY: List = List { head: NONE, tail: NONE };

    /// Whether there are no members.
    pub const fn is_empty(&self) -> bool {
        self.head == NONE
    }

    /// The first member, or [`NONE`].
    pub const fn first_or_none(&self) -> u32 {
        self.head
    }

    /// The first member.
    pub const fn first(&self) -> Option<u32> {
        if self.head == NONE { None } else { Some(self.head) }
    }
}

impl Default for List {
    fn default() -> List {
        List::EMPTY
    }
}

impl Links {
    /// Links for members `0..count`, all of them outside any list.
    pub fn new(count: usize) -> Links {
        Links { nodes: vec![Node { next: NONE, previous: NONE }; count].into_boxed_slice() }
    }

    /// Adds `member` at the end of `list`.
    pub fn push_back(&mut self, list: &mut List, member: u32) {
        self.nodes[member as usize] = Node { next: NONE, previous: list.tail };
        match list.tail {
            NONE => list.head = member,
            tail => self.nodes[tail as usize].next = member,
        }
        list.tail = member;
    }

    /// Adds `member` at the start of `list`.
    pub fn push_front(&mut self, list: &mut List, member: u32) {
        self.nodes[member as usize] = Node { next: list.head, previous: NONE };
        match list.head {
            NONE => list.tail = member,
            head => self.nodes[head as usize].previous = member,
        }
        list.head = member;
    }

    /// Takes the first member of `list` out.
    pub fn pop_front(&mut self, list: &mut List) -> Option<u32> {
        let member = list.first()?;
        self.drop_front(list);
        Some(member)
    }

    /// Takes the first member of `list` out, if there is one.
    #[inline(always)]
    pub fn drop_front(&mut self, list: &mut List) {
        if list.head == list.tail {
            *list = List::EMPTY;
            return;
        }
        let next = self.nodes[list.head as usize].next;
        list.head = next;
        self.nodes[next as usize].previous = NONE;
    }

    /// Takes `member`, which is in `list`, out of it.
    pub fn remove(&mut self, list: &mut List, member: u32) {
        let Node { next, previous } = self.nodes[member as usize];
        match previous {
            NONE => list.head = next,
            previous => self.nodes[previous as usize].next = next,
        }
        match next {
            NONE => list.tail = previous,
            next => self.nodes[next as usize].previous = previous,
        }
    }

    /// The member after `member` in its list.
    pub fn after(&self, member: u32) -> Option<u32> {
        match self.nodes[member as usize].next {
            NONE => None,
            next => Some(next),
        }
    }

    /// The members of `list`, from the first to the last.
    pub fn iter<'a>(&'a self, list: &List) -> impl Iterator<Item = u32> + 'a {
        core::iter::successors(list.first(), |member| self.after(*member))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::VecDeque;
    use alloc::vec::Vec;

    fn members(links: &Links, list: &List) -> Vec<u32> {
        links.iter(list).collect()
    }

    #[test]
    fn a_list_is_first_in_first_out() {
        let mut links = Links::new(4);
        let mut list = List::EMPTY;
        for member in [2, 0, 3] {
            links.push_back(&mut list, member);
        }
        links.push_front(&mut list, 1);
        assert_eq!(members(&links, &list), [1, 2, 0, 3]);
        assert_eq!(links.pop_front(&mut list), Some(1));
        links.remove(&mut list, 0);
        assert_eq!(members(&links, &list), [2, 3]);
    }

    #[test]
    fn random_changes_agree_with_a_queue() {
        let mut links = Links::new(16);
        let mut list = List::EMPTY;
        let mut model: VecDeque<u32> = VecDeque::new();
        let mut seed = 7u64;
        for _ in 0..20_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let member = (seed >> 40) as u32 % 16;
            let place = model.iter().position(|other| *other == member);
            match ((seed >> 60) % 4, place) {
                (0, None) => {
                    links.push_front(&mut list, member);
                    model.push_front(member);
                }
                (_, None) => {
                    links.push_back(&mut list, member);
                    model.push_back(member);
                }
                (0, Some(_)) => assert_eq!(links.pop_front(&mut list), model.pop_front()),
                (_, Some(place)) => {
                    links.remove(&mut list, member);
                    model.remove(place);
                }
            }
            assert!(members(&links, &list).iter().eq(model.iter()));
        }
    }
}
