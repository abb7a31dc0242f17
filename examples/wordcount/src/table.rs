//! Words and their counts: an open-addressing index over a list of entries.

use crate::protocol::TableFull;
use crate::words::Key;
use alloc::vec::Vec;

/// A word, its count, and where it came first.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The word.
    pub key: Key,
    /// How often it came.
    pub count: u64,
    /// Offset of its first letter where it came first.
    pub first: u64,
}

/// A place of the index: entry number plus one in the low 32 bits, 0 when it is free; the upper half
/// of the word's hash in the high 32, so that most other words are told apart here.
type Place = u64;

/// Places of the index at first.
const FIRST_PLACES: usize = 1024;

/// Counts words. Its memory grows with the different words alone, and running out is an error.
#[derive(Default)]
pub struct Table {
    entries: Vec<Entry>,
    places: Vec<Place>,
}

impl Table {
    /// Counts a word, with its hash, that comes at `offset`.
    ///
    /// # Errors
    /// [`TableFull`]; the table is as it was.
    #[inline]
    pub fn add(&mut self, key: &Key, hash: u64, offset: u64) -> Result<(), TableFull> {
        // Three quarters full is full: longer searches cost more than a larger index.
        if self.entries.len() >= self.places.len() / 4 * 3 {
            self.grow()?;
        }
        let mask = self.places.len() - 1;
        let mut index = hash as usize & mask;
        loop {
            let place = self.places[index];
            if place == 0 {
                return self.insert(index, *key, hash, offset);
            }
            if place >> 32 == hash >> 32 {
                let entry = &mut self.entries[(place as u32 - 1) as usize];
                if entry.key == *key {
                    entry.count += 1;
                    return Ok(());
                }
            }
            index = (index + 1) & mask;
        }
    }

    fn insert(&mut self, index: usize, key: Key, hash: u64, first: u64) -> Result<(), TableFull> {
        let number = u32::try_from(self.entries.len() + 1).map_err(|_| TableFull)?;
        self.entries.try_reserve(1).map_err(|_| TableFull)?;
        self.entries.push(Entry { key, count: 1, first });
        self.places[index] = hash & !0xFFFF_FFFF | u64::from(number);
        Ok(())
    }

    #[cold]
    fn grow(&mut self) -> Result<(), TableFull> {
        let size = (self.places.len() * 2).max(FIRST_PLACES);
        let mut places = Vec::new();
        places.try_reserve_exact(size).map_err(|_| TableFull)?;
        places.resize(size, 0);
        for (number, entry) in self.entries.iter().enumerate() {
            let hash = entry.key.hash();
            let mut index = hash as usize & (size - 1);
            while places[index] != 0 {
                index = (index + 1) & (size - 1);
            }
            places[index] = hash & !0xFFFF_FFFF | (number as u64 + 1);
        }
        self.places = places;
        Ok(())
    }

    /// Every word.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u64) -> Key {
        Key { letters: [number, 0, 0, 0], length: 8 }
    }

    #[test]
    fn counts_each_word_apart() {
        let mut table = Table::default();
        for round in 0..3 {
            for number in 0..5_000 {
                let key = key(number);
                table.add(&key, key.hash(), round * 5_000 + number).expect("room");
            }
        }
        assert_eq!(table.entries().len(), 5_000);
        for (number, entry) in table.entries().iter().enumerate() {
            assert_eq!(entry.key, key(number as u64));
            assert_eq!((entry.count, entry.first), (3, number as u64));
        }
    }

    #[test]
    fn words_of_one_hash_are_told_apart() {
        let mut table = Table::default();
        for number in 0..100 {
            table.add(&key(number), 7, number).expect("room");
            table.add(&key(number), 7, 1_000).expect("room");
        }
        assert!(table.entries().iter().all(|entry| entry.count == 2 && entry.first < 100));
    }
}
