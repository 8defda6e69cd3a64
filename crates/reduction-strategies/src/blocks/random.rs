//! The one place for random numbers.
//!
//! A number depends on (seed, item, site, purpose) and its index in the sequence. Batch neighbours, thread counts and
//! the order of work cannot change it.

use rand::RngCore;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::view::Draw;

/// What numbers are for; two purposes never share a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Purpose {
    /// A random score per token.
    Score = 1,
    /// Free for a strategy's own use.
    Other = 2,
}

/// The `ChaCha8` stream of (seed, item, site, purpose): the four numbers are its key.
#[must_use]
pub fn stream(draw: Draw, purpose: Purpose) -> ChaCha8Rng {
    let mut key = [0_u8; 32];
    for (bytes, word) in key.chunks_exact_mut(8).zip([draw.seed, draw.item, draw.site as u64, purpose as u64]) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

/// `n` numbers uniform in [0, 1), 24 random bits each.
#[must_use]
pub fn uniform(draw: Draw, purpose: Purpose, n: usize) -> Vec<f32> {
    let mut stream = stream(draw, purpose);
    (0..n).map(|_| (stream.next_u32() >> 8) as f32 / (1_u32 << 24) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_the_key_matters_and_a_longer_sequence_starts_the_same() {
        let draw = Draw { seed: 1, item: 2, site: 3 };
        let numbers = uniform(draw, Purpose::Score, 8);
        assert_eq!(numbers, uniform(draw, Purpose::Score, 16)[..8]);
        assert!(numbers.iter().all(|number| (0.0..1.0).contains(number)));
        for other in [Draw { seed: 0, ..draw }, Draw { item: 0, ..draw }, Draw { site: 0, ..draw }] {
            assert_ne!(numbers, uniform(other, Purpose::Score, 8));
        }
        assert_ne!(numbers, uniform(draw, Purpose::Other, 8));
    }
}
