//! A reduction that was decided on a GPU, as the host reads it.

use std::ops::Range;

use candle_core::Tensor;
use ssm_kernels::ops::reduction::NO_FAULT;
use ssm_kernels::ops::{BranchWeights, MergeGroup, MergeRule, RowPlan};
use ssm_kernels::{KernelError, Segments, host};
use ssm_model::RowTime;

use super::Protected;
use crate::error::PlanError;
use crate::plan::{BranchMerges, Plan, SitePlan};

/// A reduction that the host has read.
#[derive(Debug)]
pub struct Decided {
    keep: Vec<u32>,
    edge_off: Vec<u32>,
    edge_src: Vec<u32>,
    hidden: ReadBranch,
    residual: ReadBranch,
    faults: Vec<u32>,
    /// The rows whose residual the kept rows go on with, where that is another list.
    residual_of: Option<Vec<u32>>,
    /// Decay and write of each kept row, where the rule sets them.
    times: Option<Vec<f32>>,
    similarity: Option<Vec<f32>>,
}

/// One branch of a plan; empty where nothing is merged.
#[derive(Debug, Default)]
struct ReadBranch {
    edge: Vec<f32>,
    own: Vec<f32>,
    /// Values kept per channel of each segment, where some merge by the largest.
    tops: Option<Vec<u32>>,
}

impl Decided {
    /// Reads a reduction in one wait for the GPU. `merges`: whether removed rows may be merged
    /// ([`Reduced::merges`](ssm_kernels::ops::reduction::Reduced::merges)); else no edges are read. `times`: the factors that it sets
    /// ([`Reduced::times`](ssm_kernels::ops::reduction::Reduced::times)), which belong to rows into which others were merged.
    /// `similarity`: of its edges, where it is asked for.
    ///
    /// # Errors
    /// Factors or similarities of a reduction that merges nothing, or an error of the device.
    pub fn read(
        rows: &RowPlan,
        merges: bool,
        faults: &Tensor,
        times: Option<&Tensor>,
        similarity: Option<&Tensor>,
    ) -> Result<Self, PlanError> {
        if !merges && (times.is_some() || similarity.is_some()) {
            return Err(
                KernelError::Device("a reduction that merges nothing has factors or similarities".to_owned()).into()
            );
        }
        let mut tensors = vec![&rows.keep, faults];
        if merges {
            tensors.extend([&rows.edge_off, &rows.edge_src]);
            for branch in [&rows.hidden, &rows.residual] {
                tensors.extend([&branch.edge, &branch.own]);
                tensors.extend(branch.tops.as_ref().map(|tops| &tops.kept));
            }
        }
        tensors.extend(&rows.residual.keep);
        tensors.extend(times);
        tensors.extend(similarity);
        let mut words = host::words(&tensors)?.into_iter();
        let mut ids = || words.next().unwrap_or_default();
        let floats = |words: Vec<u32>| words.into_iter().map(f32::from_bits).collect::<Vec<f32>>();
        let (keep, faults) = (ids(), ids());
        let (edge_off, edge_src) = if merges { (ids(), ids()) } else { Default::default() };
        let mut branch = |branch: &BranchWeights| {
            if !merges {
                return ReadBranch::default();
            }
            ReadBranch { edge: floats(ids()), own: floats(ids()), tops: branch.tops.as_ref().map(|_| ids()) }
        };
        let (hidden, residual) = (branch(&rows.hidden), branch(&rows.residual));
        let residual_of = rows.residual.keep.as_ref().map(|_| ids());
        let times = times.map(|_| floats(ids()));
        let similarity = similarity.map(|_| floats(ids()));
        Ok(Self { keep, edge_off, edge_src, hidden, residual, faults, residual_of, times, similarity })
    }

    /// The arriving rows that are kept, ascending.
    #[must_use]
    pub fn keep(&self) -> &[u32] {
        &self.keep
    }

    /// Refuses a reduction ([`Reduced::faults`](ssm_kernels::ops::reduction::Reduced::faults)) that ranked values which are no finite numbers: its plan means nothing. `position` of a
    /// segment and a row in it.
    ///
    /// # Errors
    /// [`PlanError::NotFinite`] names the first token.
    pub fn check(&self, position: impl Fn(usize, usize) -> u32) -> Result<(), PlanError> {
        match self.faults.iter().enumerate().find(|(_, row)| **row != NO_FAULT) {
            Some((segment, row)) => Err(PlanError::NotFinite {
                what: "the importance or similarity".into(),
                token: position(segment, *row as usize),
                value: f32::NAN,
            }),
            None => Ok(()),
        }
    }

