//! The mixer of Mamba-2: <https://arxiv.org/abs/2405.21060>, section 7; `mamba_ssm/modules/mamba2.py`.

use candle_core::Tensor;
use ssm_kernels::ops::{self, ConvInput, GateOrder, GatedNorm, SsdInput};

use super::kind::{Mixer, MixerCall, MixerKind, MixerOutput, Named, named};
use super::layer_kind::LayerKind;
use super::linear::{Linear, Part};
use super::recurrent::{self, columns, conv_weights, decay_rates, without_skip};
use crate::config::error::ConfigError;
use crate::config::sizes::{divides, within};
use crate::error::ModelError;
use crate::loader::Loader;
use crate::signals::{ScanConstants, Signal, SignalSet, Signals};
use crate::state::LayerState;
use crate::time::RowTimes;

/// Sizes and switches of a Mamba-2 mixer.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of upstream's")]
#[derive(Clone, Debug, PartialEq)]
pub struct Mamba2Config {
    /// State per channel (transformers: `state_size`).
    pub d_state: usize,
    /// Width of the causal convolution (transformers: `conv_kernel`).
    pub d_conv: usize,
    /// Channels inside the mixer: `expand * d_model` in most models.
    pub d_inner: usize,
    /// Channels of a head (transformers: `head_dim`).
    pub headdim: usize,
    /// Groups of heads that share B and C (transformers: `n_groups`).
    pub ngroups: usize,
    /// Groups of channels that the gated norm normalises separately. `mamba_ssm`, with which the published models were
    /// trained, uses `ngroups`, and so does transformers (5.24). Earlier versions (5.17 among them) used 1 whatever `ngroups`
    /// was, and so computed another model from the same weights where `ngroups > 1`: Codestral-Mamba. A `config.json` of
    /// transformers asks for that with a key that only this crate reads, `"norm_groups": 1`.
    pub norm_groups: usize,
    /// Whether the gated norm normalises before it gates; false in every published model.
    pub norm_before_gate: bool,
    /// Whether there is a gated norm at all: without one the gate alone acts on the output (Falcon-H1).
    pub norm: bool,
    /// Epsilon of the gated norm, where it is not that of the model's norms (Zamba2).
    pub norm_eps: Option<f64>,
    /// Lower and upper bound of dt after bias and softplus; (0, infinity) does not bound it.
    pub dt_limit: (f32, f32),
    /// Whether the convolution has a bias (transformers: `use_conv_bias`).
    pub conv_bias: bool,
    /// Whether the input projection has a bias; no published model has one.
    pub in_bias: bool,
    /// Whether the output projection has a bias; no published model has one.
    pub out_bias: bool,
    /// Constants that the model multiplies by. The weights take them in when they are loaded.
    pub factors: Mamba2Factors,
}

/// Constants that a model multiplies by inside its Mamba-2 mixers; all of them are 1 in most models.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mamba2Factors {
    /// Of the input (Falcon-H1: `ssm_in_multiplier`).
    pub input: f64,
    /// Of z, x, B, C and dt after the input projection (Falcon-H1: `ssm_multipliers`).
    pub projected: [f64; 5],
    /// Of the output (Falcon-H1: `ssm_out_multiplier`; Granite: `residual_multiplier`).
    pub output: f64,
}

impl Mamba2Factors {
    /// No multiplication.
    pub const ONE: Self = Self { input: 1.0, projected: [1.0; 5], output: 1.0 };
}

impl Mamba2Config {
    /// Heads: `d_inner / headdim`.
    fn nheads(&self, d_model: usize) -> usize {
        self.d_inner(d_model) / self.headdim
    }

    /// Channels that the convolution sees: x, B and C, `d_inner + 2 * ngroups * d_state`.
    fn conv_dim(&self, d_model: usize) -> usize {
        self.d_inner(d_model) + 2 * self.ngroups * self.d_state
    }

    /// The input projection with its factors: z, x, B, C and dt are rows of one weight.
    fn input_part(&self, d_model: usize) -> Part {
        let maps = self.ngroups * self.d_state;
        let rows = [self.d_inner, self.d_inner, maps, maps, self.nheads(d_model)];
        let mut part = Part::plain("in_proj", self.d_in_proj(d_model));
        if self.factors != Mamba2Factors::ONE {
            let factors = rows.into_iter().zip(self.factors.projected);
            part.factors = factors.clone().map(|(rows, factor)| (rows, factor * self.factors.input)).collect();
            part.bias_factors = factors.collect();
        }
        part
    }

    /// Rows of the input projection: z, then what the convolution sees, then dt: `d_inner + conv_dim + nheads`.
    fn d_in_proj(&self, d_model: usize) -> usize {
        self.d_inner(d_model) + self.conv_dim(d_model) + self.nheads(d_model)
    }
}

