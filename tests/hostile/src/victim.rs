//! The service that must stay unharmed.

use core::hint::black_box;
use phi_rt::{Outgoing, Service};

/// What the victim answers while its data is as it was.
pub const UNHARMED: u64 = 0x0005_AFE0;

/// Words of data.
const WORDS: usize = 4096;

/// Answers each call with [`UNHARMED`], or with how many words of its data have changed.
pub fn victim(service: &Service) -> u8 {
    let Ok(data) = service.mailbox("data") else { return 2 };
    let Ok(mut memory) = phi_rt::Memory::create((WORDS * 8) as u64) else { return 3 };
    let pattern = |place: usize| (place as u64 ^ 0x5555).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    for (place, word) in memory.chunks_exact_mut(8).enumerate() {
        word.copy_from_slice(&pattern(place).to_le_bytes());
    }
    data.serve(|_| {
        let words = black_box(&memory).chunks_exact(8).enumerate();
        let changed = words.filter(|(place, word)| **word != pattern(*place).to_le_bytes()).count();
        Some(Outgoing::empty(if changed == 0 { UNHARMED } else { changed as u64 }))
    });
    1
}
