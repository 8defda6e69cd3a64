//! The attention of GPT-NeoX (Black et al. 2022, <https://arxiv.org/abs/2204.06745>; Pythia,
//! <https://arxiv.org/abs/2304.01373>): `GPTNeoXAttention` of transformers.

use candle_core::Tensor;
use ssm_kernels::ops::Rotary;

use super::attend::AttentionHeads;
use super::kind::{Mixer, MixerCall, MixerKind, MixerOutput, Named, named};
use super::layer_kind::LayerKind;
use super::linear::Linear;
use crate::config::error::ConfigError;
use crate::config::heads::{self, Heads, Rotary as RotaryKey};
use crate::config::sizes::within;
use crate::error::ModelError;
use crate::loader::Loader;
use crate::signals::{Signal, SignalSet, Signals};
use crate::state::LayerState;

/// Sizes and switches of an attention with rotary positions on a part of each head.
#[derive(Clone, Debug, PartialEq)]
pub struct AttentionConfig {
    /// Heads (`num_attention_heads`).
    pub heads: usize,
    /// Channels of a head that turn with the position: `rotary_pct` of them, rounded down.
    pub rotary_dim: usize,
    /// Base of the rotary frequencies (`rotary_emb_base`).
    pub rotary_base: f64,
    /// Whether the projections have biases (`attention_bias`).
    pub bias: bool,
}

#[derive(Debug)]
struct Attention {
    heads: AttentionHeads,
    /// `[3 * d_model, d_model]`: query, key and value of the first head, then of the second, ...
    query_key_value: Linear,
    dense: Linear,
}

impl MixerKind for AttentionConfig {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn layer_kind(&self) -> LayerKind {
        LayerKind::Attention
    }

    fn validate(&self, d_model: usize) -> Result<(), ConfigError> {
        within("num_attention_heads", self.heads, d_model)?;
        let head_dim = heads::head_dim(("num_attention_heads", self.heads), ("hidden_size", d_model))?;
        Heads {
            queries: ("num_attention_heads", self.heads),
            keys: None,
            head_dim: ("hidden_size / num_attention_heads", head_dim),
            rotary_dim: self.rotary_dim,
            rotary: RotaryKey::Share("rotary_pct"),
            rotary_base: ("rotary_emb_base", self.rotary_base),
        }
        .check()
    }

    fn weights(&self, d_model: usize) -> Vec<Named> {
        let mut weights =
            vec![("query_key_value.weight", vec![3 * d_model, d_model]), ("dense.weight", vec![d_model, d_model])];
        if self.bias {
            weights.push(("query_key_value.bias", vec![3 * d_model]));
            weights.push(("dense.bias", vec![d_model]));
        }
        named(weights)
    }

    fn load(
        &self,
        d_model: usize,
        _norm_eps: f64,
        weights: &mut Loader<'_>,
        prefix: &str,
    ) -> Result<Box<dyn Mixer>, ModelError> {
        let mut linear =
            |name: &str, outputs| Linear::load(weights, &format!("{prefix}.{name}"), outputs, d_model, self.bias);
        Ok(Box::new(Attention {
            heads: AttentionHeads {
                heads: self.heads,
                kv_heads: self.heads,
                rotary: Rotary::new(self.heads, d_model / self.heads, self.rotary_dim, self.rotary_base)?,
            },
            query_key_value: linear("query_key_value", 3 * d_model)?,
            dense: linear("dense", d_model)?,
        }))
    }

    fn d_inner(&self, d_model: usize) -> usize {
        d_model
    }

    fn dt_width(&self, _d_model: usize) -> usize {
        0
    }

    /// What the heads gathered; the driver measures influence, whatever the layer.
    fn signals(&self) -> SignalSet {
        SignalSet::of(&[Signal::SsmOutput, Signal::Influence])
    }

    fn uses_positions(&self) -> bool {
        true
    }

    /// Query, key, value and output.
    fn flops_per_token(&self, d_model: usize) -> u64 {
        8 * (d_model * d_model) as u64
    }

    fn flops_per_pair(&self, d_model: usize) -> u64 {
        4 * d_model as u64
    }

    /// The fused projection, its three parts, keys and values gathered by head, what the heads gathered with a copy as a
    /// signal, and the output.
    fn working_floats(&self, d_model: usize) -> usize {
        11 * d_model
    }
}

impl Mixer for Attention {
    fn forward(&self, x: &Tensor, call: &MixerCall<'_>) -> Result<MixerOutput, ModelError> {
        let initial = call.initial.map(LayerState::cache).transpose()?;
        let attended = self.heads.attend(&self.query_key_value.forward(x)?, initial, call)?;
        let hidden = self.dense.forward(&attended.output)?;
        let mut signals = Signals::default();
        signals.set(Signal::SsmOutput, call.signals.contains(Signal::SsmOutput).then_some(attended.output));
        Ok(MixerOutput { hidden, signals, state: attended.cache.map(LayerState::Attention) })
    }
}