#[derive(Debug)]
struct Mamba2Mixer {
    d_inner: usize,
    headdim: usize,
    ngroups: usize,
    d_state: usize,
    dt_limit: (f32, f32),
    /// The gated norm and its weight, where there is one.
    norm: Option<(GatedNorm, Tensor)>,
    /// `[2 * d_inner + 2 * ngroups * d_state + nheads, d_model]`: z, x, B, C, dt
    in_proj: Linear,
    conv_weight: Tensor,
    conv_bias: Tensor,
    dt_bias: Tensor,
    /// `[nheads]`: -`exp(A_log)`
    a: Tensor,
    d: Tensor,
    out_proj: Linear,
}

impl MixerKind for Mamba2Config {
    fn name(&self) -> &'static str {
        "Mamba-2"
    }

    fn layer_kind(&self) -> LayerKind {
        LayerKind::Mamba2
    }

    fn validate(&self, d_model: usize) -> Result<(), ConfigError> {
        recurrent::validate(self.d_state, self.d_conv)?;
        let d_inner = self.d_inner;
        within("d_inner", d_inner, 64 << 16)?;
        within("headdim", self.headdim, d_inner)?;
        divides("headdim", self.headdim, "d_inner", d_inner)?;
        let nheads = self.nheads(d_model);
        within("ngroups", self.ngroups, nheads)?;
        divides("ngroups", self.ngroups, "nheads", nheads)?;
        within("norm_groups", self.norm_groups, d_inner)?;
        divides("norm_groups", self.norm_groups, "d_inner", d_inner)?;
        let (low, high) = self.dt_limit;
        if low >= 0.0 && low < high {
            Ok(())
        } else {
            Err(ConfigError::Sizes(format!("dt_limit is ({low}, {high}), expected 0 <= low < high")))
        }
    }

    fn weights(&self, d_model: usize) -> Vec<Named> {
        let (d_inner, nheads, conv_dim) = (self.d_inner(d_model), self.nheads(d_model), self.conv_dim(d_model));
        let mut weights = vec![
            ("in_proj.weight", vec![self.d_in_proj(d_model), d_model]),
            ("dt_bias", vec![nheads]),
            ("A_log", vec![nheads]),
            ("D", vec![nheads]),
            ("conv1d.weight", vec![conv_dim, 1, self.d_conv]),
            ("out_proj.weight", vec![d_model, d_inner]),
        ];
        if self.norm {
            weights.push(("norm.weight", vec![d_inner]));
        }
        if self.conv_bias {
            weights.push(("conv1d.bias", vec![conv_dim]));
        }
        if self.in_bias {
            weights.push(("in_proj.bias", vec![self.d_in_proj(d_model)]));
        }
        if self.out_bias {
            weights.push(("out_proj.bias", vec![d_model]));
        }
        named(weights)
    }

    fn load(
        &self,
        d_model: usize,
        norm_eps: f64,
        weights: &mut Loader<'_>,
        prefix: &str,
    ) -> Result<Box<dyn Mixer>, ModelError> {
        let (d_inner, nheads, conv_dim) = (self.d_inner(d_model), self.nheads(d_model), self.conv_dim(d_model));
        let (conv_weight, conv_bias) = conv_weights(weights, prefix, conv_dim, self.d_conv, self.conv_bias)?;
        let a_log = weights.vector(&format!("{prefix}.A_log"), &[nheads])?;
        let norm = if self.norm {
            let order = if self.norm_before_gate { GateOrder::NormFirst } else { GateOrder::GateFirst };
            let norm = GatedNorm { order, groups: self.norm_groups, eps: self.norm_eps.unwrap_or(norm_eps) as f32 };
            Some((norm, weights.placed(&format!("{prefix}.norm.weight"), &[d_inner])?))
        } else {
            None
        };
        let output = Part::scaled("out_proj", d_model, 1.0, self.factors.output);
        Ok(Box::new(Mamba2Mixer {
            d_inner,
            headdim: self.headdim,
            ngroups: self.ngroups,
            d_state: self.d_state,
            dt_limit: self.dt_limit,
            norm,
            in_proj: Linear::join(weights, prefix, &[self.input_part(d_model)], d_model, self.in_bias)?,
            conv_weight,
            conv_bias,
            dt_bias: weights.placed(&format!("{prefix}.dt_bias"), &[nheads])?,
            a: weights.place(&decay_rates(&a_log)?)?,
            d: weights.placed(&format!("{prefix}.D"), &[nheads])?,
            out_proj: Linear::join(weights, prefix, &[output], d_inner, self.out_bias)?,
        }))
    }

    fn d_inner(&self, _d_model: usize) -> usize {
        self.d_inner
    }

    fn dt_width(&self, d_model: usize) -> usize {
        self.nheads(d_model)
    }

    fn signals(&self) -> SignalSet {
        SignalSet::ALL
    }

    fn uses_positions(&self) -> bool {
        false
    }

    fn flops_per_token(&self, d_model: usize) -> u64 {
        let (d_inner, conv_dim) = (self.d_inner(d_model), self.conv_dim(d_model));
        let projections = 2 * d_model * self.d_in_proj(d_model) + 2 * d_inner * d_model;
        (projections + 2 * self.d_conv * conv_dim + 6 * d_inner * self.d_state + 3 * d_inner) as u64
    }

    fn flops_per_pair(&self, _d_model: usize) -> u64 {
        0
    }

    /// Projection, convolution, step sizes, scan and gated output, and copies of the signals; the chunked scan holds its 64
    /// products per token and group.
    fn working_floats(&self, d_model: usize) -> usize {
        let scan = 2 * self.nheads(d_model) + 64 * self.ngroups;
        4 * self.d_inner(d_model) + 4 * self.conv_dim(d_model) + scan
    }
}

