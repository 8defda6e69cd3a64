//! Bookkeeping of a packed stream: which original tokens the live rows are.

use ssm_model::RowTime;

use crate::error::PlanError;
use crate::site::SitePlan;

/// The tokens of one segment.
#[derive(Clone, Debug, PartialEq)]
pub struct SegmentTokens {
    /// Positions in the sequence as it entered the model, ascending.
    pub positions: Vec<u32>,
    /// How many original tokens each row stands for.
    pub sizes: Vec<f32>,
    /// Tokens that no rule may remove or merge into.
    pub protected: Vec<bool>,
    /// How long each row lasts for the scans of later layers.
    pub times: Vec<RowTime>,
    /// Whether rules see this segment at all.
    pub reducible: bool,
    /// The example that the segment belongs to; random choices depend on it.
    pub item: u64,
    /// Original tokens dropped so far without being merged anywhere.
    pub dropped: f32,
}

impl SegmentTokens {
    /// `n` tokens from position 0, none protected, open to reduction.
    #[must_use]
    pub fn reducible(item: u64, n: usize) -> Self {
        Self {
            positions: (0..n as u32).collect(),
            sizes: vec![1.0; n],
            protected: vec![false; n],
            times: vec![RowTime::ONE; n],
            reducible: true,
            item,
            dropped: 0.0,
        }
    }

    /// `n` tokens from position `first` that no rule touches: a continuation, say.
    #[must_use]
    pub fn fixed(item: u64, first: u32, n: usize) -> Self {
        let positions = (first..first + n as u32).collect();
        Self { positions, reducible: false, ..Self::reducible(item, n) }
    }

    /// Protects these rows (those that exist).
    #[must_use]
    pub fn with_protected(mut self, rows: impl IntoIterator<Item = usize>) -> Self {
        for row in rows {
            if let Some(protected) = self.protected.get_mut(row) {
                *protected = true;
            }
        }
        self
    }

    /// Protects the last row, if there is one.
    #[must_use]
    pub fn with_last_protected(self) -> Self {
        let last = self.positions.len().checked_sub(1);
        self.with_protected(last)
    }
}

/// The tokens of every segment of a packed stream, in stream order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TokenTable {
    /// One entry per segment.
    pub segments: Vec<SegmentTokens>,
}

impl TokenTable {
    /// What a layer must be told of the first `rows[i]` rows of each segment `i`; none where every row lasts as long as ever.
    #[must_use]
    pub fn times<'a>(segments: impl Iterator<Item = (&'a SegmentTokens, usize)>) -> Option<Vec<RowTime>> {
        let mut any = false;
        let mut times = Vec::new();
        for (segment, rows) in segments {
            any |= segment.times[..rows].iter().any(|time| *time != RowTime::ONE);
            times.extend_from_slice(&segment.times[..rows]);
        }
        any.then_some(times)
    }

    /// A table from its segments.
    #[must_use]
    pub fn new(segments: Vec<SegmentTokens>) -> Self {
        Self { segments }
    }

    /// The tokens that a site leaves: positions and protection of the kept ones, sizes with what was merged in.
    ///
    /// # Errors
    /// A plan for another stream.
    pub fn apply(&self, site: &SitePlan) -> Result<Self, PlanError> {
        if site.plans.len() != self.segments.len() {
            let (got, expected) = (site.plans.len(), self.segments.len());
            return Err(PlanError::Stream { what: "segments of plan and token table", got, expected });
        }
        let after = |(segment, plan): (&SegmentTokens, &Option<crate::plan::Plan>)| {
            let Some(plan) = plan else { return Ok(segment.clone()) };
            let sizes = plan.sizes_after(&segment.sizes)?;
            let kept = |row: &u32| *row as usize;
            Ok(SegmentTokens {
                positions: plan.keep().iter().map(|row| segment.positions[kept(row)]).collect(),
                sizes: sizes.kept,
                protected: plan.keep().iter().map(|row| segment.protected[kept(row)]).collect(),
                times: plan.times_after(&segment.times)?,
                reducible: segment.reducible,
                item: segment.item,
                dropped: segment.dropped + sizes.dropped,
            })
        };
        self.segments.iter().zip(&site.plans).map(after).collect::<Result<_, _>>().map(Self::new)
    }
}

#[cfg(test)]
mod tests {
    use ssm_kernels::ops::{MergeGroup, MergeRule};

    use super::*;
    use crate::plan::{BranchMerges, Plan};

    #[test]
    fn positions_sizes_and_protection_go_through_two_sites() {
        let table = TokenTable::new(vec![
            SegmentTokens::reducible(4, 5).with_last_protected(),
            SegmentTokens::fixed(4, 5, 2),
            SegmentTokens::reducible(5, 0).with_last_protected(),
        ]);
        let groups = vec![MergeGroup { into: 2, own_weight: 1.0, sources: vec![(0, 1.0)] }];
        let merges = BranchMerges { groups, rule: MergeRule::WeightedMean };
        let first = Plan::new(5, vec![1, 2, 4], merges.clone(), merges).unwrap();
        let table = table.apply(&SitePlan { plans: vec![Some(first), None, None] }).unwrap();
        assert_eq!(table.segments[0].positions, [1, 2, 4]);
        assert_eq!(table.segments[0].sizes, [1.0, 2.0, 1.0]);
        assert!((table.segments[0].dropped - 1.0).abs() < f32::EPSILON);
        let second = Plan::prune(3, vec![0, 2]).unwrap();
        let table = table.apply(&SitePlan { plans: vec![Some(second), None, None] }).unwrap();
        assert_eq!(table.segments[0].positions, [1, 4]);
        assert_eq!(table.segments[0].protected, [false, true]);
        assert!((table.segments[0].dropped - 3.0).abs() < f32::EPSILON);
        assert_eq!(table.segments[1], SegmentTokens::fixed(4, 5, 2));
        assert_eq!(table.segments[1].positions, [5, 6]);
        assert!(table.apply(&SitePlan { plans: vec![None] }).is_err());
    }
}
