//! The mixer of Mamba: <https://arxiv.org/abs/2312.00752>, section 3; `mamba_ssm/modules/mamba_simple.py`. With norms on dt, B
//! and C it is that of Falcon-Mamba: <https://arxiv.org/abs/2410.05355>, section 3; transformers'
//! `models/falcon_mamba/modeling_falcon_mamba.py`.

use candle_core::Tensor;
use ssm_kernels::ops::{self, ConvInput, SelectiveScanInput};

use super::{MixerCall, MixerOutput, columns, conv_weights, decay_rates};
use crate::config::{MambaConfig, ModelConfig};
use crate::error::ModelError;
use crate::loader::Loader;
use crate::signals::{ScanConstants, Signal, Signals};
use crate::state::RecurrentState;
use crate::time::RowTimes;

#[derive(Debug)]
pub(crate) struct MambaMixer {
    d_inner: usize,
    d_state: usize,
    dt_rank: usize,
    /// Epsilon of the norms on dt, B and C, where there are any.
    norm_eps: Option<f32>,
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

impl MambaMixer {
    pub(super) fn load(
        config: &ModelConfig,
        mixer: &MambaConfig,
        weights: &mut Loader<'_>,
        prefix: &str,
    ) -> Result<Self, ModelError> {
        let d_model = config.d_model;
        let (d_inner, d_state, dt_rank) = (config.d_inner(), mixer.d_state, mixer.dt_rank);
        let (conv_weight, conv_bias) = conv_weights(weights, prefix, d_inner, mixer.d_conv, mixer.conv_bias)?;
        let a_log = weights.vector(&format!("{prefix}.A_log"), &[d_inner, d_state])?;
        Ok(Self {
            d_inner,
            d_state,
            dt_rank,
            norm_eps: mixer.mixer_norm_eps.map(|eps| eps as f32),
            in_proj: weights.matrix(&format!("{prefix}.in_proj.weight"), &[2 * d_inner, d_model])?,
            conv_weight,
            conv_bias,
            x_proj: weights.matrix(&format!("{prefix}.x_proj.weight"), &[dt_rank + 2 * d_state, d_inner])?,
            dt_proj: weights.matrix(&format!("{prefix}.dt_proj.weight"), &[d_inner, dt_rank])?,
            dt_bias: weights.placed(&format!("{prefix}.dt_proj.bias"), &[d_inner])?,
            a: weights.place(&decay_rates(&a_log)?.t()?)?,
            d: weights.placed(&format!("{prefix}.D"), &[d_inner])?,
            out_proj: weights.matrix(&format!("{prefix}.out_proj.weight"), &[d_model, d_inner])?,
        })
    }

    pub(super) fn forward(&self, x: &Tensor, call: &MixerCall<'_>) -> Result<MixerOutput, ModelError> {
        let xz = ops::linear(x, &self.in_proj)?;
        let conv = ops::causal_conv1d(&ConvInput {
            x: &xz,
            columns: 0..self.d_inner,
            weight: &self.conv_weight,
            bias: &self.conv_bias,
            segments: call.segments,
            initial: call.initial.map(|state| &state.conv),
            want_states: call.want_states,
        })?;
        let mut projected = ops::linear(&conv.y, &self.x_proj)?;
        if let Some(eps) = self.norm_eps {
            projected = ops::rms_norm_parts(&projected, &[self.dt_rank, self.d_state, self.d_state], eps)?;
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
            initial: call.initial.map(|state| &state.ssm),
            want_states: call.want_states,
            want_y: call.signals.contains(Signal::SsmOutput),
            want_dt: call.signals.contains(Signal::Dt),
        })?;
        let hidden = ops::linear(&scan.gated, &self.out_proj)?;
        let asked = |signal| call.signals.contains(signal);
        let mut signals = Signals::default();
        signals.set(Signal::B, columns(asked(Signal::B), &projected, self.dt_rank, self.d_state)?);
        signals.set(Signal::C, columns(asked(Signal::C), &projected, self.dt_rank + self.d_state, self.d_state)?);
        signals.set(Signal::SsmOutput, scan.y);
        signals.set(Signal::GatedOutput, asked(Signal::GatedOutput).then_some(scan.gated));
        signals.set(Signal::Dt, scan.dt);
        signals.set(Signal::X, asked(Signal::X).then_some(conv.y));
        signals.set_scan(asked(Signal::Scan).then(|| ScanConstants { ngroups: 1, a: self.a.clone() }));
        Ok(MixerOutput {
            hidden,
            signals,
            state: conv.states.zip(scan.states).map(|(conv, ssm)| RecurrentState { conv, ssm }),
        })
    }
}
