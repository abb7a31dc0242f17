//! Numbers that look random, and are a function of a seed: whatever is random in the simulator, in tests and in
//! benchmarks is made of them, and is the same again with the same seed. Nothing that must not be guessed is.
#![no_std]

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Random(u64);

impl Random {
    /// A generator that begins with `seed`.
    pub const fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// The next word.
    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ (word >> 31)
    }

    /// One of `0..count`; 0 when there is none.
    pub fn below(&mut self, count: u64) -> u64 {
        // The high half of the product: no division, and as even as 64 bits allow (Lemire, 2019).
        ((u128::from(self.word()) * u128::from(count)) >> 64) as u64
    }

    /// True once in `times`; never when `times` is 0.
    pub fn once_in(&mut self, times: u64) -> bool {
        times > 0 && self.below(times) == 0
    }

    /// One of `choices`; none when there is none.
    pub fn choose<T: Copy>(&mut self, choices: &[T]) -> Option<T> {
        choices.get(self.below(choices.len() as u64) as usize).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_those_of_the_published_generator() {
        let mut random = Random::new(1_234_567);
        let expected = [6_457_827_717_110_365_317, 3_203_168_211_198_807_973];
        assert_eq!([random.word(), random.word()], expected);
    }

    #[test]
    fn numbers_stay_below_their_bound() {
        let mut random = Random::new(1);
        assert!((0..1000).all(|_| random.below(7) < 7));
        assert_eq!(random.below(0), 0);
        assert!(!random.once_in(0));
        assert_eq!(random.choose::<u8>(&[]), None);
    }
}
