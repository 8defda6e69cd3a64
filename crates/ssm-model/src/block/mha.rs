//! The attention of `mamba_ssm`'s hybrids: `MHA` of `mamba_ssm/modules/mha.py`. Queries, keys and values come out of one
//! projection and may pass a short causal convolution before they are used; several heads of queries may share keys and values;
//! a part of the projection may be a gated MLP that runs beside the heads.

use candle_core::Tensor;
use ssm_kernels::ops::{self, ConvInput, Rotary};

use super::attend::AttentionHeads;
use super::kind::{Mixer, MixerCall, MixerKind, MixerOutput, Named, named};
use super::layer_kind::LayerKind;
use super::linear::Linear;
use super::recurrent::{columns, conv_weights};
use crate::config::error::ConfigError;
use crate::config::heads::{Heads, Rotary as RotaryKey};
use crate::error::ModelError;
use crate::loader::Loader;
use crate::signals::{Signal, SignalSet, Signals};
use crate::state::{KeyValueCache, LayerState};

/// Sizes and switches of an attention layer of `mamba_ssm` (`attn_cfg`).
#[derive(Clone, Debug, PartialEq)]
pub struct MhaConfig {
    /// Heads of queries (`num_heads`).
    pub heads: usize,
    /// Heads of keys and values (`num_heads_kv`), each read by `heads / kv_heads` neighbouring heads of queries.
    pub kv_heads: usize,
    /// Channels of a head; heads together may be wider than the model.
    pub head_dim: usize,
    /// Channels of a head that turn with the position (`rotary_emb_dim`); 0 where positions are not encoded.
    pub rotary_dim: usize,
    /// Base of the rotary frequencies (`rotary_emb_base`).
    pub rotary_base: f64,
    /// Width of the causal convolution over queries, keys and values; 0 without one.
    pub d_conv: usize,
    /// Whether the input projection has a bias (`qkv_proj_bias`).
    pub qkv_bias: bool,
    /// Whether the output projection has a bias (`out_proj_bias`).
    pub out_bias: bool,
    /// Channels of the gated MLP beside the heads: half of `mlp_dim`, which is rounded up to a multiple of 256. 0 without one.
    pub mlp_width: usize,
}

impl MhaConfig {
    /// Channels of the queries, and of what the heads gather.
    fn width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Channels of queries, keys and values, which are those of the convolution.
    fn qkv_width(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.head_dim
    }

    /// Rows of the input projection.
    fn d_in_proj(&self) -> usize {
        self.qkv_width() + 2 * self.mlp_width
    }
}

#[derive(Debug)]
struct Mha {
    heads: AttentionHeads,
    qkv_width: usize,
    mlp_width: usize,
    /// Queries, keys and values of all heads, then the two halves of the MLP.
    in_proj: Linear,
    conv: Option<Conv>,
    out_proj: Linear,
}

#[derive(Debug)]
struct Conv {
    weight: Tensor,
    bias: Tensor,
}

impl MixerKind for MhaConfig {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn layer_kind(&self) -> LayerKind {
        LayerKind::Attention
    }

    fn validate(&self, _d_model: usize) -> Result<(), ConfigError> {
        Heads {
            queries: ("attn_cfg.num_heads", self.heads),
            keys: Some(("attn_cfg.num_heads_kv", self.kv_heads)),
            head_dim: ("attn_cfg.head_dim", self.head_dim),
            rotary_dim: self.rotary_dim,
            rotary: RotaryKey::Channels("attn_cfg.rotary_emb_dim"),
            rotary_base: ("attn_cfg.rotary_emb_base", self.rotary_base),
        }
        .check()?;
        if self.mlp_width > 1 << 20 {
            return Err(ConfigError::Sizes(format!(
                "attn_cfg.mlp_dim is {}, expected 0 to {}",
                self.mlp_width * 2,
                1 << 21
            )));
        }
        Ok(())
    }

