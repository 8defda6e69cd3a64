//! The norms that blocks and the head begin with.

use candle_core::Tensor;
use ssm_kernels::ops::{self, RowPlan};

use crate::config::sizes::is_one;
use crate::error::ModelError;
use crate::loader::Loader;

/// How the sum of the branches is normalised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormKind {
    /// `RMSNorm`: a weight.
    Rms,
    /// `LayerNorm`: a weight and a bias.
    Layer,
}

/// A norm with its weights.
#[derive(Debug)]
pub(crate) struct Norm {
    weight: Tensor,
    /// Of a `LayerNorm`.
    bias: Option<Tensor>,
    eps: f32,
}

impl NormKind {
    /// Names of the weights of the norm called `name`; each is as wide as the norm.
    pub(crate) fn weights(self, name: &str) -> Vec<String> {
        let weight = format!("{name}.weight");
        match self {
            Self::Rms => vec![weight],
            Self::Layer => vec![weight, format!("{name}.bias")],
        }
    }

    pub(crate) fn load(self, width: usize, eps: f64, weights: &mut Loader<'_>, name: &str) -> Result<Norm, ModelError> {
        self.load_scaled(width, eps, weights, name, 1.0)
    }

    /// A norm whose output is multiplied by `factor`.
    pub(crate) fn load_scaled(
        self,
        width: usize,
        eps: f64,
        weights: &mut Loader<'_>,
        name: &str,
        factor: f64,
    ) -> Result<Norm, ModelError> {
        let scaled = |vector: Tensor| if is_one(factor) { Ok(vector) } else { vector * factor };
        let weight = scaled(weights.vector(&format!("{name}.weight"), &[width])?)?;
        let weight = weights.place(&weight)?;
        let bias = match self {
            Self::Rms => None,
            Self::Layer => {
                let bias = scaled(weights.vector(&format!("{name}.bias"), &[width])?)?;
                Some(weights.place(&bias)?)
            }
        };
        Ok(Norm { weight, bias, eps: eps as f32 })
    }
}

impl Norm {
    /// Weight and epsilon of an `RMSNorm`.
    #[cfg(feature = "cuda")]
    pub(crate) fn rms(&self) -> Option<(&Tensor, f32)> {
        self.bias.is_none().then_some((&self.weight, self.eps))
    }

    /// The normalised sum of the branches, and the sum. `rows` gathers and merges rows of both branches first.
    pub(crate) fn add(
        &self,
        hidden: &Tensor,
        residual: Option<&Tensor>,
        rows: Option<&RowPlan>,
    ) -> Result<(Tensor, Tensor), ModelError> {
        let Self { weight, bias, eps } = self;
        Ok(match bias {
            None => ops::add_rms_norm(hidden, residual, weight, *eps, rows)?,
            Some(bias) => ops::add_layer_norm(hidden, residual, weight, bias, *eps, rows)?,
        })
    }
}
