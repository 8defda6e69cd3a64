//! Overlap of kept sets, observed and expected.

use std::collections::HashMap;

use super::ln_factorials;

/// Jaccard overlap of two ascending lists: size of the intersection over size of the union; 1 for two empty sets.
pub(crate) fn jaccard(a: &[u32], b: &[u32]) -> f64 {
    let (mut i, mut j, mut both) = (0, 0, 0_usize);
    while i < a.len() && j < b.len() {
        match a[i].cmp(&b[j]) {
            std::cmp::Ordering::Less => i += 1,
            std::cmp::Ordering::Greater => j += 1,
            std::cmp::Ordering::Equal => {
                both += 1;
                i += 1;
                j += 1;
            }
        }
    }
    let union = a.len() + b.len() - both;
    if union == 0 { 1.0 } else { both as f64 / union as f64 }
}

/// Expected Jaccard overlap of two independent random subsets, remembered by sizes.
#[derive(Default)]
pub(crate) struct ChanceOverlap {
    ln_factorial: Vec<f64>,
    known: HashMap<(usize, usize, usize), f64>,
}

impl ChanceOverlap {
    /// Mean of `k / (a + b - k)` with k hypergeometric: the overlap of random sets of `a` and `b` out of `universe`.
    pub(crate) fn expected(&mut self, universe: usize, a: usize, b: usize) -> f64 {
        let universe = universe.max(a).max(b);
        let key = (universe, a.min(b), a.max(b));
        if let Some(&known) = self.known.get(&key) {
            return known;
        }
        if self.ln_factorial.len() <= universe {
            self.ln_factorial = ln_factorials(universe);
        }
        let f = &self.ln_factorial;
        let ln_choose = |n: usize, k: usize| f[n] - f[k] - f[n - k];
        let mut expected = if a + b == 0 { 1.0 } else { 0.0 };
        for k in (a + b).saturating_sub(universe).max(1)..=a.min(b) {
            let ln_probability = ln_choose(a, k) + ln_choose(universe - a, b - k) - ln_choose(universe, b);
            expected += ln_probability.exp() * k as f64 / (a + b - k) as f64;
        }
        self.known.insert(key, expected);
        expected
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jaccard_counts_common_positions() {
        assert!((jaccard(&[0, 1, 2, 5], &[1, 2, 3]) - 2.0 / 5.0).abs() < 1e-12);
        assert!((jaccard(&[], &[]) - 1.0).abs() < 1e-12);
        assert!(jaccard(&[1], &[2]).abs() < 1e-12);
    }

    #[test]
    fn chance_matches_enumeration() {
        let mut chance = ChanceOverlap::default();
        // One token each out of four: equal with probability 1/4, overlap then 1.
        assert!((chance.expected(4, 1, 1) - 0.25).abs() < 1e-12);
        // Two each out of four: P(k=2) = 1/6 at overlap 1, P(k=1) = 4/6 at overlap 1/3.
        assert!((chance.expected(4, 2, 2) - (1.0 / 6.0 + 4.0 / 18.0)).abs() < 1e-12);
        // Everything kept overlaps fully.
        assert!((chance.expected(9, 9, 9) - 1.0).abs() < 1e-12);
        assert!((chance.expected(10, 10, 3) - 0.3).abs() < 1e-9);
    }
}
