//! Memory for tables, and a walk through it.

use phi_abi::layout::PAGE;
use phi_mem::FrameAllocator;
use phi_tables::{ENTRIES, Store, Words};

/// Memory of which only the tables are looked at.
pub struct Memory {
    /// All frames, those of tables with them.
    pub frames: FrameAllocator,
    /// What is in each frame.
    pub tables: Vec<[u64; ENTRIES]>,
}

impl Words for Memory {
    fn entry(&self, table: u64, index: usize) -> u64 {
        self.tables[(table / PAGE) as usize][index]
    }

    fn set_entry(&mut self, table: u64, index: usize, value: u64) {
        self.tables[(table / PAGE) as usize][index] = value;
    }

    fn clear(&mut self, table: u64) {
        self.tables[(table / PAGE) as usize].fill(0);
    }
}

impl Store for Memory {
    fn new_table(&mut self) -> Option<u64> {
        let table = self.frames.allocate()? * PAGE;
        self.clear(table);
        Some(table)
    }

    fn free_table(&mut self, table: u64) {
        // Whoever still walks it finds nonsense.
        self.tables[(table / PAGE) as usize].fill(u64::MAX);
        assert_eq!(self.frames.free(table / PAGE, 1), 1, "a table was not in use");
    }
}

impl Memory {
    /// What a walker finds for an address: the frame and the bits of the entry.
    pub fn walk(&self, root: u64, address: u64) -> Option<(u64, u64)> {
        let bits = 0x000F_FFFF_FFFF_F000;
        let mut table = root;
        for level in [39, 30, 21, 12] {
            let entry = self.entry(table, (address >> level & 0x1FF) as usize);
            if entry == 0 {
                return None;
            }
            if level == 21 && entry & 0x80 != 0 {
                let frame = (entry & bits) / PAGE;
                assert_eq!(frame % 512, 0, "a large page is not aligned");
                return Some((frame + (address >> 12 & 0x1FF), entry & !bits & !0x80));
            }
            if level == 12 {
                return Some(((entry & bits) / PAGE, entry & !bits));
            }
            table = entry & bits;
        }
        None
    }
}
