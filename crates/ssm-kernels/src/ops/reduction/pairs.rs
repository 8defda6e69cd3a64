use candle_core::cuda_backend::cudarc::driver::CudaSlice;
use candle_core::{DType, Tensor};

use super::{Outputs, Reduced, TokenState, offsets};
use crate::cuda::{Arg, Gpu, Grid, Image, image, is_wide, multiprocessors, rows_of};
use crate::error::{KernelError, expect_shape};
use crate::segments::Segments;

static PARTITION: Image = image!("partition");
static SELECT: Image = image!("select_pairs");
static WGMMA: Image = image!("sim_argmax_wgmma");
static MMA: Image = image!("sim_argmax_mma");
static PLAIN: Image = image!("sim_argmax_plain");

const OP: &str = "pair_tokens";
const THREADS: usize = 1024;
/// Shared memory of a block of the selection, in units of 4 bytes.
const SELECT_SHARED: usize = 48 * 1024;

/// What similarity is computed from: `[tokens, width]` and the inverse norms of its rows.
#[derive(Clone, Copy, Debug)]
pub struct Similarity<'a> {
    /// The features.
    pub x: &'a Tensor,
    /// `[tokens]`, float32: from [`super::token_scores`], clipped as `clip` says.
    pub inverse_norms: &'a Tensor,
    /// Whether negative features count as zero.
    pub clip: bool,
    /// Source `i` of a segment is compared with its targets `j` of `|i - j| < window` alone, counted in their lists; none: with all.
    pub window: Option<usize>,
}

/// Who is a source and who a target.
#[derive(Clone, Copy, Debug)]
pub enum Sides<'a> {
    /// Candidates at even places are sources, those at odd places targets.
    EvenOdd,
    /// By scores `[tokens]`: the lower half of the candidates, rounded down, are sources, the others targets.
    Halves(&'a Tensor),
    /// By scores `[tokens]`: as many of the lowest as a segment loses are sources, and as many of the next, or all that there are, targets.
    Lowest(&'a Tensor),
}

impl<'a> Sides<'a> {
    fn scores(self) -> Option<&'a Tensor> {
        match self {
            Self::EvenOdd => None,
            Self::Halves(scores) | Self::Lowest(scores) => Some(scores),
        }
    }

    /// Sources and targets among so many candidates, of which so many are lost.
    fn counts(self, candidates: usize, loses: usize) -> (usize, usize) {
        match self {
            _ if loses == 0 => (0, 0),
            Self::EvenOdd => (candidates.div_ceil(2), candidates / 2),
            Self::Halves(_) => (candidates / 2, candidates.div_ceil(2)),
            Self::Lowest(_) => (loses, loses.min(candidates - loses)),
        }
    }
}

/// Which edges carry their source into the target, on one branch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Carry {
    /// None: sources are dropped.
    Drop,
    /// All, by plain mean.
    Mean,
    /// All, weighted by size.
    SizeWeightedMean,
    /// All but a share `q` of the edges, by plain mean.
    Hybrid {
        /// Share of the edges that prune, 0..=1; the count is rounded to the nearest.
        q: f64,
        /// Which ones prune.
        order: PruneOrder,
    },
}

/// Which edges prune first under [`Carry::Hybrid`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PruneOrder {
    /// The strongest.
    MostSimilar,
    /// The weakest.
    LeastSimilar,
    /// Those with the least important source, by [`Pairing::prune_scores`].
    LeastImportant,
}

/// Arguments of [`pair_tokens`].
#[derive(Clone, Copy, Debug)]
pub struct Pairing<'a> {
    /// What similarity is computed from.
    pub similarity: Similarity<'a>,
    /// Who is a source and who a target.
    pub sides: Sides<'a>,
    /// `[tokens]`: for [`PruneOrder::LeastImportant`].
    pub prune_scores: Option<&'a Tensor>,
    /// The hidden branch.
    pub hidden: Carry,
    /// The residual branch.
    pub residual: Carry,
    /// State of the arriving rows.
    pub tokens: &'a TokenState,
    /// Arriving segments.
    pub segments: &'a Segments,
    /// Unprotected rows of each segment that take part; those of a segment that stays as it is are not read.
    pub candidates: &'a [usize],
    /// Rows that each segment keeps.
    pub lengths: &'a [usize],
}

