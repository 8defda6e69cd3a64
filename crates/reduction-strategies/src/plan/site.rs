//! One site of a packed stream: a plan per segment, and its application.

use candle_core::{Device, Tensor};
use rayon::prelude::*;
use ssm_kernels::Segments;
use ssm_kernels::ops::{RowChoice, RowMerges, merge_rows};
use ssm_model::Activations;

use super::data::{BranchMerges, Plan};
use crate::error::PlanError;
use crate::vectors::{dot, norm};
use crate::view::{HostMatrix, SegmentTokens, SiteStream, TokenTable};

/// One plan per segment of a packed stream; a segment without one stays as it is.
#[derive(Clone, Debug, PartialEq)]
pub struct SitePlan {
    /// In stream order.
    pub plans: Vec<Option<Plan>>,
}

impl SitePlan {
    /// Whether every segment stays as it is.
    #[must_use]
    pub fn is_identity(&self) -> bool {
        self.plans.iter().flatten().all(Plan::is_identity)
    }

    /// Applies the plans to both branches, and to the embeddings as to the residual stream. Where no token is removed, the very same tensors
    /// come back.
    ///
    /// # Errors
    /// Plans for another stream, or tensors that cannot be read.
    pub fn apply<T>(&self, stream: &SiteStream<'_, T>) -> Result<(Activations, Segments), PlanError> {
        let segments = stream.segments;
        self.check(segments)?;
        if self.is_identity() {
            return Ok((stream.activations(), segments.clone()));
        }
        let forks: Vec<Fork<'_>> = self.plans.iter().map(Option::as_ref).enumerate().collect();
        let activations = apply_forks(&forks, segments, &stream.activations())?;
        let length = |(segment, plan): &Fork<'_>| plan.map_or(segments.length(*segment), |plan| plan.keep().len());
        Ok((activations, segments.with_lengths(&forks.iter().map(length).collect::<Vec<_>>())))
    }

    /// Mean cosine similarity of the pairs (removed token, token it is merged into) on the hidden branch, one entry per
    /// segment; `None` where nothing was merged. `stream` is the one that was planned.
    ///
    /// # Errors
    /// Plans for another stream, or a tensor that cannot be read.
    pub fn merged_similarity<T>(&self, stream: &SiteStream<'_, T>) -> Result<Vec<Option<f64>>, PlanError> {
        let segments = stream.segments;
        self.check(segments)?;
        if self.plans.iter().flatten().all(|plan| plan.hidden().groups.is_empty()) {
            return Ok(vec![None; self.plans.len()]);
        }
        let hidden = HostMatrix::new(stream.hidden, "hidden", segments.n_tokens())?;
        let hidden = hidden.view()?;
        let hidden = hidden.matrix();
        let rows = |index| hidden.rows_of(&segments.rows(index));
        let similarity = |(index, plan): (usize, &Option<Plan>)| {
            let pairs = plan.as_ref()?.merged();
            let rows = rows(index);
            let sum: f64 =
                pairs.iter().map(|(token, into)| cosine(rows.row(*token as usize), rows.row(*into as usize))).sum();
            (!pairs.is_empty()).then(|| sum / pairs.len() as f64)
        };
        Ok(self.plans.par_iter().enumerate().map(similarity).collect())
    }

    fn check(&self, segments: &Segments) -> Result<(), PlanError> {
        if self.plans.len() != segments.len() {
            let (got, expected) = (self.plans.len(), segments.len());
            return Err(PlanError::Stream { what: "plans and segments", got, expected });
        }
        for (index, plan) in self.plans.iter().enumerate() {
            if let Some(plan) = plan.as_ref().filter(|plan| plan.n_tokens() != segments.length(index)) {
                return Err(PlanError::Length { got: plan.n_tokens(), expected: segments.length(index) });
            }
        }
        Ok(())
    }
}

/// A segment of a stream and the plan for it; `None` takes it as it is.
pub type Fork<'a> = (usize, Option<&'a Plan>);