impl Mixer for Mamba2Mixer {
    fn forward(&self, x: &Tensor, call: &MixerCall<'_>) -> Result<MixerOutput, ModelError> {
        let initial = call.initial.map(LayerState::recurrent).transpose()?;
        let zxbcdt = self.in_proj.forward(x)?;
        let maps = self.ngroups * self.d_state;
        let conv_dim = self.d_inner + 2 * maps;
        let conv = ops::causal_conv1d(&ConvInput {
            x: &zxbcdt,
            columns: self.d_inner..self.d_inner + conv_dim,
            weight: &self.conv_weight,
            bias: &self.conv_bias,
            segments: call.segments,
            initial: initial.map(|state| &state.conv),
            silu: true,
            want_states: call.want_states,
        })?;
        let dt = ops::softplus(&zxbcdt, self.d_inner + conv_dim, &self.dt_bias, self.dt_limit)?;
        let times = call.time.map(|times| RowTimes::new(times, &conv.y)).transpose()?;
        let timed = match &times {
            Some(times) => Some((times.on_input_map(&conv.y, self.d_inner, maps)?, dt.broadcast_mul(&times.decay)?)),
            None => None,
        };
        let (xbc, steps) = timed.as_ref().map_or((&conv.y, &dt), |(xbc, steps)| (xbc, steps));
        let scan = ops::ssd(&SsdInput {
            xbc,
            dt: steps,
            a: &self.a,
            d: &self.d,
            headdim: self.headdim,
            ngroups: self.ngroups,
            d_state: self.d_state,
            segments: call.segments,
            initial: initial.map(|state| &state.ssm),
            want_states: call.want_states,
        })?;
        let gated = match &self.norm {
            Some((norm, weight)) => ops::gated_rms_norm(&scan.y, &zxbcdt, 0, weight, *norm)?,
            None => ops::gate(&scan.y, &zxbcdt, 0)?,
        };
        let asked = |signal| call.signals.contains(signal);
        let mut signals = Signals::default();
        if asked(Signal::GatedOutput) {
            signals.set(Signal::GatedOutput, Some(ops::gate(&scan.y, &zxbcdt, 0)?));
        }
        signals.set(Signal::B, columns(asked(Signal::B), &conv.y, self.d_inner, maps)?);
        signals.set(Signal::C, columns(asked(Signal::C), &conv.y, self.d_inner + maps, maps)?);
        let x = conv.y.narrow(1, 0, self.d_inner)?;
        signals.set(Signal::ScanOutput, without_skip(asked(Signal::ScanOutput), Some(&scan.y), &x, &self.d)?);
        signals.set(Signal::SsmOutput, asked(Signal::SsmOutput).then_some(scan.y));
        signals.set(Signal::Dt, asked(Signal::Dt).then_some(dt));
        signals.set(Signal::X, columns(asked(Signal::X), &conv.y, 0, self.d_inner)?);
        signals.set_scan(asked(Signal::Scan).then(|| ScanConstants { ngroups: self.ngroups, a: self.a.clone() }));
        Ok(MixerOutput {
            hidden: self.out_proj.forward(&gated)?,
            signals,
            state: recurrent::state(conv.states, scan.states),
        })
    }

    #[cfg(feature = "cuda")]
    fn decoding(&self) -> Result<ops::decode::MixerWeights, &'static str> {
        let Some((GatedNorm { order: GateOrder::GateFirst, groups: 1, eps }, gated_norm)) = &self.norm else {
            return Err("only a gated norm of one group that gates first has kernels for it");
        };
        Ok(ops::decode::MixerWeights::Mamba2(ops::decode::Mamba2Weights {
            in_proj: self.in_proj.without_bias().ok_or("its projections have biases")?.clone(),
            conv_weight: self.conv_weight.clone(),
            conv_bias: self.conv_bias.clone(),
            dt_bias: self.dt_bias.clone(),
            a: self.a.clone(),
            d: self.d.clone(),
            gated_norm: gated_norm.clone(),
            gated_norm_eps: *eps,
            out_proj: self.out_proj.without_bias().ok_or("its projections have biases")?.clone(),
            headdim: self.headdim,
            ngroups: self.ngroups,
            d_state: self.d_state,
            dt_limit: self.dt_limit,
        }))
    }
}