/// One round of pairing. Every segment loses at most its sources.
pub(super) fn in_one_round(input: &Pairing<'_>) -> Result<Reduced, KernelError> {
    let gpu = Gpu::of(input.similarity.x, OP)?;
    let segments = input.segments;
    let rows_in = segments.n_tokens();
    let (x_rows, _, _) = rows_of(input.similarity.x, OP, "x")?;
    expect_shape(OP, "x", &[x_rows], &[rows_in])?;
    let counts = Counts::new(input.sides, input.similarity.window, segments, input.candidates, input.lengths)?;
    let shortened = segments.with_lengths(input.lengths);
    let rows = shortened.n_tokens();
    let (sizes, protected) = input.tokens.args(&gpu, OP, rows_in)?;
    let out = Outputs::new(&gpu, rows, rows_in - rows, segments)?;
    let seg_off = gpu.address(&segments.on_device(&gpu)?.offsets);
    let lists = Lists::new(&gpu, &counts)?;
    lists.part(&gpu, input.sides, protected, segments, gpu.tensor(&out.faults)?)?;
    lists.match_up(&gpu, input.similarity, &counts)?;
    let hidden = Carried::new(&gpu, input.hidden, &counts.removed)?;
    let residual = Carried::new(&gpu, input.residual, &counts.removed)?;
    let shared = counts.shared.min(SELECT_SHARED);
    let scratch = if counts.shared > shared { Some(gpu.scratch::<i32>(3 * rows_in)?) } else { None };
    let prune_scores = input.prune_scores.map_or(Ok(Arg::NULL), |scores| gpu.float32(scores, OP, "scores"))?;
    let args = [
        gpu.address(&lists.edges),
        gpu.address(&lists.sources),
        seg_off,
        gpu.address(&lists.src_off),
        gpu.address(&shortened.on_device(&gpu)?.offsets),
        hidden.rule,
        hidden.order,
        hidden.pruned(&gpu),
        residual.rule,
        residual.order,
        residual.pruned(&gpu),
        prune_scores,
        sizes,
        protected,
        gpu.tensor(&out.keep)?,
        gpu.tensor(&out.edge_off)?,
        gpu.tensor(&out.edge_src)?,
        gpu.tensor(&out.weights[0])?,
        gpu.tensor(&out.weights[2])?,
        gpu.tensor(&out.weights[1])?,
        gpu.tensor(&out.weights[3])?,
        gpu.tensor(&out.tokens.sizes)?,
        gpu.tensor(&out.tokens.protected)?,
        Arg::int(shared),
        scratch.as_ref().map_or(Arg::NULL, |scratch| gpu.address(scratch)),
        gpu.tensor(&out.faults)?,
    ];
    let grid = Grid { blocks: (segments.len(), 1, 1), threads: (THREADS, 1), shared: 4 * shared };
    gpu.launch(&SELECT, "select_pairs", grid, &args)?;
    out.reduced(rows_in, shortened)
}

impl Pairing<'_> {
    /// How many rows each segment loses in each round; at least one row is kept.
    pub(super) fn rounds(&self) -> Vec<Vec<usize>> {
        let mut rounds: Vec<Vec<usize>> = Vec::new();
        for (index, length) in self.lengths.iter().enumerate() {
            let (mut candidates, mut loses) = (self.candidates[index], self.segments.length(index) - length);
            for round in 0.. {
                if loses == 0 || candidates < 2 {
                    break;
                }
                let (sources, targets) = self.sides.counts(candidates, loses);
                let removed = n_edges(sources, targets, self.similarity.window).min(loses);
                if rounds.len() == round {
                    rounds.push(vec![0; self.lengths.len()]);
                }
                rounds[round][index] = removed;
                candidates -= removed;
                loses -= removed;
            }
        }
        rounds
    }
}

