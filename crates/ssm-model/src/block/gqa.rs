//! Grouped-query attention as most models of transformers have it: queries, keys and values out of projections of their own, several heads
//! of queries sharing keys and values, rotary positions or none. `GraniteMoeHybridAttention`, `BambaAttention`, `FalconH1Attention`,
//! `JambaAttention` and `NemotronHAttention` differ in constants alone.

use candle_core::Tensor;
use ssm_kernels::ops::Rotary;

use super::attend::AttentionHeads;
use super::kind::{Mixer, MixerCall, MixerKind, MixerOutput, Named};
use super::layer_kind::LayerKind;
use super::linear::{Linear, Part};
use crate::config::error::ConfigError;
use crate::config::heads::{Heads, Rotary as RotaryKey};
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
    /// Channels of all heads of queries.
    pub(super) fn width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Channels of all heads of keys, which are as many as those of values.
    pub(super) fn kv_width(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// The projections of queries, keys and values, and that of the output, which has this width.
    fn parts(&self, outputs: usize) -> ([Part; 3], Part) {
        let GqaFactors { input, output, .. } = self.factors;
        let [queries, keys, values] = self.output_factors();
        let inputs = [
            Part::scaled("q_proj", self.width(), input, queries),
            Part::scaled("k_proj", self.kv_width(), input, keys),
            Part::scaled("v_proj", self.kv_width(), input, values),
        ];
        (inputs, Part::scaled("o_proj", outputs, 1.0, output))
    }

    /// What queries, keys and values are multiplied by after their projections.
    pub(super) fn output_factors(&self) -> [f64; 3] {
        [self.factors.scores, self.factors.keys, 1.0]
    }

    pub(super) fn validate_sizes(&self) -> Result<(), ConfigError> {
        Heads {
            queries: ("num_attention_heads", self.heads),
            keys: Some(("num_key_value_heads", self.kv_heads)),
            head_dim: ("head_dim", self.head_dim),
            rotary_dim: self.rotary_dim,
            rotary: RotaryKey::Share("partial_rotary_factor"),
            rotary_base: ("rope_theta", self.rotary_base),
        }
        .check()
    }

    /// Weights of an attention whose inputs and output have these widths.
    pub(super) fn weights_between(&self, inputs: usize, outputs: usize) -> Vec<Named> {
        let (parts, output) = self.parts(outputs);
        let projected = parts.iter().flat_map(|part| part.weights(inputs, self.bias));
        projected.chain(output.weights(self.width(), self.bias)).collect()
    }

    /// Takes the weights of an attention whose inputs and output have these widths.
    pub(super) fn load_between(
        &self,
        inputs: usize,
        outputs: usize,
        weights: &mut Loader<'_>,
        prefix: &str,
    ) -> Result<Gqa, ModelError> {
        let (parts, output) = self.parts(outputs);
        let rotary =
            Rotary::part_by_part((self.heads, self.kv_heads), self.head_dim, self.rotary_dim, self.rotary_base)?;
        Ok(Gqa {
            heads: AttentionHeads { heads: self.heads, kv_heads: self.kv_heads, rotary },
            in_proj: Linear::join(weights, prefix, &parts, inputs, self.bias)?,
            out_proj: Linear::join(weights, prefix, &[output], self.width(), self.bias)?,
        })
    }

    /// The four projections between these widths.
    pub(super) fn flops_between(&self, inputs: usize, outputs: usize) -> u64 {
        (2 * inputs * (self.width() + 2 * self.kv_width()) + 2 * self.width() * outputs) as u64
    }

    pub(super) fn flops_per_pair_of_heads(&self) -> u64 {
        4 * self.width() as u64
    }

    /// The projection, its three parts, keys and values gathered by head, and what the heads gathered with a copy as a signal.
    pub(super) fn working_floats_of_heads(&self) -> usize {
        2 * (self.width() + 2 * self.kv_width()) + 5 * self.width()
    }
}

#[derive(Debug)]
pub(super) struct Gqa {
    heads: AttentionHeads,
    /// Queries of all heads, keys, values.
    in_proj: Linear,
    out_proj: Linear,
}

impl MixerKind for GqaConfig {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn layer_kind(&self) -> LayerKind {
        LayerKind::Attention
    }

    fn validate(&self, _d_model: usize) -> Result<(), ConfigError> {
        self.validate_sizes()
    }

    fn weights(&self, d_model: usize) -> Vec<Named> {
        self.weights_between(d_model, d_model)
    }

    fn load(
        &self,
        d_model: usize,
        _norm_eps: f64,
        weights: &mut Loader<'_>,
        prefix: &str,
    ) -> Result<Box<dyn Mixer>, ModelError> {
        Ok(Box::new(self.load_between(d_model, d_model, weights, prefix)?))
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

    fn flops_per_token(&self, d_model: usize) -> u64 {
        self.flops_between(d_model, d_model)
    }

    fn flops_per_pair(&self, _d_model: usize) -> u64 {
        self.flops_per_pair_of_heads()
    }

    fn working_floats(&self, _d_model: usize) -> usize {
        self.working_floats_of_heads()
    }
}

impl Gqa {
    /// As [`Mixer::forward`]; `added` is added to the projected queries, keys and values, one after the other.
    pub(super) fn forward_with(
        &self,
        x: &Tensor,
        added: Option<&Tensor>,
        call: &MixerCall<'_>,
    ) -> Result<MixerOutput, ModelError> {
        let initial = call.initial.map(LayerState::cache).transpose()?;
        let projected = self.in_proj.forward(x)?;
        let projected = match added {
            Some(added) => (projected + added)?,
            None => projected,
        };
        let attended = self.heads.attend(&projected, initial, call)?;
        let hidden = self.out_proj.forward(&attended.output)?;
        let mut signals = Signals::default();
        signals.set(Signal::SsmOutput, call.signals.contains(Signal::SsmOutput).then_some(attended.output));
        Ok(MixerOutput { hidden, signals, state: attended.cache.map(LayerState::Attention) })
    }
}

impl Mixer for Gqa {
    fn forward(&self, x: &Tensor, call: &MixerCall<'_>) -> Result<MixerOutput, ModelError> {
        self.forward_with(x, None, call)
    }
}
