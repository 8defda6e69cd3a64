//! The definitions, row by row in float64.

use candle_core::Tensor;
use ssm_kernels::ops::{BranchWeights, MergeGroup, MergeRule, RowMerges, RowPlan};

/// The kept rows of every segment in order, others merged into them by the rule of the segment.
///
/// # Shapes
/// - `x`: `[tokens, width]`; result: `[kept rows, width]`
pub(crate) fn merge_rows(x: &Tensor, segments: &[RowMerges<'_>]) -> Tensor {
    let (rows, width) = (x.to_vec2::<f32>().unwrap(), x.dim(1).unwrap());
    let mut out: Vec<f32> = Vec::new();
    for segment in segments {
        let row = |index: u32| &rows[segment.first_row + index as usize];
        for kept in segment.keep {
            let group = segment.groups.iter().find(|group| group.into == *kept);
            for channel in 0..width {
                let own = row(*kept)[channel];
                let value = |source: u32| f64::from(row(source)[channel]);
                out.push(match (group, segment.rule) {
                    (None, _) => own,
                    (Some(group), MergeRule::WeightedMean) => weighted_mean(f64::from(own), group, value) as f32,
                    (Some(group), MergeRule::ChannelTopHalf { kept }) => {
                        let top = largest(segment, kept, value);
                        let taken = |source: u32| if top.contains(&source) { value(source) } else { 0.0 };
                        let sum: f64 = group.sources.iter().map(|(source, _)| taken(*source)).sum();
                        ((f64::from(own) + sum) / total_weight(group)) as f32
                    }
                });
            }
        }
    }
    Tensor::from_vec(out, (segments.iter().map(|segment| segment.keep.len()).sum::<usize>(), width), x.device())
        .unwrap()
}

/// `(w v + sum_s w_s v_s) / (w + sum_s w_s)`.
fn weighted_mean(own: f64, group: &MergeGroup, value: impl Fn(u32) -> f64) -> f64 {
    let sum: f64 = group.sources.iter().map(|(source, weight)| f64::from(*weight) * value(*source)).sum();
    (f64::from(group.own_weight) * own + sum) / total_weight(group)
}

fn total_weight(group: &MergeGroup) -> f64 {
    f64::from(group.own_weight) + group.sources.iter().map(|(_, weight)| f64::from(*weight)).sum::<f64>()
}

/// Of all rows merged anywhere in the segment the `kept` with the largest values, the lower row among equals
/// (`bipartite_hybrid_pure`, tome.py:386-397 of Zhan et al. at 2e9fc62).
fn largest(segment: &RowMerges<'_>, kept: usize, value: impl Fn(u32) -> f64) -> Vec<u32> {
    let mut sources: Vec<u32> =
        segment.groups.iter().flat_map(|group| group.sources.iter().map(|(source, _)| *source)).collect();
    sources.sort_by(|a, b| value(*b).total_cmp(&value(*a)).then(a.cmp(b)));
    sources.truncate(kept);
    sources
}

/// One branch of a plan, whose `keep` is its own where it has one: kept row `i` is the weighted mean over `keep[i]` and the rows `edge_src[e]` with
/// `edge_off[i] <= e < edge_off[i + 1]` whose weight is not 0, or the row `keep[i]` where there is none.
///
/// # Shapes
/// - `x`: `[tokens, width]`; result: `[kept rows, width]`
pub(crate) fn apply_plan(x: &Tensor, plan: &RowPlan, weights: &BranchWeights) -> Tensor {
    let (rows, width) = (x.to_vec2::<f32>().unwrap(), x.dim(1).unwrap());
    let indices = |tensor: &Tensor| tensor.to_vec1::<u32>().unwrap();
    let (keep, edge_off, edge_src) =
        (indices(weights.keep.as_ref().unwrap_or(&plan.keep)), indices(&plan.edge_off), indices(&plan.edge_src));
    let (edge, own) = (weights.edge.to_vec1::<f32>().unwrap(), weights.own.to_vec1::<f32>().unwrap());
    let mut out = Vec::new();
    for (i, kept) in keep.iter().enumerate() {
        let sources: Vec<(u32, f32)> = (edge_off[i] as usize..edge_off[i + 1] as usize)
            .filter(|e| edge[*e] != 0.0)
            .map(|e| (edge_src[e], edge[e]))
            .collect();
        let merged = !sources.is_empty();
        let group = MergeGroup { into: *kept, own_weight: own[i], sources };
        for (channel, &own) in rows[*kept as usize].iter().enumerate() {
            let value = |row: u32| f64::from(rows[row as usize][channel]);
            out.push(if merged { weighted_mean(f64::from(own), &group, value) as f32 } else { own });
        }
    }
    Tensor::from_vec(out, (keep.len(), width), x.device()).unwrap()
}