/// Edges of so many sources and targets: the last sources may have no target in a window.
fn n_edges(sources: usize, targets: usize, window: Option<usize>) -> usize {
    if targets == 0 { 0 } else { window.map_or(sources, |window| sources.min(targets + window - 1)) }
}

impl Carry {
    /// The combine rule, as the kernels take it.
    pub(super) fn rule(self) -> Arg {
        Arg::int(match self {
            Self::Drop => 0,
            Self::Mean => 1,
            Self::SizeWeightedMean => 2,
            Self::Hybrid { .. } => 3,
        })
    }
}

/// A [`Carry`] as the kernels take it, for so many removed rows of each segment.
pub(super) struct Carried {
    pub(super) rule: Arg,
    pub(super) order: Arg,
    pruned: Option<CudaSlice<i32>>,
}

impl Carried {
    pub(super) fn new(gpu: &Gpu, carry: Carry, removed: &[usize]) -> Result<Self, KernelError> {
        let (order, q) = match carry {
            Carry::Hybrid { q, order } => (order as usize, Some(q)),
            Carry::Drop | Carry::Mean | Carry::SizeWeightedMean => (0, None),
        };
        let pruned = q.map(|q| {
            let counts: Vec<i32> = removed.iter().map(|removed| (q * *removed as f64).round() as i32).collect();
            gpu.upload(&counts)
        });
        Ok(Self { rule: carry.rule(), order: Arg::int(order), pruned: pruned.transpose()? })
    }

    /// How many edges of each segment prune.
    pub(super) fn pruned(&self, gpu: &Gpu) -> Arg {
        self.pruned.as_ref().map_or(Arg::NULL, |table| gpu.address(table))
    }
}

/// Which targets a source is compared with; places are those in the lists of its segment.
#[derive(Clone, Copy, Debug)]
enum Reach {
    /// All.
    All,
    /// Those less than so many places away.
    Near(usize),
    /// Those at later places.
    Later,
}

impl Reach {
    /// As the kernels take it (`window` of `sim_tile.cuh`).
    fn arg(self) -> Arg {
        match self {
            Self::All => Arg::Int(0),
            Self::Near(window) => Arg::int(window),
            Self::Later => Arg::Int(-1),
        }
    }

    /// Units of so many sources by so many targets in tiles of `tile` sources and targets; as `find_unit` of `sim_tile.cuh` deals them out.
    fn units(self, sources: usize, targets: usize, tile: (usize, usize)) -> usize {
        let (source_tiles, target_tiles) = (sources.div_ceil(tile.0), targets.div_ceil(tile.1));
        match self {
            Self::All => source_tiles * target_tiles,
            Self::Near(window) => source_tiles * target_tiles.min((tile.0 + 2 * window - 2).div_ceil(tile.1) + 1),
            Self::Later => {
                let ratio = tile.1 / tile.0;
                (1..=target_tiles).map(|target| source_tiles.min(target * ratio)).sum()
            }
        }
    }
}

/// What the host knows of every segment beforehand.
pub(super) struct Counts {
    pub(super) sources: Vec<i32>,
    pub(super) targets: Vec<i32>,
    pub(super) removed: Vec<usize>,
    reach: Reach,
    /// Shared memory that the largest segment of the selection wants, in units of 4 bytes.
    shared: usize,
}

