//! Cuts a text between words.

use crate::words::is_letter;
use core::ops::Range;

/// Cuts `text` into ranges of about `size` bytes, none of which begins or ends within a word. A word
/// longer than that makes its slice longer.
pub fn slices(text: &[u8], size: usize) -> impl Iterator<Item = Range<usize>> {
    let mut start = 0;
    core::iter::from_fn(move || {
        if start == text.len() {
            return None;
        }
        let about = start.saturating_add(size.max(1)).min(text.len());
        let rest = if is_letter(text[about - 1]) {
            text[about..].iter().take_while(|byte| is_letter(**byte)).count()
        } else {
            0
        };
        let range = start..about + rest;
        start = range.end;
        Some(range)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    #[test]
    fn an_empty_text_has_no_slices() {
        assert_eq!(slices(b"", 8).count(), 0);
    }

    #[test]
    fn a_long_word_is_one_slice() {
        let all: Vec<_> = slices(b"a bcdefghij k", 3).collect();
        assert_eq!(all, [0..11, 11..13]);
    }

    proptest! {
        #[test]
        fn slices_cover_the_text_and_cut_no_word(
            text in proptest::collection::vec(prop_oneof![Just(b'a'), Just(b' ')], 0..200),
            size in 0usize..20,
        ) {
            let mut end = 0;
            for range in slices(&text, size) {
                prop_assert_eq!(range.start, end);
                prop_assert!(!range.is_empty());
                end = range.end;
                let within = end < text.len() && is_letter(text[end - 1]) && is_letter(text[end]);
                prop_assert!(!within);
            }
            prop_assert_eq!(end, text.len());
        }
    }
}
