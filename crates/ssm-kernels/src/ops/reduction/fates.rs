use candle_core::cuda_backend::cudarc::driver::CudaSlice;
use candle_core::{DType, Tensor};

use super::pairs::{Compared, Counts, Lists, Sides, Similarity};
use super::{NO_FAULT, TokenState};
use crate::cuda::{Arg, Gpu, Grid, Image, image, rows_of, suffix};
use crate::error::{KernelError, expect_shape};
use crate::segments::Segments;

static FATES: Image = image!("edge_fates");
static RANKS: Image = image!("rank_rows");

const OP: &str = "edge_fates";
const THREADS: usize = 1024;
/// Values of a column that are sorted in shared memory.
const SHARED_VALUES: usize = 32 * 1024;
/// Most threads of a block that sorts a column.
const SORT_THREADS: usize = 512;

/// One edge from each candidate at an even place.
#[derive(Clone, Copy, Debug)]
pub struct Edges<'a> {
    /// What similarity is computed from.
    pub similarity: Similarity<'a>,
    /// State of the arriving rows.
    pub tokens: &'a TokenState,
    /// Arriving segments.
    pub segments: &'a Segments,
    /// Unprotected rows of each segment.
    pub candidates: &'a [usize],
    /// Rows that each segment keeps.
    pub lengths: &'a [usize],
}

/// Which rows are removed and where they go.
#[derive(Clone, Debug)]
pub struct Fates {
    /// `[tokens]`, float32: 1 for kept, 0 for removed, NaN where what a row was ranked by is NaN or infinite; for
    /// [`super::select_tokens`]. Rows of a segment that keeps all of them are not written, here and below.
    pub flags: Tensor,
    /// `[tokens]`, u32: the row that takes in a removed one, `u32::MAX` where it is dropped; for [`super::merge_removed`].
    pub targets: Tensor,
}

impl Fates {
    fn new(gpu: &Gpu, rows: usize) -> Result<Self, KernelError> {
        Ok(Self { flags: gpu.empty(rows, DType::F32)?, targets: gpu.empty(rows, DType::U32)? })
    }
}

/// What the kernels of this file take of all edges.
struct Matched {
    gpu: Gpu,
    counts: Counts,
    lists: Lists,
    protected: Arg,
    /// The segments with their new lengths; the second of the offsets lies in its tables.
    _shortened: Segments,
    offsets: [Arg; 2],
    grid: Grid,
}

impl Matched {
    /// Sources and targets, without edges yet. `kept`: rows that each segment keeps in the end, where merging alone keeps more.
    fn new(edges: &Edges<'_>, kept: &[usize]) -> Result<Self, KernelError> {
        let shortened = edges.segments.with_lengths(kept);
        let Edges { similarity, tokens, segments, candidates, lengths } = *edges;
        let gpu = Gpu::of(similarity.x, OP)?;
        let rows = segments.n_tokens();
        expect_shape(OP, "x", &similarity.x.dims()[..1], &[rows])?;
        let (_, protected) = tokens.args(&gpu, OP, rows)?;
        let counts = Counts::new(Sides::EvenOdd, similarity.window, segments, candidates, lengths)?;
        let lists = Lists::new(&gpu, &counts)?;
        let faults = gpu.upload(&vec![NO_FAULT; segments.len()])?;
        lists.part(&gpu, Sides::EvenOdd, protected, segments, gpu.address(&faults))?;
        let address = |segments: &Segments| Ok::<_, KernelError>(gpu.address(&segments.on_device(&gpu)?.offsets));
        let offsets = [address(segments)?, address(&shortened)?];
        let grid = Grid { blocks: (segments.len(), 1, 1), threads: (THREADS, 1), shared: 0 };
        Ok(Self { counts, lists, protected, _shortened: shortened, offsets, grid, gpu })
    }
}

/// The strongest edges merge, `n_merge` of each segment; a target takes the highest of its own score and those of its sources; of the rows
/// that remain those with the lowest scores are dropped, until each segment has its length.
///
/// # Shapes
/// - `scores`: `[tokens]`, float32
///
/// # Errors
/// Tensors that do not fit, or an error of the device.
pub fn merge_then_drop(edges: &Edges<'_>, scores: &Tensor, n_merge: &[usize]) -> Result<Fates, KernelError> {
    let rows = edges.segments.n_tokens();
    expect_shape(OP, "scores", scores.dims(), &[rows])?;
    // Merging alone may lose fewer rows than a segment loses.
    let merged: Vec<usize> = n_merge.iter().enumerate().map(|(s, merge)| edges.segments.length(s) - merge).collect();
    let at = Matched::new(&Edges { lengths: &merged, ..*edges }, edges.lengths)?;
    let gpu = &at.gpu;
    at.lists.match_up(gpu, edges.similarity, &at.counts)?;
    let fates = Fates::new(gpu, rows)?;
    let n_merge = gpu.upload(&n_merge.iter().map(|count| *count as i32).collect::<Vec<_>>())?;
    let keys = gpu.scratch::<u32>(rows)?;
    let args = [
        gpu.address(&at.lists.edges),
        gpu.address(&at.lists.sources),
        gpu.address(&at.lists.src_off),
        at.offsets[0],
        at.offsets[1],
        gpu.float32(scores, OP, "scores")?,
        at.protected,
        gpu.address(&n_merge),
        gpu.address(&keys),
        gpu.tensor(&fates.flags)?,
        gpu.tensor(&fates.targets)?,
    ];
    gpu.launch(&FATES, "merge_then_drop", at.grid, &args)?;
    Ok(fates)
}