    fn weights(&self, d_model: usize) -> Vec<Named> {
        let mut weights = vec![
            ("in_proj.weight", vec![self.d_in_proj(), d_model]),
            ("out_proj.weight", vec![d_model, self.width() + self.mlp_width]),
        ];
        if self.qkv_bias {
            weights.push(("in_proj.bias", vec![self.d_in_proj()]));
        }
        if self.out_bias {
            weights.push(("out_proj.bias", vec![d_model]));
        }
        if self.d_conv > 0 {
            weights.push(("conv1d.weight", vec![self.qkv_width(), 1, self.d_conv]));
            weights.push(("conv1d.bias", vec![self.qkv_width()]));
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
        let (qkv_width, d_in_proj) = (self.qkv_width(), self.d_in_proj());
        let conv = if self.d_conv > 0 {
            let (weight, bias) = conv_weights(weights, prefix, qkv_width, self.d_conv, true)?;
            Some(Conv { weight, bias })
        } else {
            None
        };
        let d_out = self.width() + self.mlp_width;
        let rotary =
            Rotary::part_by_part((self.heads, self.kv_heads), self.head_dim, self.rotary_dim, self.rotary_base)?;
        Ok(Box::new(Mha {
            heads: AttentionHeads { heads: self.heads, kv_heads: self.kv_heads, rotary },
            qkv_width,
            mlp_width: self.mlp_width,
            in_proj: Linear::load(weights, &format!("{prefix}.in_proj"), d_in_proj, d_model, self.qkv_bias)?,
            conv,
            out_proj: Linear::load(weights, &format!("{prefix}.out_proj"), d_model, d_out, self.out_bias)?,
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
        true
    }

    /// Both projections and the convolution.
    fn flops_per_token(&self, d_model: usize) -> u64 {
        let projections = 2 * d_model * (self.d_in_proj() + self.width() + self.mlp_width);
        (projections + 2 * self.d_conv * self.qkv_width()) as u64
    }

    fn flops_per_pair(&self, _d_model: usize) -> u64 {
        4 * self.width() as u64
    }

    /// The projection, the convolution, its three parts, keys and values gathered by head, what the heads gathered with a copy
    /// as a signal, the MLP beside them, and both joined.
    fn working_floats(&self, _d_model: usize) -> usize {
        self.d_in_proj() + 2 * self.qkv_width() + 5 * self.width() + 2 * self.mlp_width
    }
}

impl Mixer for Mha {
    fn forward(&self, x: &Tensor, call: &MixerCall<'_>) -> Result<MixerOutput, ModelError> {
        let initial = call.initial.map(LayerState::cache).transpose()?;
        let projected = self.in_proj.forward(x)?;
        let (qkv, conv_states) = match &self.conv {
            Some(conv) => {
                let output = ops::causal_conv1d(&ConvInput {
                    x: &projected,
                    columns: 0..self.qkv_width,
                    weight: &conv.weight,
                    bias: &conv.bias,
                    segments: call.segments,
                    initial: initial.map(inputs_before).transpose()?,
                    silu: false,
                    want_states: call.want_states,
                })?;
                (output.y, output.states)
            }
            None => {
                (columns(self.mlp_width > 0, &projected, 0, self.qkv_width)?.unwrap_or_else(|| projected.clone()), None)
            }
        };
        let attended = self.heads.attend(&qkv, initial, call)?;
        let hidden = if self.mlp_width > 0 {
            let (value, gate) = (self.qkv_width, self.qkv_width + self.mlp_width);
            let beside = ops::gated_unit(&projected, value, gate, self.mlp_width)?;
            self.out_proj.forward(&Tensor::cat(&[&attended.output, &beside], 1)?)?
        } else {
            self.out_proj.forward(&attended.output)?
        };
        let mut signals = Signals::default();
        signals.set(Signal::SsmOutput, call.signals.contains(Signal::SsmOutput).then_some(attended.output));
        let state = attended.cache.map(|cache| LayerState::Attention(KeyValueCache { conv: conv_states, ..cache }));
        Ok(MixerOutput { hidden, signals, state })
    }
}

/// What the convolution continues from.
fn inputs_before(cache: &KeyValueCache) -> Result<&Tensor, ModelError> {
    let expected = "a KV cache with the inputs of its convolution";
    cache.conv.as_ref().ok_or(ModelError::State { expected, got: "a KV cache without them" })
}
