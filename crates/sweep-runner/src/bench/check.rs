//! The same code on a small model of the same kind, against float32 on the CPU.

use candle_core::{DType, Tensor};
use evaluation::Reduction;
use reduction_strategies::registry::Strategy;
use reduction_strategies::{SegmentTokens, TokenTable};
use ssm_kernels::{Placement, Segments, host};
use ssm_model::{LanguageModel, ModelConfig, RandomWeights};

use super::BenchError;

/// Lengths with every edge of the kernels: one token, a chunk less one, a chunk, one more, several pieces.
const LENGTHS: [usize; 7] = [1, 63, 64, 65, 200, 2048, 2500];

/// Runs the check on a small model: dense, and every strategy at one site.
///
/// A reduction is compared with itself on the CPU only as far as tokens go through: the same number of them, and finite. Two
/// devices may disagree where scores are closer than their rounding.
pub(super) fn run(
    config: &ModelConfig,
    placement: &Placement,
    strategies: &[(String, Strategy)],
) -> Result<(), BenchError> {
    if placement.device.is_cpu() {
        return Ok(());
    }
    let weights = || RandomWeights { seed: 1 };
    let reference = LanguageModel::load(config, &mut weights(), &Placement::cpu())?;
    let model = LanguageModel::load(config, &mut weights(), placement)?;
    let name = config.architecture;
    let limit = if placement.dtype == DType::BF16 { 3e-2 } else { 1e-4 };
    let dense = Reduction::dense();
    let error = difference(&last_hidden(&reference, &dense)?.0, &last_hidden(&model, &dense)?.0)?;
    refuse(format!("{name}, {}", placement.dtype.as_str()), error, limit)?;
    for (strategy, built) in strategies {
        let rule = built.rule();
        let reduction = Reduction { rule, keep_ratio: 0.8, sites: vec![0], seed: 1, ..Reduction::dense() };
        let (_, want) = last_hidden(&reference, &reduction)?;
        let (hidden, got) = last_hidden(&model, &reduction)?;
        let finite = hidden.abs()?.sum_all()?.to_scalar::<f32>()?.is_finite();
        let error = if want == got && finite { 0.0 } else { f64::INFINITY };
        refuse(format!("{name}, {strategy}: tokens left"), error, 0.0)?;
    }
    Ok(())
}

fn refuse(what: String, error: f64, limit: f64) -> Result<(), BenchError> {
    if error <= limit { Ok(()) } else { Err(BenchError::Check { what, error, limit }) }
}

/// Hidden states after the last layer, on the host, and the segments that are left.
fn last_hidden(model: &LanguageModel, reduction: &Reduction) -> Result<(Tensor, Segments), BenchError> {
    let segments = Segments::independent(&LENGTHS);
    let table = TokenTable::new(
        LENGTHS.iter().enumerate().map(|(item, n)| SegmentTokens::reducible(item as u64, *n)).collect(),
    );
    let vocab = model.config().vocab_size.min(50_000);
    let tokens = (0..segments.n_tokens()).map(|index| (index * 7919 % vocab) as u32).collect();
    let (activations, segments) = evaluation::forward(model, tokens, segments, table, reduction)?;
    Ok((host::copy(&activations.hidden)?, segments))
}

/// Relative distance in the Euclidean norm.
fn difference(want: &Tensor, got: &Tensor) -> Result<f64, BenchError> {
    let norm = |x: &Tensor| Ok::<_, BenchError>(f64::from(x.sqr()?.sum_all()?.to_scalar::<f32>()?).sqrt());
    Ok(norm(&(want - got)?)? / norm(want)?)
}
