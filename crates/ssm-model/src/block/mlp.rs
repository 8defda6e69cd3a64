//! The MLP of a block: `GPTNeoXMLP` of transformers.

use candle_core::Tensor;
use ssm_kernels::ops::{self, Gelu};

use super::kind::Named;
use super::linear::Linear;
use crate::config::error::ConfigError;
use crate::config::sizes::within;
use crate::error::ModelError;
use crate::loader::Loader;

/// Sizes and switches of an MLP: up, activation, down, both with biases.
#[derive(Clone, Debug, PartialEq)]
pub struct MlpConfig {
    /// Channels between the two projections (`intermediate_size`).
    pub width: usize,
    /// Activation between the two projections (`hidden_act`).
    pub activation: Gelu,
    /// Which sum the MLP reads.
    pub residual: Residual,
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
    activation: Gelu,
}

impl MlpConfig {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        within("intermediate_size", self.width, 1 << 20)
    }

    pub(super) fn weights(&self, d_model: usize) -> Vec<Named> {
        vec![
            ("dense_h_to_4h.weight", vec![self.width, d_model]),
            ("dense_h_to_4h.bias", vec![self.width]),
            ("dense_4h_to_h.weight", vec![d_model, self.width]),
            ("dense_4h_to_h.bias", vec![d_model]),
        ]
    }

    pub(super) fn load(&self, d_model: usize, weights: &mut Loader<'_>, prefix: &str) -> Result<Mlp, ModelError> {
        Ok(Mlp {
            up: Linear::load(weights, &format!("{prefix}.dense_h_to_4h"), self.width, d_model, true)?,
            down: Linear::load(weights, &format!("{prefix}.dense_4h_to_h"), d_model, self.width, true)?,
            activation: self.activation,
        })
    }

    /// Up and down.
    pub(super) fn flops_per_token(&self, d_model: usize) -> u64 {
        4 * (d_model * self.width) as u64
    }

    /// The normed input and its sum, the MLP before and after its activation, its output and the sum with the mixer's.
    pub(super) fn working_floats(&self, d_model: usize) -> usize {
        4 * d_model + 2 * self.width
    }
}

impl Mlp {
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor, ModelError> {
        self.down.forward(&ops::gelu(&self.up.forward(x)?, self.activation)?)
    }
}
