//! The service `counter`.

use crate::order::{self, Text};
use crate::protocol::{Counter, CounterServer, Ranked, TOP, TableFull, Totals};
use crate::table::{Entry, Table};
use crate::words::{Finder, Key};
use alloc::vec::Vec;
use phi_idl::Lent;
use phi_rt::Service;

/// Bytes of a slice that are looked at in one piece.
const PIECE: usize = 32 << 10;

/// A lent text, by addresses.
struct LentText<'a>(Lent<'a>);

impl Text for LentText<'_> {
    fn read(&self, address: u64, into: &mut [u8]) -> usize {
        let offset = address.wrapping_sub(self.0.address());
        self.0.read(usize::try_from(offset).unwrap_or(usize::MAX), into)
    }
}

/// Counts one share of the words.
struct Counting {
    share: u64,
    shares: u64,
    words: u64,
    table: Table,
    top: Vec<Entry>,
    /// Where a slice's bytes are looked at.
    piece: Vec<u8>,
}

impl Counting {
    fn new() -> Counting {
        let piece = alloc::vec![0; PIECE];
        Counting { share: 0, shares: 1, words: 0, table: Table::default(), top: Vec::new(), piece }
    }

    /// Counts the words of `text`, which begins at `address`.
    fn count_text(&mut self, address: u64, text: &impl Text) -> Result<(), TableFull> {
        let Counting { share, shares, words, table, piece, .. } = self;
        let mut add = |key: &Key, place: u64| {
            let hash = key.hash();
            // The upper half of the hash says whose word it is; the table goes by the lower half.
            if ((hash >> 32) * *shares) >> 32 == *share {
                table.add(key, hash, place)?;
                *words += 1;
            }
            Ok(())
        };
        let mut finder = Finder::default();
        let mut place = address;
        loop {
            let count = text.read(place, piece);
            if count == 0 {
                return finder.finish(&mut add);
            }
            finder.feed(place, &piece[..count], &mut add)?;
            place += count as u64;
        }
    }
}

impl Counter for Counting {
    fn begin(&mut self, share: u8, shares: u8) -> Result<(), TableFull> {
        self.share = u64::from(share);
        self.shares = u64::from(shares);
        self.words = 0;
        self.table = Table::default();
        self.top = Vec::new();
        Ok(())
    }

    fn count(&mut self, slice: Lent<'_>) -> Result<(), TableFull> {
        self.count_text(slice.address(), &LentText(slice))
    }

    fn rank(&mut self, text: Lent<'_>) -> Result<Totals, TableFull> {
        self.top = order::first(self.table.entries(), TOP, &LentText(text));
        Ok(Totals { words: self.words, distinct: self.table.entries().len() as u64 })
    }

    fn top(&mut self, place: u8) -> Result<Option<Ranked>, TableFull> {
        Ok(self.top.get(usize::from(place)).map(|entry| Ranked {
            count: entry.count,
            address: entry.first,
            length: entry.key.length,
        }))
    }
}

/// The service: serves [`Counter`] at the mailbox `counter`. Ends, with status 1, only when it lacks
/// that or loses it.
pub fn counter(service: &Service) -> u8 {
    let Ok(mailbox) = service.mailbox("counter") else { return 1 };
    phi_idl::serve(&mailbox, &mut CounterServer(Counting::new()));
    1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slices::slices;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// A text at an address.
    struct Placed<'a>(u64, &'a [u8]);

    impl Text for Placed<'_> {
        fn read(&self, address: u64, into: &mut [u8]) -> usize {
            let bytes = &self.1[((address - self.0) as usize).min(self.1.len())..];
            let count = bytes.len().min(into.len());
            into[..count].copy_from_slice(&bytes[..count]);
            count
        }
    }

    /// All words of `text` and their counts, by `shares` counters and slices of `size` bytes.
    fn counted(text: &[u8], shares: u8, size: usize) -> BTreeMap<Vec<u8>, u64> {
        const BASE: u64 = 0x1000_0000_0000;
        let mut all = BTreeMap::new();
        for share in 0..shares {
            let mut counting = Counting::new();
            counting.begin(share, shares).expect("no error");
            for range in slices(text, size) {
                let address = BASE + range.start as u64;
                counting.count_text(address, &Placed(address, &text[range])).expect("room");
            }
            let sum: u64 = counting.table.entries().iter().map(|entry| entry.count).sum();
            assert_eq!(sum, counting.words);
            for entry in counting.table.entries() {
                let start = (entry.first - BASE) as usize;
                let word = &text[start..start + entry.key.length as usize];
                let before = all.insert(word.to_ascii_lowercase(), entry.count);
                assert_eq!(before, None, "a word in two shares");
            }
        }
        all
    }

    fn expected(text: &[u8]) -> BTreeMap<Vec<u8>, u64> {
        let mut all = BTreeMap::new();
        for word in text.split(|byte| !byte.is_ascii_alphabetic()).filter(|word| !word.is_empty()) {
            *all.entry(word.to_ascii_lowercase()).or_default() += 1;
        }
        all
    }

    #[test]
    fn one_huge_word_is_one_word() {
        let text = alloc::vec![b'Q'; (1 << 20) + 7];
        let counts = counted(&text, 2, 1 << 16);
        assert_eq!(counts.len(), 1);
        assert_eq!(counts.values().sum::<u64>(), 1);
    }

    #[test]
    fn shares_are_about_equal() {
        let text: Vec<u8> = (0..20_000u32)
            .flat_map(|n| {
                let letters =
                    n.to_be_bytes().into_iter().flat_map(|b| [b'a' + b / 16, b'a' + b % 16]);
                letters.chain([b' '])
            })
            .collect();
        let mut counting = Counting::new();
        counting.begin(0, 2).expect("no error");
        counting.count_text(0, &Placed(0, &text)).expect("room");
        assert!((9_000..11_000).contains(&counting.words), "{} of 20000", counting.words);
    }

    proptest! {
        #[test]
        fn random_bytes_are_counted_exactly(
            text in proptest::collection::vec(any::<u8>(), 0..3000),
            shares in 1u8..5,
            size in 1usize..500,
        ) {
            prop_assert_eq!(counted(&text, shares, size), expected(&text));
        }

        #[test]
        fn letters_are_counted_exactly(
            numbers in proptest::collection::vec(0usize..4, 0..3000),
            size in 1usize..500,
        ) {
            let text: Vec<u8> = numbers.iter().map(|number| b"aAb "[*number]).collect();
            prop_assert_eq!(counted(&text, 2, size), expected(&text));
        }
    }
}
