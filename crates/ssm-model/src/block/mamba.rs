//! The mixer of Mamba: <https://arxiv.org/abs/2312.00752>, section 3; `mamba_ssm/modules/mamba_simple.py`. With norms on dt, B
//! and C it is that of Falcon-Mamba: <https://arxiv.org/abs/2410.05355>, section 3; transformers'
//! `models/falcon_mamba/modeling_falcon_mamba.py`.

use candle_core::Tensor;
use ssm_kernels::ops::{self, ConvInput, SelectiveScanInput};

use super::kind::{Mixer, MixerCall, MixerKind, MixerOutput, Named, named};
use super::layer_kind::LayerKind;
use super::recurrent::{self, columns, conv_weights, decay_rates, without_skip};
use crate::config::error::ConfigError;
use crate::config::sizes::{epsilon, within};
use crate::error::ModelError;
use crate::loader::Loader;
use crate::signals::{ScanConstants, Signal, SignalSet, Signals};
use crate::state::LayerState;
use crate::time::RowTimes;

/// Sizes of a Mamba mixer.
#[derive(Clone, Debug, PartialEq)]
pub struct MambaConfig {
    /// State per channel (transformers: `state_size`).
    pub d_state: usize,
    /// Width of the causal convolution (transformers: `conv_kernel`).
    pub d_conv: usize,
    /// `d_inner / d_model`.
    pub expand: usize,
    /// Width of the low-rank path to dt (transformers: `time_step_rank`).
    pub dt_rank: usize,
    /// Whether the convolution has a bias (transformers: `use_conv_bias`).
    pub conv_bias: bool,
    /// Norms on dt, B and C, in Falcon-Mamba and Jamba; none in every other Mamba.
    pub inner_norms: Option<InnerNorms>,
}

/// The `RMSNorm`s that dt, B and C pass before they are used.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InnerNorms {
    /// Their epsilon (Falcon-Mamba: `mixer_rms_eps`).
    pub eps: f64,
    /// Whether they have weights: in Jamba.
    pub weights: bool,
}

#[derive(Debug)]
struct MambaMixer {
    d_inner: usize,
    d_state: usize,
    dt_rank: usize,
    /// Epsilon of the norms on dt, B and C, where there are any.
    norm_eps: Option<f32>,
    /// `[dt_rank + 2 * d_state]`: the weights of these norms, where they have any.
    norm_weight: Option<Tensor>,
    /// `[2 * d_inner, d_model]`: x, z
    in_proj: Tensor,
    conv_weight: Tensor,
    conv_bias: Tensor,
    /// `[dt_rank + 2 * d_state, d_inner]`: dt, B, C
    x_proj: Tensor,
    /// `[d_inner, dt_rank]`
    dt_proj: Tensor,
    dt_bias: Tensor,
    /// `[d_state, d_inner]`: -`exp(A_log)`, transposed
    a: Tensor,
    d: Tensor,
    out_proj: Tensor,
}

