//! The order of words: the most frequent first, and among equals bytewise.

use crate::table::Entry;
use crate::words::SHORT;
use alloc::vec::Vec;
use core::cmp::Ordering;

/// Reads the text: bytes from an offset on, as many as there are; their number.
pub trait Text {
    /// Copies from `offset` on into `into`; the number of bytes.
    fn read(&self, offset: u64, into: &mut [u8]) -> usize;
}

/// The `most` first entries in order.
pub fn first(entries: &[Entry], most: usize, text: &impl Text) -> Vec<Entry> {
    let mut first: Vec<Entry> = Vec::with_capacity(most + 1);
    for entry in entries {
        let place = first.partition_point(|other| compare(other, entry, text) == Ordering::Less);
        if place < most {
            first.insert(place, *entry);
            first.truncate(most);
        }
    }
    first
}

/// Whether `left` comes before `right`.
fn compare(left: &Entry, right: &Entry, text: &impl Text) -> Ordering {
    right.count.cmp(&left.count).then_with(|| compare_words(left, right, text))
}

fn compare_words(left: &Entry, right: &Entry, text: &impl Text) -> Ordering {
    let mut offset = 0;
    loop {
        // A word that has ended reads as zeros, before all letters.
        let order = part(left, offset, text).cmp(&part(right, offset, text));
        offset += SHORT as u64;
        if order.is_ne() || offset >= left.key.length.max(right.key.length) {
            return order;
        }
    }
}

/// The word's letters from `offset` on, in lower case, filled up with zeros.
fn part(entry: &Entry, offset: u64, text: &impl Text) -> [u8; SHORT] {
    let length = entry.key.length;
    if length <= SHORT as u64 {
        return if offset == 0 { entry.key.bytes() } else { [0; SHORT] };
    }
    let mut part = [0; SHORT];
    let count = length.saturating_sub(offset).min(SHORT as u64) as usize;
    text.read(entry.first + offset, &mut part[..count]);
    part[..count].make_ascii_lowercase();
    part
}

#[cfg(test)]
impl Text for &[u8] {
    fn read(&self, offset: u64, into: &mut [u8]) -> usize {
        let bytes = &self[offset as usize..];
        let count = bytes.len().min(into.len());
        into[..count].copy_from_slice(&bytes[..count]);
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Table;
    use crate::words::Finder;
    use proptest::prelude::*;
    use std::string::String;

    /// The words of `text` in order, by their letters.
    fn ordered(text: &str) -> Vec<(u64, String)> {
        let mut table = Table::default();
        let mut add = |key: &crate::words::Key, offset| table.add(key, key.hash(), offset);
        let mut finder = Finder::default();
        finder.feed(0, text.as_bytes(), &mut add).expect("room");
        finder.finish(&mut add).expect("room");
        first(table.entries(), 20, &text.as_bytes())
            .iter()
            .map(|entry| {
                let start = entry.first as usize;
                let word = &text[start..start + entry.key.length as usize];
                (entry.count, word.to_ascii_lowercase())
            })
            .collect()
    }

    /// The same, by sorting.
    fn expected(text: &str) -> Vec<(u64, String)> {
        let mut counts = std::collections::BTreeMap::<String, u64>::new();
        for word in text.split(|c: char| !c.is_ascii_alphabetic()).filter(|word| !word.is_empty()) {
            *counts.entry(word.to_ascii_lowercase()).or_default() += 1;
        }
        let mut words: Vec<(u64, String)> =
            counts.into_iter().map(|(word, count)| (count, word)).collect();
        words.sort_by(|left, right| right.0.cmp(&left.0).then(left.1.cmp(&right.1)));
        words.truncate(20);
        words
    }

    #[test]
    fn long_words_are_ordered_by_all_their_letters() {
        let long = "x".repeat(100);
        let text = std::format!("{long}b {long}A {long} {long}ab {}", &long[..32]);
        assert_eq!(ordered(&text), expected(&text));
    }

    proptest! {
        #[test]
        fn order_is_that_of_sorting(
            words in proptest::collection::vec(("[aB]{1,3}", 1usize..40), 0..200),
        ) {
            let text: String =
                words.iter().map(|(word, times)| word.repeat(*times) + " ").collect();
            prop_assert_eq!(ordered(&text), expected(&text));
        }
    }
}
