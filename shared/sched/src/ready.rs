//! Ready threads, by priority.

use phi_abi::PRIORITIES;
use phi_mem::{Links, List};

/// Ready threads: first in, first out, for each of the 32 priorities.
#[derive(Clone)]
pub struct ReadyQueues {
    lists: [List; PRIORITIES as usize],
    /// Bit `p` is set while the list of priority `p` has members.
    occupied: u32,
}

impl ReadyQueues {
    /// No threads.
    pub const EMPTY: ReadyQueues =
        ReadyQueues { lists: [List::EMPTY; PRIORITIES as usize], occupied: 0 };

    fn list(&mut self, priority: u8) -> (&mut List, u32) {
        // The mask changes nothing for a priority in range, and spares a check that can panic.
        let priority = priority % PRIORITIES;
        (&mut self.lists[priority as usize], 1 << priority)
    }

    /// Adds `thread` behind the others of its priority.
    pub fn push_back(&mut self, links: &mut Links, thread: u32, priority: u8) {
        let (list, bit) = self.list(priority);
        links.push_back(list, thread);
        self.occupied |= bit;
    }

    /// Adds `thread` before the others of its priority.
    pub fn push_front(&mut self, links: &mut Links, thread: u32, priority: u8) {
        let (list, bit) = self.list(priority);
        links.push_front(list, thread);
        self.occupied |= bit;
    }

    /// Takes the most urgent thread out.
    pub fn pop(&mut self, links: &mut Links) -> Option<u32> {
        let priority = self.most_urgent()?;
        let (list, bit) = self.list(priority);
        let thread = links.pop_front(list);
        let emptied = list.is_empty();
        if emptied {
            self.occupied &= !bit;
        }
        thread
    }

    /// Takes `thread`, which is in the list of `priority`, out.
    pub fn remove(&mut self, links: &mut Links, thread: u32, priority: u8) {
        let (list, bit) = self.list(priority);
        links.remove(list, thread);
        let emptied = list.is_empty();
        if emptied {
            self.occupied &= !bit;
        }
    }

    /// The priority of the most urgent thread.
    pub fn most_urgent(&self) -> Option<u8> {
        self.occupied.checked_ilog2().map(|priority| priority as u8)
    }

    /// How urgent the most urgent thread is: 0 without threads.
    #[inline(always)]
    pub fn urgency(&self) -> u64 {
        u64::from(self.occupied)
    }

    /// The least [`ReadyQueues::urgency`] while a thread of more than `priority` is ready.
    pub fn urgency_above(priority: u8) -> u64 {
        2 << (priority % PRIORITIES)
    }

    /// The threads of one priority, in order.
    pub fn iter<'a>(&self, links: &'a Links, priority: u8) -> impl Iterator<Item = u32> + 'a {
        links.iter(&self.lists[(priority % PRIORITIES) as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_urgent_goes_first_and_equals_in_order() {
        let mut links = Links::new(8);
        let mut ready = ReadyQueues::EMPTY;
        ready.push_back(&mut links, 0, 0);
        ready.push_back(&mut links, 1, 31);
        ready.push_back(&mut links, 2, 5);
        ready.push_back(&mut links, 3, 5);
        ready.push_front(&mut links, 4, 5);
        ready.remove(&mut links, 2, 5);
        assert_eq!(ready.most_urgent(), Some(31));
        assert!(ready.urgency() >= ReadyQueues::urgency_above(30));
        assert!(ready.urgency() < ReadyQueues::urgency_above(31));
        let order: alloc::vec::Vec<u32> = core::iter::from_fn(|| ready.pop(&mut links)).collect();
        assert_eq!(order, [1, 4, 3, 0]);
        assert_eq!(ready.most_urgent(), None);
    }

    #[test]
    fn an_emptied_list_is_passed_over() {
        let mut links = Links::new(2);
        let mut ready = ReadyQueues::EMPTY;
        ready.push_back(&mut links, 0, 9);
        ready.push_back(&mut links, 1, 4);
        ready.remove(&mut links, 0, 9);
        assert_eq!(ready.most_urgent(), Some(4));
        assert_eq!(ready.pop(&mut links), Some(1));
        assert_eq!(ready.pop(&mut links), None);
    }
}
