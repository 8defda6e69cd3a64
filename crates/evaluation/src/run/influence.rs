//! Leave-one-out influence: how much the next-token distribution at the end of a sequence changes when one token leaves at a
//! site. What the importance `oracle` reads: a strategy knows no model, so the driver measures and hands it over as a signal.
//!
//! One run of all later layers per token: `n^2` token-layers each, so inputs must be small.

use candle_core::{Device, Tensor};
use reduction_strategies::{Plan, SegmentTokens, TokenTable, apply_forks};
use ssm_kernels::{KernelError, Segments};
use ssm_model::{Activations, LanguageModel, LayerRequest};

use crate::batch::Positions;
use crate::error::EvaluationError;

/// Longest sequence that is measured.
pub const MOST_TOKENS: usize = 256;
/// Rows of one packed call, about.
const ROWS_AT_ONCE: usize = 4096;

/// A stream as it leaves a layer.
#[derive(Clone, Copy)]
pub(crate) struct Leaving<'a> {
    /// 0-based layer.
    pub(crate) layer: usize,
    /// Activations after it.
    pub(crate) activations: &'a Activations,
    /// Which rows belong together.
    pub(crate) segments: &'a Segments,
    /// Positions that later layers read once a token has left, where they read some.
    pub(crate) positions: Positions,
}

/// `[tokens, 1]`: of every unprotected token of a segment that `tokens` is there for and that is open to reduction,
/// `KL(p || p without the token)` in nats, `p` being the distribution after the segment's last row; 0 elsewhere.
pub(crate) fn leave_one_out(
    model: &LanguageModel,
    leaving: Leaving<'_>,
    tokens: &[Option<&SegmentTokens>],
) -> Result<Tensor, EvaluationError> {
    let mut influence = Vec::with_capacity(leaving.segments.n_tokens());
    for (segment, tokens) in tokens.iter().enumerate() {
        let length = leaving.segments.length(segment);
        match tokens.filter(|tokens| tokens.reducible && length > 1) {
            Some(tokens) => influence.extend(of_segment(model, leaving, segment, tokens)?),
            None => influence.extend(std::iter::repeat_n(0.0, length)),
        }
    }
    let shape = (influence.len(), 1);
    Ok(Tensor::from_vec(influence, shape, &Device::Cpu).map_err(KernelError::from)?)
}

/// Refuses a sequence that is too long to be measured.
pub(crate) fn check(tokens: &SegmentTokens) -> Result<(), EvaluationError> {
    let n = tokens.positions.len();
    if tokens.reducible && n > MOST_TOKENS {
        return Err(EvaluationError::OracleLength { tokens: n, most: MOST_TOKENS });
    }
    Ok(())
}

fn of_segment(
    model: &LanguageModel,
    leaving: Leaving<'_>,
    segment: usize,
    tokens: &SegmentTokens,
) -> Result<Vec<f32>, EvaluationError> {
    check(tokens)?;
    let n = tokens.positions.len();
    let whole = [Plan::identity(n)];
    let reference = last_log_probs(model, leaving, segment, tokens, &whole)?.remove(0);
    let removed: Vec<u32> = (0..n as u32).filter(|row| !tokens.protected[*row as usize]).collect();
    let mut influence = vec![0.0; n];
    for part in removed.chunks((ROWS_AT_ONCE / n).max(1)) {
        let without = |gone: &u32| Plan::prune(n, (0..n as u32).filter(|row| row != gone).collect());
        let plans = part.iter().map(without).collect::<Result<Vec<_>, _>>()?;
        for (row, log_probs) in part.iter().zip(last_log_probs(model, leaving, segment, tokens, &plans)?) {
            influence[*row as usize] = divergence(&reference, &log_probs) as f32;
        }
    }
    Ok(influence)
}

/// Log-probabilities after the last row of a segment under each of some plans.
fn last_log_probs(
    model: &LanguageModel,
    leaving: Leaving<'_>,
    segment: usize,
    tokens: &SegmentTokens,
    plans: &[Plan],
) -> Result<Vec<Vec<f64>>, EvaluationError> {
    let Leaving { layer, activations, segments, positions } = leaving;
    let forks: Vec<_> = plans.iter().map(|plan| (segment, Some(plan))).collect();
    let mut activations = apply_forks(&forks, segments, activations)?;
    let lengths: Vec<usize> = plans.iter().map(|plan| plan.keep().len()).collect();
    let left = plans.iter().map(|plan| {
        let times = plan.times_after(&tokens.times)?;
        let positions = plan.keep().iter().map(|row| tokens.positions[*row as usize]).collect();
        Ok(SegmentTokens { times, positions, ..SegmentTokens::reducible(tokens.item, plan.keep().len()) })
    });
    let left = left.collect::<Result<Vec<_>, EvaluationError>>()?;
    let times = TokenTable::times(left.iter().zip(lengths.iter().copied()));
    let forked = Segments::independent(&lengths);
    // As the driver would number what is left: a recurrence knows the order of its rows alone.
    let positions = model.config().uses_positions().then(|| {
        let mut all = Vec::with_capacity(forked.n_tokens());
        positions.extend(&left, |_| None, &lengths, &mut all);
        all
    });
    for later in layer + 1..model.config().n_layer() {
        let (time, positions) = (times.as_deref(), positions.as_deref());
        let request = LayerRequest { time, positions, ..LayerRequest::default() };
        activations = model.layer(later, &activations, &forked, request)?.activations;
    }
    let last: Vec<u32> = (0..plans.len()).map(|index| forked.rows(index).end as u32 - 1).collect();
    let logits = model.head(&activations, &last)?.to_vec2::<f32>().map_err(KernelError::from)?;
    Ok(logits.iter().map(|row| log_softmax(row)).collect())
}

fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let shifted = |logit: &f32| f64::from(*logit) - f64::from(largest);
    let total = logits.iter().map(|logit| shifted(logit).exp()).sum::<f64>().ln();
    logits.iter().map(|logit| shifted(logit) - total).collect()
}

/// `KL(p || q)` from log-probabilities; never below 0, which rounding would allow. NaN stays NaN.
fn divergence(p: &[f64], q: &[f64]) -> f64 {
    let sum = p.iter().zip(q).map(|(p, q)| p.exp() * (p - q)).sum::<f64>();
    if sum < 0.0 { 0.0 } else { sum }
}

#[cfg(test)]
mod tests {
    use hint::Hint;

    use super::*;

    #[test]
    fn divergence_by_hand() {
        let (even, uneven) = (log_softmax(&[0.0, 0.0]), log_softmax(&[3.0_f32.ln(), 0.0]));
        // 1/2 ln(1/2 / 3/4) + 1/2 ln(1/2 / 1/4)
        let want = 0.5 * (2.0_f64 / 3.0).ln() + 0.5 * 2.0_f64.ln();
        assert!((divergence(&even, &uneven) - want).abs() < 1e-7);
        assert!(divergence(&even, &even).abs() < 1e-15);
        assert!(log_softmax(&[1e4, -1e4]).iter().all(|value| value.is_finite()));
        assert!(divergence(&log_softmax(&[f32::NAN, 0.0]), &even).is_nan(), "NaN is no influence of 0");
    }

    fn model() -> LanguageModel {
        let checkpoint = ssm_model::catalog::builtin("mamba2-world").unwrap().open().unwrap();
        let mut weights = checkpoint.weights;
        LanguageModel::load(&checkpoint.config, &mut weights, &ssm_model::Placement::cpu()).unwrap()
    }

    fn up_to(
        model: &LanguageModel,
        layers: std::ops::Range<usize>,
        mut activations: Activations,
        n: &Segments,
    ) -> Activations {
        for layer in layers {
            activations = model.layer(layer, &activations, n, LayerRequest::default()).unwrap().activations;
        }
        activations
    }

    /// Against the definition: the rest of the model run again without one row.
    #[test]
    fn influence_is_what_leaving_a_token_out_changes() {
        let (model, layer, n) = (model(), 9, 12);
        let n_layer = model.config().n_layer();
        // The segment in question stands second.
        let tokens: Vec<u32> = (0..20).map(|index| 37 * index + 5).collect();
        let segments = Segments::independent(&[8, n]);
        let activations = up_to(&model, 0..layer + 1, model.embed(&tokens).unwrap(), &segments);
        let table = SegmentTokens::reducible(0, n).with_last_protected();
        let positions = Positions::Original;
        let leaving = Leaving { layer, activations: &activations, segments: &segments, positions };
        let influence = leave_one_out(&model, leaving, &[None, Some(&table)]).unwrap();
        let influence: Vec<f32> = influence.flatten_all().unwrap().to_vec1().unwrap();
        assert!(influence[..8].iter().all(|value| *value == 0.0) && influence[19] == 0.0);
        let outcome = |rows: &[u32]| {
            let index = Tensor::new(rows, &Device::Cpu).unwrap();
            let select = |x: &Tensor| x.index_select(&index, 0).unwrap();
            let residual = activations.residual.as_ref().map(select);
            let start = Activations { hidden: select(&activations.hidden), residual };
            let end = up_to(&model, layer + 1..n_layer, start, &Segments::independent(&[rows.len()]));
            let logits = model.head(&end, &[rows.len() as u32 - 1]).unwrap();
            log_softmax(&logits.flatten_all().unwrap().to_vec1::<f32>().unwrap())
        };
        let whole = outcome(&(8..20).collect::<Vec<_>>());
        for gone in 8..19_u32 {
            let want = divergence(&whole, &outcome(&(8..20).filter(|row| *row != gone).collect::<Vec<_>>()));
            let got = f64::from(influence[gone as usize]);
            assert!((want - got).abs() < 1e-5 * want.max(1.0) && got > 0.0, "{gone}: {want} {got}");
        }
    }

    #[test]
    fn long_sequences_are_refused() {
        let (model, n) = (model(), MOST_TOKENS + 1);
        let activations = model.embed(&vec![1; n]).unwrap();
        let segments = Segments::independent(&[n]);
        let positions = Positions::Original;
        let leaving = Leaving { layer: 15, activations: &activations, segments: &segments, positions };
        let refused = leave_one_out(&model, leaving, &[Some(&SegmentTokens::reducible(0, n))]).unwrap_err();
        assert!(refused.to_string().contains("257 tokens exceeds 256") && refused.hint().is_some());
    }
}
