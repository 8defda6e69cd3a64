#[cfg(feature = "cuda")]
mod cuda;
mod plan;

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use crate::error::{KernelError, expect_shape, outside, unsupported};
use crate::host::matrix;
use crate::math::vectorised;

const OP: &str = "merge_rows";

/// How the rows of a group become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MergeRule {
    /// Weighted mean: `(own * v + sum w_s v_s) / (own + sum w_s)`.
    WeightedMean,
    /// The hybrid of the released code of Zhan et al. (`bipartite_hybrid_pure`, tome.py:386-397 at 2e9fc62): of the rows
    /// merged anywhere in the segment each channel keeps its `kept` largest values and takes the others as zero; the group
    /// becomes `(v + sum of kept values) / (own + sum w_s)`. Weights enter the divisor alone, and a source may weigh 0:
    /// the release masks its token counts like a channel, so only `kept` of the merged rows count.
    ChannelTopHalf {
        /// Values kept per channel: half the merged rows of the segment, rounded down.
        kept: usize,
    },
}

/// Rows merged into one kept row.
#[derive(Clone, Debug, PartialEq)]
pub struct MergeGroup {
    /// Index of the kept row.
    pub into: u32,
    /// Weight of the kept row itself.
    pub own_weight: f32,
    /// `(row, weight)` of the merged rows, ascending.
    pub sources: Vec<(u32, f32)>,
}

/// What becomes of the rows of one segment; indices count from the segment's first row.
#[derive(Clone, Copy, Debug)]
pub struct RowMerges<'a> {
    /// First row of the segment in the arriving matrix.
    pub first_row: usize,
    /// Kept rows, ascending.
    pub keep: &'a [u32],
    /// Groups, ascending by kept row.
    pub groups: &'a [MergeGroup],
    /// How a group becomes one row.
    pub rule: MergeRule,
}

