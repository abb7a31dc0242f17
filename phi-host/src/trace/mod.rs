//! Events of a system as a trace: which messages belong together, and the file for Perfetto.
//!
//! Limits: which message a receive got is told by the server, the label and the order, so among
//! messages of the same label that overtake each other it can be another one of them.

mod perfetto;
mod story;
#[cfg(test)]
mod tests;

pub use perfetto::{Mark, Packet, TrackKind, encode};
pub use story::{Names, Story};
