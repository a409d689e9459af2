//! Choices by chance that are the same in every run with one seed.

/// Marsaglia's xorshift, which is even enough for a test.
#[derive(Debug, Clone)]
pub(super) struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        // Zero would stay zero.
        Random((seed ^ 0x9e37_79b9_7f4a_7c15).max(1))
    }

    /// A number below `bound`, which is not zero.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        // The upper half is the better one.
        let bound = u64::try_from(bound).unwrap_or(u64::MAX).max(1);
        usize::try_from((self.0 >> 32) % bound).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_one_row_and_every_number_comes() {
        let row = |seed| {
            let mut random = Random::new(seed);
            (0..200).map(|_| random.below(5)).collect::<Vec<_>>()
        };
        assert_eq!(row(1), row(1));
        assert_ne!(row(1), row(2));
        for number in 0..5 {
            assert!(row(1).iter().filter(|one| **one == number).count() > 10, "{number}");
        }
    }
}