/// Builds a new stream from segments of another one, in any order and as often as wanted: how one sequence goes on under
/// several plans. Each branch becomes `[sum of kept tokens, d_model]`; a segment comes out with the bits that
/// [`SitePlan::apply`] gives it.
///
/// # Errors
/// A segment that is not there, a plan for another length, or tensors that are not contiguous.
pub fn apply_forks(
    forks: &[Fork<'_>],
    segments: &Segments,
    activations: &Activations,
) -> Result<Activations, PlanError> {
    for (segment, plan) in forks {
        if *segment >= segments.len() {
            return Err(PlanError::Stream { what: "segment to fork", got: *segment, expected: segments.len() });
        }
        if let Some(plan) = plan.filter(|plan| plan.n_tokens() != segments.length(*segment)) {
            return Err(PlanError::Length { got: plan.n_tokens(), expected: segments.length(*segment) });
        }
    }
    // On a GPU the tables of a merge are made and copied for each tensor, those of a choice of rows once for all.
    if activations.hidden.device().is_cuda()
        && let Some(rows) = chosen_rows(forks, segments, activations.hidden.device())?
    {
        return Ok(activations.map(|tensor| rows.of(tensor))?);
    }
    let longest = forks.iter().map(|(segment, _)| segments.length(*segment)).max().unwrap_or(0);
    let all: Vec<u32> = (0..longest as u32).collect();
    let none = BranchMerges::default();
    let merge = |x: &Tensor, rows: fn(&Plan) -> &[u32], branch: fn(&Plan) -> &BranchMerges| {
        let merges: Vec<RowMerges<'_>> = forks
            .iter()
            .map(|(segment, plan)| {
                let merges = plan.map_or(&none, branch);
                RowMerges {
                    first_row: segments.rows(*segment).start,
                    keep: plan.map_or(&all[..segments.length(*segment)], rows),
                    groups: &merges.groups,
                    rule: merges.rule,
                }
            })
            .collect();
        merge_rows(x, &merges)
    };
    let as_residual = |tensor: &Tensor| merge(tensor, Plan::residual_of, Plan::residual);
    Ok(Activations {
        hidden: merge(&activations.hidden, Plan::keep, Plan::hidden)?,
        residual: activations.residual.as_ref().map(as_residual).transpose()?,
        embeddings: activations.embeddings.as_ref().map(as_residual).transpose()?,
    })
}

/// The rows that these plans keep, where there are any and nothing else happens to them.
fn chosen_rows(forks: &[Fork<'_>], segments: &Segments, device: &Device) -> Result<Option<RowChoice>, PlanError> {
    if !forks.iter().all(|(_, plan)| plan.is_none_or(Plan::only_chooses)) {
        return Ok(None);
    }
    let mut rows = Vec::new();
    for (segment, plan) in forks {
        let own = segments.rows(*segment);
        match plan {
            Some(plan) => rows.extend(plan.keep().iter().map(|row| own.start as u32 + row)),
            None => rows.extend(own.start as u32..own.end as u32),
        }
    }
    if rows.is_empty() {
        return Ok(None);
    }
    Ok(Some(RowChoice::new(segments.n_tokens(), rows, device)?))
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let lengths = norm(a) * norm(b);
    // NaN stays NaN.
    if lengths == 0.0 { 0.0 } else { dot(a, b) / lengths }
}

impl TokenTable {
    /// The tokens after a site: positions and protection of the kept ones, sizes with what was merged in.
    ///
    /// # Errors
    /// A plan for another stream.
    pub fn apply(&self, site: &SitePlan) -> Result<Self, PlanError> {
        Self::apply_to(&self.segments, site)
    }

    /// [`TokenTable::apply`] for tokens that are borrowed.
    ///
    /// # Errors
    /// A plan for another stream.
    pub fn apply_to(segments: &[SegmentTokens], site: &SitePlan) -> Result<Self, PlanError> {
        if site.plans.len() != segments.len() {
            let (got, expected) = (site.plans.len(), segments.len());
            return Err(PlanError::Stream { what: "segments of plan and token table", got, expected });
        }
        let after = |(segment, plan): (&SegmentTokens, &Option<Plan>)| {
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
        segments.iter().zip(&site.plans).map(after).collect::<Result<_, _>>().map(Self::new)
    }
}

#[cfg(test)]
mod tests {
    use ssm_kernels::ops::{MergeGroup, MergeRule};

    use super::*;

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

    /// What a GPU does instead of merging: it must give the same rows.
    #[test]
    fn rows_that_are_chosen_are_those_of_a_merge_without_groups() {
        let values: Vec<f32> = (0..24_u8).map(|value| f32::from(value).sqrt() - 2.0).collect();
        let hidden = Tensor::from_vec(values, (8, 3), &Device::Cpu).unwrap();
        let residual = Some((&hidden * 3.0).unwrap());
        let activations = Activations { hidden, residual, embeddings: None };
        let segments = Segments::independent(&[5, 3]);
        let plan = Plan::prune(5, vec![0, 3, 4]).unwrap();
        for forks in [vec![(0, Some(&plan)), (1, None)], vec![(1, None), (0, Some(&plan)), (0, None)]] {
            let want = apply_forks(&forks, &segments, &activations).unwrap();
            let rows = chosen_rows(&forks, &segments, &Device::Cpu).unwrap().unwrap();
            let got = activations.map(|tensor| rows.of(tensor)).unwrap();
            let values =
                |x: &Activations| [&x.hidden, x.residual.as_ref().unwrap()].map(|x| x.to_vec2::<f32>().unwrap());
            assert_eq!(values(&want), values(&got));
        }
        let moved = plan.with_residual_of(vec![0, 2, 4]).unwrap();
        assert!(chosen_rows(&[(0, Some(&moved))], &segments, &Device::Cpu).unwrap().is_none());
        let groups = vec![MergeGroup { into: 2, own_weight: 1.0, sources: vec![(0, 1.0)] }];
        let merges = BranchMerges { groups, rule: MergeRule::WeightedMean };
        let merging = Plan::new(3, vec![1, 2], BranchMerges::default(), merges).unwrap();
        assert!(chosen_rows(&[(1, Some(&merging))], &segments, &Device::Cpu).unwrap().is_none());
    }

    /// What a layer may read besides the stream goes the way of the residual stream, which begins with it.
    #[test]
    fn embeddings_are_reduced_as_the_residual_stream_is() {
        let tensor = |first: f32| {
            let values: Vec<f32> = (0..21_u8).map(|value| first + f32::from(value * value)).collect();
            Tensor::from_vec(values, (7, 3), &candle_core::Device::Cpu).unwrap()
        };
        let merges = |into, source, weight| BranchMerges {
            groups: vec![MergeGroup { into, own_weight: 1.0, sources: vec![(source, weight)] }],
            rule: MergeRule::WeightedMean,
        };
        let plan = Plan::new(4, vec![0, 2], merges(0, 1, 1.0), merges(2, 3, 5.0)).unwrap();
        let activations =
            Activations { hidden: tensor(0.0), residual: Some(tensor(7.0)), embeddings: Some(tensor(7.0)) };
        let (segments, signals) = (Segments::independent(&[3, 4]), ssm_model::Signals::default());
        let values = |x: &Tensor| x.to_vec2::<f32>().unwrap();
        let check = |after: &Activations, rows: usize| {
            let [residual, embeddings] = [&after.residual, &after.embeddings].map(|x| values(x.as_ref().unwrap()));
            assert_eq!((residual.len(), &residual), (rows, &embeddings));
            assert_ne!(embeddings, values(&(&after.hidden + 7.0).unwrap()), "its own weights");
        };
        let site = SiteStream::new(0, &(), &segments, &activations, &signals).unwrap();
        let plans = vec![None, Some(plan.clone())];
        check(&SitePlan { plans }.apply(&site).unwrap().0, 5);
        check(&apply_forks(&[(1, Some(&plan)), (0, None), (1, None)], &segments, &activations).unwrap(), 9);
    }
}
