//! The MLP of a block: `GPTNeoXMLP` of transformers, or `GatedMLP` of `mamba_ssm`.

use candle_core::Tensor;
use ssm_kernels::ops::{self, Gelu};

use super::kind::Named;
use super::linear::Linear;
use crate::config::error::ConfigError;
use crate::config::sizes::within;
use crate::error::ModelError;
use crate::loader::Loader;

/// Sizes and switches of an MLP: up, activation, down.
#[derive(Clone, Debug, PartialEq)]
pub struct MlpConfig {
    /// Channels between the two projections (`intermediate_size`; `d_intermediate`, rounded up).
    pub width: usize,
    /// Activation between the two projections.
    pub activation: MlpActivation,
    /// Which sum the MLP reads.
    pub residual: Residual,
}

/// What an MLP computes between its projections, and with it the form of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MlpActivation {
    /// GELU (`hidden_act`), both projections with biases: GPT-NeoX.
    Gelu(Gelu),
    /// The first half of the up projection times SiLU of the second half, no biases: `mamba_ssm`.
    GatedSilu,
}

/// How mixer and MLP of a block are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Residual {
    /// Both read the sum that arrives at the block.
    Parallel,
    /// The MLP reads the sum with the mixer's output.
    Sequential,
}

#[derive(Debug)]
pub(super) struct Mlp {
    up: Linear,
    down: Linear,
    activation: MlpActivation,
    width: usize,
}

impl MlpConfig {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        within("intermediate_size", self.width, 1 << 20)
    }

    /// Names of the up and the down projection.
    fn names(&self) -> (&'static str, &'static str) {
        match self.activation {
            MlpActivation::Gelu(_) => ("dense_h_to_4h", "dense_4h_to_h"),
            MlpActivation::GatedSilu => ("fc1", "fc2"),
        }
    }

    /// Channels that the up projection makes.
    fn up_width(&self) -> usize {
        match self.activation {
            MlpActivation::Gelu(_) => self.width,
            MlpActivation::GatedSilu => 2 * self.width,
        }
    }

    pub(super) fn weights(&self, d_model: usize) -> Vec<Named> {
        match self.activation {
            MlpActivation::Gelu(_) => vec![
                ("dense_h_to_4h.weight", vec![self.width, d_model]),
                ("dense_h_to_4h.bias", vec![self.width]),
                ("dense_4h_to_h.weight", vec![d_model, self.width]),
                ("dense_4h_to_h.bias", vec![d_model]),
            ],
            MlpActivation::GatedSilu => {
                vec![("fc1.weight", vec![self.up_width(), d_model]), ("fc2.weight", vec![d_model, self.width])]
            }
        }
    }

    pub(super) fn load(&self, d_model: usize, weights: &mut Loader<'_>, prefix: &str) -> Result<Mlp, ModelError> {
        let (up, down) = self.names();
        let bias = matches!(self.activation, MlpActivation::Gelu(_));
        Ok(Mlp {
            up: Linear::load(weights, &format!("{prefix}.{up}"), self.up_width(), d_model, bias)?,
            down: Linear::load(weights, &format!("{prefix}.{down}"), d_model, self.width, bias)?,
            activation: self.activation,
            width: self.width,
        })
    }

    /// Up and down.
    pub(super) fn flops_per_token(&self, d_model: usize) -> u64 {
        2 * (d_model * (self.up_width() + self.width)) as u64
    }

    /// The normed input and its sum, the MLP before and after its activation, its output and the sum with the mixer's.
    pub(super) fn working_floats(&self, d_model: usize) -> usize {
        4 * d_model + self.up_width() + self.width
    }
}

impl Mlp {
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor, ModelError> {
        let up = self.up.forward(x)?;
        self.down.forward(&match self.activation {
            MlpActivation::Gelu(kind) => ops::gelu(&up, kind)?,
            MlpActivation::GatedSilu => ops::gated_unit(&up, 0, self.width, self.width)?,
        })
    }
}
