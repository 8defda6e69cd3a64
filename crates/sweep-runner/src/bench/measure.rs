use std::time::Instant;

use analysis::median;
use evaluation::Reduction;
use reduction_strategies::{SegmentTokens, TokenTable};
use ssm_kernels::Segments;
use ssm_kernels::device::{self, KernelTime, REDUCTION_KERNELS};
use ssm_model::{Activations, LanguageModel};

use super::{Bench, BenchError, Logits, Memory, Shape};

/// Rows that pass through the head at once.
const HEAD_ROWS: usize = 4096;

/// One model, shape and strategy.
#[derive(Clone, Debug)]
pub struct Measurement {
    /// Short name of the model.
    pub model: String,
    /// Sequences of a call.
    pub shape: String,
    /// Strategy.
    pub strategy: String,
    /// Rows that passed through the head.
    pub logits: Logits,
    /// Tokens that enter.
    pub tokens: usize,
    /// Tokens that leave the last layer.
    pub tokens_left: usize,
    /// Seconds of each timed run, in order.
    pub seconds: Vec<f64>,
    /// FLOPs of the dense model by the formula, head included: the numerator of the share of the GEMM ceiling.
    pub dense_flops: f64,
    /// Of the device, where it is known.
    pub memory: Option<Memory>,
    /// Time per kernel in one more run.
    pub kernels: Vec<KernelTime>,
}

impl Measurement {
    /// Median seconds.
    #[must_use]
    pub fn median(&self) -> f64 {
        median(&self.seconds)
    }

    /// Prompt tokens per second.
    #[must_use]
    pub fn tokens_per_s(&self) -> f64 {
        self.tokens as f64 / self.median()
    }

    /// Seconds of the kernels that decide and carry out the reduction; none where no kernel is measured.
    #[must_use]
    pub fn reduction_seconds(&self) -> Option<f64> {
        let reduces = |kernel: &&KernelTime| REDUCTION_KERNELS.iter().any(|part| kernel.kernel.starts_with(part));
        let seconds = self.kernels.iter().filter(reduces).fold(0.0, |sum, kernel| sum + kernel.seconds);
        (!self.kernels.is_empty()).then_some(seconds)
    }
}

pub(super) fn case(
    bench: &Bench,
    name: &str,
    model: &LanguageModel,
    shape: &Shape,
    strategy: &str,
    reduction: &Reduction,
    logits: Logits,
) -> Result<Measurement, BenchError> {
    let device = &model.placement().device;
    let segments = Segments::independent(shape.lengths());
    let tokens = tokens(bench.seed, shape, model.config().vocab_size);
    let table = TokenTable::new(
        shape.lengths().iter().enumerate().map(|(item, n)| SegmentTokens::reducible(item as u64, *n)).collect(),
    );
    let mut tokens_left = 0;
    let mut run = || -> Result<(), BenchError> {
        let (activations, left) =
            evaluation::forward(model, tokens.clone(), segments.clone(), table.clone(), reduction)?;
        tokens_left = left.n_tokens();
        head(model, &activations, &left, logits)?;
        Ok(device::synchronize(device)?)
    };
    let warm_up = if device.is_cpu() { 1 } else { 2 };
    let before = Memory::before(device)?;
    for _ in 0..warm_up {
        run()?;
    }
    device::take_peak_memory(device)?;
    let mut seconds = Vec::new();
    for _ in 0..bench.repeats {
        let start = Instant::now();
        run()?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    let memory = Memory::peak(device, before)?;
    let (ran, kernels) = device::profile(device, &mut run);
    ran?;
    let kernels = kernels?;
    let head_rows = match logits {
        Logits::All | Logits::AllAtOnce => shape.n_tokens(),
        Logits::Last => shape.lengths().len(),
    };
    let config = model.config();
    let pairs: usize = shape.lengths().iter().map(|length| length * (length + 1) / 2).sum();
    let dense_flops = (shape.n_tokens() as u64 * config.flops_per_token()) as f64
        + (pairs as u64 * config.attention_flops_per_pair()) as f64
        + head_rows as f64 * config.head_flops_per_row();
    Ok(Measurement {
        model: name.to_owned(),
        shape: shape.to_string(),
        strategy: strategy.to_owned(),
        logits,
        tokens: shape.n_tokens(),
        tokens_left,
        seconds,
        dense_flops,
        memory,
        kernels,
    })
}

/// Logits of the rows asked for, in the compute dtype: as one tensor, or in blocks of rows that follow each other, so that a
/// large vocabulary needs no more memory than a block.
fn head(
    model: &LanguageModel,
    activations: &Activations,
    segments: &Segments,
    logits: Logits,
) -> Result<(), BenchError> {
    let rows: Vec<u32> = match logits {
        Logits::All | Logits::AllAtOnce => (0..segments.n_tokens() as u32).collect(),
        Logits::Last => last_rows(segments),
    };
    let block = if logits == Logits::AllAtOnce { rows.len() } else { HEAD_ROWS };
    for block in rows.chunks(block) {
        model.head_as(activations, block, model.placement().dtype)?;
    }
    Ok(())
}

/// The last row of each segment.
pub(super) fn last_rows(segments: &Segments) -> Vec<u32> {
    (0..segments.len()).map(|index| segments.rows(index).end as u32 - 1).collect()
}

/// The prompts of a shape.
pub(super) fn tokens(seed: u64, shape: &Shape, vocab_size: usize) -> Vec<u32> {
    (0..shape.n_tokens() as u64).map(|index| (token(seed, index) % vocab_size as u64) as u32).collect()
}

/// A pseudo-random token: never zeros, which some kernels are faster on.
fn token(seed: u64, index: u64) -> u64 {
    let value = (seed ^ index.wrapping_mul(0x9E37_79B9_7F4A_7C15)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    value >> 33
}