    /// Plans, one per segment that a rule may touch; [`Self::check`] says whether they mean anything. `lengths`: rows that each segment keeps.
    ///
    /// # Errors
    /// A plan that breaks the rules of [`Plan::new`], which is an error in a kernel.
    pub fn site_plan(
        &self,
        lengths: &[usize],
        segments: &Segments,
        protected: &[Protected],
    ) -> Result<SitePlan, PlanError> {
        let mut first_kept = 0;
        let mut plans = Vec::with_capacity(segments.len());
        for (index, length) in lengths.iter().enumerate() {
            let kept = first_kept..first_kept + length;
            first_kept += length;
            if protected[index].is_none() {
                plans.push(None);
                continue;
            }
            let start = segments.rows(index).start as u32;
            let merges = |branch| self.merges(branch, kept.clone(), start, *length < segments.length(index), index);
            let (hidden, residual) = (merges(&self.hidden), merges(&self.residual));
            let rows = self.keep[kept.clone()].iter().map(|row| row - start).collect();
            let mut plan = Plan::new(segments.length(index), rows, hidden, residual)?;
            if let Some(rows) = &self.residual_of {
                plan = plan.with_residual_of(rows[kept.clone()].iter().map(|row| row - start).collect())?;
            }
            plans.push(Some(plan.with_times(self.times_of(kept, start))?));
        }
        Ok(SitePlan { plans })
    }

    /// The factors of those of the `kept` rows of a segment that stand for a run, where the rule sets them.
    fn times_of(&self, kept: Range<usize>, start: u32) -> Vec<(u32, RowTime)> {
        let Some(times) = &self.times else { return Vec::new() };
        let runs = kept.filter(|row| self.edge_off[*row] < self.edge_off[row + 1]);
        runs.map(|row| (self.keep[row] - start, RowTime { decay: times[2 * row], write: times[2 * row + 1] })).collect()
    }

    /// What is merged into the `kept` rows of a segment, which begins with row `start`, on one branch.
    fn merges(&self, branch: &ReadBranch, kept: Range<usize>, start: u32, loses: bool, index: usize) -> BranchMerges {
        // A reduction that only drops rows has no edges.
        if self.edge_src.is_empty() {
            return BranchMerges::default();
        }
        let ReadBranch { edge, own, tops } = branch;
        let group = |row: usize| {
            let edges = self.edge_off[row] as usize..self.edge_off[row + 1] as usize;
            // By the largest values every removed row is merged, whatever it weighs.
            let merging = edges.filter(|e| tops.is_some() || edge[*e] != 0.0);
            let sources: Vec<(u32, f32)> = merging.map(|e| (self.edge_src[e] - start, edge[e])).collect();
            (!sources.is_empty()).then(|| MergeGroup { into: self.keep[row] - start, own_weight: own[row], sources })
        };
        let rule = match tops {
            Some(kept) if loses => MergeRule::ChannelTopHalf { kept: kept[index] as usize },
            _ => MergeRule::WeightedMean,
        };
        BranchMerges { groups: kept.filter_map(group).collect(), rule }
    }

    /// Mean cosine similarity of the merged pairs of each segment on the hidden branch, where it was read; see
    /// [`SitePlan::merged_similarity`].
    #[must_use]
    pub fn merged_similarity(&self, lengths: &[usize]) -> Vec<Option<f64>> {
        let Some(similarity) = &self.similarity else { return vec![None; lengths.len()] };
        let mut first_kept = 0;
        let mut means = Vec::with_capacity(lengths.len());
        for length in lengths {
            let edges = self.edge_off[first_kept] as usize..self.edge_off[first_kept + length] as usize;
            first_kept += length;
            let merges = |edge: &usize| self.hidden.tops.is_some() || self.hidden.edge[*edge] != 0.0;
            let merged: Vec<f64> = edges.filter(merges).map(|e| f64::from(similarity[e])).collect();
            means.push((!merged.is_empty()).then(|| merged.iter().sum::<f64>() / merged.len() as f64));
        }
        means
    }
}
