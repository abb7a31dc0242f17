//! What the reader prints.

use crate::protocol::{Ranked, TOP, Totals};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;

/// Letters of a word that are printed; a longer word is cut and its length named.
const SHOWN: usize = 60;

/// The counters' words in one order, the [`TOP`] first, each with its letters as they stand in
/// `text`, which lies at `base`. A word that lies elsewhere is left out: only a broken counter names
/// one.
pub fn merge(words: Vec<Ranked>, base: u64, text: &[u8]) -> Vec<(Ranked, &[u8])> {
    let mut words: Vec<(Ranked, &[u8])> = words
        .into_iter()
        .filter_map(|word| {
            let start = usize::try_from(word.address.checked_sub(base)?).ok()?;
            let end = start.checked_add(usize::try_from(word.length).ok()?)?;
            Some((word, text.get(start..end)?))
        })
        .collect();
    words.sort_by(|left, right| {
        let words = || lower(left.1).cmp(lower(right.1));
        right.0.count.cmp(&left.0.count).then_with(words)
    });
    words.truncate(TOP);
    words
}

fn lower(letters: &[u8]) -> impl Iterator<Item = u8> {
    letters.iter().map(u8::to_ascii_lowercase)
}

/// The text that the reader prints.
pub fn report(words: &[(Ranked, &[u8])], totals: Totals, bytes: usize) -> String {
    let mut report = String::new();
    for (word, letters) in words {
        let shown: String = lower(letters).take(SHOWN).map(char::from).collect();
        // A string takes everything.
        let _ = match letters.len() {
            0..=SHOWN => writeln!(report, "{:>10} {shown}", word.count),
            length => writeln!(report, "{:>10} {shown}... ({length} letters)", word.count),
        };
    }
    let Totals { words, distinct } = totals;
    let _ = writeln!(report, "{words} words, {distinct} different, in {bytes} bytes");
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(count: u64, address: u64, length: u64) -> Ranked {
        Ranked { count, address, length }
    }

    #[test]
    fn words_are_merged_by_count_and_letters() {
        let text = b"the Cat the Ant";
        let words = Vec::from([
            word(1, 104, 3),
            word(2, 100, 3),
            word(1, 112, 3),
            // Not in the text.
            word(9, 99, 1),
            word(9, 114, 2),
            word(9, u64::MAX, u64::MAX),
        ]);
        let merged = merge(words, 100, text);
        let letters: Vec<&[u8]> = merged.iter().map(|(_, letters)| *letters).collect();
        assert_eq!(letters, [&b"the"[..], b"Ant", b"Cat"]);
    }

    #[test]
    fn reports_clip_long_words() {
        let long = [b'Q'; 61];
        let words = [(word(12, 0, 3), &b"The"[..]), (word(1, 0, 61), &long[..])];
        let report = report(&words, Totals { words: 13, distinct: 2 }, 100);
        let expected = std::format!(
            "        12 the\n         1 {}... (61 letters)\n13 words, 2 different, in 100 bytes\n",
            "q".repeat(60),
        );
        assert_eq!(report, expected);
    }
}