impl MixerKind for MambaConfig {
    fn name(&self) -> &'static str {
        match self.inner_norms {
            Some(InnerNorms { weights: false, .. }) => "Falcon-Mamba",
            _ => "Mamba",
        }
    }

    fn layer_kind(&self) -> LayerKind {
        LayerKind::Mamba
    }

    fn validate(&self, d_model: usize) -> Result<(), ConfigError> {
        recurrent::validate(self.d_state, self.d_conv)?;
        within("expand", self.expand, 64)?;
        if let Some(norms) = self.inner_norms {
            epsilon("mixer_rms_eps", norms.eps)?;
        }
        within("dt_rank", self.dt_rank, self.d_inner(d_model))
    }

    fn weights(&self, d_model: usize) -> Vec<Named> {
        let d_inner = self.d_inner(d_model);
        let mut weights = vec![
            ("in_proj.weight", vec![2 * d_inner, d_model]),
            ("x_proj.weight", vec![self.dt_rank + 2 * self.d_state, d_inner]),
            ("dt_proj.weight", vec![d_inner, self.dt_rank]),
            ("dt_proj.bias", vec![d_inner]),
            ("A_log", vec![d_inner, self.d_state]),
            ("D", vec![d_inner]),
            ("conv1d.weight", vec![d_inner, 1, self.d_conv]),
            ("out_proj.weight", vec![d_model, d_inner]),
        ];
        if self.conv_bias {
            weights.push(("conv1d.bias", vec![d_inner]));
        }
        if self.inner_norms.is_some_and(|norms| norms.weights) {
            weights.push(("dt_layernorm.weight", vec![self.dt_rank]));
            weights.push(("b_layernorm.weight", vec![self.d_state]));
            weights.push(("c_layernorm.weight", vec![self.d_state]));
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
        let (d_inner, d_state, dt_rank) = (self.d_inner(d_model), self.d_state, self.dt_rank);
        let (conv_weight, conv_bias) = conv_weights(weights, prefix, d_inner, self.d_conv, self.conv_bias)?;
        let a_log = weights.vector(&format!("{prefix}.A_log"), &[d_inner, d_state])?;
        let norm_weight = if self.inner_norms.is_some_and(|norms| norms.weights) {
            let mut part = |name: &str, width| weights.vector(&format!("{prefix}.{name}.weight"), &[width]);
            let parts = [part("dt_layernorm", dt_rank)?, part("b_layernorm", d_state)?, part("c_layernorm", d_state)?];
            Some(weights.place(&Tensor::cat(&parts, 0)?)?)
        } else {
            None
        };
        Ok(Box::new(MambaMixer {
            d_inner,
            d_state,
            dt_rank,
            norm_eps: self.inner_norms.map(|norms| norms.eps as f32),
            norm_weight,
            in_proj: weights.matrix(&format!("{prefix}.in_proj.weight"), &[2 * d_inner, d_model])?,
            conv_weight,
            conv_bias,
            x_proj: weights.matrix(&format!("{prefix}.x_proj.weight"), &[dt_rank + 2 * d_state, d_inner])?,
            dt_proj: weights.matrix(&format!("{prefix}.dt_proj.weight"), &[d_inner, dt_rank])?,
            dt_bias: weights.placed(&format!("{prefix}.dt_proj.bias"), &[d_inner])?,
            a: weights.place(&decay_rates(&a_log)?.t()?)?,
            d: weights.placed(&format!("{prefix}.D"), &[d_inner])?,
            out_proj: weights.matrix(&format!("{prefix}.out_proj.weight"), &[d_model, d_inner])?,
        }))
    }

    fn d_inner(&self, d_model: usize) -> usize {
        self.expand * d_model
    }

    fn dt_width(&self, d_model: usize) -> usize {
        self.d_inner(d_model)
    }

    fn signals(&self) -> SignalSet {
        SignalSet::ALL
    }

    fn uses_positions(&self) -> bool {
        false
    }

    fn flops_per_token(&self, d_model: usize) -> u64 {
        let d_inner = self.d_inner(d_model);
        let projections = 2 * d_model * 2 * d_inner
            + 2 * d_inner * (self.dt_rank + 2 * self.d_state)
            + 2 * self.dt_rank * d_inner
            + 2 * d_inner * d_model;
        // Per channel and state: decay, input, their sum, and the product with C.
        (projections + 2 * self.d_conv * d_inner + 7 * d_inner * self.d_state + 3 * d_inner) as u64
    }

    fn flops_per_pair(&self, _d_model: usize) -> u64 {
        0
    }

    /// Projection, convolution, step sizes, scan and gated output, and copies of the signals.
    fn working_floats(&self, d_model: usize) -> usize {
        9 * self.d_inner(d_model) + self.dt_rank + 2 * self.d_state
    }
}

