//! Grouped-query attention as most models of transformers have it: queries, keys and values out of projections of their own, several heads
//! of queries sharing keys and values, rotary positions or none. `GraniteMoeHybridAttention`, `BambaAttention`, `FalconH1Attention`,
//! `JambaAttention` and `NemotronHAttention` differ in constants alone.

use candle_core::Tensor;
use ssm_kernels::ops::Rotary;

use super::attend::AttentionHeads;
use super::kind::{Mixer, MixerCall, MixerKind, MixerOutput, Named};
use super::linear::{Linear, Part, named};
use crate::config::error::ConfigError;
use crate::config::sizes::{divides, within};
use crate::error::ModelError;
use crate::loader::Loader;
use crate::signals::{Signal, SignalSet, Signals};
use crate::state::LayerState;

/// Sizes and switches of a grouped-query attention.
#[derive(Clone, Debug, PartialEq)]
pub struct GqaConfig {
    /// Heads of queries (`num_attention_heads`).
    pub heads: usize,
    /// Heads of keys and values (`num_key_value_heads`).
    pub kv_heads: usize,
    /// Channels of a head; heads together may be wider or narrower than the model.
    pub head_dim: usize,
    /// Channels of a head that turn with the position; 0 where positions are not encoded.
    pub rotary_dim: usize,
    /// Base of the rotary frequencies (`rope_theta`).
    pub rotary_base: f64,
    /// Whether the projections have biases (`attention_bias`).
    pub bias: bool,
    /// Constants that the model multiplies by. The weights take them in when they are loaded.
    pub factors: GqaFactors,
}

/// Constants that a model multiplies by inside its attention; all of them are 1 in most models.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GqaFactors {
    /// Of the input (Falcon-H1: `attention_in_multiplier`).
    pub input: f64,
    /// Of the scores, beside one over the root of the head size (Granite: `attention_multiplier` replaces that root).
    pub scores: f64,
    /// Of the keys (Falcon-H1: `key_multiplier`).
    pub keys: f64,
    /// Of the output (Falcon-H1: `attention_out_multiplier`; Granite: `residual_multiplier`).
    pub output: f64,
}

impl GqaFactors {
    /// No multiplication.
    pub const ONE: Self = Self { input: 1.0, scores: 1.0, keys: 1.0, output: 1.0 };
}

impl GqaConfig {
    fn width(&self) -> usize {
        self.heads * self.head_dim
    }

    fn kv_width(&self) -> usize {
        self.kv_heads * self.head_dim
    }
}

#[derive(Debug)]
struct Gqa {
    heads: AttentionHeads,
    /// Queries of all heads, keys, values.
    in_proj: Linear,
    out_proj: Linear,
}

impl MixerKind for GqaConfig {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn validate(&self, _d_model: usize) -> Result<(), ConfigError> {
        within("num_attention_heads", self.heads, 1 << 12)?;
        within("head_dim", self.head_dim, 1 << 12)?;
        within("num_key_value_heads", self.kv_heads, self.heads)?;
        divides("num_key_value_heads", self.kv_heads, "num_attention_heads", self.heads)?;
        if self.rotary_dim > self.head_dim || !self.rotary_dim.is_multiple_of(2) {
            return Err(ConfigError::Sizes(format!(
                "{} of {} channels of a head would turn with the position, expected an even number of at most all",
                self.rotary_dim, self.head_dim
            )));
        }
        if !(self.rotary_base > 1.0 && self.rotary_base.is_finite()) {
            return Err(ConfigError::Sizes(format!("rope_theta is {}, expected more than 1", self.rotary_base)));
        }
        Ok(())
    }

    fn weights(&self, d_model: usize) -> Vec<Named> {
        let bias = |name| self.bias.then_some(name);
        [
            named("q_proj.weight", bias("q_proj.bias"), self.width(), d_model),
            named("k_proj.weight", bias("k_proj.bias"), self.kv_width(), d_model),
            named("v_proj.weight", bias("v_proj.bias"), self.kv_width(), d_model),
            named("o_proj.weight", bias("o_proj.bias"), d_model, self.width()),
        ]
        .concat()
    }

    fn load(
        &self,
        d_model: usize,
        _norm_eps: f64,
        weights: &mut Loader<'_>,
        prefix: &str,
    ) -> Result<Box<dyn Mixer>, ModelError> {
        let GqaFactors { input, scores, keys, output } = self.factors;
        let parts = [
            Part::scaled("q_proj", self.width(), input, scores),
            Part::scaled("k_proj", self.kv_width(), input, keys),
            Part::scaled("v_proj", self.kv_width(), input, 1.0),
        ];
        let rotary =
            Rotary::part_by_part((self.heads, self.kv_heads), self.head_dim, self.rotary_dim, self.rotary_base)?;
        let output = Part::scaled("o_proj", d_model, 1.0, output);
        Ok(Box::new(Gqa {
            heads: AttentionHeads { heads: self.heads, kv_heads: self.kv_heads, rotary },
            in_proj: Linear::join(weights, prefix, &parts, d_model, self.bias)?,
            out_proj: Linear::join(weights, prefix, &[output], self.width(), self.bias)?,
        }))
    }

    fn d_inner(&self, _d_model: usize) -> usize {
        self.width()
    }

    fn dt_width(&self, _d_model: usize) -> usize {
        0
    }

    /// What the heads gathered; the driver measures influence, whatever the layer.
    fn signals(&self) -> SignalSet {
        SignalSet::of(&[Signal::SsmOutput, Signal::Influence])
    }

    fn uses_positions(&self) -> bool {
        self.rotary_dim > 0
    }

    /// The four projections.
    fn flops_per_token(&self, d_model: usize) -> u64 {
        (4 * d_model * (self.width() + self.kv_width())) as u64
    }

    fn flops_per_pair(&self, _d_model: usize) -> u64 {
        4 * self.width() as u64
    }

    /// The projection, its three parts, keys and values gathered by head, and what the heads gathered with a copy as a signal.
    fn working_floats(&self, _d_model: usize) -> usize {
        2 * (self.width() + 2 * self.kv_width()) + 5 * self.width()
    }
}

impl Mixer for Gqa {
    fn forward(&self, x: &Tensor, call: &MixerCall<'_>) -> Result<MixerOutput, ModelError> {
        let initial = call.initial.map(LayerState::cache).transpose()?;
        let attended = self.heads.attend(&self.in_proj.forward(x)?, initial, call)?;
        let hidden = self.out_proj.forward(&attended.output)?;
        let mut signals = Signals::default();
        signals.set(Signal::SsmOutput, call.signals.contains(Signal::SsmOutput).then_some(attended.output));
        Ok(MixerOutput { hidden, signals, state: attended.cache.map(LayerState::Attention) })
    }
}
