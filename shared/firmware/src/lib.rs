//! The tables of ACPI (ACPI 6.5, 5.2.5 to 5.2.8), for the kernel and for the service that owns the buses.
//!
//! Principles:
//! - **Tables are hostile**: they are believed as far as their checksums go, and every length in them is checked.
//! - **What a table means is its reader's matter**: here are only ways to find one and to walk through it.
//!
//! Limits: tables of 64 KiB.
#![no_std]
extern crate alloc;
#[cfg(test)]
extern crate std;

use alloc::vec;
use alloc::vec::Vec;

/// Bytes of a table, at most.
const TABLE: usize = 1 << 16;

/// Bytes of the header that all tables but the first have.
pub const HEADER: usize = 36;

/// Physical memory, to read.
pub trait Memory {
    /// Reads from `address` on; `None` where nothing can be read.
    fn read(&self, address: u64, into: &mut [u8]) -> Option<()>;
}

fn bytes(memory: &impl Memory, address: u64, length: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; length];
    memory.read(address, &mut bytes)?;
    Some(bytes)
}

fn sums_to_zero(bytes: &[u8]) -> bool {
    bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)) == 0
}

/// The number in bytes, the lowest first; of more than 8 the last 8 count.
pub fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |all, byte| (all << 8) | u64::from(*byte))
}

/// The `width` bytes at `offset` as a number; `None` beyond the end.
pub fn field(bytes: &[u8], offset: usize, width: usize) -> Option<u64> {
    bytes.get(offset..offset.checked_add(width)?).map(number)
}

/// The table of tables: its address, and the bytes of each of its entries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Root {
    tables: u64,
    width: usize,
}

impl Root {
    /// What the first table at `address` says, the RSDP; `None` when there is none.
    pub fn at(memory: &impl Memory, address: u64) -> Option<Root> {
        let old = bytes(memory, address, 20).filter(|old| sums_to_zero(old))?;
        if &old[..8] != b"RSD PTR " {
            return None;
        }
        let new = if old[15] >= 2 { bytes(memory, address, HEADER) } else { None };
        Some(match new.filter(|new| sums_to_zero(new)) {
            Some(new) => Root { tables: number(&new[24..32]), width: 8 },
            None => Root { tables: number(&old[16..20]), width: 4 },
        })
    }

    /// The tables with this signature.
    pub fn tables(self, memory: &impl Memory, signature: &[u8; 4]) -> Vec<Vec<u8>> {
        let list = table(memory, self.tables, b"").unwrap_or_default();
        let entries = list.get(HEADER..).unwrap_or_default().chunks_exact(self.width);
        entries.filter_map(|entry| table(memory, number(entry), signature)).collect()
    }
}

/// The whole table at `address`, if it begins with `signature`.
fn table(memory: &impl Memory, address: u64, signature: &[u8]) -> Option<Vec<u8>> {
    let header = bytes(memory, address, HEADER).filter(|header| header.starts_with(signature))?;
    let length = number(&header[4..8]) as usize;
    if !(HEADER..=TABLE).contains(&length) {
        return None;
    }
    bytes(memory, address, length).filter(|table| sums_to_zero(table))
}

/// Entries of a table from `offset` on, each with its kind and its length in its first `2 * width` bytes. The
/// first one whose length cannot be ends them.
pub fn entries(table: &[u8], offset: usize, width: usize) -> impl Iterator<Item = (u64, &[u8])> {
    let mut rest = table.get(offset..).unwrap_or_default();
    core::iter::from_fn(move || {
        let (kind, length) = (field(rest, 0, width)?, field(rest, width, width)? as usize);
        if length < 2 * width || length > rest.len() {
            return None;
        }
        let (entry, after) = rest.split_at(length);
        rest = after;
        Some((kind, entry))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_end_with_the_table_or_at_a_length_that_cannot_be() {
        let table = [9, 1, 3, 7, 2, 2, 3, 0, 4, 4];
        let all = |bytes: &[u8], offset, width| {
            entries(bytes, offset, width)
                .map(|(kind, entry)| (kind, entry.len()))
                .collect::<Vec<_>>()
        };
        assert_eq!(all(&table, 1, 1), [(1, 3), (2, 2)]);
        assert_eq!(all(&table[..6], 1, 1), [(1, 3), (2, 2)]);
        assert_eq!(all(&table[..5], 1, 1), [(1, 3)]);
        assert_eq!(all(&table, 11, 1), []);
        assert_eq!(all(&[1, 0, 5, 0, 8, 2, 0, 9, 0], 0, 2), [(1, 5)]);
        assert_eq!(all(&[1, 0, 3, 0], 0, 2), []);
    }
}
