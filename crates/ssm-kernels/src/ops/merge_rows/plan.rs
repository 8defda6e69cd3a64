use candle_core::{Device, Tensor};

#[cfg(feature = "cuda")]
use super::cuda;
use super::{MergeGroup, MergeRule, RowMerges};
use crate::error::{KernelError, unsupported};
use crate::host::matrix;
use crate::ops::row_plan::{BranchWeights, ChannelTops, NO_TOPS, RowPlan, ids};

impl RowPlan {
    /// The plan that merges as `hidden` and `residual` say; both keep the same rows.
    ///
    /// # Errors
    /// Branches that keep different rows, or an error of the device.
    pub fn from_merges(
        rows_in: usize,
        hidden: &[RowMerges<'_>],
        residual: &[RowMerges<'_>],
        device: &Device,
    ) -> Result<Self, KernelError> {
        let mut rows = HostRows::<2>::of(hidden);
        for (hidden, residual) in hidden.iter().zip(residual) {
            if hidden.keep != residual.keep || hidden.first_row != residual.first_row {
                return Err(KernelError::Segments("the branches keep different rows".to_owned()));
            }
            rows.push([hidden, residual]);
        }
        rows.place(rows_in, [tops(hidden, device)?, tops(residual, device)?], device)
    }

    /// The plan that merges as `merges` says on both branches, of which one alone is read: its tables are made and placed once.
    #[cfg(feature = "cuda")]
    pub(super) fn one_branch(rows_in: usize, merges: &[RowMerges<'_>], device: &Device) -> Result<Self, KernelError> {
        let mut rows = HostRows::<1>::of(merges);
        for merges in merges {
            rows.push([merges]);
        }
        rows.place(rows_in, [tops(merges, device)?], device)
    }

    /// The rows of one branch: `[rows_in, width]` to `[rows_out, width]`, of the dtype of `x`.
    ///
    /// # Errors
    /// A stream of another length, or an error of the device.
    pub fn apply(&self, x: &Tensor, weights: &BranchWeights) -> Result<Tensor, KernelError> {
        self.expect_rows("row_plan", x.dim(0)?)?;
        match x.device() {
            Device::Cpu => self.on_cpu(x, weights),
            #[cfg(feature = "cuda")]
            Device::Cuda(_) => cuda::apply(x, self, weights),
            other => Err(unsupported("row_plan", other, x.dtype())),
        }
    }

    fn on_cpu(&self, x: &Tensor, weights: &BranchWeights) -> Result<Tensor, KernelError> {
        if weights.tops.is_some() {
            return Err(KernelError::Device(
                "on the CPU `merge_rows` merges by the largest values, a row plan does not".to_owned(),
            ));
        }
        let (keep, edge_off, edge_src) =
            (self.keep_of(weights).to_vec1::<u32>()?, self.edge_off.to_vec1::<u32>()?, self.edge_src.to_vec1::<u32>()?);
        let (edge, own) = (weights.edge.to_vec1::<f32>()?, weights.own.to_vec1::<f32>()?);
        let (values, _, width) = matrix(x, "row_plan", "x")?;
        let row = |index: u32| &values[index as usize * width..][..width];
        let mut out = Vec::with_capacity(keep.len() * width);
        for (kept, arriving) in keep.iter().enumerate() {
            let edges = edge_off[kept] as usize..edge_off[kept + 1] as usize;
            if edges.clone().all(|index| edge[index] == 0.0) {
                out.extend_from_slice(row(*arriving));
                continue;
            }
            let total = edges.clone().fold(own[kept], |total, index| total + edge[index]);
            out.extend((0..width).map(|column| {
                let start = own[kept] * row(*arriving)[column];
                edges.clone().fold(start, |sum, index| edge[index].mul_add(row(edge_src[index])[column], sum)) / total
            }));
        }
        Ok(Tensor::from_vec(out, (keep.len(), width), x.device())?)
    }
}

/// The vectors of a plan for one branch or both, filled row by row.
struct HostRows<const BRANCHES: usize> {
    keep: Vec<u32>,
    edge_off: Vec<u32>,
    edge_src: Vec<u32>,
    edge: [Vec<f32>; BRANCHES],
    own: [Vec<f32>; BRANCHES],
}

/// The segments of one branch that merge by the largest values; none where all merge by weighted mean.
fn tops(merges: &[RowMerges<'_>], device: &Device) -> Result<Option<ChannelTops>, KernelError> {
    if merges.iter().all(|merges| merges.rule == MergeRule::WeightedMean) {
        return Ok(None);
    }
    let (mut sources, mut offsets, mut kept, mut row_segment) = (Vec::new(), vec![0], Vec::new(), Vec::new());
    for (index, merges) in merges.iter().enumerate() {
        let segment = match merges.rule {
            MergeRule::ChannelTopHalf { kept: values } => {
                let rows = merges.groups.iter().flat_map(|group| group.sources.iter().map(|(row, _)| *row));
                let mut rows: Vec<u32> = rows.map(|row| merges.first_row as u32 + row).collect();
                rows.sort_unstable();
                sources.extend(rows);
                kept.push(values as u32);
                index as u32
            }
            // Nobody asks where its largest values end.
            MergeRule::WeightedMean => {
                kept.push(0);
                NO_TOPS
            }
        };
        offsets.push(sources.len() as u32);
        row_segment.extend(merges.keep.iter().map(|_| segment));
    }
    if sources.is_empty() {
        // A device has no empty tensors; no offset points here.
        sources.push(0);
    }
    Ok(Some(ChannelTops::new(ids(sources, device)?, offsets, kept, row_segment)?))
}

impl<const BRANCHES: usize> HostRows<BRANCHES> {
    /// Room for the rows that these segments keep.
    fn of(merges: &[RowMerges<'_>]) -> Self {
        let rows = merges.iter().map(|merges| merges.keep.len()).sum();
        Self {
            keep: Vec::with_capacity(rows),
            edge_off: Vec::with_capacity(rows + 1),
            edge_src: Vec::new(),
            edge: [(); BRANCHES].map(|()| Vec::new()),
            own: [(); BRANCHES].map(|()| Vec::with_capacity(rows)),
        }
    }

    /// Adds a segment, of which every branch keeps the same rows.
    fn push(&mut self, branches: [&RowMerges<'_>; BRANCHES]) {
        let Some(RowMerges { first_row, keep, .. }) = branches.first() else { return };
        let first = *first_row as u32;
        self.keep.extend(keep.iter().map(|row| first + row));
        if branches.iter().all(|merges| merges.groups.is_empty()) {
            self.edge_off.resize(self.keep.len(), self.edge_src.len() as u32);
            self.own.iter_mut().for_each(|own| own.resize(self.keep.len(), 1.0));
            return;
        }
        let mut next = [0; BRANCHES];
        for row in *keep {
            self.edge_off.push(self.edge_src.len() as u32);
            let mut sources: [&[(u32, f32)]; BRANCHES] = [&[]; BRANCHES];
            for (branch, merges) in branches.iter().enumerate() {
                let group = group_of(merges.groups, &mut next[branch], *row);
                self.own[branch].push(group.map_or(1.0, |group| group.own_weight));
                sources[branch] = group.map_or(&[], |group| &group.sources);
            }
            // The sources of all branches in ascending order; one that does not merge on a branch weighs nothing there.
            while let Some(source) = sources.iter().filter_map(|rest| rest.first()).map(|(row, _)| *row).min() {
                self.edge_src.push(first + source);
                for (edge, rest) in self.edge.iter_mut().zip(&mut sources) {
                    let own = rest.split_first().filter(|((row, _), _)| *row == source);
                    edge.push(own.map_or(0.0, |((_, weight), _)| *weight));
                    *rest = own.map_or(*rest, |(_, rest)| rest);
                }
            }
        }
    }

    /// A plan whose branches are these; where there is one alone, both are.
    fn place(
        mut self,
        rows_in: usize,
        tops: [Option<ChannelTops>; BRANCHES],
        device: &Device,
    ) -> Result<RowPlan, KernelError> {
        self.edge_off.push(self.edge_src.len() as u32);
        if self.edge_src.is_empty() {
            // A device has no empty tensors; no offset points here.
            self.edge_src.push(0);
            self.edge.iter_mut().for_each(|edge| edge.push(0.0));
        }
        let mut branches = Vec::with_capacity(BRANCHES);
        for ((edge, own), tops) in self.edge.into_iter().zip(self.own).zip(tops) {
            let (edges, rows) = (edge.len(), own.len());
            let (edge, own) = (Tensor::from_vec(edge, edges, device)?, Tensor::from_vec(own, rows, device)?);
            branches.push(BranchWeights { edge, own, keep: None, tops });
        }
        let branch = |index: usize| branches[index.min(BRANCHES - 1)].clone();
        RowPlan::new(
            rows_in,
            ids(self.keep, device)?,
            ids(self.edge_off, device)?,
            ids(self.edge_src, device)?,
            branch(0),
            branch(1),
        )
    }
}

/// The group of a kept row, among groups that ascend; `next` is the first of them that was not passed yet.
fn group_of<'a>(groups: &'a [MergeGroup], next: &mut usize, row: u32) -> Option<&'a MergeGroup> {
    while groups.get(*next).is_some_and(|group| group.into < row) {
        *next += 1;
    }
    groups.get(*next).filter(|group| group.into == row)
}

#[cfg(test)]
mod tests {
    use super::super::merge_rows;
    use super::*;

    #[test]
    fn a_plan_of_merges_does_what_the_merges_do() {
        let x: Vec<f32> = (0..27_u8).map(|value| f32::from(value) * 0.37 - 4.0).collect();
        let x = Tensor::from_vec(x, (9, 3), &Device::Cpu).unwrap();
        let group = |into, sources| MergeGroup { into, own_weight: 1.5, sources };
        let on_hidden = [group(0, vec![(1, 1.0), (2, 2.0)])];
        let on_residual = [group(0, vec![(1, 1.0)]), group(4, vec![(3, 3.0)])];
        let merges = |groups| {
            let rule = MergeRule::WeightedMean;
            [
                RowMerges { first_row: 0, keep: &[0, 4], groups, rule },
                RowMerges { first_row: 5, keep: &[0, 1, 3], groups: &[], rule },
            ]
        };
        let (hidden, residual) = (merges(&on_hidden), merges(&on_residual));
        let plan = RowPlan::from_merges(9, &hidden, &residual, &Device::Cpu).unwrap();
        for (merges, weights) in [(&hidden, &plan.hidden), (&residual, &plan.residual)] {
            let want = merge_rows(&x, merges).unwrap().to_vec2::<f32>().unwrap();
            assert_eq!(want, plan.apply(&x, weights).unwrap().to_vec2::<f32>().unwrap());
        }
    }

    #[test]
    fn the_residual_may_go_on_with_rows_of_its_own() {
        let x = Tensor::new(&[[1.0_f32], [2.0], [3.0]], &Device::Cpu).unwrap();
        let merges = [RowMerges { first_row: 0, keep: &[0, 1], groups: &[], rule: MergeRule::WeightedMean }];
        let plan = RowPlan::from_merges(3, &merges, &merges, &Device::Cpu).unwrap();
        assert!(plan.is_gathered_by_layers());
        let own =
            BranchWeights { keep: Some(Tensor::new(&[1_u32, 2], &Device::Cpu).unwrap()), ..plan.residual.clone() };
        let new = |hidden: &BranchWeights| {
            let RowPlan { keep, edge_off, edge_src, .. } = plan.clone();
            RowPlan::new(3, keep, edge_off, edge_src, hidden.clone(), own.clone())
        };
        let split = new(&plan.hidden).unwrap();
        let rows = |branch| split.apply(&x, branch).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!([rows(&split.hidden), rows(&split.residual)], [[1.0, 2.0], [2.0, 3.0]]);
        assert!(!split.is_gathered_by_layers());
        assert!(new(&own).is_err(), "the hidden branch has the rows of the plan");
    }

    #[test]
    fn segments_that_merge_by_the_largest_values_are_listed() {
        let group = |into, sources| MergeGroup { into, own_weight: 1.0, sources };
        let halves = [group(0, vec![(3, 1.0)]), group(2, vec![(1, 0.0)])];
        let means = [group(0, vec![(1, 1.0)])];
        let top = MergeRule::ChannelTopHalf { kept: 1 };
        let merges = [
            RowMerges { first_row: 0, keep: &[0], groups: &means, rule: MergeRule::WeightedMean },
            RowMerges { first_row: 2, keep: &[0, 2], groups: &halves, rule: top },
        ];
        let mean = MergeRule::WeightedMean;
        let residual = [merges[0], RowMerges { rule: mean, ..merges[1] }];
        let plan = RowPlan::from_merges(6, &merges, &residual, &Device::Cpu).unwrap();
        assert!(plan.residual.tops.is_none() && !plan.is_gathered_by_layers());
        let tops = plan.hidden.tops.unwrap();
        let ids = |tensor: &Tensor| tensor.to_vec1::<u32>().unwrap();
        // Rows 3 and 5 of the stream, ascending; those of the mean are not asked for.
        assert_eq!((ids(&tops.sources), ids(&tops.offsets)), (vec![3, 5], vec![0, 0, 2]));
        assert_eq!((ids(&tops.kept), ids(&tops.row_segment)), (vec![0, 1], vec![NO_TOPS, 1, 1]));
    }
}