/// Gathers the kept rows of every segment in order and merges others into them; rows in neither list are dropped.
///
/// Sums run over the kept row first, then its sources in ascending order, so the result is deterministic.
///
/// # Shapes
/// - `x`: `[tokens, width]`; result: `[sum of kept rows, width]`
///
/// # Errors
/// An index outside `x`, a group whose row is not kept, or a dtype or device that does not fit.
pub fn merge_rows(x: &Tensor, segments: &[RowMerges<'_>]) -> Result<Tensor, KernelError> {
    let (rows, width) = x.dims2()?;
    let reaches = segments.iter().all(|segment| {
        let sources = segment.groups.iter().flat_map(|group| group.sources.iter().map(|(row, _)| row));
        segment.keep.iter().chain(sources).all(|row| segment.first_row + (*row as usize) < rows)
            && segment.groups.iter().all(|group| segment.keep.binary_search(&group.into).is_ok())
    });
    if !reaches {
        return Err(outside(OP, rows, width));
    }
    match x.device() {
        Device::Cpu => on_cpu(x, segments),
        #[cfg(feature = "cuda")]
        Device::Cuda(_) => cuda::merge_rows(x, segments),
        other => Err(unsupported(OP, other, x.dtype())),
    }
}

fn on_cpu(x: &Tensor, segments: &[RowMerges<'_>]) -> Result<Tensor, KernelError> {
    let (values, _, width) = matrix(x, OP, "x")?;
    let values = &*values;
    let total: usize = segments.iter().map(|segment| segment.keep.len()).sum();
    let mut out = vec![0.0; total * width];
    let mut tasks = Vec::with_capacity(segments.len());
    let mut rest = out.as_mut_slice();
    for segment in segments {
        let (own, others) = rest.split_at_mut(segment.keep.len() * width);
        rest = others;
        tasks.push((segment, own));
    }
    tasks.into_par_iter().for_each(|(segment, out)| {
        let row = |index: u32| &values[(segment.first_row + index as usize) * width..][..width];
        for (out, index) in out.chunks_exact_mut(width).zip(segment.keep) {
            out.copy_from_slice(row(*index));
        }
        let masks = match segment.rule {
            MergeRule::WeightedMean => None,
            MergeRule::ChannelTopHalf { kept } => Some(channel_masks(segment, kept, width, row)),
        };
        for group in segment.groups {
            let position = segment.keep.binary_search(&group.into).unwrap_or_else(|_| unreachable!("checked above"));
            let out = &mut out[position * width..(position + 1) * width];
            match &masks {
                None => weighted_mean((group, &values[segment.first_row * width..], out)),
                Some(masks) => masked_mean(group, masks, row, out),
            }
        }
    });
    expect_shape(OP, "result", &[out.len()], &[total * width])?;
    Ok(Tensor::from_vec(out, (total, width), x.device())?)
}

vectorised! {
    fn weighted_mean(task: (&MergeGroup, &[f32], &mut [f32])) {
        let (group, values, out) = task;
        let width = out.len();
        let mut total = group.own_weight;
        for out in out.iter_mut() {
            *out *= group.own_weight;
        }
        for (source, weight) in &group.sources {
            total += weight;
            for (out, value) in out.iter_mut().zip(&values[*source as usize * width..][..width]) {
                *out = weight.mul_add(*value, *out);
            }
        }
        for out in out {
            *out /= total;
        }
    }
}

/// For every merged row, in ascending order: which channels keep their value.
fn channel_masks<'a>(
    segment: &RowMerges<'_>,
    kept: usize,
    width: usize,
    row: impl Fn(u32) -> &'a [f32],
) -> Vec<(u32, Vec<bool>)> {
    let mut sources: Vec<u32> =
        segment.groups.iter().flat_map(|group| group.sources.iter().map(|(row, _)| *row)).collect();
    sources.sort_unstable();
    let mut masks: Vec<(u32, Vec<bool>)> = sources.iter().map(|source| (*source, vec![false; width])).collect();
    let mut order: Vec<usize> = (0..sources.len()).collect();
    for channel in 0..width {
        order.sort_by(|a, b| row(sources[*b])[channel].total_cmp(&row(sources[*a])[channel]).then(a.cmp(b)));
        for index in &order[..kept.min(order.len())] {
            masks[*index].1[channel] = true;
        }
    }
    masks
}

fn masked_mean<'a>(group: &MergeGroup, masks: &[(u32, Vec<bool>)], row: impl Fn(u32) -> &'a [f32], out: &mut [f32]) {
    for (source, _) in &group.sources {
        let position =
            masks.binary_search_by_key(source, |(row, _)| *row).unwrap_or_else(|_| unreachable!("one mask per source"));
        for ((out, value), mask) in out.iter_mut().zip(row(*source)).zip(&masks[position].1) {
            // The total order puts a negative NaN below all numbers: it must not be taken as zero.
            *out += if *mask || value.is_nan() { *value } else { 0.0 };
        }
    }
    let count = group.sources.iter().fold(group.own_weight, |count, (_, weight)| count + weight);
    for out in out {
        *out /= count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hand_computed_segments() {
        let x =
            Tensor::new(&[[1.0_f32, 10.0], [2.0, 20.0], [3.0, -30.0], [4.0, 40.0], [5.0, 50.0]], &Device::Cpu).unwrap();
        let groups = [MergeGroup { into: 0, own_weight: 1.0, sources: vec![(1, 2.0), (2, 1.0)] }];
        let identity = RowMerges { first_row: 3, keep: &[0, 1], groups: &[], rule: MergeRule::WeightedMean };
        let mean = RowMerges { first_row: 0, keep: &[0], groups: &groups, rule: MergeRule::WeightedMean };
        let out = merge_rows(&x, &[mean, identity]).unwrap().to_vec2::<f32>().unwrap();
        // (1 + 2*2 + 3) / 4 and (10 + 2*20 - 30) / 4; then two rows as they are.
        assert_eq!(out, [[2.0, 5.0], [4.0, 40.0], [5.0, 50.0]]);
        // One of two values per channel is kept: 3 of (2, 3), 20 of (20, -30); the weights sum to 4.
        let half = RowMerges { first_row: 0, keep: &[0], groups: &groups, rule: MergeRule::ChannelTopHalf { kept: 1 } };
        let out = merge_rows(&x, &[half]).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(out, [[1.0, 7.5]]);
    }

    #[test]
    fn nan_of_either_sign_is_merged_and_not_taken_as_zero() {
        for nan in [f32::NAN, -f32::NAN] {
            let x = Tensor::new(&[[1.0_f32], [2.0], [nan], [4.0]], &Device::Cpu).unwrap();
            let groups = [MergeGroup { into: 0, own_weight: 1.0, sources: vec![(1, 1.0), (2, 1.0), (3, 1.0)] }];
            for rule in [MergeRule::WeightedMean, MergeRule::ChannelTopHalf { kept: 1 }] {
                let merges = RowMerges { first_row: 0, keep: &[0], groups: &groups, rule };
                let out = merge_rows(&x, &[merges]).unwrap().to_vec2::<f32>().unwrap();
                assert!(out[0][0].is_nan(), "{rule:?}: {out:?}");
            }
        }
    }

    #[test]
    fn an_index_outside_the_matrix_is_refused() {
        let x = Tensor::zeros((3, 2), candle_core::DType::F32, &Device::Cpu).unwrap();
        let merges = RowMerges { first_row: 2, keep: &[0, 1], groups: &[], rule: MergeRule::WeightedMean };
        assert!(merge_rows(&x, &[merges]).is_err());
    }
}
