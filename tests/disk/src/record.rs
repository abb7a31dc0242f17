//! Records of a log: whole pages that say which they are, and of which every byte can be checked.

use phi_random::Random;

/// Bytes of a record.
pub const BYTES: usize = 4096;

/// Records of a log, at most: each log has a part of the device of its own.
pub const PART: u64 = 1024;

const WORD: usize = 8;

/// The word at `place` of record `number` of log `log`: from its first word on they are as random ones.
fn word(log: u64, number: u64, place: u64) -> u64 {
    Random::new(log << 48 ^ number << 16 ^ place).word()
}

/// Fills `bytes` with record `number` of log `log`.
pub fn fill(bytes: &mut [u8], log: u64, number: u64) {
    for (place, part) in bytes.chunks_exact_mut(WORD).enumerate() {
        part.copy_from_slice(&word(log, number, place as u64).to_le_bytes());
    }
}

/// Whether `bytes` are record `number` of log `log`, all of it.
pub fn is(bytes: &[u8], log: u64, number: u64) -> bool {
    bytes.len() == BYTES
        && bytes
            .chunks_exact(WORD)
            .enumerate()
            .all(|(place, part)| *part == word(log, number, place as u64).to_le_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_itself_and_no_other() {
        let mut bytes = [0; BYTES];
        assert!(!is(&bytes, 0, 0));
        fill(&mut bytes, 2, 7);
        assert!(is(&bytes, 2, 7) && !is(&bytes, 2, 8) && !is(&bytes, 1, 7));
        bytes[BYTES - 1] ^= 1;
        assert!(!is(&bytes, 2, 7));
    }
}