impl Counts {
    pub(super) fn new(
        sides: Sides<'_>,
        window: Option<usize>,
        segments: &Segments,
        candidates: &[usize],
        lengths: &[usize],
    ) -> Result<Self, KernelError> {
        let mut counts = (Vec::new(), Vec::new());
        let (mut removed, mut shared) = (Vec::new(), 0);
        for (index, (candidates, length)) in candidates.iter().zip(lengths).enumerate() {
            let n = segments.length(index);
            let loses = n - length;
            let (sources, targets) = sides.counts(*candidates, loses);
            let edges = n_edges(sources, targets, window);
            if loses > edges {
                return Err(KernelError::Segments(format!(
                    "segment {index} loses {loses} rows, but one round of pairing offers {edges}"
                )));
            }
            counts.0.push(sources);
            counts.1.push(targets);
            removed.push(loses);
            shared = shared.max(n + 3 * loses);
        }
        let reach = window.map_or(Reach::All, Reach::Near);
        Ok(Self { sources: offsets(counts.0), targets: offsets(counts.1), removed, reach, shared })
    }

    /// So many sources and targets per segment, each source to be compared with the targets at later places.
    pub(super) fn later(sources: Vec<usize>, targets: Vec<usize>) -> Self {
        let offsets = (offsets(sources.iter().copied()), offsets(targets));
        Self { sources: offsets.0, targets: offsets.1, removed: sources, reach: Reach::Later, shared: 0 }
    }

    pub(super) fn total(&self, offsets: &[i32]) -> usize {
        offsets[self.removed.len()] as usize
    }

    /// Offsets of the units of the similarity kernels, tiles of so many sources and targets.
    fn units(&self, tile: (usize, usize)) -> Vec<i32> {
        let count = |offsets: &[i32], index: usize| (offsets[index + 1] - offsets[index]) as usize;
        let units = |index| self.reach.units(count(&self.sources, index), count(&self.targets, index), tile);
        offsets((0..self.removed.len()).map(units))
    }
}

/// What the features of a comparison are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Elements {
    F32,
    Bf16,
    /// Rows that begin at multiples of 16 bytes.
    F16,
}

/// Rows as the similarity kernels read them; `x` and `inverse_norms` are addresses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Compared {
    /// Row `r` begins at element `r * ld` and has `width` elements.
    pub(super) x: Arg,
    pub(super) ld: usize,
    pub(super) width: usize,
    pub(super) elements: Elements,
    /// Float32, one per row.
    pub(super) inverse_norms: Arg,
    /// Whether negative features count as zero.
    pub(super) clip: bool,
}

impl Compared {
    pub(super) fn new(gpu: &Gpu, features: Similarity<'_>) -> Result<Self, KernelError> {
        let (_, width, ld) = rows_of(features.x, OP, "x")?;
        Ok(Self {
            x: gpu.tensor(features.x)?,
            ld,
            width,
            elements: if features.x.dtype() == DType::BF16 { Elements::Bf16 } else { Elements::F32 },
            inverse_norms: gpu.float32(features.inverse_norms, OP, "inverse_norms")?,
            clip: features.clip,
        })
    }
}

/// Sources and targets of all segments on the device, and one edge per source.
pub(super) struct Lists {
    pub(super) sources: CudaSlice<i32>,
    pub(super) targets: CudaSlice<i32>,
    pub(super) src_off: CudaSlice<i32>,
    pub(super) tgt_off: CudaSlice<i32>,
    pub(super) edges: CudaSlice<u64>,
}

impl Lists {
    pub(super) fn new(gpu: &Gpu, counts: &Counts) -> Result<Self, KernelError> {
        let n_sources = counts.total(&counts.sources);
        Ok(Self {
            sources: gpu.scratch(n_sources)?,
            targets: gpu.scratch(counts.total(&counts.targets))?,
            src_off: gpu.upload(&counts.sources)?,
            tgt_off: gpu.upload(&counts.targets)?,
            edges: gpu.scratch(n_sources)?,
        })
    }

