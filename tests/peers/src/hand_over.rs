//! Much at once, from one process to another and acknowledged, without reading it.

use crate::PeerError;
use crate::clock::{Watch, counter, distribution};
use crate::memory::Child;

/// Bytes that are handed over.
pub const SIZES: [usize; 3] = [4 << 10, 1 << 20, 64 << 20];

/// A way to hand over.
pub trait HandOver: Sized {
    /// The end of who has the bytes.
    type Giver: Give;

    /// Times that the largest size is handed over, of `count`: fewer where each byte is copied.
    fn times(size: usize, count: usize) -> usize;

    /// Before the fork.
    fn prepare() -> Result<Self, PeerError>;

    /// In the process that has the bytes.
    fn giver(self) -> Result<Self::Giver, PeerError>;

    /// In the other process: takes and acknowledges until there is no more.
    fn take_all(self) -> Result<(), PeerError>;
}

/// Who has the bytes.
pub trait Give {
    /// Hands over `size` bytes, and waits until that is acknowledged.
    fn give(&mut self, size: usize) -> Result<(), PeerError>;

    /// There is no more.
    fn end(self) -> Result<(), PeerError>;
}

/// Each size, `count` times or as often as the peer bears, after a tenth as many to warm up.
pub fn measure<H: HandOver>(count: usize) -> Result<String, PeerError> {
    let mut pair = Some(H::prepare()?);
    let child = Child::run(|| match pair.take() {
        Some(pair) => pair.take_all(),
        None => Ok(()),
    })?;
    let Some(pair) = pair else { return Err(PeerError("no pair".into())) };
    let mut giver = pair.giver()?;
    let watch = Watch::start();
    let mut sizes = Vec::new();
    for size in SIZES {
        let times = H::times(size, count).max(1);
        let mut samples = Vec::with_capacity(times);
        for round in 0..times + times / 10 {
            let start = counter();
            giver.give(size)?;
            if round >= times / 10 {
                samples.push(counter() - start);
            }
        }
        sizes.push(format!("\"{size}\":{}", distribution(samples)));
    }
    let line = format!("{{{},\"hand_over\":{{{}}}}}", watch.json(), sizes.join(","));
    giver.end()?;
    child.finish()?;
    Ok(line)
}
