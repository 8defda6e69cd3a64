//! A fixed share of the work, for processes that cannot see each other's progress or should load few models.

/// One of `count` shares of an experiment's units.
///
/// All units are listed by model, then task, then protocol, then group, and cut into `count` contiguous ranges of about equal
/// estimated cost. The cut looks at the plan alone, never at what is done already, so that every process cuts alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Which share, 0-based; less than `count`.
    pub index: usize,
    /// Number of shares; at least 1.
    pub count: usize,
}

impl Shard {
    /// Which of some pieces of work of these costs belong to the shard: contiguous ranges of about equal cost. Every piece belongs to
    /// exactly one shard.
    pub(super) fn assign(self, costs: &[f64]) -> Vec<bool> {
        let total: f64 = costs.iter().sum();
        let mut before = 0.0;
        let of = costs.iter().map(|cost| {
            let middle = before + cost / 2.0;
            before += cost;
            let share = (middle / total.max(f64::MIN_POSITIVE) * self.count as f64) as usize;
            share.min(self.count - 1) == self.index
        });
        of.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_piece_belongs_to_one_shard_and_shards_cost_about_the_same() {
        let costs: Vec<f64> = (0..50).map(|index| f64::from(index % 7 + 1)).collect();
        for count in [1, 2, 3, 7, 60] {
            let shards: Vec<Vec<bool>> = (0..count).map(|index| Shard { index, count }.assign(&costs)).collect();
            for piece in 0..costs.len() {
                assert_eq!(shards.iter().filter(|shard| shard[piece]).count(), 1, "piece {piece} of {count} shards");
            }
            for shard in &shards {
                let cost: f64 = shard.iter().zip(&costs).filter(|(mine, _)| **mine).map(|(_, cost)| cost).sum();
                let fair = costs.iter().sum::<f64>() / count as f64;
                assert!((cost - fair).abs() <= 7.0, "{cost} of {fair}");
                let first = shard.iter().position(|mine| *mine).unwrap_or(0);
                let held = shard.iter().filter(|mine| **mine).count();
                assert!(shard[first..first + held].iter().all(|mine| *mine), "a shard is one range");
            }
        }
    }

    #[test]
    fn work_that_costs_nothing_still_belongs_to_somebody() {
        assert_eq!(Shard { index: 0, count: 2 }.assign(&[0.0, 0.0]), [true, true]);
        assert!(Shard { index: 1, count: 2 }.assign(&[]).is_empty());
    }
}
