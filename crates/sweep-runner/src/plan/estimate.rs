//! What a cell is likely to cost. Estimates for planning; measured costs are in the records.

use evaluation::protocol::{self, Scope};
use serde::Serialize;

use super::PlannedTrial;
use crate::config::{LayerFacts, ModelFacts, PlannedTask, Scoring};

/// Assumed sustained rate on a CPU: small f32 matrices and a sequential scan on a few cores reach a tenth of what a
/// large matrix product does (about 300 GFLOP/s on two server cores). An assumption, not a measurement.
pub const ASSUMED_CPU_FLOPS_PER_S: f64 = 3e10;

/// Assumed sustained rate on a GPU: about a tenth of the f32 matrix rate of a data-centre card, for short sequences that
/// do not fill it. An assumption, not a measurement.
pub const ASSUMED_CUDA_FLOPS_PER_S: f64 = 5e12;

/// Estimated cost of a cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Estimate {
    /// FLOPs of blocks and head, from mean lengths and the nominal reduction; of a free count as if every token were kept.
    pub flops: f64,
    /// FLOPs over the assumed rate of the device.
    pub seconds: f64,
}

impl std::ops::Add for Estimate {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { flops: self.flops + other.flops, seconds: self.seconds + other.seconds }
    }
}

impl Estimate {
    pub(super) fn of(trial: &PlannedTrial, model: &ModelFacts, task: &PlannedTask, items: usize) -> Self {
        // A free count is known once it has run: nothing is taken for removed.
        let kept = 1.0 - trial.key.flops_reduction_nominal.unwrap_or(0.0);
        let choice_tokens = task.choices as f64 * task.mean_choice_tokens;
        // Where the context alone is reduced, it is computed once an item; elsewhere each choice runs whole.
        let shares_context =
            protocol::find(&trial.key.protocol).is_some_and(|protocol| protocol.scope == Scope::Context);
        let (block_tokens, head_rows) = match (shares_context, task.kind) {
            // The first half is the context, the second is scored.
            (true, Scoring::RunningText) => {
                let half = 0.5 * task.mean_context_tokens;
                ((kept + 1.0) * half, half)
            }
            (false, Scoring::RunningText) => (kept * task.mean_context_tokens, task.mean_context_tokens),
            (true, Scoring::LogLikelihood) => (kept * task.mean_context_tokens + choice_tokens, choice_tokens),
            (false, Scoring::LogLikelihood) => {
                (kept * (task.choices as f64 * task.mean_context_tokens + choice_tokens), choice_tokens)
            }
        };
        // Every token attends to half of its context, a continuation to all of it.
        let context = kept * task.mean_context_tokens;
        let pairs = match (shares_context, task.kind) {
            (true, Scoring::LogLikelihood) => (0.5 * context + choice_tokens) * context,
            (_, Scoring::RunningText) => 0.5 * block_tokens * block_tokens,
            (false, Scoring::LogLikelihood) => 0.5 * block_tokens * (context + kept * task.mean_choice_tokens),
        };
        let cost = |layer: &LayerFacts| (layer.flops_per_token, layer.flops_per_pair);
        // Equal layers are multiplied and not added up one by one, which would round differently.
        let runs = model.layers.chunk_by(|layer, next| cost(layer) == cost(next));
        let blocks = runs.map(|run| {
            let (per_token, per_pair) = cost(&run[0]);
            run.len() as f64 * (block_tokens * per_token as f64 + pairs * per_pair as f64)
        });
        let per_item = blocks.sum::<f64>() + head_rows * model.flops_per_token_head;
        let flops = items as f64 * per_item;
        let rate = if trial.key.device == "cuda" { ASSUMED_CUDA_FLOPS_PER_S } else { ASSUMED_CPU_FLOPS_PER_S };
        Self { flops, seconds: flops / rate }
    }
}

/// Bytes of a position in a record: some digits and a comma.
const BYTES_PER_POSITION: f64 = 4.5;

/// Bytes that the plans of a cell take in its record, about: at each site of each recorded item, every token of the reduced sequence.
pub(super) fn plan_bytes(trial: &PlannedTrial, task: &PlannedTask, items: usize) -> f64 {
    let shares_context = protocol::find(&trial.key.protocol).is_some_and(|protocol| protocol.scope == Scope::Context);
    let tokens = match (shares_context, task.kind) {
        (true, Scoring::RunningText) => 0.5 * task.mean_context_tokens,
        (true, Scoring::LogLikelihood) | (false, Scoring::RunningText) => task.mean_context_tokens,
        (false, Scoring::LogLikelihood) => task.mean_context_tokens + task.mean_choice_tokens,
    };
    items as f64 * trial.key.sites.len() as f64 * tokens * BYTES_PER_POSITION
}
