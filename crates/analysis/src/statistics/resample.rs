//! The one place that decides which items a bootstrap resample holds.
//!
//! Resamples of a task depend on the experiment's seed, the task and the number of items, and on nothing else: every
//! metric of every trial is resampled by the same draws, which is what makes differences between trials paired. Draws
//! of different tasks are independent, which is what a bootstrap stratified by task needs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Resamples per bootstrap.
pub(crate) const RESAMPLES: usize = 10_000;

/// Resamples summed at a time: few enough that their sums stay in the first-level cache.
const BLOCK: usize = 2_048;

/// How often each item occurs in each resample.
///
/// A resample of n items is a vector of n counts that sum to n, so any sum over a resample is a weighted sum.
pub(crate) struct Resamples {
    items: usize,
    draws: usize,
    /// Item after item, `draws` counts each: a column sum is then a few long passes that the compiler vectorises.
    counts: Vec<u8>,
}

impl Resamples {
    /// Draws `draws` resamples of `items` items with replacement.
    pub(crate) fn draw(seed: u64, task: &str, items: usize, draws: usize) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"item bootstrap");
        hasher.update(&seed.to_le_bytes());
        hasher.update(&(items as u64).to_le_bytes());
        hasher.update(task.as_bytes());
        let mut random = ChaCha8Rng::from_seed(*hasher.finalize().as_bytes());
        let mut counts = vec![0_u8; items * draws];
        for resample in 0..draws {
            for _ in 0..items {
                let item = random.random_range(0..items as u32) as usize;
                // More than 255 hits of one item have a probability below 1e-500; saturation keeps the type small.
                let count = &mut counts[item * draws + resample];
                *count = count.saturating_add(1);
            }
        }
        Self { items, draws, counts }
    }

    /// Sum of `column` over each resample.
    pub(crate) fn sums(&self, column: &[f64]) -> Vec<f64> {
        assert_eq!(column.len(), self.items, "one value per item");
        // Counts sum to n in every resample, so a constant may be taken out: most columns are 0/1, and the rarer of
        // the two values alone has to be visited.
        let ones = column.iter().filter(|x| x.total_cmp(&1.0).is_eq()).count();
        let pivot = if 2 * ones > column.len() { 1.0 } else { 0.0 };
        let mut sums = vec![pivot * self.items as f64; self.draws];
        for (block, sums) in sums.chunks_mut(BLOCK).enumerate() {
            let start = block * BLOCK;
            for (item, &x) in column.iter().enumerate() {
                let x = x - pivot;
                if x == 0.0 {
                    continue;
                }
                let from = item * self.draws + start;
                let counts = &self.counts[from..from + sums.len()];
                for (sum, &count) in sums.iter_mut().zip(counts) {
                    *sum += f64::from(count) * x;
                }
            }
        }
        sums
    }
}

/// Resamples of one task by number of items, drawn once and shared by everything that asks.
pub(crate) struct ResampleBank {
    seed: u64,
    draws: usize,
    task: String,
    sets: Mutex<BTreeMap<usize, Arc<Resamples>>>,
}

impl ResampleBank {
    /// An empty bank for one task.
    pub(crate) fn new(seed: u64, task: &str) -> Self {
        Self::with_draws(seed, task, RESAMPLES)
    }

    /// An empty bank for one task, with so many resamples of each size.
    pub(crate) fn with_draws(seed: u64, task: &str, draws: usize) -> Self {
        Self { seed, draws, task: task.to_owned(), sets: Mutex::new(BTreeMap::new()) }
    }

    /// The resamples of `items` items.
    pub(crate) fn of(&self, items: usize) -> Arc<Resamples> {
        let mut sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        let set =
            sets.entry(items).or_insert_with(|| Arc::new(Resamples::draw(self.seed, &self.task, items, self.draws)));
        Arc::clone(set)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_resample_has_n_items() {
        let set = Resamples::draw(1, "task", 7, 50);
        assert!(set.sums(&[1.0; 7]).iter().all(|&sum| (sum - 7.0).abs() < 1e-12));
        for resample in 0..50 {
            let total: u32 = (0..7).map(|item| u32::from(set.counts[item * 50 + resample])).sum();
            assert_eq!(total, 7);
        }
    }

    #[test]
    fn sums_are_those_of_the_counts() {
        let set = Resamples::draw(3, "task", 4, 5);
        let column = [1.0, 1.0, 1.0, -2.5];
        let expected: Vec<f64> = (0..5)
            .map(|resample| (0..4).map(|item| f64::from(set.counts[item * 5 + resample]) * column[item]).sum())
            .collect();
        for (sum, expected) in set.sums(&column).iter().zip(expected) {
            assert!((sum - expected).abs() < 1e-12);
        }
    }

    #[test]
    fn same_seed_same_draws_and_another_task_other_draws() {
        let draw = |seed, task| Resamples::draw(seed, task, 20, 30).counts;
        assert_eq!(draw(0, "a"), draw(0, "a"));
        assert_ne!(draw(0, "a"), draw(1, "a"));
        assert_ne!(draw(0, "a"), draw(0, "b"));
    }
}
