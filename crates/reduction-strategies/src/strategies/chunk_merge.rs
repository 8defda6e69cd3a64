//! `chunk_merge`: the sequence is cut into contiguous chunks of equal importance, and each chunk becomes one token.
//!
//! V-CoLA (2026; token compression for hybrids of attention and Gated `DeltaNet`; no code was found). Formula: with mass
//! `w_t >= 0` from the importance and `M_t` its running sum, token `t` belongs to chunk `floor(n_keep (M_t - w_t / 2) / M_n)`;
//! a chunk becomes `sum s_t h_t / sum s_t` with sizes `s_t`, at the place of its last token.
//!
//! **Differs from the paper in**: importance is any metric of this program, there it is how badly the final state recalls a
//! token's value, plus uniqueness; size-weighted means; chunks are shifted where one would be empty, so that the count is
//! exact; after any block instead of once. Negative scores are shifted so that the lowest has no mass.

use std::sync::Arc;

use ssm_kernels::ops::{MergeGroup, MergeRule};
use ssm_model::SignalSet;

use crate::error::PlanError;
use crate::blocks::importance::{IMPORTANCE_OPTION, Importance, SOURCE_OPTION};
use crate::plan::{BranchMerges, Plan};
use crate::registry::{Family, Registration};
use crate::rule::{DeviceRule, HostRule, Rule};
use crate::view::SequenceView;

#[derive(Debug)]
struct ChunkMerge {
    importance: Importance,
}

/// Mass of each token: its (finite) score, shifted where scores are negative; all alike where there is none.
fn masses(scores: &[f32]) -> Vec<f64> {
    let lowest = scores.iter().map(|score| f64::from(*score)).fold(0.0, f64::min);
    let masses: Vec<f64> = scores.iter().map(|score| f64::from(*score) - lowest).collect();
    if masses.iter().sum::<f64>() > 0.0 { masses } else { vec![1.0; scores.len()] }
}

/// Chunk of each token: `n_chunks` contiguous ones, none empty, of masses as equal as the tokens allow.
fn chunks(masses: &[f64], n_chunks: usize) -> Vec<usize> {
    let total: f64 = masses.iter().sum();
    let mut before = 0.0;
    let mut chunks: Vec<usize> = Vec::with_capacity(masses.len());
    for (index, mass) in masses.iter().enumerate() {
        let ideal = (n_chunks as f64 * (before + mass / 2.0) / total) as usize;
        before += mass;
        // Enough tokens must be left for the chunks that follow.
        let least = n_chunks.saturating_sub(masses.len() - index);
        chunks.push(match chunks.last() {
            Some(last) => ideal.clamp(*last, last + 1).max(least).min(n_chunks - 1),
            None => 0,
        });
    }
    chunks
}

impl HostRule for ChunkMerge {
    fn signals(&self) -> SignalSet {
        self.importance.signals()
    }

    fn on_device(&self) -> Option<DeviceRule> {
        Some(DeviceRule::Chunks(self.importance))
    }

    fn plan(&self, view: &SequenceView<'_>, n_keep: usize) -> Result<Plan, PlanError> {
        let candidates = view.reducible();
        let all = self.importance.scores(view)?;
        let scores: Vec<f32> = candidates.iter().map(|row| all[*row as usize]).collect();
        let chunks = chunks(&masses(&scores), n_keep);
        let mut stays = vec![true; view.len()];
        let mut groups = Vec::new();
        let mut waiting: Vec<(u32, f32)> = Vec::new();
        for (index, row) in candidates.iter().enumerate() {
            let size = view.sizes[*row as usize];
            if chunks.get(index + 1) == Some(&chunks[index]) {
                stays[*row as usize] = false;
                waiting.push((*row, size));
            } else if !waiting.is_empty() {
                groups.push(MergeGroup { into: *row, own_weight: size, sources: std::mem::take(&mut waiting) });
            }
        }
        let keep = (0..view.len() as u32).filter(|row| stays[*row as usize]).collect();
        let merges = BranchMerges { groups, rule: MergeRule::WeightedMean };
        Plan::new(view.len(), keep, merges.clone(), merges)
    }
}

inventory::submit! {
    Registration {
        name: "chunk_merge",
        family: Family::Merging,
        version: 1,
        summary: "The sequence is cut into n_keep contiguous chunks of equal importance; each becomes one token.",
        source: "V-CoLA 2026 (known from secondary notes; neither paper nor code was found)",
        formula: "w_t = S_t - min(0, min S); chunk(t) = floor(n_keep (w_1 + .. + w_t - w_t/2) / sum w); \
                  x_last <- sum_{t in chunk} s_t x_t / sum s_t",
        differs: "Any importance instead of recall from the final state and uniqueness; size-weighted means at the chunk's last token; \
                  no chunk is empty, so that the count is exact; at the schedule's sites.",
        options: &[IMPORTANCE_OPTION, SOURCE_OPTION],
        seeded: false,
        build: &|options| Rule::Host(Arc::new(ChunkMerge { importance: Importance::from_options(options) })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blocks::importance::{Source, SUM};
    use crate::testing::Sequence;

    #[test]
    fn chunks_by_hand() {
        // Middles 0.5, 1.5, 4, 6.5, 7.5 of 8, times 3/8: 0.19, 0.56, 1.5, 2.4, 2.8.
        assert_eq!(chunks(&[1.0, 1.0, 4.0, 1.0, 1.0], 3), [0, 0, 1, 2, 2]);
        // The heavy first token would leave chunk 1 empty, the heavy last one chunks 1 and 2 without tokens.
        assert_eq!(chunks(&[8.0, 1.0, 1.0], 3), [0, 1, 2]);
        assert_eq!(chunks(&[0.0, 0.0, 0.0, 9.0], 4), [0, 1, 2, 3]);
        assert_eq!(chunks(&[0.0, 0.0, 0.0, 9.0], 2), [0, 0, 0, 1]);
        assert_eq!(chunks(&[1.0; 5], 1), [0; 5]);
    }

    #[test]
    fn mass_is_never_negative_and_never_nothing() {
        assert_eq!(masses(&[1.0, 0.0, 3.0]), [1.0, 0.0, 3.0]);
        assert_eq!(masses(&[1.0, -2.0, 3.0]), [3.0, 0.0, 5.0]);
        assert_eq!(masses(&[0.0, 0.0]), [1.0, 1.0]);
        assert_eq!(masses(&[-1.0, -1.0]), [1.0, 1.0]);
        assert!(masses(&[f32::MAX, f32::MIN]).iter().all(|mass| mass.is_finite()));
    }

    #[test]
    fn a_chunk_stands_at_its_last_token() {
        let mut sequence = Sequence::of_rows(&[[1.0], [1.0], [4.0], [1.0], [1.0], [7.0]]);
        sequence.tokens.sizes[3] = 2.0;
        sequence.tokens.protected[5] = true;
        let rule = ChunkMerge { importance: Importance::new(&SUM, Source::BlockOutput) };
        let plan = rule.plan(&sequence.view(), 3).unwrap();
        assert_eq!(plan.keep(), [1, 2, 4, 5]);
        assert_eq!(plan.merged(), [(0, 1), (3, 4)]);
        assert_eq!(plan.hidden().groups[1].sources, [(3, 2.0)]);
    }
}
