//! The mixer of Mamba-2: <https://arxiv.org/abs/2405.21060>, section 7; `mamba_ssm/modules/mamba2.py`.

use candle_core::Tensor;
use ssm_kernels::ops::{self, ConvInput, GateOrder, GatedNorm, SsdInput};

use super::{MixerCall, MixerOutput, columns, conv_weights, decay_rates};
use crate::config::{Mamba2Config, ModelConfig};
use crate::error::ModelError;
use crate::loader::Loader;
use crate::signals::{ScanConstants, Signal, Signals};
use crate::state::RecurrentState;
use crate::time::RowTimes;

#[derive(Debug)]
pub(crate) struct Mamba2Mixer {
    d_inner: usize,
    headdim: usize,
    ngroups: usize,
    d_state: usize,
    dt_limit: (f32, f32),
    norm: GatedNorm,
    /// `[2 * d_inner + 2 * ngroups * d_state + nheads, d_model]`: z, x, B, C, dt
    in_proj: Tensor,
    conv_weight: Tensor,
    conv_bias: Tensor,
    dt_bias: Tensor,
    /// `[nheads]`: -`exp(A_log)`
    a: Tensor,
    d: Tensor,
    norm_weight: Tensor,
    out_proj: Tensor,
}

impl Mamba2Mixer {
    pub(super) fn load(
        config: &ModelConfig,
        mixer: &Mamba2Config,
        weights: &mut Loader<'_>,
        prefix: &str,
    ) -> Result<Self, ModelError> {
        let (d_model, d_inner) = (config.d_model, config.d_inner());
        let (nheads, conv_dim) = (d_inner / mixer.headdim, mixer.conv_dim(d_model));
        let (conv_weight, conv_bias) = conv_weights(weights, prefix, conv_dim, mixer.d_conv, mixer.conv_bias)?;
        let a_log = weights.vector(&format!("{prefix}.A_log"), &[nheads])?;
        Ok(Self {
            d_inner,
            headdim: mixer.headdim,
            ngroups: mixer.ngroups,
            d_state: mixer.d_state,
            dt_limit: mixer.dt_limit,
            norm: GatedNorm {
                order: if mixer.norm_before_gate { GateOrder::NormFirst } else { GateOrder::GateFirst },
                groups: mixer.norm_groups,
                eps: config.norm_eps as f32,
            },
            in_proj: weights.matrix(&format!("{prefix}.in_proj.weight"), &[d_inner + conv_dim + nheads, d_model])?,
            conv_weight,
            conv_bias,
            dt_bias: weights.placed(&format!("{prefix}.dt_bias"), &[nheads])?,
            a: weights.place(&decay_rates(&a_log)?)?,
            d: weights.placed(&format!("{prefix}.D"), &[nheads])?,
            norm_weight: weights.placed(&format!("{prefix}.norm.weight"), &[d_inner])?,
            out_proj: weights.matrix(&format!("{prefix}.out_proj.weight"), &[d_model, d_inner])?,
        })
    }

    pub(super) fn forward(&self, x: &Tensor, call: &MixerCall<'_>) -> Result<MixerOutput, ModelError> {
        let zxbcdt = ops::linear(x, &self.in_proj)?;
        let maps = self.ngroups * self.d_state;
        let conv_dim = self.d_inner + 2 * maps;
        let conv = ops::causal_conv1d(&ConvInput {
            x: &zxbcdt,
            columns: self.d_inner..self.d_inner + conv_dim,
            weight: &self.conv_weight,
            bias: &self.conv_bias,
            segments: call.segments,
            initial: call.initial.map(|state| &state.conv),
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
            initial: call.initial.map(|state| &state.ssm),
            want_states: call.want_states,
        })?;
        let normed = ops::gated_rms_norm(&scan.y, &zxbcdt, 0, &self.norm_weight, self.norm)?;
        let asked = |signal| call.signals.contains(signal);
        let mut signals = Signals::default();
        if asked(Signal::GatedOutput) {
            signals.set(Signal::GatedOutput, Some(ops::gate(&scan.y, &zxbcdt, 0)?));
        }
        signals.set(Signal::B, columns(asked(Signal::B), &conv.y, self.d_inner, maps)?);
        signals.set(Signal::C, columns(asked(Signal::C), &conv.y, self.d_inner + maps, maps)?);
        signals.set(Signal::SsmOutput, asked(Signal::SsmOutput).then_some(scan.y));
        signals.set(Signal::Dt, asked(Signal::Dt).then_some(dt));
        signals.set(Signal::X, columns(asked(Signal::X), &conv.y, 0, self.d_inner)?);
        signals.set_scan(asked(Signal::Scan).then(|| ScanConstants { ngroups: self.ngroups, a: self.a.clone() }));
        Ok(MixerOutput {
            hidden: ops::linear(&normed, &self.out_proj)?,
            signals,
            state: conv.states.zip(scan.states).map(|(conv, ssm)| RecurrentState { conv, ssm }),
        })
    }
}
