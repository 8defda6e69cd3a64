//! The block of GPT-NeoX (Black et al. 2022, <https://arxiv.org/abs/2204.06745>; Pythia, <https://arxiv.org/abs/2304.01373>):
//! `GPTNeoXLayer` of transformers.
//!
//! With `x` the sum of the arriving branches, a block computes `x + attention(norm1(x)) + mlp(norm2(x))` where the residual
//! is parallel, and `x + a + mlp(norm2(x + a))` with `a = attention(norm1(x))` where it is not. As for the Mambas the two
//! branches leave the block apart: `hidden` is what the block adds, `residual` is `x`, and the next block forms their sum.
//! Strategies therefore act on both branches alike, whatever the architecture.

use candle_core::Tensor;
use ssm_kernels::Segments;
use ssm_kernels::ops::{self, AttentionInput, Gelu, Rotary};

use crate::config::{GptNeoXConfig, ModelConfig};
use crate::error::ModelError;
use crate::loader::Loader;
use crate::model::{Activations, LayerOutput, LayerRequest};
use crate::signals::{Signal, Signals};
use crate::state::{KeyValueCache, LayerState};

#[derive(Debug)]
pub(crate) struct GptNeoXBlock {
    heads: usize,
    rotary: Rotary,
    parallel_residual: bool,
    activation: Gelu,
    attention_norm: Norm,
    mlp_norm: Norm,
    /// `[3 * d_model, d_model]`: query, key and value of the first head, then of the second, ...
    query_key_value: Linear,
    dense: Linear,
    up: Linear,
    down: Linear,
}

/// Weight and bias of a `LayerNorm`.
#[derive(Debug)]
struct Norm {
    weight: Tensor,
    bias: Tensor,
}

/// A projection with or without bias.
#[derive(Debug)]
struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Norm {
    fn load(weights: &mut Loader<'_>, name: &str, width: usize) -> Result<Self, ModelError> {
        Ok(Self {
            weight: weights.placed(&format!("{name}.weight"), &[width])?,
            bias: weights.placed(&format!("{name}.bias"), &[width])?,
        })
    }
}

impl Linear {
    fn load(
        weights: &mut Loader<'_>,
        name: &str,
        outputs: usize,
        inputs: usize,
        bias: bool,
    ) -> Result<Self, ModelError> {
        let weight = weights.matrix(&format!("{name}.weight"), &[outputs, inputs])?;
        let bias = bias.then(|| weights.placed(&format!("{name}.bias"), &[outputs])).transpose()?;
        Ok(Self { weight, bias })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor, ModelError> {
        Ok(match &self.bias {
            Some(bias) => ops::linear_with_bias(x, &self.weight, bias)?,
            None => ops::linear(x, &self.weight)?,
        })
    }
}

impl GptNeoXBlock {
    /// Takes the weights under `prefix` (for example `gpt_neox.layers.3`).
    pub(super) fn load(
        config: &ModelConfig,
        block: &GptNeoXConfig,
        weights: &mut Loader<'_>,
        prefix: &str,
    ) -> Result<Self, ModelError> {
        let (d_model, d_mlp, bias) = (config.d_model, block.d_mlp, block.attention_bias);
        let mut linear = |name: &str, outputs, inputs, bias| {
            Linear::load(weights, &format!("{prefix}.{name}"), outputs, inputs, bias)
        };
        Ok(Self {
            heads: block.heads,
            rotary: Rotary::new(block.heads, d_model / block.heads, block.rotary_dim, block.rotary_base)?,
            parallel_residual: block.parallel_residual,
            activation: block.activation,
            query_key_value: linear("attention.query_key_value", 3 * d_model, d_model, bias)?,
            dense: linear("attention.dense", d_model, d_model, bias)?,
            up: linear("mlp.dense_h_to_4h", d_mlp, d_model, true)?,
            down: linear("mlp.dense_4h_to_h", d_model, d_mlp, true)?,
            attention_norm: Norm::load(weights, &format!("{prefix}.input_layernorm"), d_model)?,
            mlp_norm: Norm::load(weights, &format!("{prefix}.post_attention_layernorm"), d_model)?,
        })
    }

    pub(super) fn forward(
        &self,
        activations: &Activations,
        segments: &Segments,
        request: LayerRequest<'_>,
        eps: f32,
    ) -> Result<LayerOutput, ModelError> {
        if request.time.is_some() {
            return Err(ModelError::NoScan);
        }
        let initial = request.initial.map(LayerState::cache).transpose()?;
        let positions = match request.positions {
            Some(positions) => positions.to_vec(),
            None => consecutive(segments, initial),
        };
        let arriving = |Norm { weight, bias }: &Norm| {
            ops::add_layer_norm(&activations.hidden, activations.residual.as_ref(), weight, bias, eps, request.rows)
        };
        let (normed, residual) = arriving(&self.attention_norm)?;
        let turned = ops::rotary(&self.query_key_value.forward(&normed)?, &positions, &self.rotary)?;
        let attended = ops::causal_attention(&AttentionInput {
            queries: &turned.queries,
            keys: &turned.keys,
            values: &turned.values,
            heads: self.heads,
            segments,
            initial: initial.map(|cache| cache.segments.as_slice()),
        })?;
        let attention = self.dense.forward(&attended)?;
        let (normed, _) = if self.parallel_residual {
            // The same sum again, so that the result is of the dtype of the branches and not of the residual.
            arriving(&self.mlp_norm)?
        } else {
            let Norm { weight, bias } = &self.mlp_norm;
            ops::add_layer_norm(&attention, Some(&residual), weight, bias, eps, None)?
        };
        let mlp = self.down.forward(&ops::gelu(&self.up.forward(&normed)?, self.activation)?)?;
        let mut signals = Signals::default();
        signals.set(Signal::SsmOutput, request.signals.contains(Signal::SsmOutput).then_some(attended));
        let cache = || KeyValueCache::after(&turned.keys, &turned.values, &positions, segments, initial);
        Ok(LayerOutput {
            activations: Activations { hidden: (attention + mlp)?, residual: Some(residual) },
            signals,
            state: request.states.then(cache).transpose()?.map(LayerState::Attention),
        })
    }
}

/// Rows of every chain of segments numbered one after the other.
fn consecutive(segments: &Segments, initial: Option<&KeyValueCache>) -> Vec<u32> {
    let mut positions = Vec::with_capacity(segments.n_tokens());
    let mut ends: Vec<u32> = Vec::with_capacity(segments.len());
    for segment in 0..segments.len() {
        let first = match segments.parent(segment) {
            Some(parent) => ends[parent],
            None => initial.and_then(|cache| cache.next_positions.get(segment).copied()).unwrap_or(0),
        };
        ends.push(first + segments.length(segment) as u32);
        positions.extend(first..ends[segment]);
    }
    positions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_numbered_along_their_chain() {
        let segments = Segments::new(&[3, 2, 1, 2], &[None, Some(0), Some(1), Some(0)]).unwrap();
        assert_eq!(consecutive(&segments, None), [0, 1, 2, 3, 4, 5, 3, 4]);
        let initial = KeyValueCache { segments: Vec::new(), next_positions: vec![7, 0, 0, 0] };
        assert_eq!(consecutive(&segments, Some(&initial)), [7, 8, 9, 10, 11, 12, 10, 11]);
    }
}
