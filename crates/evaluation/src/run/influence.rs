//! Leave-one-out influence: how much the next-token distribution at the end of a sequence changes when one token is removed at a
//! site. What the importance `oracle` reads: a strategy knows no model, so the driver measures and hands it over as a signal.
//!
//! One run of all later layers per token: `n^2` token-layers each, so inputs must be small.

use candle_core::{Device, Tensor};
use reduction_strategies::{Plan, SegmentTokens, SiteStream, apply_forks};
use ssm_kernels::{KernelError, Segments};
use ssm_model::{Activations, LanguageModel};

use super::layer::RowTokens;
use super::layers::{PackedStream, Unobserved, run_layers};
use crate::batch::Positions;
use crate::error::EvaluationError;

/// Longest sequence that is measured.
pub const MOST_TOKENS: usize = 256;
/// Rows of one packed call, about.
const ROWS_AT_ONCE: usize = 4096;

/// The stream at a site, with the tokens of each segment that is measured.
type Measured<'a, 't> = SiteStream<'a, Vec<Option<&'t SegmentTokens>>>;

/// `[tokens, 1]`: of every unprotected token of a segment that has tokens in `site` and is open to reduction,
/// `KL(p || p without the token)` in nats, where `p` is the distribution after the segment's last row; 0 elsewhere. `positions`: those
/// that later layers read once a token is removed, where they read some.
pub(crate) fn leave_one_out(
    model: &LanguageModel,
    site: &Measured<'_, '_>,
    positions: Positions,
) -> Result<Tensor, EvaluationError> {
    let mut influence = Vec::with_capacity(site.segments.n_tokens());
    let rest =
        RestOfModel { model, layer: site.layer, arriving: site.activations(), segments: site.segments, positions };
    for (segment, tokens) in site.tokens.iter().enumerate() {
        let length = site.segments.length(segment);
        match tokens.filter(|tokens| tokens.reducible && length > 1) {
            Some(tokens) => influence.extend(rest.influence(segment, tokens)?),
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

/// The layers after a site, and the stream that they read.
struct RestOfModel<'a> {
    model: &'a LanguageModel,
    /// The site.
    layer: usize,
    arriving: Activations,
    segments: &'a Segments,
    positions: Positions,
}

impl RestOfModel<'_> {
    fn influence(&self, segment: usize, tokens: &SegmentTokens) -> Result<Vec<f32>, EvaluationError> {
        check(tokens)?;
        let n = tokens.positions.len();
        let whole = [Plan::identity(n)];
        let reference = self.last_log_probs(segment, tokens, &whole)?.remove(0);
        let removed: Vec<u32> = (0..n as u32).filter(|row| !tokens.protected[*row as usize]).collect();
        let mut influence = vec![0.0; n];
        for part in removed.chunks((ROWS_AT_ONCE / n).max(1)) {
            let without = |gone: &u32| Plan::prune(n, (0..n as u32).filter(|row| row != gone).collect());
            let plans = part.iter().map(without).collect::<Result<Vec<_>, _>>()?;
            for (row, log_probs) in part.iter().zip(self.last_log_probs(segment, tokens, &plans)?) {
                influence[*row as usize] = divergence(&reference, &log_probs) as f32;
            }
        }
        Ok(influence)
    }

    /// Log-probabilities after the last row of a segment under each of some plans.
    fn last_log_probs(
        &self,
        segment: usize,
        tokens: &SegmentTokens,
        plans: &[Plan],
    ) -> Result<Vec<Vec<f64>>, EvaluationError> {
        let Self { model, layer, arriving, segments, positions } = self;
        let forks: Vec<_> = plans.iter().map(|plan| (segment, Some(plan))).collect();
        let activations = apply_forks(&forks, segments, arriving)?;
        let lengths: Vec<usize> = plans.iter().map(|plan| plan.keep().len()).collect();
        let kept = plans.iter().map(|plan| {
            let times = plan.times_after(&tokens.times)?;
            let positions = plan.keep().iter().map(|row| tokens.positions[*row as usize]).collect();
            Ok(SegmentTokens { times, positions, ..SegmentTokens::reducible(tokens.item, plan.keep().len()) })
        });
        let kept = kept.collect::<Result<Vec<_>, EvaluationError>>()?;
        let segments = Segments::independent(&lengths);
        let tokens = RowTokens::of(model, &[(&kept, *positions)], &segments);
        let stream = PackedStream::new(activations, segments, tokens);
        let stream = run_layers(model, stream, layer + 1..model.config().n_layer(), &mut Unobserved)?;
        let last: Vec<u32> = (0..plans.len()).map(|index| stream.segments.rows(index).end as u32 - 1).collect();
        let logits = model.head(&stream.activations, &last)?.to_vec2::<f32>().map_err(KernelError::from)?;
        Ok(logits.iter().map(|row| log_softmax(row)).collect())
    }
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
    use ssm_model::Signals;

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
        activations: Activations,
        segments: &Segments,
    ) -> Activations {
        let stream = PackedStream::new(activations, segments.clone(), RowTokens::untouched());
        run_layers(model, stream, layers, &mut Unobserved).unwrap().activations
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
        let (measured, signals) = (vec![None, Some(&table)], Signals::default());
        let site = SiteStream::new(layer, &measured, &segments, &activations, &signals).unwrap();
        let influence = leave_one_out(&model, &site, Positions::Original).unwrap();
        let influence: Vec<f32> = influence.flatten_all().unwrap().to_vec1().unwrap();
        assert!(influence[..8].iter().all(|value| *value == 0.0) && influence[19] == 0.0);
        let outcome = |rows: &[u32]| {
            let index = Tensor::new(rows, &Device::Cpu).unwrap();
            let start = activations.map(|tensor| tensor.index_select(&index, 0)).unwrap();
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
        let segments = Segments::independent(&[n]);
        let activations = up_to(&model, 0..1, model.embed(&vec![1; n]).unwrap(), &segments);
        let (table, signals) = (SegmentTokens::reducible(0, n), Signals::default());
        let measured = vec![Some(&table)];
        let site = SiteStream::new(0, &measured, &segments, &activations, &signals).unwrap();
        let refused = leave_one_out(&model, &site, Positions::Original).unwrap_err();
        assert!(refused.to_string().contains("257 tokens exceeds 256") && refused.hint().is_some());
    }
}
