use candle_core::{Device, Tensor};
use ssm_kernels::ops::{self, BranchWeights, MergeGroup, MergeRule, RowMerges, RowPlan};

use super::{Bench, reference};

/// A weighted mean over up to 40 rows, in float32.
const TOLERANCE: f32 = 2e-6;

/// Rows of the stream of [`segments`].
const ROWS: usize = 67;

/// The merges of one segment, with its own lists.
struct Segment {
    first_row: usize,
    keep: Vec<u32>,
    groups: Vec<MergeGroup>,
}

impl Segment {
    fn merges(&self, rule: MergeRule) -> RowMerges<'_> {
        RowMerges { first_row: self.first_row, keep: &self.keep, groups: &self.groups, rule }
    }

    fn mean(&self) -> RowMerges<'_> {
        self.merges(MergeRule::WeightedMean)
    }
}

fn group(into: u32, own_weight: f32, sources: impl IntoIterator<Item = (u32, f32)>) -> MergeGroup {
    MergeGroup { into, own_weight, sources: sources.into_iter().collect() }
}

/// Merges into the first and the last row, from below and above, by weight 0, of many rows into one; a segment that keeps all
/// of its rows, one that keeps a single row, an empty one, and rows that are dropped.
fn segments() -> Vec<Segment> {
    let many = (1..41).map(|row| (row, 1.0 + f32::from(row as u8 % 3)));
    vec![
        Segment { first_row: 0, keep: vec![0, 4], groups: vec![group(0, 1.5, [(1, 1.0), (2, 2.0)])] },
        Segment { first_row: 5, keep: vec![0, 1, 3], groups: vec![] },
        Segment { first_row: 9, keep: vec![0, 1, 2], groups: vec![] },
        Segment { first_row: 12, keep: vec![], groups: vec![] },
        Segment {
            first_row: 12,
            keep: vec![1, 3, 6],
            groups: vec![
                group(1, 1.0, [(0, 1.0), (2, 0.0)]),
                group(3, 2.0, [(4, 1.0), (5, 1.0)]),
                group(6, 1.0, [(7, 0.0)]),
            ],
        },
        Segment { first_row: 20, keep: vec![0], groups: vec![group(0, 3.0, many)] },
        Segment {
            first_row: 61,
            keep: vec![5],
            groups: vec![group(5, 1.0, [(0, 1.0), (1, 1.0), (2, 4.0), (3, 1.0), (4, 1.0)])],
        },
    ]
}

/// The plan of nine rows for the norms: other rows merge on each branch.
pub(crate) fn plan(device: &Device) -> RowPlan {
    let on_hidden = [group(0, 1.5, [(1, 1.0), (2, 2.0)])];
    let on_residual = [group(0, 1.5, [(1, 1.0)]), group(4, 1.5, [(3, 3.0)])];
    let merges = |groups| {
        let rule = MergeRule::WeightedMean;
        [
            RowMerges { first_row: 0, keep: &[0, 4], groups, rule },
            RowMerges { first_row: 5, keep: &[0, 1, 3], groups: &[], rule },
        ]
    };
    RowPlan::from_merges(9, &merges(&on_hidden), &merges(&on_residual), device).unwrap()
}

/// Both rules, alone and in one stream, and the plan made of the weighted means on both branches.
pub(crate) fn merge_rows(bench: &mut Bench) {
    let segments = segments();
    for width in [1, 5, 16, 128, 2560] {
        let x = bench.activations(&[ROWS, width], -2.0, 2.0);
        let weighted: Vec<RowMerges<'_>> = segments.iter().map(Segment::mean).collect();
        let want = reference::merge_rows::merge_rows(&x.here, &weighted);
        bench.close("weighted mean", &want, &ops::merge_rows(&x.there, &weighted).unwrap(), TOLERANCE);
        for shared in [false, true] {
            // Half of the merged rows count, in every segment or in every other one.
            let rule = |(index, segment): (usize, &Segment)| {
                let merged: usize = segment.groups.iter().map(|group| group.sources.len()).sum();
                match index % 2 {
                    1 if shared => MergeRule::WeightedMean,
                    _ => MergeRule::ChannelTopHalf { kept: merged / 2 },
                }
            };
            let half: Vec<RowMerges<'_>> =
                segments.iter().enumerate().map(|(index, segment)| segment.merges(rule((index, segment)))).collect();
            let want = reference::merge_rows::merge_rows(&x.here, &half);
            bench.close("top half", &want, &ops::merge_rows(&x.there, &half).unwrap(), TOLERANCE);
        }
        let residual = bench.parameters(&[ROWS, width], -2.0, 2.0);
        // On the residual branch nothing merges.
        let bare: Vec<Segment> = segments
            .iter()
            .map(|segment| Segment { first_row: segment.first_row, keep: segment.keep.clone(), groups: vec![] })
            .collect();
        let kept: Vec<RowMerges<'_>> = bare.iter().map(Segment::mean).collect();
        let plan = |device: &Device| RowPlan::from_merges(ROWS, &weighted, &kept, device).unwrap();
        let (here, there) = (plan(&Device::Cpu), plan(&bench.device));
        let compare = |what, x: &super::bench::Pair, pick: fn(&RowPlan) -> &BranchWeights, same_as: &Tensor| {
            let want = reference::merge_rows::apply_plan(&x.here, &here, pick(&here));
            bench.close(what, &want, &there.apply(&x.there, pick(&there)).unwrap(), TOLERANCE);
            bench.close("the plan of these merges", same_as, &there.apply(&x.there, pick(&there)).unwrap(), TOLERANCE);
        };
        compare("hidden", &x, |plan| &plan.hidden, &reference::merge_rows::merge_rows(&x.here, &weighted));
        compare(
            "residual",
            &residual,
            |plan| &plan.residual,
            &reference::merge_rows::merge_rows(&residual.here, &kept),
        );
    }
}