    /// Fills the lists; no source has an edge yet.
    pub(super) fn part(
        &self,
        gpu: &Gpu,
        sides: Sides<'_>,
        protected: Arg,
        segments: &Segments,
        faults: Arg,
    ) -> Result<(), KernelError> {
        let args = [
            sides.scores().map_or(Ok(Arg::NULL), |scores| gpu.float32(scores, OP, "scores"))?,
            protected,
            gpu.address(&segments.on_device(gpu)?.offsets),
            gpu.address(&self.src_off),
            gpu.address(&self.tgt_off),
            gpu.address(&self.sources),
            gpu.address(&self.targets),
            gpu.address(&self.edges),
            faults,
        ];
        let grid = Grid { blocks: (segments.len(), 1, 1), threads: (THREADS, 1), shared: 0 };
        gpu.launch(&PARTITION, "partition", grid, &args)
    }

    /// For every source its most similar target.
    pub(super) fn match_up(&self, gpu: &Gpu, features: Similarity<'_>, counts: &Counts) -> Result<(), KernelError> {
        self.match_lists(gpu, Compared::new(gpu, features)?, counts, [&self.sources, &self.targets])
    }

    /// The same where sources and targets are other rows than those of the lists.
    pub(super) fn match_lists(
        &self,
        gpu: &Gpu,
        features: Compared,
        counts: &Counts,
        [sources, targets]: [&CudaSlice<i32>; 2],
    ) -> Result<(), KernelError> {
        let Compared { x, ld, width, elements, inverse_norms, clip } = features;
        let beside = multiprocessors(gpu.device());
        let hopper = gpu.capability() == (9, 0);
        let small = counts.units((64, 128));
        let n_segments = counts.removed.len();
        let active = counts.removed.iter().filter(|removed| **removed > 0).count();
        // Few or short segments: small tiles fill the device better.
        let few = (small[n_segments] as usize) < beside || counts.total(&counts.sources) <= 128 * active;
        // Kernels for the same elements give the same bits and differ in speed. The last pair is the tile: sources, targets.
        let (image, name, shared, blocks, tile) = match (elements, is_wide(&[width, ld], &[x])) {
            (Elements::Bf16, true) if hopper && few => {
                (&WGMMA, "sim_argmax_wgmma_small_bf16", 197_632, beside, (64, 128))
            }
            (Elements::Bf16, true) if hopper => (&WGMMA, "sim_argmax_wgmma_bf16", 197_632, beside, (128, 256)),
            (Elements::Bf16, true) => (&MMA, "sim_argmax_bf16", 98_304, 2 * beside, (128, 128)),
            (Elements::Bf16, false) => (&PLAIN, "sim_argmax_any_bf16", 0, 2 * beside, (128, 128)),
            (Elements::F16, _) if hopper && few => (&WGMMA, "sim_argmax_wgmma_small_f16", 197_632, beside, (64, 128)),
            (Elements::F16, _) if hopper => (&WGMMA, "sim_argmax_wgmma_f16", 197_632, beside, (128, 256)),
            (Elements::F16, _) => (&MMA, "sim_argmax_f16", 98_304, 2 * beside, (128, 128)),
            (Elements::F32, true) => (&PLAIN, "sim_argmax_f32", 0, 2 * beside, (128, 128)),
            (Elements::F32, false) => (&PLAIN, "sim_argmax_any_f32", 0, 2 * beside, (128, 128)),
        };
        let units = counts.units(tile);
        let n_units = units[n_segments] as usize;
        let unit_off = gpu.upload(&units)?;
        let args = [
            x,
            Arg::long(ld),
            Arg::int(width),
            inverse_norms,
            Arg::int(usize::from(clip)),
            gpu.address(sources),
            gpu.address(targets),
            gpu.address(&self.src_off),
            gpu.address(&self.tgt_off),
            gpu.address(&unit_off),
            Arg::int(n_segments),
            counts.reach.arg(),
            gpu.address(&self.edges),
        ];
        gpu.launch(image, name, Grid { blocks: (n_units.min(blocks), 1, 1), threads: (256, 1), shared }, &args)
    }
}
