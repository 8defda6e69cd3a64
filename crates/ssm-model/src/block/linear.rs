//! A projection with or without bias.

use candle_core::Tensor;
use ssm_kernels::ops;

use crate::error::ModelError;
use crate::loader::Loader;

#[derive(Debug)]
pub(super) struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    pub(super) fn load(
        weights: &mut Loader<'_>,
        name: &str,
        outputs: usize,
        inputs: usize,
        bias: bool,
    ) -> Result<Self, ModelError> {
        let weight = weights.matrix(&format!("{name}.weight"), &[outputs, inputs])?;
        let bias = bias.then(|| weights.placed(&format!("{name}.bias"), &[outputs])).transpose()?;
        Ok(Self { weight, bias })
    }

    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor, ModelError> {
        Ok(match &self.bias {
            Some(bias) => ops::linear_with_bias(x, &self.weight, bias)?,
            None => ops::linear(x, &self.weight)?,
        })
    }
}
