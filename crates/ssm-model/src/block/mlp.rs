//! The MLP of a block: up, activation, down. `GPTNeoXMLP`, `BambaMLP`, `GraniteMoeHybridMLP`, `NemotronHMLP` and `Zamba2MLP` of transformers,
//! `GatedMLP` of `mamba_ssm`.

use candle_core::Tensor;
use ssm_kernels::ops::{self, Gelu};

use super::kind::Named;
use super::linear::{Linear, Part};
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
    /// What the gate is multiplied by before its SiLU; 1 in most models. The weights take it in when they are loaded.
    pub gate_factor: f64,
    /// What the output is multiplied by; 1 in most models. The weights take it in when they are loaded.
    pub output_factor: f64,
}

/// What an MLP computes between its projections, and with it the form of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MlpActivation {
    /// GELU (`hidden_act`), both projections with biases: GPT-NeoX.
    Gelu(Gelu),
    /// One half of the up projection times SiLU of the other half, the gate.
    GatedSilu(GatedWeights),
    /// The lower half of the up projection times GELU of the upper half, the gate, without biases: the shared blocks of Zamba2.
    GatedGelu(Gelu),
    /// The square of what is above zero: Nemotron-H.
    SquaredRelu {
        /// Whether both projections have biases.
        bias: bool,
    },
}

/// How a checkpoint stores a gated MLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GatedWeights {
    /// `fc1` with the gate below, `fc2`: `mamba_ssm`.
    MambaSsm,
    /// `input_linear` with the gate above, `output_linear`: Granite.
    Granite,
    /// `gate_proj`, `up_proj`, `down_proj`: most models of transformers.
    Separate {
        /// Whether all three have biases (`mlp_bias`).
        bias: bool,
    },
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

    /// The parts of the up projection and of the down projection, and whether they have biases.
    fn parts(&self, d_model: usize) -> (Vec<Part>, Part, bool) {
        let down = |name| Part::scaled(name, d_model, 1.0, self.output_factor);
        match self.activation {
            MlpActivation::Gelu(_) => (vec![Part::plain("dense_h_to_4h", self.width)], down("dense_4h_to_h"), true),
            MlpActivation::GatedSilu(GatedWeights::MambaSsm) => {
                (vec![Part::plain("fc1", 2 * self.width)], down("fc2"), false)
            }
            MlpActivation::GatedSilu(GatedWeights::Granite) => {
                (vec![Part::plain("input_linear", 2 * self.width)], down("output_linear"), false)
            }
            MlpActivation::GatedSilu(GatedWeights::Separate { bias }) => {
                let gate = Part::scaled("gate_proj", self.width, 1.0, self.gate_factor);
                (vec![Part::plain("up_proj", self.width), gate], down("down_proj"), bias)
            }
            MlpActivation::GatedGelu(_) => {
                (vec![Part::plain("gate_up_proj", 2 * self.width)], down("down_proj"), false)
            }
            MlpActivation::SquaredRelu { bias } => (vec![Part::plain("up_proj", self.width)], down("down_proj"), bias),
        }
    }

    /// Channels that the up projection makes.
    pub(super) fn up_width(&self) -> usize {
        match self.activation {
            MlpActivation::Gelu(_) | MlpActivation::SquaredRelu { .. } => self.width,
            MlpActivation::GatedSilu(_) | MlpActivation::GatedGelu(_) => 2 * self.width,
        }
    }

    pub(super) fn weights(&self, d_model: usize) -> Vec<Named> {
        let (up, down, bias) = self.parts(d_model);
        let up = up.iter().flat_map(|part| part.weights(d_model, bias));
        up.chain(down.weights(self.width, bias)).collect()
    }

    pub(super) fn load(&self, d_model: usize, weights: &mut Loader<'_>, prefix: &str) -> Result<Mlp, ModelError> {
        let (up, down, bias) = self.parts(d_model);
        Ok(Mlp {
            up: Linear::join(weights, prefix, &up, d_model, bias)?,
            down: Linear::join(weights, prefix, &[down], self.width, bias)?,
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
        self.forward_with(x, None)
    }

    /// As [`Mlp::forward`]; `added` is added to the up projection.
    pub(super) fn forward_with(&self, x: &Tensor, added: Option<&Tensor>) -> Result<Tensor, ModelError> {
        let up = self.up.forward(x)?;
        let up = match added {
            Some(added) => (up + added)?,
            None => up,
        };
        self.down.forward(&match self.activation {
            MlpActivation::Gelu(kind) => ops::gelu(&up, kind)?,
            MlpActivation::GatedSilu(GatedWeights::Granite) => ops::gated_unit(&up, self.width, 0, self.width)?,
            MlpActivation::GatedSilu(_) => ops::gated_unit(&up, 0, self.width, self.width)?,
            MlpActivation::GatedGelu(kind) => {
                let gate = ops::gelu(&up.narrow(1, 0, self.width)?.contiguous()?, kind)?;
                (gate * up.narrow(1, self.width, self.width)?)?
            }
            MlpActivation::SquaredRelu { .. } => squared_relu(&up)?,
        })
    }
}

/// `max(x, 0)^2`; NaN stays NaN.
fn squared_relu(x: &Tensor) -> candle_core::Result<Tensor> {
    // `Tensor::relu` takes a maximum, which drops NaN.
    let above = x.gt(0.0)?.to_dtype(x.dtype())?;
    x.sqr()? * above
}