impl Mixer for MambaMixer {
    fn forward(&self, x: &Tensor, call: &MixerCall<'_>) -> Result<MixerOutput, ModelError> {
        let initial = call.initial.map(LayerState::recurrent).transpose()?;
        let xz = ops::linear(x, &self.in_proj)?;
        let conv = ops::causal_conv1d(&ConvInput {
            x: &xz,
            columns: 0..self.d_inner,
            weight: &self.conv_weight,
            bias: &self.conv_bias,
            segments: call.segments,
            initial: initial.map(|state| &state.conv),
            silu: true,
            want_states: call.want_states,
        })?;
        let mut projected = ops::linear(&conv.y, &self.x_proj)?;
        if let Some(eps) = self.norm_eps {
            projected = ops::rms_norm_parts(&projected, &[self.dt_rank, self.d_state, self.d_state], eps)?;
            if let Some(weight) = &self.norm_weight {
                projected = projected.broadcast_mul(&weight.to_dtype(projected.dtype())?)?;
            }
        }
        let dt_raw = ops::linear(&projected.narrow(1, 0, self.dt_rank)?, &self.dt_proj)?;
        let times = call.time.map(|times| RowTimes::new(times, &conv.y)).transpose()?;
        let timed =
            times.as_ref().map(|times| times.on_input_map(&projected, self.dt_rank, self.d_state)).transpose()?;
        let scan = ops::selective_scan(&SelectiveScanInput {
            x: &conv.y,
            dt_raw: &dt_raw,
            dt_bias: &self.dt_bias,
            a: &self.a,
            dt_factor: times.as_ref().map(|times| &times.decay),
            projected: timed.as_ref().unwrap_or(&projected),
            b_start: self.dt_rank,
            c_start: self.dt_rank + self.d_state,
            d: &self.d,
            gate: &xz,
            z_start: self.d_inner,
            segments: call.segments,
            initial: initial.map(|state| &state.ssm),
            want_states: call.want_states,
            want_y: call.signals.contains(Signal::SsmOutput) || call.signals.contains(Signal::ScanOutput),
            want_dt: call.signals.contains(Signal::Dt),
        })?;
        let hidden = ops::linear(&scan.gated, &self.out_proj)?;
        let asked = |signal| call.signals.contains(signal);
        let mut signals = Signals::default();
        signals.set(Signal::B, columns(asked(Signal::B), &projected, self.dt_rank, self.d_state)?);
        signals.set(Signal::C, columns(asked(Signal::C), &projected, self.dt_rank + self.d_state, self.d_state)?);
        let scan_output = without_skip(asked(Signal::ScanOutput), scan.y.as_ref(), &conv.y, &self.d)?;
        signals.set(Signal::ScanOutput, scan_output);
        signals.set(Signal::SsmOutput, scan.y.filter(|_| asked(Signal::SsmOutput)));
        signals.set(Signal::GatedOutput, asked(Signal::GatedOutput).then_some(scan.gated));
        signals.set(Signal::Dt, scan.dt);
        signals.set(Signal::X, asked(Signal::X).then_some(conv.y));
        signals.set_scan(asked(Signal::Scan).then(|| ScanConstants { ngroups: 1, a: self.a.clone() }));
        Ok(MixerOutput { hidden, signals, state: recurrent::state(conv.states, scan.states) })
    }

    #[cfg(feature = "cuda")]
    fn decoding(&self) -> Result<ops::decode::MixerWeights, &'static str> {
        if self.norm_eps.is_some() {
            return Err("norms on dt, B and C have no kernels for it");
        }
        Ok(ops::decode::MixerWeights::Mamba(ops::decode::MambaWeights {
            in_proj: self.in_proj.clone(),
            conv_weight: self.conv_weight.clone(),
            conv_bias: self.conv_bias.clone(),
            x_proj: self.x_proj.clone(),
            dt_proj: self.dt_proj.clone(),
            dt_bias: self.dt_bias.clone(),
            a: self.a.clone(),
            d: self.d.clone(),
            out_proj: self.out_proj.clone(),
        }))
    }
}
