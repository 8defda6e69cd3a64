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
    /// `[tokens]`: the less important half are sources; without scores, tokens at even and odd places take turns.
    pub partition_scores: Option<&'a Tensor>,
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

/// One round of pairing: partition, match, select, combine. Every segment loses at most its sources.
///
/// # Errors
/// More removals than sources, tensors that do not fit, or an error of the device.
pub fn pair_tokens(input: &Pairing<'_>) -> Result<Reduced, KernelError> {
    let gpu = Gpu::of(input.similarity.x, OP)?;
    let segments = input.segments;
    let rows_in = segments.n_tokens();
    let (x_rows, _, _) = rows_of(input.similarity.x, OP, "x")?;
    expect_shape(OP, "x", &[x_rows], &[rows_in])?;
    let counts = Counts::new(input)?;
    let shortened = segments.with_lengths(input.lengths);
    let rows = shortened.n_tokens();
    let (sizes, protected) = input.tokens.args(&gpu, OP, rows_in)?;
    let (src_off, tgt_off) = (gpu.upload(&counts.sources)?, gpu.upload(&counts.targets)?);
    let (n_sources, n_targets) = (counts.total(&counts.sources), counts.total(&counts.targets));
    let (sources, targets) = (gpu.scratch::<i32>(n_sources)?, gpu.scratch::<i32>(n_targets)?);
    let edges = gpu.scratch::<u64>(n_sources)?;
    let out = Outputs::new(&gpu, rows, rows_in - rows, segments)?;
    let seg_off = gpu.address(&segments.on_device(&gpu)?.offsets);
    let scores = |scores: Option<&Tensor>| scores.map_or(Ok(Arg::NULL), |scores| gpu.float32(scores, OP, "scores"));
    let grid = |shared| Grid { blocks: (segments.len(), 1, 1), threads: (THREADS, 1), shared };
    let args = [
        scores(input.partition_scores)?,
        protected,
        seg_off,
        gpu.address(&src_off),
        gpu.address(&tgt_off),
        gpu.address(&sources),
        gpu.address(&targets),
        gpu.address(&edges),
        gpu.tensor(&out.faults)?,
    ];
    gpu.launch(&PARTITION, "partition", grid(0), &args)?;
    let lists = [gpu.address(&sources), gpu.address(&targets), args[3], args[4]];
    match_sources(&gpu, input, &counts, lists, args[7])?;
    let carry = |carry: Carry| -> Result<_, KernelError> {
        let (rule, order, q) = match carry {
            Carry::Drop => (0, 0, None),
            Carry::Mean => (1, 0, None),
            Carry::SizeWeightedMean => (2, 0, None),
            Carry::Hybrid { q, order } => (3, order as usize, Some(q)),
        };
        let pruned = q.map(|q| {
            let counts: Vec<i32> = counts.removed.iter().map(|removed| (q * *removed as f64).round() as i32).collect();
            gpu.upload(&counts)
        });
        Ok((Arg::int(rule), Arg::int(order), pruned.transpose()?))
    };
    let (hidden, residual) = (carry(input.hidden)?, carry(input.residual)?);
    let shared = counts.shared.min(SELECT_SHARED);
    let scratch = if counts.shared > shared { Some(gpu.scratch::<i32>(3 * rows_in)?) } else { None };
    let args = [
        args[7],
        args[5],
        seg_off,
        args[3],
        gpu.address(&shortened.on_device(&gpu)?.offsets),
        hidden.0,
        hidden.1,
        hidden.2.as_ref().map_or(Arg::NULL, |table| gpu.address(table)),
        residual.0,
        residual.1,
        residual.2.as_ref().map_or(Arg::NULL, |table| gpu.address(table)),
        scores(input.prune_scores)?,
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
    gpu.launch(&SELECT, "select_pairs", grid(4 * shared), &args)?;
    out.reduced(rows_in, shortened)
}

/// What the host knows of every segment beforehand.
struct Counts {
    sources: Vec<i32>,
    targets: Vec<i32>,
    removed: Vec<usize>,
    /// Shared memory that the largest segment of the selection wants, in units of 4 bytes.
    shared: usize,
}

impl Counts {
    fn new(input: &Pairing<'_>) -> Result<Self, KernelError> {
        let mut counts = (Vec::new(), Vec::new());
        let (mut removed, mut shared) = (Vec::new(), 0);
        for (index, (candidates, length)) in input.candidates.iter().zip(input.lengths).enumerate() {
            let n = input.segments.length(index);
            let loses = n - length;
            let sources = match (loses, input.partition_scores) {
                (0, _) => 0,
                (_, Some(_)) => candidates / 2,
                (_, None) => candidates.div_ceil(2),
            };
            if loses > sources {
                return Err(KernelError::Segments(format!(
                    "segment {index} loses {loses} rows, but one round of pairing offers {sources}"
                )));
            }
            counts.0.push(sources);
            counts.1.push(if loses == 0 { 0 } else { candidates - sources });
            removed.push(loses);
            shared = shared.max(n + 3 * loses);
        }
        Ok(Self { sources: offsets(counts.0), targets: offsets(counts.1), removed, shared })
    }

    fn total(&self, offsets: &[i32]) -> usize {
        offsets[self.removed.len()] as usize
    }

    /// Offsets of the units of the similarity kernels: tiles of so many sources by so many targets.
    fn units(&self, sources: usize, targets: usize) -> Vec<i32> {
        let count = |offsets: &[i32], index: usize| (offsets[index + 1] - offsets[index]) as usize;
        offsets(
            (0..self.removed.len()).map(|index| {
                count(&self.sources, index).div_ceil(sources) * count(&self.targets, index).div_ceil(targets)
            }),
        )
    }
}

/// For every source its most similar target. `lists`: sources, targets, and their offsets.
fn match_sources(
    gpu: &Gpu,
    input: &Pairing<'_>,
    counts: &Counts,
    lists: [Arg; 4],
    edges: Arg,
) -> Result<(), KernelError> {
    let features = input.similarity;
    let (_, width, ld) = rows_of(features.x, OP, "x")?;
    let x = gpu.tensor(features.x)?;
    let beside = multiprocessors(gpu.device());
    let bf16 = features.x.dtype() == DType::BF16;
    let hopper = gpu.capability() == (9, 0);
    let small = counts.units(64, 128);
    let n_segments = counts.removed.len();
    let active = counts.removed.iter().filter(|removed| **removed > 0).count();
    // Few or short segments: small tiles fill the device better.
    let few = (small[n_segments] as usize) < beside || counts.total(&counts.sources) <= 128 * active;
    // Those that may run on bf16 give the same bits; they differ in speed. Sources and targets of a tile come last.
    let (image, name, shared, blocks, tile) = match (bf16, is_wide(&[width, ld], &[x])) {
        (true, true) if hopper && few => (&WGMMA, "sim_argmax_wgmma_small_bf16", 197_632, beside, (64, 128)),
        (true, true) if hopper => (&WGMMA, "sim_argmax_wgmma_bf16", 197_632, beside, (128, 256)),
        (true, true) => (&MMA, "sim_argmax_bf16", 98_304, 2 * beside, (128, 128)),
        (true, false) => (&PLAIN, "sim_argmax_any_bf16", 0, 2 * beside, (128, 128)),
        (false, true) => (&PLAIN, "sim_argmax_f32", 0, 2 * beside, (128, 128)),
        (false, false) => (&PLAIN, "sim_argmax_any_f32", 0, 2 * beside, (128, 128)),
    };
    let units = counts.units(tile.0, tile.1);
    let n_units = units[n_segments] as usize;
    let unit_off = gpu.upload(&units)?;
    let args = [
        x,
        Arg::long(ld),
        Arg::int(width),
        gpu.float32(features.inverse_norms, OP, "inverse_norms")?,
        Arg::int(usize::from(features.clip)),
        lists[0],
        lists[1],
        lists[2],
        lists[3],
        gpu.address(&unit_off),
        Arg::int(n_segments),
        edges,
    ];
    gpu.launch(image, name, Grid { blocks: (n_units.min(blocks), 1, 1), threads: (256, 1), shared }, &args)
}
