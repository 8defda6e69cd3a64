use candle_core::{DType, Device, Tensor};

use super::merges::{Merging, merge_removed};
use super::pairs::{Carried, Counts, Lists, Pairing, in_one_round};
use super::select::select_tokens;
use super::{NO_FAULT, Reduced};
use crate::cuda::{Arg, Gpu, Grid, Image, image, rows_of};
use crate::error::{KernelError, expect_shape};

static KERNELS: Image = image!("pair_rounds");

const OP: &str = "pair_tokens";
const TILE: usize = 256;

/// Pairing: partition, match, select, combine. A round removes at most the sources of a segment. If more are to be removed, the kept rows go
/// through further rounds. What was merged into a row that is removed later is removed with it.
///
/// # Errors
/// A segment that loses all of its candidates, tensors that do not fit, or an error of the device.
pub fn pair_tokens(input: &Pairing<'_>) -> Result<Reduced, KernelError> {
    let rounds = input.rounds();
    if rounds.len() < 2 { in_one_round(input) } else { in_rounds(input, &rounds) }
}

/// Several rounds. `rounds`: how many rows each segment loses in each.
fn in_rounds(input: &Pairing<'_>, rounds: &[Vec<usize>]) -> Result<Reduced, KernelError> {
    let gpu = Gpu::of(input.similarity.x, OP)?;
    let segments = input.segments;
    let rows = segments.n_tokens();
    let (x_rows, _, _) = rows_of(input.similarity.x, OP, "x")?;
    expect_shape(OP, "x", &[x_rows], &[rows])?;
    for (index, length) in input.lengths.iter().enumerate() {
        let loses = segments.length(index) - length;
        let offered: usize = rounds.iter().map(|removed| removed[index]).sum();
        if loses != offered {
            return Err(KernelError::Segments(format!(
                "segment {index} loses {loses} rows, but pairing offers {offered}"
            )));
        }
    }
    let (sizes, protected) = input.tokens.args(&gpu, OP, rows)?;
    let (gone, into, merging) = (gpu.scratch::<u8>(rows)?, gpu.scratch::<u32>(rows)?, gpu.scratch::<u8>(rows)?);
    let (gone, into, merging_at) = (gpu.address(&gone), gpu.address(&into), gpu.address(&merging));
    let per_row = Grid { blocks: (rows.div_ceil(TILE), 1, 1), threads: (TILE, 1), shared: 0 };
    gpu.launch(&KERNELS, "settle_begin", per_row, &[protected, Arg::int(rows), gone, into, merging_at])?;
    let device = Device::Cuda(gpu.device().clone());
    let faults = Tensor::from_vec(vec![NO_FAULT; segments.len()], segments.len(), &device)?;
    let seg_off = gpu.address(&segments.on_device(&gpu)?.offsets);
    let prune_scores = input.prune_scores.map_or(Ok(Arg::NULL), |scores| gpu.float32(scores, OP, "scores"))?;
    let mut candidates = input.candidates.to_vec();
    for removed in rounds {
        let lengths: Vec<usize> =
            removed.iter().enumerate().map(|(index, removed)| segments.length(index) - removed).collect();
        let counts = Counts::new(input.sides, input.similarity.window, segments, &candidates, &lengths)?;
        let lists = Lists::new(&gpu, &counts)?;
        lists.part(&gpu, input.sides, gone, segments, gpu.tensor(&faults)?)?;
        lists.match_up(&gpu, input.similarity, &counts)?;
        let hidden = Carried::new(&gpu, input.hidden, removed)?;
        let residual = Carried::new(&gpu, input.residual, removed)?;
        let n_removed = gpu.upload(&removed.iter().map(|removed| *removed as i32).collect::<Vec<_>>())?;
        let scratch = gpu.scratch::<i32>(3 * counts.total(&counts.sources))?;
        let args = [
            gpu.address(&lists.edges),
            gpu.address(&lists.sources),
            seg_off,
            gpu.address(&lists.src_off),
            gpu.address(&n_removed),
            hidden.rule,
            hidden.order,
            hidden.pruned(&gpu),
            residual.rule,
            residual.order,
            residual.pruned(&gpu),
            prune_scores,
            gpu.address(&scratch),
            gone,
            into,
            merging_at,
            gpu.tensor(&faults)?,
        ];
        let grid = Grid { blocks: (segments.len(), 1, 1), threads: (1024, 1), shared: 0 };
        gpu.launch(&KERNELS, "settle_edges", grid, &args)?;
        for (candidates, removed) in candidates.iter_mut().zip(removed) {
            *candidates -= removed;
        }
    }
    let floats = || gpu.empty(rows, DType::F32);
    let (flags, hidden, residual) = (floats()?, floats()?, floats()?);
    let targets = gpu.empty(rows, DType::U32)?;
    let args = [
        into,
        merging_at,
        sizes,
        Arg::int(rows),
        input.hidden.rule(),
        input.residual.rule(),
        gpu.tensor(&flags)?,
        gpu.tensor(&targets)?,
        gpu.tensor(&hidden)?,
        gpu.tensor(&residual)?,
    ];
    gpu.launch(&KERNELS, "settle_ends", per_row, &args)?;
    let dropped = select_tokens(&flags, input.tokens, segments, input.lengths, true)?;
    let merges =
        Merging { targets: Some(&targets), hidden: Some(&hidden), residual: Some(&residual), hidden_tops: false };
    let reduced = merge_removed(dropped, merges, input.tokens, segments)?;
    Ok(Reduced { faults, ..reduced })
}
