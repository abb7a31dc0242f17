//! Counts the words of a file, as `tr -cs A-Za-z '\n' | tr A-Z a-z | sort | uniq -c` does.
//!
//! The [`reader`] gets the file as a read-only region, cuts it between words, and lends each slice to
//! two [`counter`]s at once. Each counts the words whose hash falls in its half, in a table of its
//! own. At the end the reader asks each for its most frequent words, as short messages, merges them,
//! and prints the twenty most frequent and the totals.
//!
//! Principles:
//! - **The text stays where it is**: ΦCore copies none of it, and a word is named by its place in the
//!   text, whose address is the same for all.
//! - **Exact, and a function of the file alone**: no sampling, and ties in bytewise order.
//! - **Memory grows with the distinct words, not with the text**: a word of any length takes one
//!   entry. Words longer than 32 letters are told apart by their BLAKE3 hash.
//!
//! Limits: words are runs of ASCII letters. When the distinct words outgrow a counter's heap, the
//! system says so and ends with status 1.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod counting;
mod order;
mod protocol;
mod reading;
mod report;
mod slices;
mod table;
mod words;

pub use counting::counter;
pub use protocol::{Counter, CounterClient, CounterServer, Ranked, TableFull, Totals};
pub use reading::reader;
