//! What the reader asks of a counter.

use phi_idl::{Lent, interface};
use serde::{Deserialize, Serialize};

/// How many of its most frequent words a counter names.
pub const TOP: usize = 20;

/// Counts its share of the words of a text.
#[interface]
pub trait Counter {
    /// Forgets everything, and from here on counts the words of share `share` of `shares`.
    fn begin(&mut self, share: u8, shares: u8) -> Result<(), TableFull>;

    /// Counts the words of a slice, which neither begins nor ends within a word.
    fn count(&mut self, slice: Lent<'_>) -> Result<(), TableFull>;

    /// Ends the count: orders the words, for which it looks at them once more in the whole text.
    fn rank(&mut self, text: Lent<'_>) -> Result<Totals, TableFull>;

    /// The word at `place` in the order, of the first [`TOP`]; 0 is the most frequent one.
    fn top(&mut self, place: u8) -> Result<Option<Ranked>, TableFull>;
}

/// What a counter has counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Totals {
    /// Words.
    pub words: u64,
    /// Different words.
    pub distinct: u64,
}

/// A word and its count.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Ranked {
    /// How often the word comes.
    pub count: u64,
    /// Address of the first letter where it comes first.
    pub address: u64,
    /// Its letters.
    pub length: u64,
}

/// The counter's heap has no room for another different word.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TableFull;

impl core::fmt::Display for TableFull {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("a counter's memory has no room for so many different words")
    }
}

impl core::error::Error for TableFull {}