/// The pairs of the released code of Zhan et al.: the source that is k-th by place goes to the target of the edge that is k-th by strength.
/// `by_rank`: edges connect ranks of the candidates in every channel, not candidates. `counts_half`: of the sources the later half weighs 1
/// and the rest 0. Also the weights, `[tokens]`, float32.
///
/// # Errors
/// Tensors that do not fit, or an error of the device.
pub fn released_pairs(edges: &Edges<'_>, by_rank: bool, counts_half: bool) -> Result<(Fates, Tensor), KernelError> {
    let rows = edges.segments.n_tokens();
    let at = Matched::new(edges, edges.lengths)?;
    let gpu = &at.gpu;
    if by_rank {
        match_ranks(edges, &at)?;
    } else {
        at.lists.match_up(gpu, edges.similarity, &at.counts)?;
    }
    let fates = Fates::new(gpu, rows)?;
    let weights = gpu.empty(rows, DType::F32)?;
    let scratch = gpu.scratch::<i32>(3 * at.counts.total(&at.counts.sources))?;
    let args = [
        gpu.address(&at.lists.edges),
        Arg::int(usize::from(by_rank)),
        gpu.address(&at.lists.sources),
        gpu.address(&at.lists.targets),
        gpu.address(&at.lists.src_off),
        gpu.address(&at.lists.tgt_off),
        at.offsets[0],
        at.offsets[1],
        gpu.float32(edges.similarity.inverse_norms, OP, "inverse_norms")?,
        Arg::int(usize::from(counts_half)),
        gpu.address(&scratch),
        gpu.tensor(&fates.flags)?,
        gpu.tensor(&fates.targets)?,
        gpu.tensor(&weights)?,
    ];
    gpu.launch(&FATES, "released_pairs", at.grid, &args)?;
    Ok((fates, weights))
}

/// Edges between the lower and the upper half of the ranks: the unit rows of the candidates with every channel sorted by itself.
fn match_ranks(edges: &Edges<'_>, at: &Matched) -> Result<(), KernelError> {
    let Matched { gpu, counts, lists, .. } = at;
    let Similarity { x, inverse_norms, clip, .. } = edges.similarity;
    let (_, width, ld) = rows_of(x, OP, "x")?;
    let (n_sources, n_targets) = (counts.total(&counts.sources), counts.total(&counts.targets));
    let candidates = n_sources + n_targets;
    let segments = edges.segments.len();
    let list = |len| gpu.scratch::<i32>(len);
    let (rows, sources, targets): (CudaSlice<i32>, _, _) = (list(candidates)?, list(n_sources)?, list(n_targets)?);
    let (src_off, tgt_off) = (gpu.address(&lists.src_off), gpu.address(&lists.tgt_off));
    let args = [
        gpu.address(&lists.sources),
        gpu.address(&lists.targets),
        src_off,
        tgt_off,
        gpu.address(&rows),
        gpu.address(&sources),
        gpu.address(&targets),
    ];
    gpu.launch(&RANKS, "candidate_rows", Grid { blocks: (segments, 1, 1), threads: (256, 1), shared: 0 }, &args)?;
    let columns = gpu.scratch::<f32>(width * candidates)?;
    let transpose = Grid { blocks: (width.div_ceil(32), candidates.div_ceil(32), 1), threads: (32, 8), shared: 0 };
    let args = [
        gpu.tensor(x)?,
        Arg::long(ld),
        Arg::int(width),
        gpu.float32(inverse_norms, OP, "inverse_norms")?,
        Arg::int(usize::from(clip)),
        gpu.address(&rows),
        Arg::int(candidates),
        gpu.address(&columns),
    ];
    gpu.launch(&RANKS, &format!("unit_columns_{}", suffix(x.dtype(), OP)?), transpose, &args)?;
    let longest = edges.candidates.iter().copied().max().unwrap_or(0).min(SHARED_VALUES);
    // A thread for each comparison of a step: short segments leave a multiprocessor room for more of them at once.
    let threads = (longest.next_power_of_two() / 2).clamp(32, SORT_THREADS);
    let grid = Grid { blocks: (width, segments, 1), threads: (threads, 1), shared: 4 * longest };
    gpu.launch(&RANKS, "sort_columns", grid, &[gpu.address(&columns), src_off, tgt_off, Arg::int(longest)])?;
    let ranks = gpu.empty((candidates, width), DType::F32)?;
    let args = [gpu.address(&columns), Arg::int(width), Arg::int(candidates), gpu.tensor(&ranks)?];
    gpu.launch(&RANKS, "rank_rows", transpose, &args)?;
    let ones = Tensor::ones(candidates, DType::F32, x.device())?;
    let similarity = Similarity { x: &ranks, inverse_norms: &ones, clip: false, window: None };
    lists.match_lists(gpu, Compared::new(gpu, similarity)?, counts, [&sources, &targets])
}
